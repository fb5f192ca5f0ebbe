import numpy as np
import pytest

from mannequin_pairs import mannequin_pairs
from repose.data.skeleton import JOINT, K
from repose.errors import ReposeError
from repose.pose.pck import Hits, pck, pckh, share


def guesses(truth, seed, spread=3.0):
    """Keypoints near the true ones, a tenth of them not found and a few found where none is."""
    random = np.random.default_rng(seed)
    found = truth + random.normal(0, spread, truth.shape)
    found = np.where(np.isnan(found) & (random.random(truth.shape[:2])[..., None] < 0.3), 10.0, found)
    found[random.random(truth.shape[:2]) < 0.1] = np.nan
    return found.astype(np.float32)


def slow_pckh(found, truth, alpha):
    """PATN's count, joint by joint: right ones and all."""
    right = counted = 0
    for mine, there in zip(found.astype(float), truth.astype(float), strict=True):
        head = [there[joint] for joint in (0, 1, 14, 15, 16, 17) if not np.isnan(there[joint]).any()]
        if len(head) < 2:
            continue
        width, height = (max(of) - min(of) for of in zip(*head, strict=True))
        for joint in np.flatnonzero(~np.isnan(there).any(-1)):
            across, down = abs(mine[joint] - there[joint])  # not a number: not found
            counted += 1
            right += bool(across < alpha * width and down < alpha * height)
    return right, counted


def slow_pck(found, truth, alpha, visible):
    right = counted = 0
    for mine, there, seen in zip(found.astype(float), truth.astype(float), visible, strict=True):
        known = there[~np.isnan(there).any(-1)]
        if len(known) < 2:
            continue
        for joint in np.flatnonzero(seen & ~np.isnan(there).any(-1)):
            counted += 1
            right += bool(np.hypot(*(mine[joint] - there[joint])) <= alpha * max(np.ptp(known, axis=0)))
    return right, counted


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_pckh_equals_a_count_joint_by_joint_on_200_mannequins(alpha):
    *_, truth = mannequin_pairs("street", 200)
    truth[:9, [1, 14, 15, 16, 17]] = np.nan  # persons with a nose for a head
    found = guesses(truth, 0)
    hits = pckh(found, truth, alpha=alpha)
    assert (hits.right.sum(), hits.counted.sum()) == slow_pckh(found, truth, alpha)
    assert not hits.counted[:9].any()
    assert 0.05 < share(hits) < 0.9


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_pck_equals_a_count_joint_by_joint_on_200_mannequins(alpha):
    *_, truth = mannequin_pairs("street", 200)
    found, visible = guesses(truth, 1), np.random.default_rng(2).random(truth.shape[:2]) < 0.7
    for seen in (visible, None):
        hits = pck(found, truth, visible=seen, alpha=alpha)
        wanted = slow_pck(found, truth, alpha, visible if seen is not None else visible | True)
        assert (hits.right.sum(), hits.counted.sum()) == wanted
        assert 0.1 < share(hits) < 0.99


def person(**joints):
    points = np.full((1, K, 2), np.nan, np.float32)
    for name, place in joints.items():
        points[0, JOINT[name]] = place
    return points


def test_the_thresholds_are_half_the_head_on_each_axis_and_a_tenth_of_the_longer_side():
    truth = person(nose=(20, 10), neck=(30, 30), left_knee=(25, 110))  # a head of 10x20, a person of 10x100
    for shift, right in (((4.9, 9.9), True), ((5, 0), False), ((0, 10), False), ((-4.9, -9.9), True), ((0, 0), True)):
        assert pckh(truth + np.float32(shift), truth).right[0, JOINT["left_knee"]] == right
    for shift, right in (((10, 0), True), ((6, 8), True), ((6.1, 8), False), ((0, -10.1), False)):
        assert pck(truth + np.float32(shift), truth).right[0, JOINT["left_knee"]] == right


def test_a_joint_out_of_sight_does_not_count_but_still_measures_the_person():
    truth = person(nose=(20, 10), neck=(30, 30), left_knee=(25, 110))
    visible = np.ones((1, K), bool)
    visible[0, [JOINT["nose"], JOINT["left_knee"]]] = False
    shifted = truth + np.float32((0, 9))
    for metric in (pck, pckh):
        hits = metric(shifted, truth, visible=visible)
        assert hits.counted[0].nonzero()[0].tolist() == [JOINT["neck"]]
        assert share(hits) == 1


def test_a_person_without_size_or_head_does_not_count_and_a_flat_head_has_nothing_right():
    one = person(left_knee=(5, 5))
    assert not pck(one, one).counted.any()
    assert not pckh(one, one).counted.any()
    same = person(nose=(5, 5), neck=(5, 5))
    assert not pck(same, same).counted.any()
    assert pckh(same, same).counted.sum() == 2  # PATN counts them
    assert share(pckh(same, same)) == 0


def test_the_share_is_of_all_joints_that_count_in_all_batches_together():
    one, four = np.array([[True, False]]), np.array([[True] * 4])
    assert share(Hits(one, one | True), Hits(four, four)) == 5 / 6
    for hits in ([pck(person(), person())], []):
        with pytest.raises(ReposeError, match="No joint counts: no target has known"):
            share(*hits)


@pytest.mark.parametrize("metric", [pck, pckh])
def test_arguments_of_another_shape_are_refused(metric):
    sound = person(nose=(1, 2), neck=(3, 4))
    for found, truth in ((sound[0], sound), (sound, np.repeat(sound, 2, 0)), (sound[:, 1:], sound[:, 1:])):
        with pytest.raises(ValueError, match=r"found and truth should be \(B, 18, 2\), not"):
            metric(found, truth)


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
