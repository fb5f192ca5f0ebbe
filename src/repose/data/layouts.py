"""The naming schemes of DeepFashion (In-shop Clothes Retrieval) and Market-1501, and plain folders.

A layout parses an owner's path into a `Photo`. Both spellings of DeepFashion's flattened file names, PATN's
(`fashionWOMENTees_Tanksid...`) and pose-gan's (`fasionWOMENTeesTanksid...`), give the same name.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cached_property
from sys import intern
from typing import TYPE_CHECKING, Literal, NamedTuple

from repose.data.csv_files import text_of
from repose.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

LayoutName = Literal["deepfashion", "market1501", "folders"]
_LITTER = {
    "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin",
    "system volume information", "lost+found", "@eadir", "@tmp", "@recycle", "@recently-snapshot",
}  # fmt: skip
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")


class Photo(NamedTuple):
    """The facts about a photo in the owner's path and lists (see `records.IMAGES` for the fields)."""

    name: str
    item: str
    category: str
    view: str
    partition: str


_DEEPFASHION_VIEWS = ("front", "side", "back", "full", "flat", "additional")
# The values of `Photo.view`: DeepFashion's, and Market-1501's cameras.
VIEWS = (*_DEEPFASHION_VIEWS, *(f"c{camera}" for camera in range(1, 7)))

_VIEW = r"(?P<view>" + "|".join(_DEEPFASHION_VIEWS) + r")\.jpg$"
# img/WOMEN/Dresses/id_00000002/02_1_front.jpg, in any folder
_DEEPFASHION_PATH = re.compile(
    r"(?:^|/)img(?:_highres)?/(?P<gender>MEN|WOMEN)/(?P<category>[A-Za-z_]+)/id_(?P<id>\d{8})/"
    r"(?P<colour>\d{2})_(?P<number>[1-7])_" + _VIEW
)
# fashionWOMENDressesid0000000202_1front.jpg (PATN) or fasionWOMENDressesid0000000202_1front.jpg (pose-gan), in any folder
_DEEPFASHION_FLAT = re.compile(
    r"(?:^|/)fash?ion(?P<gender>MEN|WOMEN)(?P<category>[A-Za-z_]+?)id(?P<id>\d{8})(?P<colour>\d{2})_"
    r"(?P<number>[1-7])" + _VIEW
)
# DeepFashion's categories with an underscore, by pose-gan's spelling, which omits it.
_CATEGORIES = {
    name.replace("_", ""): name
    for name in (
        "Blouses_Shirts", "Graphic_Tees", "Jackets_Coats", "Jackets_Vests", "Rompers_Jumpsuits", "Shirts_Polos",
        "Sweatshirts_Hoodies", "Tees_Tanks",
    )
}  # fmt: skip
# Eighteen files of Market-1501 end in .jpg.jpg.
_MARKET_PATH = re.compile(
    r"(?:^|/)(?P<folder>bounding_box_train|bounding_box_test|query)/"
    r"(?P<name>(?P<id>-1|\d{4})_c(?P<camera>[1-6])s\d_\d{6}_\d{2}\.jpg(?:\.jpg)?)$"
)
_MARKET_PARTITION = {"bounding_box_train": "train", "bounding_box_test": "gallery", "query": "query"}
JUNK, DISTRACTOR = "-1", "0000"  # Market-1501's IDs for detections of no known person


class DeepFashion:
    """In-shop Clothes Retrieval Benchmark: `img/GENDER/Category/id_XXXXXXXX/CC_V_view.jpg`.

    Copies with flattened names, as pose-gan and PATN prepare them in `train/` and `test/`, are read as well; the names of
    their folders are ignored. An item is a gender, category, id and two-digit color: at most five photos besides `flat`.
    """

    def __init__(self, files: Iterable[str], read: Callable[[str], bytes]) -> None:
        lists = {path: read(path) for path in files if path.rpartition("/")[2] == "list_eval_partition.txt"}
        if len(set(lists.values())) > 1:
            raise DataError(f"The source has different partition lists: {', '.join(lists)}. Keep one of them.")
        self._partition = _read_partition(*next(iter(lists.items()))) if lists else {}

    def photo(self, path: str) -> Photo | None:
        """The photo at a path of the source, or None if the path is not that of a photo."""
        match = _DEEPFASHION_PATH.search(path) or _DEEPFASHION_FLAT.search(path)
        if match is None:
            return None
        gender, number, colour, place, view = match.group("gender", "id", "colour", "number", "view")
        category = _CATEGORIES.get(match["category"], match["category"])
        item = intern(f"{gender}/{category}/id_{number}/{colour}")
        return Photo(
            name=f"fashion{gender}{category}id{number}{colour}_{place}{view}.jpg",
            item=item,
            category=intern(f"{gender}/{category}"),
            view=intern(view),
            partition=self._partition.get(f"img/{item}_{place}_{view}.jpg", ""),
        )

    def may_hold_photos(self, path: str) -> bool:
        """Whether an image at this path should be a photo (those in Anno/ and Eval/ and loose pictures are not)."""
        return re.search(r"(?:^|/)(?:img(?:_highres)?/|fash?ion(?:MEN|WOMEN)[^/]*$)", path) is not None


class Market1501:
    """Market-1501: `bounding_box_train`, `bounding_box_test` and `query`. An item is a person, a view a camera (c1 to c6)."""

    def __init__(self, files: Iterable[str], read: Callable[[str], bytes]) -> None:
        pass  # file names have all the facts

    def photo(self, path: str) -> Photo | None:
        """The photo at a path of the source, or None if the path is not that of a photo."""
        match = _MARKET_PATH.search(path)
        if match is None:
            return None
        return Photo(match["name"], match["id"], "", f"c{match['camera']}", _MARKET_PARTITION[match["folder"]])

    def may_hold_photos(self, path: str) -> bool:
        """Whether an image at this path should be a photo (gt_bbox and gt_query repeat others)."""
        return re.search(r"(?:^|/)(?:bounding_box_train|bounding_box_test|query)/", path) is not None


class Folders:
    """A folder of photos for each item: `women/red-coat/1.jpg` shows the item `women/red-coat` of the category `women`."""

    def __init__(self, files: Iterable[str], read: Callable[[str], bytes]) -> None:
        pass  # paths have all the facts

    def photo(self, path: str) -> Photo | None:
        """The photo at a path of the source, or None if it is in no folder."""
        item, _, file = path.rpartition("/")
        return Photo(path.replace("/", "__"), item, item.rpartition("/")[0], "", "") if item and file else None

    def may_hold_photos(self, path: str) -> bool:  # noqa: ARG002 (as the other layouts)
        """Whether an image at this path should be a photo."""
        return True


_ANY_DEEPFASHION = DeepFashion([], str.encode)  # for names without a source
LAYOUTS: dict[LayoutName, type[DeepFashion | Market1501 | Folders]] = {
    "deepfashion": DeepFashion, "market1501": Market1501, "folders": Folders,
}  # fmt: skip


def of_nobody(photos: "pd.DataFrame") -> "pd.Series[bool]":
    """Which photos (`records.IMAGES`) are Market-1501's of no known person. In folders, such a name is an item's."""
    return photos["item"].isin((JUNK, DISTRACTOR)) & (photos["view"] != "")


def is_image(path: str) -> bool:
    """Whether a path has the suffix of an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def is_litter(path: str) -> bool:
    """Whether a relative path is that of a file left by an operating system or another program.

    These are hidden files and folders (also `._NAME` of macOS and lock files), thumbnails, recycle bins, backups of
    editors, and the metadata of network drives (`@eaDir`). All listings of files leave them out.
    """
    return any(
        (part.startswith((".", "~$", "#recycle", "#snapshot")) and part != "." and not part.startswith(".."))
        or part.endswith(("~", ":Zone.Identifier"))
        or part.casefold() in _LITTER
        for part in path.split("/")
    )


class NameFinder:
    """Finds the entry of `names` for the same photo as a given name, in any spelling."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name: name for name in names}

    @cached_property
    def _canonical(self) -> dict[str, str]:
        return {_canonical(name): name for name in self._names}

    def find(self, name: str) -> str | None:
        """The name as spelled in `names`, or None if there is no such photo."""
        return self._names.get(name) or self._canonical.get(_canonical(name))


def item_of_name(name: str) -> str | None:
    """The item of a DeepFashion name or path; None for other names."""
    photo = _ANY_DEEPFASHION.photo(name)
    return photo and photo.item


def _canonical(name: str) -> str:
    photo = _ANY_DEEPFASHION.photo(name)
    return photo.name if photo else unicodedata.normalize("NFC", name)  # macOS often writes ü as u and a mark


def _read_partition(path: str, content: bytes) -> dict[str, str]:
    """Partitions by path from Eval/list_eval_partition.txt: a count, a header, then rows `path item status`."""
    lines = text_of(content, path).splitlines()
    found, listed = dict[str, str](), 0
    for number, line in enumerate(lines[2:], start=3):
        if row := line.split():
            if len(row) != 3 or row[2] not in ("train", "query", "gallery"):
                raise DataError(
                    f"{path}, line {number}: expected 'img/... id_XXXXXXXX train|query|gallery', found {' '.join(row)!r}."
                )
            found[row[0]], listed = intern(row[2]), listed + 1
    count = lines[0].strip() if lines else ""
    if count != str(listed):
        raise DataError(
            f"{path} announces {count!r} photos and lists {listed}: it was truncated or edited. Get it again."
        )
    return found
