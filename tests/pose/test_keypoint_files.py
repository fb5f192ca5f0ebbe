import json

import numpy as np
import pytest

from repose.data.skeleton import JOINT, K, present
from repose.errors import ReposeError
from repose.pose.keypoint_files import choose_person, match, outside, read_openpose_json, read_posegan_csv
from splitting import LISTS, needs_lists

Y, X = list(range(10, 28)), list(range(110, 128))


def row(name: str = "a.jpg", y: list[int] = Y, x: list[int] = X) -> str:
    return f"{name}: {y}: {x}"


def csv(*rows: str, header: str = "name:keypoints_y:keypoints_x") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


@pytest.mark.parametrize("content", [
    csv(row()),
    f"\ufeffname;keypoints_y;keypoints_x\r\na.jpg;{Y};{X}\r\n".encode(),
    f'name,keypoints_x,keypoints_y\na.jpg,"{X}","{Y}"\n'.encode(),
])  # fmt: skip
def test_columns_are_told_by_their_names_whatever_separates_them(content):
    poses = read_posegan_csv(content, "poses.csv")
    assert poses.names == ["a.jpg"]
    np.testing.assert_array_equal(poses.keypoints[0], np.stack([X, Y], -1))
    np.testing.assert_array_equal(poses.confidence, np.ones((1, K)))


def test_minus_one_twice_is_missing_and_other_negative_numbers_are_kept_for_the_offset():
    poses = read_posegan_csv(csv(row(y=[-1, *Y[1:]], x=[-1, -12, *X[2:]])), "poses.csv")
    assert np.flatnonzero(~present(poses.keypoints)[0]).tolist() == [0]
    np.testing.assert_array_equal(poses.confidence[0], [0] + [1] * 17)
    assert poses.keypoints[0, 1].tolist() == [-12, 11]


@pytest.mark.parametrize("line", [
    row(y=[10.5, *Y[1:]]), row().replace(": [", ", ["), row(x=X[:17]), row()[:-1], row(y=[10**9, *Y[1:]]), "a.jpg",
])  # fmt: skip
def test_a_row_that_is_not_two_lists_of_eighteen_whole_numbers_is_rejected(line):
    with pytest.raises(ReposeError, match=r"poses\.csv, line 3: expected 'NAME.*joints lack the neck"):
        read_posegan_csv(csv(row("first.jpg"), line), "poses.csv")


def test_a_joint_with_x_or_y_alone_is_rejected():
    with pytest.raises(ReposeError, match=r"a\.jpg has only one of x and y of the neck"):
        read_posegan_csv(csv(row(y=[10, -1, *Y[2:]])), "poses.csv")


@needs_lists
def test_patns_file():
    path = LISTS / "fasion-annotation-test.csv"
    poses = read_posegan_csv(path.read_bytes(), path.name)
    known = present(poses.keypoints)
    assert (len(poses.names), int((~known.any(1)).sum())) == (4_038, 619)
    # facts/datasets.md section 3: missing among the posed
    missing = 1 - known[known.any(1)].mean(0)
    expected = {"nose": 0.10, "left_knee": 0.60, "right_knee": 0.60, "left_ankle": 0.72, "right_ankle": 0.72}
    assert {joint: missing[JOINT[joint]] for joint in expected} == pytest.approx(expected, abs=0.02)
    assert not outside(poses.keypoints, np.full(4_038, 256), np.full(4_038, 256)).any()
    front = poses.keypoints[["_1front" in name for name in poses.names]]
    for part in ("eye", "ear"):  # who faces the camera has the right one on the left of the picture
        apart = front[:, JOINT[f"left_{part}"], 0] - front[:, JOINT[f"right_{part}"], 0]
        assert (~np.isnan(apart)).sum() > 300
        assert (apart[~np.isnan(apart)] > 0).mean() > 0.99, part


def person(joints: int) -> list[float]:
    return np.random.default_rng(0).uniform(1, 99, (joints, 3)).round(2).ravel().tolist()


def openpose(*people: list[float], key: str = "pose_keypoints_2d") -> bytes:
    return json.dumps({"version": 1.3, "people": [{key: p, "pose_keypoints_3d": []} for p in people]}).encode()


@pytest.mark.parametrize("key", ["pose_keypoints_2d", "pose_keypoints"])  # the second before OpenPose 1.2
def test_eighteen_joints_of_openpose_are_taken_as_they_are(key):
    found = read_openpose_json(openpose(person(18), key=key), "a.json")
    np.testing.assert_allclose(found.ravel(), person(18), rtol=1e-6)
    assert read_openpose_json(openpose(key=key), "a.json").shape == (0, K, 3)


def test_of_body_25_the_middle_of_the_hips_and_the_feet_are_left_out():
    names = [  # OpenPose's own list of BODY_25
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
        "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe",
        "right_small_toe", "right_heel",
    ]  # fmt: skip
    found = read_openpose_json(openpose(person(25)), "a.json")[0]
    values = np.reshape(person(25), (25, 3))
    for joint, index in JOINT.items():
        np.testing.assert_allclose(found[index], values[names.index(joint)], rtol=1e-6, err_msg=joint)


@pytest.mark.parametrize(("content", "reason"), [
    (b"\xff\xd8", "codec"), (b'{"people": {"a": 1}}', "a list named people"), (b'{"people": [[1, 2]]}', "lacks pose_key"),
    (b'{"people": [{"keypoints": [1, 2, 3]}]}', "a person lacks pose_keypoints_2d"),
    (openpose(person(18), person(17)), "flat list of 54 or 75"), (openpose([float("nan"), *person(18)[1:]]), "finite"),
])  # fmt: skip
def test_a_json_that_is_not_openposes_is_rejected(content, reason):
    with pytest.raises(ReposeError, match=rf"a\.json is not a JSON of OpenPose \(.*{reason}"):
        read_openpose_json(content, "a.json")


def standing(x: float, y: float, height: float) -> np.ndarray:
    """A pose as a (K, 3) box around x, y, a third as wide as high."""
    joints = np.random.default_rng(0).uniform(-0.5, 0.5, (K, 2)) * (height / 3, height) + (x, y)
    return np.concatenate([joints, np.full((K, 1), 0.8)], 1).astype(np.float32)


def test_the_photo_shows_the_large_person_near_the_middle():
    middle, large_aside, small = standing(64, 64, 100), standing(20, 64, 110), standing(64, 64, 30)
    gaps = small.copy()
    gaps[::2] = 0  # in the corner of the image, were they joints
    for *others, wanted in ([small, large_aside, middle], [small, large_aside], [gaps, standing(64, 64, 60)]):
        joints, count = choose_person(np.stack([*others, wanted]), (128, 128), 0.1)
        np.testing.assert_array_equal(joints, wanted)
        assert count == 1 + len(others)


def test_joints_and_people_of_little_confidence_do_not_count():
    sure, unsure = standing(64, 64, 50), standing(64, 64, 100)
    unsure[:, 2], sure[3, 2] = 0.09, 0.09
    joints, count = choose_person(np.stack([unsure, sure]), (128, 128), 0.1)
    assert count == 1
    assert np.flatnonzero(joints[:, 2] == 0).tolist() == [3]
    joints, count = choose_person(unsure[None], (128, 128), 0.1)
    assert (joints.shape, joints.any(), count) == ((K, 3), False, 0)


NAMES = ["fashionMENTees_Tanksid0000000101_1front.jpg", "fashionMENTees_Tanksid0000000101_2side.jpg", "x.jpg"]


def test_poses_find_their_photos_in_either_spelling():
    rows = csv(row("fasionMENTeesTanksid0000000101_2side.jpg"), row("stranger.jpg"), row(NAMES[0], y=Y[::-1]))
    matched = match(read_posegan_csv(rows, "poses.csv"), NAMES)
    assert matched.order == [NAMES[1], NAMES[0]]
    assert matched.rows.tolist() == [0, 2]
    assert matched.others == ["stranger.jpg"]
    assert present(matched.keypoints).all(1).tolist() == [True, True, False]
    np.testing.assert_array_equal(matched.keypoints[:2], [np.stack([X, Y[::-1]], -1), np.stack([X, Y], -1)])
    np.testing.assert_array_equal(matched.confidence[2], np.zeros(K))


def test_a_repeated_row_is_counted_if_it_says_the_same_and_rejected_if_not():
    gaps = row("x.jpg", y=[-1, *Y[1:]], x=[-1, *X[1:]])
    matched = match(read_posegan_csv(csv(gaps, row(NAMES[0]), gaps, gaps), "poses.csv"), NAMES)
    assert (matched.repeated, matched.order) == (2, ["x.jpg", NAMES[0]])
    with pytest.raises(ReposeError, match=r"1 row\(s\) give a second, different pose.*x\.jpg"):
        match(read_posegan_csv(csv(gaps, row("x.jpg")), "poses.csv"), NAMES)


def test_a_joint_may_lie_one_pixel_beyond_its_own_photo():
    keypoints = np.full((2, K, 2), np.nan, np.float32)
    keypoints[0, :4] = [(-1, 5), (64, 128), (64.5, 5), (5, -1.5)]
    keypoints[1, 0] = (64.5, 5)
    beyond = outside(keypoints, np.array([128, 128]), np.array([64, 128]))
    assert np.argwhere(beyond).tolist() == [[0, 2], [0, 3]]
