"""The Inception Score (Salimans et al. 2016) of a classifier's logits, as torch-fidelity computes it.

It grows with the number of images, and depends a little on their order, so number, splits and order are part of a protocol;
so is the classifier: published scores are of TensorFlow's Inception of 2015, 1,008 logits without bias.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import finite, protocol_of

SPLITS = 10  # of every published score in this field
# In which order the images are split: the seed of a shuffle, or None for the order in which they come.
INCEPTION_PROTOCOLS = {
    "tf-2015": None,  # improved-gan's model.py, and PG2, pose-gan and PATN with copies of it
    "torch-fidelity": 2020,  # torch-fidelity's metric_isc.py, unless told otherwise
}


class Score(NamedTuple):
    """An Inception Score."""

    mean: float  # over the splits, at least 1
    deviation: float  # over the splits, divided by their number


class InceptionScore:
    """The score of logits that come batch by batch; it keeps them, 4 kB an image.

    Raises:
        ReposeError: there is no such protocol, or there are fewer images than splits.
    """

    def __init__(self, images: int, protocol: str, splits: int = SPLITS) -> None:
        self._seed = protocol_of(INCEPTION_PROTOCOLS, protocol, "Inception Score")
        if images < splits:
            raise ReposeError(
                f"An Inception Score of {splits} splits takes at least as many images, and there are {images}. Evaluate more "
                "pairs (evaluate.pairs in params.yaml); a score of other splits could not be compared."
            )
        self._images, self._splits, self._logits = images, splits, list[Tensor]()

    def update(self, logits: Tensor | np.ndarray) -> None:
        """Take the next images' logits (B, classes), of any floating kind, on any device.

        Raises:
            ReposeError: a logit is NaN or infinite.
            ValueError: they are not (B, classes).
        """
        self._logits.append(finite(logits, "logits").float().cpu())

    def score(self) -> Score:
        """The score of all images.

        Raises:
            ReposeError: another number of images came than was announced.
        """
        from torch_fidelity.metric_isc import isc_features_to_metric

        seen = sum(map(len, self._logits))
        if seen != self._images:
            raise ReposeError(
                f"The Inception Score was to be of {self._images} images and {seen} came. Evaluate again: a pair of the split "
                "was left out on the way."
            )
        shuffled = self._seed is not None
        found = isc_features_to_metric(torch.cat(self._logits), self._splits, shuffled, self._seed)
        return Score(found["inception_score_mean"], found["inception_score_std"])
