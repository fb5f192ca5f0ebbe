"""`repose compare`: compare two sets of scores by the block gates of params.yaml."""

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repose.cli_options import PARAMS, Params, file, option, stage_settings
from repose.errors import ReposeError
from repose.storage.atomic import temporary_folder, write_text
from repose.terminal import say

if TYPE_CHECKING:
    from repose.report.judge import Comparison
    from repose.report.scores_file import Record

REPORTS, BY_PAIR, RUNS = "Reports, beside the Markdown on standard output", "By pair", "Location of a run's record"
_Side = tuple[str | None, Path | None]  # scores (None: those in this folder) and, if given, scores by pair


def compare(
    base: Annotated[str, typer.Argument(help="A git revision, a file of scores, or run:ID on Kubeflow.", metavar="BASE")],
    head: Annotated[str | None, typer.Argument(help="Likewise; default: this folder's scores.", metavar="[HEAD]")] = None,
    base_pairs: Annotated[Path | None, file("The scores of BASE by pair: pairs.csv of evaluate.", BY_PAIR)] = None,
    head_pairs: Annotated[Path | None, file("The scores of HEAD by pair.", BY_PAIR)] = None,
    markdown: Annotated[Path | None, file("The same Markdown.", REPORTS)] = None,
    json: Annotated[Path | None, file("All numbers, as JSON.", REPORTS)] = None,
    environment: Annotated[str, option("A file in pipelines/environments, without .yaml.", "NAME", RUNS)] = "",
    remote: Annotated[str, option("DVC's remote; default: the environment's or the project's.", "REMOTE", RUNS)] = "",
    endpoint: Annotated[str, option("URL of an S3 server other than Amazon's.", "URL", RUNS)] = "",
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Compare scores with the block gates of the params.

    Exits with 0 if no score is worse than allowed, with 1 if one is, and with 2 if something cannot be compared. A git
    revision needs neither DVC's remote nor its cache.

    repose compare main

    repose compare v1.0 main --markdown compare.md

    repose compare old.json new.json --base-pairs old.csv --head-pairs new.csv

    repose compare run:ID run:ID --environment staging
    """
    from repose.report import formats

    if markdown is not None and markdown == json:
        raise typer.BadParameter("Give two different files.", param_hint="--markdown / --json")
    found = _comparison((base, base_pairs), (head, head_pairs), params, partial(_store, environment, remote, endpoint))
    try:
        for path, report in ((markdown, formats.as_markdown), (json, formats.as_json)):
            if path is not None:
                write_text(path if path.name else path.resolve(), report(found))
    except ReposeError as error:
        say(f"repose: {error}")
        raise typer.Exit(2) from None
    try:
        typer.echo(formats.as_markdown(found), nl=False)
    except OSError as error:
        sys.stdout = io.StringIO()  # otherwise Python tries again when it ends, and exits with another code
        say(f"repose: Cannot write to standard output: {error.strerror}.")
        raise typer.Exit(2) from None
    for line in (found.headline, *found.reasons):
        say(f"repose: {line}")
    raise typer.Exit(found.exit_code)


def _comparison(base: _Side, head: _Side, params: Path, store: Callable[[], Any]) -> "Comparison":
    """The comparison of two sides, or the reason that they cannot be compared; `store` opens DVC's remote."""
    from repose.report.gates import GatesSettings
    from repose.report.judge import Comparison, compare

    try:
        gates = stage_settings(params, "gates", GatesSettings)
        with temporary_folder() as place:
            (old, old_pairs), (new, new_pairs) = (_read(side, store, place) for side in (base, head))
            if (old_pairs is None) != (new_pairs is None) and (base[1] or head[1]):
                raise ReposeError("Give both of --base-pairs and --head-pairs, or neither.")
            if old_pairs is None or new_pairs is None:
                return compare(old, new, gates)
            from repose.report.paired import changes_by_pair  # imports pandas, which takes longer than everything else

            return compare(old, new, gates, changes_by_pair((old, old_pairs), (new, new_pairs), gates))
    except ReposeError as error:
        return Comparison(str(base[0]), head[0] or "the scores in this folder", refusal=str(error))


def _read(side: _Side, store: Callable[[], Any], place: Path) -> "tuple[Record, Path | None]":
    """The scores of a side, and its scores by pair, which for a run are fetched into `place`."""
    from repose.kubeflow import compare_runs
    from repose.report.scores_file import read_side

    name, pairs = side
    if name is None or not compare_runs.is_run(name):
        return read_side(name), pairs
    found = compare_runs.read_run(name, store(), place)
    return found.record, pairs or found.pairs


def _store(environment: str, remote: str, endpoint: str) -> Any:
    """DVC's remote: the given one, else the environment's, else the project's default."""
    from repose.kubeflow.compiler import environment_of
    from repose.kubeflow.project import open_repo
    from repose.kubeflow.remotes import open_remote, remote_of

    repo, where = open_repo(Path.cwd()), environment_of(Path.cwd(), environment or None)
    return open_remote(repo, *remote_of(repo, where, remote or None, endpoint))
