import colorsys

import numpy as np
import pytest

from repose.data.skeleton import COLOURS, JOINT, JOINTS, LIMBS, MIRROR, TORSO, K, mirrored, present


def test_there_are_eighteen_joints_with_names_of_their_own() -> None:
    assert len(JOINTS) == K == len(set(JOINTS)) == 18
    assert [JOINT[name] for name in JOINTS] == list(range(18))


def test_the_mirror_swaps_left_and_right_and_is_its_own_inverse() -> None:
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(K))
    for name in JOINTS:
        side, _, part = name.partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        assert JOINTS[MIRROR[JOINT[name]]] == (f"{other}_{part}" if other else name)
    assert [JOINTS[joint] for joint in range(K) if MIRROR[joint] == joint] == ["nose", "neck"]


def test_limbs_mirror_to_limbs() -> None:
    assert len(LIMBS) == len(set(LIMBS)) == 17
    assert {frozenset(MIRROR[list(limb)].tolist()) for limb in LIMBS} == {frozenset(limb) for limb in LIMBS}


def test_limbs_join_all_joints_into_one_tree() -> None:
    joined = {JOINT["neck"]}
    for _ in LIMBS:
        joined |= {joint for limb in LIMBS if set(limb) & joined for joint in limb}
    assert joined == set(range(K))
    assert len(LIMBS) == K - 1


@pytest.mark.parametrize("shape", [(K, 2), (3, K, 2), (2, 3, K, 2)])
def test_mirrored_twice_is_as_before(shape: tuple[int, ...]) -> None:
    keypoints = np.random.default_rng(0).integers(0, 40, shape).astype(np.float32)
    keypoints[..., 3, :] = np.nan
    before = keypoints.copy()
    once = mirrored(keypoints, 40)
    np.testing.assert_array_equal(keypoints, before)  # left as they are
    assert once.dtype == np.float32
    np.testing.assert_array_equal(mirrored(once, 40), keypoints)
    assert not np.array_equal(once, keypoints, equal_nan=True)


def test_a_mirrored_joint_is_where_it_is_in_the_flipped_photo() -> None:
    photo = np.zeros((5, 7))
    photo[3, 1] = 1
    keypoints = np.full((K, 2), np.nan, np.float32)
    keypoints[JOINT["left_knee"]] = (1, 3)
    flipped = mirrored(keypoints, 7)
    x, y = flipped[JOINT["right_knee"]].astype(int)
    assert photo[:, ::-1][y, x] == 1
    assert present(flipped).sum() == 1


def test_a_joint_is_known_by_both_its_coordinates() -> None:
    keypoints = np.zeros((2, K, 2), np.float32)
    keypoints[0, 1], keypoints[0, 2, 0], keypoints[1, 3, 1] = np.nan, np.nan, np.nan
    known = present(keypoints)
    assert known.dtype == bool
    assert known.shape == (2, K)
    assert np.argwhere(~known).tolist() == [[0, 1], [0, 2], [1, 3]]


def test_the_torso_is_shoulders_and_hips_around() -> None:
    assert [JOINTS[joint] for joint in TORSO] == ["right_shoulder", "left_shoulder", "left_hip", "right_hip"]


def test_colours_are_a_wheel_of_eighteen_hues_twenty_degrees_apart() -> None:
    assert COLOURS.dtype == np.uint8
    hues = [colorsys.rgb_to_hsv(*(colour / 255))[0] * 360 for colour in COLOURS]
    np.testing.assert_allclose(hues, np.arange(18) * 20, atol=0.2)
    assert (COLOURS.max(1) == 255).all()
    assert (COLOURS.min(1) == 0).all()
