"""The scores that evaluate wrote, and their means over kinds of pairs.

The means of a row are named after their metrics. `NAME pairs` is the number of pairs in the mean NAME, and `NAME deviation`
the deviation of an Inception Score. A metric without a column in the table of pairs is computed over all images together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from repose.data.records import OCCLUSION, PAIRS
from repose.errors import ReposeError
from repose.metrics.bootstrap import Interval, means
from repose.metrics.by_pair import read_pairs
from repose.metrics.provenance import Better
from repose.report.gates import Bootstrap
from repose.report.occlusion import BINS
from repose.report.scores_file import number, read_file

NOT_KNOWN = "unknown"


class Scores(NamedTuple):
    """The scores of every row (a system, a system with one source, a baseline)."""

    protocol: dict[str, Any]
    better: dict[str, Better]  # by metric, in the order of the files
    means: dict[str, dict[str, float]]  # by row, then by metric; NaN if there is none
    pairs: pd.DataFrame  # from, to, occlusion (NaN if unknown), sources (the largest number of any row)
    by_pair: dict[str, dict[str, np.ndarray]]  # by metric, then by row: (pairs,) float64, NaN if a pair has none

    def intervals(self, bootstrap: Bootstrap) -> dict[str, dict[str, Interval]]:
        """The interval of each mean over pairs, by metric, then by row."""
        return {
            metric: dict(zip(rows, bootstrap.intervals(np.stack(list(rows.values()), 1)), strict=True))
            for metric, rows in self.by_pair.items()
        }


class Group(NamedTuple):
    """The pairs of one kind."""

    name: str
    pairs: int
    means: dict[str, dict[str, float]]  # by metric, then by row; NaN if no pair of the kind has a score


def read_scores(metrics: Path, pairs: Path) -> Scores:
    """The scores in the files that evaluate wrote: the means, and the table of all pairs.

    Raises:
        ReposeError: a file is missing or damaged, or the files have different rows or pairs.
    """
    record, table = read_file(metrics), read_pairs(pairs, OCCLUSION, "sources")
    of_row = {row: table[table["system"] == row].reset_index(drop=True) for row in record.scores}
    first = _same_pairs(of_row, pairs, metrics)
    sources = np.stack([rows["sources"] for rows in of_row.values()]).max(0)
    found = {row: {name: number(value) for name, value in of.items()} for row, of in record.scores.items()}
    written = dict.fromkeys(name for row in found.values() for name in row)
    related = {f"{name} {what}" for name in written for what in ("pairs", "deviation")}
    names = [name for name in written if name not in related]
    if unknown := [name for name in names if record.metrics.get(name, {}).get("better") not in ("higher", "lower")]:
        raise ReposeError(f"{metrics} does not say which {unknown[0]} is better. Run `dvc repro evaluate`.")
    return Scores(
        record.protocol,
        {name: record.metrics[name]["better"] for name in names},
        {
            row: {name: np.nan if (value := of.get(name)) is None else value for name in names}
            for row, of in found.items()
        },
        first[[*PAIRS, OCCLUSION]].assign(sources=sources.astype(np.int64)),
        {name: {row: rows[name].to_numpy() for row, rows in of_row.items()} for name in names if name in table},
    )


def _same_pairs(of_row: Mapping[str, pd.DataFrame], pairs: Path, metrics: Path) -> pd.DataFrame:
    """The rows of the first system, after a check that all systems have the same pairs."""
    if not of_row:
        raise ReposeError(f"{metrics} has no scores. Run `dvc repro evaluate`.")
    first = next(iter(of_row.values()))
    for row, rows in of_row.items():
        if rows.empty or not rows[list(PAIRS)].equals(first[list(PAIRS)]):
            raise ReposeError(
                f"{pairs} has {'no' if rows.empty else 'different'} pairs for {row}, which has scores in {metrics}: the files "
                "are not from the same run. Run `dvc repro evaluate`."
            )
    return first


def by_kind(scores: Scores, views: Mapping[str, str]) -> dict[str, list[Group]]:
    """Group the pairs by view change (most frequent first), by number of sources, and by occlusion in the first source.

    `views` maps the name of each photo to its view.
    """
    ends = [[views.get(name, "") for name in scores.pairs[end]] for end in PAIRS]
    changes = [f"{a} to {b}" if a and b else NOT_KNOWN for a, b in zip(*ends, strict=True)]
    counts = Counter(changes)
    sources = [str(count) for count in scores.pairs["sources"]]
    hidden = [
        next((name for name, (low, high) in BINS.items() if low <= share < high), NOT_KNOWN)
        for share in scores.pairs[OCCLUSION]
    ]
    return {
        "View change": _groups(scores, changes, sorted(counts, key=lambda kind: (-counts[kind], kind))),
        "Sources": _groups(scores, sources, sorted(set(sources), key=int)),
        "Hidden": _groups(scores, hidden, [name for name in (*BINS, NOT_KNOWN) if name in hidden]),
    }


def _groups(scores: Scores, kinds: Sequence[str], order: Sequence[str]) -> list[Group]:
    """The groups in the given order; `kinds` has the kind of each pair."""
    groups = []
    for kind in order:
        inside = np.array(kinds) == kind
        own = {
            metric: dict(zip(rows, means(np.stack(list(rows.values()), 1)[inside]).tolist(), strict=True))
            for metric, rows in scores.by_pair.items()
        }
        groups.append(Group(kind, int(inside.sum()), own))
    return groups
