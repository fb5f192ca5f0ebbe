"""The interval of a change from a paired bootstrap over the test pairs.

Each resample draws pairs with the scores of both sides, so the difficulty of a pair cancels out. `metrics.bootstrap` describes
what such an interval covers.
"""

import math
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from repose.data.records import PAIRS
from repose.errors import ReposeError
from repose.metrics.bootstrap import means
from repose.metrics.by_pair import read_pairs
from repose.report.gates import GatesSettings
from repose.report.judge import Changes, PairedChange, check_protocols
from repose.report.scores_file import Record, number

PairScores = dict[str, pd.DataFrame]  # by system: one row per pair (from, to), one column per metric


def changes_by_pair(base: tuple[Record, Path], head: tuple[Record, Path], gates: GatesSettings) -> Changes:
    """The interval of HEAD minus BASE for each gated score that at least one pair has on both sides.

    A side has its scores and the path of its table by pair. A system or metric that one side has no score of is left out.

    Raises:
        ReposeError: a table is missing, damaged or does not belong to its scores; or pairs or the metrics by pair differ.
    """
    check_protocols(base[0], head[0])  # first, because it explains why pairs differ
    (old, new), paths = (read_pair_scores(*side, gates) for side in (base, head)), (base[1], head[1])
    found = {}
    for system in [name for name in old if name in new]:
        both = [metric for metric in base[0].scores[system] if metric in head[0].scores[system]]
        before, after = (side[system].filter(both) for side in (old, new))
        _check_same_pairs(system, (before, after), paths)
        change = after.to_numpy() - before.to_numpy()  # (pairs, M)
        counts = np.isfinite(change).sum(0).tolist()
        for metric, count, (_, low, high) in zip(before, counts, gates.intervals(change), strict=True):
            if count:
                found[system, str(metric)] = PairedChange(count, low, high)
    return found


def read_pair_scores(side: Record, path: Path, gates: GatesSettings) -> PairScores:
    """The gated scores of the side's systems in a table by pair. A metric that is not a mean over pairs has no column.

    Raises:
        ReposeError: the file is missing or damaged, lacks a gated system, or its means differ from the scores.
    """
    table = read_pairs(path)
    found = {}
    for system in [name for name in gates.systems if name in side.scores]:
        rows = table[table["system"] == system]
        if rows.empty:
            raise ReposeError(
                f"{path} has no pairs of {system}, which has gates. Give the pairs of the compared scores."
            )
        scores = rows.set_index(list(PAIRS))[[metric for metric in gates.metrics if metric in rows]]
        _check_means(side, path, system, scores)
        found[system] = scores
    return found


def _check_means(side: Record, path: Path, system: str, scores: pd.DataFrame) -> None:
    """Check that a table is from the same run as the scores of its side."""
    for metric, mean in zip(map(str, scores), means(scores.to_numpy()), strict=True):
        score = number(side.scores.get(system, {}).get(metric))
        if score is not None and not math.isclose(mean, score, rel_tol=1e-6, abs_tol=1e-9):
            raise ReposeError(
                f"{path} does not belong to {side.where}: its mean {metric} of {system} is {mean:.6g}, but the score is "
                f"{score:.6g}. Give the table that the same run of evaluate wrote."
            )


def _check_same_pairs(system: str, scores: tuple[pd.DataFrame, pd.DataFrame], paths: tuple[Path, Path]) -> None:
    for place, pairs in enumerate(zip_longest(*(side.index for side in scores)), 1):
        if pairs[0] != pairs[1]:
            one, other = ("none" if pair is None else f"{pair[0]} to {pair[1]}" for pair in pairs)
            raise ReposeError(
                f"The pairs of the two sides differ: pair {place} of {system} is {one} in {paths[0]} and {other} in "
                f"{paths[1]}. Evaluate both on the same pairs."
            )
    one, other = (", ".join(side.columns) for side in scores)
    if one != other:
        raise ReposeError(
            f"{paths[0]} has {one}, but {paths[1]} has {other}. Evaluate both with the same version of repose."
        )
