"""The published splits: which items and pairs are for training and for testing.

| mode | tested on | test pairs |
|---|---|---|
| pg2 | DeepFashion: the garments in test_list; Market-1501: bounding_box_test | drawn from all ordered pairs |
| patn | DeepFashion: the garments in test_list or pairs; Market-1501 as in pg2 | pose-gan's draw, or a file's |
| official | the owner's query and gallery | drawn from all ordered pairs |

A split that departs from its mode's rule (garments that repose drew, fewer pairs) is called pg2-like or patn-like, and its
record says why.
"""

import csv
import io
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from repose.config import nearest, settings
from repose.data import pairs as rules
from repose.data.layouts import VIEWS, of_nobody
from repose.data.pairs import PhotoFinder, PosedRule
from repose.data.raw import RawFiles
from repose.data.records import ITEMS, OCCLUSION, parse_table
from repose.data.visibility import occlusion
from repose.errors import ReposeError
from repose.terminal import say

_FIGURES = "figures.csv"  # the renderer's ground truth, in a rendered source


@settings
class SplitSettings:
    """The block `split` of params.yaml."""

    mode: Literal["pg2", "patn", "official"]
    train_list: str | None  # DeepFashion: file in the source that lists photos of training garments
    test_list: str | None  # DeepFashion: file in the source that lists photos of test garments
    pairs: str | None  # patn: CSV (from,to) in the source whose rows are the test pairs
    # DeepFashion: share of all garments used for testing, drawn from those listed; null: as published
    test_share: Annotated[float, Field(gt=0, lt=1)] | None
    test_pairs: PositiveInt  # maximum number of test pairs
    min_train_pairs: PositiveInt  # at least so many, or the stage fails
    min_test_pairs: PositiveInt  # at least so many, or the stage fails
    posed: PosedRule  # photos used: torso, with both shoulders and both hips; any, with at least one joint
    exclude_views: tuple[str, ...]  # DeepFashion: views excluded from training, such as flat (shows no person)
    exclude_categories: tuple[str, ...]  # DeepFashion: categories excluded from training, such as WOMEN/Shorts
    max_unknown: Annotated[float, Field(ge=0, le=1)]  # maximum share of the rows of `pairs` with missing photos
    seed: Annotated[int, Field(ge=0, lt=2**32)]  # of repose's own draws: garments, and pairs except patn's

    def __post_init__(self) -> None:
        if self.mode == "official" and (self.train_list or self.test_list or self.test_share is not None):
            raise ValueError(
                "mode official uses the owner's partition. Set train_list, test_list and test_share to null."
            )
        if self.mode != "patn" and self.pairs:
            raise ValueError(f"mode {self.mode} draws its own pairs. Set pairs to null, or mode to patn.")
        for view in self.exclude_views:
            if view not in VIEWS:
                raise ValueError(f"exclude_views has the unknown view {view!r}{nearest(view, VIEWS)}")


class Split(NamedTuple):
    """The photos and pairs of both parts."""

    items: pd.DataFrame  # the columns of `records.ITEMS`; training items first, item by item
    pairs: pd.DataFrame  # part, from, to, item_from, item_to; training pairs first
    record: dict[str, Any]  # the content of split.json


def choose(photos: pd.DataFrame, files: RawFiles, settings: SplitSettings) -> Split:
    """Choose the items and pairs for training and testing.

    Args:
        photos: name, item, category, view, partition (`records.IMAGES`); posed, whether the pose counts as known; and
            row, the position in the source of keypoints, NaN if it has none.
        files: the source's files, with the lists and pairs in the settings.
        settings: the rules.

    Raises:
        ReposeError: a list or pairs file is missing, has no known photo or contradicts another; an item is in both parts;
            the mode needs the owner's partition and there is none; or a part is empty.
    """
    return _Chooser(photos, files, settings).choose()


def with_occlusion(pairs: pd.DataFrame, files: RawFiles) -> pd.DataFrame:
    """Add the column OCCLUSION: the share of the target's garment that is hidden in the source, if known.

    The renderer writes the visible cells of the garment in each photo. For real photos they are unknown.

    Raises:
        ReposeError: the renderer's file is damaged.
    """
    found, visible = [name for name in files if PurePosixPath(name).name == _FIGURES], {}
    try:
        if len(found) == 1:
            table = parse_table(io.StringIO(files[found[0]].decode("utf-8-sig"), newline=""))
            if {"name", "visible"} <= set(table):  # otherwise the file is not the renderer's
                visible = dict(zip(table["name"], table["visible"], strict=True))
        ends = zip(*(pairs[end].map(lambda name: visible.get(name, "")) for end in ("from", "to")), strict=True)
        shares = [occlusion(source, target) for source, target in ends]
    except (ValueError, csv.Error) as error:
        raise ReposeError(
            f"{found[0]} in the source is damaged ({error}). Render the mannequins again (`dvc repro --force download`), or "
            "remove the file from the source if repose did not render it."
        ) from None
    return pairs.assign(**{OCCLUSION: ["" if np.isnan(share) else f"{share:.4f}" for share in shares]})


def listing(counts: dict[str, int]) -> str:
    """The numbers above 0 as text, such as "3 photos, 2 pairs"."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)


class _Chooser:
    """A split while it is chosen. Pairs are rows of the table of photos: (pairs,) of the sources, and of the targets."""

    def __init__(self, photos: pd.DataFrame, files: RawFiles, settings: SplitSettings) -> None:
        self.photos, self.files, self.settings = photos.copy(), files, settings
        self.finder = PhotoFinder(photos)
        self.lists: dict[str, dict[str, Any]] = {}  # what the lists hold
        self.departures: list[str] = []  # from the rule that the mode stands for
        self.pairs_dropped: dict[str, int] = {}  # number of excluded test pairs, by reason

    def choose(self) -> Split:
        photos, listed = self.photos, self.listed_pairs()
        owners = self.settings.mode == "official" or self.files.layout == "market1501"
        photos["part"] = self.owners_parts() if owners else self.garment_parts(listed)
        photos["dropped"] = self.dropped()
        train = self.all_pairs("train")
        test = self.drawn_pairs() if listed is None else self.pairs_of_file(listed)
        photos["dropped"] = self.dropped_after_pairing(np.concatenate(test))
        kept = photos[photos["dropped"] == ""]
        item, _ = pd.factorize(kept["item"])
        items = kept.iloc[np.lexsort((item, kept["part"] == "test"))][list(ITEMS)]
        names, item_of = photos["name"].to_numpy(), photos["item"].to_numpy()
        sources, targets = map(np.concatenate, zip(train, test, strict=True))
        parts = np.repeat(["train", "test"], [len(train[0]), len(test[0])])
        ends = {
            "from": names[sources],
            "to": names[targets],
            "item_from": item_of[sources],
            "item_to": item_of[targets],
        }
        pairs = pd.DataFrame({"part": parts, **ends})
        return Split(items, pairs, self.record(items, pairs))

    def listed_pairs(self) -> pd.DataFrame | None:
        """The rows of the pairs file: source and target (rows of photos, -1 if missing) and their items."""
        if self.settings.pairs is None:
            return None
        path = self.files.find(self.settings.pairs)
        table = rules.read_pairs(self.files[path], path)
        listed = pd.DataFrame(
            {
                "source": table["from"].map(self.finder.row), "target": table["to"].map(self.finder.row),
                "item": table["from"].map(self.finder.item), "target_item": table["to"].map(self.finder.item),
            }
        )  # fmt: skip
        missing = [*table.loc[listed["source"] < 0, "from"], *table.loc[listed["target"] < 0, "to"]]
        rows = int((listed[["source", "target"]] < 0).any(axis=1).sum())
        if rows > self.settings.max_unknown * len(table):
            raise ReposeError(
                f"{path}: {rows:,} of {len(table):,} pairs have a photo that is not in images.csv, such as "
                f"{', '.join(list(dict.fromkeys(missing))[:3])}. Get the missing photos (see the validate stage's report) "
                f"or allow more such pairs with `split.max_unknown` (now {self.settings.max_unknown:g}) in params.yaml."
            )
        differ = listed["item"].notna() & listed["target_item"].notna() & (listed["item"] != listed["target_item"])
        wrong = differ | ((listed["source"] == listed["target"]) & (listed["source"] >= 0))
        if wrong.any():
            line, source, target = next(table[wrong].itertuples(name=None))
            raise ReposeError(
                f"{path}, line {line}: {source} and {target} are not two photos of one item "
                f"({int(wrong.sum()):,} such line(s)). Correct or remove them."
            )
        return listed

    def owners_parts(self) -> np.ndarray:
        """The owner's partition. Market-1501's query photos are in neither part, except in mode official."""
        if self.settings.train_list or self.settings.test_list or self.settings.test_share is not None:
            raise ReposeError(
                "Market-1501's folders define the partition. Set train_list, test_list and test_share of the block "
                "`split` in params.yaml to null."
            )
        if not self.photos["partition"].any():
            raise ReposeError(
                "Mode official needs the owner's partition, and the source has none. Add DeepFashion's "
                "Eval/list_eval_partition.txt to photos of DeepFashion, or set `split.mode` in params.yaml to pg2 or patn."
            )
        query = "test" if self.settings.mode == "official" else ""
        part = self.photos["partition"].map({"train": "train", "gallery": "test", "query": query}).fillna("").to_numpy()
        items = self.photos["item"]
        _check_disjoint(set(items[part == "train"]) & set(items[part == "test"]), "the owner's partition")
        return part

    def garment_parts(self, listed_pairs: pd.DataFrame | None) -> np.ndarray:
        """DeepFashion's garments by lists if given, else by PG2's rule."""
        if self.files.layout == "folders" and (self.settings.train_list or self.settings.test_list):
            raise ReposeError(
                "split.train_list and split.test_list are lists of DeepFashion's photos. For the source folders, set both to "
                "null, and name the test pairs in split.pairs or set split.test_share."
            )
        train = self.listed_items("train_list", self.settings.train_list)
        named = self.listed_items("test_list", self.settings.test_list)
        if listed_pairs is not None:
            named |= set(listed_pairs["item"].dropna()) | set(listed_pairs["target_item"].dropna())
        _check_disjoint(train & named, "the lists")
        tested = self.tested_garments(named)
        self.departures += [
            f"{read['not_there']:,} of {read['names']:,} photos of {read['file']} are not there"
            for read in self.lists.values()
            if read["not_there"]
        ]
        in_test = self.photos["item"].isin(tested)
        in_train = self.photos["item"].isin(train | (named - tested)) if train else ~in_test
        return np.select([in_test, in_train], ["test", "train"], "")

    def listed_items(self, key: str, suffix: str | None) -> set[str]:
        """The items in a list; writes facts about the list to `lists[key]`."""
        if suffix is None:
            return set()
        path = self.files.find(suffix)
        names = rules.names_in(self.files[path], path)
        items = {item for name in names if (item := self.finder.item(name)) is not None}
        if not items:
            raise ReposeError(
                f"{path} lists {len(names):,} photos, first {names[0]}, but none is of a garment in images.csv. Is "
                f"`split.{key}` in params.yaml a list of this data set?"
            )
        not_there = sum(self.finder.row(name) < 0 for name in names)
        self.lists[key] = {"file": path, "names": len(names), "not_there": not_there, "items": len(items)}
        return items

    def tested_garments(self, named: set[str]) -> set[str]:
        """The test garments, from those in a list or by PG2's rule."""
        share, seed = self.settings.test_share, self.settings.seed
        if not named and self.settings.mode == "patn":
            raise ReposeError(
                "Mode patn needs a list of DeepFashion's test garments: set `split.test_list` in params.yaml to PATN's "
                "test.lst, or `split.pairs` to its pairs CSV."
            )
        if named and share is None:
            return named
        garments = self.photos.drop_duplicates("item")
        upper = garments["item"][garments["category"].isin(rules.PG2_CATEGORIES)]
        candidates, whence = set(upper), "upper bodies and dresses"
        if named or self.files.layout == "folders":
            candidates, whence = (named, "garments of the lists") if named else (set(garments["item"]), "items")
        number = max(1, round((share or rules.PG2_TEST_SHARE) * len(garments)))
        if number > len(candidates):
            raise ReposeError(
                f"{number:,} of {len(garments):,} garments should be for testing, but there are only {len(candidates):,} "
                f"({whence}). Lower `split.test_share`."
            )
        self.departures.append(f"tested on {number:,} of {len(candidates):,} {whence}, drawn with seed {seed}")
        return set(rules.drawn_items(candidates, number, seed))

    def dropped(self) -> np.ndarray:
        """The reason that a photo cannot be in a pair: (photos,) text, empty if it can."""
        photos, settings = self.photos, self.settings
        known = sorted(set(photos["category"]))
        for category in set(settings.exclude_categories) - set(known):
            say(
                f"Warning: there is no photo of {category!r}, a category in split.exclude_categories"
                f"{nearest(category, known)}"
            )
        trained = photos["part"] == "train"
        reasons = {
            "of nobody in particular (-1 or 0000)": of_nobody(photos),
            "in neither part": photos["part"] == "",
            f"without a pose ({settings.posed})": ~photos["posed"],
            "of an excluded view": trained & photos["view"].isin(settings.exclude_views),
            "of an excluded category": trained & photos["category"].isin(settings.exclude_categories),
        }
        return np.select(list(reasons.values()), list(reasons), "")

    def all_pairs(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """All ordered pairs of a part. For patn, photos are in the order of the keypoint file, as by PATN."""
        rows = np.flatnonzero((self.photos["part"] == part) & (self.photos["dropped"] == ""))
        if self.settings.mode == "patn":
            rows = rows[np.argsort(self.photos["row"].to_numpy()[rows], kind="stable")]
        sources, targets = rules.all_pairs(self.photos["item"].iloc[rows])
        return rows[sources], rows[targets]

    def drawn_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        sources, targets = self.all_pairs("test")
        mode, most, seed = self.settings.mode, self.settings.test_pairs, self.settings.seed
        published = {"pg2": rules.PG2_TEST_PAIRS, "patn": rules.PATN_TEST_PAIRS, "official": most}[mode]
        if mode == "patn":
            most, seed = min(most, rules.PATN_TEST_PAIRS), rules.PATN_SEED
        chosen, due = rules.drawn(len(sources), most, seed), min(published, len(sources))
        if len(chosen) != due:
            self.departures.append(f"{len(chosen):,} test pairs in place of {due:,}")
        self.pairs_dropped = {"not drawn": len(sources) - len(chosen)}
        return sources[chosen], targets[chosen]

    def pairs_of_file(self, listed: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the pairs file, in its order, with existing and posed test photos."""
        ends = listed[["source", "target"]].to_numpy()
        reasons = {
            "with a photo that is not there": (ends < 0).any(1),
            "of items that are not tested on": (self.photos["part"].to_numpy()[ends] != "test").any(1),
            "of photos left out": (self.photos["dropped"].to_numpy()[ends] != "").any(1),
            "listed twice": listed.duplicated(["source", "target"]).to_numpy(),
        }
        reason = np.select(list(reasons.values()), list(reasons), "").astype(object)
        reason[np.flatnonzero(reason == "")[self.settings.test_pairs :]] = "beyond test_pairs"
        sources, targets = ends[reason == ""].T
        if (reason != "").any():
            self.departures.append(f"{len(sources):,} of the {len(listed):,} pairs of {self.settings.pairs}")
        self.pairs_dropped = _counted(reason)
        return sources, targets

    def dropped_after_pairing(self, tested: np.ndarray) -> np.ndarray:
        """Add two reasons to `dropped`: test photos of an excluded view that are in no pair, and single photos of an item."""
        photos, dropped = self.photos, self.photos["dropped"].to_numpy(copy=True)
        needless = photos["view"].isin(self.settings.exclude_views).to_numpy(copy=True)
        needless[tested] = False
        dropped[(dropped == "") & needless] = "of an excluded view"
        kept = dropped == ""
        alone = ~photos["item"].where(kept, "").duplicated(keep=False).to_numpy()
        dropped[kept & alone] = "the only one of its item"
        return dropped

    def record(self, items: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
        """The content of split.json. Raises a ReposeError if a part is empty."""
        settings, photos_dropped = self.settings, _counted(self.photos["dropped"])
        if settings.mode == "patn" and settings.posed != "torso":
            self.departures.append(f"posed is {settings.posed}, not torso")
        mode, counts = f"{settings.mode}-like" if self.departures else settings.mode, {}
        for part, needed in (("train", "items"), ("test", "pairs")):
            of_part, pairs_of_part = items[items["part"] == part], int((pairs["part"] == part).sum())
            counts[part] = {"items": int(of_part["item"].nunique()), "photos": len(of_part), "pairs": pairs_of_part}
            if not counts[part][needed]:
                left_out = photos_dropped | (self.pairs_dropped if part == "test" else {})
                raise ReposeError(
                    f"The split ({mode}) has no {part} {needed}. Left out: {listing(left_out) or 'none'}. Add photos of "
                    "other items, or change the block `split` of params.yaml: the lists, `test_share`, `posed`, exclusions."
                )
        return {
            "mode": mode, "departures": self.departures, "posed": settings.posed, "seed": settings.seed, "lists": self.lists,
            **counts, "photos_dropped": photos_dropped, "test_pairs_dropped": self.pairs_dropped,
        }  # fmt: skip


def _check_disjoint(both: set[str], where: str) -> None:
    if both:
        raise ReposeError(
            f"{len(both):,} item(s) are both for training and for testing by {where}, such as "
            f"{', '.join(sorted(both)[:3])}. Remove each from one of them."
        )


def _counted(reasons: "np.ndarray | pd.Series[str]") -> dict[str, int]:
    """The number of occurrences of each reason, the most frequent first."""
    counts = pd.Series(reasons).value_counts().drop("", errors="ignore")
    return {str(reason): int(count) for reason, count in counts.items()}
