import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from skimage.morphology import closing, footprint_rectangle
from torch.utils._python_dispatch import TorchDispatchMode

from mannequin_pairs import mannequin_pairs
from repose.data import pose_mask as module
from repose.data.posemaps import FARTHEST
from repose.data.skeleton import FIGURE, JOINT, K
from repose.errors import ReposeError
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


def test_the_limbs_are_those_of_pg2():
    listed = [tuple(int(joint) - 1 for joint in limb.split("-")) for limb in PG2_LIMBS.split()]
    assert sorted(map(sorted, FIGURE)) == sorted(map(sorted, listed))
    assert len(FIGURE) == 23


@pytest.mark.parametrize("flavour", ["street", "fashion"])
def test_equals_scikit_image_on_mannequin_pairs(flavour):
    sources, targets, keypoints = mannequin_pairs(flavour, 200 if flavour == "street" else 12)
    scores = mask_ssim(sources, targets, keypoints, "pg2")
    expected = [slow_score(*pair) for pair in zip(sources, targets, keypoints, strict=True)]
    assert (scores.shape, scores.dtype) == ((len(sources),), torch.float64)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)
    assert np.ptp(expected) > 0.03


@pytest.mark.parametrize(("height", "width"), [(75, 53), (30, 9), (1, 1)])
def test_masks_are_those_drawn_pixel_by_pixel(height, width):
    keypoints = anywhere(70, height, width, seed=height)  # more than are drawn at once
    masks = pose_mask(keypoints, height=height, width=width, protocol="pg2")
    assert (masks.shape, masks.dtype) == ((70, height, width), torch.bool)
    expected = np.stack([slow_mask(points, height, width) for points in keypoints])
    assert np.array_equal(masks, expected)
    assert 0.05 < expected.mean() < 1 or height == 1


def test_masks_are_never_larger_than_a_byte_per_pixel():
    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and made.ndim >= 3 and min(made.shape[-2:]) >= 40:
                found.add(made.dtype)
            return made

    found = set[torch.dtype]()
    with Operations():
        pose_mask(torch.full((2, 18, 2), 20.0), height=48, width=40, protocol="pg2")
    assert found == {torch.bool}


@pytest.mark.parametrize(("first", "last", "nothing"), [
    ((-4, 5), (-40, 5), False),  # a disc that still touches the image
    ((-5, 5), (-40, 5), True),
    ((5, 5), (float(FARTHEST) + 1, 5), True),
    ((5, 5), (np.inf, 5), True),
    ((-40, 5), (90, 5), False),  # across the whole image
])  # fmt: skip
def test_what_lies_outside_the_image(first, last, nothing):
    mask = pose_mask(two_joints(first, last), height=30, width=20, protocol="pg2")
    assert mask.any().item() is not nothing


def test_a_pair_whose_target_has_no_limb_in_the_image_is_left_out():
    keypoints = np.concatenate(
        [two_joints((10, 10), (10, 30)), two_joints((10, 10), (np.nan, 1)), two_joints((-9, 0), (-9, 9))]
    )
    scores = mask_ssim(noise(2, 3, 40, 30), noise(3, 3, 40, 30), keypoints, "pg2")
    assert scores.isnan().tolist() == [False, True, True]
    assert mask_ssim(noise(2, 0, 40, 30), noise(3, 0, 40, 30), keypoints[:0], "pg2").shape == (0,)


def test_arrays_and_tensors_and_any_batch_give_the_same_numbers(monkeypatch):
    sources, targets, keypoints = mannequin_pairs("street", 7)
    scores = mask_ssim(sources, targets, keypoints, "pg2")
    tensors = [torch.from_numpy(images).movedim(-1, 1) for images in (sources, targets)]
    assert torch.equal(mask_ssim(*tensors, torch.from_numpy(keypoints), "pg2"), scores)
    monkeypatch.setattr(module, "_MASKS_AT_ONCE", 2)
    assert torch.equal(mask_ssim(sources, targets, keypoints, "pg2"), scores)


def test_bad_input_is_rejected():
    image, keypoints = noise(6, 2, 20, 20), np.repeat(two_joints((1, 1), (9, 9)), 2, 0)
    with pytest.raises(ReposeError, match=r"no mask-SSIM protocol 'pg3'\. Did you mean 'pg2'\?"):
        mask_ssim(image, image, keypoints, "pg3")
