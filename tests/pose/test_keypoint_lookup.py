import json
from pathlib import Path

import numpy as np
import pytest

from repose.data.records import write_keypoints
from repose.data.skeleton import JOINT, K, present
from repose.errors import PoseNotFoundError, ReposeError
from repose.pose.keypoint_lookup import KnownPoses, checked, read_pose

HEADER = "name:keypoints_y:keypoints_x"
FLAT = "fashionWOMENTees_Tanksid0000000101_1front.jpg"
IN_DEEPFASHION = "img/WOMEN/Tees_Tanks/id_00000001/01_1_front"


def row(name: str, x: int = 20) -> str:
    """Joint i at x + i, 10 + 2i."""
    return f"{name}: {[10 + 2 * k for k in range(K)]}: {[x + k for k in range(K)]}"


def csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


def person(x: float = 20, joints: int = K) -> list[float]:
    return [value for k in range(joints) for value in (x + k, 10 + 2 * k, 0.5)]


def people(path: Path, *persons: list[float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": values} for values in persons]}))
    return path


def first_x(poses: KnownPoses, photo: str | Path) -> float | None:
    found = poses.find(Path(photo), 100, 80)
    return None if found is None else float(found[0, 0])


def test_a_photo_is_found_in_a_posegan_csv_by_its_name(tmp_path):
    poses = KnownPoses([csv(tmp_path / "poses.csv", row("front.jpg"), row("side.png", 30))])
    assert [first_x(poses, name) for name in ("some/folder/side.png", "side.jpg")] == [30, None]
    found = poses.find(Path("front.jpg"), 100, 80)
    np.testing.assert_array_equal(found, np.stack([20 + np.arange(K), 10 + 2 * np.arange(K)], -1))


@pytest.mark.parametrize("photo", [FLAT, "fasionWOMENTeesTanksid0000000101_1front.jpg", f"x/{IN_DEEPFASHION}.jpg"])
def test_a_photo_of_deepfashion_is_found_in_the_project_table_in_any_spelling(tmp_path, photo):
    keypoints = np.stack([np.arange(40, 40 + 2 * K).reshape(K, 2), np.full((K, 2), np.nan)]).astype(np.float32)
    write_keypoints(tmp_path / "keypoints.csv", [FLAT, "other.jpg"], keypoints, np.ones((2, K), np.float32))
    poses = KnownPoses([tmp_path / "keypoints.csv"])
    assert first_x(poses, photo) == 40
    with pytest.raises(ReposeError, match=r"^other\.jpg: 0 of 18 joints are known"):
        poses.find(Path("other.jpg"), 100, 80)


def test_a_photo_is_found_in_a_folder_of_openpose_whatever_its_suffix(tmp_path):
    people(tmp_path / "json/front_keypoints.json", person())
    people(tmp_path / f"json/{IN_DEEPFASHION}_keypoints.json", person(30, joints=25))
    alone = people(tmp_path / "front_keypoints.JSON", person())
    poses, one = KnownPoses([tmp_path / "json"]), KnownPoses([alone])
    photos = ("a/front.png", "front.WEBP", FLAT, f"elsewhere/{IN_DEEPFASHION}.jpg", "back.jpg")
    assert [first_x(poses, photo) for photo in photos] == [20, 20, 30, 30, None]
    assert [first_x(one, photo) for photo in photos] == [20, 20, None, None, None]


def test_photos_of_the_same_name_are_told_apart_by_their_folders(tmp_path, monkeypatch):
    people(tmp_path / "json/red/front_keypoints.json", person(10))
    people(tmp_path / "json/blue/front_keypoints.json", person(30))
    poses = KnownPoses([tmp_path / "json", csv(tmp_path / "p.csv", row("green/front.jpg", 40), row("front.jpg", 50))])
    assert [first_x(poses, f"{colour}/front.jpg") for colour in ("red", "blue", "green", "grey")] == [10, 30, 40, 50]
    (tmp_path / "blue").mkdir()
    monkeypatch.chdir(tmp_path / "blue")
    assert first_x(poses, "front.jpg") == 30
    assert first_x(poses, "../red/../green/front.jpg") == 40
    (tmp_path / "json/red/deep").mkdir()
    monkeypatch.chdir(tmp_path / "json/red/deep")
    assert first_x(poses, "../front.jpg") == 10


@pytest.mark.parametrize("name", ["{}/women/red/1.png", "women__red__1.png"])
def test_a_photo_is_found_by_its_whole_path_and_by_its_name_in_the_tables(tmp_path, name):
    poses = KnownPoses([csv(tmp_path / "p.csv", row(name.format(tmp_path)), row("1.png", 50))])
    assert [first_x(poses, tmp_path / f"women/{item}/1.png") for item in ("red", "blue")] == [20, 50]


def test_two_photos_do_not_share_a_pose_unless_they_are_equal(tmp_path):
    poses = KnownPoses([people(tmp_path / "json/red/front_keypoints.json", person()).parents[1]])
    for name in ("red/front.jpg", "shop/red/front.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"one")
        assert first_x(poses, tmp_path / name) == 20
    (tmp_path / name).write_bytes(b"two")
    with pytest.raises(ReposeError, match=r"json has one pose for the name red/front\.jpg, but .* are different"):
        poses.find(tmp_path / name, 100, 80)


def test_the_first_file_that_knows_a_photo_counts(tmp_path):
    files = [csv(tmp_path / "a.csv", row("a.jpg", 10)), csv(tmp_path / "b.csv", row("a.jpg", 30), row("b.jpg", 40))]
    assert [first_x(KnownPoses(some), "a.jpg") for some in (files, files[::-1], [])] == [10, 30, None]
    assert first_x(KnownPoses(files), "b.jpg") == 40


def test_of_several_people_the_main_one_counts_and_unsure_joints_are_missing(tmp_path):
    large = [value for k in range(K) for value in (30 + k, 10 + 4 * k, 0.9)]
    large[2] = 0.04
    found = read_pose(people(tmp_path / "pose.json", person(1), large), None, 100, 80)
    assert np.flatnonzero(~present(found)).tolist() == [0]
    assert found[1].tolist() == [31, 14]


def test_a_pose_is_the_one_row_of_a_csv_or_the_one_that_is_named(tmp_path):
    one, two = csv(tmp_path / "one.csv", row("a.jpg")), csv(tmp_path / "two.csv", row(FLAT), row("b.jpg", 30))
    asked = ((one, None), (two, "b.jpg"), (two, "fasionWOMENTeesTanksid0000000101_1front.jpg"))
    assert [read_pose(file, name, 100, 80)[0, 0] for file, name in asked] == [20, 30, 20]
    with pytest.raises(ReposeError, match=r"two\.csv has 2 poses\. Choose one as .*two\.csv#NAME"):
        read_pose(two, None, 100, 80)
    with pytest.raises(ReposeError, match=r"two\.csv has 2 poses, none of them for 'c\.jpg'"):
        read_pose(two, "c.jpg", 100, 80)


def test_two_poses_of_one_name_are_refused_and_a_repetition_is_not(tmp_path):
    assert first_x(KnownPoses([csv(tmp_path / "a.csv", row("a.jpg"), row("a.jpg"))]), "a.jpg") == 20
    with pytest.raises(ReposeError, match=r"b\.csv gives two poses for a\.jpg"):
        KnownPoses([csv(tmp_path / "b.csv", row("a.jpg"), row("a.jpg", 30))])


def test_a_joint_outside_its_image_is_named_and_one_at_the_edge_is_moved_in(tmp_path):
    file = csv(tmp_path / "p.csv", row("a.jpg"))
    with pytest.raises(ReposeError, match=r"a\.jpg: 2 of 18 joints lie outside.*right_ear at x 36, y 42.*35 px wide"):
        KnownPoses([file]).find(Path("a.jpg"), 100, 35)
    with pytest.raises(ReposeError, match=r"p\.csv#a\.jpg: .*--pose-size HEIGHTxWIDTH"):
        read_pose(file, None, 20, 80)
    assert read_pose(file, None, 100, 37)[17].tolist() == [36, 44]


def test_a_pose_without_joints_or_with_two_limbs_is_refused(tmp_path):
    with pytest.raises(ReposeError, match=r"none\.json: 0 of 18 joints are known"):
        read_pose(people(tmp_path / "none.json"), None, 100, 80)
    keypoints = np.full((K, 2), np.nan, np.float32)
    keypoints[[JOINT["right_shoulder"], JOINT["right_elbow"], JOINT["right_wrist"]]] = 5
    with pytest.raises(PoseNotFoundError, match=r"here: 3 of 18 joints .* 2 whole limb.* 3 are needed\. Choose"):
        checked(keypoints, 100, 80, "here")
    keypoints[JOINT["neck"]] = 8
    checked(keypoints, 100, 80, "here")


def test_shares_of_the_image_are_no_pixels(tmp_path):
    shares = [value for k in range(K) for value in (k / K, k / K, 0.9)]
    with pytest.raises(ReposeError, match=r"pose\.json: all joints lie within one px.*--keypoint_scale 0"):
        read_pose(people(tmp_path / "pose.json", shares), None, 100, 80)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("gone.json", None, r"gone\.json cannot be read: No such file"),
    ("empty", "", r"empty has no \.json file"),
    ("x.txt", "hello", r"x\.txt is not a keypoint file\. Give a CSV of pose-gan"),
    ("x.csv", "hello", r"x\.csv has no column 'name'"),
    ("x.csv", HEADER, r"x\.csv has a header, but no poses\. Give a CSV of pose-gan"),
])  # fmt: skip
def test_files_that_are_missing_or_of_another_kind_are_named(tmp_path, name, content, message):
    if content == "":
        (tmp_path / name).mkdir()
    elif content:
        (tmp_path / name).write_text(content)
    with pytest.raises(ReposeError, match=message):
        KnownPoses([tmp_path / name]).find(Path("x.jpg"), 100, 80)


@pytest.mark.parametrize(("height", "width", "doubted"), [(60, 50, False), (400, 320, True), (60, 320, False)])
def test_joints_of_a_smaller_copy_are_doubted(tmp_path, caplog, height, width, doubted):
    file = csv(tmp_path / "poses.csv", row("front.jpg"))
    read_pose(file, None, height, width)
    KnownPoses([file]).find(Path("front.jpg"), height, width)
    assert caplog.text.count(f"upper left of the image, which is {width} px wide") == 2 * doubted
