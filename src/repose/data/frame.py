"""The frame: which part of a photo becomes the working image, and how large it is.

Training, evaluation and generation work at one size; photos and keypoints are brought to it here and nowhere else:
first cropped, then scaled (each axis by itself, where the crop's shape is not the frame's).

The centre of the first pixel is (0, 0) and the edge of an image half a px before it, so a coordinate becomes
(photo - left + 0.5) * scale - 0.5.
"""

import numpy as np
from PIL import Image

from repose.config import settings
from repose.errors import DataError

Crop = tuple[float, float, float, float]


@settings
class Frame:
    """The working size, and the part of the photo that fills it.

    Raises:
        ValueError: the size is not positive, or the crop is empty or starts outside every photo.
    """

    height: int  # px
    width: int  # px
    crop: Crop | None = None  # left, top, right, bottom in px of the photo, as Pillow counts; None: the whole photo

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height and width should be at least 1 px, not {self.height} and {self.width}.")
        if self.crop is not None:
            left, top, right, bottom = self.crop
            if not (0 <= left < right and 0 <= top < bottom):
                raise ValueError(
                    f"crop should be left, top, right, bottom with 0 <= left < right and 0 <= top < bottom, "
                    f"not {list(self.crop)}."
                )

    def box(self, photo_height: int, photo_width: int) -> Crop:
        """The part of a photo of the given size that fills the frame: left, top, right, bottom in px.

        Raises:
            DataError: the crop reaches beyond the photo.
        """
        if self.crop is None:
            return 0.0, 0.0, float(photo_width), float(photo_height)
        if self.crop[2] > photo_width or self.crop[3] > photo_height:
            raise DataError(
                f"The crop {list(self.crop)} (left, top, right, bottom) reaches beyond a photo of {photo_width}x"
                f"{photo_height} px (width x height). Change posemaps.crop in params.yaml, or leave such photos out."
            )
        return self.crop

    def keypoints(self, keypoints: np.ndarray, photo_height: int, photo_width: int) -> np.ndarray:
        """Keypoints (..., 2) in px of a photo of the given size -> (..., 2) float32 in px of the frame.

        What lies outside the frame stays, with coordinates that say so; missing stays NaN.

        Raises:
            DataError: the crop reaches beyond the photo.
        """
        left, top, right, bottom = self.box(photo_height, photo_width)
        scale = np.array([self.width / (right - left), self.height / (bottom - top)])
        placed: np.ndarray = (keypoints - np.array([left, top]) + 0.5) * scale - 0.5
        return placed.astype(np.float32)

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """A photo (H, W, 3) uint8 -> the working image (height, width, 3) uint8.

        Pillow's bicubic filter (a = -0.5), which averages where it shrinks; where a crop of whole px already has the
        frame's size, its pixels are untouched.

        Raises:
            DataError: the crop reaches beyond the photo.
        """
        box = self.box(*pixels.shape[:2])
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))
