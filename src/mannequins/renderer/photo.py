"""Settings of a mannequin data set, and a photo with its ground truth."""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field, NonNegativeInt

from mannequins.renderer.render import Rendering
from repose.config import settings
from repose.data.layouts import DeepFashion, Market1501, Photo
from repose.data.visibility import to_text

MAX_PERSONS = 9999  # Market-1501's names have four digits for a person


@settings
class MannequinSettings:
    """The settings of a mannequin data set."""

    flavour: Literal["fashion", "street"]  # DeepFashion's layout at 256x256, or Market-1501's at 128x64
    items: Annotated[int, Field(ge=2)]  # garments (fashion) or persons (street): one to train on and one to test on
    seed: NonNegativeInt
    quality: Annotated[int, Field(ge=1, le=100)]  # of the JPEG files

    def __post_init__(self) -> None:
        if self.flavour == "street" and self.items > MAX_PERSONS:
            raise ValueError(f"items is {self.items}, but Market-1501's names have room for {MAX_PERSONS} persons.")


@dataclass(frozen=True)
class Truth:
    """Ground truth of a photo of an item."""

    item: str
    yaw: float  # degrees, 0 to 360: 0 faces the camera, 90 shows the person's right side, 180 the back
    front_share: float  # of the torso's garments in sight, how much is their front half; NaN where none is in sight
    person_share: float  # of the image, how much the person covers
    visible: str  # which cells of the torso's garments are in sight, see `visibility.to_text`


@dataclass(frozen=True)
class MannequinPhoto:
    """One photo."""

    path: str  # in the owner's layout
    name: str  # as in every later table
    pixels: np.ndarray  # (H, W, 3) uint8
    keypoints: np.ndarray  # (18, 2) float32 x, y in pixels; NaN: missing
    truth: Truth | None  # None for junk and distractors, which are no item


def truth(item: str, yaw: float, picture: Rendering, pixels: np.ndarray) -> Truth:
    """The truth of a rendered photo (H, W, 3)."""
    covered = float(picture.coverage.sum(dtype=np.float64)) / (pixels.shape[0] * pixels.shape[1])
    return Truth(item, yaw % 360, picture.front_share, covered, to_text(picture.visible))


def photo_of(layout: type[DeepFashion | Market1501], path: str) -> Photo:
    """The photo at a path of this package in the owner's layout."""
    return cast(Photo, layout([], lambda _: b"").photo(path))


def to_pixels(planes: np.ndarray) -> np.ndarray:
    """(3, H, W) float, 0 to 255 (other values are clipped) -> (H, W, 3) uint8, rounded to nearest."""
    return np.ascontiguousarray(np.clip(planes + np.float32(0.5), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def generator(seed: int, *which: int) -> np.random.Generator:
    """The random generator of one part of a data set; other parts and seeds draw independently."""
    return np.random.default_rng((seed, *which))
