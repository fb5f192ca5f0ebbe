"""The suites of the stage validate: each file by itself, the photos beside each other, and what is left of the source."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, PositiveFloat

from repose.config import nearest, settings
from repose.data.images import FORMATS
from repose.data.layouts import DISTRACTOR, JUNK
from repose.validation.expectations import BETWEEN, IN_SET, Check, Outcome, expect, part_of, percent, validate

# Why a photo is set aside, and the column that has the detail, by the name of the check that finds it. Of several reasons
# the first counts.
REASONS = {
    "decodes": ("does not decode", "error"),
    "pixels": ("too many pixels", "size"),
    "format": ("wrong format", "format"),
    "mode": ("wrong mode", "mode"),
    "size": ("wrong size", "size"),
    "shorter side": ("wrong size", "size"),
    "path": ("misnamed", "error"),  # which is empty where a photo decodes
    "names differ": ("same name twice", "same_name"),
    "contents differ": ("duplicate content", "same_content"),
}
Names = Annotated[tuple[str, ...], Field(min_length=1)]


@settings
class PhotoRules:
    """What the photos of a source must be like."""

    formats: Names  # accepted, by their bytes: of JPEG, PNG, BMP, GIF, WEBP, TIFF
    modes: Names  # accepted, as Pillow names them: RGB, L (gray), CMYK, I;16 (16 bit), ...
    sizes: tuple[tuple[int, int], ...]  # accepted [height, width], px; none: any
    min_side: int  # the shorter side has at least so many px
    max_megapixels: PositiveFloat  # a photo with more is not even decoded
    duplicates: Literal["set-aside", "report"]  # what becomes of a photo with the bytes of an earlier one
    photos_per_item: tuple[int, int]  # least and most photos of the median item
    tolerated_share: Annotated[float, Field(ge=0, le=1)]  # of the photos, may be set aside; with more the stage fails

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise ValueError(f"formats names {name!r}{nearest(name, FORMATS)}")
        if {"I", "F"} & set(self.modes):
            raise ValueError("modes should not name I or F: their values have an unknown range. I;16 is read.")
        if not 1 <= self.photos_per_item[0] <= self.photos_per_item[1]:
            raise ValueError(f"photos_per_item should be [least, most] from 1 up, not {list(self.photos_per_item)}.")


def check_photos(photos: pd.DataFrame, rules: PhotoRules) -> tuple[Outcome, pd.DataFrame]:
    """Check the files of a source that should be photos.

    Args:
        photos: a row per file. Columns: path, name, item, category, view, partition (all empty where the path does not
            follow the layout) and the fields of `inspection.Inspection`.
        rules: what they must be like.

    Returns:
        The outcome; and the photos with the columns `reason` (of REASONS) and `detail`, missing where one passes. Of
        photos with the same name or bytes the first passes.
    """
    table = _measured(photos.reset_index(drop=True))
    checks = validate(table, _file_suite(rules), label=["path"])
    judged = _set_aside(table, checks)

    beside = judged[judged["reason"].isna()].copy()
    beside["same_name"] = "as " + _earlier(beside, "name")
    beside["content"] = beside["sha256"].where(beside["same_name"].isna())
    beside["same_content"] = "as in " + _earlier(beside, "content")
    unique, words = "ColumnValuesToBeUnique", "no two photos have the same "
    suite = [
        expect("names differ", unique, f"{words}name", "warning", column="name"),
        expect("contents differ", unique, f"{words}bytes", "warning", column="content"),
    ]
    comparisons = validate(beside, suite, label=["path"])
    found = _set_aside(beside, comparisons if rules.duplicates == "set-aside" else comparisons[:1])
    judged.loc[beside.index, ["reason", "detail"]] = found[["reason", "detail"]]

    good = judged[judged["reason"].isna()]
    checks += [*comparisons, _check_share(judged, rules.tolerated_share), *_check_source(good)]
    if not good.empty:
        checks += _check_items(good, rules.photos_per_item)
    return Outcome(tuple(checks)), judged[[*photos.columns, "reason", "detail"]]


def _measured(photos: pd.DataFrame) -> pd.DataFrame:
    """Photos with the columns that the suite looks at; missing, which is not checked, where the file is no image."""
    table = photos.assign(
        megapixels=photos["height"] * photos["width"] / 1e6,
        size=photos["height"].astype(str) + " x " + photos["width"].astype(str),
        shorter_side=photos[["height", "width"]].min(axis=1).astype(float),
        name=photos["name"].where(photos["name"] != ""),
    ).astype({"format": object, "mode": object, "size": object})
    table.loc[photos["format"] == "", ["format", "mode", "size", "shorter_side", "megapixels"]] = None
    return table


def _file_suite(rules: PhotoRules) -> list[Any]:
    """Each file by itself. What fails is set aside; `_check_share` says how much of that is too much."""
    formats, modes = list(rules.formats), list(rules.modes)
    sizes = [f"{height} x {width}" for height, width in rules.sizes]
    decoded = "every photo decodes to its last row"
    sized = f"every photo has {' or '.join(sizes)} pixels (height x width)"
    few = f"no photo has more than {rules.max_megapixels:g} megapixels"
    wide = f"every photo's shorter side has at least {rules.min_side} pixels"
    suite = [
        expect("decodes", IN_SET, decoded, "warning", column="decodes", value_set=[True]),
        expect("pixels", BETWEEN, few, "warning", column="megapixels", max_value=rules.max_megapixels),
        expect("format", IN_SET, f"every file is {' or '.join(formats)}", "warning", column="format", value_set=formats),
        expect("mode", IN_SET, f"every photo is {' or '.join(modes)}", "warning", column="mode", value_set=modes),
        expect("size", IN_SET, sized, "warning", column="size", value_set=sizes),
        expect("shorter side", BETWEEN, wide, "warning", column="shorter_side", min_value=rules.min_side),
        expect("path", "ColumnValuesToNotBeNull", "every photo's path follows the layout", "warning", column="name"),
    ]  # fmt: skip
    return suite if sizes else [expectation for expectation in suite if expectation.column != "size"]


def _earlier(photos: pd.DataFrame, column: str) -> "pd.Series[str]":
    """The path of the first photo with the same value; missing where that is the photo itself."""
    first = photos.groupby(column)["path"].transform("first")
    return first.where(first != photos["path"])


def _set_aside(table: pd.DataFrame, checks: Sequence[Check]) -> pd.DataFrame:
    """The table with `reason` and `detail` of the first of the checks that a photo fails, missing where it passes."""
    judged = table.assign(reason=None, detail=None)
    for check in reversed(checks):  # the first check is written last
        reason, column = REASONS[check.name]
        rows = judged.loc[list(check.failing), column].dropna()  # the first of equals has nothing that it repeats
        judged.loc[rows.index, "reason"] = reason
        judged.loc[rows.index, "detail"] = rows
    return judged


def _check_share(judged: pd.DataFrame, tolerated: float) -> Check:
    """How many photos are set aside, in all and for each reason."""
    words = f"at most {percent(tolerated)} of the photos are set aside"
    mostly = round(1 - tolerated, 9)  # 1 - 0.57 > 0.43: without rounding the tolerated share itself would fail
    share = expect("share set aside", "ColumnValuesToBeNull", words, column="reason", mostly=mostly)
    (check,) = validate(judged, [share], label=["path", "reason"])
    counts = judged["reason"].value_counts()
    by_reason = [f"{reason}: {count:,}" for reason, count in counts.items()]
    return replace(check, observed="; ".join([part_of(int(counts.sum()), len(judged)), *by_reason]))


def _check_source(good: pd.DataFrame) -> list[Check]:
    """Whether photos are left, and whether they are in the owner's list."""
    partitions = ["train", "query", "gallery"] if good["partition"].ne("").any() else [""]
    listed = "every photo is in the owner's partition list, if there is one"
    suite = [
        expect("photos left", "TableRowCountToBeBetween", "at least one photo passes", min_value=1),
        expect("partition", IN_SET, listed, "warning", column="partition", value_set=partitions),
    ]
    return validate(good, suite, label=["path"])


def _check_items(good: pd.DataFrame, photos_per_item: tuple[int, int]) -> list[Check]:
    """How many photos the items have, and in how many of the owner's two halves each lies."""
    half = good["partition"].map({"train": "train", "query": "test", "gallery": "test"})
    by_item = good.assign(half=half)[~good["item"].isin((JUNK, DISTRACTOR))].groupby("item")
    least, most = photos_per_item
    limits: dict[str, Any] = {"min_value": least, "max_value": most}
    words = f"the median item has {least:,} to {most:,} photos"
    apart = "no item is both in the owner's train and in query or gallery"
    suite = [
        expect("photos per item", "ColumnMedianToBeBetween", words, column="photos", **limits),
        expect("train and test apart", BETWEEN, apart, column="halves", max_value=1),
    ]
    items = by_item.agg(photos=("path", "size"), halves=("half", "nunique")).reset_index()
    return validate(items, suite, label=["item"])
