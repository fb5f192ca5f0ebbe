"""Where the head of a target lies in a source, from the joints of both faces and the shape of an average head.

A head is rigid, so five joints say how it is turned. A place of the target's head is followed back to the surface of the
head, and from there to the source, which shows it there if it faces that camera. Nothing here is trained.

Points of a head are in cm from the middle between its ears: x to the person's left, y up, z ahead. So x is to the right in a
frontal photo. Cameras see x to the right, y up and z towards them.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from repose.data.skeleton import JOINT
from repose.models.body import places, torso_lengths
from repose.models.warping import warp

_FACE = tuple(JOINT[name] for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear"))
# Of these joints: where they are, and the direction in which the skin there looks.
_POINTS = ((0.0, -1.5, 12.5), (-3.2, 2.8, 8.6), (3.2, 2.8, 8.6), (-7.4, 0.0, 0.0), (7.4, 0.0, 0.0))
_FACING = ((0.0, 0.0, 1.0), (-0.35, 0.0, 0.94), (0.35, 0.0, 0.94), (-0.97, 0.0, -0.25), (0.97, 0.0, -0.25))
_HALF_WIDTH, _HALF_DEPTH, _HALF_HEIGHT = 7.9, 10.2, 12.5  # cm
_MIDDLE, _JAW = 1.0, 14.0  # cm: the height of the middle, and how far below it the face ends
_YAWS, _PITCHES = range(-180, 180, 5), range(-30, 31, 6)  # degrees that are tried
_TORSO = 50.0  # cm: a torso length
_REACH = 16.0  # cm above and below the middle that the texture of a face covers
# What counts as much as a joint that is 1 cm off: this pitch and roll (degrees), and this error of the size (of a logarithm).
_PITCH, _ROLL, _SIZE = 12.0, 20.0, 0.25
_WORST = 12.0  # the largest sum of squared errors of a head that is used
_HAIR, _CHIN, _SOFT = 1.6, 1.1, 0.4  # how far hair and chin reach, as levels of `_level`, and how softly they end


class Moved(NamedTuple):
    """Where the heads of Q targets lie in their T sources."""

    position: Tensor  # (Q,T,2,h,w): x and y in [-1,1]
    share: Tensor  # (Q,T,1,h,w) in [0,1]: the weight of the source; the sum over all says how much is known of a place


class _Head(NamedTuple):
    """How the heads of (...) photos lie in them."""

    turn: Tensor  # (...,3,3): from points of the head to the camera
    scale: Tensor  # (...,2,2): from the camera's x and y to px, which also rolls
    offset: Tensor  # (...,2) px, with y up
    known: Tensor  # (...) bool: at least three joints, which fit


class Placed(NamedTuple):
    """The heads of Q targets, and what their places show of them; what a place without a head shows has no meaning."""

    head: _Head
    points: Tensor  # (Q,h,w,3): on the surface of the head; beside it, the nearest
    near: Tensor  # (Q,h,w) in [0,1]: 1 on the head, 0 where there is no head or it is not known how it is turned


def placed_heads(keypoints: Tensor, size: Sequence[int], stride: int) -> Placed:
    """The heads of people with keypoints (Q,K,2) in px, NaN for missing, at places `stride` px apart.

    All is computed in float32 or more, also under autocast, as by `moved_heads`.

    Args:
        keypoints: of the targets.
        size: height and width of the images in px.
        stride: px between two places, whose middles are looked up.
    """
    with torch.autocast(keypoints.device.type, enabled=False):
        head = _heads(keypoints)
        height, width = size
        pixels = places(height, width, stride, keypoints) * keypoints.new_tensor([1, -1])  # (h,w,2), with y up
        squared = head.scale[..., 0].square().sum(-1).clamp(min=1e-6)
        back = head.scale.transpose(-1, -2) / squared[:, None, None]
        seen = torch.einsum("qcd,qhwd->qhwc", back, pixels - head.offset[:, None, None, :])  # cm
        points, level = _surface(head.turn, seen)
        below_mouth = ((_MIDDLE - points[..., 1] - 5) / 4).clamp(0, 1)
        reach = _HAIR - (_HAIR - _CHIN) * below_mouth
        return Placed(head, points, ((reach - level) / _SOFT).clamp(0, 1) * head.known[:, None, None])


def moved_heads(
    target: Placed, source: Tensor, sources: Tensor, mask: Tensor, shown: Tensor, size: Sequence[int]
) -> tuple[Moved, Moved]:
    """Where the sources show the heads of targets: the places themselves, and the mirrored ones where those are hidden.

    Args:
        target: the heads of the targets.
        source: the keypoints of the photos (M,K,2) in px, NaN for missing.
        sources: the photos of each target (Q,T).
        mask: which of these are used (Q,T).
        shown: how much a place of a photo shows of the person's head or neck (M,1,h',w') in [0,1].
        size: height and width of the photos in px.
    """
    with torch.autocast(source.device.type, enabled=False):
        of_source = _Head(*(of[sources] for of in _heads(source)))
        height, width = size
        near = target.near[:, None] * (of_source.known & mask)[..., None, None]
        points = target.points[:, None].expand(-1, sources.shape[1], -1, -1, -1)
        positions, shares = [], []
        for sign in (1, -1):
            position, share = _seen_by(of_source, points * points.new_tensor([sign, 1, 1]))
            there = ((2 * position + 1) / position.new_tensor([width, height]) - 1).permute(0, 1, 4, 2, 3)
            seen = warp(shown[sources].flatten(0, 1), there.flatten(0, 1)).unflatten(0, there.shape[:2])
            positions.append(there)
            shares.append((near * share)[:, :, None] * seen * (there.abs() <= 1).all(2, keepdim=True))
        direct, mirrored = shares[0], shares[1] * (1 - shares[0])
        alike = (target.head.turn[:, None] * of_source.turn).sum((-1, -2))  # 1 + 2 cos: 3 if turned alike
        weights = torch.stack([direct, mirrored]) * (2 * alike[:, :, None, None, None]).exp()
        total = (direct + mirrored).amax(1, keepdim=True)  # of the source that shows most
        weights = total * weights / weights.sum((0, 2), keepdim=True).clamp(min=1e-6)
        return Moved(positions[0], weights[0]), Moved(positions[1], weights[1])


def on_face(points: Tensor) -> Tensor:
    """Points of heads (Q,h,w,3) in cm -> where they lie in a texture of half a face (Q,2,h,w), in [-1,1].

    x is the angle from the middle of the face to one of its sides, to 108 degrees; y is the height, with -1 at the top.
    Positions outside of the texture are those of the back of the head.
    """
    x, y, z = points.unbind(-1)
    aside = torch.atan2(x.abs(), z + 1e-3) / (0.6 * torch.pi)
    return torch.stack([2 * aside - 1, (_MIDDLE - y) / _REACH], 1)


@cache
def _turns(device: torch.device) -> tuple[Tensor, Tensor]:
    """All turns that are tried (G,3,3), and their pitch in degrees (G,)."""
    yaw, pitch = (
        angle.flatten() for angle in torch.meshgrid(torch.tensor(_YAWS), torch.tensor(_PITCHES), indexing="ij")
    )
    (cy, sy), (cp, sp) = ((of.double().deg2rad().cos(), of.double().deg2rad().sin()) for of in (yaw, pitch))
    one, zero = torch.ones_like(cy), torch.zeros_like(cy)
    about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1).view(-1, 3, 3)
    about_x = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], 1).view(-1, 3, 3)
    return (about_x @ about_y).to(device), pitch.double().to(device)


def _heads(keypoints: Tensor) -> _Head:
    """The heads of people with keypoints (B,K,2) in px, NaN for missing, by least squares."""
    turns, pitch = _turns(keypoints.device)
    face = keypoints[:, _FACE].double()
    known = face.isfinite().all(-1).double()  # (B,5)
    count = known.sum(1).clamp(min=1)
    found = torch.stack([face[..., 0], -face[..., 1]], -1).nan_to_num()
    middle = (found * known[..., None]).sum(1) / count[:, None]
    found = (found - middle[:, None]) * known[..., None]
    points = (turns @ turns.new_tensor(_POINTS).T)[:, :2].transpose(1, 2)  # (G,5,2)
    middles = torch.einsum("bj,gjc->bgc", known, points) / count[:, None, None]
    points = (points - middles[:, :, None]) * known[:, None, :, None]  # (B,G,5,2)
    extent = points.square().sum((-1, -2)).clamp(min=1e-3)
    along = torch.einsum("bgjc,bjc->bg", points, found) / extent
    crossed = torch.stack([found[..., 1], -found[..., 0]], -1)
    across = torch.einsum("bgjc,bjc->bg", points, crossed) / extent
    scale = torch.stack([along, -across, across, along], -1).unflatten(-1, (2, 2))
    squared = (along.square() + across.square()).clamp(min=1e-6)
    off = torch.einsum("bgcd,bgjd->bgjc", scale, points) - found[:, None]
    facing = torch.einsum("gd,jd->gj", turns[:, 2], turns.new_tensor(_FACING))
    expected = torso_lengths(keypoints).double()[:, None] / _TORSO
    error = (
        off.square().sum((-1, -2)) / squared + (pitch / _PITCH).square()
        + (torch.atan2(across, along).rad2deg() / _ROLL).square() + ((squared.sqrt() / expected).log() / _SIZE).square()
        + 4 * known @ (-facing).clamp(min=0).T + 2 * (1 - known) @ (facing - 0.35).clamp(min=0).T
    )  # fmt: skip
    best, each = error.argmin(1), torch.arange(len(keypoints), device=keypoints.device)
    scale, error = scale[each, best], error[each, best]
    offset = middle - torch.einsum("bcd,bd->bc", scale, middles[each, best])
    return _Head(turns[best].float(), scale.float(), offset.float(), (known.sum(1) >= 3) & (error < _WORST))


def _surface(turn: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The points (...,h,w,3) of heads at a camera's x and y (...,h,w,2) in cm, and their levels; beside it, the nearest."""
    depth = torch.linspace(14, -14, 29, device=seen.device)
    deep = torch.cat(
        [seen[..., None, :].expand(*seen.shape[:-1], len(depth), 2),
         depth[:, None].expand(*seen.shape[:-1], len(depth), 1)], -1,
    )  # fmt: skip
    level = _level(torch.einsum("...dc,...hwkd->...hwkc", turn, deep))
    inside = level < 1
    second = inside.float().argmax(-1).clamp(min=1)
    before, after = (level.gather(-1, at[..., None])[..., 0] for at in (second - 1, second))
    between = ((before - 1) / (before - after).clamp(min=1e-6)).clamp(0, 1)
    hit = depth[second - 1] + (depth[second] - depth[second - 1]) * between
    lowest, nearest = level.min(-1)
    z = torch.where(inside.any(-1), hit, depth[nearest])
    return torch.einsum("...dc,...hwd->...hwc", turn, torch.cat([seen, z[..., None]], -1)), lowest


def _level(points: Tensor) -> Tensor:
    """(...,3) -> (...): below 1 inside an average head, above it outside."""
    x, y, z = points.unbind(-1)
    y = y - _MIDDLE
    jaw = (y.abs() / _JAW).pow(3)
    high = torch.where((y < 0) & (z > 0), jaw, (y / _HALF_HEIGHT).square())
    return (x / _HALF_WIDTH).square() + (z / _HALF_DEPTH).square() + high


def _seen_by(source: _Head, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where sources show points (...,h,w,3) of their heads: (...,h,w,2) px, and how much they face it, (...,h,w) in [0,1]."""
    steps = 0.3 * torch.eye(3, device=points.device)  # cm
    normal = torch.stack([_level(points + step) - _level(points - step) for step in steps], -1)
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    towards = torch.einsum("...d,...hwd->...hw", source.turn[..., 2, :], normal)
    flat = torch.einsum("...cd,...hwd->...hwc", source.turn[..., :2, :], points)
    position = torch.einsum("...cd,...hwd->...hwc", source.scale, flat) + source.offset[..., None, None, :]
    return position * position.new_tensor([1, -1]), (4 * towards).clamp(0, 1)
