import numpy as np
import pytest
import torch

from repose.errors import ReposeError
from repose.metrics import retrieval
from repose.metrics.retrieval import nearest

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def features(count, size, seed):
    return np.random.default_rng(seed).normal(0, 1, (count, size)).astype(np.float32)


def slow_nearest(generated, real):
    return [int(np.argmin([np.linalg.norm(one.astype(float) - photo) for photo in real])) for one in generated]


@pytest.mark.parametrize("shift", [0, 1e3])
def test_equals_a_search_photo_by_photo(shift):
    generated, real = features(300, 24, 0) + np.float32(shift), features(130, 24, 1) + np.float32(shift)
    found = nearest(generated, real)
    assert (found.shape, found.dtype) == ((300,), torch.int64)
    assert found.tolist() == slow_nearest(generated, real)


@pytest.mark.parametrize(("first", "second"), [(3, 30), (0, 39), (17, 18)])
def test_of_several_as_near_it_is_the_first_wherever_they_stand(first, second):
    real = features(40, 33, 6)
    real[second] = real[first]
    generated = np.repeat(real[[second]], 9, 0) + 0.01 * features(9, 33, 7)
    assert nearest(generated, real).tolist() == [first] * 9


def test_batches_of_any_size_and_kind_find_the_same(monkeypatch):
    generated, real = features(70, 16, 8), features(60, 16, 9)
    found = nearest(generated, real)
    assert torch.equal(nearest(torch.from_numpy(generated), torch.from_numpy(real).double()), found)
    monkeypatch.setattr(retrieval, "_AT_ONCE", 9)
    assert torch.equal(nearest(generated, real), found)


def test_unsound_features_are_rejected():
    wrong = features(6, 4, 0)
    wrong[2, 1] = np.nan
    with pytest.raises(ReposeError, match=r"features of the generated images: 1 of 6 rows have a NaN .* row 2"):
        nearest(wrong, features(6, 4, 0))
