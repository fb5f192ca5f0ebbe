import numpy as np
import pytest
from scipy.linalg import sqrtm

from repose.errors import ReposeError
from repose.metrics.frechet import frechet_distance
from together import distance, statistics

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def features(count, size, seed, shift=0.0):
    """Correlated numbers of scales apart."""
    random = np.random.default_rng(seed)
    return random.normal(0, 1, (count, size)) @ random.normal(0, 1, (size, size)) * random.uniform(0.1, 3, size) + shift


def by_numpy(generated, real, trace_of_root):
    shift = generated.mean(0) - real.mean(0)
    first, second = np.cov(generated, rowvar=False), np.cov(real, rowvar=False)
    return shift @ shift + np.trace(first) + np.trace(second) - 2 * trace_of_root(first @ second)


def by_scipy(product):  # pytorch-fid's way
    return np.trace(sqrtm(product)).real


def by_eigenvalues(product):  # torch-fidelity's way
    return np.sqrt(np.linalg.eigvals(product).astype(complex)).sum().real


@pytest.mark.parametrize("trace_of_root", [by_scipy, by_eigenvalues])
@pytest.mark.parametrize(("count", "other", "size"), [(300, 250, 64), (40, 200, 3)])
def test_equals_the_references(count, other, size, trace_of_root):
    generated, real = features(count, size, 0, 0.5), features(other, size, 1)
    assert distance(generated, real) == pytest.approx(by_numpy(generated, real, trace_of_root), rel=1e-9)


def test_fewer_images_than_features_have_a_distance():
    generated, real = features(30, 90, 2), features(50, 90, 3, 1.0)
    assert distance(generated, real) == pytest.approx(by_numpy(generated, real, by_eigenvalues), rel=1e-4)
    assert distance(generated, real) == pytest.approx(distance(real, generated), rel=1e-9)


def test_closed_forms():
    real = features(80, 12, 6)
    assert 0 <= distance(real, real) < 1e-9 * np.cov(real, rowvar=False).trace()
    assert distance(real + 2, real) == pytest.approx(4 * 12, rel=1e-9)
    flat = np.ones((5, 12))
    assert distance(flat, 3 * flat) == 4 * 12
    expected = np.square(1 - real.mean(0)).sum() + np.cov(real, rowvar=False).trace()
    assert distance(flat, real) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batches_of_any_size_give_the_statistics_of_the_whole(batch):
    numbers = features(101, 6, 8, shift=1e6)  # far from 0: squares alone would lose the digits
    found = statistics(numbers, batch=batch)
    found.update(numbers[:0])
    mean, covariance = found.moments()
    np.testing.assert_allclose(mean, numbers.mean(0), rtol=1e-14)
    np.testing.assert_allclose(covariance, np.cov(numbers, rowvar=False), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_rejected(count):
    few, enough = statistics(features(1, 4, 0)[:count], "generated images"), statistics(features(9, 4, 1))
    for pair in ((few, enough), (enough, few)):
        with pytest.raises(ReposeError, match=f"two images of each set, but of generated images there are {count}"):
            frechet_distance(*pair)


@pytest.mark.parametrize("unsound", [np.nan, -np.inf])
def test_unsound_features_are_rejected_and_leave_no_trace(unsound):
    numbers = features(20, 4, 13)
    found, wrong = statistics(numbers, "real photos"), numbers.copy()
    wrong[[3, 11], 2] = unsound
    with pytest.raises(ReposeError, match=r"features of real photos: 2 of 20 rows have a NaN .* the first is row 3 "):
        found.update(wrong)
    assert found.count == 20
    assert found.moments()[0].isfinite().all()
