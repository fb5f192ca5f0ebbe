"""The rules by which photos become items and pairs: whose pose is known, who is tested on, which pairs there are.

An item is the photos of one garment (DeepFashion) or person (Market-1501); a pair is two photos of one item, the first
the source and the second the target. PG2 and pose-gan (whose rule PATN took over) pair the same way and differ in the
photos that they leave out, in the items that they test on and in the pairs that they draw.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from repose.data.csv_files import read_csv, text_of
from repose.data.layouts import DeepFashion, NameFinder, item_of_name
from repose.data.skeleton import TORSO, present
from repose.errors import DataError

PosedRule = Literal["torso", "any"]

# The categories of PG2's `filted_up` folders, upper bodies and dresses, as its recovered test list of 2,061 garments
# has them (one further garment of it is of WOMEN/Pants).
PG2_CATEGORIES = frozenset(
    {
        "MEN/Jackets_Vests", "MEN/Shirts_Polos", "MEN/Suiting", "MEN/Sweaters", "MEN/Sweatshirts_Hoodies",
        "MEN/Tees_Tanks", "WOMEN/Blouses_Shirts", "WOMEN/Cardigans", "WOMEN/Dresses", "WOMEN/Graphic_Tees",
        "WOMEN/Jackets_Coats", "WOMEN/Sweaters", "WOMEN/Sweatshirts_Hoodies", "WOMEN/Tees_Tanks",
    }
)  # fmt: skip
PG2_TEST_SHARE = 2061 / 13029  # of DeepFashion's garments
PG2_TEST_PAIRS = 12800  # drawn, in a way that was never published
PATN_TEST_PAIRS, PATN_SEED = 12000, 0  # drawn, for pose-gan and PATN

_DEEPFASHION = DeepFashion([], str.encode)  # for the grammar of its paths
_IMAGE_NAME = re.compile(r"""[^\s:,;"']+\.jpg(?![\w.])""")


def is_posed(keypoints: np.ndarray, rule: PosedRule) -> np.ndarray:
    """Whose pose counts as known: (n,) bool from keypoints (n, K, 2).

    torso: both shoulders and both hips (pose-gan and PATN); any: at least one joint.
    """
    known = present(keypoints)
    posed: np.ndarray = np.all(known[:, TORSO], axis=1) if rule == "torso" else np.any(known, axis=1)
    return posed


def all_pairs(items: "pd.Series[str]") -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of different photos of an item: positions (pairs,) of the sources and of the targets.

    Items come in the order of their first photo and pairs as itertools.permutations gives them, so that, from the
    photos in the order of pose-gan's or PATN's keypoint CSV, the list is theirs.
    """
    item, _ = pd.factorize(items)
    photos = np.argsort(item, kind="stable")
    size = np.bincount(item)
    start = (np.cumsum(size) - size)[item[photos]]  # of its item, for each photo of the sorted list
    others = size[item[photos]] - 1
    source = np.repeat(np.arange(len(photos)), others)
    rank = np.arange(len(source)) - np.repeat(np.cumsum(others) - others, others)  # 0, 1, ... among its others
    target = np.repeat(start, others) + rank
    target += target >= source
    return photos[source], photos[target]


def drawn(pairs: int, most: int, seed: int) -> np.ndarray:
    """Which of so many pairs are tested on, in which order: at most `most` of them.

    This is the draw of pose-gan and PATN, pandas' `sample(n, replace=False, random_state=seed)`; numpy keeps the
    numbers of RandomState as they are for good.
    """
    order = np.random.RandomState(seed).choice(pairs, min(most, pairs), replace=False)
    return order.astype(np.intp)


def drawn_items(items: Iterable[str], number: int, seed: int) -> list[str]:
    """`number` of the items, drawn by a hash of seed and name: an item more or less changes one place, not all."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item}".encode()).digest())[:number]


def names_in(content: bytes, where: str) -> list[str]:
    """All names or paths of JPEG files in a text: a list, a CSV of keypoints or of pairs, a table of paths.

    Raises:
        DataError: it is not text, or names no such file. `where` names the file in the message.
    """
    names = _IMAGE_NAME.findall(text_of(content, where))
    if not names:
        raise DataError(f"{where} names no photo (....jpg). Expected one name a line, such as PATN's test.lst.")
    return names


class PhotoFinder:
    """Finds what a name in somebody's list means among `photos` (a table with the columns name and item).

    A name may be a path of DeepFashion's or in either flattened spelling.
    """

    def __init__(self, photos: pd.DataFrame) -> None:
        self._names = NameFinder(photos["name"])
        self._row = {name: row for row, name in enumerate(photos["name"])}
        self._items = photos["item"].tolist()
        self._spelled = {_bare(item): item for item in photos["item"].unique()}

    def row(self, name: str) -> int:
        """The row of the photo, or -1 where it is not there."""
        return self._row.get(self._names.find(_flattened(name)) or "", -1)

    def item(self, name: str) -> str | None:
        """The item of the photo, also where that photo is missing from the item; None where the item is not there."""
        row = self.row(name)
        return self._items[row] if row >= 0 else self._spelled.get(_bare(item_of_name(_flattened(name)) or ""))


def read_pairs(content: bytes, where: str) -> pd.DataFrame:
    """The pairs of a CSV (`csv_files.read_csv`) with the columns `from` and `to`, as text.

    Raises:
        DataError: not such a file. `where` names it in the message.
    """
    rows = read_csv(content, where, ("from", "to")).rows
    if not rows:
        raise DataError(f"{where} is a CSV of pairs without any pair below its header.")
    return pd.DataFrame([(cells["from"], cells["to"]) for _, cells in rows], columns=["from", "to"])


def _bare(item: str) -> str:
    return item.replace("_", "")  # as the spelling without underscores has it; still one to one over DeepFashion


def _flattened(name: str) -> str:
    if "/" not in name:
        return name
    photo = _DEEPFASHION.photo(name)
    return photo.name if photo else name.rpartition("/")[2]
