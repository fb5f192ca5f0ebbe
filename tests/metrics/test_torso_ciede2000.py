import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from repose.data.skeleton import TORSO, K
from repose.metrics.torso_ciede2000 import MIN_PIXELS, SHRINK, torso_ciede2000, torso_pixels

pytestmark = pytest.mark.floats

HEIGHT, WIDTH = 60, 50


def person(*corners):
    """Keypoints whose right shoulder, left shoulder, left hip and right hip are given; the rest is missing."""
    keypoints = np.full((1, K, 2), np.nan, np.float32)
    keypoints[0, list(TORSO)] = corners
    return keypoints


UPRIGHT = person((10, 10), (40, 10), (40, 50), (10, 50))  # shrunk to x 13 to 37, y 14 to 46


def noise(seed, count=1):
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_it_is_scikit_images_ciede2000_inside_the_shrunk_torso():
    generated, target = noise(0), noise(1)
    assert SHRINK == 0.8
    inside = np.s_[0, 14:47, 13:38]
    expected = deltaE_ciede2000(rgb2lab(target[inside]), rgb2lab(generated[inside])).mean()
    score = torso_ciede2000(generated, target, UPRIGHT)
    assert (score.shape, score.dtype) == ((1,), np.float64)
    assert score[0] == pytest.approx(expected, abs=1e-9)


def test_a_slanted_torso_covers_the_pixels_of_its_polygon():
    corners = np.array([(12.3, 8.1), (33.7, 12.9), (30.2, 44.4), (15.6, 40.2)])
    shrunk = corners.mean(0) + SHRINK * (corners - corners.mean(0))
    edges = np.roll(shrunk, -1, 0) - shrunk
    expected = [
        (y, x)
        for y in range(HEIGHT)
        for x in range(WIDTH)
        if all(ex * (y - cy) - ey * (x - cx) >= 0 for (ex, ey), (cx, cy) in zip(edges, shrunk, strict=True))
    ]
    found = torso_pixels(person(*corners)[0], HEIGHT, WIDTH)
    assert sorted(zip(*(axis.tolist() for axis in found), strict=True)) == expected
    assert len(expected) > 300


@pytest.mark.parametrize("corners", [
    [(25.2, 10), (25.6, 10), (25.6, 50), (25.2, 50)],  # between two columns
    [(20, 10), (24, 10), (24, 14), (20, 14)],  # of 3x3 pixels
])  # fmt: skip
def test_a_torso_of_few_pixels_is_left_out(corners):
    keypoints = person(*corners)
    assert len(torso_pixels(keypoints[0], HEIGHT, WIDTH)[0]) < MIN_PIXELS
    assert np.isnan(torso_ciede2000(noise(5), noise(6), keypoints)).all()
