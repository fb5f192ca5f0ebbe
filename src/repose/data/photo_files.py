"""A user's own photo: read from its file, upright and in RGB, and fitted into the frame of a trained system.

A photo of the size of those that the system was trained on is cropped and scaled as they were. Any other is fitted in
whole: its shape is kept, and the pixels of its edges are drawn on to the frame's.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from repose.data.frame import Frame
from repose.data.images import FORMATS, decode, from_pillow
from repose.data.inspection import inspect
from repose.errors import DataError, ReposeError

MAX_MEGAPIXELS = 100  # of a photo; with more it is not even decoded
MIN_SIDE = 16  # px of the shorter side

Size = tuple[int, int]  # height, width in px


def read_photo(path: Path) -> np.ndarray:
    """The photo in a file, as `images.decode` reads it: (H, W, 3) uint8 RGB, upright as its EXIF says.

    Raises:
        DataError: there is no such file, it is of none of `images.FORMATS`, cut, larger than MAX_MEGAPIXELS, smaller than
            MIN_SIDE, or of a mode whose range is not known.
    """
    content = _content(path)
    _check(path, content)
    try:
        return decode(content)
    except ReposeError as error:
        raise DataError(f"{path}: {error}") from None


def as_pixels(photo: Image.Image | np.ndarray, name: str) -> np.ndarray:
    """A photo in memory as (H, W, 3) uint8 RGB; one of Pillow's is read as `read_photo` reads its file.

    Raises:
        DataError: it is damaged, smaller than MIN_SIDE, or of a mode whose range is not known. `name` opens the message.
        ValueError: an array of another shape or type.
    """
    if isinstance(photo, Image.Image):
        try:
            pixels = from_pillow(photo)
        except (OSError, ReposeError) as error:
            raise DataError(f"{name} cannot be read: {error}") from None
    elif photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3:
        pixels = photo
    else:
        raise ValueError(f"pixels should be (H, W, 3) uint8, not {photo.shape} {photo.dtype} ({name}).")
    height, width = pixels.shape[:2]
    _check_size(height, width, name)
    return pixels


class Fit(NamedTuple):
    """How a photo of one size comes into the frame: where it lies there, and how large it is there."""

    part: Frame  # of the frame that the photo fills
    top: int  # px of the frame
    left: int
    frame: Frame
    photo_size: Size

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """The photo (H, W, 3) uint8 -> (height, width, 3) uint8 of the frame."""
        bottom = self.frame.height - self.top - self.part.height
        right = self.frame.width - self.left - self.part.width
        return np.pad(self.part.image(pixels), ((self.top, bottom), (self.left, right), (0, 0)), mode="edge")

    def keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints (..., 2) in px of the photo -> (..., 2) float32 in px of the frame; missing stays NaN."""
        return self.part.keypoints(keypoints, *self.photo_size) + np.array([self.left, self.top], np.float32)


def fit(frame: Frame, photo_size: Size, trained_size: Size | None) -> Fit:
    """How a photo comes into the frame of a system that was trained on photos of `trained_size` (None: of several)."""
    if photo_size == trained_size:
        return Fit(frame, 0, 0, frame, photo_size)
    scale = min(frame.height / photo_size[0], frame.width / photo_size[1])
    height, width = (max(1, round(side * scale)) for side in photo_size)
    return Fit(Frame(height, width), (frame.height - height) // 2, (frame.width - width) // 2, frame, photo_size)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no photo {path}. Check the path.") from None
    except OSError as error:
        raise DataError(f"The photo {path} cannot be read: {error.strerror}. Name a file that you may read.") from None


def _check(path: Path, content: bytes) -> None:
    found = inspect(content, MAX_MEGAPIXELS * 10**6)
    size = f"{found.width}x{found.height} px (width x height)"
    if found.decodes is None:
        raise DataError(
            f"{path} has {size}, more than {MAX_MEGAPIXELS} megapixels. Save it smaller: a few hundred px a side are "
            "enough."
        )
    if not found.decodes and not found.format:
        raise DataError(f"{path} is no photo ({found.error}). Give a file of {', '.join(FORMATS)}.")
    if not found.decodes:
        raise DataError(f"The {found.format} {path} is damaged ({found.error}). Copy it again from where it came.")
    _check_size(found.height, found.width, str(path))


def _check_size(height: int, width: int, name: str) -> None:
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{name} has {width}x{height} px (width x height); a photo needs at least {MIN_SIDE} px a side. Give a larger "
            "one."
        )
