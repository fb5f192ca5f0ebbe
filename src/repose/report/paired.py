"""Is a change more than noise? A paired bootstrap over the test pairs, from the per-pair scores of both sides.

Both sides score the same pairs, so each resample draws pairs, not scores, and an interval is of the change itself: how hard
a pair is for any system drops out (`metrics.bootstrap` says what such an interval is and is not).
"""

import math
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repose.data.records import read_table
from repose.errors import ReposeError
from repose.metrics.bootstrap import intervals, means, resampled_means
from repose.report.gates import GatesSettings
from repose.report.judge import Changes, PairedChange, check_protocols
from repose.report.scores_file import Record, number


class SystemPairs(NamedTuple):
    """One system's scores by pair."""

    pairs: list[tuple[str, str]]  # source and target, in the table's order
    scores: dict[str, np.ndarray]  # by metric: (pairs,) float64, NaN where a pair has none


class PairScores(NamedTuple):
    """The gated scores of one side by pair."""

    path: Path
    systems: dict[str, SystemPairs]


def changes_by_pair(base: tuple[Record, Path], head: tuple[Record, Path], gates: GatesSettings) -> Changes:
    """The interval of HEAD less BASE for each gated score that both sides have by pair.

    Args:
        base: The scores of BASE and the table of the same by pair.
        head: Likewise of HEAD.
        gates: The block `gates`.

    Raises:
        ReposeError: a table is missing, damaged, or of other scores; or the two are of other pairs.
    """
    check_protocols(base[0], head[0])  # of two protocols the pairs differ too, and the protocol says why
    old, new = read_pair_scores(base[1], gates), read_pair_scores(head[1], gates)
    check_means(old, base[0])
    check_means(new, head[0])
    return paired_changes(old, new, gates)


def read_pair_scores(path: Path, gates: GatesSettings) -> PairScores:
    """The gated systems and metrics in a table that evaluate wrote; a metric that is no mean over pairs has no column.

    Raises:
        ReposeError: the file is missing or damaged, or lacks a gated system.
    """
    table = read_table(path, ("system", "from", "to"))
    systems = {}
    for system in gates.systems:
        rows = table[table["system"] == system]
        if rows.empty:
            raise ReposeError(
                f"{path} has no pair of {system}, which has gates. Name the pairs of the compared scores."
            )
        scores = {metric: _column(list(rows[metric]), metric, path) for metric in gates.metrics if metric in rows}
        systems[system] = SystemPairs(list(zip(rows["from"], rows["to"], strict=True)), scores)
    return PairScores(path, systems)


def paired_changes(base: PairScores, head: PairScores, gates: GatesSettings) -> Changes:
    """The interval of HEAD less BASE for each gated score that the tables have, over the pairs that have it on both sides.

    Raises:
        ReposeError: the two are of other pairs, or of other metrics.
    """
    found = {}
    for system in gates.systems:
        old, new = base.systems[system], head.systems[system]
        _check_same_pairs(system, base, head)
        metrics = list(old.scores)
        if not metrics:
            continue
        change = np.stack([new.scores[metric] - old.scores[metric] for metric in metrics], 1)  # (pairs, M)
        drawn = resampled_means(change, resamples=gates.resamples, seed=gates.seed)
        counts = np.isfinite(change).sum(0)
        of_all = intervals(means(change), drawn, gates.confidence)
        for metric, count, (_, low, high) in zip(metrics, counts, of_all, strict=True):
            found[system, metric] = PairedChange(int(count), low, high)
    return found


def check_means(pairs: PairScores, side: Record) -> None:
    """Refuse a table whose means are not the scores of its side: it is of another run.

    Raises:
        ReposeError: a mean is another one.
    """
    for system, of_system in pairs.systems.items():
        for metric, values in of_system.scores.items():
            score = number(side.scores.get(system, {}).get(metric))
            if score is None:  # the verdict on the score says so
                continue
            mean = float(means(values[:, None])[0])
            if not math.isclose(mean, score, rel_tol=1e-6, abs_tol=1e-9):
                raise ReposeError(
                    f"{pairs.path} is not of {side.where}: its mean {metric} of {system} is {mean:.6g}, there it is "
                    f"{score:.6g}. Name the table that the same run of evaluate wrote."
                )


def _check_same_pairs(system: str, base: PairScores, head: PairScores) -> None:
    old, new = base.systems[system], head.systems[system]
    for row, (one, other) in enumerate(zip_longest(old.pairs, new.pairs), 1):
        if one != other:
            raise ReposeError(
                f"The two sides are of other pairs: pair {row} of {system} is {_named(one)} in {base.path} and "
                f"{_named(other)} in {head.path}. Evaluate both on the same pairs."
            )
    for path, there, other_path, lacking in ((base.path, old, head.path, new), (head.path, new, base.path, old)):
        for metric in there.scores:
            if metric not in lacking.scores:
                raise ReposeError(f"{path} has {metric} and {other_path} has not. Evaluate both by the same repose.")


def _named(pair: tuple[str, str] | None) -> str:
    return "none" if pair is None else f"{pair[0]} to {pair[1]}"


def _column(texts: list[str], metric: str, path: Path) -> np.ndarray:
    """The numbers of a column, NaN where it is empty."""
    try:
        values = np.array([float(text) if text else math.nan for text in texts])
    except ValueError as error:
        raise ReposeError(f"{path} is damaged in {metric} ({error}). Run evaluate again.") from None
    if np.isinf(values).any():
        raise ReposeError(f"{path} has an infinite {metric}, which has no mean. Run evaluate again.")
    return values
