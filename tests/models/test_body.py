"""Coordinates of places on a body: the same spot has the same ones, whatever the pose, the place and the size."""

import pytest
import torch
from torch import Tensor

from made_up import people, person
from repose.data.skeleton import JOINT, LIMBS, TORSO, K, mirrored
from repose.models.body import body_fields

pytestmark = pytest.mark.floats

HEIGHT, WIDTH, STRIDE = 128, 88, 4


def rest_of(keypoints: Tensor) -> Tensor:
    """(5,h,w)"""
    return body_fields(keypoints[None], HEIGHT, WIDTH, STRIDE).rest[0]


def at(field: Tensor, places: Tensor) -> Tensor:
    """(n,channels) of a field (channels,h,w) at the squares in which the places (n,2) in px lie."""
    column, row = ((places + 0.5) / STRIDE).floor().long().unbind(-1)
    return field[:, row, column].T


def test_along_a_limb_the_coordinates_go_from_joint_to_joint():
    keypoints = person(HEIGHT, WIDTH, arms=(0.3, 0.7))
    rest = body_fields(keypoints[None], HEIGHT, WIDTH, 1).rest[0]
    for joint, expected in {
        "neck": (0, 0), "right_wrist": (-1.1, 0.85), "left_wrist": (1.1, 0.85), "left_knee": (0.4, 1.8),
        "right_ankle": (-0.55, 2.6), "nose": (0, -0.45), "left_elbow": (0.75, 0.45),
    }.items():  # fmt: skip
        column, row = keypoints[JOINT[joint]].round().long().tolist()
        torch.testing.assert_close(rest[:2, row, column], torch.tensor(expected).float(), atol=0.08, rtol=0)
        assert rest[2, row, column] < 0.05


def test_how_large_the_person_is_does_not_matter():
    keypoints, factor = people(2, HEIGHT, WIDTH), 3
    one = body_fields(keypoints, HEIGHT, WIDTH, STRIDE)
    larger = (keypoints + 0.5) * factor - 0.5
    other = body_fields(larger, HEIGHT * factor, WIDTH * factor, STRIDE * factor)
    for before, after in zip(one, other, strict=True):
        torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)


def test_the_view_tells_front_from_back():
    front, back = rest_of(person(HEIGHT, WIDTH)), rest_of(person(HEIGHT, WIDTH, back=True))
    torch.testing.assert_close(front[3], torch.ones_like(front[3]), atol=0.15, rtol=0)
    torch.testing.assert_close(back[3], -torch.ones_like(back[3]), atol=0.15, rtol=0)
    assert front[4].abs().max() < 0.01


def test_from_the_side_the_view_tells_where_the_nose_points():
    keypoints = person(HEIGHT, WIDTH)
    keypoints[list(TORSO), 0] = WIDTH / 2
    keypoints[JOINT["nose"], 0] += 8
    right = rest_of(keypoints)
    left = rest_of(torch.from_numpy(mirrored(keypoints.numpy(), WIDTH + 1)))
    assert right[3].abs().max() < 0.01
    assert right[4].min() > 0.3
    torch.testing.assert_close(left[4], -right[4], atol=0.05, rtol=0)


def test_a_mirrored_person_has_mirrored_coordinates():
    keypoints = people(1, HEIGHT, WIDTH, seed=3)[0]
    rest = rest_of(keypoints)
    flipped = rest_of(torch.from_numpy(mirrored(keypoints.numpy(), WIDTH)))
    sign = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0])[:, None, None]
    torch.testing.assert_close(flipped, (rest * sign).flip(2), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("joint", "count"), [("left_elbow", 2), ("neck", 5)])
def test_a_missing_joint_leaves_its_limbs_out(joint, count):
    keypoints = person(HEIGHT, WIDTH)
    keypoints[JOINT[joint]] = torch.nan
    _, limbs = body_fields(keypoints[None], HEIGHT, WIDTH, STRIDE)
    field = limbs[0, : len(LIMBS)]
    assert int((field.amax((1, 2)) == 0).sum()) == count
    without = torch.tensor([JOINT[joint] in limb for limb in LIMBS])
    assert (limbs[0].unflatten(0, (3, -1))[:, without] == 0).all()
    assert (field[~without].amax((1, 2)) > 0.5).all()


@pytest.mark.parametrize(("known", "missing"), [("right_shoulder", "left_shoulder"), ("left_hip", "right_hip")])
def test_one_shoulder_or_hip_stands_for_both(known, missing):
    keypoints = person(HEIGHT, WIDTH)
    both, one = keypoints.clone(), keypoints.clone()
    both[JOINT[missing]] = keypoints[JOINT[known]]
    one[JOINT[missing]] = torch.nan
    expected, found = (body_fields(keypoints[None], HEIGHT, WIDTH, STRIDE) for keypoints in (both, one))
    assert torch.equal(found.rest, expected.rest)
    assert torch.equal(found.limbs, expected.limbs)


def test_a_body_is_not_measured_by_its_head():
    keypoints, large_head = person(HEIGHT, WIDTH), person(HEIGHT, WIDTH)
    for joint in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
        large_head[JOINT[joint], 1] -= 10
    ankle = keypoints[JOINT["left_ankle"]][None]
    torch.testing.assert_close(at(rest_of(large_head), ankle), at(rest_of(keypoints), ankle))


def test_every_field_is_finite_for_joints_anywhere():
    keypoints = torch.randn(40, K, 2) * 100 + 40
    keypoints[torch.rand(40, K) < 0.4] = torch.nan
    keypoints[0] = 7.0  # all in one place
    keypoints[1] = 1e5 * torch.randn(K, 2)
    keypoints[2] = torch.nan
    rest, limbs = body_fields(keypoints, HEIGHT, WIDTH, STRIDE)
    assert rest.isfinite().all()
    assert limbs.isfinite().all()
    assert rest[2].count_nonzero() == limbs[2].count_nonzero() == 0
    assert limbs[:, : len(LIMBS)].min() >= 0
    assert limbs[:, : len(LIMBS)].max() <= 1
    assert rest[:, 2].max() <= 1
    assert rest[:, 3:].abs().max() <= 1
