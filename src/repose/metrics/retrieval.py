"""Garment retrieval (ours): whether the real photo nearest to a generated image, by a network's features, is of its item.

Always give the network's name, the number of real photos and the score by chance with a score.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from repose.metrics.batches import finite

# Squared distances that differ by less than this share of the squared lengths count as equal, so that rounding (below 1e-12)
# does not decide.
TIE = 1e-10
_AT_ONCE = 256  # generated images; bounds the memory


def nearest(generated: Tensor | np.ndarray, real: Tensor | np.ndarray) -> Tensor:
    """Return the index of the real photo nearest to each generated image: (B,) int64, the first of equally near ones.

    The features are (B, D), and (M, D) on the same device.

    Raises:
        ReposeError: a feature is NaN or infinite.
    """
    images, photos = finite(generated, "features of the generated images"), finite(real, "features of the real photos")
    photo_squares = photos.square().sum(1)  # (M,)
    numbers, found = torch.arange(len(photos), device=photos.device), []
    for some in images.split(_AT_ONCE):
        # |x - y|^2 - |x|^2; |x|^2 is the same for all photos
        distances = torch.addmm(photo_squares, some, photos.T, alpha=-2)  # (b, M)
        equal = TIE * (some.square().sum(1, keepdim=True) + photo_squares.max())
        close = distances <= distances.amin(1, keepdim=True) + equal
        found.append(torch.where(close, numbers, len(photos)).amin(1))
    return torch.cat(found)


def retrieval_chance(generated_items: Sequence[str] | np.ndarray, real_items: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return the probability that a photo drawn from the real ones is of each generated image's item: (B,) float64."""
    photos = Counter(real_items)
    return np.array([photos[item] for item in generated_items]) / len(real_items)
