"""Which pairs a page shows: some spread over all, some drawn, and for each metric and system the best and the worst."""

import numpy as np

from repose.metrics.provenance import Better


def spread(pairs: int, most: int) -> list[int]:
    """Return at most so many of a number of pairs, evenly spread over them, by their places."""
    return list(dict.fromkeys(np.linspace(0, pairs - 1, min(most, pairs)).round().astype(int).tolist()))


def drawn(pairs: int, most: int, seed: int, without: list[int]) -> list[int]:
    """Return at most so many others, drawn with equal chances, in the order of the pairs."""
    others = np.setdiff1d(np.arange(pairs), without)
    chosen: list[int] = np.random.default_rng(seed).choice(others, min(most, len(others)), replace=False).tolist()
    return sorted(chosen)


def extremes(scores: np.ndarray, better: Better, most: int) -> tuple[list[int], list[int]]:
    """Return the best of the pairs' scores (n,), best first, and the worst, worst first: at most so many, none in both.

    NaNs are left out; of equal scores the earlier pair comes first.
    """
    there = np.flatnonzero(np.isfinite(scores))
    values = scores[there] * (-1 if better == "higher" else 1)
    best: list[int] = there[np.argsort(values, kind="stable")][:most].tolist()
    worst: list[int] = there[np.argsort(-values, kind="stable")].tolist()
    return best, [place for place in worst if place not in best][:most]
