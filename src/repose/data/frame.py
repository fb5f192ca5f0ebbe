"""The frame: the part of a photo that becomes the working image, and its size.

Training, evaluation and generation work at one size. Only this module crops and scales photos and keypoints to it. If the
crop's aspect ratio is not the frame's, each axis has its own scale. The crop `person` is chosen for each photo by its joints
(`photo_files.fit`).

The center of the first pixel is (0, 0), half a px from the image's edge, so a coordinate becomes
(photo - left + 0.5) * scale - 0.5.
"""

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field

from repose.config import settings
from repose.data.skeleton import present
from repose.errors import DataError

Box = tuple[float, float, float, float]  # left, top, right, bottom in px of the photo, as in Pillow


def _check_crop(crop: Box | Literal["person"]) -> Box | Literal["person"]:
    if crop == "person":
        return crop
    left, top, right, bottom = crop
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError(
            f"left, top, right, bottom should be 0 <= left < right and 0 <= top < bottom, not {list(crop)}."
        )
    return crop


Crop = Annotated[Box | Literal["person"], AfterValidator(_check_crop)]
Side = Annotated[int, Field(ge=1, le=4096)]  # px


@settings
class Frame:
    """The working size, and the part of the photo that fills it."""

    height: Side
    width: Side
    crop: Crop | None = None  # None: the whole photo; person: the part around the person

    def box(self, photo_height: int, photo_width: int) -> Box:
        """The part of a photo of the given size that fills the frame; all of it for the crop `person`.

        Raises:
            DataError: the crop reaches beyond the photo.
        """
        if self.crop is None or self.crop == "person":
            return 0.0, 0.0, float(photo_width), float(photo_height)
        if self.crop[2] > photo_width or self.crop[3] > photo_height:
            raise DataError(
                f"The crop {list(self.crop)} (left, top, right, bottom) reaches beyond a photo of {photo_width}x"
                f"{photo_height} px (width x height). Change posemaps.crop in params.yaml, or exclude such photos."
            )
        return self.crop

    def shows(self, keypoints: np.ndarray) -> bool:
        """Whether all known joints of keypoints (K, 2) in px lie in the crop; False for the crop `person`."""
        if self.crop is None or self.crop == "person":
            return self.crop is None
        left, top, right, bottom = self.crop
        known = keypoints[present(keypoints)] + 0.5
        return bool(((known >= (left, top)) & (known <= (right, bottom))).all())

    def keypoints(self, keypoints: np.ndarray, photo_height: int, photo_width: int) -> np.ndarray:
        """Keypoints (..., 2) in px of a photo of the given size -> (..., 2) float32 in px of the frame.

        Coordinates outside the frame are kept; missing joints stay NaN. Raises as `box`.
        """
        left, top, right, bottom = self.box(photo_height, photo_width)
        scale = np.array([self.width / (right - left), self.height / (bottom - top)])
        placed: np.ndarray = (keypoints - np.array([left, top]) + 0.5) * scale - 0.5
        return placed.astype(np.float32)

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """A photo (H, W, 3) uint8 -> the working image (height, width, 3) uint8. Raises as `box`.

        Uses Pillow's bicubic filter (a = -0.5), which averages when it shrinks. A crop of whole px that already has the
        frame's size is copied.
        """
        box = self.box(*pixels.shape[:2])
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))
