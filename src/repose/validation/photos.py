"""The suites of the stage validate: each file, comparisons between photos, and the photos that pass."""

from collections.abc import Sequence
from dataclasses import replace
from sys import intern
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, PositiveFloat

from repose.config import nearest, settings
from repose.data.images import FORMATS
from repose.data.layouts import of_nobody
from repose.validation.expectations import BETWEEN, IN_SET, Check, Outcome, expect, part_of, percent, validate

# The reason that a photo is set aside, and the column with the detail, by the name of the check. Of several reasons, the first
# is used.
REASONS = {
    "decodes": ("does not decode", "error"),
    "pixels": ("too many pixels", "size"),
    "format": ("wrong format", "format"),
    "mode": ("wrong mode", "mode"),
    "size": ("wrong size", "size"),
    "shorter side": ("wrong size", "size"),
    "path": ("misnamed", "error"),  # empty if a photo decodes
    "names differ": ("same name twice", "same_name"),
    "contents differ": ("duplicate content", "same_content"),
}
Names = Annotated[tuple[str, ...], Field(min_length=1)]


@settings
class PhotoRules:
    """The requirements for the photos of a source."""

    formats: Names  # accepted, by their bytes: of JPEG, PNG, BMP, GIF, WEBP, TIFF
    modes: Names  # accepted, as Pillow names them: RGB, L (gray), CMYK, I;16 (16 bit), ...
    sizes: tuple[tuple[int, int], ...]  # accepted [height, width], px; none: any
    min_side: int  # minimum px of the shorter side
    max_megapixels: PositiveFloat  # larger photos are not decoded
    duplicates: Literal["set-aside", "report"]  # what to do with a photo with the bytes of an earlier one
    photos_per_item: tuple[int, int]  # allowed range of the median number of photos per item
    tolerated_share: Annotated[float, Field(ge=0, le=1)]  # maximum share of photos that may be set aside

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise ValueError(f"formats has the unknown format {name!r}{nearest(name, FORMATS)}")
        if {"I", "F"} & set(self.modes):
            raise ValueError("modes should not contain I or F, whose values have an unknown range. I;16 is supported.")
        if not 1 <= self.photos_per_item[0] <= self.photos_per_item[1]:
            raise ValueError(f"photos_per_item should be [least, most] from 1 up, not {list(self.photos_per_item)}.")


def check_photos(photos: pd.DataFrame, rules: PhotoRules) -> tuple[Outcome, pd.DataFrame]:
    """Check the files of a source that should be photos, and add the columns `reason` (of REASONS) and `detail`.

    `photos` has path, name, item, category, view, partition (all empty where the path does not follow the layout) and the
    fields of `inspection.Inspection`. A reason is missing if the photo passes; of photos with the same name or bytes, the
    first passes.
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
    """Photos with the columns that the suite checks; values are missing, and not checked, if the file is not an image."""
    table = photos.assign(
        megapixels=photos["height"] * photos["width"] / 1e6,
        size=size_text(photos),
        shorter_side=photos[["height", "width"]].min(axis=1).astype(float),
        name=photos["name"].where(photos["name"] != ""),
    ).astype({"format": object, "mode": object, "size": object})
    table.loc[photos["format"] == "", ["format", "mode", "size", "shorter_side", "megapixels"]] = None
    return table


def size_text(photos: pd.DataFrame) -> "pd.Series[str]":
    """Each photo's size as "height x width"; most are equal, and share one text."""
    sizes = zip(photos["height"], photos["width"], strict=True)
    return pd.Series([intern(f"{height} x {width}") for height, width in sizes], photos.index, dtype=object)


def _file_suite(rules: PhotoRules) -> list[Any]:
    """The suite for single files. Files that fail are set aside; `_check_share` limits their number."""
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
    """The path of the first photo with the same value; missing for that photo itself."""
    first = photos.groupby(column)["path"].transform("first")
    return first.where(first != photos["path"])


def _set_aside(table: pd.DataFrame, checks: Sequence[Check]) -> pd.DataFrame:
    """Add `reason` and `detail` of the first check that a photo fails; they are missing if it passes."""
    judged = table.assign(reason=None, detail=None)
    for check in reversed(checks):  # the first check is applied last and wins
        reason, column = REASONS[check.name]
        rows = judged.loc[list(check.failing), column].dropna()  # the first of equal photos repeats no other
        judged.loc[rows.index, "reason"] = reason
        judged.loc[rows.index, "detail"] = rows
    return judged


def _check_share(judged: pd.DataFrame, tolerated: float) -> Check:
    """Check the share of photos set aside, in total and for each reason."""
    words = f"at most {percent(tolerated)} of the photos are set aside"
    mostly = round(1 - tolerated, 9)  # 1 - 0.57 > 0.43: without rounding, exactly the tolerated share would fail
    share = expect("share set aside", "ColumnValuesToBeNull", words, column="reason", mostly=mostly)
    (check,) = validate(judged, [share], label=["path", "reason"])
    counts = judged["reason"].value_counts()
    by_reason = [f"{reason}: {count:,}" for reason, count in counts.items()]
    return replace(check, observed="; ".join([part_of(int(counts.sum()), len(judged)), *by_reason]))


def _check_source(good: pd.DataFrame) -> list[Check]:
    """Check that some photos pass, and that they are in the owner's list."""
    partitions = ["train", "query", "gallery"] if good["partition"].ne("").any() else [""]
    listed = "every photo is in the owner's partition list, if there is one"
    suite = [
        expect("photos left", "TableRowCountToBeBetween", "at least one photo passes", min_value=1),
        expect("partition", IN_SET, listed, "warning", column="partition", value_set=partitions),
    ]
    return validate(good, suite, label=["path"])


def _check_items(good: pd.DataFrame, photos_per_item: tuple[int, int]) -> list[Check]:
    """Check the number of photos per item, and that no item is in both of the owner's parts."""
    half = good["partition"].map({"train": "train", "query": "test", "gallery": "test"})
    by_item = good.assign(half=half)[~of_nobody(good)].groupby("item")
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
