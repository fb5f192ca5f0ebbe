"""The batches of a training, by step number: rendered items, each of whose photos is a target.

The seed and the step's number alone determine a batch. Letters: M photos, each a target; T sources of a target; H x W px,
the size of a photo; h = H / 2, w = W / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mannequins.surface_training.renders import Item, render_item
from repose.data.images import to_tensor
from repose.data.posemaps import colour, draw
from repose.data.poses import Poses

TWO_SOURCES = 0.25  # share of the steps whose targets have two sources


@dataclass(frozen=True)
class Packed:
    """A batch as a worker process returns it."""

    pixels: np.ndarray  # (M,H,W,3) uint8
    keypoints: np.ndarray  # (M,K,2) float32 px
    alpha: np.ndarray  # (M,H,W) uint8
    surface: np.ndarray  # (M,3,h,w) float32
    parts: np.ndarray  # (M,h,w) uint8
    sources: np.ndarray  # (M,T) int64
    flow: np.ndarray  # (M,T,2,h,w) float32 px
    sight: np.ndarray  # (M,T,h,w) bool


class Batch(NamedTuple):
    """A batch on the training device."""

    images: Tensor  # (M,3,H,W) in [-1,1]
    poses: Poses  # of the M photos
    alpha: Tensor  # (M,1,H,W) in [0,1]: the share of a pixel that the person covers
    surface: Tensor  # (M,3,h,w): x, y, z on the body at rest
    parts: Tensor  # (M,h,w) int64: the bone of a place, or BACKGROUND
    sources: Tensor  # (M,T) int64
    mask: Tensor  # (M,T) bool: all of them are used
    flow: Tensor  # (M,T,2,h,w) px: where the places of a target lie in a source
    sight: Tensor  # (M,T,h,w) bool: they are in sight there


class Steps(Dataset[Packed]):
    """The batches of a training, by step number from 0."""

    def __init__(self, seed: int, items: int, views: int, height: int, width: int) -> None:
        self.seed, self.items, self.views, self.size = seed, items, views, (height, width)

    def __getitem__(self, step: int) -> Packed:
        rng = np.random.default_rng((self.seed, 1, step))
        count = 2 if rng.random() < TWO_SOURCES and self.views > 2 else 1
        items, chosen = [], []
        for number in range(step * self.items, (step + 1) * self.items):
            items.append(render_item(self.seed, number, self.views, *self.size))
            chosen.append([
                rng.permutation([other for other in range(self.views) if other != target])[:count].tolist()
                for target in range(self.views)
            ])  # fmt: skip
        return pack(items, chosen)


def pack(items: Sequence[Item], sources: Sequence[Sequence[Sequence[int]]]) -> Packed:
    """All views of items as targets; `sources` are views of the same item, T for each view of each item."""
    views = [view for item in items for view in item.views]
    pixels, keypoints, alpha, surface, parts, _ = (np.stack(of) for of in zip(*views, strict=True))
    firsts = np.cumsum([0, *(len(item.views) for item in items)])
    rows = [first + np.array(few) for first, of in zip(firsts, sources, strict=False) for few in of]
    flows = [
        [item.flow(source, target) for source in few]
        for item, of in zip(items, sources, strict=True)
        for target, few in enumerate(of)
    ]
    flow, sight = (np.stack([np.stack([pair[part] for pair in of]) for of in flows]) for part in (0, 1))
    return Packed(pixels, keypoints, alpha, surface, parts, np.stack(rows), flow, sight)


def unpack(packed: Packed, device: torch.device) -> Batch:
    """The batch on a device."""
    given = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in vars(packed).items()}
    height, width = packed.pixels.shape[1:3]
    maps = draw(given["keypoints"], height=height, width=width, line_width=height / 32)
    return Batch(
        to_tensor(given["pixels"]), Poses(colour(maps), given["keypoints"]), given["alpha"].float()[:, None] / 255,
        given["surface"], given["parts"].long(), given["sources"], torch.ones_like(given["sources"], dtype=torch.bool),
        given["flow"], given["sight"],
    )  # fmt: skip
