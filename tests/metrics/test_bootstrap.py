import numpy as np
import pytest

from repose.metrics.bootstrap import Interval, intervals, means, resampled_means


def scores(pairs: int = 30, columns: int = 3) -> np.ndarray:
    random = np.random.default_rng(7)
    values = random.normal(size=(pairs, columns))
    values[random.random((pairs, columns)) < 0.2] = np.nan
    values[:, 0] = random.normal(size=pairs)
    return values


def interval(mean: float, resampled: np.ndarray, confidence: float) -> Interval:
    return intervals(np.array([mean]), resampled[:, None], confidence)[0]


def by_loop(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    draws = [random.integers(len(values), size=(min(64, resamples - n), len(values))) for n in range(0, resamples, 64)]
    return np.array([np.nanmean(values[rows], axis=0) for rows in np.concatenate(draws)])


@pytest.mark.parametrize("resamples", [1, 64, 65, 200])
def test_the_means_are_those_of_the_rows_drawn(resamples):
    found = resampled_means(scores(), resamples=resamples, seed=3)
    assert found.shape == (resamples, 3)
    np.testing.assert_allclose(found, by_loop(scores(), resamples, 3), rtol=1e-12, atol=1e-14)


def test_a_resample_without_the_score_has_no_mean():
    values = np.array([[1.0, 5.0], [2.0, np.nan], [4.0, np.nan]])
    found = resampled_means(values, resamples=500, seed=0)
    assert abs(np.isnan(found[:, 1]).mean() - (2 / 3) ** 3) < 0.06
    assert np.isfinite(found[:, 0]).all()
    assert interval(5.0, found[:, 1], 0.95) == Interval(5, 5, 5)
    assert np.isnan(interval(1.0, np.full(4, np.nan), 0.95)[1:]).all()


def test_an_interval_is_of_percentiles():
    values = np.random.default_rng(0).permutation(np.arange(1001.0))
    assert interval(500.0, values, 0.9) == pytest.approx(Interval(500, 50, 950))


def test_a_mean_is_of_the_pairs_that_have_the_score():
    found = means(np.array([[1.0, np.nan, np.nan], [4.0, 2.0, np.nan]]))
    np.testing.assert_array_equal(found, [2.5, 2.0, np.nan])
