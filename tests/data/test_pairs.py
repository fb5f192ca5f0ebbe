import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repose.data import pairs as rules
from repose.data.layouts import item_of_name
from repose.data.records import write_table
from repose.data.skeleton import TORSO, K
from repose.errors import ReposeError
from splitting import LISTS, needs_lists


@given(items=st.lists(st.sampled_from("abcdefg"), max_size=30))
def test_all_pairs_are_those_of_itertools(items):
    rows = [[row for row, each in enumerate(items) if each == item] for item in dict.fromkeys(items)]
    expected = [pair for of_item in rows for pair in itertools.permutations(of_item, 2)]
    sources, targets = rules.all_pairs(pd.Series(items, dtype=str))
    assert list(zip(sources.tolist(), targets.tolist(), strict=True)) == expected


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
    keypoints = np.full((K + 6, K, 2), np.nan, np.float32)
    keypoints[:K][np.arange(K), np.arange(K)] = 1  # row i has joint i alone
    keypoints[K, list(TORSO)] = 1
    keypoints[K + 1 : K + 5] = 1
    keypoints[K + 1 + np.arange(4), list(TORSO)] = np.nan  # each lacks one of the four
    assert np.flatnonzero(rules.is_posed(keypoints, "torso")).tolist() == [K]
    assert np.flatnonzero(~rules.is_posed(keypoints, "any")).tolist() == [K + 5]


def test_the_draw_is_pandas_sample_and_fewer_pairs_are_the_first_of_more():
    table = pd.Series(range(50))
    for seed in (0, 7):
        assert rules.drawn(50, 12, seed).tolist() == table.sample(n=12, replace=False, random_state=seed).tolist()
    assert rules.drawn(100, 10, 0).tolist() == rules.drawn(100, 60, 0)[:10].tolist()
    assert sorted(rules.drawn(20, 60, 0).tolist()) == list(range(20))
    assert len(rules.drawn(0, 60, 0)) == 0


def test_items_are_drawn_by_seed_and_name_alone():
    items = [f"item {number}" for number in range(300)]
    chosen = rules.drawn_items(items, 60, seed=0)
    assert rules.drawn_items(reversed(items), 60, seed=0) == chosen
    assert len(set(chosen)) == 60
    assert len(set(chosen) & set(rules.drawn_items(items, 60, seed=1))) < 30
    assert len(set(chosen) & set(rules.drawn_items(items[:-1], 60, seed=0))) >= 59


A, B = "fashionWOMENTees_Tanksid0000000101_1front.jpg", "fashionWOMENTees_Tanksid0000000101_2side.jpg"


@pytest.mark.parametrize("text", [
    f"{A}\n{B}\n",
    f"\ufefffrom,to\r\n{A},{B}\r\nimg/x/01_1_front.png\n",
    f"name:keypoints_y:keypoints_x\n{A}: [1, 2]: [3, 4]\n{B}: [1, 2]: [3, 4]\n",
    f'"{A}"; "{B}"',
])  # fmt: skip
def test_names_are_found_in_any_text(text):
    assert rules.names_in(text.encode(), "x.txt") == [A, B]


def test_a_long_word_takes_no_longer_than_its_length():
    assert rules.names_in(b"x" * 10**6 + b" a.jpg.jpg) .jpg b.jpg-", "x.txt") == ["a.jpg.jpg", "b.jpg"]


def test_a_list_needs_names():
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


def test_pairs_are_read_as_text(tmp_path):
    assert rules.read_pairs(b"to;from;occlusion\n0002;0001;0.5\n", "x.csv").to_numpy().tolist() == [["0001", "0002"]]
    path, pairs = tmp_path / "test-pairs.csv", [["+red__1.jpg", "'=2.jpg"], ["'a", "-3.5"]]
    write_table(path, pd.DataFrame(pairs, columns=["from", "to"]), ["from", "to"])
    assert rules.read_pairs(path.read_bytes(), "x.csv").to_numpy().tolist() == pairs  # of an earlier split
    with pytest.raises(ReposeError, match=r"x\.csv has no pairs"):
        rules.read_pairs(b"from,to\n", "x.csv")
