"""The position on the body of each place of an image, computed from keypoints alone.

Each limb has coordinates along and across it. From the limbs near it, each place of an image gets the coordinates that it
would have on a person at rest, with arms and legs spread, in torso lengths. Places that show the same spot of the body in two
photos therefore have nearly the same coordinates in any pose.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from repose.data.skeleton import JOINT, LIMBS, TORSO

# x, y of the joints at rest, in torso lengths from the neck. The person faces the viewer, so their right is on the left.
_REST = torch.tensor(
    [
        (0.0, -0.45), (0.0, 0.0),  # nose, neck
        (-0.38, 0.05), (-0.75, 0.45), (-1.1, 0.85),  # right arm
        (0.38, 0.05), (0.75, 0.45), (1.1, 0.85),  # left arm
        (-0.22, 1.0), (-0.4, 1.8), (-0.55, 2.6),  # right leg
        (0.22, 1.0), (0.4, 1.8), (0.55, 2.6),  # left leg
        (-0.08, -0.52), (0.08, -0.52), (-0.2, -0.48), (0.2, -0.48),  # eyes, ears
    ],
    device="cpu",  # wherever this is imported
)  # fmt: skip
_WIDTH_AT_REST = float(_REST[TORSO[1], 0] - _REST[TORSO[0], 0])  # of the shoulders
_HEAD_LIMBS = 5  # the last of LIMBS, which are too short to measure a body
_NEAR = 0.08  # torso lengths: how sharply the nearest limb decides the coordinates of a place
_FIELD = 0.15  # torso lengths: the reach of a limb's field

REST_CHANNELS = 5
LIMB_CHANNELS = 3 * len(LIMBS)


class BodyFields(NamedTuple):
    """The fields of B images on a grid of h x w places."""

    rest: Tensor  # (B,5,h,w): x, y at rest, distance from the skeleton (torso lengths, at most 1), and the two of the view
    limbs: Tensor  # (B,51,h,w): per limb its field (1 on it, 0 far away), and that times along (-1 to 1) and across


class _Limbs(NamedTuple):
    """The position of each place relative to each limb, (B,17,h,w); lengths in torso lengths."""

    along: Tensor  # 0 at the first joint, 1 at the second, beyond that outside
    across: Tensor  # signed
    distance: Tensor  # to the nearest point of the limb
    known: Tensor  # (B,17,1,1) bool: both joints are
    length: Tensor  # (B,17,1,1)


@cache
def _limbs_at_rest(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Both joints of each limb, (17,) int64, and their places at rest, (2,17,2), copied to the device once."""
    first, second = torch.tensor(LIMBS).T
    return first.to(device), second.to(device), torch.stack([_REST[first], _REST[second]]).to(device)


def body_fields(keypoints: Tensor, height: int, width: int, stride: int) -> BodyFields:
    """Fields of keypoints (B,K,2) in px of a height x width image, at the middles of its stride x stride squares.

    A missing joint is NaN and leaves its limbs out; a missing shoulder or hip is replaced by the other. Without any limb, all
    fields are 0.
    """
    keypoints = _completed(keypoints)
    scale = torso_lengths(keypoints)
    limbs = _limbs(keypoints, scale, places(height, width, stride, keypoints))
    facing, profile = _view(keypoints, scale)
    field = torch.exp(-limbs.distance / _FIELD) * limbs.known
    along, across = limbs.along.clamp(0, 1) * 2 - 1, (limbs.across / _FIELD).clamp(-3, 3)
    at_rest = _at_rest(limbs, torch.where(facing < 0, -1.0, 1.0))  # (B,2,h,w)
    nearest = limbs.distance.masked_fill(~limbs.known, torch.inf).amin(1, keepdim=True).clamp(max=1)
    view = torch.stack([facing, profile], 1)[:, :, None, None].expand(-1, -1, *at_rest.shape[2:])
    rest = torch.cat([at_rest, nearest, view], 1) * limbs.known.any(1, keepdim=True)
    return BodyFields(rest, torch.cat([field, field * along, field * across], 1))


def places(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """x, y in px of the middles of the squares: (h,w,2)."""
    y, x = (torch.arange(n // stride, device=like.device) * stride + (stride - 1) / 2 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _completed(keypoints: Tensor) -> Tensor:
    """Replace a missing shoulder or hip by the other one, which hides it in a side view."""
    keypoints = keypoints.clone()
    for part in ("shoulder", "hip"):
        right, left = (keypoints[:, JOINT[f"{side}_{part}"]] for side in ("right", "left"))  # views
        both = torch.where(right.isnan(), left, right), torch.where(left.isnan(), right, left)
        right.copy_(both[0])
        left.copy_(both[1])
    return keypoints


def torso_lengths(keypoints: Tensor) -> Tensor:
    """px per torso length of people with keypoints (B,K,2), NaN for missing: (B,).

    It is measured on all limbs that are known; those of the head only count if there are no others.
    """
    keypoints = _completed(keypoints)
    first, second, rest = _limbs_at_rest(keypoints.device)
    length = (keypoints[:, second] - keypoints[:, first]).norm(dim=-1)  # (B,17), NaN for missing
    at_rest = (rest[1] - rest[0]).norm(dim=-1)
    known = ~length.isnan()
    body = known.clone()
    body[:, -_HEAD_LIMBS:] = False
    measured = torch.where(body.any(1, keepdim=True), body, known)
    total = (length.nan_to_num() * measured).sum(1) / (at_rest * measured).sum(1).clamp(min=1e-6)
    return total.clamp(min=4)


def _limbs(keypoints: Tensor, scale: Tensor, places: Tensor) -> _Limbs:
    first, second = (keypoints[:, joints] for joints in _limbs_at_rest(keypoints.device)[:2])  # (B,17,2)
    known = ~(first.isnan() | second.isnan()).any(-1)[:, :, None, None]
    first, second, scale = first.nan_to_num(), second.nan_to_num(), scale[:, None, None, None]
    direction = (second - first)[:, :, None, None]  # (B,17,1,1,2)
    squared = direction.square().sum(-1).clamp(min=1)
    offset = places - first[:, :, None, None]  # (B,17,h,w,2)
    along = (offset * direction).sum(-1) / squared
    across = (offset[..., 0] * direction[..., 1] - offset[..., 1] * direction[..., 0]) / squared.sqrt() / scale
    nearest = offset - along.clamp(0, 1)[..., None] * direction
    return _Limbs(along, across, nearest.norm(dim=-1) / scale, known, squared.sqrt() / scale)


def _view(keypoints: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The side from which the body is seen (1 front, -1 back), and the direction of its nose; each (B,) in [-1,1]."""
    right, left, nose, neck = (keypoints[:, JOINT[n], 0] for n in ("right_shoulder", "left_shoulder", "nose", "neck"))
    facing = (left - right) / scale / _WIDTH_AT_REST
    profile = (nose - neck) / scale * 2.5  # a nose is 0.4 torso lengths from the neck at most
    return facing.nan_to_num().clamp(-1, 1), profile.nan_to_num().clamp(-1, 1)


def _at_rest(limbs: _Limbs, side: Tensor) -> Tensor:
    """Coordinates at rest (B,2,h,w): those from each limb, weighted by nearness. `side` (B,) is -1 if seen from the back."""
    first, second = _limbs_at_rest(side.device)[2]
    direction = second - first  # (17,2)
    length = direction.norm(dim=-1, keepdim=True)
    unit = direction / length
    normal = torch.stack([unit[:, 1], -unit[:, 0]], -1)
    kept = limbs.along.clamp(0, 1)
    beyond = (limbs.along - kept) * limbs.length
    across = limbs.across * side[:, None, None, None]
    weight = (-limbs.distance / _NEAR).masked_fill(~limbs.known, -1e4).softmax(1)  # (B,17,h,w)
    first, direction, unit, normal = (vectors.T[:, :, None, None] for vectors in (first, direction, unit, normal))
    by_limb = [first[i] + kept * direction[i] + beyond * unit[i] + across * normal[i] for i in range(2)]
    return torch.stack([(weight * axis).sum(1) for axis in by_limb], 1)
