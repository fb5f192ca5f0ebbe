"""Garment retrieval (ours): is the real photo that is nearest to a generated image, by its features, one of the same item?

Features are those of any network, of the figure or of the whole image: its name belongs beside the number, and so does the
number of real photos. Chance, what a generator would score whose nearest photo is any one of them, stands beside it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import finite

# Squared distances closer than this share of the vectors' squared lengths are equal: rounding, which is below 1e-12, decides
# nothing.
TIE = 1e-10
_AT_ONCE = 256  # generated images: bounds the memory


def nearest(generated: Tensor | np.ndarray, real: Tensor | np.ndarray) -> Tensor:
    """Which real photo each generated image's features are nearest to: (B,) int64; of several as near, the first.

    Args:
        generated: (B, D) features of any floating kind, on any device.
        real: (M, D) features on the same device; float64 is not copied.

    Raises:
        ReposeError: there is no real photo, or a feature is NaN or infinite.
        ValueError: the features are not (B, D) and (M, D).
    """
    images, photos = finite(generated, "features of the generated images"), finite(real, "features of the real photos")
    if not len(photos):
        raise ReposeError("There is no real photo to retrieve. Name a part of the split that has photos.")
    if images.shape[1] != photos.shape[1]:
        raise ValueError(f"features of generated images are {images.shape[1]} and of real photos {photos.shape[1]}.")
    photo_squares, found = photos.square().sum(1), []  # (M,)
    for some in images.split(_AT_ONCE):
        # |x - y|^2, less |x|^2, which is the same for all photos
        distances = torch.addmm(photo_squares, some, photos.T, alpha=-2)  # (b, M)
        equal = TIE * (some.square().sum(1, keepdim=True) + photo_squares.max())
        close = distances <= distances.amin(1, keepdim=True) + equal
        numbers = torch.arange(len(photos), device=photos.device)
        found.append(torch.where(close, numbers, len(photos)).amin(1))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=images.device)


def garment_retrieval(
    generated: Tensor | np.ndarray,
    real: Tensor | np.ndarray,
    *,
    generated_items: Sequence[str] | np.ndarray,
    real_items: Sequence[str] | np.ndarray,
) -> np.ndarray:
    """Whether each generated image's nearest real photo is of its item: (B,) bool. The mean is the share.

    Args:
        generated: (B, D) features, see `nearest`.
        real: (M, D) features.
        generated_items: the item that each generated image should show, (B,).
        real_items: the item of each real photo, (M,).

    Raises:
        ReposeError: as `nearest`.
        ValueError: as `nearest`, or the items are not as many as the features.
    """
    for name, features, items in (("generated", generated, generated_items), ("real", real, real_items)):
        if len(features) != len(items):
            raise ValueError(f"{name} has {len(features)} rows of features and {len(items)} items.")
    found = nearest(generated, real).cpu().numpy()
    return np.asarray(real_items)[found] == np.asarray(generated_items)


def retrieval_chance(generated_items: Sequence[str] | np.ndarray, real_items: Sequence[str] | np.ndarray) -> np.ndarray:
    """How likely a photo drawn from the real ones is of each generated image's item: (B,) float64. The mean is chance.

    Raises:
        ReposeError: there is no real photo.
    """
    if not len(real_items):
        raise ReposeError("There is no real photo to retrieve. Name a part of the split that has photos.")
    items, counts = np.unique(np.asarray(real_items), return_counts=True)
    wanted = np.asarray(generated_items)
    place = np.searchsorted(items, wanted).clip(max=len(items) - 1)
    return np.where(items[place] == wanted, counts[place], 0) / len(real_items)
