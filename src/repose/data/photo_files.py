"""Read a user's own photos, and fit them into the frame of a trained system.

A photo with the size of the training photos is cropped and scaled like them. Any other is scaled to fit completely, keeping
its aspect ratio, and its edge pixels are repeated up to the border of the frame.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from repose.data.frame import Frame
from repose.data.images import FORMATS, decode, from_pillow, named_failures
from repose.data.inspection import inspect
from repose.errors import DataError, ReposeError
from repose.storage.limits import within_limit

MAX_MEGAPIXELS = 100  # larger photos are not decoded
MIN_SIDE = 16  # minimum px of the shorter side

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
    height, width = pixels.shape[:2]
    _check_size(height, width, str(path))
    return pixels


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
            raise DataError(f"{name} cannot be read: {error}") from None
    elif photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3:
        pixels = photo
    else:
        raise ValueError(f"pixels should be (H, W, 3) uint8, not {photo.shape} {photo.dtype} ({name}).")
    height, width = pixels.shape[:2]
    _check_size(height, width, name)
    return pixels


class Fit(NamedTuple):
    """The placement of photos of one size in the frame."""

    part: Frame  # size of the part of the frame that the photo fills
    top: int  # of that part, px of the frame
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
    """The placement of a photo in the frame of a system trained on photos of `trained_size` (None: of several sizes)."""
    if photo_size == trained_size:
        return Fit(frame, 0, 0, frame, photo_size)
    scale = min(frame.height / photo_size[0], frame.width / photo_size[1])
    height, width = (max(1, round(side * scale)) for side in photo_size)
    return Fit(Frame(height, width), (frame.height - height) // 2, (frame.width - width) // 2, frame, photo_size)


def _check_size(height: int, width: int, name: str) -> None:
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{name} has {width}x{height} px (width x height); a photo needs at least {MIN_SIDE} px per side. Use a larger "
            "one."
        )
