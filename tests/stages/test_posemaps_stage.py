from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repose.data import images
from repose.data.frame import Frame
from repose.data.photos import Posemaps, read_posemaps
from repose.data.posemaps import MAPS_AT_ONCE, colour, draw
from repose.data.records import IMAGES, read_json, read_keypoints, write_keypoints, write_table
from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.stages import posemaps
from repose.stages.posemaps import PosemapsSettings
from tiny import files_in, settings

SETTINGS = PosemapsSettings(height=64, width=32, crop=None, line_width=2.0, shard_megabytes=1)


def write_inputs(root: Path, keypoints: np.ndarray, height=256, width=200) -> tuple[list[str], dict[str, Path]]:
    names = [f"{number:04d}_c1s1_000001_01.jpg" for number in range(len(keypoints))]
    photos = pd.DataFrame(dict.fromkeys(IMAGES, ""), index=range(len(names)))
    photos = photos.assign(name=names, height=height, width=width, offset=0, size=0)
    write_table(root / "images" / "images.csv", photos, IMAGES)
    write_keypoints(root / "keypoints" / "keypoints.csv", names, keypoints, np.ones(keypoints.shape[:2]))
    return names, {name: root / name for name in ("images", "keypoints", "posemaps")}


def random_keypoints(count):
    generator = np.random.default_rng(count)
    keypoints = generator.uniform(0, 1, (count, K, 2)) * [199, 255]
    keypoints[generator.random((count, K)) < 0.2] = np.nan
    return keypoints


def maps_in(folder: Path) -> Posemaps:
    """The maps of a part, as the only one."""
    return read_posemaps(folder.parent, [folder.name])


def test_every_photo_with_a_pose_gets_its_map(tmp_path):
    keypoints = random_keypoints(MAPS_AT_ONCE + 6)
    keypoints[[0, MAPS_AT_ONCE + 2]] = np.nan
    keypoints[3, 1:] = np.nan  # a nose alone is no limb
    names, folders = write_inputs(tmp_path, keypoints)
    posemaps.run(**folders, settings=SETTINGS)

    maps = maps_in(folders["posemaps"])
    without = {names[0], names[3], names[MAPS_AT_ONCE + 2]}
    assert list(maps.files) == [name for name in names if name not in without]
    _, joints, _ = read_keypoints(folders["keypoints"] / "keypoints.csv")
    placed = Frame(64, 32).keypoints(joints, 256, 200)
    expected = colour(draw(placed, height=64, width=32, line_width=2))
    for name, pixels in zip(names, expected, strict=True):
        if name not in without:
            np.testing.assert_array_equal(images.decode(maps.files[name]), pixels)
    assert read_json(folders["posemaps"] / "posemaps.json") == {
        "height": 64, "width": 32, "crop": None, "line_width": 2.0, "maps": MAPS_AT_ONCE + 3, "without_pose": 3,
    }  # fmt: skip
    assert (maps.frame, maps.line_width) == (SETTINGS.frame, 2.0)
    first = files_in(folders["posemaps"])
    posemaps.run(**folders, settings=SETTINGS)
    assert files_in(folders["posemaps"]) == first  # the same inputs give the same bytes
    assert set(first) == {"00000.tar", "posemaps.csv", "posemaps.json"}


def test_a_crop_moves_the_pose_and_drops_those_outside(tmp_path):
    keypoints = np.full((2, K, 2), np.nan)
    keypoints[0, 1:3] = [[50, 20], [90, 20]]
    keypoints[1, 1:3] = [[5, 20], [30, 20]]
    names, folders = write_inputs(tmp_path, keypoints)
    cropped = replace(SETTINGS, crop=(40.0, 0.0, 104.0, 64.0), height=64, width=64)
    posemaps.run(**folders, settings=cropped)
    maps = maps_in(folders["posemaps"])
    assert list(maps.files) == [names[0]]
    drawn = np.argwhere(images.decode(maps.files[names[0]]).any(-1))
    assert (drawn.min(0).tolist(), drawn.max(0).tolist()) == ([19, 10], [21, 50])
    assert maps.frame.crop == (40.0, 0.0, 104.0, 64.0)


def test_tables_of_different_photos_are_refused(tmp_path):
    names, folders = write_inputs(tmp_path, random_keypoints(4))
    table = folders["keypoints"] / "keypoints.csv"
    rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join(rows[:-1]))
    with pytest.raises(ReposeError, match=rf"not of the same photos: 1 are in one only, such as {names[3]}"):
        posemaps.run(**folders, settings=SETTINGS)
    table.write_text("".join([*rows[:-2], rows[-1], rows[-2]]))
    with pytest.raises(ReposeError, match="their order differs"):
        posemaps.run(**folders, settings=SETTINGS)


def test_nothing_to_draw_is_an_error_and_leaves_the_earlier_maps(tmp_path):
    _, folders = write_inputs(tmp_path, random_keypoints(3))
    posemaps.run(**folders, settings=SETTINGS)
    earlier = files_in(folders["posemaps"])
    write_inputs(tmp_path, np.full((3, K, 2), np.nan))
    with pytest.raises(ReposeError, match=r"None of the 3 photos in .*images has a limb to draw .*keypoints\.csv"):
        posemaps.run(**folders, settings=SETTINGS)
    assert files_in(folders["posemaps"]) == earlier


def test_a_crop_beyond_a_photo_names_the_photo(tmp_path):
    names, folders = write_inputs(tmp_path, random_keypoints(3), width=[200, 150, 200])
    with pytest.raises(ReposeError, match=rf"^{names[1]}: The crop \[0.0, 0.0, 176.0, 256.0\] .* a photo of 150x256"):
        posemaps.run(**folders, settings=replace(SETTINGS, crop=(0.0, 0.0, 176.0, 256.0)))
    assert not folders["posemaps"].exists()


def test_a_crop_that_makes_no_sense_is_refused():
    with pytest.raises(ReposeError, match=r"params\.yaml: posemaps.*crop: left, top, right, bottom should be"):
        settings("posemaps", PosemapsSettings, crop=[9, 0, 3, 5])
