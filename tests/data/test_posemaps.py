import hashlib

import numpy as np
import pytest
import torch

from repose.data import images
from repose.data.posemaps import FARTHEST, MAPS_AT_ONCE, colour, draw
from repose.data.skeleton import JOINT, LIMBS, K

NAN = np.float32(np.nan)
pytestmark = pytest.mark.usefixtures("one_thread")


def one_limb(start, end, limb=0):
    keypoints = np.full((1, K, 2), NAN, np.float32)
    keypoints[0, LIMBS[limb][0]], keypoints[0, LIMBS[limb][1]] = start, end
    return keypoints


def drawn_slowly(keypoints, height, width, line_width):
    """The definition in float64 at each pixel's centre, and the pixels on a rim, where float32 may differ."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    drawn, rim = np.zeros((height, width), np.uint8), np.zeros((height, width), bool)
    for limb, (a, b) in enumerate(LIMBS):
        (x0, y0), (x1, y1) = keypoints[a].astype(np.float64), keypoints[b].astype(np.float64)
        if np.isnan([x0, y0, x1, y1]).any():
            continue
        dx, dy = x1 - x0, y1 - y0
        from_line = abs(dx * (y - y0) - dy * (x - x0)) / np.hypot(dx, dy)
        along, low, high = (y, *sorted((y0, y1))) if abs(dy) > abs(dx) else (x, *sorted((x0, x1)))
        beyond = np.maximum(low - along, along - high)
        inside = (from_line <= line_width / 2) & (beyond <= 0.5)
        near = (abs(from_line - line_width / 2) < 1e-3) | (abs(beyond - 0.5) < 1e-3)
        drawn[inside] = limb + 1
        rim |= near & (from_line < line_width / 2 + 1) & (beyond < 1.5)
    return drawn, rim


def random_poses(count, low, high, seed, missing=0.2):
    generator = np.random.default_rng(seed)
    keypoints = generator.uniform(low, high, (count, K, 2)).astype(np.float32)
    keypoints[generator.random((count, K)) < missing] = NAN
    return keypoints


@pytest.mark.parametrize(
    ("height", "width", "line_width", "low", "high"),
    [(48, 40, 4, 0, 40), (40, 48, 1, -10, 60), (64, 32, 2.5, -100, 150), (20, 50, 3, -2000, 2000)],
)
def test_the_pixels_are_those_of_the_definition(height, width, line_width, low, high):
    keypoints = random_poses(20, low, high, seed=height)
    drawn, compared = draw(keypoints, height=height, width=width, line_width=line_width), 0
    for fast, person in zip(drawn, keypoints, strict=True):
        slow, rim = drawn_slowly(person, height, width, line_width)
        np.testing.assert_array_equal(fast[~rim], slow[~rim])
        compared += ((slow > 0) & ~rim).sum()
    assert compared > 200  # the test saw lines


HARD = np.concatenate(
    [
        random_poses(1000, 0, 64, seed=1),
        random_poses(1000, -300, 300, seed=2),
        random_poses(500, -FARTHEST * 1.2, FARTHEST * 1.2, seed=3),  # some of them too far
        random_poses(500, 0, 64, seed=4).round(),  # vertical, horizontal, diagonal, ties on the rim
        (random_poses(500, 0, 64, seed=5) * 2).round() / 2,
        random_poses(500, 30, 32, seed=6),  # limbs of a pixel
        random_poses(300, 0, 4, seed=7).round() * 16,  # limbs of length zero
        random_poses(20, 0, 64, seed=8, missing=1.0),
        np.full((1, K, 2), np.inf, np.float32),
        np.full((1, K, 2), 3e38, np.float32),
    ]
)


# SHA-256 of the maps: every processor draws the same bits.
@pytest.mark.parametrize(("height", "width", "line_width", "digest"), [
    (64, 64, 1, "53306340428d566c"), (64, 32, 2, "8ea0bb86e983dd5e"), (37, 53, 4, "d6c6d5a6a64f4863"),
    (64, 64, 7.3, "ec06014dd2f6286d"),
])  # fmt: skip
def test_the_pixels_of_hard_cases_never_change(height, width, line_width, digest):
    drawn = draw(HARD, height=height, width=width, line_width=line_width)
    assert (drawn.shape, drawn.dtype) == ((len(HARD), height, width), np.uint8)
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == digest


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_draws_the_same_pixels():
    on_gpu = draw(torch.from_numpy(HARD).cuda(), height=64, width=64, line_width=4)
    assert on_gpu.device.type == "cuda"
    np.testing.assert_array_equal(on_gpu.cpu().numpy(), draw(HARD, height=64, width=64, line_width=4))


def test_a_map_does_not_depend_on_its_batch_or_on_the_kind_of_its_keypoints():
    keypoints = random_poses(2 * MAPS_AT_ONCE + 3, -20, 80, seed=10)
    how = {"height": 32, "width": 64, "line_width": 4}
    together = draw(keypoints, **how)
    for row in (MAPS_AT_ONCE - 1, MAPS_AT_ONCE, 2 * MAPS_AT_ONCE + 2):
        np.testing.assert_array_equal(draw(keypoints[row : row + 1], **how)[0], together[row])
    wide = torch.zeros(len(keypoints), K, 3, dtype=torch.float64)
    wide[..., :2] = torch.from_numpy(keypoints)
    np.testing.assert_array_equal(draw(wide[..., :2], **how).numpy(), together)
    assert draw(keypoints[:0], **how).shape == (0, 32, 64)


def test_a_joint_with_one_coordinate_or_too_far_away_is_missing():
    for end in ((NAN, 3), (3, NAN), (FARTHEST * 2, 3), (3, -np.inf)):
        assert not draw(one_limb((1, 1), end), height=8, width=8, line_width=2).any()
    assert draw(one_limb((1, 1), (FARTHEST, 1)), height=8, width=8, line_width=2).any()


def test_colours_of_arrays_and_tensors_are_the_same_image():
    indices = draw(random_poses(7, 0, 32, seed=11), height=32, width=24, line_width=2)
    pixels, tensors = colour(indices), colour(torch.from_numpy(indices))
    assert (pixels.shape, tuple(tensors.shape)) == ((7, 32, 24, 3), (7, 3, 32, 24))
    assert torch.equal(tensors, images.to_tensor(pixels))
    np.testing.assert_array_equal(pixels[indices == 0], 0)
    assert LIMBS[0] == (JOINT["neck"], JOINT["right_shoulder"])
    np.testing.assert_array_equal(pixels[indices == 1], np.tile([255, 0, 0], ((indices == 1).sum(), 1)))
