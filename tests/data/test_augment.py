from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from repose.data.augment import AugmentSettings, draw_matrices, move_images, move_keypoints
from repose.data.images import to_tensor, to_uint8
from repose.data.skeleton import JOINT, K

HEIGHT, WIDTH = 72, 56
NONE = AugmentSettings(flip=0, rotation=0, crop=1, fill="edge")
ALL = replace(NONE, rotation=25, crop=0.7)


def matrices(settings: AugmentSettings, count: int, flip: bool = False, seed: int = 0) -> np.ndarray:
    return draw_matrices(np.random.default_rng(seed), count, flip, settings, HEIGHT, WIDTH)


def dots(places: np.ndarray) -> Tensor:
    """Images (n,3,H,W), black with a soft bright dot at x, y (n,2)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    squares = (x - places[:, 0, None, None]) ** 2 + (y - places[:, 1, None, None]) ** 2
    bright = torch.from_numpy(np.exp(-squares / (2 * 1.5**2))).float()[:, None].expand(-1, 3, -1, -1)
    return 2 * bright - 1


def centres(images: Tensor) -> np.ndarray:
    """The centres of gravity (n,2) of the light, x, y in px."""
    light = ((images.mean(1) + 1) / 2).double().numpy()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([(light * axis).sum((1, 2)) / light.sum((1, 2)) for axis in (x, y)], -1)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_and_keypoints_move_alike(flip):
    count = 24
    places = np.random.default_rng(1).uniform((20, 28), (36, 44), (count, 2))  # near the middle: every crop has them
    keypoints = np.full((count, K, 2), np.nan)
    keypoints[:, JOINT["right_wrist"]] = places
    changes = matrices(ALL, count, flip)
    images = move_images(dots(places), torch.from_numpy(changes), "edge")
    joint = JOINT["left_wrist" if flip else "right_wrist"]
    moved = move_keypoints(keypoints, changes, flip)
    np.testing.assert_allclose(centres(images), moved[:, joint], atol=0.05)
    assert np.abs(moved[:, joint] - places).max() > 3


@pytest.mark.parametrize("fill", ["white", "edge"])
def test_no_change_leaves_the_pixels_as_they_are(fill):
    photos = np.random.default_rng(2).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
    moved = move_images(to_tensor(photos), torch.from_numpy(matrices(NONE, 3)), fill)
    np.testing.assert_array_equal(to_uint8(moved), photos)


def test_beyond_the_photo_it_is_white_or_the_nearest_pixel():
    linear = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    change = torch.from_numpy(np.concatenate([linear, (centre - linear @ centre)[:, None]], 1)[None])
    white, edge = (move_images(torch.full((1, 3, HEIGHT, WIDTH), -0.5), change, fill) for fill in ("white", "edge"))
    torch.testing.assert_close(edge, torch.full_like(edge, -0.5))
    corners = white[0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, torch.ones_like(corners))
    middle = white[0, :, 30:42, 20:36]
    torch.testing.assert_close(middle, torch.full_like(middle, -0.5))
    assert white.max() <= 1 + 1e-6


def test_a_rotation_is_about_the_centre_and_either_way_up_to_its_limit():
    changes = matrices(replace(NONE, rotation=25), 500)
    angles = np.rad2deg(np.arctan2(changes[:, 1, 0], changes[:, 0, 0]))
    assert (angles.min(), angles.max()) == pytest.approx((-25, 25), abs=0.5)
    np.testing.assert_allclose(np.linalg.det(changes[:, :, :2]), 1)
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    np.testing.assert_allclose(changes[:, :, :2] @ centre + changes[:, :, 2], np.broadcast_to(centre, (500, 2)))


def test_a_crop_lies_within_the_photo_and_fills_the_frame():
    changes = matrices(replace(NONE, crop=0.7), 2000)
    kept = 1 / np.sqrt(np.abs(np.linalg.det(changes[:, :, :2])))
    assert (kept.min(), kept.max()) == pytest.approx((0.7, 1.0), abs=0.002)
    corners = np.array([(-0.5, -0.5), (WIDTH - 0.5, HEIGHT - 0.5)])  # of the frame, px
    inverse = np.linalg.inv(changes[:, :, :2])
    there = np.einsum("nij,nkj->nki", inverse, corners[None] - changes[:, None, :, 2])  # of the crop, in the photo
    np.testing.assert_allclose(there.min((0, 1)), -0.5, atol=0.1)
    np.testing.assert_allclose(there.max((0, 1)), (WIDTH - 0.5, HEIGHT - 0.5), atol=0.1)
    assert (there >= -0.5 - 1e-9).all()
    assert (there <= corners[1] + 1e-9).all()
    np.testing.assert_allclose(there[:, 1] - there[:, 0], kept[:, None] * (WIDTH, HEIGHT))
