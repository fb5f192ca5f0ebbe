"""The scores of a run as evaluate wrote them, and their means over kinds of pairs.

Which metrics there are is read from the files: each name among a row's means is one, but for `NAME pairs`, which says of how
many pairs the mean NAME is. A metric that has no column in the table of pairs is one of all images together.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from repose.data.records import OCCLUSION, PAIRS, read_table, shares
from repose.errors import ReposeError
from repose.metrics import bootstrap
from repose.metrics.bootstrap import Interval, means, resampled_means
from repose.metrics.provenance import Better
from repose.report.gates import GatesSettings
from repose.report.occlusion import BINS
from repose.report.scores_file import number, read_file

NOT_KNOWN = "not known"
_COUNT = " pairs"


class Scores(NamedTuple):
    """The scores of every row (a system, a system with one source, a baseline)."""

    protocol: dict[str, Any]  # what the numbers say of themselves
    better: dict[str, Better]  # by metric, where evaluate says which way is better
    means: dict[str, dict[str, float]]  # by row, then by metric; NaN where there is none
    counts: dict[str, dict[str, int]]  # likewise: of how many pairs, where that is said
    pairs: (
        pd.DataFrame
    )  # from, to, occlusion (NaN: not known), sources (how many the pair has for a row that takes all)
    by_pair: dict[str, dict[str, np.ndarray]]  # by metric, then by row: (pairs,) float64, NaN where a pair has none

    @property
    def metrics(self) -> list[str]:
        """Every metric, in the order of the files."""
        return list(dict.fromkeys(metric for row in self.means.values() for metric in row))


class Group(NamedTuple):
    """The pairs of one kind."""

    name: str
    pairs: int
    means: dict[str, dict[str, float]]  # by metric, then by row; NaN where no pair of the kind has a score


def read_scores(metrics: Path, pairs: Path) -> Scores:
    """The scores in the files that evaluate wrote: the means, and the table of all pairs.

    Raises:
        ReposeError: a file is missing or damaged, or the two are of other rows or pairs.
    """
    record = read_file(metrics)
    table = read_table(pairs, ("system", *PAIRS, OCCLUSION, "sources"))
    names = list(dict.fromkeys(name for row in record.scores.values() for name in row))
    counted = {f"{name}{_COUNT}" for name in names}
    wanted = [name for name in names if name not in counted]
    of_row = {row: table[table["system"] == row].reset_index(drop=True) for row in record.scores}
    first = _same_pairs(of_row, pairs, metrics)
    sources = np.stack([_whole(rows["sources"], pairs) for rows in of_row.values()]).max(0)
    return Scores(
        record.protocol,
        {name: about["better"] for name, about in record.metrics.items() if about.get("better") in get_args(Better)},
        {row: {name: _or_nan(of.get(name)) for name in wanted} for row, of in record.scores.items()},
        {row: {name: int(_or_nan(of[f"{name}{_COUNT}"])) for name in wanted if number(of.get(f"{name}{_COUNT}")) is not None}
         for row, of in record.scores.items()},
        first[list(PAIRS)].assign(**{OCCLUSION: shares(first, OCCLUSION, pairs), "sources": sources}),
        {name: {row: _floats(rows[name], pairs) for row, rows in of_row.items()} for name in wanted if name in table},
    )  # fmt: skip


def _same_pairs(of_row: Mapping[str, pd.DataFrame], pairs: Path, metrics: Path) -> pd.DataFrame:
    """The pairs of the first row, which should be those of all."""
    if not of_row:
        raise ReposeError(f"{metrics} has no scores. Run `dvc repro evaluate`.")
    first = next(iter(of_row.values()))
    for row, rows in of_row.items():
        if rows.empty or rows[list(PAIRS)].to_numpy().tolist() != first[list(PAIRS)].to_numpy().tolist():
            raise ReposeError(
                f"{pairs} has {'no' if rows.empty else 'other'} pairs of {row}, of which {metrics} has scores: they are not "
                "of one run. Run `dvc repro evaluate`."
            )
    return first


def _floats(column: "pd.Series[str]", path: Path) -> np.ndarray:
    try:
        return np.array([float(value or "nan") for value in column], np.float64)
    except ValueError as error:
        raise ReposeError(f"{path} is damaged ({error} in {column.name}). Run `dvc repro evaluate`.") from None


def _whole(column: "pd.Series[str]", path: Path) -> np.ndarray:
    values = _floats(column, path)
    if not (values == values.round()).all():
        raise ReposeError(f"{path} is damaged (a number in {column.name} is none). Run `dvc repro evaluate`.")
    return values.astype(np.int64)


def _or_nan(value: Any) -> float:
    found = number(value)
    return float("nan") if found is None else found


def intervals(scores: Scores, gates: GatesSettings) -> dict[str, dict[str, Interval]]:
    """The bootstrap interval of each mean over pairs, by metric, then by row; all are drawn from the same pairs."""
    found = {}
    for metric, rows in scores.by_pair.items():
        columns = np.stack(list(rows.values()), 1)
        drawn, own = resampled_means(columns, resamples=gates.resamples, seed=gates.seed), means(columns)
        found[metric] = dict(zip(rows, bootstrap.intervals(own, drawn, gates.confidence), strict=True))
    return found


def by_view(scores: Scores, views: Mapping[str, str]) -> list[Group]:
    """By the views of source and target, the most frequent first; `views` has that of each photo by its name."""
    ends = [[views.get(name, "") for name in scores.pairs[end]] for end in PAIRS]
    kinds = [f"{a} to {b}" if a and b else NOT_KNOWN for a, b in zip(*ends, strict=True)]
    counts = pd.Series(kinds).value_counts()
    return _groups(scores, kinds, sorted(counts.index, key=lambda kind: (-counts[kind], kind)))


def by_sources(scores: Scores) -> list[Group]:
    """By how many sources the pair has."""
    kinds = [f"{count}" for count in scores.pairs["sources"]]
    return _groups(scores, kinds, sorted(set(kinds), key=int))


def by_hidden(scores: Scores) -> list[Group]:
    """By how much of the garment in the target the pair's source hides."""
    kinds = [_bin(share) for share in scores.pairs[OCCLUSION]]
    return _groups(scores, kinds, [name for name in (*BINS, NOT_KNOWN) if name in kinds])


def _bin(share: float) -> str:
    return next((name for name, (low, high) in BINS.items() if low <= share < high), NOT_KNOWN)


def _groups(scores: Scores, kinds: Sequence[str], order: Sequence[str]) -> list[Group]:
    all_kinds, groups = np.array(kinds), []
    for kind in order:
        inside = all_kinds == kind
        groups.append(
            Group(
                kind,
                int(inside.sum()),
                {
                    metric: dict(zip(rows, means(np.stack(list(rows.values()), 1)[inside]).tolist(), strict=True))
                    for metric, rows in scores.by_pair.items()
                },
            )
        )
    return groups
