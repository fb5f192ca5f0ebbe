"""Training batches: the photos of a step's items, the targets among them, and the sources of each target.

The step number and the seed alone determine a batch, so training can resume at any step, with any number of workers. A target
is not among its own sources (R9). Letters: B items per step, M photos of them, Q targets, T sources of a target.

Processes that share a step draw the whole step and load only their own items. Together they see one process's batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from repose.data.augment import AugmentSettings, draw_matrices, move_images, move_keypoints
from repose.data.images import to_tensor
from repose.data.posemaps import colour, draw
from repose.data.poses import Poses
from repose.errors import ReposeError

if TYPE_CHECKING:  # `repose generate` imports this module, and reads no data set
    import pandas as pd

    from repose.data.photos import Photos


@dataclass(frozen=True)
class Batch:
    """One step's input, on the training device."""

    images: Tensor  # (M,3,H,W) float32 in [-1,1]: all photos of the step's items
    poses: Poses  # of those M photos
    target: Tensor  # (Q,) int64: the photos to generate
    sources: Tensor  # (Q,T) int64: the source photos of each
    mask: Tensor  # (Q,T) bool: which entries of `sources` are valid; at least one per row
    # (Q,3,H,W): a photo of another item for each target, the paper's y~; none if the system does not need them
    other_image: Tensor
    other_pose: Poses  # of those Q photos, the paper's p~
    share: float = 1.0  # share of the step's targets in this process


@dataclass(frozen=True)
class Packed:
    """A batch as the loader returns it: small, on the CPU. The M photos of the items come first, then the Q others, if any."""

    pixels: np.ndarray  # (M+Q,H,W,3) uint8
    keypoints: np.ndarray  # (M+Q,K,2) float32, already augmented
    maps: np.ndarray  # (M+Q,H,W) uint8 palette indices, of the augmented keypoints
    matrices: np.ndarray  # (M+Q,2,3): the augmentation, not yet applied to the pixels
    target: np.ndarray
    sources: np.ndarray
    mask: np.ndarray
    share: float
    own: int  # M


class Steps(Dataset[Packed]):
    """The batches of a training run by step number, from 0: the items of process `rank` of `processes`.

    Without `others`, photos of other items are drawn, so that batches stay the same, but not loaded.
    """

    def __init__(
        self, photos: "Photos", items: "pd.DataFrame", *, steps: int, seed: int, items_per_step: int, max_photos: int,
        max_sources: int, targets: Literal["all", "one"], augment: AugmentSettings | None,
        rank: int = 0, processes: int = 1, others: bool = True,
    ) -> None:  # fmt: skip
        self.photos, self.steps, self.seed, self.augment, self.others = photos, steps, seed, augment, others
        self.items_per_step, self.max_photos, self.max_sources = items_per_step, max_photos, max_sources
        self.targets, self.rank, self.processes = targets, rank, processes
        self._names = [group.to_numpy() for _, group in items["name"].groupby(items["item"], sort=False)]
        if len(self._names) < max(2, items_per_step):
            raise ReposeError(
                f"Training needs {items_per_step} item(s) per step and a pose of another item, but the split only has "
                f"{len(self._names)} training item(s). Add photos, or lower items_per_step in the system's block."
            )
        self.steps_per_epoch = len(self._names) // items_per_step

    def __len__(self) -> int:
        return self.steps

    def images(self) -> int:
        """The number of targets of all steps in all processes (the sum of Q), without loading any."""
        if self.targets == "one":
            return self.steps * self.items_per_step
        sizes = np.array([min(len(names), self.max_photos) for names in self._names])
        total = 0
        for first in range(0, self.steps, self.steps_per_epoch):
            steps = min(self.steps_per_epoch, self.steps - first)
            total += int(sizes[self._order(first // self.steps_per_epoch)[: steps * self.items_per_step]].sum())
        return total

    def __getitem__(self, step: int) -> Packed:
        random = np.random.default_rng([self.seed, step])
        chosen = self._items_of(step)
        groups = [self._some(self._names[item], random) for item in chosen]
        flips = self._flips(len(groups), random)
        sizes = [len(group) for group in groups]
        target, sources, mask = self._sources(sizes, random)
        others = self._others(np.repeat(chosen, sizes)[target], random)
        names = [name for group in groups for name in group] + others
        flipped = [*np.repeat(flips, sizes).tolist(), *self._flips(len(others), random)]
        matrices = self._matrices(flipped, random)

        photos, targets = self._part(sizes, target)
        own = range(len(names))[photos]
        rows = [*own, *(range(sum(sizes), len(names))[targets] if self.others else ())]
        pixels, keypoints, maps = self.photos.load([names[row] for row in rows])
        if self.augment:
            moved = [move_keypoints(keypoints[[i]], matrices[[row]], flipped[row]) for i, row in enumerate(rows)]
            keypoints, (height, width) = np.concatenate(moved), pixels.shape[1:3]
            maps = draw(keypoints, height=height, width=width, line_width=self.photos.line_width)
        return Packed(
            pixels, keypoints, maps, matrices[rows],
            target[targets] - photos.start, sources[targets] - photos.start, mask[targets],
            len(target[targets]) / len(target), len(own),
        )  # fmt: skip

    def _items_of(self, step: int) -> np.ndarray:
        """The items of a step; each epoch visits the items in another order, without those that do not fill a step."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[within * self.items_per_step : (within + 1) * self.items_per_step]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch, 1]).permutation(len(self._names))

    def _some(self, names: np.ndarray, random: np.random.Generator) -> list[str]:
        """At most `max_photos` of an item's photos (Market-1501 has dozens of a person)."""
        if len(names) > self.max_photos:
            names = names[random.choice(len(names), self.max_photos, replace=False)]
        return list(names)

    def _sources(self, sizes: Sequence[int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets (Q,), their sources (Q,T) in random order (a random number per step, R11), and the mask."""
        most = random.integers(1, self.max_sources, endpoint=True)
        target, rows, first = [], [], 0
        for size in sizes:
            for photo in range(size) if self.targets == "all" else [random.integers(size)]:
                rest = np.delete(np.arange(size), photo)
                rows.append(first + random.permutation(rest)[:most])
                target.append(first + photo)
            first += size
        width = max(len(row) for row in rows)
        sources = np.stack([np.pad(row, (0, width - len(row)), mode="edge") for row in rows])
        mask = np.arange(width) < np.array([len(row) for row in rows])[:, None]
        return np.array(target), sources, mask

    def _others(self, items: np.ndarray, random: np.random.Generator) -> list[str]:
        """A random photo of a random other item for each target, given the targets' items (Q,)."""
        shift = random.integers(1, len(self._names), len(items))
        others = (items + shift) % len(self._names)  # any item except the target's own
        return [str(random.choice(self._names[item])) for item in others]

    def _flips(self, count: int, random: np.random.Generator) -> list[bool]:
        return [self.augment is not None and bool(random.random() < self.augment.flip) for _ in range(count)]

    def _matrices(self, flipped: list[bool], random: np.random.Generator) -> np.ndarray:
        """The augmentation of each photo: (M+Q,2,3)."""
        if self.augment is None:
            return np.broadcast_to(np.eye(2, 3), (len(flipped), 2, 3))
        size = self.photos.frame.height, self.photos.frame.width
        return np.concatenate([draw_matrices(random, 1, flip, self.augment, *size) for flip in flipped])

    def _part(self, sizes: Sequence[int], target: np.ndarray) -> tuple[slice, slice]:
        """This process's range of the step's M photos, and of its Q targets."""
        items = self.items_per_step // self.processes
        first, end = np.cumsum([0, *sizes])[[self.rank * items, (self.rank + 1) * items]].tolist()
        return slice(first, end), slice(*np.searchsorted(target, [first, end]).tolist())


def unpack(packed: Packed, *, augment: AugmentSettings | None, device: torch.device) -> Batch:
    """Move a batch to the device, augment its pixels, and color its maps; a GPU is not waited for."""

    def moved(array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    images = to_tensor(moved(packed.pixels))
    if augment is not None:
        images = move_images(images, torch.from_numpy(packed.matrices), augment.fill)
    poses, own = Poses(colour(moved(packed.maps)), moved(packed.keypoints)), packed.own
    target, sources, mask = map(moved, (packed.target, packed.sources, packed.mask))
    return Batch(images[:own], poses[:own], target, sources, mask, images[own:], poses[own:], packed.share)
