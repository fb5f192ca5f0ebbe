"""split: choose the photos and pairs for training and testing, by a published split (data/splits.py).

Writes items.csv, train-pairs.csv, test-pairs.csv and split.json. For rendered photos, test-pairs.csv also has the share of the
target's garment that is hidden in the source.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repose.data import records
from repose.data.pairs import PosedRule, is_posed
from repose.data.raw import RawFiles
from repose.data.splits import Split, SplitSettings, choose, listing, with_occlusion
from repose.errors import ReposeError
from repose.storage.atomic import check_replaceable, whole_folder
from repose.terminal import say
from repose.validation.page import REPORT_FILES, Facts, distribution, require, write_report
from repose.validation.pairs import check_pairs

__all__ = ["SplitSettings", "run"]
FILES = ("split.json", "items.csv", "train-pairs.csv", "test-pairs.csv")


def run(*, lists: Path, images: Path, keypoints: Path, split: Path, report: Path, settings: SplitSettings) -> None:
    """Write `split` (if the checks pass) and `report` (in any case) for the photos in `images` and their `keypoints`.

    Raises:
        ReposeError: see `splits.choose`; or there are too few pairs, keypoints are of other photos, or figures.csv is damaged.
    """
    check_replaceable(split, FILES)
    files = RawFiles(lists)
    chosen = choose(_photos(images, keypoints, settings.posed), files, settings)
    outcome = check_pairs(
        chosen.pairs, chosen.items, min_train_pairs=settings.min_train_pairs, min_test_pairs=settings.min_test_pairs
    )
    with whole_folder(report, REPORT_FILES) as folder:
        write_report(folder, f"Split {chosen.record['mode']}", outcome, _facts(chosen))
    require(outcome, "The split", report)
    train, test = (chosen.pairs[chosen.pairs["part"] == part] for part in ("train", "test"))
    tested = with_occlusion(test, files)
    with whole_folder(split, FILES) as folder:
        records.write_table(folder / "items.csv", chosen.items, records.ITEMS)
        records.write_table(folder / "train-pairs.csv", train, records.PAIRS)
        records.write_table(folder / "test-pairs.csv", tested, (*records.PAIRS, records.OCCLUSION))
        records.write_json(folder / "split.json", chosen.record)
    _say(chosen.record)


def _photos(images: Path, keypoints: Path, rule: PosedRule) -> pd.DataFrame:
    """images.csv of all parts with two more columns: posed, and row, the position in the source of keypoints."""
    parts = records.part_names(images)
    photos = records.read_parts(images, parts, "images.csv", ("name", "item", "category", "view", "partition"))
    names, posed = list[str](), list[np.ndarray]()
    for file in records.part_files(keypoints, parts, "keypoints.csv"):
        some, joints, _ = records.read_keypoints(file)
        names += some
        posed.append(is_posed(joints, rule))
    if names != photos["name"].tolist():
        raise ReposeError(
            f"The keypoints in {keypoints} are not of the photos in {images}. Run the keypoints stage again "
            "(`dvc repro keypoints`)."
        )
    order = records.read_parts(keypoints, parts, "order.csv", records.ORDER)
    row = photos["name"].map(order.set_index("name")["row"])  # NaN, which sorts last, if there is none
    return photos.assign(posed=np.concatenate(posed), row=row)


def _facts(chosen: Split) -> Facts:
    counts = {f"{part} {what}": chosen.record[part][what] for what in ("photos", "pairs") for part in ("train", "test")}
    per_item = chosen.items.groupby(["part", "item"]).size().reset_index(name="photos")
    return Facts(counts, {"Photos per item": distribution(per_item["part"] + ": " + per_item["photos"].astype(str))})


def _say(record: dict[str, Any]) -> None:
    head = f"split ({record['mode']})"
    for part in ("train", "test"):
        say(f"{head}: {part} {listing(record[part])}")
    say(f"{head}: photos left out: {listing(record['photos_dropped']) or 'none'}")
    for departure in record["departures"]:
        say(f"{head}: {departure}")
