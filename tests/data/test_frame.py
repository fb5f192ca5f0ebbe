import numpy as np
import pytest

from repose.config import build
from repose.data.frame import Frame
from repose.errors import ReposeError

PATN = (40.0, 0.0, 216.0, 256.0)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_where_nothing_changes_pixels_and_keypoints_are_untouched():
    photo, points = noise(33, 21), np.array([[0.1, 7.3], [20, 32], [np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(Frame(33, 21).image(photo), photo)
    np.testing.assert_array_equal(Frame(33, 21).keypoints(points, 33, 21), points)
    assert Frame(33, 21).keypoints(points.astype(np.float64), 33, 21).dtype == np.float32


def test_a_crop_of_the_frames_size_copies_pixels():
    photo = noise(256, 256)
    np.testing.assert_array_equal(Frame(256, 176, PATN).image(photo), photo[:, 40:216])
    points = Frame(256, 176, PATN).keypoints(np.array([[40.0, 0.0], [0.0, 3.0]]), 256, 256)
    np.testing.assert_array_equal(points, np.array([[0, 0], [-40, 3]], np.float32))  # outside stays outside


@pytest.mark.parametrize("crop", [None, (10.0, 4.0, 74.0, 100.0), (0.0, 0.0, 90.0, 60.5)])
@pytest.mark.parametrize(("height", "width"), [(64, 32), (128, 256), (24, 36)])
def test_a_mark_in_the_photo_lies_where_its_keypoint_says(crop, height, width):
    x, y, (rows, columns) = 40.25, 30.5, np.mgrid[:110, :100]
    dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 5**2))
    placed = Frame(height, width, crop).image(np.repeat(dot[..., None], 3, -1).round().astype(np.uint8))[..., 0]
    (px, py), weight = Frame(height, width, crop).keypoints(np.array([x, y]), 110, 100), placed.astype(float)
    rows, columns = np.mgrid[:height, :width]
    assert (weight * columns).sum() / weight.sum() == pytest.approx(px, abs=0.15)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(py, abs=0.15)


def test_shrinking_averages():
    fine = np.indices((256, 256)).sum(0) % 2 * 255
    small = Frame(32, 32).image(np.repeat(fine[..., None], 3, -1).astype(np.uint8))
    assert small.shape == (32, 32, 3)
    assert abs(small.astype(int) - 127.5).max() < 3


def test_a_crop_beyond_the_photo_or_an_empty_one_is_rejected():
    for crop in [(0, 0, 101, 50), (0, 0, 100, 50.5)]:
        with pytest.raises(ReposeError, match=r"reaches beyond a photo of 100x50 px .* Change posemaps\.crop"):
            Frame(10, 10, crop).image(noise(50, 100))
        with pytest.raises(ReposeError, match="reaches beyond"):
            Frame(10, 10, crop).keypoints(np.zeros((18, 2)), 50, 100)
    for crop in [[5, 0, 5, 9], [0, 9, 5, 3], [-1, 0, 5, 5], [0, -0.5, 5, 5]]:
        with pytest.raises(ReposeError, match=r"a\.crop: left, top, right, bottom should be"):
            build(Frame, {"height": 10, "width": 10, "crop": crop}, "a")
