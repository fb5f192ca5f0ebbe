"""Image bytes, uint8 arrays and the tensors that networks see.

A photo is a (H, W, 3) uint8 RGB array outside a network and a (3, H, W) float32 tensor in [-1, 1] inside. The change
between the two ranges is made in `to_tensor` and `to_uint8` and nowhere else.
"""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # torch takes seconds to import, and most of those who read or write photos need none
    from torch import Tensor


def to_tensor(pixels: np.ndarray) -> "Tensor":
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, -3).float() / 127.5 - 1


def to_uint8(images: "Tensor") -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] (values beyond are clipped) -> (..., H, W, 3) uint8, rounded to nearest."""
    import torch

    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()


def decode(encoded: bytes) -> np.ndarray:
    """The bytes of a JPEG or PNG file -> (H, W, 3) uint8 RGB."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def decode_indices(encoded: bytes) -> np.ndarray:
    """The bytes of a PNG file with a palette -> (H, W) uint8 indices into it."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image)


def encode_png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """(H, W, 3) uint8, or (H, W) uint8 indices into a (n, 3) uint8 palette, -> the bytes of a PNG file (lossless)."""
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    return _encoded(image, format="PNG", compress_level=6)


def encode_jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 -> the bytes of a JPEG file, 4:2:0."""
    return _encoded(Image.fromarray(pixels), format="JPEG", quality=quality)


def _encoded(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()
