"""Load rendered photos from shards, to train and score the figure network.

A batch only depends on the seed and the step's number. It has several photos of each of its items, from every set, on canvases
of one size. Photos are moved, scaled, flipped, brightened or darkened, and sometimes blurred.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field, PositiveFloat
from torch.utils.data import Dataset

from mannequins.figure.network import HEIGHT
from repose.config import settings
from repose.data.images import decode
from repose.data.layouts import DISTRACTOR, JUNK, LAYOUTS, is_image
from repose.data.raw import RawFiles
from repose.data.skeleton import MIRROR, K
from repose.errors import ReposeError
from repose.pose import keypoint_files

NOBODY = -1  # the item of a photo without an item


Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


@settings
class ChangeSettings:
    """The augmentation of training photos, as shares and factors."""

    flip: Share  # share of photos that are flipped left to right
    scale: tuple[PositiveFloat, PositiveFloat]  # range of a person's size, relative to the photo
    shift: BelowOne  # maximum shift of a photo's middle, as a share of the canvas, in both directions
    light: BelowOne  # maximum deviation from 1 of the brightness factor
    blur: Share  # share of photos that are shrunk and enlarged again, as generated images are soft

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale should be [smallest, largest], not {list(self.scale)}.")


class RenderedPhotos:
    """The photos of one set of mannequins, written by `repose figure render`.

    Attributes:
        names: n names of photos.
        keypoints: (n,K,2) float32 px, NaN where the joint is not in sight.
        items: (n,) int64, NOBODY for Market-1501's junk and distractors.

    Raises:
        ReposeError: the folder has no photos with keypoints.
    """

    def __init__(self, folder: Path) -> None:
        self._files = RawFiles(folder)
        layout = LAYOUTS[self._files.layout](self._files, self._files.__getitem__)
        listed = self._files.find("keypoints.csv")
        poses = keypoint_files.read_posegan_csv(self._files[listed], listed)
        found = [(path, photo) for path in self._files if is_image(path) and (photo := layout.photo(path))]
        if not found:
            raise ReposeError(f"{folder} has no photos. Render them again (`dvc repro figure/dvc.yaml`).")
        self._paths = [path for path, _ in found]
        self.names = [photo.name for _, photo in found]
        self.keypoints = keypoint_files.match(poses, self.names).keypoints
        numbers: dict[str, int] = {JUNK: NOBODY, DISTRACTOR: NOBODY}
        for _, photo in found:
            numbers.setdefault(photo.item, len(numbers) - 2)
        self.items = np.array([numbers[photo.item] for _, photo in found])

    def __len__(self) -> int:
        return len(self._paths)

    def pixels(self, row: int) -> np.ndarray:
        """A photo: (H,W,3) uint8."""
        return decode(self._files[self._paths[row]])


@dataclass(frozen=True)
class Batch:
    """One step's photos."""

    pixels: np.ndarray  # (B,HEIGHT,W,3) uint8
    keypoints: np.ndarray  # (B,K,2) float32 px, NaN where not in sight
    items: np.ndarray  # (B,) int64 over all sets, NOBODY where of no item


class Batches(Dataset[Batch]):
    """The batches of a training run, by step number from 0."""

    def __init__(
        self, sets: Sequence[RenderedPhotos], *, steps: int, seed: int, items: int, photos: int, nobodies: int,
        widths: Sequence[int], change: ChangeSettings,
    ) -> None:  # fmt: skip
        self.sets, self.steps, self.seed, self.change = sets, steps, seed, change
        self._items, self._photos, self._nobodies, self._widths = items, photos, nobodies, widths
        self._rows = [[np.flatnonzero(s.items == item) for item in range(s.items.max() + 1)] for s in sets]
        self._strays = [np.flatnonzero(s.items == NOBODY) for s in sets]
        few = min(map(len, self._rows))
        if few < items:
            raise ReposeError(
                f"A step needs {items} item(s) of each set, but a set has {few}. Render more, or lower train.items."
            )
        starts = np.cumsum([0, *map(len, self._rows)])  # the number of each set's first item
        self._items_of = [
            np.where(s.items == NOBODY, NOBODY, first + s.items) for s, first in zip(sets, starts, strict=False)
        ]
        self.item_count = int(starts[-1])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng([self.seed, step])
        width = self._widths[int(random.integers(len(self._widths)))]
        chosen = [(number, row) for number in range(len(self.sets)) for row in self._chosen(number, step, random)]
        changed = [self._changed(self.sets[number], row, width, random) for number, row in chosen]
        items = [self._items_of[number][row] for number, row in chosen]
        pixels, keypoints = zip(*changed, strict=True)
        return Batch(np.stack(pixels), np.stack(keypoints), np.array(items))

    def _chosen(self, number: int, step: int, random: np.random.Generator) -> list[int]:
        """Rows of a set: some photos of each of the step's items, and some without an item."""
        rows, strays = self._rows[number], self._strays[number]
        per_epoch = len(rows) // self._items
        epoch, within = divmod(step, per_epoch)
        order = np.random.default_rng([self.seed, number, epoch, 1]).permutation(len(rows))
        of_items = [
            random.choice(rows[item], min(self._photos, len(rows[item])), replace=False)
            for item in order[within * self._items : (within + 1) * self._items]
        ]
        some = random.choice(strays, min(self._nobodies, len(strays)), replace=False)
        return [int(row) for group in (*of_items, some) for row in group]

    def _changed(
        self, photos: RenderedPhotos, row: int, width: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """An augmented photo on the canvas (HEIGHT,width,3), and its keypoints (K,2) in px of the canvas."""
        pixels, keypoints, change = photos.pixels(row), photos.keypoints[row], self.change
        height = pixels.shape[0] / random.uniform(*change.scale)  # of the part of the photo that fills the canvas
        size = np.array([height * width / HEIGHT, height])  # x, y
        middle = np.array(pixels.shape[1::-1]) / 2 + random.uniform(-change.shift, change.shift, 2) * size
        corner = middle - size / 2
        placed = (keypoints - corner + 0.5) * (np.array([width, HEIGHT]) / size) - 0.5
        inside = ((placed > -0.5) & (placed < np.array([width, HEIGHT]) - 0.5)).all(1)
        placed = np.where(inside[:, None], placed, np.nan).astype(np.float32)
        image = _cut(pixels, corner, size, width)
        if random.random() < change.blur:
            image = _softened(image, random.uniform(0.35, 1))
        if random.random() < change.flip:
            image, placed = image[:, ::-1], placed[MIRROR]
            placed = placed * np.array([-1, 1], np.float32) + np.array([width - 1, 0], np.float32)
        factor = random.uniform(1 - change.light, 1 + change.light)
        return (image * factor).clip(0, 255).round().astype(np.uint8), placed.reshape(K, 2)


def _cut(pixels: np.ndarray, corner: np.ndarray, size: np.ndarray, width: int) -> np.ndarray:
    """The part of a photo in a box, as (HEIGHT,width,3); pixels outside the photo repeat the nearest pixel."""
    last = np.array(pixels.shape[1::-1])
    before, after = np.ceil((-corner).clip(0)).astype(int), np.ceil((corner + size - last).clip(0)).astype(int)
    padded = np.pad(pixels, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    left, top = corner + before
    box = (left, top, left + size[0], top + size[1])
    return np.asarray(Image.fromarray(padded).resize((width, HEIGHT), Image.Resampling.BILINEAR, box=box))


def _softened(pixels: np.ndarray, share: float) -> np.ndarray:
    """Shrink a photo by a factor, then enlarge it to its size."""
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((round(width * share), round(height * share)), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
