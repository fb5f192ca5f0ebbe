"""Splits of made-up garments, checked for what holds of every split."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fabricated import write_lists
from repose.data.layouts import LAYOUTS, LayoutName
from repose.data.raw import RawFiles
from repose.data.splits import SplitSettings, choose, with_occlusion

PG2 = SplitSettings(
    mode="pg2", train_list=None, test_list=None, pairs=None, test_share=None, test_pairs=12_800, min_train_pairs=1,
    min_test_pairs=1, posed="torso", exclude_views=("flat",), exclude_categories=(), max_unknown=0.0, seed=0,
)  # fmt: skip
PATN = replace(PG2, mode="patn")
OFFICIAL = replace(PG2, mode="official")
VIEWS = ("1_front", "2_side", "3_back", "4_full", "7_additional")
Pairs = list[tuple[str, str]]
LISTS = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "lists"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason=f"no real lists: {LISTS} is absent")


def garment(number: int, views: Iterable[str] = VIEWS[:3], category: str = "WOMEN/Dresses") -> list[str]:
    return [f"img/{category}/id_{number:08d}/01_{view}.jpg" for view in views]


def owners_path(name: str) -> str:
    """The owner's path of a name in PATN's spelling, split by lengths from the right."""
    head, view = name.removeprefix("fashion").removesuffix(".jpg").rsplit("_", 1)
    gender = "WOMEN" if head.startswith("WOMEN") else "MEN"
    return f"img/{gender}/{head[len(gender) : -12]}/id_{head[-10:-2]}/{head[-2:]}_{view[0]}_{view[1:]}.jpg"


def garments(count: int, views: Iterable[str] = VIEWS[:2]) -> list[str]:
    return [path for number in range(count) for path in garment(number, views)]


def name(number: int, view: str = "1_front", category: str = "WOMENDresses") -> str:
    return f"fashion{category}id{number:08d}01_{view.replace('_', '')}.jpg"


def item(number: int, category: str = "WOMEN/Dresses") -> str:
    return f"{category}/id_{number:08d}/01"


def csv(pairs: Pairs) -> str:
    return "from,to\n" + "".join(f"{source},{target}\n" for source, target in pairs)


@dataclass(frozen=True)
class Split:
    items: pd.DataFrame
    train: Pairs
    test: Pairs
    occlusion: list[str]  # of the test pairs
    record: dict[str, Any]

    def items_of(self, part: str) -> set[str]:
        return set(self.items["item"][self.items["part"] == part])

    def names_of(self, part: str) -> list[str]:
        return self.items["name"][self.items["part"] == part].tolist()


def split(
    folder: Path, paths: Sequence[str], settings: SplitSettings, *, files: Mapping[str, str] | None = None,
    layout: LayoutName = "deepfashion", partition: str = "", no_pose: Iterable[str] = (), order: Sequence[str] = (),
) -> Split:  # fmt: skip
    """The split of photos at these paths, all posed but for `no_pose`; `order` has the names as the keypoint file has them."""
    lists = write_lists(folder / "lists", {path: text.encode() for path, text in (files or {}).items()}, layout)
    listed = {"list_eval_partition.txt": partition.encode()} if partition else {}
    grammar = LAYOUTS[layout](listed, listed.__getitem__)
    photos = pd.DataFrame([photo for path in sorted(paths) if (photo := grammar.photo(path))])
    rows = {other: row for row, other in enumerate(order or photos["name"])}
    posed = ~photos["name"].isin(set(no_pose))
    chosen = choose(photos.assign(posed=posed, row=photos["name"].map(rows)), RawFiles(lists), settings)
    train, test = (chosen.pairs[chosen.pairs["part"] == part] for part in ("train", "test"))
    ends = [[*zip(pairs["from"], pairs["to"], strict=True)] for pairs in (train, test)]
    occlusion = with_occlusion(test, RawFiles(lists))["occlusion"].tolist()
    found = Split(chosen.items, *ends, occlusion, chosen.record)
    assert_sound(found, photos["name"].tolist())
    return found


def assert_sound(found: Split, names: Sequence[str]) -> None:
    """What holds of every split."""
    item_of = dict(zip(found.items["name"], found.items["item"], strict=True))
    assert not found.items_of("train") & found.items_of("test")
    assert found.items["name"].is_unique
    assert found.items["item"].duplicated(keep=False).all()  # none alone
    for part, pairs in (("train", found.train), ("test", found.test)):
        assert len(set(pairs)) == len(pairs)
        assert all(source != target and item_of[source] == item_of[target] for source, target in pairs)
        assert {*itertools.chain(*pairs)} <= set(found.names_of(part))
        counts = {"items": len(found.items_of(part)), "photos": len(found.names_of(part)), "pairs": len(pairs)}
        assert found.record[part] == counts
    assert len(found.items) + sum(found.record["photos_dropped"].values()) == len(names)
