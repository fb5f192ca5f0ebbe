"""Choose pairs to show: evenly spread ones, random ones, and each metric's and system's best and worst."""

import numpy as np

from repose.metrics.provenance import Better


def spread(pairs: int, most: int) -> list[int]:
    """Return the positions of at most `most` pairs, evenly spread over all."""
    return list(dict.fromkeys(np.linspace(0, pairs - 1, min(most, pairs)).round().astype(int).tolist()))


def drawn(pairs: int, most: int, seed: int, without: list[int]) -> list[int]:
    """Return at most `most` other pairs, drawn uniformly, in the order of the pairs."""
    others = np.setdiff1d(np.arange(pairs), without)
    chosen: list[int] = np.random.default_rng(seed).choice(others, min(most, len(others)), replace=False).tolist()
    return sorted(chosen)


def extremes(scores: np.ndarray, better: Better, most: int) -> tuple[list[int], list[int]]:
    """Return the pairs with the best scores, best first, and with the worst, worst first; none is in both.

    NaNs are ignored; of equal scores, the earlier pair comes first.
    """
    there = np.flatnonzero(np.isfinite(scores))
    values = scores[there] * (-1 if better == "higher" else 1)
    best: list[int] = there[np.argsort(values, kind="stable")][:most].tolist()
    worst: list[int] = there[np.argsort(-values, kind="stable")].tolist()
    return best, [place for place in worst if place not in best][:most]
