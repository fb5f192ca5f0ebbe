import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repose.data.frame import Frame
from repose.data.photo_files import MAX_MEGAPIXELS, MIN_SIDE, fit, read_photo
from repose.errors import ReposeError

GRADIENT = np.stack(np.broadcast_arrays(np.arange(24) * 10, np.arange(20)[:, None] * 12, np.full((20, 24), 7)), -1)
PIXELS = GRADIENT.astype(np.uint8)


def saved(path: Path, image: Image.Image, form: str = "PNG", **how: object) -> Path:
    image.save(path, form, **how)
    return path


def png_of_header(width: int, height: int) -> bytes:
    """A PNG file that announces a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_a_lossless_photo_is_read_as_it_is_whatever_its_name(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path / "named.jpg", Image.fromarray(PIXELS), form)
    np.testing.assert_array_equal(read_photo(path), PIXELS)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF"])
def test_a_lossy_photo_is_read_nearly_as_it_is(tmp_path: Path, form: str) -> None:
    found = read_photo(saved(tmp_path / "x", Image.fromarray(PIXELS), form))
    assert found.shape == PIXELS.shape
    assert abs(found.astype(int) - PIXELS).mean() < 8


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    alpha = np.full((20, 24), 255, np.uint8)
    alpha[:, :5] = 0
    found = read_photo(saved(tmp_path / "x.png", Image.fromarray(np.dstack([PIXELS, alpha]), "RGBA")))
    assert (found[:, :5] == 255).all()
    np.testing.assert_array_equal(found[:, 5:], PIXELS[:, 5:])
    palette = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (20, 12)), "P")
    palette.putpalette([1, 2, 3, 40, 50, 60])
    found = read_photo(saved(tmp_path / "p.png", palette, transparency=0))
    np.testing.assert_array_equal(found[0, :2], [(255, 255, 255), (40, 50, 60)])


def test_grey_black_and_white_and_palettes_become_rgb(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    found = read_photo(saved(tmp_path / "l.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(found, np.dstack([grey] * 3))
    found = read_photo(saved(tmp_path / "1.png", Image.fromarray(grey > 100)))
    np.testing.assert_array_equal(found[..., 1], np.where(grey > 100, 255, 0))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, form: str) -> None:
    levels = np.broadcast_to(np.array([0, 257, 128 * 257 + 100, 65535], np.uint16).repeat(5), (20, 20))
    found = read_photo(saved(tmp_path / "x", Image.fromarray(levels.copy()), form))
    np.testing.assert_array_equal(found[0, ::5], [(0, 0, 0), (1, 1, 1), (128, 128, 128), (255, 255, 255)])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    inks = Image.new("CMYK", (20, 20), (0, 255, 255, 0))  # magenta and yellow: red
    found = read_photo(saved(tmp_path / "x.jpg", inks, "JPEG", quality=95))
    assert (abs(found.astype(int) - (255, 0, 0)) < 6).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_of_unknown_range_are_refused(tmp_path: Path, kind: type) -> None:
    path = saved(tmp_path / "x.tif", Image.fromarray(PIXELS[..., 0].astype(kind)), "TIFF")
    with pytest.raises(
        ReposeError, match=r"x\.tif: The photo holds whole or real numbers of unknown range.*8 or 16 bits"
    ):
        read_photo(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"There is no photo .*gone\.jpg"):
        read_photo(tmp_path / "gone.jpg")
    with pytest.raises(ReposeError, match=r"cannot be read: Is a directory"):
        read_photo(tmp_path)


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "0 bytes"), (b"hello", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image")]
)
def test_what_is_no_photo_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ReposeError, match=rf"x\.jpg is no photo \({why}\)\. Give a file of JPEG, PNG"):
        read_photo(tmp_path / "x.jpg")


def test_a_photo_cut_short_is_damaged(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole, "JPEG")
    (tmp_path / "x.jpg").write_bytes(whole.getvalue()[:1500])
    with pytest.raises(ReposeError, match=r"The JPEG .*x\.jpg is damaged \(.*truncated.*\)\. Copy it again"):
        read_photo(tmp_path / "x.jpg")


@pytest.mark.parametrize("width", [10_001, 60_000])
def test_a_bomb_is_not_decoded(tmp_path: Path, width: int) -> None:
    (tmp_path / "x.png").write_bytes(png_of_header(width, 10_000))
    with pytest.raises(ReposeError, match=rf"x\.png has {width}x10000 px .* more than {MAX_MEGAPIXELS} megapixels"):
        read_photo(tmp_path / "x.png")


def test_a_large_photo_below_our_limit_is_read_without_pillows_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(PIXELS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # of 480: as with 90 megapixels and Pillow's own limit
    np.testing.assert_array_equal(read_photo(path), PIXELS)


def test_a_photo_of_a_few_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=rf"has 1x1 px .* at least {MIN_SIDE} px a side"):
        read_photo(saved(tmp_path / "x.png", Image.new("RGB", (1, 1))))
    assert read_photo(saved(tmp_path / "y.png", Image.new("RGB", (MIN_SIDE,) * 2))).shape == (16, 16, 3)


def test_photos_of_the_trained_size_are_cropped_as_those_were() -> None:
    frame = Frame(20, 12, (4, 0, 16, 20))
    placed = fit(frame, (20, 24), (20, 24))
    np.testing.assert_array_equal(placed.image(PIXELS), PIXELS[:, 4:16])
    np.testing.assert_array_equal(placed.keypoints(np.array([[4.0, 3.0], [np.nan] * 2])), [[0, 3], [np.nan] * 2])


@pytest.mark.parametrize("trained", [None, (256, 256)])
def test_other_photos_are_fitted_in_whole_and_their_edges_drawn_on(trained: tuple[int, int] | None) -> None:
    placed = fit(Frame(20, 12, (4, 0, 16, 20)), (20, 24), trained)  # half as large, 10 x 12, in the middle
    image = placed.image(PIXELS)
    assert image.shape == (20, 12, 3)
    assert (image[:5] == image[5]).all()
    assert (image[15:] == image[14]).all()
    assert abs(image[5:15, :, 0].astype(int) - PIXELS[::2, ::2, 0]).max() <= 10
    keypoints = placed.keypoints(np.array([[-0.5, -0.5], [23.5, 19.5], [np.nan] * 2]))
    np.testing.assert_allclose(keypoints, [[-0.5, 4.5], [11.5, 14.5], [np.nan] * 2])


def test_keypoints_go_where_their_pixels_go() -> None:
    pixels = np.zeros((64, 32, 3), np.uint8)
    pixels[40:44, 20:24] = 255  # centre: x 21.5, y 41.5
    placed = fit(Frame(32, 32), (64, 32), None)
    weight = placed.image(pixels)[..., 0].astype(float)
    y, x = np.mgrid[:32, :32]
    centre = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
    np.testing.assert_allclose(placed.keypoints(np.array([21.5, 41.5])), centre, atol=0.1)


def test_a_very_long_photo_keeps_at_least_a_pixel() -> None:
    placed = fit(Frame(20, 12), (5000, 16), None)
    assert placed.image(np.full((5000, 16, 3), 9, np.uint8)).shape == (20, 12, 3)
