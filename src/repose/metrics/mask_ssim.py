"""mask-SSIM (PG2, Ma et al. 2017): SSIM of two images that are black outside the figure.

The figure is PG2's pose mask of the target's keypoints (datasets/convert_DF.py, _getPoseMask with radius 4): discs along 23
limbs, closed with a square of 5 px. Both images are multiplied by it, then compared as a whole with PG2's SSIM
(score_mask.py); the black outside counts as alike, which makes the numbers high. PG2's script reads the folder with the
masks of the *sources*, by mistake; here, as in the paper's text and in pose-gan, the mask is the target's.

The mask does not grow with the image: at a smaller working size than 256x256 or 128x64 its figure is stouter.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repose.data.posemaps import FARTHEST
from repose.data.skeleton import FIGURE, K
from repose.metrics.batches import image_pairs, protocol_of
from repose.metrics.ssim import ssim


@dataclass(frozen=True)
class MaskProtocol:
    """How the figure is drawn, and how the masked images are compared."""

    radius: int  # of the discs in px
    closing: int  # width and height of the square in px, an odd number
    ssim: str  # a name of SSIM_PROTOCOLS


MASK_SSIM_PROTOCOLS = {"pg2": MaskProtocol(radius=4, closing=5, ssim="pg2")}

_MASKS_AT_ONCE = 64  # bounds the memory


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
    masks = _drawn(points, height=height, width=width, protocol=chosen)  # (B, H, W)
    scores = ssim(images * masks[:, None], targets * masks[:, None], chosen.ssim)
    return torch.where(masks.any(-1).any(-1), scores, torch.nan)


def pose_mask(keypoints: Tensor | np.ndarray, *, height: int, width: int, protocol: str) -> Tensor:
    """The figures of keypoints: (B, H, W) bool, True inside.

    Joints are rounded to whole px first, as PG2's detector gives them. A limb has a disc at both ends and, where it is long
    enough, others a radius or a little more apart between them, at whole px rounded towards 0. A limb with a joint that is
    missing, or farther from the corner than `posemaps.FARTHEST`, is left out.

    Whole numbers are exact: the masks are the same on every device.

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
    return _drawn(points, height=height, width=width, protocol=chosen)


def _drawn(points: Tensor, *, height: int, width: int, protocol: MaskProtocol) -> Tensor:
    masks = torch.zeros((len(points), height, width), dtype=torch.bool, device=points.device)
    for first in range(0, len(points), _MASKS_AT_ONCE):
        part = slice(first, first + _MASKS_AT_ONCE)
        discs = _discs(_ends(points[part]), masks[part], protocol.radius)
        masks[part] = ~_dilated(~_dilated(discs, protocol.closing), protocol.closing)  # dilated, then eroded
    return masks


def _check_keypoints(points: Tensor, *, count: int | None) -> None:
    wanted = (len(points) if count is None else count, K, 2)
    if points.ndim != 3 or tuple(points.shape) != wanted:
        raise ValueError(
            f"keypoints should be ({'B' if count is None else count}, {K}, 2) as the images, not {tuple(points.shape)}."
        )


def _ends(points: Tensor) -> Tensor:
    """(B, K, 2) -> (B, 23 limbs, 2 ends, xy) float64, whole or NaN."""
    return points[:, [list(limb) for limb in FIGURE]].double().round()


def _discs(ends: Tensor, blank: Tensor, radius: int) -> Tensor:
    """Discs along the limbs (B, 23, 2, 2) of images like `blank` (B, H, W): (B, H, W) bool."""
    image, centres = _centres(ends, radius)  # (m,), (m, xy)
    (height, width), edge = blank.shape[1:], 2 * radius  # a canvas on which discs that touch the image lie as a whole
    x, y = (centres + edge).unbind(1)
    touching = (x >= radius) & (x < width + 3 * radius) & (y >= radius) & (y < height + 3 * radius)
    rows, columns = height + 2 * edge, width + 2 * edge
    first = ((image * rows + y) * columns + x)[touching]
    canvas = torch.zeros((len(blank), rows, columns), dtype=torch.bool, device=blank.device)
    canvas.view(-1)[first[:, None] + _disc(radius, columns, first.device)] = True
    return canvas[:, edge : edge + height, edge : edge + width]


def _centres(ends: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The number of the image and the whole px of each disc: (m,) and (m, xy) int64."""
    known = (ends.abs() <= FARTHEST).all(-1).all(-1)  # (B, 23); NaN is not
    image = known.nonzero()[:, 0]  # (n,)
    start, end = ends[known].long().unbind(1)  # (n, xy)
    length = (end - start).square().sum(1).double().sqrt()
    steps = (length / radius).long().clamp(min=1)
    limb = torch.repeat_interleave(steps + 1)
    step = torch.arange(len(limb), device=ends.device) - ((steps + 1).cumsum(0) - (steps + 1))[limb]
    steps, step = steps[limb, None], step[:, None]
    along = start[limb] * steps + (end - start)[limb] * step
    return image[limb], torch.div(along, steps, rounding_mode="trunc")


def _disc(radius: int, columns: int, device: torch.device) -> Tensor:
    """Where the pixels of a disc lie from its centre, in an image of so many columns: (p,) int64."""
    offsets = torch.arange(-radius, radius + 1, device=device)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    return (y * columns + x)[y * y + x * x <= radius * radius]


def _dilated(mask: Tensor, size: int) -> Tensor:
    """True where the square of `size` px around a pixel has a True one; outside the image there is none."""
    reach = size // 2
    for dim, padding in ((-1, (reach, reach)), (-2, (0, 0, reach, reach))):
        padded = F.pad(mask, padding)
        length = mask.shape[dim]
        mask = padded.narrow(dim, 0, length)
        for offset in range(1, size):
            mask = mask | padded.narrow(dim, offset, length)
    return mask
