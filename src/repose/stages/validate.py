"""validate: every photo of the source is read in full and judged; what passes is packed, the rest set aside by name.

Photos that pass go, bytes unchanged and sorted by path, into tar shards: a block of nearly equal size into each part, with
its own table images.csv (see `data.records`). The report folder is written whether the source passes or not:

| file | what |
|---|---|
| validation.html, .json | every check, what it expected and found; figures of the source |
| set-aside.csv | path, reason, detail of each file that is not in images.csv |
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from repose.config import settings
from repose.data.images import FORMATS
from repose.data.inspection import Inspection, inspect_all
from repose.data.layouts import DISTRACTOR, JUNK, LAYOUTS, Photo, is_image
from repose.data.raw import RawFiles
from repose.data.records import IMAGES, write_table
from repose.data.shards import Place, ShardWriter
from repose.errors import ReposeError
from repose.storage.atomic import whole_folder
from repose.terminal import bar, say
from repose.validation.expectations import require
from repose.validation.page import PAGE, Facts, Rejected, distribution, histogram, write_report
from repose.validation.photos import REASONS, PhotoRules, check_photos

SET_ASIDE = "set-aside.csv"
EXAMPLES = 6  # files named per reason on the page
NOBODY = Photo("", "", "", "", "")  # what a path says that is not one of the layout's


@settings
class ValidateSettings(PhotoRules):
    """The block `validate` of params.yaml."""

    parts: tuple[int, ...]  # names of the parts into which the photos are packed, ascending
    shard_megabytes: int  # MiB of a tar shard, about
    workers: int  # processes that read photos

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(f"formats should be some of {', '.join(FORMATS)}, not {list(self.formats)}.")
        if not self.modes:
            raise ValueError("modes is empty: no photo would pass. For example [RGB].")
        if {"I", "F"} & set(self.modes):
            raise ValueError("modes should not name I or F: their values have an unknown range. I;16 is read.")
        if not 0 <= self.tolerated_share <= 1:
            raise ValueError(f"tolerated_share should lie between 0 and 1, not {self.tolerated_share}.")
        if not 1 <= self.photos_per_item[0] <= self.photos_per_item[1]:
            raise ValueError(f"photos_per_item should be [least, most] from 1 up, not {list(self.photos_per_item)}.")
        if not self.parts or self.parts[0] < 0 or list(self.parts) != sorted(set(self.parts)):
            raise ValueError(f"parts should be whole numbers from 0 up, ascending, as [0, 1], not {list(self.parts)}.")
        for name in ("max_megapixels", "shard_megabytes", "workers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} should be more than 0, not {getattr(self, name)}.")


def run(*, raw: Path, images: Path, report: Path, settings: ValidateSettings) -> None:
    """Write the folders `images` (where the source passes) and `report` (also where it fails) from the folder `raw`.

    Raises:
        ReposeError: the source holds no photos, a critical check failed, or fewer photos pass than there are parts;
            then an earlier `images` is untouched.
    """
    files = RawFiles(raw)
    outcome, judged = check_photos(_read(files, settings), settings)
    good, bad = judged[judged["reason"].isna()], judged[judged["reason"].notna()]
    enough = len(good) >= len(settings.parts)
    if outcome.passed and enough:
        _pack(good, files, images, settings)
    with whole_folder(report) as folder:
        write_table(folder / SET_ASIDE, bad, ("path", "reason", "detail"))
        write_report(folder, f"Photos of the source ({files.layout})", outcome, _facts(files, good, bad))
    require(outcome, "The photos", report / PAGE)
    if not enough:
        raise ReposeError(
            f"{len(good):,} photo(s) pass, and validate.parts in params.yaml names {len(settings.parts):,} parts, each of "
            "at least one photo. Name fewer."
        )
    say(f"validate: {len(good):,} photos pass, {len(bad):,} are set aside; the report is {report / PAGE}")


def _read(files: RawFiles, settings: ValidateSettings) -> pd.DataFrame:
    """A row per file that should be a photo, sorted by path: what its path says and what its bytes say."""
    layout = LAYOUTS[files.layout](files.names, files.__getitem__)
    paths = sorted(path for path in files if is_image(path) and layout.may_hold_photos(path))
    if not paths:
        raise ReposeError(
            f"Not one of the {len(files):,} files of the source lies where {files.layout} keeps its photos"
            f"{f'; the first is {files.names[0]}' if files.names else ''}. Is `download.source` in params.yaml what "
            "its origins hold?"
        )
    said = [layout.photo(path) for path in paths]
    inspections = inspect_all(paths, files, max_pixels=round(settings.max_megapixels * 1e6), workers=settings.workers)
    found = pd.DataFrame(list(bar(inspections, "photos", total=len(paths))), columns=list(Inspection._fields))
    _check_unchanged(files, paths, found["sha256"])
    named = pd.DataFrame([photo or NOBODY for photo in said], columns=list(Photo._fields))
    return named.assign(path=paths).join(found.astype({"decodes": object}))


def _check_unchanged(files: RawFiles, paths: list[str], digests: "pd.Series[str]") -> None:
    """A file that download checked and that has changed since is no bad photo of the owner's: the copy is damaged."""
    written = files.table.set_index("name")["sha256"].loc[paths].to_numpy()
    changed = [path for path, same in zip(paths, digests == written, strict=True) if not same]
    if changed:
        raise ReposeError(
            f"{len(changed):,} of {len(paths):,} photos in {files.folder} are not what download wrote, first "
            f"{changed[0]}. Restore them with `dvc checkout --force`, or run the stage download again."
        )


def _pack(good: pd.DataFrame, files: RawFiles, images: Path, settings: ValidateSettings) -> None:
    blocks = np.array_split(np.arange(len(good)), len(settings.parts))
    with whole_folder(images) as folder:
        for part, rows in zip(settings.parts, blocks, strict=True):
            _pack_part(good.iloc[rows], files, folder / str(part), settings.shard_megabytes)


def _pack_part(photos: pd.DataFrame, files: RawFiles, folder: Path, shard_megabytes: int) -> None:
    folder.mkdir()
    with ShardWriter(folder, shard_megabytes * 2**20) as shards:
        packed = (
            shards.add(name, files[path])
            for name, path in zip(photos["name"], bar(photos["path"], f"pack part {folder.name}"), strict=True)
        )
        places = pd.DataFrame(packed, columns=list(Place._fields), index=photos.index)
    write_table(folder / "images.csv", photos.join(places), IMAGES)


def _facts(files: RawFiles, good: pd.DataFrame, bad: pd.DataFrame) -> Facts:
    images = sum(map(is_image, files))
    shown = good[~good["item"].isin((JUNK, DISTRACTOR))]
    size = good["height"].astype(str) + " x " + good["width"].astype(str)
    kilobytes = good["bytes"] // 1024
    return Facts(
        counts={
            "photos in the source": len(good) + len(bad),
            "photos that pass": len(good),
            "set aside": len(bad),
            "items": shown["item"].nunique(),
            "images elsewhere, ignored": images - len(good) - len(bad),
            "other files": len(files) - images,
        },
        distributions=tuple(
            part
            for part in (
                histogram("Photos per item", shown.groupby("item").size()),
                distribution("Owner's partition", good["partition"]),
                distribution("View", good["view"]),
                distribution("Category", good["category"]),
                distribution("Size (height x width)", size),
                histogram("KiB per photo", kilobytes, edges=(0, 5, 10, 15, 20, 25, 30, 50, 100, 1000)),
            )
            if set(part.counts) - {"none"}
        ),
        rejected=tuple(_rejected(bad)),
        rejected_list=SET_ASIDE,
    )


def _rejected(bad: pd.DataFrame) -> Iterator[Rejected]:
    for reason in dict.fromkeys(reason for reason, _ in REASONS.values()):
        rows = bad[bad["reason"] == reason]
        if len(rows):
            yield Rejected(
                reason, len(rows), tuple(rows[["path", "detail"]].head(EXAMPLES).itertuples(index=False, name=None))
            )
