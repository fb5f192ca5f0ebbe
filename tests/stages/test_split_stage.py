"""split on the parts of a data set, and on PATN's own lists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fabricated import write_images, write_lists, write_poses
from repose.data.records import part_names, read_json, read_table
from repose.data.splits import SplitSettings
from repose.errors import ReposeError
from repose.stages import split as stage
from repose.stages.keypoints import KeypointsSettings
from repose.stages.keypoints import run as run_keypoints
from repose.validation.gallery import PictureSettings
from splitting import LISTS, PATN, PG2, VIEWS, garment, name, needs_lists, owners_path, split


def run_stage(folder: Path, lists: Path, images: Path, settings: SplitSettings) -> None:
    stage.run(
        lists=lists, images=images, keypoints=folder / "keypoints", split=folder / "split", report=folder / "report",
        settings=settings,
    )  # fmt: skip


@needs_lists
def test_patns_test_set_and_pairs_come_out_of_its_own_files(tmp_path):
    names = (LISTS / "test.lst").read_text().split()
    training = garment(90_000_001) + garment(90_000_002)  # the photos of train.lst have no published keypoints here
    annotation = (LISTS / "fasion-annotation-test.csv").read_text()
    pose = annotation.splitlines()[2].split(": ", 1)[1]  # that of a posed photo
    own = "".join(f"{name(number, view)}: {pose}\n" for number in (90_000_001, 90_000_002) for view in VIEWS[:3])
    files = {"annotation.csv": annotation + own, "test.lst": (LISTS / "test.lst").read_text()}
    files["pairs.csv"] = (LISTS / "fashion-pairs-test.csv").read_text()
    source = write_lists(tmp_path / "lists", {path: text.encode() for path, text in files.items()})
    images = write_images(tmp_path / "images", [owners_path(other) for other in names] + training, parts=3)
    settings = KeypointsSettings(
        "posegan-csv", ("annotation.csv",), (1.0, 1.0), (0.0, 0.0), 0.0, 0.0, 0.0, pictures=PictureSettings(0, 0)
    )
    for part in part_names(images):
        run_keypoints(
            lists=source, images=images / part, keypoints=tmp_path / "keypoints" / part,
            report=tmp_path / "poses" / part, work=tmp_path / "work", settings=settings,
        )  # fmt: skip
    published = pd.read_csv(LISTS / "fashion-pairs-test.csv")
    for own_file in ({"test_list": "test.lst"}, {"pairs": "pairs.csv"}):  # drawn as PATN did, and the published rows
        run_stage(tmp_path, source, images, replace(PATN, **own_file))
        found = pd.read_csv(tmp_path / "split" / "test-pairs.csv")[["from", "to"]]
        assert len(found) == 8_570
        pd.testing.assert_frame_equal(found, published)
        assert read_json(tmp_path / "split" / "split.json")["mode"] == "patn"


@pytest.mark.parametrize("mode", ["pg2", "patn"])
def test_the_parts_change_no_byte_of_the_split(tmp_path, mode):
    paths = [path for number in range(9) for path in garment(number, VIEWS[: 2 + number % 3])]
    names = [name(number, view) for number in range(9) for view in VIEWS[: 2 + number % 3]]
    order = [names[row] for row in np.random.default_rng(0).permutation(len(names))][3:]  # three have no row
    settings = replace(PG2 if mode == "pg2" else PATN, test_list="l", test_pairs=20)
    files = {"l": "\n".join(name(number) for number in (2, 5, 7))}
    expected = split(tmp_path / "chosen", paths, settings, files=files, order=order, no_pose=[names[4]])
    lists, written = tmp_path / "chosen" / "lists", []
    for parts in (1, 2, len(paths)):
        folder = tmp_path / str(parts)
        images = write_images(folder / "images", paths, parts=parts)
        write_poses(folder / "keypoints", names, none=[names[4]], order=order, parts=parts)
        run_stage(folder, lists, images, settings)
        written.append({file.name: file.read_bytes() for file in (folder / "split").iterdir()})
    assert all(files == written[0] for files in written)
    assert set(written[0]) == {"items.csv", "train-pairs.csv", "test-pairs.csv", "split.json"}
    assert read_json(folder / "split" / "split.json") == expected.record
    test = read_table(folder / "split" / "test-pairs.csv", ["from", "to", "occlusion"])
    assert [*zip(test["from"], test["to"], strict=True)] == expected.test


def test_keypoints_of_other_photos_and_too_few_pairs_fail_and_an_earlier_split_stays(tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "split.json").write_text("earlier")
    lists = write_lists(tmp_path / "lists", {"l": name(2).encode()})
    images = write_images(tmp_path / "images", garment(1) + garment(2, VIEWS[:2]))
    poses = write_poses(tmp_path / "keypoints", [name(2)])
    settings = replace(PG2, test_list="l", min_train_pairs=6, min_test_pairs=3)
    message = rf"The keypoints in {poses} are not of the photos in {images}\. Run the keypoints stage again"
    with pytest.raises(ReposeError, match=message):
        run_stage(tmp_path, lists, images, settings)
    write_poses(poses, [name(1, view) for view in VIEWS[:3]] + [name(2, view) for view in VIEWS[:2]])
    with pytest.raises(ReposeError, match=r"(?s)The split failed 1 of 9 checks.*test pairs.*at least 3 pairs"):
        run_stage(tmp_path, lists, images, settings)
    assert [entry.read_text() for entry in (tmp_path / "split").iterdir()] == ["earlier"]
    checks = read_json(tmp_path / "report" / "validation.json")["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == ["test pairs"]
