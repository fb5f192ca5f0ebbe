"""PG2's pose mask (Ma et al. 2017): the area of a person, drawn from keypoints, for PG2's loss and for mask-SSIM.

As in the authors' datasets/convert_DF.py, _getPoseMask: discs along 23 limbs, then closed with a square.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from repose.data.posemaps import FARTHEST, runs
from repose.data.skeleton import FIGURE

_MASKS_AT_ONCE = 64  # bounds the memory


def pose_mask(keypoints: Tensor, *, height: int, width: int, radius: int, closing: int) -> Tensor:
    """The masks of keypoints: (B, H, W) bool, True inside.

    Joints are first rounded to whole px, as from PG2's detector. A limb has a disc at both ends and, if it is long enough,
    further discs in between, at least a radius apart, at whole px rounded towards 0. A limb is left out if a joint is missing,
    or farther from the corner than `posemaps.FARTHEST`.

    The arithmetic is exact, on whole numbers, so the masks are the same on every device.

    Args:
        keypoints: (B, K, 2) in px of the image, NaN for missing.
        height: H in px.
        width: W in px.
        radius: radius of the discs in px.
        closing: side in px of the square by which the mask is dilated, then eroded; odd.
    """
    masks = torch.zeros((len(keypoints), height, width), dtype=torch.bool, device=keypoints.device)
    for first in range(0, len(keypoints), _MASKS_AT_ONCE):
        part = slice(first, first + _MASKS_AT_ONCE)
        ends = keypoints[part][:, [list(limb) for limb in FIGURE]].double().round()  # (B, 23 limbs, 2 ends, xy)
        discs = _discs(ends, masks[part], radius)
        masks[part] = ~_dilated(~_dilated(discs, closing), closing)
    return masks


def _discs(ends: Tensor, blank: Tensor, radius: int) -> Tensor:
    """Discs along the limbs (B, 23, 2, 2) of images like `blank` (B, H, W): (B, H, W) bool."""
    image, centres = _centres(ends, radius)  # (m,), (m, xy)
    (height, width), edge = blank.shape[1:], 2 * radius  # a canvas large enough for discs that touch the image
    x, y = (centres + edge).unbind(1)
    touching = (x >= radius) & (x < width + 3 * radius) & (y >= radius) & (y < height + 3 * radius)
    rows, columns = height + 2 * edge, width + 2 * edge
    first = ((image * rows + y) * columns + x)[touching]
    canvas = torch.zeros((len(blank), rows, columns), dtype=torch.bool, device=blank.device)
    offset = torch.arange(-radius, radius + 1, device=blank.device)
    down, right = torch.meshgrid(offset, offset, indexing="ij")
    disc = (down * columns + right)[down * down + right * right <= radius * radius]  # (p,) px from the center
    canvas.view(-1)[first[:, None] + disc] = True
    return canvas[:, edge : edge + height, edge : edge + width]


def _centres(ends: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The image's number and the whole px of each disc: (m,) and (m, xy) int64."""
    known = (ends.abs() <= FARTHEST).all(-1).all(-1)  # (B, 23); False for NaN
    image = known.nonzero()[:, 0]  # (n,)
    start, end = ends[known].long().unbind(1)  # (n, xy)
    length = (end - start).square().sum(1).double().sqrt()
    steps = (length / radius).long().clamp(min=1)
    limb, step = runs(steps + 1)
    steps, step = steps[limb, None], step[:, None]
    along = start[limb] * steps + (end - start)[limb] * step
    return image[limb], torch.div(along, steps, rounding_mode="trunc")


def _dilated(mask: Tensor, size: int) -> Tensor:
    """True where the square of `size` px around a pixel contains a True pixel; pixels outside the image are False."""
    reach = size // 2
    for dim, padding in ((-1, (reach, reach)), (-2, (0, 0, reach, reach))):  # max_pool2d is 20 times slower on a CPU
        padded = F.pad(mask, padding)
        length = mask.shape[dim]
        mask = padded.narrow(dim, 0, length)
        for offset in range(1, size):
            mask = mask | padded.narrow(dim, offset, length)
    return mask
