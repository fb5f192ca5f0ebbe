import numpy as np
import pytest
import torch

from repose.errors import ReposeError
from repose.metrics.inception_score import INCEPTION_PROTOCOLS, SPLITS, InceptionScore

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def inception_score(numbers, protocol, splits=SPLITS):
    whole = InceptionScore(len(numbers), protocol, splits)
    whole.update(numbers)
    return whole.score()


def logits(count, classes, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(0, scale, (count, classes)).astype(np.float32)


def slow_score(numbers, splits, seed=None):
    """All images at once, in float64, the divergence as it is defined."""
    numbers = numbers.astype(np.float64)
    if seed is not None:
        numbers = numbers[np.random.RandomState(seed).permutation(len(numbers))]
    probabilities = np.exp(numbers - numbers.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    scores = []
    for split in range(splits):
        part = probabilities[split * len(numbers) // splits : (split + 1) * len(numbers) // splits]
        divergences = [(one * np.log(one / part.mean(0))).sum() for one in part]
        scores.append(np.exp(np.mean(divergences)))
    return np.mean(scores), np.std(scores)


@pytest.mark.parametrize("protocol", INCEPTION_PROTOCOLS)
@pytest.mark.parametrize(
    ("count", "classes", "splits"), [(400, 1008, 10), (203, 20, 10), (10, 7, 10), (57, 5, 1), (31, 6, 7)]
)
def test_equals_the_definition(count, classes, splits, protocol):
    numbers = logits(count, classes)
    found = inception_score(numbers, protocol, splits)
    assert found == pytest.approx(slow_score(numbers, splits, INCEPTION_PROTOCOLS[protocol]), rel=1e-9, abs=1e-9)
    assert found.mean > 1 or count == splits  # one image is its own mean


def test_the_order_counts_a_little_and_only_where_it_is_not_shuffled_away():
    numbers = np.sort(logits(200, 12), axis=0)
    there, shuffled = (inception_score(numbers, protocol).mean for protocol in ("tf-2015", "torch-fidelity"))
    assert abs(there - shuffled) > 0.01


def test_sure_and_even_predictions_score_the_number_of_classes():
    sure = np.full((40, 4), -50.0)
    sure[np.arange(40), np.arange(40) % 4] = 0
    assert inception_score(sure, "tf-2015") == pytest.approx((4, 0))
    one_class = np.tile(sure[:1], (40, 1))
    assert inception_score(one_class, "tf-2015") == pytest.approx((1, 0))
    unsure = np.zeros((40, 4))
    assert inception_score(unsure, "tf-2015") == pytest.approx((1, 0))


@pytest.mark.parametrize("protocol", INCEPTION_PROTOCOLS)
def test_batches_of_any_size_give_the_score_of_the_whole(protocol):
    numbers = torch.from_numpy(logits(101, 30))
    for size in (1, 7, 64):
        growing = InceptionScore(101, protocol)
        for some in numbers.split(size):
            growing.update(some)
        assert growing.score() == pytest.approx(inception_score(numbers, protocol), rel=1e-12)


def test_half_precision_is_taken():
    numbers = torch.from_numpy(logits(50, 9))
    assert inception_score(numbers.half(), "tf-2015") == pytest.approx(
        inception_score(numbers, "tf-2015"), rel=3e-3, abs=3e-3
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_same_number():
    numbers = torch.from_numpy(logits(300, 1008))
    assert inception_score(numbers.cuda(), "tf-2015") == pytest.approx(inception_score(numbers, "tf-2015"), rel=1e-9)


@pytest.mark.parametrize("images", [0, 9])
def test_fewer_images_than_splits_are_refused(images):
    with pytest.raises(
        ReposeError, match=f"of 10 splits takes at least as many images, and there are {images}. Evaluate more"
    ):
        inception_score(logits(images, 5), "tf-2015")


@pytest.mark.parametrize("count", [0, 19, 21])
def test_a_score_of_another_number_of_images_is_refused(count):
    growing = InceptionScore(20, "tf-2015")
    growing.update(logits(count, 4))
    with pytest.raises(ReposeError, match=f"of 20 images and {count} came"):
        growing.score()


@pytest.mark.parametrize("unsound", [np.nan, np.inf, -np.inf])
def test_unsound_logits_are_refused(unsound):
    wrong = logits(20, 4)
    wrong[[5, 9], 2] = unsound
    with pytest.raises(ReposeError, match=r"logits: 2 of 20 rows have a NaN or an infinity, the first is row 5 "):
        InceptionScore(20, "tf-2015").update(wrong)


def test_numbers_of_a_wrong_kind_are_refused():
    for wrong in (logits(10, 4)[0], logits(10, 4).astype(int), logits(10, 0)):
        with pytest.raises(ValueError, match=r"logits should be \(B, D\) floating numbers with D at least 1, not"):
            inception_score(wrong, "tf-2015", 1)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(
        ReposeError, match=r"protocol 'tf-2016'; there are tf-2015, torch-fidelity\. Did you mean 'tf-2015'\?"
    ):
        inception_score(logits(10, 4), "tf-2016")
    with pytest.raises(ReposeError, match=r"there are tf-2015, torch-fidelity\.$"):
        inception_score(logits(10, 4), "xyz")
