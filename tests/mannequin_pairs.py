"""Pairs of photos of one mannequin, with keypoints that are really a figure's."""

from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np

from mannequins.renderer import MannequinSettings, render_item


def mannequin_pairs(flavour: Literal["fashion", "street"], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`count` pairs: sources (B,H,W,3) uint8, targets likewise, and the targets' keypoints (B,K,2) in px."""
    sources, targets, keypoints = _rendered(flavour, count)
    return sources.copy(), targets.copy(), keypoints.copy()


@cache
def _rendered(flavour: Literal["fashion", "street"], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    settings = MannequinSettings(flavour, items=max(count, 2), seed=7, quality=90)
    pairs, number = [], 0
    while len(pairs) < count:
        photos = [photo for photo in render_item(settings, number) if photo.truth is not None]
        pairs += [(a.pixels, b.pixels, b.keypoints) for a, b in pairwise(photos)]
        number += 1
    sources, targets, keypoints = zip(*pairs[:count], strict=True)
    return np.stack(sources), np.stack(targets), np.stack(keypoints)
