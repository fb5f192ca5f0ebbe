"""Which pairs a page shows: some spread over all, some drawn, and for each metric and system the best and the worst."""

import numpy as np

from repose.metrics.provenance import Better


def spread(pairs: int, most: int) -> list[int]:
    """At most so many of a number of pairs, evenly spread over them, by their places."""
    return list(dict.fromkeys(np.linspace(0, pairs - 1, min(most, pairs)).round().astype(int).tolist()))


def drawn(pairs: int, most: int, seed: int, without: list[int]) -> list[int]:
    """At most so many others, drawn with equal chances by the seed, in the order of the pairs."""
    others = np.setdiff1d(np.arange(pairs), without)
    chosen = np.random.default_rng(seed).choice(others, min(most, len(others)), replace=False)
    return [int(place) for place in np.sort(chosen)]


def extremes(scores: np.ndarray, better: Better, most: int) -> tuple[list[int], list[int]]:
    """The best pairs, the best first, and the worst, the worst first: at most so many each, and none in both.

    Args:
        scores: (pairs,); those that are NaN are left out, of equal ones the earlier pair comes first.
        better: which are the best.
        most: of each.
    """
    there = np.flatnonzero(np.isfinite(scores))
    values = scores[there] * (-1 if better == "higher" else 1)
    best, worst = there[np.argsort(values, kind="stable")], there[np.argsort(-values, kind="stable")]
    first = [int(place) for place in best[:most]]
    return first, [int(place) for place in worst if place not in first][:most]
