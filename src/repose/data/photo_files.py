"""Read a user's own photos, and fit them into the frame of a trained system.

A photo with the size of the training photos is cropped and scaled like them. Any other is cropped to the frame's aspect ratio
around the person, if joints are known, as people in training photos stand upright and fill the frame.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from repose.data.frame import Frame
from repose.data.images import FORMATS, decode, from_pillow, named_failures
from repose.data.inspection import inspect
from repose.data.skeleton import JOINT, present
from repose.errors import DataError, ReposeError
from repose.storage.limits import within_limit

MAX_MEGAPIXELS = 100  # larger photos are not decoded
MIN_SIDE = 16  # minimum px of the shorter side
# Of the frame's height and width. In DeepFashion the joints take 0.61 to 0.90 of the height and begin at 0.07 to 0.14 of it.
LEAST, MOST = 0.6, 0.85  # that the joints take, if the photo leaves the choice
ABOVE = 0.13  # above the joints
HIPS = [JOINT["right_hip"], JOINT["left_hip"]]
LEGS = [JOINT[f"{side}_{part}"] for side in ("right", "left") for part in ("hip", "knee", "ankle")]

Size = tuple[int, int]  # height, width in px


def read_photo(path: Path) -> np.ndarray:
    """The photo in a file, decoded by `images.decode`: (H, W, 3) uint8 RGB, upright by its EXIF.

    Raises:
        DataError: the file is missing, too large (`storage.limits`) or damaged, has none of `images.FORMATS`, more than
            MAX_MEGAPIXELS, less than MIN_SIDE, or values of unknown range.
    """
    try:
        content = within_limit(path, "photo").read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no photo {path}. Check the path.") from None
    except OSError as error:
        raise DataError(f"The photo {path} cannot be read: {error.strerror}. Give a file that you may read.") from None
    found = inspect(content, max_pixels=0)  # reads the header alone
    if found.width * found.height > MAX_MEGAPIXELS * 10**6:
        raise DataError(
            f"{path} has {found.width}x{found.height} px (width x height), more than {MAX_MEGAPIXELS} megapixels. Save it "
            "smaller; a few hundred px per side are enough."
        )
    try:
        pixels = decode(content)
    except ReposeError as error:
        if found.mode in ("I", "F"):
            raise DataError(f"{path}: {error}") from None
        raise DataError(
            f"{path} is {f'a damaged {found.format}' if found.format else 'not a photo'} ({error}). Give a whole file "
            f"in one of the formats {', '.join(FORMATS)}."
        ) from None
    return _large_enough(pixels, str(path))


def as_pixels(photo: Image.Image | np.ndarray, name: str) -> np.ndarray:
    """A photo in memory as (H, W, 3) uint8 RGB; a Pillow image gives the pixels that `read_photo` reads from its file.

    Raises:
        DataError: the photo is damaged, smaller than MIN_SIDE, or has values of unknown range. `name` opens the message.
        ValueError: an array of another shape or type.
    """
    if isinstance(photo, Image.Image):
        try:
            with named_failures():
                pixels = from_pillow(photo)
        except ReposeError as error:
            how = "" if photo.mode in ("I", "F") else ". Its file should be whole, and open until the image is loaded."
            raise DataError(f"{name} cannot be read: {error}{how}") from None
    elif isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3:
        pixels = photo
    else:
        found = f"{photo.shape} {photo.dtype}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise ValueError(f"pixels should be an array (H, W, 3) uint8, not {found} ({name}).")
    return _large_enough(pixels, name)


class Fit(NamedTuple):
    """The placement of a photo in the frame."""

    turns: int  # quarter turns of the photo, counterclockwise; then its
    part: Frame  # size of the part of the frame that the photo fills
    top: int  # of that part, px of the frame
    left: int
    frame: Frame
    photo_size: Size  # before it is turned

    @property
    def scale(self) -> float:
        """How many px of the photo make one px of the frame."""
        _, top, _, bottom = self.part.box(*(self.photo_size[::-1] if self.turns % 2 else self.photo_size))
        return (bottom - top) / self.part.height

    def finer(self, factor: int) -> "Fit":
        """The same placement in a frame of `factor` times the height and width."""
        part, frame = (Frame(of.height * factor, of.width * factor, of.crop) for of in (self.part, self.frame))
        return self._replace(part=part, top=self.top * factor, left=self.left * factor, frame=frame)

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """The photo (H, W, 3) uint8 -> (height, width, 3) uint8 of the frame."""
        bottom = self.frame.height - self.top - self.part.height
        right = self.frame.width - self.left - self.part.width
        part = self.part.image(np.rot90(pixels, self.turns))
        return np.pad(part, ((self.top, bottom), (self.left, right), (0, 0)), mode="edge")

    def keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints (..., 2) in px of the photo -> (..., 2) float32 in px of the frame; missing stays NaN."""
        keypoints, size = _turned(keypoints, self.photo_size, self.turns)
        return self.part.keypoints(keypoints, *size) + np.array([self.left, self.top], np.float32)


def fit(frame: Frame, photo_size: Size, trained_size: Size | None, keypoints: np.ndarray) -> Fit:
    """The placement of a photo in the frame of a system trained on photos of `trained_size` (None: of several sizes).

    A photo is turned so that the person of its keypoints (K, 2) in px is upright. One of another size, or with joints beside
    the frame's crop, is then cropped to the frame's aspect ratio around the person: from above the head to the bottom of the
    photo, or closer if the person is small.
    Without keypoints, and if it is too narrow, it is fitted in whole; its edge pixels are repeated up to the frame's border.
    """
    turns = _turns_to_upright(keypoints)
    keypoints, upright_size = _turned(keypoints, photo_size, turns)
    if upright_size == trained_size and frame.shows(keypoints):
        return Fit(turns, frame, 0, 0, frame, photo_size)
    size, shape = np.array(upright_size, float), np.array([frame.height, frame.width])
    known = present(keypoints).any()
    scale, middle = _around(keypoints, size, shape) if known else (float((size / shape).max()), size / 2)
    box = shape * scale
    start = np.where(box < size, (middle - box / 2).clip(0, np.maximum(size - box, 0)), (size - box) / 2)
    (top, left), (bottom, right) = start.clip(0).tolist(), np.minimum(start + box, size).tolist()
    height, width = (max(1, round(length / scale)) for length in (bottom - top, right - left))
    part = Frame(height, width, (left, top, right, bottom))
    return Fit(turns, part, (frame.height - height) // 2, (frame.width - width) // 2, frame, photo_size)


def place(frame: Frame, photo_size: Size, keypoints: np.ndarray) -> Fit:
    """The placement of a photo of a data set with keypoints (K, 2) in px: that of `fit` for the crop `person`."""
    if frame.crop == "person":
        return fit(frame, photo_size, None, keypoints)
    return Fit(0, frame, 0, 0, frame, photo_size)


def _turns_to_upright(keypoints: np.ndarray) -> int:
    """The quarter turns, counterclockwise, after which the legs are below the other joints; 0 if either are unknown."""
    legs, others = keypoints[LEGS], np.delete(keypoints, LEGS, 0)
    if not (present(legs).any() and present(others).any()):
        return 0
    x, y = np.nanmean(legs, 0) - np.nanmean(others, 0)
    return 0 if y > abs(x) / 3 else -round(np.arctan2(x, y) / (np.pi / 2)) % 4  # who sits on the floor is upright


def _turned(keypoints: np.ndarray, size: Size, turns: int) -> tuple[np.ndarray, Size]:
    """Keypoints (..., 2) in px of a photo of `size`, and that size, after quarter turns of the photo as by `np.rot90`."""
    for _ in range(turns):
        x, y = keypoints[..., 0], keypoints[..., 1]
        keypoints, size = np.stack([y, size[1] - 1 - x], -1), size[::-1]
    return keypoints, size


def _around(keypoints: np.ndarray, size: np.ndarray, shape: np.ndarray) -> tuple[float, np.ndarray]:
    """The px of a photo of `size` per px of the frame, and the middle of the frame in it: y, x."""
    low, high = (edge(keypoints, 0)[::-1] + 0.5 for edge in (np.nanmin, np.nanmax))
    person = np.maximum(high - low, 1)
    scale = min(size[0], (size[0] - low[0]) / (1 - ABOVE)) / shape[0]  # from above the head to the bottom
    if present(keypoints)[HIPS].any():  # else the photo shows a head or shoulders, and they fill it
        scale = min(scale, (person / LEAST / shape).max())
    scale = max(scale, min(person[1] / MOST, size[1]) / shape[1])
    return scale, np.array([low[0] + (0.5 - ABOVE) * shape[0] * scale, low[1] + person[1] / 2])


def _large_enough(pixels: np.ndarray, name: str) -> np.ndarray:
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{name} has {width}x{height} px (width x height); a photo needs at least {MIN_SIDE} px per side. Use a larger "
            "one."
        )
    return pixels
