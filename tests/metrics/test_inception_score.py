import numpy as np
import pytest

from repose.metrics.inception_score import INCEPTION_PROTOCOLS
from together import inception_score

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def logits(count, classes, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (count, classes)).astype(np.float32)


def slow_score(numbers, seed, splits=10):
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
@pytest.mark.parametrize(("count", "classes", "batch"), [(400, 1008, 64), (203, 20, 7)])
def test_equals_the_definition_with_batches_of_any_size(count, classes, batch, protocol):
    numbers = logits(count, classes)
    found = inception_score(numbers, protocol, batch)
    assert found == pytest.approx(slow_score(numbers, INCEPTION_PROTOCOLS[protocol]), rel=1e-9, abs=1e-9)
    assert found[0] > 1
