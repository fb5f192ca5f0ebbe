"""Mannequin data sets: their files, layouts and photos."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from mannequins.renderer import MannequinSettings, files, render_item
from mannequins.renderer.items import garment_of, status_of
from mannequins.renderer.wardrobe import Chance, outfit
from repose.config import build
from repose.data.layouts import DeepFashion, Market1501
from repose.data.skeleton import JOINT
from repose.errors import ReposeError
from repose.pose.keypoint_files import match, read_posegan_csv

FASHION = MannequinSettings("fashion", items=5, seed=3, quality=90)
STREET = MannequinSettings("street", items=4, seed=3, quality=90)


@pytest.fixture(scope="module")
def fashion():
    return [render_item(FASHION, number) for number in range(FASHION.items)]


@pytest.fixture(scope="module")
def fashion_files():
    return dict(files(FASHION, workers=1))


@pytest.fixture(scope="module")
def street_files():
    return dict(files(STREET, workers=1))


@pytest.mark.parametrize(("values", "message"), [
    ({"items": 1}, "items should be at least 2"), ({"quality": 101}, "quality should be at most 100"),
    ({"flavour": "street", "items": 10_000}, "9999 persons"),
])  # fmt: skip
def test_impossible_settings_are_rejected(values, message):
    with pytest.raises(ReposeError, match=message):
        build(MannequinSettings, {"flavour": "fashion", "items": 4, "seed": 0, "quality": 90} | values, "params.yaml")


@pytest.mark.parametrize("settings", [FASHION, STREET], ids=lambda s: s.flavour)
def test_neither_workers_nor_the_number_of_items_change_a_photo(settings):
    three = list(files(replace(settings, items=3), workers=1))
    two = [entry for entry in files(replace(settings, items=2), workers=2) if entry[0].endswith(".jpg")]
    assert two == three[: len(two)]
    assert next(files(replace(settings, seed=4), workers=1))[1] != three[0][1]


def test_the_real_reader_understands_fashion(fashion_files, fashion):
    layout = DeepFashion(fashion_files, fashion_files.__getitem__)
    photos = [layout.photo(path) for path in fashion_files if path.endswith(".jpg")]
    assert [p.name for p in photos] == [p.name for item in fashion for p in item]
    assert [p.item for p in photos] == [p.truth.item for item in fashion for p in item]
    assert {p.partition for p in photos} == {"train", "query", "gallery"}
    train, test = ({p.item.split("/")[2] for p in photos if (p.partition == "train") == side} for side in (True, False))
    assert not train & test


def test_some_garments_come_in_several_colours_of_one_cut():
    assert [garment_of(n) for n in range(9)] == [
        (1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (5, 1), (5, 2), (5, 3), (6, 1),
    ]  # fmt: skip
    assert [status_of(g, n) for g in (2, 7) for n in range(2)] == ["query", "gallery"] * 2
    assert {status_of(g, n) for g in (1, 3, 4, 5, 6) for n in (0, 1)} == {"train"}
    for seed in range(5):
        variants = [
            outfit("Tees_Tanks", True, Chance(np.random.default_rng(seed), np.random.default_rng(seed), variant))
            for variant in range(3)
        ]
        grounds = np.array([v.upper.front.ground for v in variants])
        assert np.abs(grounds - np.roll(grounds, 1, axis=0)).max(1).min() > 25
        assert len({(v.upper.hem, v.upper.neckline, v.upper.front.pattern, v.shoes.kind) for v in variants}) == 1


def test_the_real_reader_understands_street(street_files):
    layout = Market1501(street_files, street_files.__getitem__)
    photos = [layout.photo(path) for path in street_files if "/" in path]
    assert [p.name for p in photos] == [p.name for n in range(STREET.items) for p in render_item(STREET, n)]
    ids = {part: {p.item for p in photos if p.partition == part} for part in ("train", "gallery", "query")}
    assert ids == {"train": {"0001", "0003"}, "gallery": {"0002", "0004", "-1", "0000"}, "query": {"0002", "0004"}}
    for who in ("0001", "0002", "0003", "0004"):
        assert len({p.view for p in photos if p.item == who}) >= 3


def test_street_has_junk_distractors_and_two_slips(street_files):
    names = list(street_files)
    assert sum(name.endswith(".jpg.jpg") for name in names) == 2
    assert all(name.startswith("bounding_box_test/") for name in names if "/-1_" in name or "/0000_" in name)
    assert sum("/-1_" in name for name in names) >= 4
    assert sum("/0000_" in name for name in names) == 4
    rows = dict(row.split(": ", 1) for row in street_files["keypoints.csv"].decode().splitlines()[1:])
    nothing = str([-1] * 18)
    assert all(rows[name.split("/")[1]] == f"{nothing}: {nothing}" for name in names if "/-1_" in name)
    assert any(rows[name.split("/")[1]] != f"{nothing}: {nothing}" for name in names if "/0000_" in name)


def test_keypoints_csv_is_pose_gans(fashion_files, fashion):
    photos = [photo for item in fashion for photo in item]
    poses = read_posegan_csv(fashion_files["keypoints.csv"], "keypoints.csv")
    found = match(poses, [photo.name for photo in photos]).keypoints
    drawn = np.stack([photo.keypoints for photo in photos])
    assert (np.isnan(found) == np.isnan(drawn)).all()
    assert np.nanmax(np.abs(found - drawn)) <= 0.5


def test_figures_csv_tells_the_truth(fashion_files, fashion):
    rows = list(csv.DictReader(io.StringIO(fashion_files["figures.csv"].decode())))
    assert [row["name"] for row in rows] == [photo.name for item in fashion for photo in item]
    assert [row["visible"] for row in rows] == [photo.truth.visible for item in fashion for photo in item]
    assert all(0 <= float(r["yaw_degrees"]) < 360 and 0.03 < float(r["figure_share"]) < 0.7 for r in rows)
    front = [float(r["front_share"]) for r in rows if "1front" in r["name"]]
    back = [float(r["front_share"]) for r in rows if "3back" in r["name"]]
    assert min(front) > 0.6 > 0.4 > max(back)


def test_right_is_the_persons_right(fashion):
    for photo in (photo for item in fashion for photo in item):
        facing = np.cos(np.radians(photo.truth.yaw))
        if abs(facing) > 0.8:
            apart = photo.keypoints[JOINT["left_shoulder"], 0] - photo.keypoints[JOINT["right_shoulder"], 0]
            assert np.isnan(apart) or np.sign(apart) == np.sign(facing)
