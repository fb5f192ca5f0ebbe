"""The inputs of vunet against slow drawing and scikit-image."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.transform import ProjectiveTransform, warp
from torch import Tensor

from made_up import person, photos_of
from repose.data.posemaps import FARTHEST
from repose.data.skeleton import JOINT
from repose.models.vunet_inputs import HALF, in_square, part_crops, resized, stickman


def poses_to_draw() -> dict[str, Tensor]:
    standing = person(32, 32, arms=(0.5, 1.2), legs=(0.2, 0.4))
    poses = {"from behind": person(32, 32, arms=(0.1, 1.5), back=True)}
    for joint in ("nose", "left_eye", "right_shoulder", "left_knee"):
        poses[f"no {joint}"] = standing.clone()
        poses[f"no {joint}"][JOINT[joint]] = torch.nan
    poses["partly outside"] = standing + torch.tensor([10.0, -9.0])
    poses["turned"] = torch.stack([31 - standing[:, 1], standing[:, 0]], 1)
    return poses


each_pose = pytest.mark.parametrize("keypoints", poses_to_draw().values(), ids=poses_to_draw().keys())


@each_pose
@pytest.mark.parametrize(("size", "line_width"), [(32, 1), (128, 3)])
def test_the_stickman_is_drawn_as_written(keypoints, size, line_width):
    off = torch.linspace(-0.1, 0.1, 36).reshape(18, 2)  # so that no pixel's middle lies on a rim
    large = in_square(keypoints[None] + off, 32, 32, size)
    drawn = stickman(large, size)[0]
    assert drawn.shape == (3, size, size)
    expected = slow_stickman(large[0].double().numpy(), size, line_width)
    np.testing.assert_allclose(drawn.numpy(), expected, atol=1e-6)


def slow_stickman(keypoints: np.ndarray, size: int, line_width: int) -> np.ndarray:
    at = {name: keypoints[index] for name, index in JOINT.items()}
    neck, canvas = (at["left_shoulder"] + at["right_shoulder"]) / 2, np.full((3, size, size), -1.0)
    y, x = np.mgrid[:size, :size]
    for channel, side in enumerate(("right", "left")):
        chain = [at[f"{side}_{name}"] for name in ("ankle", "knee", "hip", "shoulder", "elbow", "wrist")]
        lines = [(a, b, 1.0) for a, b in pairwise(chain)] + [(neck, at["nose"], HALF)]
        if not np.isnan([at["left_eye"], at["right_eye"]]).any():
            lines.append((at["nose"], at[f"{side}_eye"], 1.0))
        for start, end, value in lines:
            canvas[channel][distance(x, y, start, end) <= line_width / 2] = value
    corners = [at[n] for n in ("left_hip", "left_shoulder", "right_shoulder", "right_hip")]
    if not np.isnan(corners).any():
        edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
        sides = np.stack([(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in edges])
        inside = (sides > 0).all(0) | (sides < 0).all(0)  # these torsos are convex
        outline = np.any([distance(x, y, a, b) <= 0.5 for a, b in edges], 0)
        canvas[2][inside | outline] = 1
    return canvas


def distance(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Of pixels to a line, from its ends where they lie beyond them; NaN of one that is missing."""
    to_start, to_end = np.hypot(x - start[0], y - start[1]), np.hypot(x - end[0], y - end[1])
    (dx, dy), length = end - start, np.hypot(*(end - start))
    across = np.abs((x - start[0]) * dy - (y - start[1]) * dx) / length
    beyond = (to_start**2 > to_end**2 + length**2) | (to_end**2 > to_start**2 + length**2)
    return np.where(beyond, np.minimum(to_start, to_end), across)


@each_pose
def test_the_parts_are_cropped_as_written(keypoints):
    image = photos_of(keypoints[None].nan_to_num(5), [0], 32, 32)
    image = (image + 0.3 * torch.randn_like(image)).clamp(-1, 1)
    crops = part_crops(image, keypoints[None], 16)[0].numpy()
    expected = slow_crops(image[0].double().numpy(), keypoints.double().numpy(), 16)
    np.testing.assert_allclose(crops, expected, atol=2e-3)


def slow_crops(image: np.ndarray, keypoints: np.ndarray, size: int) -> np.ndarray:
    """Each crop by scikit-image."""
    crops = np.zeros((8, size, size, 3))
    square = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * size - 0.5
    for crop, corners in zip(crops, slow_corners(keypoints, image.shape[-1]), strict=True):
        if not np.isnan(corners).any():
            to_photo = ProjectiveTransform.from_estimate(square, corners)
            crop[:] = warp(image.transpose(1, 2, 0), to_photo, output_shape=(size, size), mode="edge", clip=False)
    return crops.transpose(0, 3, 1, 2).reshape(24, size, size)


def slow_corners(keypoints: np.ndarray, side: int) -> list[np.ndarray]:
    at = {name: keypoints[index] for name, index in JOINT.items()}
    right, left, nose = at["right_shoulder"], at["left_shoulder"], at["nose"]
    neck = (right + left) / 2
    if np.isnan(nose).any():  # the square above the shoulders
        up = np.array([left[1] - right[1], right[0] - left[0]])
        up = up if up[1] <= 0 else -up
        head = [left + up, left, right, right + up]
    else:
        top, half = 2 * nose - neck, np.array([neck[1] - (2 * nose - neck)[1], (2 * nose - neck)[0] - neck[0]]) / 2
        head = [top + half, neck + half, neck - half, top - half]
    quads = [[left, at["left_hip"], at["right_hip"], right], head]
    for first, second in (
        ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"), ("left_hip", "left_knee"), ("right_hip", "right_knee"),
    ):  # fmt: skip
        a, b = at[first], at[second]
        if second.endswith("knee") and np.isnan(b).any():
            b = np.array([a[0], side - 1])
        quarter = np.array([b[1] - a[1], a[0] - b[0]]) / 4
        quads.append([a - quarter, a + quarter, b + quarter, b - quarter])
    return [np.array(quad) for quad in quads]


def test_a_part_without_an_area_is_0():
    keypoints = person(32, 32)[None]
    keypoints[0, JOINT["left_wrist"]] = keypoints[0, JOINT["left_elbow"]]
    for index in (2, 5, 8, 11):  # shoulders and hips on one line
        keypoints[0, index, 0] = 16
    crops = part_crops(torch.rand(1, 3, 32, 32) + 0.1, keypoints, 8).unflatten(1, (8, 3))[0]
    assert [bool(crop.any()) for crop in crops] == [False, True, True, False, True, True, True, True]


def test_no_keypoint_gives_a_value_that_is_not_finite():
    keypoints = torch.randn(200, 18, 2) * 30 + 16
    keypoints[torch.rand(200, 18) < 0.1] = torch.nan
    crops = part_crops(torch.rand(1, 3, 32, 32).expand(200, -1, -1, -1), keypoints, 8)
    assert crops.isfinite().all()
    assert crops.min() >= 0
    assert crops.max() <= 1


def test_keypoints_go_where_the_stretched_photo_has_them():
    image = torch.zeros(1, 1, 32, 16)
    image[0, 0, 20, 6] = 1
    place = in_square(torch.tensor([[[6.0, 20.0]]]).expand(1, 18, 2), 32, 16, 32)[0, 0]
    assert place.tolist() == [12.5, 20.0]
    square = resized(image, 32, 32)[0, 0]
    middle = (square.sum(0) * torch.arange(32)).sum() / square.sum()
    assert middle.item() == pytest.approx(12.5)
    far = torch.full((1, 18, 2), 5.0)
    far[0, 3, 1] = FARTHEST + 1.0
    assert in_square(far, 32, 32, 32)[0].isnan().any(1).tolist() == [index == 3 for index in range(18)]
