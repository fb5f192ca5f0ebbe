"""How the owners of DeepFashion (In-shop Clothes Retrieval) and Market-1501 name and arrange their files.

A layout turns a path, as the owner has it, into a `Photo`. Both spellings of DeepFashion's file names that the field
uses (PATN's `fashionWOMENTees_Tanksid...` and pose-gan's `fasionWOMENTeesTanksid...`) lead to the same name.
"""

import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from repose.errors import DataError

LayoutName = Literal["deepfashion", "market1501"]
_LITTER = frozenset(
    {
        "__macosx", "icon", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin",
        "system volume information", "lost+found",
    }
)  # fmt: skip
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class Photo(NamedTuple):
    """What a photo's path and its owner's lists say of it (see `records.IMAGES` for the fields)."""

    name: str
    item: str
    category: str
    view: str
    partition: str


_DEEPFASHION_VIEWS = ("front", "side", "back", "full", "flat", "additional")
# What `Photo.view` can be: one of these, or one of Market-1501's cameras.
VIEWS = (*_DEEPFASHION_VIEWS, *(f"c{camera}" for camera in range(1, 7)))

_VIEW = r"(?P<view>" + "|".join(_DEEPFASHION_VIEWS) + r")\.jpg$"
# img/WOMEN/Dresses/id_00000002/02_1_front.jpg; the folder may lie anywhere in the source.
_DEEPFASHION_PATH = re.compile(
    r"(?:^|/)img(?:_highres)?/(?P<gender>MEN|WOMEN)/(?P<category>[A-Za-z_]+)/id_(?P<id>\d{8})/"
    r"(?P<colour>\d{2})_(?P<number>[1-7])_" + _VIEW
)
# fashionWOMENDressesid0000000202_1front.jpg (PATN) or fasionWOMENDressesid0000000202_1front.jpg (pose-gan), in any folder
_DEEPFASHION_FLAT = re.compile(
    r"(?:^|/)fash?ion(?P<gender>MEN|WOMEN)(?P<category>[A-Za-z_]+?)id(?P<id>\d{8})(?P<colour>\d{2})_"
    r"(?P<number>[1-7])" + _VIEW
)
# Its categories with an underscore, by pose-gan's spelling, which leaves it out.
_CATEGORIES = {
    name.replace("_", ""): name
    for name in (
        "Blouses_Shirts", "Graphic_Tees", "Jackets_Coats", "Jackets_Vests", "Rompers_Jumpsuits", "Shirts_Polos",
        "Sweatshirts_Hoodies", "Tees_Tanks",
    )
}  # fmt: skip
# Eighteen files of Market-1501 really end in .jpg.jpg.
_MARKET_PATH = re.compile(
    r"(?:^|/)(?P<folder>bounding_box_train|bounding_box_test|query)/"
    r"(?P<name>(?P<id>-1|\d{4})_c(?P<camera>[1-6])s\d_\d{6}_\d{2}\.jpg(?:\.jpg)?)$"
)
_MARKET_PARTITION = {"bounding_box_train": "train", "bounding_box_test": "gallery", "query": "query"}
JUNK, DISTRACTOR = "-1", "0000"  # Market-1501's detections of nobody in particular


class DeepFashion:
    """In-shop Clothes Retrieval Benchmark: `img/GENDER/Category/id_XXXXXXXX/CC_V_view.jpg`.

    Copies with flattened names, as the preparations of pose-gan and PATN leave them in `train/` and `test/`, are read too;
    the names of their folders say nothing. An item is a gender, category, id and two-digit colour; so grouped, items have
    at most five photos besides `flat` ones.
    """

    def __init__(self, files: Iterable[str], read: Callable[[str], bytes]) -> None:
        listed = [path for path in files if path.endswith("list_eval_partition.txt")]
        self._partition = _read_partition(listed[0], read(listed[0])) if listed else {}

    def photo(self, path: str) -> Photo | None:
        """The photo at a path of the source, or None where the path is not one of a photo."""
        match = _DEEPFASHION_PATH.search(path) or _DEEPFASHION_FLAT.search(path)
        if match is None:
            return None
        gender, number, colour, place, view = match.group("gender", "id", "colour", "number", "view")
        category = _CATEGORIES.get(match["category"], match["category"])
        item = f"{gender}/{category}/id_{number}/{colour}"
        return Photo(
            name=f"fashion{gender}{category}id{number}{colour}_{place}{view}.jpg",
            item=item,
            category=f"{gender}/{category}",
            view=view,
            partition=self._partition.get(f"img/{item}_{place}_{view}.jpg", ""),
        )

    def may_hold_photos(self, path: str) -> bool:
        """Whether an image at this path should have been a photo (Anno/, Eval/ and loose pictures should not)."""
        return re.search(r"(?:^|/)(?:img(?:_highres)?/|fash?ion(?:MEN|WOMEN)[^/]*$)", path) is not None


class Market1501:
    """`bounding_box_train`, `bounding_box_test` and `query`; an item is a person; a view is a camera, c1 to c6."""

    def __init__(self, files: Iterable[str], read: Callable[[str], bytes]) -> None:
        pass  # every fact is in the names

    def photo(self, path: str) -> Photo | None:
        """The photo at a path of the source, or None where the path is not one of a photo."""
        match = _MARKET_PATH.search(path)
        if match is None:
            return None
        return Photo(match["name"], match["id"], "", f"c{match['camera']}", _MARKET_PARTITION[match["folder"]])

    def may_hold_photos(self, path: str) -> bool:
        """Whether an image at this path should have been a photo (gt_bbox and gt_query repeat others)."""
        return re.search(r"(?:^|/)(?:bounding_box_train|bounding_box_test|query)/", path) is not None


LAYOUTS: dict[LayoutName, type[DeepFashion | Market1501]] = {"deepfashion": DeepFashion, "market1501": Market1501}


def is_image(path: str) -> bool:
    """Whether a path ends like an image's."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def is_litter(path: str) -> bool:
    """Whether a relative path is of a file that an operating system or another program left among the user's own.

    Such are hidden files and folders (also `._NAME` of macOS and lock files), thumbnails and indexes of folders, recycle
    bins, backups of editors, and what a network drive adds (`@eaDir`). They are passed over wherever files are listed.
    """
    return any(
        (part.startswith((".", "@", "~$", "#recycle", "#snapshot")) and part != "." and not part.startswith(".."))
        or part.endswith(("~", ":Zone.Identifier"))
        or part.casefold().strip() in _LITTER
        for part in path.split("/")
    )


class NameFinder:
    """Finds the photo that a name in somebody's list means, whatever the spelling.

    Without their underscores, names are still one to one over all of DeepFashion.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._loose = {_loose(name): name for name in self._exact}

    def find(self, name: str) -> str | None:
        """The name as our tables have it, or None where there is no such photo."""
        return name if name in self._exact else self._loose.get(_loose(name))


def item_of_name(name: str) -> str | None:
    """The item of a flattened DeepFashion name, its category as the name spells it; None where it is not one."""
    match = _DEEPFASHION_FLAT.match(name)
    return match and f"{match['gender']}/{match['category']}/id_{match['id']}/{match['colour']}"


def _loose(name: str) -> str:
    match = _DEEPFASHION_FLAT.match(name)
    if match is None:
        return name
    flat = match["gender"] + match["category"].replace("_", "") + match["id"] + match["colour"]
    return f"{flat}_{match['number']}{match['view']}"


def _read_partition(path: str, content: bytes) -> dict[str, str]:
    """Eval/list_eval_partition.txt: a count, a header, then `path item status` padded with spaces."""
    lines = content.decode("utf-8", "replace").splitlines()
    rows = [line.split() for line in lines[2:] if line.strip()]
    for number, row in enumerate(rows, start=3):
        if len(row) != 3 or row[2] not in ("train", "query", "gallery"):
            raise DataError(
                f"{path}, line {number}: expected 'img/... id_XXXXXXXX train|query|gallery', "
                f"found {lines[number - 1]!r}."
            )
    if not lines or not lines[0].strip().isdigit() or int(lines[0]) != len(rows):
        first = lines[0] if lines else ""
        raise DataError(
            f"{path} announces {first!r} photos and lists {len(rows)}: it is cut short or edited. Get it again."
        )
    return {name: status for name, _, status in rows}
