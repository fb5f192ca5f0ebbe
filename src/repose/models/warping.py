"""Sampling, enlarging and lighting images, and the background behind a person."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """The values of (B,C,H,W) at positions (B,2,h,w) in [-1,1]; at NaN, of a run that diverges, at 0."""
    grid = flow.permute(0, 2, 3, 1).nan_to_num()
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def larger(x: Tensor, factor: int = 2) -> Tensor:
    """(B,C,h,w) -> (B,C,factor * h,factor * w), bilinear."""
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear")


def smoothed(x: Tensor) -> Tensor:
    """A 3x3 binomial filter, which takes out the pattern that a pixel shuffle leaves."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    return (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 16


def brighter(image: Tensor, log_gain: Tensor) -> Tensor:
    """Multiply the light of an image in [-1,1]."""
    return (image + 1) * log_gain.exp() - 1


def filled(images: Tensor, person: Tensor) -> Tensor:
    """The background of photos (B,3,H,W) behind persons (B,1,h,w) in [0,1], filled in from its surroundings."""
    known = 1 - F.max_pool2d(person, 3, 1, 1)
    known = F.interpolate(known, size=images.shape[2:], mode="bilinear").clamp(1e-4, 1).pow(4)
    levels = [torch.cat([images * known, known], 1)]
    while min(levels[-1].shape[2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    result = levels[-1][:, :3] / levels[-1][:, 3:].clamp(min=1e-6)
    for level in reversed(levels[:-1]):
        share = level[:, 3:].clamp(0, 1)
        coarse = F.interpolate(result, size=level.shape[2:], mode="bilinear")
        result = level[:, :3] + (1 - share) * coarse
    return result
