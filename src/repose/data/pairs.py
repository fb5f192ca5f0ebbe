"""Rules of the splits: which poses count as known, which items are for testing, and which pairs exist.

An item is the photos of one garment (DeepFashion) or person (Market-1501). A pair is two photos of one item, the source and
the target. PG2 and pose-gan (whose rule PATN adopted) form pairs in the same way, but exclude different photos, test on
different items and draw different pairs.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from repose.data.csv_files import read_csv, text_of
from repose.data.layouts import NameFinder, item_of_name
from repose.data.skeleton import TORSO, present
from repose.errors import DataError

PosedRule = Literal["torso", "any"]

# The categories of PG2's `filted_up` folders, upper bodies and dresses, from its recovered test list of 2,061 garments (that
# list also has one garment of WOMEN/Pants).
PG2_CATEGORIES = {
    "MEN/Jackets_Vests", "MEN/Shirts_Polos", "MEN/Suiting", "MEN/Sweaters", "MEN/Sweatshirts_Hoodies", "MEN/Tees_Tanks",
    "WOMEN/Blouses_Shirts", "WOMEN/Cardigans", "WOMEN/Dresses", "WOMEN/Graphic_Tees", "WOMEN/Jackets_Coats",
    "WOMEN/Sweaters", "WOMEN/Sweatshirts_Hoodies", "WOMEN/Tees_Tanks",
}  # fmt: skip
PG2_TEST_SHARE = 2061 / 13029  # of DeepFashion's garments
PG2_TEST_PAIRS = 12800  # drawn by an unpublished rule
PATN_TEST_PAIRS, PATN_SEED = 12000, 0  # of the draw of pose-gan and PATN

_WORD, _NAME = re.compile(r"""[^\s:,;"']+"""), re.compile(r".+\.jpg(?![\w.])")


def is_posed(keypoints: np.ndarray, rule: PosedRule) -> np.ndarray:
    """Whether poses count as known: (n,) bool from keypoints (n, K, 2).

    torso: both shoulders and both hips (pose-gan and PATN); any: at least one joint.
    """
    known = present(keypoints)
    posed: np.ndarray = np.all(known[:, TORSO], axis=1) if rule == "torso" else np.any(known, axis=1)
    return posed


def all_pairs(items: "pd.Series[str]") -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of different photos of an item: positions (pairs,) of the sources and of the targets.

    Items are in the order of their first photo and pairs in that of itertools.permutations, so that photos in the order of
    pose-gan's or PATN's keypoint CSV give their list of pairs.
    """
    item, _ = pd.factorize(items)
    rows = np.argsort(item, kind="stable")  # item by item
    sizes = np.bincount(item)[item[rows]]  # of each row's item
    first = np.flatnonzero(np.diff(item[rows], prepend=-1)).repeat(np.bincount(item))  # the place of its item in `rows`
    source = np.arange(len(rows)).repeat(sizes - 1)
    number = np.arange(len(source)) - (np.cumsum(sizes - 1) - sizes + 1)[source]  # of the pairs of one source
    target = first[source] + number
    return rows[source], rows[target + (target >= source)]


def drawn(pairs: int, most: int, seed: int) -> np.ndarray:
    """The positions of at most `most` drawn pairs, in the order drawn.

    Equal to the draw of pose-gan and PATN, pandas' `sample(n, replace=False, random_state=seed)`. numpy guarantees that
    RandomState's numbers do not change.
    """
    order = np.random.RandomState(seed).choice(pairs, min(most, pairs), replace=False)
    return order.astype(np.intp)


def drawn_items(items: Iterable[str], number: int, seed: int) -> list[str]:
    """Draw `number` of the items by a hash of seed and name, so that adding or removing an item changes at most one."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item}".encode()).digest())[:number]


def names_in(content: bytes, where: str) -> list[str]:
    """All names or paths of JPEG files in a text, such as a list or a CSV.

    Raises:
        DataError: the file is not text, or has no such name. `where` names it in the message.
    """
    words = _WORD.findall(text_of(content, where))  # one expression for both would take quadratic time
    names = [found[0] for word in words if (found := _NAME.match(word))]
    if not names:
        raise DataError(f"{where} lists no photo (....jpg). Expected one name per line, as in PATN's test.lst.")
    return names


class PhotoFinder:
    """Finds names from lists among `photos` (a table with the columns name and item).

    A name may be DeepFashion's path or in either flattened spelling.
    """

    def __init__(self, photos: pd.DataFrame) -> None:
        self._names = NameFinder(photos["name"])
        self._row = {name: row for row, name in enumerate(photos["name"])}
        self._items = photos["item"].tolist()
        self._known_items = set(self._items)

    def row(self, name: str) -> int:
        """The row of the photo, or -1 if it is missing."""
        return self._row.get(self._names.find(name) or name.rpartition("/")[2], -1)

    def item(self, name: str) -> str | None:
        """The item of the photo, even if the photo itself is missing; None if the item is missing."""
        row = self.row(name)
        item = self._items[row] if row >= 0 else item_of_name(name)
        return item if item in self._known_items else None


def read_pairs(content: bytes, where: str) -> pd.DataFrame:
    """The pairs of a CSV (`csv_files.read_csv`) with the columns `from` and `to`, as text; the index has their lines.

    Raises:
        DataError: the file is not such a CSV. `where` names it in the message.
    """
    pairs = {line: (cells["from"], cells["to"]) for line, cells in read_csv(content, where, ("from", "to")).rows}
    if not pairs:
        raise DataError(f"{where} has no pairs below its header.")
    return pd.DataFrame.from_dict(pairs, orient="index", columns=["from", "to"])
