"""Drawn people in the colours of their item, with arms and legs at any angle."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repose.data.batches import Batch
from repose.data.posemaps import colour, draw
from repose.data.poses import Poses
from repose.data.skeleton import JOINT, K


def person(
    height: int, width: int, *, arms: tuple[float, float] = (0.5, 0.5), legs: tuple[float, float] = (0.1, 0.1),
    back: bool = False, torso: float = 0.27, at: tuple[float, float] = (0.5, 0.25),
) -> Tensor:  # fmt: skip
    """Keypoints (K,2) in px: limbs at angles from straight down (the right one's, the left one's), in rad outwards.

    `torso` is the height from neck to hips as a share of the image's; `at` is where the neck is, as shares of both.
    """
    keypoints = torch.zeros(K, 2)
    for sign, side, arm, leg in ((-1, "right", arms[0], legs[0]), (1, "left", arms[1], legs[1])):
        out = torch.tensor([sign * math.sin(arm), math.cos(arm)])
        down = torch.tensor([sign * math.sin(leg), math.cos(leg)])
        shoulder, hip = torch.tensor([sign * 0.38, 0.05]), torch.tensor([sign * 0.22, 1.0])
        for name, place in {
            "shoulder": shoulder, "elbow": shoulder + 0.55 * out, "wrist": shoulder + 1.05 * out,
            "hip": hip, "knee": hip + 0.7 * down, "ankle": hip + 1.4 * down,
            "eye": torch.tensor([sign * 0.08, -0.52]), "ear": torch.tensor([sign * 0.2, -0.48]),
        }.items():  # fmt: skip
            keypoints[JOINT[f"{side}_{name}"]] = place
    keypoints[JOINT["nose"]] = torch.tensor([0.0, -0.45])
    if back:
        keypoints[:, 0] *= -1
    return keypoints * torso * height + torch.tensor([at[0] * width, at[1] * height])


def people(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Keypoints (count,K,2) of people with their arms and legs anywhere."""
    random = np.random.default_rng(seed)
    return torch.stack(
        [
            person(height, width, arms=tuple(random.uniform(0, 1.5, 2)), legs=tuple(random.uniform(0, 0.5, 2)))
            for _ in range(count)
        ]
    )


def poses_of(keypoints: Tensor, height: int, width: int) -> Poses:
    return Poses(colour(draw(keypoints, height=height, width=width, line_width=1)), keypoints)


def photos(count: int = 5, height: int = 64, width: int = 48) -> tuple[Tensor, Poses]:
    """Photos (count,3,H,W) of people, each of an item of its own, with their poses."""
    keypoints = people(count, height, width)
    return photos_of(keypoints, list(range(count)), height, width), poses_of(keypoints, height, width)


def all_of(sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Sources (Q,T) of which none is masked."""
    index = torch.tensor(sources)
    return index, torch.ones_like(index, dtype=torch.bool)


def photos_of(keypoints: Tensor, items: list[int], height: int, width: int) -> Tensor:
    """Photos (B,3,H,W) in [-1,1]: each limb in a colour of its item, on a light ground."""
    limbs = draw(keypoints, height=height, width=width, line_width=height / 12).long()  # (B,H,W)
    colours = torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (max(items) + 1, 18, 3))).float()
    colours[:, 0] = 0.9
    return torch.stack([colours[item][limb].movedim(-1, 0) for item, limb in zip(items, limbs, strict=True)])


@torch.no_grad()
def made(system: Any, batch: Batch) -> Tensor:
    """A system's images of the batch's targets: (Q,3,H,W) in [-1,1]."""
    return system.generate(batch.images, batch.poses, batch.sources, batch.mask, batch.poses[batch.target])


def pairs(count: int, height: int, width: int) -> Batch:
    """A batch of `count` items with two photos each; the second is the target, the first its source."""
    keypoints = people(2 * count, height, width)
    images = photos_of(keypoints, [photo // 2 for photo in range(2 * count)], height, width)
    poses, target = poses_of(keypoints, height, width), torch.arange(count) * 2 + 1
    other = target.roll(1)
    sources, mask = (target - 1)[:, None], torch.ones(count, 1, dtype=torch.bool)
    return Batch(images, poses, target, sources, mask, images[other], poses[other])
