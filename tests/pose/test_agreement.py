import numpy as np

from repose.data.skeleton import K
from repose.pose.agreement import agreement


def test_known_joints_count_and_the_others_are_told_apart():
    truth = np.full((2, K, 2), np.nan, np.float32)
    truth[0, :4] = [[0, 0], [100, 0], [0, 50], [50, 50]]
    found = truth.copy()
    found[0, 1] += 9.9  # 14 px away, more than a tenth of 100
    found[0, 2, 0] += 9.9
    found[0, 3] = np.nan
    found[0, 7] = 5
    record = agreement(found, truth)
    assert record["photos"] == 1
    assert record["joints"] == 4
    assert record["pck@0.1"] == 0.5
    assert record["found_though_not_known"] == round(1 / 14, 4)
    assert record["pck@0.1_of_torso"] is None  # no hip is known
    known_of_found, found_of_known = record["precision_by_joint"], record["recall_by_joint"]
    assert [known_of_found[joint] for joint in ("nose", "left_wrist", "left_hip")] == [1, 0, None]
    assert [found_of_known[joint] for joint in ("nose", "right_elbow", "left_wrist")] == [1, 0, None]
    by_joint = record["pck@0.1_by_joint"]
    assert [by_joint[joint] for joint in ("nose", "neck", "right_shoulder", "right_elbow")] == [1, 0, 1, 0]
    assert by_joint["left_hip"] is None
    nothing = np.full((1, K, 2), np.nan, np.float32)
    record = agreement(nothing, nothing)
    assert (record["joints"], record["pck@0.1"], record["found_though_not_known"]) == (0, None, None)
