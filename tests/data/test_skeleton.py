import colorsys

import numpy as np

from repose.data.skeleton import COLOURS, JOINT, JOINTS, LIMBS, MIRROR, K, mirrored


def test_the_mirror_swaps_left_and_right():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(K))
    for name in JOINTS:
        side, _, part = name.partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        assert JOINTS[MIRROR[JOINT[name]]] == (f"{other}_{part}" if other else name)
    assert {frozenset(MIRROR[list(limb)].tolist()) for limb in LIMBS} == {frozenset(limb) for limb in LIMBS}


def test_mirrored_keypoints_are_those_of_the_flipped_photo():
    keypoints = np.random.default_rng(0).integers(0, 40, (2, 3, K, 2)).astype(np.float32)
    keypoints[..., 3, :] = np.nan
    before, flipped = keypoints.copy(), mirrored(keypoints, 40)
    np.testing.assert_array_equal(keypoints, before)
    knee = flipped[..., JOINT["right_knee"], :]
    np.testing.assert_array_equal(knee, keypoints[..., JOINT["left_knee"], :] * [-1, 1] + [39, 0])
    np.testing.assert_array_equal(mirrored(flipped, 40), keypoints)


def test_colours_are_a_wheel_of_eighteen_hues_twenty_degrees_apart():
    assert COLOURS.dtype == np.uint8
    hues = [colorsys.rgb_to_hsv(*(colour / 255))[0] * 360 for colour in COLOURS]
    np.testing.assert_allclose(hues, np.arange(18) * 20, atol=0.2)
    assert (COLOURS.max(1) == 255).all()
    assert (COLOURS.min(1) == 0).all()
