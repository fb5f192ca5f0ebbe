import colorsys

import numpy as np
import pytest

from repose.data.skeleton import COLOURS, JOINT, JOINTS, LIMBS, MIRROR, TORSO, K, mirrored


def test_there_are_eighteen_joints_and_the_torso_goes_around():
    assert len(JOINTS) == K == len(set(JOINTS)) == 18
    assert [JOINT[name] for name in JOINTS] == list(range(18))
    assert [JOINTS[joint] for joint in TORSO] == ["right_shoulder", "left_shoulder", "left_hip", "right_hip"]


def test_the_mirror_swaps_left_and_right():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(K))
    for name in JOINTS:
        side, _, part = name.partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        assert JOINTS[MIRROR[JOINT[name]]] == (f"{other}_{part}" if other else name)
    assert {frozenset(MIRROR[list(limb)].tolist()) for limb in LIMBS} == {frozenset(limb) for limb in LIMBS}


def test_limbs_join_all_joints_into_one_tree():
    joined = {JOINT["neck"]}
    for _ in LIMBS:
        joined |= {joint for limb in LIMBS if set(limb) & joined for joint in limb}
    assert joined == set(range(K))
    assert len(LIMBS) == len(set(LIMBS)) == K - 1


@pytest.mark.parametrize("shape", [(K, 2), (2, 3, K, 2)])
def test_mirrored_keypoints_are_those_of_the_flipped_photo(shape):
    keypoints = np.random.default_rng(0).integers(0, 40, shape).astype(np.float32)
    keypoints[..., 3, :] = np.nan
    before, flipped = keypoints.copy(), mirrored(keypoints, 40)
    np.testing.assert_array_equal(keypoints, before)
    assert flipped.dtype == np.float32
    knee = flipped[..., JOINT["right_knee"], :]
    np.testing.assert_array_equal(knee, keypoints[..., JOINT["left_knee"], :] * [-1, 1] + [39, 0])
    np.testing.assert_array_equal(mirrored(flipped, 40), keypoints)


def test_colours_are_a_wheel_of_eighteen_hues_twenty_degrees_apart():
    assert COLOURS.dtype == np.uint8
    hues = [colorsys.rgb_to_hsv(*(colour / 255))[0] * 360 for colour in COLOURS]
    np.testing.assert_allclose(hues, np.arange(18) * 20, atol=0.2)
    assert (COLOURS.max(1) == 255).all()
    assert (COLOURS.min(1) == 0).all()
