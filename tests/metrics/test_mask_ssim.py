import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from skimage.morphology import closing, footprint_rectangle

from mannequin_pairs import mannequin_pairs
from repose.data.posemaps import FARTHEST
from repose.data.skeleton import JOINT, K
from repose.metrics.mask_ssim import mask_ssim, pose_mask

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]

# As PG2 lists them, counted from 1: other than our list, which is written with the joints' names.
PG2_LIMBS = (
    "2-3 2-6 3-4 4-5 6-7 7-8 2-9 9-10 10-11 2-12 12-13 13-14 2-1 1-15 15-17 1-16 16-18 2-17 2-18 9-12 12-6 9-3 17-18"
)


def slow_mask(keypoints, height, width):
    """One figure, disc by disc and pixel by pixel."""
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for limb in PG2_LIMBS.split():
        first, last = (np.round(keypoints[int(joint) - 1].astype(float)) for joint in limb.split("-"))
        if np.isnan([first, last]).any():
            continue
        steps = max(int(np.hypot(*(last - first)) / 4), 1)
        for step in range(steps + 1):
            x, y = (int(place) for place in first + (last - first) * step / steps)
            mask |= (columns - x) ** 2 + (rows - y) ** 2 <= 16
    return closing(mask.astype(np.uint8), footprint_rectangle((5, 5))).astype(bool)


def slow_score(generated, target, keypoints):
    mask = slow_mask(keypoints, *target.shape[:2])[..., None]
    return structural_similarity(generated * mask, target * mask, channel_axis=-1)


def anywhere(count, height, width, seed):
    """Keypoints in and around an image, some missing, some on whole px and halves."""
    random = np.random.default_rng(seed)
    points = random.uniform(-0.3, 1.3, (count, K, 2)) * (width, height)
    points[::3] = np.round(points[::3] * 2) / 2
    points[random.random((count, K)) < 0.2] = np.nan
    return points.astype(np.float32)


def two_joints(first, last):
    """A person of whom only the right elbow and wrist are known."""
    points = np.full((1, K, 2), np.nan, np.float32)
    points[0, JOINT["right_elbow"]], points[0, JOINT["right_wrist"]] = first, last
    return points


def noise(seed, count, height, width):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_equals_scikit_image_on_mannequin_pairs():
    sources, targets, keypoints = mannequin_pairs("street", 20)
    scores = mask_ssim(sources, targets, keypoints, "pg2")
    expected = [slow_score(*pair) for pair in zip(sources, targets, keypoints, strict=True)]
    assert (scores.shape, scores.dtype) == ((20,), torch.float64)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)
    assert np.ptp(expected) > 0.03


@pytest.mark.parametrize(("height", "width"), [(75, 53), (30, 9)])
def test_masks_are_those_drawn_pixel_by_pixel(height, width):
    keypoints = anywhere(70, height, width, seed=height)  # more than are drawn at once
    masks = pose_mask(keypoints, height=height, width=width, protocol="pg2")
    assert (masks.shape, masks.dtype) == ((70, height, width), torch.bool)
    expected = np.stack([slow_mask(points, height, width) for points in keypoints])
    assert np.array_equal(masks, expected)
    assert 0.05 < expected.mean() < 1


@pytest.mark.parametrize("far", [float(FARTHEST) + 1, np.inf])
def test_a_limb_to_a_joint_that_is_absurdly_far_is_left_out(far):
    assert not pose_mask(two_joints((5, 5), (far, 5)), height=30, width=20, protocol="pg2").any()


def test_a_pair_whose_target_has_no_limb_in_the_image_is_left_out():
    keypoints = np.concatenate(
        [two_joints((10, 10), (10, 30)), two_joints((10, 10), (np.nan, 1)), two_joints((-9, 0), (-9, 9))]
    )
    scores = mask_ssim(noise(2, 3, 40, 30), noise(3, 3, 40, 30), keypoints, "pg2")
    assert scores.isnan().tolist() == [False, True, True]
    assert mask_ssim(noise(2, 0, 40, 30), noise(3, 0, 40, 30), keypoints[:0], "pg2").shape == (0,)
