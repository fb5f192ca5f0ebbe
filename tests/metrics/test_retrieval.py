import numpy as np
import pytest
import torch

from repose.errors import ReposeError
from repose.metrics import retrieval
from repose.metrics.retrieval import garment_retrieval, nearest, retrieval_chance

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def features(count, size, seed):
    return np.random.default_rng(seed).normal(0, 1, (count, size)).astype(np.float32)


def items(count, of, seed):
    return [f"id_{number:08d}" for number in np.random.default_rng(seed).integers(0, of, count)]


def slow_nearest(generated, real):
    return [int(np.argmin([np.linalg.norm(one.astype(float) - photo) for photo in real])) for one in generated]


def test_equals_a_search_photo_by_photo():
    generated, real = features(300, 24, 0), features(130, 24, 1)  # more than are searched for at once
    found = nearest(generated, real)
    assert (found.shape, found.dtype) == ((300,), torch.int64)
    assert found.tolist() == slow_nearest(generated, real)
    assert len(set(found.tolist())) > 50
    wanted, there = items(300, 20, 2), items(130, 20, 3)
    hits = garment_retrieval(generated, real, generated_items=wanted, real_items=there)
    assert hits.dtype == np.bool_
    assert hits.tolist() == [there[photo] == item for photo, item in zip(found.tolist(), wanted, strict=True)]
    assert 0 < hits.mean() < 0.2


def test_equals_it_far_from_zero():
    generated, real = features(40, 8, 4) + 1e3, features(50, 8, 5) + 1e3
    assert nearest(generated, real).tolist() == slow_nearest(generated, real)


def test_of_several_as_near_it_is_the_first_wherever_they_stand():
    real = features(40, 33, 6)
    for first, second in ((3, 30), (0, 39), (17, 18)):
        doubled = real.copy()
        doubled[second] = doubled[first]
        generated = np.repeat(doubled[second : second + 1], 9, 0) + 0.01 * features(9, 33, 7)
        assert nearest(generated, doubled).tolist() == [first] * 9
        assert nearest(doubled[[second]], doubled).tolist() == [first]
    assert nearest(np.zeros((1, 2)), np.array([[0, 1.0], [1, 0], [0, -1], [-1, 0]])).tolist() == [0]


def test_batches_of_any_size_and_kind_find_the_same(monkeypatch):
    generated, real = features(70, 16, 8), features(60, 16, 9)
    found = nearest(generated, real)
    assert torch.equal(nearest(torch.from_numpy(generated), torch.from_numpy(real).double()), found)
    assert torch.equal(torch.cat([nearest(generated[i : i + 1], real) for i in range(70)]), found)
    monkeypatch.setattr(retrieval, "_AT_ONCE", 9)
    assert torch.equal(nearest(generated, real), found)
    assert nearest(generated[:0], real).shape == (0,)
    assert garment_retrieval(generated[:0], real, generated_items=[], real_items=["a"] * 60).shape == (0,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_finds_the_same():
    generated, real = (torch.from_numpy(features(300, 64, seed)) for seed in (10, 11))
    assert torch.equal(nearest(generated.cuda(), real.cuda()).cpu(), nearest(generated, real))


def test_photos_themselves_are_all_retrieved():
    real, there = features(30, 10, 12), items(30, 8, 13)
    assert garment_retrieval(real, real, generated_items=there, real_items=there).all()


def test_chance_is_what_drawing_a_photo_gives():
    there = np.array(["a", "b", "b", "c"])
    assert retrieval_chance(["a", "b", "c", "d", "0"], there).tolist() == [0.25, 0.5, 0.25, 0, 0]
    assert retrieval_chance([], there).shape == (0,)
    wanted, real = items(500, 10, 14), items(200, 10, 15)
    drawn = np.random.default_rng(16).choice(real, (2000, 500)) == np.array(wanted)
    assert retrieval_chance(wanted, real).mean() == pytest.approx(drawn.mean(), abs=1e-3)


def test_without_a_real_photo_there_is_nothing_to_retrieve():
    with pytest.raises(ReposeError, match="There is no real photo to retrieve"):
        nearest(features(3, 4, 0), features(0, 4, 0))
    with pytest.raises(ReposeError, match="There is no real photo to retrieve"):
        retrieval_chance(["a"], [])


@pytest.mark.parametrize("unsound", [np.nan, np.inf])
def test_unsound_features_are_refused(unsound):
    sound, wrong = features(6, 4, 0), features(6, 4, 0)
    wrong[2, 1] = unsound
    with pytest.raises(ReposeError, match=r"features of the generated images: 1 of 6 rows have a NaN .* row 2"):
        nearest(wrong, sound)
    with pytest.raises(ReposeError, match="features of the real photos: 1 of 6 rows"):
        nearest(sound, wrong)


def test_arguments_of_a_wrong_kind_are_refused():
    sound = features(6, 4, 0)
    with pytest.raises(ValueError, match="features of generated images are 4 and of real photos 3"):
        nearest(sound, features(6, 3, 0))
    with pytest.raises(ValueError, match=r"features of the real photos should be \(B, D\)"):
        nearest(sound, sound[0])
    with pytest.raises(ValueError, match="generated has 6 rows of features and 5 items"):
        garment_retrieval(sound, sound, generated_items=["a"] * 5, real_items=["a"] * 6)
    with pytest.raises(ValueError, match="real has 6 rows of features and 7 items"):
        garment_retrieval(sound, sound, generated_items=["a"] * 6, real_items=["a"] * 7)
