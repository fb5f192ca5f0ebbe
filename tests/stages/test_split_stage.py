import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import write_images, write_lists, write_poses

from repose.config import as_dict, build
from repose.data.layouts import LayoutName
from repose.data.records import part_names, read_json, read_parts, read_table
from repose.errors import ReposeError
from repose.stages import split as stage
from repose.stages.keypoints import KeypointsSettings
from repose.stages.keypoints import run as run_keypoints
from repose.stages.split import SplitSettings
from repose.validation.gallery import PictureSettings

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PG2 = SplitSettings(
    mode="pg2", train_list=None, test_list=None, pairs=None, test_share=None, test_pairs=12_800, min_train_pairs=1,
    min_test_pairs=1, posed="torso", exclude_views=("flat",), exclude_categories=(), max_unknown=0.0, seed=0,
)  # fmt: skip
PATN = replace(PG2, mode="patn")
OFFICIAL = replace(PG2, mode="official")
VIEWS = ("1_front", "2_side", "3_back", "4_full", "7_additional")


def garment(number: int, views: Iterable[str] = VIEWS[:3], category: str = "WOMEN/Dresses") -> list[str]:
    return [f"img/{category}/id_{number:08d}/01_{view}.jpg" for view in views]


def name(number: int, view: str, category: str = "WOMENDresses") -> str:
    return f"fashion{category}id{number:08d}01_{view.replace('_', '')}.jpg"


@dataclass(frozen=True)
class Split:
    items: pd.DataFrame
    train: pd.DataFrame
    test: pd.DataFrame
    occlusion: list[str]  # of the test pairs
    record: dict[str, Any]

    def items_of(self, part: str) -> set[str]:
        return set(self.items["item"][self.items["part"] == part])

    def names_of(self, part: str) -> list[str]:
        return self.items["name"][self.items["part"] == part].tolist()


def read(folder: Path) -> Split:
    items = read_table(folder / "items.csv", ["part", "item", "name"])
    train, test = (read_table(folder / f"{part}-pairs.csv", ["from", "to"]) for part in ("train", "test"))
    assert list(train) == ["from", "to"]
    assert list(test) == ["from", "to", "occlusion"]
    return Split(items, train, test[["from", "to"]], test["occlusion"].tolist(), read_json(folder / "split.json"))


def split(
    folder: Path,
    paths: Sequence[str],
    settings: SplitSettings,
    *,
    files: Mapping[str, str] | None = None,
    layout: LayoutName = "deepfashion",
    partition: str = "",
    no_pose: Iterable[str] = (),
    order: Sequence[str] = (),
    parts: int = 2,
) -> Split:
    lists = write_lists(folder / "lists", {path: text.encode() for path, text in (files or {}).items()}, layout)
    images = write_images(folder / "images", paths, layout, partition=partition, parts=parts)
    names = read_parts(images, part_names(images), "images.csv", ["name"])["name"].tolist()
    poses = write_poses(folder / "keypoints", names, none=no_pose, order=order, parts=parts)
    stage.run(lists=lists, images=images, keypoints=poses, **outputs(folder), settings=settings)
    found = read(folder / "split")
    assert_sound(found, names)
    return found


def outputs(folder: Path) -> dict[str, Path]:
    return {"split": folder / "split", "report": folder / "report"}


def assert_sound(found: Split, names: Sequence[str]) -> None:
    """What holds of every split."""
    item_of = dict(zip(found.items["name"], found.items["item"], strict=True))
    part_of = dict(zip(found.items["name"], found.items["part"], strict=True))
    assert not found.items_of("train") & found.items_of("test")
    assert found.items["name"].is_unique
    assert found.items["item"].duplicated(keep=False).all()  # none alone
    for part, pairs in (("train", found.train), ("test", found.test)):
        assert not pairs.duplicated().any()
        assert (pairs["from"] != pairs["to"]).all()
        assert (pairs["from"].map(item_of) == pairs["to"].map(item_of)).all()
        assert set(pairs["from"].map(part_of)) | set(pairs["to"].map(part_of)) == {part}
        counts = {"items": len(found.items_of(part)), "photos": len(found.names_of(part)), "pairs": len(pairs)}
        assert found.record[part] == counts
    assert len(found.items) + sum(found.record["photos_dropped"].values()) == len(names)


# --- pg2 -----------------------------------------------------------------------------------------------------------


def test_pg2_tests_on_the_garments_that_a_list_names(tmp_path: Path) -> None:
    paths = garment(1) + garment(2, VIEWS[:2]) + garment(3, VIEWS[:2], "MEN/Pants")
    settings = replace(PG2, test_list="new_split.csv")
    found = split(tmp_path, paths, settings, files={"x/new_split.csv": f"name\n{name(2, '2_side')}\n"})
    assert found.record["mode"] == "pg2"
    assert found.record["departures"] == []
    assert found.record["lists"]["test_list"] == {"file": "x/new_split.csv", "names": 1, "not_there": 0, "items": 1}
    assert found.items_of("test") == {"WOMEN/Dresses/id_00000002/01"}
    assert found.items_of("train") == {"WOMEN/Dresses/id_00000001/01", "MEN/Pants/id_00000003/01"}
    assert len(found.train) == 3 * 2 + 2
    two = [name(2, "1_front"), name(2, "2_side")]
    assert set(found.test.itertuples(index=False, name=None)) == set(itertools.permutations(two, 2))


VISIBLE = {"1_front": "f0f0", "2_side": "3c3c", "3_back": "0f00"}


def figures(*rows: str, header: str = "name,item,visible") -> str:
    return "".join(f"{row}\n" for row in (header, *rows))


def split_with_figures(folder: Path, text: str, path: str = "figures.csv") -> Split:
    """Three photos of garment 2 to test on, beside a renderer's truth."""
    files = {"x/new_split.csv": f"name\n{name(2, '2_side')}\n", path: text}
    return split(folder, garment(1) + garment(2), replace(PG2, test_list="new_split.csv"), files=files)


def hidden_by_ends(found: Split) -> dict[tuple[str, str], str]:
    view_of = {name(2, view): view for view in VIEWS}
    ends = zip(found.test["from"].map(view_of), found.test["to"].map(view_of), strict=True)
    return dict(zip(ends, found.occlusion, strict=True))


def test_test_pairs_say_what_share_of_the_target_their_source_hides(tmp_path: Path) -> None:
    rows = [f"{name(2, view)},2,{visible}" for view, visible in VISIBLE.items()]
    found = split_with_figures(tmp_path, figures(*rows), "mannequins/figures.csv")
    assert hidden_by_ends(found) == {
        ("1_front", "2_side"): "0.5000", ("1_front", "3_back"): "1.0000", ("2_side", "1_front"): "0.5000",
        ("2_side", "3_back"): "0.5000", ("3_back", "1_front"): "1.0000", ("3_back", "2_side"): "0.7500",
    }  # fmt: skip


@pytest.mark.parametrize(("text", "known"), [
    (figures(f"{name(2, '1_front')},2,ff", f"{name(2, '2_side')},2,00"), {("2_side", "1_front"): "1.0000"}),
    (figures(f"{name(2, '1_front')},2,0.9", header="name,item,front_share"), {}),  # not a renderer's
], ids=["a photo without truth and one that shows nothing", "other columns"])  # fmt: skip
def test_what_is_not_known_to_be_hidden_is_empty(tmp_path: Path, text: str, known: dict[Any, str]) -> None:
    shares = hidden_by_ends(split_with_figures(tmp_path, text))
    assert shares == dict.fromkeys(shares, "") | known


@pytest.mark.parametrize(("text", "message"), [
    (figures(f"{name(2, '1_front')},2,ff", f"{name(2, '2_side')},2,fff0"), "fff0 has 16 cells and ff 8"),
    (figures(f"{name(2, '1_front')},2,zz", f"{name(2, '2_side')},2,ff"), "non-hexadecimal"),
    (" \n", "No columns to parse from file"),
])  # fmt: skip
def test_a_damaged_figures_csv_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(
        ReposeError, match=rf"figures\.csv in the source is damaged \(.*{message}.*Render the mannequins"
    ):
        split_with_figures(tmp_path, text)
    assert not (tmp_path / "split").exists()


def test_without_a_list_whole_garments_of_pg2s_categories_are_drawn_and_the_mode_says_so(tmp_path: Path) -> None:
    dresses = [path for number in range(100) for path in garment(number, VIEWS[:2])]
    skirts = [path for number in range(100, 130) for path in garment(number, VIEWS[:2], "WOMEN/Skirts")]
    found = split(tmp_path, dresses + skirts, PG2)
    assert found.record["mode"] == "pg2-like"
    assert found.record["departures"] == ["tested on 21 of 100 upper bodies and dresses, drawn with seed 0"]
    assert len(found.items_of("test")) == 21  # 2,061 / 13,029 of 130
    assert all(item.startswith("WOMEN/Dresses/") for item in found.items_of("test"))
    assert len(found.items_of("train")) == 109


def test_at_most_test_pairs_are_drawn_and_the_mode_says_so(tmp_path: Path) -> None:
    paths = [path for number in range(10) for path in garment(number)]
    listed = "\n".join(name(number, "1_front") for number in range(5))
    drawn = []
    for turn, settings in enumerate([PG2, replace(PG2, test_pairs=4), replace(PG2, test_pairs=4, seed=1)]):
        (tmp_path / str(turn)).mkdir()
        drawn.append(split(tmp_path / str(turn), paths, replace(settings, test_list="l"), files={"l": listed}))
    every, four, other = ([*found.test.itertuples(index=False, name=None)] for found in drawn)
    assert [found.record["mode"] for found in drawn] == ["pg2", "pg2-like", "pg2-like"]
    assert drawn[1].record["departures"] == ["4 test pairs in place of 30"]
    assert drawn[1].record["test_pairs_dropped"] == {"not drawn": 26}
    assert (len(every), every[:4]) == (30, four)
    assert four != other
    assert [len(found.names_of("test")) for found in drawn] == [15, 15, 15]  # all photos may be sources


def test_photos_without_a_pose_are_in_no_pair_and_counted(tmp_path: Path) -> None:
    paths = garment(1) + garment(2) + garment(3, VIEWS[:2]) + garment(4, VIEWS[:1])
    files = {"l": name(2, "1_front")}
    no_pose = [name(1, "2_side"), name(2, "3_back"), name(3, "1_front")]
    found = split(tmp_path, paths, replace(PG2, test_list="l"), files=files, no_pose=no_pose)
    assert found.items["name"].tolist() == [
        name(1, "1_front"),
        name(1, "3_back"),
        name(2, "1_front"),
        name(2, "2_side"),
    ]
    assert found.record["photos_dropped"] == {"without a pose (torso)": 3, "the only one of its item": 2}


def test_training_leaves_out_views_and_categories_and_test_pairs_keep_to_their_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = [*VIEWS[:2], "6_flat"]
    paths = garment(1, views) + garment(2, views) + garment(3, views, "WOMEN/Shorts")
    settings = replace(PG2, test_list="l", exclude_categories=("WOMEN/Shorts", "WOMEN/Dreses"))
    found = split(tmp_path, paths, settings, files={"l": name(2, "1_front")})
    assert found.names_of("train") == [name(1, "1_front"), name(1, "2_side")]
    assert len(found.train) == 2
    assert found.names_of("test") == [name(2, view) for view in views]
    assert len(found.test) == 6
    assert found.record["photos_dropped"] == {"of an excluded category": 2, "of an excluded view": 2}
    assert (
        "Warning: there is no photo of 'WOMEN/Dreses', a category in split.exclude_categories"
        in capsys.readouterr().err
    )


def test_a_test_photo_of_an_excluded_view_that_no_pair_needs_is_left_out(tmp_path: Path) -> None:
    paths = garment(1) + garment(2, [*VIEWS[:2], "6_flat"])
    pairs = f"from,to\n{name(2, '1_front')},{name(2, '2_side')}\n"
    found = split(tmp_path, paths, replace(PATN, pairs="p.csv"), files={"p.csv": pairs})
    assert found.names_of("test") == [name(2, "1_front"), name(2, "2_side")]


# --- patn ----------------------------------------------------------------------------------------------------------


def test_patn_pairs_come_in_the_order_of_the_keypoint_file_and_of_its_draw(tmp_path: Path) -> None:
    paths = garment(1) + garment(2) + garment(3)
    names = [name(number, view) for number in (1, 2, 3) for view in VIEWS[:3]]
    order = [names[row] for row in (7, 4, 1, 3, 6, 8, 0, 5, 2)]
    files = {"test.lst": "\n".join([name(2, "1_front"), name(3, "1_front")])}
    found = split(tmp_path, paths, replace(PATN, test_list="test.lst", seed=5), files=files, order=order)
    groups = [[other for other in order if other in names[3 * g : 3 * g + 3]] for g in (2, 1)]  # as first seen in order
    pairs = [pair for group in groups for pair in itertools.permutations(group, 2)]
    chosen = np.random.RandomState(0).choice(12, 12, replace=False)
    assert [*found.test.itertuples(index=False, name=None)] == [pairs[index] for index in chosen]
    trained = [other for other in order if other in names[:3]]
    assert [*found.train.itertuples(index=False, name=None)] == [*itertools.permutations(trained, 2)]
    assert found.record["mode"] == "patn"
    assert found.names_of("test") == names[3:]


def test_patns_test_set_and_pairs_come_out_of_its_own_files(tmp_path: Path) -> None:
    lists = SHARED / "lists"
    if not lists.is_dir():
        pytest.skip(f"no real lists: {lists} is absent")
    names = (lists / "test.lst").read_text().split()
    training = garment(90_000_001) + garment(90_000_002)  # the photos of train.lst have no published keypoints here
    annotation = (lists / "fasion-annotation-test.csv").read_text()
    pose = annotation.splitlines()[2].split(": ", 1)[1]  # that of a posed photo
    own = "".join(f"{name(number, view)}: {pose}\n" for number in (90_000_001, 90_000_002) for view in VIEWS[:3])
    files = {"annotation.csv": annotation + own, "test.lst": (lists / "test.lst").read_text()}
    source = write_lists(tmp_path / "lists", {path: text.encode() for path, text in files.items()})
    images = write_images(tmp_path / "images", [owners_path(other) for other in names] + training, parts=3)
    settings = KeypointsSettings(
        "posegan-csv", ("annotation.csv",), (1.0, 1.0), (0.0, 0.0), 0.0, 0.0, 0.0, pictures=PictureSettings(0, 0)
    )
    keypoints = keypoints_of_parts(tmp_path, source, images, settings)
    folders = {"lists": source, "images": images, "keypoints": keypoints, **outputs(tmp_path)}
    stage.run(**folders, settings=replace(PATN, test_list="test.lst"))
    found = read(tmp_path / "split")
    published = pd.read_csv(lists / "fashion-pairs-test.csv")
    assert len(found.test) == 8_570
    pd.testing.assert_frame_equal(found.test, published, check_dtype=False)
    assert found.record["mode"] == "patn"
    # and the same from the published file itself
    again = write_lists(tmp_path / "again", {"pairs.csv": (lists / "fashion-pairs-test.csv").read_bytes()})
    folders |= {"lists": again, "split": tmp_path / "split-again"}
    stage.run(**folders, settings=replace(PATN, pairs="pairs.csv"))
    pd.testing.assert_frame_equal(read(tmp_path / "split-again").test, published, check_dtype=False)


def keypoints_of_parts(folder: Path, lists: Path, images: Path, settings: KeypointsSettings) -> Path:
    """What the stage before writes, part by part."""
    for part in part_names(images):
        out, report = folder / "keypoints" / part, folder / "poses" / part
        run_keypoints(
            lists=lists, images=images / part, keypoints=out, report=report, work=folder / "work", settings=settings
        )
    return folder / "keypoints"


def owners_path(flat: str) -> str:
    """The owner's path of a name in PATN's spelling."""
    head, view = flat.removeprefix("fashion").removesuffix(".jpg").rsplit("_", 1)
    gender = "WOMEN" if head.startswith("WOMEN") else "MEN"
    return f"img/{gender}/{head[len(gender) : -12]}/id_{head[-10:-2]}/{head[-2:]}_{view[0]}_{view[1:]}.jpg"


def test_the_rows_of_a_pairs_file_are_the_test_pairs(tmp_path: Path) -> None:
    paths = garment(1) + garment(2) + garment(3)
    spelled = "fasionWOMENDressesid0000000201_1front.jpg"
    rows = [(name(3, "3_back"), name(3, "1_front")), (name(2, "2_side"), spelled)]
    text = "from,to\n" + "".join(f"{a},{b}\n" for a, b in rows)
    found = split(tmp_path, paths, replace(PATN, pairs="p.csv"), files={"p.csv": text})
    assert found.record["mode"] == "patn"
    assert [*found.test.itertuples(index=False, name=None)] == [rows[0], (rows[1][0], name(2, "1_front"))]
    assert found.items_of("train") == {"WOMEN/Dresses/id_00000001/01"}
    assert len(found.names_of("test")) == 6


def test_rows_of_a_pairs_file_that_cannot_be_tested_are_counted_and_the_mode_says_so(tmp_path: Path) -> None:
    paths = garment(1) + garment(2) + garment(3)
    a, b, c = (name(2, view) for view in VIEWS[:3])
    rows = [(a, b), (a, "gone.jpg"), (b, c), (a, b), (b, a), (name(3, "1_front"), name(3, "2_side"))]
    text = "from,to\n" + "".join(f"{a},{b}\n" for a, b in rows)
    settings = replace(PATN, pairs="p.csv", max_unknown=0.2, test_pairs=2)
    found = split(tmp_path, paths, settings, files={"p.csv": text}, no_pose=[c])
    assert found.record["mode"] == "patn-like"
    assert found.record["departures"] == ["2 of the 6 pairs of p.csv"]
    assert found.record["test_pairs_dropped"] == {
        "with a photo that is not there": 1,
        "of photos left out": 1,
        "listed twice": 1,
        "beyond test_pairs": 1,
    }
    assert [*found.test.itertuples(index=False, name=None)] == [(a, b), (b, a)]


def test_a_share_of_the_listed_garments_leaves_the_rest_to_train_on(tmp_path: Path) -> None:
    paths = [path for number in range(20) for path in garment(number, VIEWS[:2])]
    text = "from,to\n" + "".join(f"{name(number, '1_front')},{name(number, '2_side')}\n" for number in range(20))
    found = split(tmp_path, paths, replace(PATN, pairs="p.csv", test_share=0.25), files={"p.csv": text})
    assert found.record["mode"] == "patn-like"
    assert found.record["departures"] == [
        "tested on 5 of 20 garments of the lists, drawn with seed 0",
        "5 of the 20 pairs of p.csv",
    ]
    assert found.record["test_pairs_dropped"] == {"of items that are not tested on": 15}
    assert (len(found.items_of("train")), len(found.items_of("test"))) == (15, 5)


def test_the_rest_of_the_listed_garments_joins_the_train_list(tmp_path: Path) -> None:
    paths = [path for number in range(10) for path in garment(number, VIEWS[:2])]
    files = {"test": "\n".join(name(number, "1_front") for number in range(4)), "train": name(5, "1_front")}
    settings = replace(PATN, train_list="train", test_list="test", test_share=0.2)
    found = split(tmp_path, paths, settings, files=files)
    listed = {f"WOMEN/Dresses/id_{number:08d}/01" for number in range(4)}
    assert len(found.items_of("test")) == 2
    assert found.items_of("test") < listed
    assert found.items_of("train") == listed - found.items_of("test") | {"WOMEN/Dresses/id_00000005/01"}


@pytest.mark.parametrize(
    ("changes", "files", "departure"),
    [
        ({"posed": "any"}, {"l": name(2, "1_front")}, "posed is any, not torso"),
        (
            {},
            {"l": "\n".join([name(2, "1_front"), name(2, "4_full"), name(7, "1_front")])},
            "2 of 3 photos of l are not there",
        ),
    ],
)
def test_a_departure_from_patns_rule_shows_in_the_mode(
    tmp_path: Path, changes: dict[str, Any], files: dict[str, str], departure: str
) -> None:
    found = split(tmp_path, garment(1) + garment(2), replace(PATN, test_list="l", **changes), files=files)
    assert (found.record["mode"], found.record["departures"]) == ("patn-like", [departure])


# --- official ------------------------------------------------------------------------------------------------------


def partition_list(parts: Mapping[str, str]) -> str:
    rows = "".join(f"{path} {path.split('/')[3]} {part}\n" for path, part in parts.items())
    return f"{len(parts)}\nimage_name item_id evaluation_status\n{rows}"


def test_official_tests_on_query_and_gallery(tmp_path: Path) -> None:
    one, two, three = garment(1), garment(2), garment(3)
    parts = {**dict.fromkeys(one, "train"), two[0]: "query", two[1]: "gallery", two[2]: "gallery"}
    found = split(tmp_path, one + two + three, OFFICIAL, partition=partition_list(parts))
    assert found.record["mode"] == "official"
    assert found.items_of("test") == {"WOMEN/Dresses/id_00000002/01"}
    assert (len(found.train), len(found.test)) == (6, 6)
    assert found.record["photos_dropped"] == {"in neither part": 3}


# --- Market-1501 ---------------------------------------------------------------------------------------------------

MARKET = [
    *(f"bounding_box_train/0002_c{camera}s1_00045{camera}_03.jpg" for camera in range(1, 7)),
    *(f"bounding_box_train/0002_c1s2_00046{number}_03.jpg" for number in range(4)),
    "bounding_box_train/0007_c1s1_000451_03.jpg",
    "bounding_box_test/0001_c1s1_000451_03.jpg",
    "bounding_box_test/0001_c2s1_000451_03.jpg",
    "bounding_box_test/0001_c3s1_000451_03.jpg.jpg",
    "bounding_box_test/-1_c1s1_000451_03.jpg",
    "bounding_box_test/-1_c2s1_000451_03.jpg",
    "bounding_box_test/0000_c1s1_000451_03.jpg",
    "bounding_box_test/0000_c2s1_000451_03.jpg",
    "query/0001_c1s1_000451_00.jpg",
]
NOBODY = {"of nobody in particular (-1 or 0000)": 4}


@pytest.mark.parametrize(("mode", "photos"), [("pg2", 3), ("patn", 3), ("official", 4)])
def test_market_by_its_folders(tmp_path: Path, mode: str, photos: int) -> None:
    settings = build(SplitSettings, as_dict(PG2) | {"mode": mode}, "params.yaml: split")
    found = split(tmp_path, MARKET, settings, layout="market1501")
    assert found.record["mode"] == mode
    assert found.record["train"] == {"items": 1, "photos": 10, "pairs": 90}
    assert found.record["test"] == {"items": 1, "photos": photos, "pairs": photos * (photos - 1)}
    neither = {} if mode == "official" else {"in neither part": 1}
    assert found.record["photos_dropped"] == NOBODY | neither | {"the only one of its item": 1}
    assert any(other.endswith(".jpg.jpg") for other in found.test["to"])


@pytest.mark.parametrize(
    ("settings", "paths", "arguments", "message"),
    [
        (replace(PG2, test_share=0.5), MARKET, {"layout": "market1501"}, "Market-1501's folders define the partition"),
        (OFFICIAL, garment(1), {}, r"needs the owner's partition.*list_eval_partition\.txt"),
        (
            OFFICIAL,
            garment(1),
            {"partition": partition_list(dict(zip(garment(1), ("train", "query", "gallery"), strict=True)))},
            r"1 item\(s\) are both for training and for testing.*owner's partition.*id_00000001",
        ),
        (
            replace(PG2, test_share=0.5),
            garment(1) + [path for number in range(2, 9) for path in garment(number, category="WOMEN/Skirts")],
            {},
            r"4 of 8 garments should be for testing, but there are only 1 \(upper bodies",
        ),
    ],
)
def test_settings_that_do_not_fit_the_source_are_rejected(
    tmp_path: Path, settings: SplitSettings, paths: list[str], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReposeError, match=message):
        split(tmp_path, paths, settings, **arguments)


# --- bad input -----------------------------------------------------------------------------------------------------

ONE, TWO, THREE = (name(number, "1_front") for number in (1, 2, 3))
PAIR = f"from,to\n{TWO},{name(2, '2_side')}\n"


@pytest.mark.parametrize(
    ("changes", "files", "message"),
    [
        ({"pairs": "p"}, {"p": f"{PAIR}{TWO},{name(9, '1_front')}\n"}, "p: 1 of 2 pairs have a photo"),
        ({"pairs": "p"}, {"p": PAIR + "a.jpg,b.jpg\n" * 5}, "5 of 6 pairs have a photo.*such as a.jpg, b.jpg. Get"),
        ({"pairs": "p"}, {"p": f"{PAIR}{ONE},{TWO}\n"}, "p, line 3.*are not two photos of one item"),
        ({"pairs": "q"}, {"p": PAIR}, "has no file named q"),
        (
            {"pairs": "p", "train_list": "l"},
            {"p": PAIR, "l": TWO},
            r"1 item\(s\) are both for training and for testing",
        ),
        (
            {"test_list": "l", "train_list": "m"},
            {"l": ONE, "m": name(1, "2_side")},
            "are both for training and for testing.*the lists",
        ),
        ({"test_list": "l"}, {"l": "a.jpg\nb.jpg\n"}, "l lists 2 photos, first a.jpg, but none.*`split.test_list`"),
        ({}, {}, "Mode patn needs a list"),
        ({"test_list": "l"}, {"l": f"{ONE}\n{TWO}"}, "has no train items. Left out: 1 the only one of its item"),
        ({"test_list": "l"}, {"l": THREE}, "has no test pairs. Left out: 1 the only one of its item"),
    ],
)
def test_bad_lists_are_refused_and_an_earlier_split_stays(
    tmp_path: Path, changes: dict[str, str], files: dict[str, str], message: str
) -> None:
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "split.json").write_text("earlier")
    with pytest.raises(ReposeError, match=message):
        split(tmp_path, garment(1) + garment(2) + garment(3, VIEWS[:1]), replace(PATN, **changes), files=files)
    assert (tmp_path / "split" / "split.json").read_text() == "earlier"


def test_keypoints_of_other_photos_are_refused(tmp_path: Path) -> None:
    lists, images = write_lists(tmp_path / "lists", {}), write_images(tmp_path / "images", garment(1))
    poses = write_poses(tmp_path / "keypoints", [name(2, "1_front")])
    message = rf"The keypoints in {poses} are not of the photos in {images}\. Run the keypoints stage again"
    with pytest.raises(ReposeError, match=message):
        stage.run(lists=lists, images=images, keypoints=poses, **outputs(tmp_path), settings=PG2)


# --- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["pg2", "patn"])
def test_the_parts_change_no_byte_of_the_split(tmp_path: Path, mode: str) -> None:
    paths = [path for number in range(9) for path in garment(number, VIEWS[: 2 + number % 3])]
    names = [name(number, view) for number in range(9) for view in VIEWS[: 2 + number % 3]]
    order = [names[row] for row in np.random.default_rng(0).permutation(len(names))][3:]  # three have no row
    settings = replace(PG2 if mode == "pg2" else PATN, test_list="l", test_pairs=20)
    files = {"l": "\n".join(name(number, "1_front") for number in (2, 5, 7))}
    written = []
    for parts in (1, 2, 5, len(paths)):
        folder = tmp_path / str(parts)
        folder.mkdir()
        split(folder, paths, settings, files=files, order=order, no_pose=[names[4]], parts=parts)
        assert len(list((folder / "keypoints").iterdir())) == parts
        written.append({file.name: file.read_bytes() for file in (folder / "split").iterdir()})
    assert all(files == written[0] for files in written)
    assert len(written[0]) == 4


def test_too_few_pairs_fail_by_name_and_an_earlier_split_stays(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "split.json").write_text("earlier")
    settings = replace(PG2, test_list="l", min_train_pairs=6, min_test_pairs=3)
    with pytest.raises(ReposeError, match=r"(?s)The split failed 1 of 9 checks.*test pairs.*at least 3 pairs"):
        split(tmp_path, garment(1) + garment(2, VIEWS[:2]), settings, files={"l": name(2, "1_front")})
    assert [entry.read_text() for entry in (tmp_path / "split").iterdir()] == ["earlier"]
    checks = read_json(tmp_path / "report" / "validation.json")["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == ["test pairs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "official", "test_list": "l"}, "mode official uses the owner's partition"),
        ({"mode": "pg2", "pairs": "p"}, "mode pg2 draws its own pairs"),
        ({"test_share": 1.0}, "test_share should be less than 1"),
        ({"max_unknown": 1.1}, "max_unknown should be at most 1"),
        ({"min_test_pairs": -1}, "min_test_pairs should be more than 0"),
        ({"exclude_views": ["flatt"]}, "exclude_views has the unknown view 'flatt'. Did you mean 'flat'"),
    ],
)
def test_wrong_settings_are_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        build(SplitSettings, as_dict(PG2) | changes, "params.yaml: split")
