"""mask-SSIM (PG2, Ma et al. 2017): SSIM of two images that are black outside the person.

Both images are multiplied by PG2's pose mask of the target's keypoints, then compared completely with PG2's SSIM
(score_mask.py). The black outside counts as equal, which makes scores high. PG2's script reads the masks of the *sources* by
mistake; here, as in the paper's text and in pose-gan, the mask is the target's.

The mask does not scale with the image: relative to images smaller than 256x256 or 128x64 it is thicker.
"""

import numpy as np
import torch
from torch import Tensor

from repose.data import pose_mask as drawing
from repose.metrics.batches import image_pairs, protocol_of
from repose.metrics.ssim import ssim

# Of the discs of the mask, and of the square that closes it, in px. The SSIM is that of the same name.
MASK_SSIM_PROTOCOLS = {"pg2": {"radius": 4, "closing": 5}}


def mask_ssim(
    generated: Tensor | np.ndarray, target: Tensor | np.ndarray, keypoints: Tensor | np.ndarray, protocol: str
) -> Tensor:
    """Return the mask-SSIM of each generated image with its target: (B,) float64, at most 1.

    A pair whose target has no limb in the image scores NaN, as two black images would be equal. See `ssim` for the images;
    keypoints (B, K, 2) are the targets' in px, NaN for missing.

    Raises:
        ReposeError: the protocol is unknown, or the images are smaller than the window of its SSIM.
    """
    images, targets = image_pairs(generated, target)
    points, (height, width) = torch.as_tensor(keypoints, device=images.device), images.shape[-2:]
    masks = pose_mask(points, height=height, width=width, protocol=protocol)
    scores = ssim(images * masks[:, None], targets * masks[:, None], protocol)
    return torch.where(masks.any(-1).any(-1), scores, torch.nan)


def pose_mask(keypoints: Tensor | np.ndarray, *, height: int, width: int, protocol: str) -> Tensor:
    """Return the masks of keypoints (B, K, 2) in px, NaN for missing: (B, H, W) bool; see `data.pose_mask`.

    Raises:
        ReposeError: there is no such protocol.
    """
    chosen = protocol_of(MASK_SSIM_PROTOCOLS, protocol, "mask-SSIM")
    return drawing.pose_mask(torch.as_tensor(keypoints), height=height, width=width, **chosen)
