"""How far a mean over test pairs would move with other pairs: bootstrap intervals (Efron 1979, the percentile method).

Several scores of the same pairs are drawn together: in each resample all of them are of the same pairs, so the difference of
two systems varies as little as their scores vary together (a paired bootstrap).

The pairs are drawn as if they were independent. Pairs of one item are not quite, so an interval says how far another draw of
pairs of these items would move a mean, and is narrower than one for new items.
"""

from typing import NamedTuple

import numpy as np

_AT_ONCE = 64  # resamples: bounds the memory, at 12,800 pairs to some 6 MB


class Interval(NamedTuple):
    """A mean and the ends of its interval, which are NaN where no resample has the score."""

    mean: float
    low: float
    high: float


def resampled_means(scores: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """The means of scores (n, M) of n pairs over `resamples` draws of n pairs with replacement: (resamples, M) float64.

    A score that is NaN counts as not there: the mean is that of the other pairs drawn, and NaN where none is.

    Args:
        scores: M scores of each pair; all of them are taken from the same pairs in each resample.
        resamples: how often to draw.
        seed: of the draw, which is the same for any scores of as many pairs.

    Raises:
        ValueError: the scores are not (n, M) with at least one pair.
    """
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"scores should be (n, M) with at least one pair, not {scores.shape}.")
    n, random = len(scores), np.random.default_rng(seed)
    there = np.isfinite(scores)
    values, counts = np.where(there, scores, 0.0), there.astype(np.float64)
    parts = []
    for first in range(0, resamples, _AT_ONCE):
        rows = min(_AT_ONCE, resamples - first)
        drawn = random.integers(n, size=(rows, n))
        cells = (drawn + n * np.arange(rows)[:, None]).ravel()
        # how often each pair is drawn
        times = np.bincount(cells, minlength=rows * n).reshape(rows, n).astype(np.float64)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no pair with the score was drawn
            parts.append((times @ values) / (times @ counts))
    return np.concatenate(parts)


def means(scores: np.ndarray) -> np.ndarray:
    """The means of scores (n, M) over the pairs that have them: (M,) float64, NaN where none has."""
    there = np.isfinite(scores)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.asarray(np.where(there, scores, 0.0).sum(0) / there.sum(0))


def intervals(means: np.ndarray, resampled: np.ndarray, confidence: float) -> list[Interval]:
    """`interval` of each of M means (M,), or differences of two, that were (resamples, M) in the resamples."""
    return [interval(float(mean), column, confidence) for mean, column in zip(means, resampled.T, strict=True)]


def interval(mean: float, resampled: np.ndarray, confidence: float) -> Interval:
    """A mean, or a difference of two, with the percentile interval of what it was in each resample.

    Args:
        mean: of the pairs as they are.
        resampled: (resamples,); NaNs, of resamples without any pair that has the score, are left out.
        confidence: share of the resamples inside the interval, 0 to 1.
    """
    if not np.isfinite(resampled).any():
        return Interval(mean, np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))
