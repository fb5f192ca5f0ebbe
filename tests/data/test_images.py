import io
import struct
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repose.data.images import decode, decode_indices, encode_jpeg, encode_png, to_tensor, to_uint8
from repose.data.inspection import inspect
from repose.data.posemaps import PALETTE


def photo(*leading: int, height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*leading, height, width, 3), np.uint8)


def saved(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def test_all_256_levels_come_back_and_span_the_range_evenly():
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.stack([levels, levels[::-1], np.roll(levels, 100)], -1).reshape(16, 16, 3)
    images = to_tensor(pixels)
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(to_uint8(images), pixels)
    red = images[0].reshape(-1)
    assert (red[0], red[-1]) == (-1, 1)
    torch.testing.assert_close(red.diff(), torch.full((255,), 1 / 127.5), rtol=1e-4, atol=1e-6)


def test_other_number_types_are_rounded_as_float32_and_clipped():
    values = torch.linspace(-1.1, 1.1, 999).to(torch.bfloat16).expand(3, 1, -1)
    expected = np.clip(np.rint((values.float().numpy() + 1) * np.float32(127.5)), 0, 255)
    np.testing.assert_array_equal(to_uint8(values)[0, :, 0], expected[0, 0])


def test_channels_come_first_in_tensors_of_any_layout():
    pixels = photo(2, 5)[..., ::-1, :]  # torch cannot wrap negative strides
    images = to_tensor(pixels)
    assert images.shape == (2, 5, 3, 12, 20)
    np.testing.assert_allclose(images[..., 1, 2, 3], pixels[..., 2, 3, 1] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(to_uint8(images.requires_grad_()), pixels)


def test_png_is_lossless_deterministic_and_keeps_a_palette():
    encoded = encode_png(photo())
    assert encoded.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode(encoded), photo())
    assert encode_png(photo()) == encoded
    indices = np.random.default_rng(0).integers(0, len(PALETTE), (9, 7), np.uint8)
    encoded = encode_png(indices, PALETTE)
    np.testing.assert_array_equal(decode_indices(encoded), indices)
    np.testing.assert_array_equal(decode(encoded), PALETTE[indices])


def test_jpeg_is_near_the_photo_deterministic_and_smaller_at_less_quality():
    smooth = np.asarray(Image.fromarray(photo(height=4, width=4)).resize((64, 64), Image.Resampling.BICUBIC))
    encoded = encode_jpeg(smooth)
    assert np.abs(decode(encoded).astype(int) - smooth).mean() < 4
    assert encode_jpeg(smooth) == encoded
    assert len(encode_jpeg(smooth, quality=30)) < len(encoded)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as a viewer shows a file that stores them with that EXIF orientation."""
    columns = pixels.swapaxes(0, 1)
    return {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: columns,
        6: columns[:, ::-1], 7: columns[::-1, ::-1], 8: columns[::-1],
    }.get(orientation, pixels)  # fmt: skip


@pytest.mark.parametrize(("format_", "orientation"), [
    *(("JPEG", orientation) for orientation in (*range(1, 9), 99)), ("MPO", 6), ("PNG", 6), ("TIFF", 6),
])  # fmt: skip
def test_photos_and_inspected_sizes_are_upright_by_the_exif(format_, orientation):
    pixels, exif = np.zeros((24, 40, 3), np.uint8), Image.Exif()
    pixels[:8], pixels[:, :16] = (200, 50, 50), (50, 50, 200)
    exif[0x0112] = orientation
    how: dict[str, Any] = {"MPO": {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}}
    content = saved(Image.fromarray(pixels), format_, exif=exif, **how.get(format_, {}))
    expected, found = turned(pixels, orientation), decode(content)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8
    inspection = inspect(content, 10**6)
    assert (inspection.height, inspection.width) == expected.shape[:2]
    assert inspection.format == format_.replace("MPO", "JPEG")


def test_damaged_exif_leaves_a_photo_as_it_is_stored():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff\0\6"
    assert decode(saved(Image.fromarray(photo()), "JPEG", exif=exif)).shape == photo().shape


def profile_of(primaries: tuple[tuple[float, float], ...], gamma: float, text: bytes = b"made up") -> bytes:
    """A matrix profile of ICC's version 2 with the primaries' x, y (red, green, blue) and white D50."""
    white = np.array([0.9642, 1.0, 0.8249])
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    columns = columns * np.linalg.solve(columns, white)

    def fixed(values: Any) -> bytes:
        return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)

    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(white),
        **{b"%cXYZ" % name: b"XYZ \0\0\0\0" + fixed(column) for name, column in zip(b"rgb", columns.T, strict=True)},
        **{b"%cTRC" % name: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0" for name in b"rgbk"},
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + fixed(white)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


ADOBE_RGB = (0.6484, 0.3309), (0.2302, 0.7016), (0.1559, 0.0660)  # at D50


@pytest.mark.parametrize(("format_", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("TIFF", "RGB")])
def test_colours_are_converted_to_srgb_by_the_profile(format_, mode):
    def read(colour: tuple[int, int, int], profile: bytes | None) -> np.ndarray:
        pixels = Image.new("RGB", (8, 8), colour).convert(mode, palette=Image.Palette.ADAPTIVE)
        return decode(saved(pixels, format_, icc_profile=profile))[4, 4].astype(int)

    profile = profile_of(ADOBE_RGB, 2.2)
    assert read((128, 128, 128), profile) == pytest.approx([128] * 3, abs=2)  # gray stays gray
    # Adobe RGB's (171, 35, 44) is sRGB's (200, 30, 40), as littlecms's own profile of Adobe RGB has it
    assert read((171, 35, 44), profile) == pytest.approx([200, 30, 40], abs=4)
    assert read((171, 35, 44), None).tolist() == read((171, 35, 44), b"damaged" * 30).tolist() == [171, 35, 44]


def test_gray_is_converted_to_srgb_by_the_profile():
    profile = profile_of(ADOBE_RGB, 1.8).replace(b"RGB ", b"GRAY")
    content = saved(Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)), icc_profile=profile)
    assert decode(content)[4, 4] == pytest.approx([146] * 3, abs=1)  # sRGB's level of 0.5 ** 1.8


SRGB = (0.6485, 0.3309), (0.3212, 0.5979), (0.1559, 0.0660)  # at D50


@pytest.mark.parametrize(("gamma", "level"), [(1.0, 188), (2.2, 128)])
def test_a_profile_that_is_called_srgb_may_be_linear(gamma, level):
    content = saved(Image.new("RGB", (8, 8), (128,) * 3), icc_profile=profile_of(SRGB, gamma, b"built-in Linear sRGB"))
    assert decode(content)[4, 4].tolist() == [level] * 3
