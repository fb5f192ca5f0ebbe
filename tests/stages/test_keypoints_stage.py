import base64
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fabricated import write_images, write_lists
from mannequins.figure import weights_sha256
from mannequins.renderer import MannequinSettings, render_item
from repose.data.images import decode, encode_png
from repose.data.records import IMAGES, ORDER, read_json, read_keypoints, read_parts_keypoints, read_table, write_table
from repose.data.shards import ShardWriter
from repose.data.skeleton import JOINT, K, present
from repose.errors import ReposeError
from repose.pose import blazepose
from repose.pose.agreement import agreement
from repose.pose.extractors import NetworkSettings
from repose.stages import keypoints as stage
from repose.stages.keypoints import KeypointsSettings
from repose.storage.weight_files import cached
from repose.validation.gallery import PictureSettings
from tiny import Data, files_in
from tiny import settings as tiny_settings

PATHS = [f"img/WOMEN/Tees_Tanks/id_00000001/01_{view}.jpg" for view in ("1_front", "2_side", "3_back")]
FRONT, SIDE, BACK = (f"fashionWOMENTees_Tanksid0000000101_{view}.jpg" for view in ("1front", "2side", "3back"))
HEADER = "name:keypoints_y:keypoints_x"
NONE = PictureSettings(worst=0, random=0)  # where photos are not there, but for their names
CSV = KeypointsSettings("posegan-csv", ("poses.csv",), (1.0, 1.0), (0.0, 0.0), 0.0, 0.0, 0.0, pictures=NONE)
OPENPOSE = replace(CSV, extractor="openpose-json", files=("openpose/",))


def row(name: str, y: int = 10, x: int = 20) -> str:
    """Joint i at x + i, y + 2i."""
    return f"{name}: {[y + 2 * k for k in range(K)]}: {[x + k for k in range(K)]}"


def run_stage(folder: Path, lists: Path, images: Path, settings: KeypointsSettings, out: str = "keypoints") -> Path:
    """Run the stage on one part; return the folder `out` with the keypoints, beside which is the folder `report`."""
    stage.run(
        lists=lists, images=images, keypoints=folder / out, report=folder / "report", work=folder / "work", settings=settings
    )  # fmt: skip
    return folder / out


def run(
    tmp_path: Path, files: dict[str, bytes], settings: KeypointsSettings, size: tuple[int, int] = (256, 256)
) -> Path:
    images = tmp_path / "images"
    if not images.exists():
        write_images(images, PATHS, size=size)
    return run_stage(tmp_path, write_lists(tmp_path / "lists", files), images / "0", settings)


def csv(*rows: str, header: str = HEADER) -> dict[str, bytes]:
    return {"source/poses.csv": "\n".join([header, *rows, ""]).encode()}


def person(x: float = 20, y: float = 10, confidence: float = 0.5, joints: int = 18) -> list[float]:
    return [value for k in range(joints) for value in (x + k, y + 2 * k, confidence)]


def people(*persons: list[float]) -> bytes:
    return json.dumps({"people": [{"pose_keypoints_2d": values} for values in persons]}).encode()


def test_every_photo_has_a_row_in_the_order_of_images_csv(tmp_path):
    files = csv(row(BACK), row("fasionWOMENTeesTanksid0000000101_1front.jpg", y=30), row("stranger.jpg"), row(BACK))
    out = run(tmp_path, files, CSV)
    names, keypoints, confidence = read_keypoints(out / "keypoints.csv")
    assert names == [FRONT, SIDE, BACK]
    assert present(keypoints).all(1).tolist() == [True, False, True]
    np.testing.assert_array_equal(keypoints[0, :, 1], 30 + 2 * np.arange(K))
    np.testing.assert_array_equal(keypoints[2, :, 0], 20 + np.arange(K))
    np.testing.assert_array_equal(confidence.mean(1), [1, 0, 1])
    order = read_table(out / "order.csv", ORDER)
    assert order.to_dict("list") == {"name": [BACK, FRONT], "row": [0, 1]}
    report = read_json(out / "report.json")
    assert report | {"share_of_posed_with": None} == {
        "extractor": "posegan-csv", "files": 1, "photos": 3, "photos_without_a_row": 1, "posed": 2, "torso": 2,
        "share_of_posed_with": None, "rows_of_other_photos": 1, "other_photos": ["stranger.jpg"], "repeated_rows": 1,
        "joints_outside_their_photo": 0,
    }  # fmt: skip
    assert report["share_of_posed_with"] == dict.fromkeys(JOINT, 1)


def test_parts_know_the_order_of_the_whole_source_and_pass_over_the_others_rows(tmp_path):
    files = csv(row(BACK), row("stranger.jpg"), row(FRONT, x=40), row(SIDE), row(BACK))
    lists, images = write_lists(tmp_path / "lists", files), write_images(tmp_path / "images", PATHS, parts=2)
    for part in ("0", "1"):
        run_stage(tmp_path, lists, images / part, CSV, f"keypoints/{part}")
    names, keypoints, _ = read_parts_keypoints(tmp_path / "keypoints", ("0", "1"))
    assert names == [FRONT, SIDE, BACK]
    assert keypoints[:, 0, 0].tolist() == [40, 20, 20]
    orders = [read_table(tmp_path / "keypoints" / part / "order.csv", ORDER) for part in ("0", "1")]
    assert [dict(zip(order["name"], order["row"], strict=True)) for order in orders] == [{FRONT: 2, SIDE: 3}, {BACK: 0}]
    reports = [read_json(tmp_path / "keypoints" / part / "report.json") for part in ("0", "1")]
    counts = ("photos", "rows_of_other_photos", "repeated_rows")
    assert [[report[count] for count in counts] for report in reports] == [[2, 3, 0], [1, 3, 1]]


def test_known_joints_are_counted_among_the_posed_scaled_and_then_moved(tmp_path):
    no_nose = row(FRONT, x=1).replace("[10,", "[-1,").replace("[1,", "[-1,")
    files = csv(no_nose, row(BACK), f"{SIDE}: {[-1] * K}: {[-1] * K}")
    out = run(tmp_path, files, replace(CSV, scale=(2.0, 3.0), offset=(40.0, 0.5)))
    report = read_json(out / "report.json")
    assert [report["share_of_posed_with"][joint] for joint in ("nose", "neck")] == [0.5, 1]
    assert (report["posed"], report["photos_without_a_row"]) == (2, 0)
    _, keypoints, _ = read_keypoints(out / "keypoints.csv")
    assert np.isnan(keypoints[0, 0]).all()
    np.testing.assert_array_equal(keypoints[0, 1:, 0], 2 * np.arange(2, K + 1) + 40)
    np.testing.assert_array_equal(keypoints[0, 1:, 1], 3 * (10 + 2 * np.arange(1, K)) + 0.5)


def test_joints_outside_their_photo_are_an_error_or_go_missing(tmp_path):
    files = csv(row(FRONT, x=45), row(BACK))  # front: the last joint is at x 62; the photos are 60 wide
    message = rf"2 of 36 joints.*right_ear.*{FRONT} at x 61, y 42; it is 60 pixels wide.*y of `keypoints.scale` .* 2\.4"
    with pytest.raises(ReposeError, match=message):
        run(tmp_path, files, CSV, size=(128, 60))
    assert not (tmp_path / "keypoints").exists()
    (tmp_path / "lists").rename(tmp_path / "lists-before")
    out = run(tmp_path, files, replace(CSV, max_outside=0.1))
    _, keypoints, confidence = read_keypoints(out / "keypoints.csv")
    assert np.flatnonzero(~present(keypoints)[0]).tolist() == [16, 17]
    assert confidence[0, 16] == 0
    assert keypoints[0, 15, 0] == 59  # was 60, one pixel beyond: at the edge
    assert read_json(out / "report.json")["joints_outside_their_photo"] == 2


def test_openpose_files_are_found_by_name_or_path_and_hold_25_or_18_joints(tmp_path):
    files = {
        f"source/openpose/{FRONT.removesuffix('.jpg')}_keypoints.json": people(person(), person()),
        "source/openpose/img/WOMEN/Tees_Tanks/id_00000001/01_2_side_keypoints.json": people(person(joints=25)),
        "source/openpose/stranger_keypoints.json": b"of another part's photo: not opened",
        "source/other/x_keypoints.json": b"not looked at",
    }
    out = run(tmp_path, files, OPENPOSE)
    _, keypoints, confidence = read_keypoints(out / "keypoints.csv")
    assert present(keypoints).all(1).tolist() == [True, True, False]
    np.testing.assert_allclose(keypoints[0, :, 0], 20 + np.arange(K))
    assert keypoints[1, JOINT["right_hip"], 0] == 20 + 9
    np.testing.assert_allclose(confidence[0], 0.5)
    report = read_json(out / "report.json")
    assert (report["files"], report["rows_of_other_photos"]) == (3, 1)
    assert (report["files_with_several_people"], report["people_left_out"]) == (1, 1)


@pytest.mark.parametrize("item", ["openpose/photos/red/", "openpose/photos__red__", "photos/red/"])
def test_openpose_files_of_photos_in_folders_are_found_whatever_the_photos_suffix(tmp_path, item):
    images = write_images(tmp_path / "images", [f"photos/red/{name}" for name in ("1.png", "2.JPG")], "folders") / "0"
    files = {f"{item}{number}_keypoints.json": people(person()) for number in (1, 2, 3)}
    lists = write_lists(tmp_path / "lists", files, "folders")
    folders = {name: tmp_path / name for name in ("keypoints", "report", "work")}
    settings = replace(OPENPOSE, files=(item.partition("/")[0],))
    stage.run(lists=lists, images=images, settings=settings, **folders)
    names, keypoints, _ = read_keypoints(tmp_path / "keypoints/keypoints.csv")
    assert names == ["photos__red__1.png", "photos__red__2.JPG"]
    assert present(keypoints).all()
    write_table(
        images / "images.csv", read_table(images / "images.csv", IMAGES).assign(name=["1.png", "1.JPG"]), IMAGES
    )
    with pytest.raises(ReposeError, match=r"one file for both 1\.png and 1\.JPG\. Rename one"):
        stage.run(lists=lists, images=images, settings=settings, **folders)


def test_joints_of_little_confidence_are_missing_and_of_more_than_one_are_one(tmp_path):
    values = person()
    values[2], values[5], values[8] = 0.19, 1.02, 0.2
    name = FRONT.removesuffix(".jpg")
    out = run(tmp_path, {f"openpose/{name}_keypoints.json": people(values)}, replace(OPENPOSE, min_confidence=0.2))
    _, keypoints, confidence = read_keypoints(out / "keypoints.csv")
    assert np.flatnonzero(~present(keypoints)[0]).tolist() == [0]
    np.testing.assert_allclose(confidence[0, :3], [0, 1, 0.2])


def test_too_few_posed_photos_fail_and_earlier_keypoints_stay(tmp_path):
    files = csv(row(FRONT), row(BACK, x=30, y=30))  # two of the three photos have shoulders and hips
    run(tmp_path, files, replace(CSV, min_posed_share=0.6))
    earlier = files_in(tmp_path / "keypoints")
    (tmp_path / "lists").rename(tmp_path / "lists-before")
    with pytest.raises(ReposeError, match=rf"(?s)The keypoints failed 1 of \d+ checks:.*posed share.*70 %.*{SIDE}"):
        run(tmp_path, files, replace(CSV, min_posed_share=0.7))
    assert files_in(tmp_path / "keypoints") == earlier
    checks = read_json(tmp_path / "report" / "validation.json")["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == ["posed share"]


@pytest.mark.parametrize(("settings", "files", "message"), [
    (CSV, {"other.csv": b""}, r"has no file named poses\.csv"),
    (CSV, csv(row("stranger.jpg")), r"None of the 3 photos.*1 row\(s\) are of other photos, such as stranger\.jpg"),
    (OPENPOSE, {"myopenpose/a_keypoints.json": people(person())}, r"holds no \.json file in openpose/"),
    (OPENPOSE, {f"openpose/{FRONT[:-4]}_keypoints.json": people([0.5, 0.25, 0.9] * 18)},
     "Run OpenPose with --keypoint_scale 0"),
])  # fmt: skip
def test_bad_files_are_rejected_and_earlier_keypoints_stay(tmp_path, settings, files, message):
    earlier = tmp_path / "keypoints" / "keypoints.csv"
    earlier.parent.mkdir()
    earlier.write_text("earlier")
    with pytest.raises(ReposeError, match=message):
        run(tmp_path, files, settings)
    assert earlier.read_text() == "earlier"


SOME = PictureSettings(worst=2, random=3)
FIGURE = replace(CSV, extractor="figure", files=("keypoints.csv",), min_posed_share=0.5, pictures=SOME)


@pytest.fixture(scope="module")
def by_figure(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders keypoints and report of one part of the tiny data set, its joints found by the figure network."""
    folder = tmp_path_factory.mktemp("figure")
    run_stage(folder, data.images.parent / "raw" / "lists", data.images / "0", FIGURE)
    return folder


def test_figure_finds_the_joints_and_says_how_far_they_are_the_truth(data, by_figure):
    names, found, confidence = read_keypoints(by_figure / "keypoints" / "keypoints.csv")
    listed, truth, _ = read_keypoints(data.keypoints / "0" / "keypoints.csv")
    assert names == listed
    assert not np.array_equal(found, truth)
    assert ((confidence > 0) == present(found)).all()
    assert len(np.unique(confidence)) > K  # not those of a file, which are 1
    report = read_json(by_figure / "keypoints" / "report.json")
    assert report["found_by"] == {"extractor": "figure", "network": weights_sha256(), "min_confidence": 0}
    assert report["photos_without_a_person"] == 0
    compared = report["compared"]
    assert compared["files"] == ["keypoints.csv"]
    assert compared["joints"] == present(truth).sum()
    assert compared["pck@0.1"] >= 0.9
    assert compared["pck@0.1"] == agreement(found, truth)["pck@0.1"]
    assert read_table(by_figure / "keypoints" / "order.csv", ORDER).empty
    page = (by_figure / "report" / "validation.html").read_text()
    assert f"PCK@0.1 is {compared['pck@0.1']}" in page
    assert re.findall("<h2>(.*?)</h2>", page)[1:3] == [
        f"{which}: left what was found, right what is known" for which in ("The worst", "At random")
    ]
    shown = [base64.b64decode(picture) for picture in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)]
    assert [decode(picture).shape for picture in shown] == [(256, 512, 3)] * 5  # two photos side by side


def photos_of(folder: Path, pixels: Sequence[np.ndarray]) -> Path:
    """A part that holds these photos, named as PATHS."""
    images = write_images(folder, PATHS[: len(pixels)], size=(128, 88)) / "0"
    table = read_table(images / "images.csv", IMAGES)
    with ShardWriter(images) as shards:
        places = [shards.add(name, encode_png(image)) for name, image in zip(table["name"], pixels, strict=True)]
    where = pd.DataFrame(places, columns=["shard", "offset", "size"])
    sizes = pd.DataFrame([image.shape[:2] for image in pixels], columns=["height", "width"])
    write_table(images / "images.csv", table.assign(**where, **sizes), IMAGES)
    return images


def searched(tmp_path: Path, images: Path, settings: KeypointsSettings, out: str = "out") -> Path:
    """The keypoints of photos without keypoint files."""
    lists = tmp_path / "lists"
    if not lists.exists():
        write_lists(lists, {"nothing.txt": b""})
    return run_stage(tmp_path, lists, images, settings, out)


@pytest.mark.usefixtures("one_thread")
def test_figure_lists_photos_without_a_person_and_takes_photos_of_several_sizes(tmp_path):
    person = render_item(MannequinSettings("street", items=2, seed=7, quality=90), 0)[0].pixels
    images = photos_of(tmp_path / "images", [person, np.full((96, 96, 3), 128, np.uint8), person])
    out = searched(tmp_path, images, replace(FIGURE, files=(), min_posed_share=0, min_confidence=0.5))
    assert present(read_keypoints(out / "keypoints.csv")[1]).any(1).tolist() == [True, False, True]
    counts = read_json(out / "report.json")
    assert counts["photos_without_a_person"] == 1
    assert "compared" not in counts
    assert pd.read_csv(tmp_path / "report" / stage.NOBODY)["name"].tolist() == [SIDE]
    assert SIDE in (tmp_path / "report" / "validation.html").read_text()


BLAZEPOSE = replace(CSV, extractor="blazepose", files=(), min_confidence=0.3)


class FindsPeople:
    """In place of BlazePose: in a photo as many people as its first pixel says, each larger than the one before."""

    def __init__(self) -> None:
        self.sha256, self.runtime = {"blazepose": "e" * 64}, "made up"

    def people(self, images: torch.Tensor) -> list[np.ndarray]:
        one = np.reshape(person(20, 10, 0.9), (K, 3))
        found = ([one * (rank, rank, 1) for rank in range(1, count + 1)] for count in images[:, 0, 0, 0].tolist())
        return [np.array(persons, np.float32).reshape(-1, K, 3) for persons in found]


@pytest.fixture
def finds_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blazepose, "load", lambda *_, **__: FindsPeople())


@pytest.fixture
def crowds(tmp_path: Path, finds_people: None) -> Path:
    """A part of photos of one person, of nobody, and of three."""
    return photos_of(tmp_path / "images", [np.full((256, 256, 3), count, np.uint8) for count in (1, 0, 3)])


def test_blazepose_takes_the_person_that_the_photo_is_of_and_lists_photos_of_nobody(tmp_path, crowds):
    out = searched(tmp_path, crowds, BLAZEPOSE)
    names, found, confidence = read_keypoints(out / "keypoints.csv")
    assert present(found).all(1).tolist() == [True, False, True]
    np.testing.assert_array_equal(found[2, :, 0], 3 * (20 + np.arange(K)))
    np.testing.assert_allclose(confidence[2], 0.9, atol=1e-4)
    assert read_json(out / "report.json").items() >= {
        "extractor": "blazepose", "photos_without_a_person": 1,
        "photos_with_several_people": 1, "people_left_out": 2, "posed": 2,
    }.items()  # fmt: skip
    assert read_table(out / "order.csv", ORDER).empty
    assert read_table(tmp_path / "report" / "no-person.csv", ["name"])["name"].tolist() == [names[1]]


@pytest.mark.usefixtures("one_thread")
def test_blazepose_finds_rendered_people_and_says_what_ran_it(tmp_path):
    if not cached("blazepose").is_file():
        pytest.skip("BlazePose's weights are not in the cache: run `repose weights fetch blazepose`")
    photos = [photo.pixels for photo in render_item(MannequinSettings("fashion", items=2, seed=7, quality=90), 0)]
    images = photos_of(tmp_path / "images", [photos[0], np.full_like(photos[0], 128), photos[1]])
    settings = replace(BLAZEPOSE, min_posed_share=0)
    one, two = (
        searched(tmp_path, images, replace(settings, network=NetworkSettings(threads=threads)), str(threads))
        for threads in (1, 2)
    )
    assert (one / "keypoints.csv").read_bytes() == (two / "keypoints.csv").read_bytes()
    assert present(read_keypoints(two / "keypoints.csv")[1]).any(1).tolist() == [True, False, True]
    counts = read_json(two / "report.json")
    assert counts["photos_without_a_person"] == 1
    assert counts["found_by"]["network"].startswith("49081d13")
    assert counts["found_by"]["runtime"].startswith("ai-edge-litert ")


def test_what_a_network_found_is_kept_until_the_stage_has_succeeded(tmp_path, crowds, capsys):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("somebody's")
    with pytest.raises(ReposeError, match="posed share"):
        searched(tmp_path, crowds, replace(BLAZEPOSE, min_posed_share=1))
    assert not (tmp_path / "out").exists()
    searched(tmp_path, crowds, BLAZEPOSE)
    assert "resuming after 3 of 3 photos" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("finds_people")
def test_a_network_that_finds_nobody_at_all(tmp_path):
    images = photos_of(tmp_path / "images", [np.zeros((128, 88, 3), np.uint8)])
    with pytest.raises(ReposeError, match=r"None of the 1 photos has a joint\. .*figure is for mannequins"):
        searched(tmp_path, images, BLAZEPOSE)


@pytest.mark.parametrize(("change", "message"), [
    ({"files": []}, "files is empty"),
    ({"extractor": "figure", "offset": [40, 0]}, "scale and offset are for keypoint files"),
])  # fmt: skip
def test_wrong_settings_are_rejected(change, message):
    with pytest.raises(ReposeError, match=message):
        tiny_settings("keypoints", KeypointsSettings, **change)
