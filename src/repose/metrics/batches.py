"""Checks of the inputs of metrics: protocol names, 8-bit images, features of a network."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from repose.config import nearest
from repose.errors import ReposeError

T = TypeVar("T")


def protocol_of(protocols: Mapping[str, T], name: str, metric: str) -> T:
    """Return the protocol with a name. Raises a ReposeError if there is none."""
    if name not in protocols:
        raise ReposeError(f"There is no {metric} protocol {name!r}{nearest(name, list(protocols))}")
    return protocols[name]


def image_pairs(generated: Tensor | np.ndarray, target: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    """Return both as (B, 3, H, W) uint8 tensors on their device; arrays are (B, H, W, 3).

    Raises:
        ValueError: the images are not uint8, do not have three channels or differ in size.
    """
    images, targets = _images(generated, "generated"), _images(target, "target")
    if images.shape != targets.shape:
        raise ValueError(f"generated is {tuple(images.shape)} and target {tuple(targets.shape)}: they should be equal.")
    return images, targets


def _images(images: Tensor | np.ndarray, name: str) -> Tensor:
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if not isinstance(images, Tensor) and tensor.ndim == 4:
        tensor = tensor.movedim(-1, 1)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[1] != 3:
        wanted = "(B, 3, H, W)" if isinstance(images, Tensor) else "(B, H, W, 3)"
        raise ValueError(f"{name} should be {wanted} uint8, not {tuple(images.shape)} {images.dtype}.")
    return tensor


def finite(features: Tensor | np.ndarray, name: str) -> Tensor:
    """Return features (B, D) as a float64 tensor on their device. Raises a ReposeError if one is NaN or infinite."""
    tensor = features if isinstance(features, Tensor) else torch.from_numpy(np.ascontiguousarray(features))
    unsound = ~tensor.isfinite().all(1)
    if unsound.any():
        raise ReposeError(
            f"{name}: {int(unsound.sum())} of {len(tensor)} rows have a NaN or an infinity, the first is row "
            f"{int(unsound.nonzero()[0])} of its batch. Look at that image; if it is sound, run the network in float32."
        )
    return tensor.double()
