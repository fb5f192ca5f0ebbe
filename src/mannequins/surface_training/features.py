"""Distances of features of EfficientNet-Lite0 (`repose.models.lite0`), for the perceptual terms."""

import torch
from torch import Tensor

from repose.models.lite0 import LAYERS


def distance(made: list[Tensor], expected: list[Tensor]) -> Tensor:
    """The squared distance of features, as in LPIPS without its learned weights; a sum over layers, over four. A scalar."""
    terms = [(a - b).square().sum(1).mean() for a, b in zip(made, expected, strict=True)]
    return torch.stack(terms).sum() / LAYERS


def gram_distance(made: list[Tensor], expected: list[Tensor]) -> Tensor:
    """The L1 distance of the features' Gram matrices, which compares textures wherever they are. A scalar."""
    terms = [(_gram(a) - _gram(b)).abs().sum((1, 2)).mean() for a, b in zip(made, expected, strict=True)]
    return torch.stack(terms).mean()


def _gram(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,C)."""
    return torch.einsum("bcx,bdx->bcd", x.flatten(2), x.flatten(2)) / x[0, 0].numel()
