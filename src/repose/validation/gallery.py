"""Photos with their detected joints, for the page of the stage keypoints: the worst ones and random ones.

If there are reference joints, the worst photos are those with the smallest share of them found (by PCK@0.1). Otherwise they
are those with the lowest mean confidence, where a missing joint counts as 0.
"""

import base64
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw
from pydantic import NonNegativeInt

from repose.config import Seed, settings
from repose.data.images import encode_jpeg
from repose.data.skeleton import COLOURS, LIMBS, present
from repose.pose.pck import pck
from repose.validation.page import Picture

SIDE = 256  # maximum px of a picture's longer side


@settings
class PictureSettings:
    """The number of photos on the page."""

    worst: NonNegativeInt = 6
    random: NonNegativeInt = 6
    seed: Seed = 0  # of the draw


def galleries(
    names: Sequence[str], pixels: Callable[[str], np.ndarray], found: np.ndarray, confidence: np.ndarray,
    reference: np.ndarray | None, settings: PictureSettings,
) -> dict[str, list[Picture]]:  # fmt: skip
    """The worst photos and random ones by title, with the detected and, if known, the reference joints.

    `pixels` returns the photo of a name, (H,W,3) uint8; it is only called for photos that are shown. Joints are (n,K,2) px,
    NaN for missing, with a confidence (n,K), 0 to 1.
    """
    details, order = _ranked(found, confidence, reference)
    drawn = np.sort(np.random.default_rng(settings.seed).permutation(len(names))[: settings.random])
    beside = "" if reference is None else ": left what was found, right what is known"
    sides = [found] if reference is None else [found, reference]

    def picture(row: int) -> Picture:
        photo = pixels(names[row])
        image = np.concatenate([_with_limbs(photo, keypoints[row]) for keypoints in sides], 1)
        address = f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, quality=85)).decode()}"
        return Picture(names[row], details[row], address, image.shape[1], image.shape[0])

    chosen = {f"The worst{beside}": order[: settings.worst], f"At random{beside}": drawn}
    return {title: list(map(picture, rows)) for title, rows in chosen.items() if len(rows)}


def _ranked(found: np.ndarray, confidence: np.ndarray, reference: np.ndarray | None) -> tuple[list[str], np.ndarray]:
    """A caption for each photo, and the photos' rows, worst first."""
    known = present(found)
    sure = np.where(known, confidence, 0).mean(1)
    if reference is None:
        lines = [f"{count} joints, mean confidence {mean:.2f}" for count, mean in zip(known.sum(1), sure, strict=True)]
        return lines, np.argsort(sure, kind="stable")
    hits = pck(found, reference)
    right, counted = hits.right.sum(1), hits.counted.sum(1)
    lines = [f"{r} of {c} joints, and {n - r} elsewhere" for r, c, n in zip(right, counted, known.sum(1), strict=True)]
    shares = np.where(counted > 0, right / counted.clip(1), 2.0)  # without reference joints: last
    return lines, np.lexsort((sure, shares))


def _with_limbs(pixels: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Draw a photo, at most SIDE px high and wide, with limbs as lines and joints as dots; joints (K,2) are in its own px."""
    height, width = pixels.shape[:2]
    share = min(SIDE / max(height, width), 1)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    pen, thick = ImageDraw.Draw(image), max(2, size[1] // 64)
    places = (keypoints + 0.5) * share - 0.5
    for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
        if not np.isnan(places[[a, b]]).any():
            pen.line([tuple(places[a]), tuple(places[b])], fill=tuple(colour.tolist()), width=thick)
    for place in places[present(keypoints)]:
        pen.ellipse([*(place - thick), *(place + thick)], fill=(255, 255, 255), outline=(0, 0, 0))
    return np.asarray(image)
