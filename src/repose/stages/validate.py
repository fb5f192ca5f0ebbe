"""validate: decode and check every photo of the source; pack those that pass, and list the rest.

Photos that pass are written, unchanged and sorted by path, to tar shards: a block of nearly equal size for each part, with its
own table images.csv (see `data.records`). The report is written whether the source passes or not: every check with statistics
of the source (validation.html, validation.json), and each file that is not in images.csv with its reason (set-aside.csv).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import PositiveInt

from repose.config import settings
from repose.data.inspection import Inspection, inspect_all
from repose.data.layouts import LAYOUTS, Photo, is_image, of_nobody
from repose.data.raw import RawFiles
from repose.data.records import IMAGES, write_table
from repose.data.shards import Place, ShardWriter
from repose.errors import ReposeError
from repose.storage.atomic import check_replaceable, whole_folder
from repose.terminal import bar, say
from repose.validation.page import PAGE, REPORT_FILES, Facts, Rejected, distribution, require, write_report
from repose.validation.photos import REASONS, PhotoRules, check_photos, size_text

SET_ASIDE = "set-aside.csv"
EXAMPLES = 6  # files listed per reason on the page
NOBODY = Photo("", "", "", "", "")  # stands for a photo whose path does not follow the layout


@settings
class ValidateSettings(PhotoRules):
    """The block `validate` of params.yaml."""

    parts: tuple[int, ...]  # names of the parts of the photos, ascending
    shard_megabytes: PositiveInt  # MiB of a tar shard, about
    workers: PositiveInt  # threads that read and pack photos

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts or self.parts[0] < 0 or list(self.parts) != sorted(set(self.parts)):
            raise ValueError(f"parts should be whole numbers from 0 up, ascending, as [0, 1], not {list(self.parts)}.")


def run(*, raw: Path, images: Path, report: Path, settings: ValidateSettings) -> None:
    """Write the folders `images` (if the source passes) and `report` (in any case) from the folder `raw`.

    Raises:
        ReposeError: the source has no photos, a critical check failed, or fewer photos pass than there are parts. An
            earlier `images` is then not changed.
    """
    report_files = (*REPORT_FILES, SET_ASIDE)
    check_replaceable(report, report_files)
    files = RawFiles(raw)
    outcome, judged = check_photos(_read(files, settings), settings)
    good, bad = judged[judged["reason"].isna()], judged[judged["reason"].notna()]
    enough = len(good) >= len(settings.parts)
    if outcome.passed and enough:
        _pack(good, files, images, settings)
    with whole_folder(report, report_files) as folder:
        write_table(folder / SET_ASIDE, bad, ("path", "reason", "detail"))
        write_report(folder, f"Photos of the source ({files.layout})", outcome, _facts(files, good, bad))
    require(outcome, "The photos", report)
    if not enough:
        raise ReposeError(
            f"{len(good):,} photo(s) pass, but validate.parts in params.yaml has {len(settings.parts):,} parts, each of "
            "at least one photo. Use fewer parts."
        )
    say(f"validate: {len(good):,} photos pass, {len(bad):,} are set aside; the report is {report / PAGE}")


def _read(files: RawFiles, settings: ValidateSettings) -> pd.DataFrame:
    """A row per file that should be a photo, sorted by path, with facts from its path and its bytes."""
    layout = LAYOUTS[files.layout](files.names, files.__getitem__)
    paths = sorted(path for path in files if is_image(path) and layout.may_hold_photos(path))
    if not paths:
        raise ReposeError(
            f"None of the {len(files):,} files of the source is where {files.layout} keeps its photos"
            f"{f'; the first is {files.names[0]}' if files.names else ''}. Does `download.source` in params.yaml match "
            "its origins?"
        )
    named = pd.DataFrame([layout.photo(path) or NOBODY for path in paths], columns=list(Photo._fields))
    del layout  # with the owner's list
    inspections = inspect_all(paths, files, max_pixels=round(settings.max_megapixels * 1e6), workers=settings.workers)
    found = pd.DataFrame(list(bar(inspections, "photos", total=len(paths))), columns=list(Inspection._fields))
    digests = _unchanged(files, paths, found.pop("sha256"))
    return named.assign(path=paths).join(found.astype({"decodes": object})).assign(sha256=digests)


def _unchanged(files: RawFiles, paths: list[str], digests: "pd.Series[str]") -> np.ndarray:
    """The digests of files as download wrote them; of equal texts, memory for one.

    Raises:
        ReposeError: files changed since, so that they are not reported as the owner's bad photos.
    """
    written = files.table.set_index("name")["sha256"].loc[paths].to_numpy()
    changed = [path for path, same in zip(paths, digests == written, strict=True) if not same]
    if changed:
        raise ReposeError(
            f"{len(changed):,} of {len(paths):,} photos in {files.folder} changed since download wrote them, first "
            f"{changed[0]}. Restore them with `dvc checkout --force`, or run the stage download again."
        )
    return written


def _pack(good: pd.DataFrame, files: RawFiles, images: Path, settings: ValidateSettings) -> None:
    blocks = [good.iloc[rows] for rows in np.array_split(np.arange(len(good)), len(settings.parts))]

    def pack(place: Path, photos: pd.DataFrame) -> None:
        place.mkdir()
        with ShardWriter(place, settings.shard_megabytes * 2**20) as shards:
            named = zip(photos["name"], photos["path"], strict=True)
            packed = [shards.add(name, files[path]) for name, path in named]
        packed_at = pd.DataFrame(packed, columns=list(Place._fields), index=photos.index)
        write_table(place / "images.csv", photos.join(packed_at), IMAGES)

    with whole_folder(images, ("*/images.csv", "*/*.tar")) as folder, ThreadPoolExecutor(settings.workers) as pool:
        places = [folder / str(part) for part in settings.parts]
        for _ in bar(pool.map(pack, places, blocks), "parts packed", len(places)):
            pass


def _facts(files: RawFiles, good: pd.DataFrame, bad: pd.DataFrame) -> Facts:
    images = sum(map(is_image, files))
    shown = good[~of_nobody(good)]
    values = {
        "Photos per item": shown.groupby("item").size(), "Owner's partition": good["partition"], "View": good["view"],
        "Category": good["category"],
        "Size (height x width)": size_text(good),
    }  # fmt: skip
    distributions = {title: distribution(found) for title, found in values.items()}
    return Facts(
        counts={
            "photos in the source": len(good) + len(bad),
            "photos that pass": len(good),
            "set aside": len(bad),
            "items": shown["item"].nunique(),
            "images elsewhere, ignored": images - len(good) - len(bad),
            "other files": len(files) - images,
        },
        distributions={title: counts for title, counts in distributions.items() if set(counts) - {"none"}},
        rejected=tuple(_rejected(bad)),
        rejected_list=SET_ASIDE,
    )


def _rejected(bad: pd.DataFrame) -> Iterator[Rejected]:
    for reason in dict.fromkeys(reason for reason, _ in REASONS.values()):
        rows = bad.loc[bad["reason"] == reason, ["path", "detail"]]
        if len(rows):
            yield Rejected(reason, len(rows), tuple(rows.head(EXAMPLES).itertuples(index=False, name=None)))
