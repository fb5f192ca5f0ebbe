"""gates: fail if a score is worse than the block `gates` allows, compared with the last accepted scores.

The stage does the same as `repose compare`, but with the committed baseline, because a task in a cluster has no git history.
Whether it passes or fails, it writes the folder `report`: gates.md for people and gates.json with all numbers.

The stage fails if a score got worse, is beyond its limit or is missing. No model card is made then. If the baseline is missing
or from other data, only the limits are checked, and the report gives the reason. `repose compare`, which CI runs, fails
in that case.
"""

from dataclasses import replace
from pathlib import Path

from repose.errors import ReposeError
from repose.report import formats
from repose.report.gates import GatesSettings
from repose.report.judge import Comparison, compare
from repose.report.paired import changes_by_pair, read_pair_scores
from repose.report.scores_file import read_file
from repose.storage.atomic import whole_folder, write_text
from repose.terminal import say


def run(
    *, base: Path, base_pairs: Path, head: Path, head_pairs: Path, report: Path, settings: GatesSettings
) -> None:  # fmt: skip
    """Compare the scores `head` with the last accepted ones, `base`, and write the folder `report`.

    The pairs are the same scores by pair. If the settings have no baseline, `base` is not read.

    Raises:
        ReposeError: a score got worse, is beyond its limit, or is missing. `report` is written nevertheless.
    """
    found = _compared((base, base_pairs), (head, head_pairs), settings)
    with whole_folder(report, (formats.RECORD, "gates.md")) as folder:
        write_text(folder / "gates.md", formats.as_markdown(found))
        write_text(folder / formats.RECORD, formats.as_json(found))
    say(f"gates: {found.headline}")
    if found.exit_code:
        raise ReposeError(
            " ".join((found.headline, *found.reasons))
            + f" The table: {report / 'gates.md'}. If the change is intended, `make baseline` accepts the new scores, except "
            "those beyond a limit. For your own data, set gates.baseline to false, gates.limits to your limits and "
            "gates.systems to systems of evaluate.systems (docs/compare.md)."
        )


def _compared(base: tuple[Path, Path], head: tuple[Path, Path], settings: GatesSettings) -> Comparison:
    """Compare two sides, each with its scores by pair. If BASE is not comparable, check the limits of HEAD."""
    try:
        new = read_file(head[0])
        if not settings.baseline:
            return replace(compare(None, new, settings), uncompared="gates.baseline is false.")
        read_pair_scores(new, head[1], settings)  # an error in the files of HEAD fails the stage
    except ReposeError as error:
        return Comparison(str(base[0]), str(head[0]), refusal=str(error))
    try:
        old = read_file(base[0])
        changes = changes_by_pair((old, base[1]), (new, head[1]), settings)
        return compare(old, new, settings, changes, required=False)
    except ReposeError as error:
        return replace(compare(None, new, settings), uncompared=str(error))
