"""Crop, flip and rotation of training photos (the paper's section 4.2; the amounts are our reading, R23 of docs/paper.md).

One 2 x 3 matrix transforms the pixels and keypoints of a photo; its pose map is redrawn from the keypoints. A flip also swaps
left and right joints, since the colors of a map encode the side. All photos of an item flip together, so that a logo is
mirrored in all of them or in none. Crop and rotation are drawn for each photo.
"""

from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from repose.config import settings
from repose.data.skeleton import MIRROR


@settings
class AugmentSettings:
    """The augmentation of training photos."""

    flip: Annotated[float, Field(ge=0, le=1)]  # share of items that are flipped left to right
    rotation: Annotated[float, Field(ge=0, le=180)]  # largest angle in degrees, in both directions
    crop: Annotated[float, Field(gt=0, le=1)]  # smallest share of the height and width that a crop keeps; 1: no crop
    fill: Literal["white", "edge"]  # beyond the photo: white (DeepFashion's studio), or the nearest pixel (Market-1501)


def draw_matrices(
    random: np.random.Generator, photos: int, flip: bool, settings: AugmentSettings, height: int, width: int
) -> np.ndarray:
    """Draw matrices (photos, 2, 3) float64 from x, y in px of a photo to px of the augmented one."""
    angle = np.deg2rad(random.uniform(-settings.rotation, settings.rotation, photos))
    kept = random.uniform(settings.crop, 1.0, photos)
    corner = random.uniform(0.0, 1.0, (photos, 2)) * (1 - kept)[:, None] * (width, height) - 0.5  # of the crop, px
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 2, 2)
    linear = turn / kept[:, None, None]
    # rotate about the center, then move the crop's corner to the corner of the frame and scale it up to the frame
    shift = (centre - corner) / kept[:, None] - 0.5 - linear @ centre
    if flip:
        linear[:, 0] *= -1
        shift[:, 0] = (width - 1) - shift[:, 0]
    return np.concatenate([linear, shift[:, :, None]], -1)


def move_keypoints(keypoints: np.ndarray, matrices: np.ndarray, flip: bool) -> np.ndarray:
    """Transform keypoints (n,K,2) by matrices (n,2,3); a flip also swaps left and right joints."""
    moved = np.einsum("nij,nkj->nki", matrices[:, :, :2], keypoints) + matrices[:, None, :, 2]
    return (moved[:, MIRROR] if flip else moved).astype(np.float32)


def move_images(images: Tensor, matrices: Tensor, fill: Literal["white", "edge"]) -> Tensor:
    """Transform images (n,3,H,W) in [-1,1] by matrices (n,2,3) in px, bilinearly; `fill` sets pixels outside the photo.

    The matrices are on the CPU, since inverting them on a GPU would wait for it.
    """
    height, width = images.shape[2:]
    linear, shift = matrices[:, :, :2].double(), matrices[:, :, 2:].double()
    inverse = torch.linalg.inv(linear)  # grid_sample asks where each pixel comes from
    half = inverse.new_tensor([width / 2, height / 2])
    centre = half - 0.5
    # px -> grid_sample's coordinates, in which the frame's edges are -1 and 1
    theta_linear = inverse * half / half[:, None]
    theta_shift = (inverse @ (centre[:, None] - shift) - centre[:, None]) / half[:, None]
    theta = torch.cat([theta_linear, theta_shift], -1).float().to(images.device, non_blocking=True)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    if fill == "edge":
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(images - 1, grid, padding_mode="zeros", align_corners=False) + 1  # white is 1
