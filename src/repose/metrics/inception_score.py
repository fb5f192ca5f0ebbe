"""The Inception Score (Salimans et al. 2016) of a classifier's logits, as computed by torch-fidelity.

It grows with the number of images and depends slightly on their order, so number, splits and order are part of a protocol.
Published scores use TensorFlow's Inception of 2015, with 1,008 logits without bias.
"""

import numpy as np
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import finite, protocol_of

SPLITS = 10  # of every published score in this field
# The seed of a shuffle before the images are split; None: no shuffle.
INCEPTION_PROTOCOLS = {
    "tf-2015": None,  # improved-gan's model.py, and PG2, pose-gan and PATN with copies of it
    "torch-fidelity": 2020,  # the default of torch-fidelity's metric_isc.py
}


class InceptionScore:
    """The score of logits that arrive in batches. Keeps all logits, 4 kB per image."""

    def __init__(self, images: int, protocol: str) -> None:
        """Prepare the score of a number of images.

        Raises:
            ReposeError: the protocol is unknown, or there are fewer images than splits.
        """
        self._seed = protocol_of(INCEPTION_PROTOCOLS, protocol, "Inception Score")
        if images < SPLITS:
            raise ReposeError(
                f"An Inception Score of {SPLITS} splits needs at least as many images, but there are {images}. Evaluate more "
                "pairs (evaluate.pairs in params.yaml). A score with other splits would not be comparable."
            )
        self._logits: list[Tensor] = []

    def update(self, logits: Tensor | np.ndarray) -> None:
        """Add the logits (B, classes) of the next images. Raises a ReposeError if one is NaN or infinite."""
        self._logits.append(finite(logits, "logits").float().cpu())

    def score(self) -> tuple[float, float]:
        """Return the mean over the splits, at least 1, and the standard deviation, divided by their number."""
        from torch_fidelity.metric_isc import isc_features_to_metric

        found = isc_features_to_metric(torch.cat(self._logits), SPLITS, self._seed is not None, self._seed)
        return found["inception_score_mean"], found["inception_score_std"]
