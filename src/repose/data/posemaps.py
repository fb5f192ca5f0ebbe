"""Pose maps: the limbs of a person as straight lines in OpenPose's colors on black (R18).

A map is a (H, W) uint8 array of indices into PALETTE: 0 is the background, i + 1 is limb i of `skeleton.LIMBS`. Later limbs
cover earlier ones. There are no discs at joints, and lines are not antialiased. The pixels are the same on every device, so
that the maps that training redraws after augmentation look like those of the stage.
"""

from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from repose.data.images import to_tensor
from repose.data.skeleton import COLOURS, LIMBS, K

Pixels = TypeVar("Pixels", np.ndarray, Tensor)
PALETTE = np.concatenate([np.zeros((1, 3), np.uint8), COLOURS[: len(LIMBS)]])  # (18, 3) uint8
FARTHEST = 2**15  # px from the corner of the image; a joint farther away counts as missing
MAPS_AT_ONCE = 64  # bounds the memory, and fits a CPU's cache


def draw(keypoints: Pixels, *, height: int, width: int, line_width: float) -> Pixels:
    """The pose maps of keypoints (B, K, 2) in px of the map, NaN for missing: (B, H, W) uint8 palette indices.

    A limb's major axis is the one along which it is longer (x if both are equal). The limb colors the pixels whose
    centers are at most `line_width` / 2 px from the line through its joints and, along the major axis, at most half a px
    beyond them. So a limb between pixel centers ends at its joints, mirrored keypoints give the mirrored line, and a limb of
    length 0 is a dot of one px by `line_width` px. Limbs are clipped to the map. A limb is left out if a joint is missing or
    farther away than FARTHEST.

    All arithmetic consists of single float32 additions, multiplications, divisions and square roots, which IEEE 754 rounds
    in only one way, so the maps have the same bits on every device.

    The maps are arrays or tensors, as the keypoints are, on the same device.

    Raises:
        ValueError: the keypoints are not (B, K, 2), or `line_width` is below 1 px.
    """
    if keypoints.ndim != 3 or tuple(keypoints.shape[1:]) != (K, 2):
        raise ValueError(f"keypoints should be (B, {K}, 2), not {tuple(keypoints.shape)}.")
    if not line_width >= 1:
        raise ValueError(
            f"the line_width of a limb should be at least 1 px, not {line_width}: its line would have gaps."
        )
    if isinstance(keypoints, np.ndarray):
        tensor = torch.from_numpy(np.array(keypoints, np.float32))
        return draw(tensor, height=height, width=width, line_width=line_width).numpy()
    maps = torch.zeros((len(keypoints), height, width), dtype=torch.uint8, device=keypoints.device)
    for first in range(0, len(keypoints), MAPS_AT_ONCE):
        part = slice(first, first + MAPS_AT_ONCE)
        _draw(maps[part], keypoints[part].float(), line_width)
    return maps


def colour(indices: Pixels) -> Pixels:
    """Palette indices (..., H, W) as an image: (..., H, W, 3) uint8 (arrays) or (..., 3, H, W) float32 in [-1, 1] (tensors).

    The background is black: 0 in an array, -1 in a tensor.
    """
    if isinstance(indices, np.ndarray):
        return np.take(PALETTE, indices, axis=0)
    flat = indices.reshape(-1).int()
    return torch.stack([channel.index_select(0, flat).view(indices.shape) for channel in _channels(indices.device)], -3)


@cache
def _channels(device: torch.device) -> Tensor:
    """The palette on a device, copied there once: (3, 18) float32 in [-1, 1]."""
    return to_tensor(PALETTE[:, None])[..., 0].to(device)


def _draw(canvas: Tensor, keypoints: Tensor, line_width: float) -> None:
    """Draw on a blank canvas (B, H, W)."""
    maps, height, width = canvas.shape
    number, steep, along, low, more = _steps(keypoints, line_width, height, width)
    if len(number) == 0:
        return
    stride, stride_across = torch.where(steep, width, 1), torch.where(steep, 1, width)
    first = number % maps * (height * width) + along * stride + low * stride_across
    # Short steps repeat their last pixel until they are as long as the longest: all of a limb has one color.
    offsets = torch.minimum(torch.arange(int(more.max()) + 1, device=more.device), more[:, None])
    pixels = first[:, None] + offsets * stride_across[:, None]
    flat, done = canvas.view(-1), 0
    for limb, count in enumerate(torch.bincount(number // maps).tolist()):
        flat[pixels[done : done + count]] = limb + 1
        done += count


def _steps(
    keypoints: Tensor, line_width: float, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The steps along the major axes of limbs at which they color pixels of the image, limb by limb; each (m,) int64.

    Returns: limb * B + map, whether the major axis is y (bool), px along, the first pixel across, and the number of pixels
    after it.
    """
    joints = keypoints[:, [joint for limb in LIMBS for joint in limb]].reshape(-1, len(LIMBS), 2, 2)
    ends = joints.swapaxes(0, 1).reshape(-1, 2, 2)  # (17 * B, 2 ends, xy), limb by limb
    known = (ends.abs() <= FARTHEST).all(-1).all(-1)  # False for NaN
    number = known.nonzero()[:, 0]
    (x0, y0), (x1, y1) = ((ends[known, end, 0], ends[known, end, 1]) for end in (0, 1))
    steep = (y1 - y0).abs() > (x1 - x0).abs()
    start, end = torch.where(steep, y0, x0), torch.where(steep, y1, x1)
    across, across_end = torch.where(steep, x0, y0), torch.where(steep, x1, y1)
    length = end - start
    slope = (across_end - across) / (length + (length == 0))  # px across per px along, in [-1, 1]
    reach = torch.sqrt(slope * slope + 1) * (line_width / 2)  # px across from the middle of the line to its edge

    first = torch.ceil(torch.minimum(start, end) - 0.5).clip(min=0)
    last = torch.minimum(torch.floor(torch.maximum(start, end) + 0.5), torch.where(steep, height - 1.0, width - 1.0))
    line, position = runs((last - first).long().clip(min=-1) + 1)
    along = first.long()[line] + position
    middle = across[line] + slope[line] * (along.float() - start[line])
    low = torch.ceil(middle - reach[line]).clip(min=0)
    last_across = torch.where(steep, width - 1.0, height - 1.0)[line]
    high = torch.minimum(torch.floor(middle + reach[line]), last_across)
    inside = low <= high
    line = line[inside]
    return number[line], steep[line], along[inside], low[inside].long(), (high - low)[inside].long()


def runs(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate runs of the lengths (n,): for each entry, the number of its run and its position in it."""
    run, starts = torch.repeat_interleave(lengths), lengths.cumsum(0) - lengths
    return run, torch.arange(len(run), device=lengths.device) - starts[run]
