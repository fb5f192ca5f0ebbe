"""mask-SSIM (PG2, Ma et al. 2017): SSIM of two images that are black outside the figure.

The figure is PG2's pose mask of the target's keypoints (`data.pose_mask`, with discs of radius 4, closed with a square of
5 px). Both images are multiplied by it, then compared as a whole with PG2's SSIM
(score_mask.py); the black outside counts as alike, which makes the numbers high. PG2's script reads the folder with the
masks of the *sources*, by mistake; here, as in the paper's text and in pose-gan, the mask is the target's.

The mask does not grow with the image: at a smaller working size than 256x256 or 128x64 its figure is stouter.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repose.data.pose_mask import pose_mask as _drawn
from repose.data.skeleton import K
from repose.metrics.batches import image_pairs, protocol_of
from repose.metrics.ssim import ssim


@dataclass(frozen=True)
class MaskProtocol:
    """How the figure is drawn, and how the masked images are compared."""

    radius: int  # of the discs in px
    closing: int  # width and height of the square in px, an odd number
    ssim: str  # a name of SSIM_PROTOCOLS


MASK_SSIM_PROTOCOLS = {"pg2": MaskProtocol(radius=4, closing=5, ssim="pg2")}


def mask_ssim(
    generated: Tensor | np.ndarray, target: Tensor | np.ndarray, keypoints: Tensor | np.ndarray, protocol: str
) -> Tensor:
    """mask-SSIM of each generated image with its target: (B,) float64, at most 1; NaN for pairs that are left out.

    Left out are pairs whose target has no limb in the image: two black images would be alike. Count the NaNs and report the
    count beside the mean of the rest.

    Args:
        generated: A (B, 3, H, W) uint8 tensor on any device, or a (B, H, W, 3) uint8 numpy array.
        target: Likewise, of the same size.
        keypoints: (B, K, 2) of the targets in px, NaN for missing.
        protocol: A name of MASK_SSIM_PROTOCOLS.

    Raises:
        ReposeError: there is no such protocol, or the images are smaller than the window of its SSIM.
        ValueError: shapes or types are others.
    """
    chosen = protocol_of(MASK_SSIM_PROTOCOLS, protocol, "mask-SSIM")
    images, targets = image_pairs(generated, target)
    points = torch.as_tensor(keypoints, device=images.device)
    _check_keypoints(points, count=len(images))
    height, width = images.shape[-2:]
    masks = _drawn(points, height=height, width=width, radius=chosen.radius, closing=chosen.closing)  # (B, H, W)
    scores = ssim(images * masks[:, None], targets * masks[:, None], chosen.ssim)
    return torch.where(masks.any(-1).any(-1), scores, torch.nan)


def pose_mask(keypoints: Tensor | np.ndarray, *, height: int, width: int, protocol: str) -> Tensor:
    """The figures of keypoints: (B, H, W) bool, True inside; see `data.pose_mask`.

    Args:
        keypoints: (B, K, 2) in px of the image, NaN for missing, a numpy array or a tensor on any device.
        height: H in px.
        width: W in px.
        protocol: A name of MASK_SSIM_PROTOCOLS.

    Raises:
        ReposeError: there is no such protocol.
        ValueError: the keypoints are not (B, K, 2).
    """
    chosen, points = protocol_of(MASK_SSIM_PROTOCOLS, protocol, "mask-SSIM"), torch.as_tensor(keypoints)
    _check_keypoints(points, count=None)
    return _drawn(points, height=height, width=width, radius=chosen.radius, closing=chosen.closing)


def _check_keypoints(points: Tensor, *, count: int | None) -> None:
    wanted = (len(points) if count is None else count, K, 2)
    if points.ndim != 3 or tuple(points.shape) != wanted:
        raise ValueError(
            f"keypoints should be ({'B' if count is None else count}, {K}, 2) as the images, not {tuple(points.shape)}."
        )
