import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repose.data.frame import Frame
from repose.data.photo_files import MAX_MEGAPIXELS, MIN_SIDE, as_pixels, fit, read_photo
from repose.data.skeleton import JOINT, K
from repose.errors import ReposeError
from tiny_system import STANDING, photo

GRADIENT = np.stack(np.broadcast_arrays(np.arange(24) * 10, np.arange(20)[:, None] * 12, np.full((20, 24), 7)), -1)
PIXELS = GRADIENT.astype(np.uint8)


def saved(path: Path, image: Image.Image, form: str = "PNG", **how: object) -> Path:
    image.save(path, form, **how)
    return path


@pytest.mark.parametrize(
    ("form", "tolerance"), [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("JPEG", 8), ("WEBP", 8), ("GIF", 8)]
)
def test_a_photo_is_read_as_it_is_whatever_its_name(tmp_path, form, tolerance):
    found = read_photo(saved(tmp_path / "named.jpg", Image.fromarray(PIXELS), form))
    assert abs(found.astype(int) - PIXELS).mean() <= tolerance


def test_transparent_pixels_become_white(tmp_path):
    alpha = np.full((20, 24), 255, np.uint8)
    alpha[:, :5] = 0
    found = read_photo(saved(tmp_path / "x.png", Image.fromarray(np.dstack([PIXELS, alpha]), "RGBA")))
    assert (found[:, :5] == 255).all()
    np.testing.assert_array_equal(found[:, 5:], PIXELS[:, 5:])
    palette = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (20, 12)), "P")
    palette.putpalette([1, 2, 3, 40, 50, 60])
    found = read_photo(saved(tmp_path / "p.png", palette, transparency=0))
    np.testing.assert_array_equal(found[0, :2], [(255, 255, 255), (40, 50, 60)])


def test_grey_and_cmyk_become_rgb(tmp_path):
    found = read_photo(saved(tmp_path / "l.png", Image.fromarray(PIXELS[..., 0])))
    np.testing.assert_array_equal(found, np.dstack([PIXELS[..., 0]] * 3))
    inks = Image.new("CMYK", (20, 20), (0, 255, 255, 0))  # magenta and yellow: red
    found = read_photo(saved(tmp_path / "x.jpg", inks, "JPEG", quality=95))
    assert (abs(found.astype(int) - (255, 0, 0)) < 6).all()


def test_16_bits_are_scaled_and_values_of_unknown_range_rejected(tmp_path):
    levels = np.broadcast_to(np.array([0, 257, 128 * 257 + 100, 65535], np.uint16).repeat(5), (20, 20))
    for form in ("PNG", "TIFF"):
        found = read_photo(saved(tmp_path / "x", Image.fromarray(levels.copy()), form))
        np.testing.assert_array_equal(found[0, ::5], [(0, 0, 0), (1, 1, 1), (128, 128, 128), (255, 255, 255)])
    path = saved(tmp_path / "x.tif", Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF")
    with pytest.raises(ReposeError, match=r"x\.tif: The photo's values have an unknown range.*8 or 16 bits"):
        read_photo(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(ReposeError, match=r"There is no photo .*gone\.jpg"):
        read_photo(tmp_path / "gone.jpg")
    with pytest.raises(ReposeError, match=r"cannot be read: Is a directory"):
        read_photo(tmp_path)


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(("content", "message"), [
    (b"", r"x\.jpg is not a photo \(0 bytes\)\. Give a whole file in one of the formats JPEG, PNG"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", r"x\.jpg is not a photo \(not an image\)"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"x\.jpg is not a photo \(a HEIC, AVIF or video file\)\. Give .*JPEG"),
    (jpeg()[:1500], r"x\.jpg is a damaged JPEG \(.*truncated.*\)\. Give a whole file"),
])  # fmt: skip
def test_bad_files_are_rejected(tmp_path, content, message):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ReposeError, match=message):
        read_photo(tmp_path / "x.jpg")


def test_a_pillow_image_whose_file_was_closed_is_an_error(tmp_path):
    with Image.open(saved(tmp_path / "x.png", Image.fromarray(PIXELS))) as closed:
        pass
    with pytest.raises(ReposeError, match=r"it cannot be read: .*Its file should be whole, and open until"):
        as_pixels(closed, "it")


def test_the_size_of_a_photo_has_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # of 480: as with 90 megapixels and Pillow's own limit
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "x.png", Image.fromarray(PIXELS))), PIXELS)
    with pytest.raises(ReposeError, match=rf"has 15x15 px .* at least {MIN_SIDE} px per side"):
        read_photo(saved(tmp_path / "x.png", Image.new("RGB", (15, 15))))
    large = saved(tmp_path / "z.png", Image.new("1", (10_001, 10_000)))
    with pytest.raises(ReposeError, match=rf"z\.png has 10001x10000 px .* more than {MAX_MEGAPIXELS} megapixels"):
        read_photo(large)


NOBODY = np.full((K, 2), np.nan)


def standing(left: float, top: float, height: float) -> np.ndarray:
    """The joints of a person who stands upright, `height` px from the ears to the ankles."""
    tall = np.ptp(STANDING[:, 1])
    return (STANDING - STANDING.min(0)) * height / tall + (left, top)


def test_photos_without_joints_are_fitted_in_whole_and_their_edges_repeated():
    placed = fit(Frame(20, 12, (4, 0, 16, 20)), (20, 24), None, NOBODY)  # half as large, 10 x 12, in the middle
    image = placed.image(PIXELS)
    assert image.shape == (20, 12, 3)
    assert (image[:5] == image[5]).all()
    assert (image[15:] == image[14]).all()
    assert abs(image[5:15, :, 0].astype(int) - PIXELS[::2, ::2, 0]).max() <= 10
    keypoints = placed.keypoints(np.array([[-0.5, -0.5], [23.5, 19.5], [np.nan] * 2]))
    np.testing.assert_allclose(keypoints, [[-0.5, 4.5], [11.5, 14.5], [np.nan] * 2])


SHOP = Frame(256, 176, (40, 0, 216, 256))


@pytest.mark.parametrize(("size", "person", "height", "top"), [
    ((1024, 1024), (600, 110, 800), 0.78, 0.11),  # as in a studio: the whole height
    ((1920, 1080), (300, 200, 1500), 0.78, 0.1),  # narrow: the sides are repeated
    ((1200, 1600), (1100, 700, 300), 0.6, 0.13),  # small, with space around
    ((1200, 1600), (40, 700, 400), 0.7, 0.13),  # small, at the edge, near the bottom
])  # fmt: skip
def test_photos_of_other_sizes_are_cropped_around_the_person(size, person, height, top):
    joints = standing(*person)
    placed = fit(SHOP, size, (256, 256), joints)
    found = placed.keypoints(joints)
    assert np.ptp(found[:, 1]) / 256 == pytest.approx(height, abs=0.01)
    assert found[:, 1].min() / 256 == pytest.approx(top, abs=0.01)
    assert np.ptp(found[:, 0]) / np.ptp(found[:, 1]) == pytest.approx(
        np.ptp(joints[:, 0]) / np.ptp(joints[:, 1]), abs=0.01
    )
    assert ((found >= 0) & (found <= (175, 255))).all()
    spots = np.zeros((*size, 3), np.uint8)
    x, y = np.rint(joints[JOINT["right_ankle"]]).astype(int)
    near = max(size) // 100
    spots[y - near : y + near + 1, x - near : x + near + 1] = 255
    seen = np.argwhere(placed.image(spots)[..., 0] > 127).mean(0)[::-1]
    np.testing.assert_allclose(seen, found[JOINT["right_ankle"]], atol=0.6)


def test_a_person_who_spreads_the_arms_is_shown_whole():
    wide = standing(100, 120, 400)
    wide[JOINT["right_wrist"]], wide[JOINT["left_wrist"]] = (60, 200), (540, 200)
    x = fit(SHOP, (600, 600), (256, 256), wide).keypoints(wide)[:, 0]
    assert np.ptp(x) / 176 == pytest.approx(0.85, abs=0.01)


def test_a_head_is_not_enlarged():
    head = standing(100, 120, 400)
    head[[2, 3, 4, *range(6, 14)]] = np.nan  # the neck, a shoulder and the face
    found = fit(SHOP, (600, 600), (256, 256), head).keypoints(head)
    np.testing.assert_allclose(np.ptp(found[[0, 1], 1]), np.ptp(head[[0, 1], 1]) * 256 / 552, rtol=0.01)


@pytest.mark.parametrize(("size", "turns"), [((300, 200), 1), ((256, 256), 2), ((300, 200), 3)])
def test_a_person_who_lies_or_stands_on_the_head_is_turned_upright(size, turns):
    upright, pixels = standing(60, 40, 180), photo(0, size)
    x, y = upright.T
    for _ in range(turns):  # as `np.rot90` turns the photo
        x, y, pixels = y, pixels.shape[1] - 1 - x, np.rot90(pixels)
    lying = np.stack([x, y], 1)
    first, second = fit(SHOP, size, (256, 256), upright), fit(SHOP, pixels.shape[:2], (256, 256), lying)
    assert (first.turns, second.turns) == (0, 4 - turns)
    np.testing.assert_allclose(second.keypoints(lying), first.keypoints(upright), atol=1e-3)
    np.testing.assert_array_equal(second.image(pixels), first.image(photo(0, size)))


@pytest.mark.parametrize("size", [(512, 352), (1200, 700)])
def test_a_finer_frame_has_the_same_part_of_the_photo(size):
    joints, pixels = standing(60, 40, 280), np.asarray(Image.linear_gradient("L").resize(size[::-1]).convert("RGB"))
    place = fit(Frame(64, 44), size, None, joints)
    finer = place.finer(2)
    fine = finer.image(pixels)
    assert fine.shape == (128, 88, 3)
    assert abs(fine.reshape(64, 2, 44, 2, 3).mean((1, 3)) - place.image(pixels)).mean() < 2
    np.testing.assert_allclose(finer.keypoints(joints), (place.keypoints(joints) + 0.5) * 2 - 0.5, atol=1e-3)
    assert place.scale == pytest.approx(2 * finer.scale)


def test_who_sits_on_the_floor_or_bends_down_is_upright():
    sitting, bent = standing(60, 40, 100), standing(60, 40, 100)
    sitting[[8, 9, 10, 11, 12, 13]] = [(70, 100), (100, 98), (130, 100)] * 2
    bent[[0, 1, 2, 5, *range(14, 18)]] += (-60, 45)
    for joints in (sitting, bent):
        assert fit(SHOP, (300, 300), (256, 256), joints).turns == 0


def test_a_photo_of_the_training_photos_size_is_placed_as_they_are_only_if_the_crop_shows_the_person():
    frame, square = Frame(64, 48, (8.0, 0.0, 56.0, 64.0)), (64, 64)
    assert fit(frame, square, square, STANDING + np.float32([8, 0])).part == frame
    beside = STANDING - np.float32([np.nanmin(STANDING[:, 0]) - 1, 0])
    assert fit(frame, square, square, beside) == fit(frame, square, None, beside)
