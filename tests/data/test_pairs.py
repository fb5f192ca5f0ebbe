import numpy as np
import pandas as pd
import pytest

from repose.data import pairs as rules
from repose.data.layouts import item_of_name
from repose.data.records import write_table
from repose.data.skeleton import JOINT, K
from repose.errors import ReposeError
from splitting import LISTS, needs_lists


@needs_lists
def test_the_lists_of_patn_hold_the_items_and_pairs_of_r10():
    parts = {part: (LISTS / f"{part}.lst").read_bytes() for part in ("train", "test")}
    items = {part: [item_of_name(name) or "" for name in rules.names_in(text, part)] for part, text in parts.items()}
    names = {part: rules.names_in(text, part) for part, text in parts.items()}
    assert {part: len(found) for part, found in names.items()} == {"train": 48_674, "test": 4_038}
    garments = set(items["train"]) | set(items["test"])
    assert len(garments) == 13_029
    assert not set(items["train"]) & set(items["test"])
    sizes = {}
    for part in parts:
        standing = [item for item, name in zip(items[part], names[part], strict=True) if "flat" not in name]
        sizes[part] = pd.Series(standing).value_counts().value_counts().to_dict()
    assert sizes["train"] == {1: 102, 2: 72, 3: 1960, 4: 7541, 5: 2350}
    assert sizes["test"] == {1: 12, 2: 4, 3: 175, 4: 601, 5: 208}
    pairs = {part: len(rules.all_pairs(pd.Series(items[part]))[0]) for part in parts}
    assert pairs == {"train": 154_758, "test": 12_860}
    categories = {"/".join(garment.split("/")[:2]) for garment in garments}
    assert categories - rules.PG2_CATEGORIES == {
        "MEN/Denim", "MEN/Pants", "MEN/Shorts", "WOMEN/Denim", "WOMEN/Leggings", "WOMEN/Pants",
        "WOMEN/Rompers_Jumpsuits", "WOMEN/Shorts", "WOMEN/Skirts",
    }  # fmt: skip
    assert categories >= rules.PG2_CATEGORIES
    assert round(rules.PG2_TEST_SHARE * len(garments)) == 2_061


def test_a_torso_is_both_shoulders_and_both_hips():
    keypoints = np.full((4, K, 2), np.nan, np.float32)
    keypoints[0, [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "hip")]] = 1
    keypoints[1] = 1
    keypoints[1, JOINT["left_hip"]] = np.nan
    keypoints[2, JOINT["nose"]] = 1
    assert rules.is_posed(keypoints, "torso").tolist() == [True, False, False, False]
    assert rules.is_posed(keypoints, "any").tolist() == [True, True, True, False]


def test_items_are_drawn_by_seed_and_name_alone():
    items = [f"item {number}" for number in range(300)]
    chosen = rules.drawn_items(items, 60, seed=0)
    assert rules.drawn_items(reversed(items), 60, seed=0) == chosen
    assert len(set(chosen)) == 60
    assert len(set(chosen) & set(rules.drawn_items(items, 60, seed=1))) < 30
    assert len(set(chosen) & set(rules.drawn_items(items[:-1], 60, seed=0))) >= 59


A, B = "fashionWOMENTees_Tanksid0000000101_1front.jpg", "fashionWOMENTees_Tanksid0000000101_2side.jpg"


@pytest.mark.parametrize("text", [
    f"\ufefffrom,to\r\n{A},{B}\r\nimg/x/01_1_front.png\n",
    f"name:keypoints_y:keypoints_x\n{A}: [1, 2]: [3, 4]\n{B}: [1, 2]: [3, 4]\n",
    f'"{A}"; "{B}"',
])  # fmt: skip
def test_names_are_found_in_any_text(text):
    assert rules.names_in(text.encode(), "x.txt") == [A, B]
    with pytest.raises(ReposeError, match=r"x\.txt lists no photo"):
        rules.names_in(b"a.png\n", "x.txt")


def test_a_finder_knows_photos_and_items_by_every_spelling():
    finder = rules.PhotoFinder(
        pd.DataFrame({"name": ["other.jpg", A], "item": ["o", "WOMEN/Tees_Tanks/id_00000001/01"]})
    )
    for name in (A, "fasionWOMENTeesTanksid0000000101_1front.jpg", "x/img/WOMEN/Tees_Tanks/id_00000001/01_1_front.jpg"):
        assert finder.row(name) == 1
        assert finder.item(name) == "WOMEN/Tees_Tanks/id_00000001/01"
    for absent in (B, "fasionWOMENTeesTanksid0000000101_2side.jpg", "img/WOMEN/Tees_Tanks/id_00000001/01_2_side.jpg"):
        assert finder.row(absent) == -1
        assert finder.item(absent) == "WOMEN/Tees_Tanks/id_00000001/01"
    for stranger in ("fashionWOMENTees_Tanksid0000000102_1front.jpg", "stranger.jpg", "a/stranger.jpg"):
        assert finder.row(stranger) == -1
        assert finder.item(stranger) is None
    assert finder.item("bounding_box_test/other.jpg") == "o"


def test_pairs_are_read_as_text_also_those_of_an_earlier_split(tmp_path):
    assert rules.read_pairs(b"to;from;occlusion\n0002;0001;0.5\n", "x.csv").to_numpy().tolist() == [["0001", "0002"]]
    path, pairs = tmp_path / "test-pairs.csv", [["+red__1.jpg", "'=2.jpg"], ["'a", "-3.5"]]
    write_table(path, pd.DataFrame(pairs, columns=["from", "to"]), ["from", "to"])
    assert rules.read_pairs(path.read_bytes(), "x.csv").to_numpy().tolist() == pairs
    with pytest.raises(ReposeError, match=r"x\.csv has no pairs"):
        rules.read_pairs(b"from,to\n", "x.csv")
