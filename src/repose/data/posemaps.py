"""Pose maps: the limbs of a person as straight lines in OpenPose's colours on black (R18).

One function draws them, for numpy arrays and for tensors on any device, with identical pixels: in training, maps are
redrawn after the keypoints are moved, and must look like those that a stage drew. A map is a (H, W) uint8 array of
indices into PALETTE: 0 is the background, i + 1 is limb i of `skeleton.LIMBS`; later limbs lie over earlier ones.

Joints get no discs, and lines are not antialiased: a map has the palette's colours only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from repose.data.frame import Frame
from repose.data.images import to_tensor
from repose.data.records import POSEMAPS, part_files, read_json, read_parts
from repose.data.shards import ShardReader
from repose.data.skeleton import COLOURS, LIMBS, K
from repose.errors import DataError

PALETTE = np.concatenate([np.zeros((1, 3), np.uint8), COLOURS[: len(LIMBS)]])  # (18, 3) uint8

_RGB = np.dtype("V3")  # the three bytes of a pixel, copied as one

# A joint farther than this from the corner of its image, in px, is none of that image: it counts as missing.
FARTHEST = 2**15
# How many maps are drawn at once: bounds the memory, and keeps the work in a CPU's cache.
MAPS_AT_ONCE = 64


@overload
def draw(keypoints: np.ndarray, *, height: int, width: int, line_width: float) -> np.ndarray: ...
@overload
def draw(keypoints: Tensor, *, height: int, width: int, line_width: float) -> Tensor: ...
def draw(keypoints: np.ndarray | Tensor, *, height: int, width: int, line_width: float) -> np.ndarray | Tensor:
    """The pose maps of keypoints (B, K, 2) in px of the map, NaN for missing: (B, H, W) uint8 palette indices.

    A limb's major axis is the one along which it is longer (x where both are equal). The limb colours the pixels whose
    centres are at most `line_width` / 2 px from the line through its joints and, along the major axis, at most half a
    px beyond them. So a limb between pixel centres ends with its joints, mirrored keypoints give the mirrored line,
    and a limb of length 0 is a dot: one px by `line_width` px. What lies outside the map is cut off. A limb with a
    joint that is missing, or farther away than FARTHEST, is left out.

    All arithmetic is float32 addition, multiplication, division and square root, one operation at a time, which IEEE
    754 rounds in one way: numpy and torch agree to the bit, on every device.

    Args:
        keypoints: A numpy array or a tensor; the maps are of the same kind, on the same device.
        height: H in px.
        width: W in px.
        line_width: Of the lines in px, at least 1 (thinner ones would have gaps).

    Raises:
        ValueError: the keypoints are not (B, K, 2), or the line_width is below 1.
    """
    if keypoints.ndim != 3 or tuple(keypoints.shape[1:]) != (K, 2):
        raise ValueError(f"keypoints should be (B, {K}, 2), not {tuple(keypoints.shape)}.")
    check_thickness(line_width)
    canvas: Any = (
        torch.zeros((len(keypoints), height, width), dtype=torch.uint8, device=keypoints.device)
        if isinstance(keypoints, Tensor)
        else np.zeros((len(keypoints), height, width), np.uint8)
    )
    for first in range(0, len(keypoints), MAPS_AT_ONCE):
        part = slice(first, first + MAPS_AT_ONCE)
        _draw(canvas[part], keypoints[part], line_width)
    return canvas


def check_thickness(line_width: float) -> None:
    """Refuse lines with gaps.

    Raises:
        ValueError: the line_width is below 1 px.
    """
    if not line_width >= 1:
        raise ValueError(
            f"the line_width of a limb should be at least 1 px, not {line_width}: its line would have gaps."
        )


@overload
def colour(indices: np.ndarray) -> np.ndarray: ...
@overload
def colour(indices: Tensor) -> Tensor: ...
def colour(indices: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Palette indices (..., H, W) as an image: (..., H, W, 3) uint8, or (..., 3, H, W) float32 in [-1, 1] of a tensor.

    The background is black: 0, or -1 of a tensor.
    """
    if isinstance(indices, Tensor):
        channels = to_tensor(PALETTE[:, None])[..., 0].to(indices.device)  # (3, 18)
        flat = indices.reshape(-1).int()
        return torch.stack([channel.index_select(0, flat).view(indices.shape) for channel in channels], -3)
    pixels, numbers = np.zeros(indices.size, _RGB), indices.reshape(-1)
    limbs = np.flatnonzero(numbers != 0)  # few: most of a map is background
    pixels[limbs] = PALETTE.view(_RGB)[numbers[limbs], 0]
    return pixels.view(np.uint8).reshape(*indices.shape, 3)


class Posemaps(NamedTuple):
    """The maps of all parts: how they were drawn, and their PNG files by the names of their photos."""

    frame: Frame
    line_width: float  # of the limbs in px
    files: ShardReader


def read_posemaps(folder: Path, parts: Sequence[str]) -> Posemaps:
    """Open what the stage posemaps wrote of these parts; `images.decode` makes a file (H, W, 3) uint8 RGB.

    Raises:
        DataError: a part is not there or not whole, or was drawn otherwise than the first.
    """
    files = part_files(folder, parts, "posemaps.json")
    drawn = [_how_drawn(file) for file in files]
    for file, how in zip(files, drawn, strict=True):
        if how != drawn[0]:
            raise DataError(
                f"{files[0]} and {file} say that the maps were drawn in two ways: {_in_words(*drawn[0])}, and "
                f"{_in_words(*how)}. Run `dvc repro posemaps`, which draws what is not up to date."
            )
    return Posemaps(*drawn[0], ShardReader(folder, read_parts(folder, parts, "posemaps.csv", POSEMAPS)))


def _how_drawn(file: Path) -> tuple[Frame, float]:
    made = read_json(file)
    try:
        crop = made["crop"] and tuple(float(edge) for edge in made["crop"])
        return Frame(int(made["height"]), int(made["width"]), crop), float(made["line_width"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} does not say how the maps were drawn ({error!r}). Run `dvc repro posemaps`.") from None


def _in_words(frame: Frame, line_width: float) -> str:
    crop = ", ".join(f"{edge:g}" for edge in frame.crop) if frame.crop else "null"
    return f"{frame.height}x{frame.width} px (height x width), crop {crop}, limbs of {line_width:g} px"


class _Lines(NamedTuple):
    """The n limbs to draw, limb by limb, each seen along its major axis; float32 arrays or tensors (n,)."""

    number: Any  # limb * B + map, int64
    steep: Any  # whether the major axis is y, bool
    start: Any  # the first joint along the major axis
    end: Any  # the second
    across: Any  # the first joint on the other axis
    slope: Any  # px across per px along, in [-1, 1]
    reach: Any  # px across from the middle of the line to its rim


class _Steps(NamedTuple):
    """The places along the major axes at which a limb colours pixels of the image; int64 arrays or tensors (m,)."""

    line: Any  # which of the lines
    along: Any  # px
    low: Any  # the first pixel across
    more: Any  # how many follow it


def _draw(canvas: Any, keypoints: Any, line_width: float) -> None:
    """Draw on a blank canvas (B, H, W)."""
    maps, height, width = canvas.shape
    lines = _lines(keypoints, line_width)
    steps = _steps(lines, height, width)
    if len(steps.line) == 0:
        return
    xp, steep, number = _module(canvas), lines.steep[steps.line], lines.number[steps.line]
    stride, stride_across = xp.where(steep, width, 1), xp.where(steep, 1, width)
    first = number % maps * (height * width) + steps.along * stride + steps.low * stride_across
    # Short steps name their last pixel again until they are as long as the longest: all of a limb has one colour.
    offsets = xp.minimum(_count_up(int(steps.more.max()) + 1, canvas), steps.more[:, None])
    pixels = first[:, None] + offsets * stride_across[:, None]
    flat, done = canvas.reshape(-1), 0
    for limb, count in enumerate(xp.bincount(number // maps).tolist()):
        flat[pixels[done : done + count]] = limb + 1
        done += count


def _lines(keypoints: Any, line_width: float) -> _Lines:
    xp = _module(keypoints)
    joints = keypoints[:, [joint for limb in LIMBS for joint in limb]].reshape(-1, len(LIMBS), 2, 2)
    ends = _single(joints.swapaxes(0, 1).reshape(-1, 2, 2))  # (17 * B, 2 ends, xy), limb by limb
    known = (abs(ends) <= FARTHEST).all(-1).all(-1)  # NaN is not
    number = _count_up(len(ends), ends)[known]
    (x0, y0), (x1, y1) = ((ends[known, end, 0], ends[known, end, 1]) for end in (0, 1))
    steep = abs(y1 - y0) > abs(x1 - x0)
    start, end = xp.where(steep, y0, x0), xp.where(steep, y1, x1)
    across, across_end = xp.where(steep, x0, y0), xp.where(steep, x1, y1)
    length = end - start
    slope = (across_end - across) / (length + (length == 0))
    reach = xp.sqrt(slope * slope + 1) * (line_width / 2)
    return _Lines(number, steep, start, end, across, slope, reach)


def _steps(lines: _Lines, height: int, width: int) -> _Steps:
    xp = _module(lines.start)
    last_along = xp.where(lines.steep, height - 1.0, width - 1.0)
    first = xp.ceil(xp.minimum(lines.start, lines.end) - 0.5).clip(min=0)
    last = xp.minimum(xp.floor(xp.maximum(lines.start, lines.end) + 0.5), last_along)
    line, position = _runs(_whole(last - first).clip(min=-1) + 1)
    along = _whole(first)[line] + position
    middle = lines.across[line] + lines.slope[line] * (_single(along) - lines.start[line])
    low = xp.ceil(middle - lines.reach[line]).clip(min=0)
    last_across = xp.where(lines.steep, width - 1.0, height - 1.0)[line]
    high = xp.minimum(xp.floor(middle + lines.reach[line]), last_across)
    inside = low <= high
    return _Steps(line[inside], along[inside], _whole(low[inside]), _whole((high - low)[inside]))


def _runs(lengths: Any) -> tuple[Any, Any]:
    """Runs of the lengths (n,) one after the other: the number of each entry's run and its position in it."""
    run, starts = _repeated(lengths), lengths.cumsum(0) - lengths
    return run, _count_up(len(run), lengths) - starts[run]


# What numpy and torch write differently.


def _module(values: Any) -> Any:
    return torch if isinstance(values, Tensor) else np


def _count_up(count: int, like: Any) -> Any:
    """0 to count - 1 as int64, where `like` is."""
    return torch.arange(count, device=like.device) if isinstance(like, Tensor) else np.arange(count)


def _whole(values: Any) -> Any:
    """Whole numbers as int64."""
    return values.long() if isinstance(values, Tensor) else values.astype(np.int64)


def _single(values: Any) -> Any:
    """Numbers as float32."""
    return values.float() if isinstance(values, Tensor) else values.astype(np.float32)


def _repeated(counts: Any) -> Any:
    """Number i as often as counts[i] says."""
    if isinstance(counts, Tensor):
        return torch.repeat_interleave(counts)
    return np.repeat(np.arange(len(counts)), counts)
