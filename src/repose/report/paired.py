"""The interval of a change from a paired bootstrap over the test pairs.

Each resample draws pairs with the scores of both sides, so the difficulty of a pair cancels out. `metrics.bootstrap` describes
what such an interval covers.
"""

import math
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from repose.data.records import PAIRS, read_table
from repose.errors import ReposeError
from repose.metrics.bootstrap import means
from repose.report.gates import GatesSettings
from repose.report.judge import Changes, PairedChange, check_protocols
from repose.report.scores_file import Record, number

PairScores = dict[str, pd.DataFrame]  # by system: one row per pair (from, to), one column per metric


def changes_by_pair(base: tuple[Record, Path], head: tuple[Record, Path], gates: GatesSettings) -> Changes:
    """The interval of HEAD minus BASE for each gated score that both sides have by pair.

    Args:
        base: the scores of BASE, and the path of its table by pair.
        head: the same for HEAD.
        gates: the block `gates`.

    Raises:
        ReposeError: a table is missing, damaged or does not belong to its scores; or pairs or metrics differ.
    """
    check_protocols(base[0], head[0])  # first, because it explains why pairs differ
    (old, new), paths = (read_pair_scores(*side, gates) for side in (base, head)), (base[1], head[1])
    found = {}
    for system in gates.systems:
        _check_same_pairs(system, (old[system], new[system]), paths)
        change = new[system].to_numpy() - old[system].to_numpy()  # (pairs, M)
        for column, (metric, (_, low, high)) in enumerate(
            zip(old[system].columns, gates.intervals(change), strict=True)
        ):
            found[system, str(metric)] = PairedChange(int(np.isfinite(change[:, column]).sum()), low, high)
    return found


def read_pair_scores(side: Record, path: Path, gates: GatesSettings) -> PairScores:
    """The gated scores in a table by pair. A metric that is not a mean over pairs has no column.

    Raises:
        ReposeError: the file is missing or damaged, lacks a gated system, or its means differ from the scores.
    """
    table = read_table(path, ("system", *PAIRS))
    found = {}
    for system in gates.systems:
        rows = table[table["system"] == system]
        if rows.empty:
            raise ReposeError(
                f"{path} has no pairs of {system}, which has gates. Give the pairs of the compared scores."
            )
        scores = {metric: numbers(rows[metric], path) for metric in gates.metrics if metric in rows}
        found[system] = pd.DataFrame(scores, index=pd.MultiIndex.from_frame(rows[list(PAIRS)]))
        _check_means(side, path, system, scores)
    return found


def _check_means(side: Record, path: Path, system: str, scores: dict[str, np.ndarray]) -> None:
    """Check that a table is from the same run as the scores of its side."""
    for metric, values in scores.items():
        if np.isinf(values).any():
            raise ReposeError(f"{path} has an infinite {metric}, which has no mean. Run `dvc repro evaluate`.")
        score, mean = number(side.scores.get(system, {}).get(metric)), float(means(values[:, None])[0])
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
    if list(scores[0].columns) != list(scores[1].columns):
        has, lacks = paths if set(scores[0].columns) - set(scores[1].columns) else paths[::-1]
        (metric, *_) = set(scores[0].columns) ^ set(scores[1].columns)
        raise ReposeError(f"{has} has {metric}, but {lacks} does not. Evaluate both with the same version of repose.")


def numbers(column: "pd.Series[str]", path: Path) -> np.ndarray:
    """The numbers of a column, (rows,) float64, NaN for empty cells. `path` names the table in messages.

    Raises:
        ReposeError: a cell is not a number.
    """
    try:
        return np.array([float(text or "nan") for text in column], np.float64)
    except ValueError as error:
        raise ReposeError(f"{path} is damaged in {column.name} ({error}). Run `dvc repro evaluate`.") from None
