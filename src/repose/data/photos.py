"""Load photos at the working size, with their keypoints and pose maps, from the outputs of the stages."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repose.config import build
from repose.data.frame import Frame
from repose.data.images import decode, decode_indices
from repose.data.photo_files import Fit, place
from repose.data.posemaps import draw
from repose.data.records import IMAGES, POSEMAPS, part_files, part_names, read_json, read_parts, read_parts_keypoints
from repose.data.shards import ShardReader
from repose.errors import DataError, SettingsError


class Loaded(NamedTuple):
    """n photos: pixels (n,H,W,3) uint8, keypoints (n,K,2) float32 in px of the frame, maps (n,H,W) uint8 indices."""

    pixels: np.ndarray
    keypoints: np.ndarray
    maps: np.ndarray


class Photos:
    """Every photo of every part, by name: decoded, brought to the frame and, up to a limit, cached.

    Attributes:
        frame: the working size and crop.
        line_width: of a limb in px of the frame.
        size: height and width in px of every photo before it is brought to the frame; None if they differ.
    """

    def __init__(self, *, images: Path, keypoints: Path, posemaps: Path, cache_megabytes: float = 0) -> None:
        parts = part_names(images)
        table = read_parts(images, parts, "images.csv", IMAGES)
        names, self._joints, _ = read_parts_keypoints(keypoints, parts)
        if list(table["name"]) != names:
            raise DataError(f"{keypoints} and {images} list different photos. Run `dvc repro keypoints` again.")
        self._row = {name: row for row, name in enumerate(names)}
        self._sizes = table[["height", "width"]].to_numpy()
        sizes = {(int(height), int(width)) for height, width in self._sizes}
        self.size = sizes.pop() if len(sizes) == 1 else None
        self._images = ShardReader(images, table)
        self.frame, self.line_width, self._maps = read_posemaps(posemaps, parts)
        # Caches the first photos requested, in two arrays of a fixed size, as each epoch repeats them. They are made at the
        # first request, so that none are sent to a worker process that is not forked.
        self._room = min(len(names), int(cache_megabytes * 2**20 / (4 * self.frame.height * self.frame.width)))
        self._cache: tuple[np.ndarray, np.ndarray] | None = None
        self._slot: dict[int, int] = {}

    def load(self, names: Sequence[str]) -> Loaded:
        """The photos with the given names, in that order.

        Raises:
            DataError: a photo is missing, or has a limb in the frame and no pose map.
        """
        unknown = [name for name in names if name not in self._row]
        if unknown:
            raise DataError(
                f"{len(unknown)} photo(s) in the split have no image, such as {unknown[0]}. "
                "The split is of other photos: run `dvc repro` again."
            )
        rows = [self._row[name] for name in names]
        pixels, maps = zip(*[self._load_one(name, row) for name, row in zip(names, rows, strict=True)], strict=True)
        keypoints = [self._placed(row).keypoints(self._joints[row]) for row in rows]
        return Loaded(np.stack(pixels), np.stack(keypoints), np.stack(maps))

    def _placed(self, row: int) -> Fit:
        height, width = self._sizes[row].tolist()
        return place(self.frame, (height, width), self._joints[row])

    def _load_one(self, name: str, row: int) -> tuple[np.ndarray, np.ndarray]:
        if self._cache is None:
            shape = self._room, self.frame.height, self.frame.width
            self._cache = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)
        cached_pixels, cached_maps = self._cache
        slot = self._slot.get(row)
        if slot is not None:
            return cached_pixels[slot], cached_maps[slot]
        pixels, maps = self._placed(row).image(self._images.decoded(name, decode)), self._map(name, row)
        if len(self._slot) < len(cached_pixels):
            slot = self._slot[row] = len(self._slot)
            cached_pixels[slot], cached_maps[slot] = pixels, maps
        return pixels, maps

    def _map(self, name: str, row: int) -> np.ndarray:
        """The photo's pose map; blank if it has none, as the stage posemaps writes none without a limb in the frame."""
        if name in self._maps:
            return self._maps.decoded(name, decode_indices)
        keypoints, frame = self._placed(row).keypoints(self._joints[row]), self.frame
        drawn = draw(keypoints[None], height=frame.height, width=frame.width, line_width=self.line_width)[0]
        if drawn.any():
            raise DataError(f"{name} has a limb in the frame, but no pose map. Run `dvc repro posemaps` again.")
        return drawn


class Posemaps(NamedTuple):
    """The maps of all parts: the settings they were drawn with, and their PNG files by the names of the photos."""

    frame: Frame
    line_width: float  # of the limbs in px
    files: ShardReader


def read_posemaps(folder: Path, parts: Sequence[str]) -> Posemaps:
    """The maps of the parts written by the stage posemaps; `images.decode` turns a file into (H, W, 3) uint8 RGB.

    Raises:
        DataError: a part is missing or damaged, or was drawn with other settings than the first.
    """
    first, *others = part_files(folder, parts, "posemaps.json")
    frame, line_width = _how_drawn(first)
    for file in others:
        if _how_drawn(file) != (frame, line_width):
            raise DataError(f"{first} and {file} were drawn with different settings. Run `dvc repro posemaps`.")
    return Posemaps(frame, line_width, ShardReader(folder, read_parts(folder, parts, "posemaps.csv", POSEMAPS)))


def _how_drawn(file: Path) -> tuple[Frame, float]:
    made = read_json(file)
    try:
        frame = build(Frame, {key: made[key] for key in ("height", "width", "crop")}, "the frame")
        line_width = float(made["line_width"])
        if not 0 < line_width < math.inf:
            raise ValueError(f"line_width is {line_width}")
        return frame, line_width
    except (KeyError, TypeError, ValueError, OverflowError, SettingsError) as error:
        raise DataError(
            f"{file} lacks the settings that the maps were drawn with ({error!r}). Run `dvc repro posemaps`."
        ) from None
