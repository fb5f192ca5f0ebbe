"""Conversions between image bytes, uint8 arrays and tensors.

A photo is a (H, W, 3) uint8 RGB array outside networks and a (3, H, W) float32 tensor in [-1, 1] inside; only `to_tensor` and
`to_uint8` convert between the two. All photos are decoded by `decode`, so that training, evaluation and generation see the
same pixels: in RGB, upright by the photo's EXIF.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from repose.errors import DataError

if TYPE_CHECKING:  # torch takes seconds to import, and most users of this module do not need it
    from torch import Tensor

# The formats that Pillow may try. Its other readers are for printers and microscopes; the one for EPS starts a program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
# The transposition that turns a photo upright, by the tag's value. Pillow's exif_transpose also rewrites the EXIF, which fails
# for some tags.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SIDEWAYS = tuple(_UPRIGHT[value] for value in range(5, 9))  # transpositions that exchange height and width


def to_tensor(pixels: np.ndarray) -> "Tensor":
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, -3).float() / 127.5 - 1


def to_uint8(images: "Tensor") -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] (other values are clipped) -> (..., H, W, 3) uint8, rounded to nearest."""
    import torch

    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()


def decode(encoded: bytes) -> np.ndarray:
    """The bytes of a photo in one of FORMATS -> (H, W, 3) uint8 RGB, upright by its EXIF.

    Transparent pixels become white, 16-bit channels are scaled to 8 bits, and only the first of several frames is read.

    Raises:
        DataError: the values have an unknown range (Pillow's modes I and F).
        OSError: the bytes are not a complete photo (`inspection.inspect` reports this without an exception).
    """
    with pillow_unlimited(), Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        return from_pillow(image)


def from_pillow(image: Image.Image) -> np.ndarray:
    """A Pillow image -> (H, W, 3) uint8 RGB, as `decode` reads it from its file. Raises as `decode`."""
    image.load()
    turn = turn_to_upright(image)
    pixels = _rgb(image)
    return np.asarray(pixels if turn is None else pixels.transpose(turn))


def turn_to_upright(image: Image.Image) -> Image.Transpose | None:
    """The transposition that turns an image upright by its EXIF; None if upright (as any TIFF) or the EXIF is damaged."""
    try:
        return _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF can raise almost any error in Pillow; the pixels are still intact
        return None


@contextmanager
def pillow_unlimited() -> Iterator[None]:
    """Disable Pillow's limit on pixels (`validate.max_megapixels` replaces it) and its warnings about metadata."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode_indices(encoded: bytes) -> np.ndarray:
    """The bytes of a PNG file with a palette -> (H, W) uint8 indices into it."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image)


def encode_png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """(H, W, 3) uint8, or (H, W) uint8 indices into a (n, 3) uint8 palette, -> the bytes of a PNG file (lossless)."""
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    return _encode(image, format="PNG", compress_level=6)


def encode_jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 -> the bytes of a JPEG file, 4:2:0."""
    return _encode(Image.fromarray(pixels), format="JPEG", quality=quality)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise DataError(
            f"The photo's values have an unknown range (Pillow's mode {image.mode}). Save it with 8 or 16 bits per channel."
        )
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _encode(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()
