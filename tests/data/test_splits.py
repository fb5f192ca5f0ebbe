"""The rules of a split: PG2's, PATN's, the owner's."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repose.config import as_dict, build
from repose.data.splits import SplitSettings
from repose.errors import ReposeError
from splitting import OFFICIAL, PATN, PG2, VIEWS, csv, garment, garments, item, name, split

# --- pg2 -----------------------------------------------------------------------------------------------------------


def test_pg2_tests_on_the_garments_that_a_list_names(tmp_path):
    paths = garment(1) + garment(2, VIEWS[:2]) + garment(3, VIEWS[:2], "MEN/Pants")
    settings = replace(PG2, test_list="new_split.csv")
    found = split(tmp_path, paths, settings, files={"x/new_split.csv": f"name\n{name(2, '2_side')}\n"})
    assert (found.record["mode"], found.record["departures"]) == ("pg2", [])
    assert found.record["lists"]["test_list"] == {"file": "x/new_split.csv", "names": 1, "not_there": 0, "items": 1}
    assert (found.items_of("test"), found.items_of("train")) == ({item(2)}, {item(1), item(3, "MEN/Pants")})
    assert len(found.train) == 3 * 2 + 2
    assert set(found.test) == set(itertools.permutations([name(2, "1_front"), name(2, "2_side")], 2))


FIGURES = f"name,item,visible\n{name(2, '1_front')},2,f0f0\n{name(2, '2_side')},2,3c3c\n"


def hidden(folder: Path, figures: str) -> list[str]:
    """The occlusions in the test pairs of a garment's front, side and back, beside a renderer's truth."""
    files = {"l": name(2), "mannequins/figures.csv": figures}
    found = split(folder, garment(1) + garment(2), replace(PG2, test_list="l"), files=files)
    return [
        found.occlusion[found.test.index((name(2, a), name(2, b)))] for a, b in itertools.permutations(VIEWS[:3], 2)
    ]


def test_test_pairs_say_what_share_of_the_target_their_source_hides_if_known(tmp_path):
    back = f"{name(2, '3_back')},2,0f00\n"
    assert hidden(tmp_path / "all", FIGURES + back) == ["0.5000", "1.0000", "0.5000", "0.5000", "1.0000", "0.7500"]
    assert hidden(tmp_path / "two", FIGURES) == ["0.5000", "", "0.5000", "", "", ""]
    assert hidden(tmp_path / "other", "name,item,front_share\n") == [""] * 6  # not a renderer's


def test_a_damaged_figures_csv_is_named(tmp_path):
    message = r"figures\.csv in the source is damaged \(.*3c3c has 16 cells and ff 8.*Render the mann"
    with pytest.raises(ReposeError, match=message):
        hidden(tmp_path, FIGURES.replace("f0f0", "ff"))


def test_without_a_list_whole_garments_of_pg2s_categories_are_drawn_and_the_mode_says_so(tmp_path):
    skirts = [path for number in range(100, 130) for path in garment(number, VIEWS[:2], "WOMEN/Skirts")]
    found = split(tmp_path, garments(100) + skirts, PG2)
    assert found.record["mode"] == "pg2-like"
    assert found.record["departures"] == ["tested on 21 of 100 upper bodies and dresses, drawn with seed 0"]
    assert (len(found.items_of("test")), len(found.items_of("train"))) == (21, 109)  # 2,061 / 13,029 of 130
    assert all(item.startswith("WOMEN/Dresses/") for item in found.items_of("test"))


def test_at_most_test_pairs_are_drawn_and_the_mode_says_so(tmp_path):
    files, drawn = {"l": "\n".join(name(number) for number in range(5))}, []
    for changes in ({}, {"test_pairs": 4}, {"test_pairs": 4, "seed": 1}):
        settings = replace(PG2, test_list="l", **changes)
        drawn.append(split(tmp_path / str(len(drawn)), garments(10, VIEWS[:3]), settings, files=files))
    every, four, other = drawn
    assert [found.record["mode"] for found in drawn] == ["pg2", "pg2-like", "pg2-like"]
    assert four.record["departures"] == ["4 test pairs in place of 30"]
    assert four.record["test_pairs_dropped"] == {"not drawn": 26}
    assert (len(every.test), every.test[:4]) == (30, four.test)
    assert four.test != other.test
    assert len(four.names_of("test")) == 15  # all photos may be sources


def test_photos_without_a_pose_are_in_no_pair_and_counted(tmp_path):
    paths = garment(1) + garment(2) + garment(3, VIEWS[:2]) + garment(4, VIEWS[:1])
    no_pose = [name(1, "2_side"), name(2, "3_back"), name(3, "1_front")]
    found = split(tmp_path, paths, replace(PG2, test_list="l"), files={"l": name(2)}, no_pose=no_pose)
    assert found.names_of("train") == [name(1, "1_front"), name(1, "3_back")]
    assert found.names_of("test") == [name(2, "1_front"), name(2, "2_side")]
    assert found.record["photos_dropped"] == {"without a pose (torso)": 3, "the only one of its item": 2}


def test_training_leaves_out_views_and_categories_and_test_pairs_keep_to_their_rule(tmp_path, capsys):
    views = [*VIEWS[:2], "6_flat"]
    paths = garment(1, views) + garment(2, views) + garment(3, views, "WOMEN/Shorts")
    settings = replace(PG2, test_list="l", exclude_categories=("WOMEN/Shorts", "WOMEN/Dreses"))
    found = split(tmp_path, paths, settings, files={"l": name(2)})
    assert found.names_of("train") == [name(1, "1_front"), name(1, "2_side")]
    assert found.names_of("test") == [name(2, view) for view in views]
    assert (len(found.train), len(found.test)) == (2, 6)
    assert found.record["photos_dropped"] == {"of an excluded category": 2, "of an excluded view": 2}
    assert "Warning: there is no photo of 'WOMEN/Dreses', a category in split." in capsys.readouterr().err


def test_a_test_photo_of_an_excluded_view_that_no_pair_needs_is_left_out(tmp_path):
    paths, files = garment(1) + garment(2, [*VIEWS[:2], "6_flat"]), {"p.csv": csv([(name(2), name(2, "2_side"))])}
    found = split(tmp_path, paths, replace(PATN, pairs="p.csv"), files=files)
    assert found.names_of("test") == [name(2, "1_front"), name(2, "2_side")]


# --- patn ----------------------------------------------------------------------------------------------------------


def test_patn_pairs_come_in_the_order_of_the_keypoint_file_and_of_its_draw(tmp_path):
    names = [name(number, view) for number in (1, 2, 3) for view in VIEWS[:3]]
    order = [names[row] for row in (7, 4, 1, 3, 6, 8, 0, 5, 2)]
    paths, files = garment(1) + garment(2) + garment(3), {"test.lst": f"{name(2)}\n{name(3)}"}
    found = split(tmp_path, paths, replace(PATN, test_list="test.lst", seed=5), files=files, order=order)
    groups = [[other for other in order if other in names[3 * g : 3 * g + 3]] for g in (2, 1)]  # as first seen in order
    pairs = [pair for group in groups for pair in itertools.permutations(group, 2)]
    assert found.test == [pairs[index] for index in np.random.RandomState(0).choice(12, 12, replace=False)]
    assert found.train == [*itertools.permutations([other for other in order if other in names[:3]], 2)]
    assert found.record["mode"] == "patn"


def test_the_rows_of_a_pairs_file_are_the_test_pairs(tmp_path):
    spelled = "fasionWOMENDressesid0000000201_1front.jpg"
    rows = [(name(3, "3_back"), name(3, "1_front")), (name(2, "2_side"), spelled)]
    paths = garment(1) + garment(2) + garment(3)
    found = split(tmp_path, paths, replace(PATN, pairs="p.csv"), files={"p.csv": csv(rows)})
    assert found.record["mode"] == "patn"
    assert found.test == [rows[0], (rows[1][0], name(2, "1_front"))]
    assert (found.items_of("train"), len(found.names_of("test"))) == ({item(1)}, 6)


def test_rows_of_a_pairs_file_that_cannot_be_tested_are_counted_and_the_mode_says_so(tmp_path):
    a, b, c = (name(2, view) for view in VIEWS[:3])
    rows = [(a, b), (a, "gone.jpg"), (b, c), (a, b), (b, a), (name(3, "1_front"), name(3, "2_side"))]
    settings = replace(PATN, pairs="p.csv", max_unknown=0.2, test_pairs=2)
    paths = garment(1) + garment(2) + garment(3)
    found = split(tmp_path, paths, settings, files={"p.csv": csv(rows)}, no_pose=[c])
    assert (found.record["mode"], found.record["departures"]) == ("patn-like", ["2 of the 6 pairs of p.csv"])
    assert found.record["test_pairs_dropped"] == {
        "with a photo that is not there": 1, "of photos left out": 1, "listed twice": 1, "beyond test_pairs": 1,
    }  # fmt: skip
    assert found.test == [(a, b), (b, a)]


def test_a_share_of_the_listed_pairs_leaves_the_rest_to_train_on(tmp_path):
    files = {"p.csv": csv([(name(number), name(number, "2_side")) for number in range(20)])}
    found = split(tmp_path, garments(20), replace(PATN, pairs="p.csv", test_share=0.25), files=files)
    assert found.record["mode"] == "patn-like"
    assert found.record["departures"] == [
        "tested on 5 of 20 garments of the lists, drawn with seed 0", "5 of the 20 pairs of p.csv",
    ]  # fmt: skip
    assert found.record["test_pairs_dropped"] == {"of items that are not tested on": 15}
    assert (len(found.items_of("train")), len(found.items_of("test"))) == (15, 5)


def test_a_share_of_the_listed_garments_leaves_the_rest_to_the_train_list(tmp_path):
    files = {"test": "\n".join(name(number) for number in range(4)), "train": name(5)}
    settings = replace(PATN, train_list="train", test_list="test", test_share=0.2)
    found = split(tmp_path, garments(10), settings, files=files)
    assert len(found.items_of("test")) == 2
    assert found.items_of("train") | found.items_of("test") == {*map(item, range(4)), item(5)}


@pytest.mark.parametrize(("changes", "listed", "departure"), [
    ({"posed": "any"}, [name(2)], "posed is any, not torso"),
    ({}, [name(2), name(2, "4_full"), name(7)], "2 of 3 photos of l are not there"),
])  # fmt: skip
def test_a_departure_from_patns_rule_shows_in_the_mode(tmp_path, changes, listed, departure):
    settings = replace(PATN, test_list="l", **changes)
    found = split(tmp_path, garment(1) + garment(2), settings, files={"l": "\n".join(listed)})
    assert (found.record["mode"], found.record["departures"]) == ("patn-like", [departure])


# --- official, and Market-1501 -------------------------------------------------------------------------------------


def partition_list(parts: Mapping[str, str]) -> str:
    rows = "".join(f"{path} {path.split('/')[3]} {part}\n" for path, part in parts.items())
    return f"{len(parts)}\nimage_name item_id evaluation_status\n{rows}"


def test_official_tests_on_query_and_gallery(tmp_path):
    one, two, three = garment(1), garment(2), garment(3)
    parts = {**dict.fromkeys(one, "train"), two[0]: "query", two[1]: "gallery", two[2]: "gallery"}
    found = split(tmp_path, one + two + three, OFFICIAL, partition=partition_list(parts))
    assert (found.record["mode"], found.items_of("test")) == ("official", {item(2)})
    assert (len(found.train), len(found.test)) == (6, 6)
    assert found.record["photos_dropped"] == {"in neither part": 3}


MARKET = [
    *(f"bounding_box_train/0002_c{camera}s1_00045{camera}_03.jpg" for camera in range(1, 7)),
    *(f"bounding_box_train/0002_c1s2_00046{number}_03.jpg" for number in range(4)),
    "bounding_box_train/0007_c1s1_000451_03.jpg",
    *(f"bounding_box_test/0001_c{camera}s1_000451_03.jpg" for camera in (1, 2)),
    "bounding_box_test/0001_c3s1_000451_03.jpg.jpg",
    *(f"bounding_box_test/{nobody}_c{camera}s1_000451_03.jpg" for nobody in ("-1", "0000") for camera in (1, 2)),
    "query/0001_c1s1_000451_00.jpg",
]


@pytest.mark.parametrize(("mode", "photos", "neither"), [
    ("pg2", 3, {"in neither part": 1}), ("patn", 3, {"in neither part": 1}), ("official", 4, {}),
])  # fmt: skip
def test_market_by_its_folders(tmp_path, mode, photos, neither):
    found = split(tmp_path, MARKET, replace(PG2, mode=mode), layout="market1501")
    assert found.record["train"] == {"items": 1, "photos": 10, "pairs": 90}
    assert found.record["test"] == {"items": 1, "photos": photos, "pairs": photos * (photos - 1)}
    nobody = {"of nobody in particular (-1 or 0000)": 4}
    assert found.record["photos_dropped"] == nobody | neither | {"the only one of its item": 1}
    assert any(target.endswith(".jpg.jpg") for _, target in found.test)


BOTH = partition_list(dict(zip(garment(1), ("train", "query", "gallery"), strict=True)))
SKIRTS = [path for number in range(2, 9) for path in garment(number, category="WOMEN/Skirts")]


@pytest.mark.parametrize(("settings", "paths", "arguments", "message"), [
    (replace(PG2, test_share=0.5), MARKET, {"layout": "market1501"}, "Market-1501's folders define the partition"),
    (replace(PG2, test_list="l"), ["red/1.jpg", "red/2.png"], {"layout": "folders", "files": {"l": "red/2.png"}},
     "are lists of DeepFashion's photos. For the source folders"),
    (OFFICIAL, ["red/1.jpg", "red/2.png"], {"layout": "folders"},
     r"needs the owner's partition.*list_eval_partition\.txt to photos of DeepFashion"),
    (OFFICIAL, garment(1), {"partition": BOTH},
     r"1 item\(s\) are both for training and for testing.*owner's partition.*id_00000001"),
    (replace(PG2, test_share=0.5), garment(1) + SKIRTS, {},
     r"4 of 8 garments should be for testing, but there are only 1 \(upper bodies"),
])  # fmt: skip
def test_settings_that_do_not_fit_the_source_are_rejected(tmp_path, settings, paths, arguments, message):
    with pytest.raises(ReposeError, match=message):
        split(tmp_path, paths, settings, **arguments)


PAIR = csv([(name(2), name(2, "2_side"))])


@pytest.mark.parametrize(("changes", "files", "message"), [
    ({"pairs": "p"}, {"p": PAIR + "a.jpg,b.jpg\n" * 5}, "5 of 6 pairs have a photo.*such as a.jpg, b.jpg. Get"),
    ({"pairs": "p"}, {"p": f"{PAIR}\n\n{name(1)},{name(2)}\n"}, "p, line 5.*are not two photos of one item"),
    ({"pairs": "p", "train_list": "l"}, {"p": PAIR, "l": name(2)}, r"1 item\(s\) are both for training and for testing"),
    ({"test_list": "l"}, {"l": "a.jpg\nb.jpg\n"}, "l lists 2 photos, first a.jpg, but none.*`split.test_list`"),
    ({}, {}, "Mode patn needs a list"),
    ({"test_list": "l"}, {"l": f"{name(1)}\n{name(2)}"}, "has no train items. Left out: 1 the only one of its item"),
    ({"test_list": "l"}, {"l": name(3)}, "has no test pairs. Left out: 1 the only one of its item"),
])  # fmt: skip
def test_bad_lists_are_refused(tmp_path, changes, files, message):
    with pytest.raises(ReposeError, match=message):
        split(tmp_path, garment(1) + garment(2) + garment(3, VIEWS[:1]), replace(PATN, **changes), files=files)


@pytest.mark.parametrize(("changes", "message"), [
    ({"mode": "official", "test_list": "l"}, "mode official uses the owner's partition"),
    ({"mode": "pg2", "pairs": "p"}, "mode pg2 draws its own pairs"),
    ({"exclude_views": ["flatt"]}, "exclude_views has the unknown view 'flatt'. Did you mean 'flat'"),
])  # fmt: skip
def test_wrong_settings_are_rejected(changes, message):
    with pytest.raises(ReposeError, match=message):
        build(SplitSettings, as_dict(PG2) | changes, "params.yaml: split")
