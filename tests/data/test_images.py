import io

import numpy as np
import pytest
import torch
from PIL import Image

from repose.data.images import decode, decode_indices, encode_jpeg, encode_png, to_tensor, to_uint8
from repose.data.posemaps import PALETTE

LEVELS = np.arange(256, dtype=np.uint8)


def photo(height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_all_256_levels_come_back_and_span_the_range_evenly() -> None:
    pixels = np.stack([LEVELS, LEVELS[::-1], np.roll(LEVELS, 100)], -1).reshape(16, 16, 3)
    images = to_tensor(pixels)
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(to_uint8(images), pixels)
    red = images[0].reshape(-1)
    assert (red[0], red[-1]) == (-1, 1)
    torch.testing.assert_close(red.diff(), torch.full((255,), 1 / 127.5), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_number_types_are_rounded_as_float32(dtype: torch.dtype) -> None:
    values = torch.linspace(-1, 1, 999).to(dtype).expand(3, 1, -1)
    found = to_uint8(values)
    expected = np.clip(np.rint((values.float().numpy() + 1) * np.float32(127.5)), 0, 255)
    np.testing.assert_array_equal(found[0, :, 0], expected[0, 0])


def test_values_beyond_the_range_are_clipped_and_others_rounded_to_the_nearest() -> None:
    values = torch.tensor([-9.0, -1.001, 1.001, 9.0, 0.0, 10.4 / 127.5 - 1, 10.6 / 127.5 - 1]).expand(3, 1, -1)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 255, 255, 128, 10, 11]


@pytest.mark.parametrize("leading", [(), (2,), (2, 5)])
def test_shapes(leading: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*leading, 4, 6, 3), np.uint8)
    images = to_tensor(pixels)
    assert images.shape == (*leading, 3, 4, 6)
    assert images[..., 1, 2, 3].tolist() == to_tensor(pixels[..., 2:3, 3:4, 1:2].repeat(3, -1))[..., 0, 0, 0].tolist()
    back = to_uint8(images)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, pixels)


def test_arrays_that_torch_cannot_wrap_and_tensors_with_gradients_are_taken() -> None:
    flipped = photo()[:, ::-1]
    np.testing.assert_array_equal(to_uint8(to_tensor(flipped).requires_grad_()), flipped)
    images = to_tensor(photo()[None]).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(to_uint8(images), photo()[None])


def test_a_tensor_shares_no_memory_with_the_photo() -> None:
    pixels = photo()
    to_tensor(pixels).zero_()
    np.testing.assert_array_equal(pixels, photo())


def test_png_is_lossless_and_the_same_each_time() -> None:
    encoded = encode_png(photo())
    assert encoded.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode(encoded), photo())
    assert encode_png(photo()) == encoded


def test_png_with_a_palette_keeps_indices_and_colours() -> None:
    indices = np.random.default_rng(0).integers(0, len(PALETTE), (9, 7), np.uint8)
    encoded = encode_png(indices, PALETTE)
    found = decode_indices(encoded)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, indices)
    np.testing.assert_array_equal(decode(encoded), PALETTE[indices])


def test_jpeg_is_near_the_photo_the_same_each_time_and_smaller_at_less_quality() -> None:
    smooth = np.asarray(Image.fromarray(photo(4, 4)).resize((64, 64), Image.Resampling.BICUBIC))
    encoded = encode_jpeg(smooth)
    assert encoded.startswith(b"\xff\xd8")
    assert np.abs(decode(encoded).astype(int) - smooth).mean() < 4
    assert encode_jpeg(smooth) == encoded
    assert len(encode_jpeg(smooth, quality=30)) < len(encoded)
    with Image.open(io.BytesIO(encoded)) as image:
        assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_files_of_other_modes_become_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo()).convert(mode).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    found = decode(buffer.getvalue())
    assert (found.shape, found.dtype) == ((12, 20, 3), np.uint8)
