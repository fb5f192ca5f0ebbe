"""Bootstrap intervals of means over test pairs (Efron 1979, the percentile method).

All scores are resampled with the same pairs, so the interval of a difference between two systems is that of a paired
bootstrap. Pairs are drawn as if they were independent, which pairs of one item are not: an interval describes another draw of
pairs of these items, and is narrower than one for new items.
"""

from typing import NamedTuple

import numpy as np

_AT_ONCE = 64  # resamples; bounds the memory to about 28 MB at 12,800 pairs


class Interval(NamedTuple):
    """A mean and the ends of its interval, NaN if no resample has the score."""

    mean: float
    low: float
    high: float


def resampled_means(scores: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Return the means of scores (n, M) over `resamples` draws of n pairs with replacement: (resamples, M) float64.

    NaN scores are ignored; the mean of a draw without any other score is NaN. The draws only depend on the seed and on n.
    """
    n, random = len(scores), np.random.default_rng(seed)
    there = np.isfinite(scores)
    values, counts = np.where(there, scores, 0.0), there.astype(np.float64)
    parts = []
    for first in range(0, resamples, _AT_ONCE):
        drawn = random.integers(n, size=(min(_AT_ONCE, resamples - first), n))
        times = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)  # each pair was drawn
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            parts.append((times @ values) / (times @ counts))
    return np.concatenate(parts)


def means(scores: np.ndarray) -> np.ndarray:
    """Return the means of scores (n, M) over the pairs that have them: (M,) float64, NaN if none has."""
    there = np.isfinite(scores)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray(np.where(there, scores, 0.0).sum(0) / there.sum(0))


def intervals(means: np.ndarray, resampled: np.ndarray, confidence: float) -> list[Interval]:
    """Return means (M,), or differences of means, with the percentile intervals of resampled ones (resamples, M).

    `confidence` is the share of the resamples inside an interval, 0 to 1. NaNs are ignored.
    """
    tail, found = (1 - confidence) / 2, []
    for mean, column in zip(means, resampled.T, strict=True):
        ends = np.nanquantile(column, [tail, 1 - tail]) if np.isfinite(column).any() else (np.nan, np.nan)
        found.append(Interval(float(mean), float(ends[0]), float(ends[1])))
    return found
