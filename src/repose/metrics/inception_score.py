"""The Inception Score (Salimans et al. 2016) from what a classifier says of generated images; the classifier is not here.

Of each split of the images: exp of the mean over its images of KL(p(y|x) || p(y)), with p(y) the mean of the split's p(y|x).
The score is the mean over the splits, beside their deviation. It grows with the number of images, and depends a little on
their order, so number, splits and order are part of a protocol; so is the classifier: published scores are of TensorFlow's
Inception of 2015, 1,008 logits without bias, and those of another network cannot be compared with them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import floating, protocol_of

SPLITS = 10  # of every published score in this field
# In which order the images are split: the seed of a shuffle, or None for the order in which they come.
INCEPTION_PROTOCOLS = {
    "tf-2015": None,  # improved-gan's model.py, and PG2, pose-gan and PATN with copies of it
    "torch-fidelity": 2020,  # torch-fidelity's metric_isc.py, unless told otherwise
}
_OFF = 1e-3  # how far the sum of probabilities may be from 1: what half precision does to it


class Score(NamedTuple):
    """An Inception Score."""

    mean: float  # over the splits, at least 1
    deviation: float  # over the splits, divided by their number


class InceptionScore:
    """A score that grows batch by batch; it keeps sums only: splits x classes numbers, however many images come.

    The number of images is told at the start, so that each image's split is known when it comes.

    Raises:
        ReposeError: there is no such protocol, or there are fewer images than splits.
        ValueError: splits is not positive.
    """

    def __init__(self, images: int, protocol: str, splits: int = SPLITS) -> None:
        seed = protocol_of(INCEPTION_PROTOCOLS, protocol, "Inception Score")
        if splits < 1:
            raise ValueError(f"splits should be at least 1, not {splits}.")
        if images < splits:
            raise ReposeError(
                f"An Inception Score of {splits} splits takes at least as many images, and there are {images}. Evaluate more "
                "pairs (evaluate.pairs in params.yaml); a score of other splits could not be compared."
            )
        self.images, self.splits, self.seen = images, splits, 0
        self._split_of = torch.from_numpy(_split_of(images, splits, seed))  # (images,)
        self._sums: Tensor | None = None  # (splits, classes) of p
        self._logs: Tensor | None = None  # (splits,) of p log p

    def update(self, logits: Tensor | np.ndarray) -> None:
        """Take the next images' logits (B, classes), of any floating kind, on one device.

        Raises:
            ReposeError: a logit is NaN or infinity (minus infinity is a probability of 0), or all of an image's are minus
                infinity.
            ValueError: they are not (B, classes), of another number of classes, or of more images than were told.
        """
        numbers = floating(logits, "logits")
        probabilities = numbers.softmax(1)  # NaN where the logits are unsound
        self._add(probabilities, unsound=probabilities.isnan().any(1), name="logits")

    def update_probabilities(self, probabilities: Tensor | np.ndarray) -> None:
        """Take the next images' probabilities (B, classes) in place of logits.

        Raises:
            ReposeError: a probability is NaN or below 0, or those of an image do not sum to 1.
            ValueError: as for `update`.
        """
        numbers = floating(probabilities, "probabilities")
        sound = (numbers >= 0).all(1) & ((numbers.sum(1) - 1).abs() <= _OFF)
        self._add(numbers, unsound=~sound, name="probabilities")

    def score(self) -> Score:
        """The score of all images.

        Raises:
            ReposeError: fewer images came than were told.
        """
        if self._sums is None or self._logs is None or self.seen < self.images:
            raise ReposeError(
                f"The Inception Score was to be of {self.images} images and {self.seen} came. Evaluate again: a pair of the "
                "split was left out on the way."
            )
        counts = torch.bincount(self._split_of, minlength=self.splits).to(self._logs)
        means = self._sums / counts[:, None]
        # the mean of KL: p log p of the images less that of their mean, as p(y) is the mean of p(y|x)
        divergence = self._logs / counts + torch.special.entr(means).sum(1)
        scores = divergence.exp()
        return Score(float(scores.mean()), float(scores.std(correction=0)))

    def _add(self, probabilities: Tensor, *, unsound: Tensor, name: str) -> None:
        count, classes = probabilities.shape
        if unsound.any():
            raise ReposeError(
                f"{name}: {int(unsound.sum())} of {count} images have none to go by (a NaN, an infinity, or a sum that is not "
                f"1), the first is image {self.seen + int(unsound.nonzero()[0])}. Look at it; if it is sound, run the "
                "network in float32."
            )
        if self._sums is None or self._logs is None:
            self._sums = probabilities.new_zeros(self.splits, classes)
            self._logs = probabilities.new_zeros(self.splits)
        if classes != self._sums.shape[1]:
            raise ValueError(f"{name} are of {classes} classes, those before of {self._sums.shape[1]}.")
        if self.seen + count > self.images:
            raise ValueError(f"the score was to be of {self.images} images, and {self.seen + count} came.")
        split = self._split_of[self.seen : self.seen + count].to(probabilities.device)
        member = torch.nn.functional.one_hot(split, self.splits).to(probabilities).T  # (splits, B)
        self._sums += member @ probabilities
        self._logs -= member @ torch.special.entr(probabilities).sum(1)
        self.seen += count


def inception_score(logits: Tensor | np.ndarray, protocol: str, splits: int = SPLITS) -> Score:
    """The score of all images at once, of their logits (N, classes); see `InceptionScore`, also for what it raises."""
    whole = InceptionScore(len(logits), protocol, splits)
    whole.update(logits)
    return whole.score()


def _split_of(images: int, splits: int, seed: int | None) -> np.ndarray:
    """The split of each image: (images,) int64. Split i starts at place i * images // splits of the order."""
    starts = np.arange(splits) * images // splits
    of_place = np.searchsorted(starts, np.arange(images), side="right") - 1
    if seed is None:
        return of_place
    split_of = np.empty(images, np.int64)
    split_of[np.random.RandomState(seed).permutation(images)] = of_place
    return split_of
