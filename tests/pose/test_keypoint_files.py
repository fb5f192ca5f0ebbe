import json
from pathlib import Path

import numpy as np
import pytest

from repose.data.skeleton import JOINT, K, present
from repose.errors import ReposeError
from repose.pose.keypoint_files import (
    BODY_25,
    HEADER,
    main_person,
    match,
    outside,
    photo_of_json,
    read_openpose_json,
    read_posegan_csv,
)

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
Y, X = list(range(10, 28)), list(range(110, 128))


def row(name: str = "a.jpg", y: list[int] = Y, x: list[int] = X) -> str:
    return f"{name}: {y}: {x}"


def csv(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def refused(content: bytes, message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        read_posegan_csv(content, "poses.csv")


def test_y_comes_first_in_the_file_and_x_in_the_table() -> None:
    poses = read_posegan_csv(csv(row()), "poses.csv")
    assert poses.names == ["a.jpg"]
    np.testing.assert_array_equal(poses.keypoints[0], np.stack([X, Y], -1))
    np.testing.assert_array_equal(poses.confidence, np.ones((1, K)))
    assert poses.keypoints.dtype == poses.confidence.dtype == np.float32


def test_minus_one_twice_is_missing() -> None:
    poses = read_posegan_csv(csv(row(y=[-1, *Y[1:]], x=[-1, *X[1:]])), "poses.csv")
    assert not present(poses.keypoints)[0, 0]
    assert present(poses.keypoints)[0, 1:].all()
    np.testing.assert_array_equal(poses.confidence[0], [0] + [1] * 17)


def test_a_negative_coordinate_is_kept_for_the_offset() -> None:
    poses = read_posegan_csv(csv(row(x=[-12, *X[1:]])), "poses.csv")
    assert poses.keypoints[0, 0].tolist() == [-12, 10]


@pytest.mark.parametrize(
    "content",
    [
        f"name:keypoints_x:keypoints_y\na.jpg: {X}: {Y}\n".encode(),
        f"\ufeffname;keypoints_y;keypoints_x\r\na.jpg;{Y};{X}\r\n".encode(),
        f'name,keypoints_y,keypoints_x\na.jpg,"{Y}","{X}"\n'.encode(),
    ],
)
def test_columns_are_told_by_their_names_whatever_separates_them(content: bytes) -> None:
    poses = read_posegan_csv(content, "poses.csv")
    assert poses.names == ["a.jpg"]
    np.testing.assert_array_equal(poses.keypoints[0], np.stack([X, Y], -1))


def test_a_header_alone_holds_no_pose() -> None:
    poses = read_posegan_csv(csv(), "poses.csv")
    assert poses.names == []
    assert poses.keypoints.shape == (0, K, 2)


def test_seventeen_joints_are_refused() -> None:
    refused(csv(row(), row("b.jpg", Y[:17], X[:17])), r"poses.csv, line 3: b.jpg has 17 values of y and 17 of x.*neck")
    refused(csv(row("b.jpg", Y, X[:17])), r"18 values of y and 17 of x")


def test_a_file_without_header_is_refused() -> None:
    refused(row().encode(), f"has no column 'name'. Its header should be '{HEADER}'")


@pytest.mark.parametrize(
    "line",
    [
        row(y=[10.5, *Y[1:]]),
        row(y=["ten", *Y[1:]]),
        row().replace(", ", " "),
        row().replace(": [", ", ["),
        row(y=Y, x=[]),
        row()[:-1],
        row(y=[10**9, *Y[1:]]),
        "a.jpg",
    ],
)
def test_a_row_that_is_not_two_lists_of_whole_numbers_is_refused(line: str) -> None:
    refused(csv(row("first.jpg"), line), "poses.csv, line 3: expected 'NAME")


def test_a_joint_with_x_or_y_alone_is_refused() -> None:
    message = "a.jpg has only one of x and y of the neck"
    refused(csv(row(y=[10, -1, *Y[2:]])), message)
    refused(csv(row(x=[10, -1, *X[2:]])), message)


def test_patns_file() -> None:
    path = SHARED / "lists" / "fasion-annotation-test.csv"
    if not path.exists():
        pytest.skip(f"no real file: {path} is absent")
    poses = read_posegan_csv(path.read_bytes(), path.name)
    known = present(poses.keypoints)
    assert len(poses.names) == 4_038
    assert int((~known.any(1)).sum()) == 619
    # facts/datasets.md section 3: missing among the posed
    missing = 1 - known[known.any(1)].mean(0)
    expected = {"nose": 0.10, "left_knee": 0.60, "right_knee": 0.60, "left_ankle": 0.72, "right_ankle": 0.72}
    for joint, share in expected.items():
        assert missing[JOINT[joint]] == pytest.approx(share, abs=0.02), joint
    assert not outside(poses.keypoints, np.full(4_038, 256), np.full(4_038, 256)).any()


def test_the_eyes_and_ears_of_patns_file_are_in_the_true_order() -> None:
    path = SHARED / "lists" / "fasion-annotation-test.csv"
    if not path.exists():
        pytest.skip(f"no real file: {path} is absent")
    poses = read_posegan_csv(path.read_bytes(), path.name)
    front = np.array(["_1front" in name for name in poses.names])
    for part in ("eye", "ear"):  # who faces the camera has the right one on the left of the picture
        right, left = (poses.keypoints[front, JOINT[f"{side}_{part}"], 0] for side in ("right", "left"))
        known = ~np.isnan(right + left)
        assert known.sum() > 300
        assert (right < left)[known].mean() > 0.99, part


def person(joints: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).uniform(1, 99, (joints, 3)).round(2).ravel().tolist()


def openpose(*people: list[float], key: str = "pose_keypoints_2d") -> bytes:
    return json.dumps({"version": 1.3, "people": [{key: p, "pose_keypoints_3d": []} for p in people]}).encode()


@pytest.mark.parametrize("key", ["pose_keypoints_2d", "pose_keypoints"])  # the second before OpenPose 1.2
def test_eighteen_joints_of_openpose_are_taken_as_they_are(key: str) -> None:
    np.testing.assert_allclose(
        read_openpose_json(openpose(person(18), key=key), "a.json").ravel(), person(18), rtol=1e-6
    )


def test_of_body_25_the_middle_of_the_hips_and_the_feet_are_left_out() -> None:
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
    assert len(BODY_25) == K


def test_a_file_without_people_is_fine() -> None:
    assert read_openpose_json(openpose(), "a.json").shape == (0, K, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xd8",
        b"[]",
        b"7",
        b"{}",
        b"[" * 100_000,
        b'{"people": {"a": 1}}',
        b'{"people": {}}',
        b'{"people": 3}',
        b'{"people": [{}]}',
        b'{"people": [[1, 2]]}',
        b'{"people": [{"pose_keypoints_2d": null}]}',
        b'{"people": [{"pose_keypoints_2d": ["x", 1]}]}',
        b'{"people": [{"pose_keypoints_2d": [[1, 2], 3]}]}',
        b'{"people": [{"pose_keypoints_2d": "1, 2, 3"}]}',
        b'[{"image_id": "a.jpg", "keypoints": [1, 2, 3]}]',  # AlphaPose
        openpose(person(18), key="pose_keypoints_3d"),
        openpose(person(17)),
        openpose(person(18), person(17)),
        openpose([float("nan"), *person(18)[1:]]),
    ],
)
def test_a_json_that_is_not_openposes_is_refused(content: bytes) -> None:
    with pytest.raises(ReposeError, match=r"a\.json is not a JSON of OpenPose"):
        read_openpose_json(content, "a.json")


def figure(x: float, y: float, height: float) -> np.ndarray:
    """A pose as a (K, 3) box around x, y, a third as wide as high."""
    joints = np.random.default_rng(0).uniform(-0.5, 0.5, (K, 2)) * (height / 3, height) + (x, y)
    return np.concatenate([joints, np.full((K, 1), 0.8)], 1).astype(np.float32)


def test_the_photo_is_of_the_large_person_near_the_middle() -> None:
    middle, large_aside, small = figure(64, 64, 100), figure(20, 64, 110), figure(64, 64, 30)
    assert main_person(np.stack([small, large_aside, middle]), 128, 128) == 2
    assert main_person(np.stack([small, large_aside]), 128, 128) == 1
    assert main_person(np.stack([middle, large_aside, small]), 128, 128) == 0


def test_missing_joints_do_not_make_a_person_large() -> None:
    small = figure(64, 64, 30)
    gaps = small.copy()
    gaps[::2] = 0  # in the corner of the image, were they joints
    assert main_person(np.stack([gaps, figure(64, 64, 60)]), 128, 128) == 1
    assert main_person(np.stack([np.zeros((K, 3), np.float32), small]), 128, 128) == 1


def test_the_photo_that_a_json_is_about() -> None:
    assert photo_of_json("openpose/a_1front_keypoints.json") == "openpose/a_1front.jpg"
    assert photo_of_json("1488_c5s3_071862_01.jpg_keypoints.json") == "1488_c5s3_071862_01.jpg.jpg"


NAMES = ["fashionMENTees_Tanksid0000000101_1front.jpg", "fashionMENTees_Tanksid0000000101_2side.jpg", "x.jpg"]


def test_poses_find_their_photos_in_either_spelling() -> None:
    rows = csv(row("fasionMENTeesTanksid0000000101_2side.jpg"), row("stranger.jpg"), row(NAMES[0], y=Y[::-1]))
    matched = match(read_posegan_csv(rows, "poses.csv"), NAMES)
    assert matched.order == [NAMES[1], NAMES[0]]
    assert matched.rows.tolist() == [0, 2]
    assert matched.others == ["stranger.jpg"]
    assert present(matched.keypoints).all(1).tolist() == [True, True, False]
    np.testing.assert_array_equal(matched.keypoints[0], np.stack([X, Y[::-1]], -1))
    np.testing.assert_array_equal(matched.keypoints[1], np.stack([X, Y], -1))
    np.testing.assert_array_equal(matched.confidence[2], np.zeros(K))


def test_a_repeated_row_is_counted_if_it_says_the_same_and_refused_if_not() -> None:
    gaps = row("x.jpg", y=[-1, *Y[1:]], x=[-1, *X[1:]])
    matched = match(read_posegan_csv(csv(gaps, row(NAMES[0]), gaps, gaps), "poses.csv"), NAMES)
    assert matched.repeated == 2
    assert matched.order == ["x.jpg", NAMES[0]]
    for other in (row("x.jpg"), row("x.jpg", y=[-1, 99, *Y[2:]], x=[-1, *X[1:]])):
        with pytest.raises(ReposeError, match=r"1 row\(s\) give another pose.*x\.jpg"):
            match(read_posegan_csv(csv(gaps, other), "poses.csv"), NAMES)


def test_no_row_at_all_is_fine_for_match() -> None:
    matched = match(read_posegan_csv(csv(), "poses.csv"), NAMES)
    assert not present(matched.keypoints).any()
    assert matched.order == []


def test_a_joint_may_lie_one_pixel_beyond_its_own_photo() -> None:
    keypoints = np.full((2, K, 2), np.nan, np.float32)
    keypoints[0, :4] = [(-1, 5), (64, 128), (64.5, 5), (5, -1.5)]
    keypoints[1, 0] = (64.5, 5)
    beyond = outside(keypoints, np.array([128, 128]), np.array([64, 128]))
    assert np.argwhere(beyond).tolist() == [[0, 2], [0, 3]]
