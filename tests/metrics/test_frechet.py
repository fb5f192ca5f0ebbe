import numpy as np
import pytest
from scipy.linalg import sqrtm

from repose.errors import ReposeError
from together import distance, statistics

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def features(count, size, seed, shift=0.0):
    """Correlated numbers of scales apart."""
    random = np.random.default_rng(seed)
    return random.normal(0, 1, (count, size)) @ random.normal(0, 1, (size, size)) * random.uniform(0.1, 3, size) + shift


def by_scipy(generated, real):
    """As pytorch-fid."""
    shift = generated.mean(0) - real.mean(0)
    first, second = np.cov(generated, rowvar=False), np.cov(real, rowvar=False)
    return shift @ shift + np.trace(first) + np.trace(second) - 2 * np.trace(sqrtm(first @ second)).real


@pytest.mark.parametrize(("count", "other", "size"), [(300, 250, 64), (40, 200, 3)])
def test_equals_the_reference(count, other, size):
    generated, real = features(count, size, 0, 0.5), features(other, size, 1)
    assert distance(generated, real) == pytest.approx(by_scipy(generated, real), rel=1e-9)


def test_fewer_images_than_features_have_a_distance():
    generated, real = features(30, 90, 2), features(50, 90, 3, 1.0)
    assert distance(generated, real) == pytest.approx(by_scipy(generated, real), rel=1e-4)
    assert distance(generated, real) == pytest.approx(distance(real, generated), rel=1e-9)


def test_closed_forms():
    real = features(80, 12, 6)
    assert 0 <= distance(real, real) < 1e-9 * np.cov(real, rowvar=False).trace()
    assert distance(real + 2, real) == pytest.approx(4 * 12, rel=1e-9)
    flat = np.ones((5, 12))
    assert distance(flat, 3 * flat) == 4 * 12
    expected = np.square(1 - real.mean(0)).sum() + np.cov(real, rowvar=False).trace()
    assert distance(flat, real) == pytest.approx(expected, rel=1e-12)


def test_batches_of_any_size_give_the_statistics_of_the_whole():
    numbers = features(101, 6, 8, shift=1e6)  # far from 0: squares alone would lose the digits
    found = statistics(numbers, batch=7)
    found.update(numbers[:0])
    mean, covariance = found.moments()
    np.testing.assert_allclose(mean, numbers.mean(0), rtol=1e-14)
    np.testing.assert_allclose(covariance, np.cov(numbers, rowvar=False), rtol=1e-8, atol=1e-8)


def test_unsound_features_are_rejected():
    wrong = features(20, 4, 13)
    wrong[[3, 11], 2] = np.nan
    with pytest.raises(ReposeError, match=r"features of real photos: 2 of 20 rows have a NaN .* the first is row 3 "):
        statistics(wrong, "real photos")
