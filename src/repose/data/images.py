"""Conversions between image bytes, uint8 arrays and tensors.

A photo is a (H, W, 3) uint8 RGB array outside networks and a (3, H, W) float32 tensor in [-1, 1] inside; only `to_tensor` and
`to_uint8` convert between the two. All photos are decoded by `decode`, so that training, evaluation and generation see the
same pixels: in RGB, upright by the photo's EXIF.
"""

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from repose.errors import DataError, ReposeError

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
# Decoding takes at most 24 bytes of memory per pixel of a photo, and besides that what these limits allow. A tile of a TIFF is
# allocated whole, each scan of a JPEG visits all pixels, and each part of its EXIF copies the parts before it.
_MAX_TILE = 2048 * 2048  # px
_MAX_SCANS, _MAX_EXIF_PARTS = 100, 100
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")  # a header, not two bytes of a video behind
# Of a TIFF: the byte order by the first bytes, the tags of a tile's width and length, and the types of whole numbers.
_TIFF, _TILE_SIDES, _WHOLE = {b"II*\0": "<", b"MM\0*": ">"}, (322, 323), {3: "H", 4: "L"}


def to_tensor(pixels: "np.ndarray | Tensor") -> "Tensor":
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 in [-1, 1]."""
    import torch

    levels = torch.from_numpy(np.ascontiguousarray(pixels)) if isinstance(pixels, np.ndarray) else pixels
    return levels.movedim(-1, -3).float() / 127.5 - 1


def to_uint8(images: "Tensor") -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] (other values are clipped) -> (..., H, W, 3) uint8, rounded to nearest."""
    import torch

    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()


def decode(encoded: bytes) -> np.ndarray:
    """The bytes of a photo in one of FORMATS -> (H, W, 3) uint8 RGB, upright by its EXIF.

    Colors are converted to sRGB by the photo's ICC profile if it has one that Pillow can use. Transparent pixels become white,
    16-bit channels are scaled to 8 bits, and only the first of several frames is read.

    Raises:
        DataError: the bytes are not a complete photo (`inspection.inspect` reports this without an exception), or the values
            have an unknown range (Pillow's modes I and F).
    """
    with opened(encoded) as image:
        return from_pillow(image)


@contextmanager
def opened(encoded: bytes) -> Iterator[Image.Image]:
    """The photo as a Pillow image, of which only the header was read.

    Raises:
        DataError: Pillow failed, also in the block; or decoding takes more time or memory than the number of pixels tells.
    """
    with named_failures(encoded):
        _check_header(encoded)
        with pillow_unlimited(), Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            yield image


@contextmanager
def named_failures(encoded: bytes = b"?") -> Iterator[None]:
    """Turn any error of Pillow into a DataError with a short reason. `encoded` is the photo's file."""
    try:
        yield
    except ReposeError:
        raise
    except UnidentifiedImageError:  # its own message contains a memory address
        raise DataError("not an image" if encoded else "0 bytes") from None
    except Exception as failure:  # damaged files can raise almost any error in Pillow's readers
        raise DataError((str(failure).splitlines() or [type(failure).__name__])[0][:100]) from None


def from_pillow(image: Image.Image) -> np.ndarray:
    """A Pillow image -> (H, W, 3) uint8 RGB, as `decode` reads it from its file. Raises Pillow's errors, and as `decode`."""
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


_lock, _undo = Lock(), ExitStack()
_inside = 0  # threads that are in `pillow_unlimited`, whose effect is the process's: the last one ends it


@contextmanager
def pillow_unlimited() -> Iterator[None]:
    """Disable Pillow's limit on pixels (`validate.max_megapixels` replaces it) and its warnings about metadata."""
    global _inside
    with _lock:
        if not _inside:
            _undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
            _undo.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")  # other threads keep theirs
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _undo.close()


def decode_indices(encoded: bytes) -> np.ndarray:
    """The bytes of a PNG file with a palette -> (H, W) uint8 indices into it. Raises a DataError if it is damaged."""
    with named_failures(encoded), Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
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


def _check_header(encoded: bytes) -> None:
    """Raise a DataError if decoding takes far more time or memory than the number of pixels in the header tells."""
    if encoded.startswith(b"\xff\xd8"):
        if len(_SCAN.findall(encoded)) > _MAX_SCANS or encoded.count(b"Exif\0\0") > _MAX_EXIF_PARTS:
            raise DataError(f"a JPEG with more than {_MAX_SCANS} scans or {_MAX_EXIF_PARTS} parts of EXIF")
    elif encoded[4:8] == b"ftyp":
        raise DataError("a HEIC, AVIF or video file")
    elif encoded.startswith(b"BM"):  # Pillow decodes runs in Python, a pixel at a time
        if encoded[14:15] != b"\x0c" and encoded[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
            raise DataError("a BMP with run-length encoding")
    elif encoded[:2] in (b"II", b"MM") and set(encoded[2:4]) in ({0, 42}, {0, 43}):  # as Pillow recognizes a TIFF
        try:
            pixels = _tile_pixels(encoded)
        except struct.error:
            raise DataError("a TIFF without its list of tags") from None
        if pixels > _MAX_TILE:
            raise DataError(f"a TIFF with tiles of more than {_MAX_TILE:,} px")


def _tile_pixels(encoded: bytes) -> int:
    """The pixels of a tile of a TIFF, at most; 1 without tiles. libtiff, which decodes, reads tags that Pillow ignores."""
    if (order := _TIFF.get(encoded[:4])) is None:
        raise DataError("a BigTIFF")
    (directory,) = struct.unpack_from(f"{order}L", encoded, 4)
    (entries,) = struct.unpack_from(f"{order}H", encoded, directory)
    sides = dict.fromkeys(_TILE_SIDES, 1)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHL", encoded, entry)
        if tag in sides:
            if kind not in _WHOLE or number != 1:
                raise DataError("a TIFF whose tiles have no size")
            sides[tag] = max(sides[tag], *struct.unpack_from(order + _WHOLE[kind], encoded, entry + 8))
    return math.prod(sides.values())


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise DataError(
            f"The photo's values have an unknown range (Pillow's mode {image.mode}). Save it with 8 or 16 bits per channel."
        )
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode not in ("RGB", "L", "CMYK"):  # the modes that profiles are for
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    image = (_in_srgb(image, profile) if profile else image).convert("RGB")
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB; the same image if its profile is damaged, of another mode, or sRGB's."""
    try:
        if _is_of_srgb(profile):
            return image
        given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, given, srgb, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


@lru_cache(maxsize=32)  # a transform takes milliseconds, and most photos have the profile of others
def _is_of_srgb(profile: bytes) -> bool:
    """Whether a profile is called sRGB, and is not linear."""
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "srgb" not in ImageCms.getProfileDescription(given).lower():
        return False
    gray = Image.new("L", (1, 1), 128).convert("RGB")
    converted = ImageCms.profileToProfile(gray, given, ImageCms.createProfile("sRGB"))
    return bool(abs(np.asarray(converted).mean() - 128) < 9)  # a linear sRGB gives 188


def _encode(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()
