"""The inputs of the Variational U-Net (Esser et al. 2018): crops of eight body parts of a photo, and a stickman of a pose.

Both are drawn from the keypoints in a square image, on the device. Shapes, values and fallbacks are those of the authors'
published code, except that joints are not rounded to whole px and that a crop is sampled at the centers of its pixels.

Letters: B photos, H x W their size in px, S the side of the square in px, s the side of a crop in px.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from repose.data.posemaps import FARTHEST
from repose.data.skeleton import JOINT, TORSO

PARTS = 8  # torso, head, and upper arm, forearm and thigh of each side
HALF = 127 / 127.5 - 1  # value of the line from neck to nose, in both sides' channels
_CHAIN = ("ankle", "knee", "hip", "shoulder", "elbow", "wrist")  # a side's line, from joint to joint
_NOSE = JOINT["nose"]
_LIMBS = tuple(
    (JOINT[f"{side}_{first}"], JOINT[f"{side}_{second}"])
    for side, first, second in (
        ("left", "shoulder", "elbow"), ("left", "elbow", "wrist"), ("right", "shoulder", "elbow"),
        ("right", "elbow", "wrist"), ("left", "hip", "knee"), ("right", "hip", "knee"),
    )
)  # fmt: skip
_THIGHS = slice(4, 6)
_MIN_AREA = 1e-3  # px^2; rejects quadrilaterals with three corners on a line


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B,C,H,W) -> (B,C,height,width), bilinear, averaging where it shrinks."""
    if images.shape[2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def in_square(keypoints: Tensor, height: int, width: int, size: int) -> Tensor:
    """Keypoints (B,18,2) in px of a height x width image -> in px of that image resized to size x size.

    A joint farther from the corner than FARTHEST counts as missing.
    """
    scale = keypoints.new_tensor([size / width, size / height])
    placed = (keypoints + 0.5) * scale - 0.5
    return torch.where((placed.abs() <= FARTHEST).all(-1, keepdim=True), placed, torch.nan)


def whole_torso(keypoints: Tensor) -> Tensor:
    """Whether both shoulders and both hips of (B,18,2) are known: (B,) bool."""
    return ~keypoints[:, TORSO].isnan().flatten(1).any(1)


def stickman(keypoints: Tensor, size: int) -> Tensor:
    """Keypoints (B,18,2) in px of the image -> (B,3,S,S): the right side's lines, the left side's, the filled torso.

    Values are 1, HALF, or -1 for the background. A side's lines go from the ankle over hip and shoulder to the wrist, and from
    the nose to the eye (if both eyes are known). The line from the neck to the nose is in both channels, at half the
    brightness. A line with a missing joint (NaN) is left out. Lines are 3 px wide for each 128 px of the image, rounded down,
    and at least 1 px. The torso has an outline of 1 px.
    """
    reach = max(1, 3 * size // 128) / 2
    sides = keypoints.new_full((len(keypoints), 2, size, size), -1.0)
    for starts, ends, value in _lines(keypoints):
        sides = torch.where(_near(starts, ends, size, reach), value, sides)
    return torch.cat([sides, _torso(keypoints, size)[:, None] * 2 - 1], 1)


def part_crops(images: Tensor, keypoints: Tensor, size: int) -> Tensor:
    """The eight body parts of photos, each warped to a square of size x size px by a homography.

    The order is torso, head, left upper arm, left forearm, right upper arm, right forearm, left thigh, right thigh. All are
    mirrored, with the left shoulder at the torso's upper left. A limb runs from left to right through the middle of its
    square, which covers half as much across as along. Without a nose, the head is the square above the shoulders. Without a
    knee, the thigh extends to the photo's lower edge. Outside the photo, its edge pixels are repeated.

    Images (B,3,S,S) in [-1,1] and keypoints (B,18,2) in their px, NaN for missing -> (B,24,s,s); an unknown part is 0.
    """
    count, side = len(images), images.shape[-1]
    quads = _quads(keypoints, side)  # (B,8,4 corners,xy)
    places, known = _homography(quads, size)  # (B,8,s,s,xy), (B,8)
    grid = ((places + 0.5) / side * 2 - 1).reshape(count, PARTS * size, size, 2)
    found = F.grid_sample(images, grid, padding_mode="border", align_corners=False)  # (B,3,8s,s)
    crops = found.reshape(count, 3, PARTS, size, size).transpose(1, 2)  # (B,8,3,s,s)
    return torch.where(known[:, :, None, None, None], crops, 0.0).reshape(count, PARTS * 3, size, size)


def _lines(keypoints: Tensor) -> list[tuple[Tensor, Tensor, float]]:
    """Lines in drawing order: starts and ends (B,2 sides,xy), right first, and their value."""
    both = [keypoints[:, [JOINT[f"right_{name}"], JOINT[f"left_{name}"]]] for name in _CHAIN]
    lines = [(start, end, 1.0) for start, end in pairwise(both)]
    nose = keypoints[:, _NOSE, None].expand(-1, 2, -1)
    neck = both[_CHAIN.index("shoulder")].mean(1, keepdim=True).expand(-1, 2, -1)
    eyes = keypoints[:, [JOINT["right_eye"], JOINT["left_eye"]]]
    if_both = torch.where(eyes.isnan().any(1, keepdim=True), torch.nan, eyes)
    return [*lines, (neck, nose, HALF), (nose, if_both, 1.0)]


def _near(starts: Tensor, ends: Tensor, size: int, reach: float) -> Tensor:
    """The pixels at most `reach` px from lines (B,n,xy): (B,n,S,S) bool; none if a joint is NaN."""
    x, y = _pixels(size, starts)
    along = ends - starts
    (sx, sy), (ax, ay) = (v[..., None, None, :].unbind(-1) for v in (starts, along))  # (B,n,1,1)
    share = (((x - sx) * ax + (y - sy) * ay) / (ax * ax + ay * ay).clamp(min=1e-6)).clamp(0, 1)
    return (x - sx - share * ax) ** 2 + (y - sy - share * ay) ** 2 <= reach**2


def _torso(keypoints: Tensor, size: int) -> Tensor:
    """1 inside the torso (even-odd rule) or on its outline, else 0: (B,S,S)."""
    corners = keypoints[:, TORSO]  # (B,4,xy)
    following = corners.roll(-1, 1)
    x, y = _pixels(size, keypoints)
    (ax, ay), (bx, by) = (v[..., None, None, :].unbind(-1) for v in (corners, following))  # (B,4,1,1)
    spans = (ay > y) != (by > y)
    crosses = spans & (x < ax + (y - ay) * (bx - ax) / torch.where(ay == by, 1.0, by - ay))
    inside = crosses.sum(1) % 2 == 1
    outline = _near(corners, following, size, 0.5).any(1)
    return ((inside | outline) & whole_torso(keypoints)[:, None, None]).to(keypoints)


def _pixels(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x (1,S) and y (S,1) of the pixels' centers in px."""
    counted = torch.arange(size, device=like.device, dtype=like.dtype)
    return counted[None], counted[:, None]


def _quads(keypoints: Tensor, side: int) -> Tensor:
    """The corners of the parts (B,8,4,2) in px, as the crop's top left, bottom left, bottom right and top right.

    They are NaN if a joint is missing.
    """
    right_shoulder, left_shoulder, left_hip, right_hip = keypoints[:, TORSO].unbind(1)
    torso = torch.stack([left_shoulder, left_hip, right_hip, right_shoulder], 1)
    first, second = keypoints[:, torch.tensor(_LIMBS, device=keypoints.device)].unbind(2)  # (B,6,xy)
    below = torch.stack([first[..., 0], torch.full_like(first[..., 0], side - 1)], -1)
    thighs = torch.where(second.isnan(), below, second)[:, _THIGHS]
    limbs = _boxes(first, torch.cat([second[:, : _THIGHS.start], thighs], 1), 0.5)
    return torch.cat([torso[:, None], _head(keypoints)[:, None], limbs], 1)


def _head(keypoints: Tensor) -> Tensor:
    """The square from the middle of the shoulders to twice the nose's height; without a nose, the one above the shoulders."""
    right, left, nose = (keypoints[:, JOINT[n]] for n in ("right_shoulder", "left_shoulder", "nose"))
    neck = (right + left) / 2
    by_nose = _boxes(2 * nose - neck, neck, 1.0).roll(-1, 1)
    across = _turned(right - left)
    up = torch.where(across[:, 1:] > 0, -across, across)
    by_shoulders = torch.stack([left + up, left, right, right + up], 1)
    return torch.where(nose.isnan()[:, None], by_shoulders, by_nose)


def _boxes(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Rectangles around lines (...,xy), `share` times as wide as long: (...,4,xy), two corners at each end."""
    across = _turned(second - first) * share / 2
    return torch.stack([first + across, first - across, second - across, second + across], -2)


def _turned(vectors: Tensor) -> Tensor:
    """x, y -> -y, x."""
    return torch.stack([-vectors[..., 1], vectors[..., 0]], -1)


def _homography(quads: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The photo position of each pixel of a crop: quads (B,n,4,xy) -> (B,n,s,s,xy) in px, and which are known (B,n)."""
    top_left, bottom_left, bottom_right, top_right = quads.unbind(2)  # (B,n,xy)
    right, down = top_right - bottom_right, bottom_left - bottom_right
    slant, area = top_left - top_right + bottom_right - bottom_left, _cross(right, down)
    known = area.abs() > _MIN_AREA  # NaN is not
    g, h = (_cross(a, b) / torch.where(known, area, 1.0) for a, b in ((slant, down), (right, slant)))
    u, v = (n[..., None] for n in _pixels(size, quads))  # (1,s,1), (s,1,1)
    u, v = (u + 0.5) / size, (v + 0.5) / size
    g, h = g[..., None, None, None], h[..., None, None, None]
    start, across, along = (corner[:, :, None, None] for corner in (top_left, top_right, bottom_left))
    places = (start + u * (across - start + g * across) + v * (along - start + h * along)) / (1 + g * u + h * v)
    return places.nan_to_num().clamp(-FARTHEST, FARTHEST), known


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
