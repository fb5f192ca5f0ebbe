"""Which pairs a page shows."""

import numpy as np
import pytest

from repose.evaluation.results import drawn, extremes, spread


@pytest.mark.parametrize(
    ("pairs", "most", "expected"), [(18, 6, [0, 3, 7, 10, 14, 17]), (3, 6, [0, 1, 2]), (5, 1, [0])]
)
def test_spread(pairs, most, expected):
    assert spread(pairs, most) == expected


def test_drawn_are_others_each_once_in_order_and_as_the_seed_says():
    found = drawn(100, 10, 3, without=[0, 50])
    assert found == sorted(set(found) - {0, 50})
    assert len(found) == 10
    assert drawn(100, 10, 3, [0, 50]) == found
    assert drawn(100, 10, 4, [0, 50]) != found
    assert {place for seed in range(200) for place in drawn(8, 1, seed, [7])} == set(range(7))
    assert drawn(4, 6, 0, without=[0, 3]) == [1, 2]  # no more than there are


@pytest.mark.parametrize(("scores", "better", "best", "worst"), [
    ([0.2, 0.9, np.nan, 0.5, -1.0], "higher", [1, 3], [4, 0]), ([0.2, 0.9, np.nan, 0.5, -1.0], "lower", [4, 0], [1, 3]),
    ([1.0, 1.0, 1.0], "higher", [0, 1], [2]),  # the earlier pair first, and no pair in both
    ([np.nan], "lower", [], []),
])  # fmt: skip
def test_extremes(scores, better, best, worst):
    assert extremes(np.array(scores), better, 2) == (best, worst)
