import numpy as np
import pytest

from mannequin_pairs import mannequin_pairs
from repose.data.skeleton import JOINT, K
from repose.pose.pck import pck


def guesses(truth, seed, spread=3.0):
    """Keypoints near the true ones, a tenth of them not found and a few found where none is."""
    random = np.random.default_rng(seed)
    found = truth + random.normal(0, spread, truth.shape)
    found = np.where(np.isnan(found) & (random.random(truth.shape[:2])[..., None] < 0.3), 10.0, found)
    found[random.random(truth.shape[:2]) < 0.1] = np.nan
    return found.astype(np.float32)


def slow_pck(found, truth):
    right = counted = 0
    for mine, there in zip(found.astype(float), truth.astype(float), strict=True):
        known = there[~np.isnan(there).any(-1)]
        if len(known) < 2:
            continue
        for joint in np.flatnonzero(~np.isnan(there).any(-1)):
            counted += 1
            right += bool(np.hypot(*(mine[joint] - there[joint])) <= 0.1 * max(np.ptp(known, axis=0)))
    return right, counted


def test_pck_equals_a_count_joint_by_joint_on_60_mannequins():
    *_, truth = mannequin_pairs("street", 60)
    found = guesses(truth, 1)
    hits = pck(found, truth)
    assert (hits.right.sum(), hits.counted.sum()) == slow_pck(found, truth)
    assert 0.1 < hits.right.sum() / hits.counted.sum() < 0.99


def person(**joints):
    points = np.full((1, K, 2), np.nan, np.float32)
    for name, place in joints.items():
        points[0, JOINT[name]] = place
    return points


def test_the_threshold_is_a_tenth_of_the_longer_side():
    truth = person(nose=(20, 10), neck=(30, 30), left_knee=(25, 110))  # a person of 10x100
    for shift, right in (((10, 0), True), ((6, 8), True), ((6.1, 8), False), ((0, -10.1), False)):
        assert pck(truth + np.float32(shift), truth).right[0, JOINT["left_knee"]] == right


def test_a_person_without_size_does_not_count():
    for one in (person(left_knee=(5, 5)), person(nose=(5, 5), neck=(5, 5))):
        assert not pck(one, one).counted.any()


def test_arguments_of_another_shape_are_refused():
    sound = person(nose=(1, 2), neck=(3, 4))
    for found, truth in ((sound, np.repeat(sound, 2, 0)), (sound[:, 1:], sound[:, 1:])):
        with pytest.raises(ValueError, match=r"found and truth should be \(B, 18, 2\), not"):
            pck(found, truth)


def test_the_torso_is_from_a_shoulder_to_the_opposite_hip():
    truth = np.full((3, K, 2), np.nan, np.float32)
    truth[0, JOINT["right_shoulder"]], truth[0, JOINT["left_hip"]] = (0, 0), (30, 40)  # 50 px, 5 of them allowed
    truth[1, JOINT["left_shoulder"]], truth[1, JOINT["right_hip"]] = (0, 0), (0, 100)
    truth[:2, JOINT["nose"]] = 0
    truth[2, JOINT["nose"]] = 0  # neither
    found = truth + np.float32([5.1, 0])
    hits = pck(found, truth, torso=True)
    assert hits.counted.sum(1).tolist() == [3, 3, 0]
    assert hits.right.sum(1).tolist() == [0, 3, 0]
