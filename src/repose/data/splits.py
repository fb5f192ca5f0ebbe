"""The published splits: which items and pairs are for training and for testing.

| mode | tested on | test pairs |
|---|---|---|
| pg2 | DeepFashion: the garments in test_list; Market-1501: bounding_box_test | drawn from all ordered pairs |
| patn | DeepFashion: the garments in test_list or pairs; Market-1501 as in pg2 | pose-gan's draw, or a file's |
| official | the owner's query and gallery | drawn from all ordered pairs |

A split that departs from its mode's rule (garments that repose drew, fewer pairs) is called pg2-like or patn-like, and its
record says why.
"""

import io
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from repose.config import nearest, settings
from repose.data import pairs as rules
from repose.data.layouts import DISTRACTOR, JUNK, VIEWS
from repose.data.pairs import PhotoFinder, PosedRule
from repose.data.raw import RawFiles
from repose.data.records import ITEMS, OCCLUSION
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


class _Parts(NamedTuple):
    part: np.ndarray  # (photos,) train, test, or empty for photos in neither
    lists: dict[str, dict[str, Any]]  # what the lists hold
    departures: list[str]  # from the rule that the mode stands for


class _Pairs(NamedTuple):
    sources: np.ndarray  # (pairs,) rows of the table of photos
    targets: np.ndarray  # (pairs,) rows of the table of photos
    dropped: dict[str, int]  # number of excluded pairs, by reason
    departures: list[str]  # from the rule that the mode stands for


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
    finder = PhotoFinder(photos)
    listed = _listed_pairs(files, finder, settings)
    if settings.mode == "official" or files.layout == "market1501":
        parts = _owners_parts(photos, settings)
    else:
        parts = _garment_parts(photos, finder, files, listed, settings)
    photos = photos.assign(part=parts.part)
    photos["dropped"] = _dropped(photos, files.layout, settings)
    train = _all_pairs(photos, "train", settings)
    test = _drawn_pairs(photos, settings) if listed is None else _pairs_of_file(photos, listed, settings)
    photos["dropped"] = _dropped_after_pairing(photos, test, settings)
    kept = photos[photos["dropped"] == ""]
    item, _ = pd.factorize(kept["item"])
    items = kept.iloc[np.lexsort((item, kept["part"] == "test"))][list(ITEMS)]
    ends = {"train": train, "test": (test.sources, test.targets)}
    pairs = pd.concat([_pairs_table(photos, part, *of_part) for part, of_part in ends.items()], ignore_index=True)
    return Split(items, pairs, _record(photos, items, pairs, parts, test, settings))


def with_occlusion(pairs: pd.DataFrame, files: RawFiles) -> pd.DataFrame:
    """Add the column OCCLUSION: the share of the target's garment that is hidden in the source, if known.

    The renderer writes the visible cells of the garment in each photo. For real photos they are unknown.

    Raises:
        ReposeError: the renderer's file is damaged.
    """
    found, visible = [name for name in files if PurePosixPath(name).name == _FIGURES], {}
    try:
        if len(found) == 1:
            table = pd.read_csv(io.BytesIO(files[found[0]]), dtype=str, keep_default_na=False)
            if {"name", "visible"} <= set(table):  # otherwise the file is not the renderer's
                visible = dict(zip(table["name"], table["visible"], strict=True))
        ends = zip(*(pairs[end].map(lambda name: visible.get(name, "")) for end in ("from", "to")), strict=True)
        shares = [occlusion(source, target) for source, target in ends]
    except ValueError as error:
        raise ReposeError(
            f"{found[0]} in the source is damaged ({error}). Render the mannequins again (`dvc repro --force download`), or "
            "remove the file from the source if repose did not render it."
        ) from None
    return pairs.assign(**{OCCLUSION: ["" if np.isnan(share) else f"{share:.4f}" for share in shares]})


def listing(counts: dict[str, int]) -> str:
    """The numbers above 0 as text, such as "3 photos, 2 pairs"."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)


def _listed_pairs(files: RawFiles, finder: PhotoFinder, settings: SplitSettings) -> pd.DataFrame | None:
    """The rows of the pairs file: source and target (rows of photos, -1 if missing) and their item."""
    if settings.pairs is None:
        return None
    path = files.find(settings.pairs)
    table = rules.read_pairs(files[path], path)
    listed = pd.DataFrame(
        {
            "source": [finder.row(name) for name in table["from"]],
            "target": [finder.row(name) for name in table["to"]],
            "item": [finder.item(name) for name in table["from"]],
            "target_item": [finder.item(name) for name in table["to"]],
        }
    )
    missing = table.loc[listed["source"] < 0, "from"].tolist() + table.loc[listed["target"] < 0, "to"].tolist()
    rows = int((listed[["source", "target"]] < 0).any(axis=1).sum())
    if rows > settings.max_unknown * len(table):
        raise ReposeError(
            f"{path}: {rows:,} of {len(table):,} pairs have a photo that is not in images.csv, such as "
            f"{', '.join(list(dict.fromkeys(missing))[:3])}. Get the missing photos (see the validate stage's report) "
            f"or allow more such pairs with `split.max_unknown` (now {settings.max_unknown:g}) in params.yaml."
        )
    differ = listed["item"].notna() & listed["target_item"].notna() & (listed["item"] != listed["target_item"])
    wrong = differ | ((listed["source"] == listed["target"]) & (listed["source"] >= 0))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ReposeError(
            f"{path}, line {row + 2}: {table['from'][row]} and {table['to'][row]} are not two photos of one item "
            f"({int(wrong.sum()):,} such line(s)). Correct or remove them."
        )
    return listed


def _owners_parts(photos: pd.DataFrame, settings: SplitSettings) -> _Parts:
    """The owner's partition. Market-1501's query photos are in neither part, except in mode official."""
    if settings.train_list or settings.test_list or settings.test_share is not None:
        raise ReposeError(
            "Market-1501's folders define the partition. Set train_list, test_list and test_share of the block `split` "
            "in params.yaml to null."
        )
    if not photos["partition"].any():
        raise ReposeError(
            "Mode official needs the owner's partition, and the source has none. Add Eval/list_eval_partition.txt to "
            "it, or set `split.mode` in params.yaml to pg2 or patn."
        )
    part_of = {"train": "train", "gallery": "test", "query": "test" if settings.mode == "official" else ""}
    part = photos["partition"].map(part_of).fillna("").to_numpy()
    _check_disjoint(set(photos["item"][part == "train"]) & set(photos["item"][part == "test"]), "the owner's partition")
    return _Parts(part, {}, [])


def _garment_parts(
    photos: pd.DataFrame,
    finder: PhotoFinder,
    files: RawFiles,
    listed_pairs: pd.DataFrame | None,
    settings: SplitSettings,
) -> _Parts:
    """DeepFashion's garments by lists if given, else by PG2's rule."""
    lists: dict[str, dict[str, Any]] = {}
    train = _listed_items("train_list", settings.train_list, files, finder, lists)
    named = _listed_items("test_list", settings.test_list, files, finder, lists)
    if listed_pairs is not None:
        named |= set(listed_pairs["item"].dropna()) | set(listed_pairs["target_item"].dropna())
    _check_disjoint(train & named, "the lists")
    tested, departures = _tested_garments(photos, named, settings)
    departures += [
        f"{read['not_there']:,} of {read['names']:,} photos of {read['file']} are not there"
        for read in lists.values()
        if read["not_there"]
    ]
    if train:
        train |= named - tested
    in_train = photos["item"].isin(train) if train else ~photos["item"].isin(tested)
    part = np.select([photos["item"].isin(tested), in_train], ["test", "train"], "")
    return _Parts(part, lists, departures)


def _listed_items(
    key: str, suffix: str | None, files: RawFiles, finder: PhotoFinder, lists: dict[str, dict[str, Any]]
) -> set[str]:
    """The items in a list; writes facts about the list to `lists[key]`."""
    if suffix is None:
        return set()
    path = files.find(suffix)
    names = rules.names_in(files[path], path)
    items = {item for name in names if (item := finder.item(name)) is not None}
    if not items:
        raise ReposeError(
            f"{path} lists {len(names):,} photos, first {names[0]}, but none is of a garment in images.csv. Is "
            f"`split.{key}` in params.yaml a list of this data set?"
        )
    not_there = sum(finder.row(name) < 0 for name in names)
    lists[key] = {"file": path, "names": len(names), "not_there": not_there, "items": len(items)}
    return items


def _tested_garments(photos: pd.DataFrame, named: set[str], settings: SplitSettings) -> tuple[set[str], list[str]]:
    """The test garments, from those in a list or by PG2's rule, and how they depart from the mode's rule."""
    if not named and settings.mode == "patn":
        raise ReposeError(
            "Mode patn needs a list of DeepFashion's test garments: set `split.test_list` in params.yaml to PATN's "
            "test.lst, or `split.pairs` to its pairs CSV."
        )
    if named and settings.test_share is None:
        return named, []
    garments = photos.drop_duplicates("item")
    upper = garments["item"][garments["category"].isin(rules.PG2_CATEGORIES)]
    candidates, whence = (named, "garments of the lists") if named else (set(upper), "upper bodies and dresses")
    number = max(1, round((settings.test_share or rules.PG2_TEST_SHARE) * len(garments)))
    if number > len(candidates):
        raise ReposeError(
            f"{number:,} of {len(garments):,} garments should be for testing, but there are only {len(candidates):,} "
            f"({whence}). Lower `split.test_share`."
        )
    departure = f"tested on {number:,} of {len(candidates):,} {whence}, drawn with seed {settings.seed}"
    return set(rules.drawn_items(candidates, number, settings.seed)), [departure]


def _check_disjoint(both: set[str], where: str) -> None:
    if both:
        raise ReposeError(
            f"{len(both):,} item(s) are both for training and for testing by {where}, such as "
            f"{', '.join(sorted(both)[:3])}. Remove each from one of them."
        )


def _dropped(photos: pd.DataFrame, layout: str, settings: SplitSettings) -> np.ndarray:
    """The reason that a photo cannot be in a pair: (photos,) text, empty if it can."""
    known = sorted(set(photos["category"]))
    for category in set(settings.exclude_categories) - set(known):
        say(
            f"Warning: there is no photo of {category!r}, a category in split.exclude_categories{nearest(category, known)}"
        )
    trained = photos["part"] == "train"
    reasons = {
        "of nobody in particular (-1 or 0000)": (layout == "market1501") & photos["item"].isin((JUNK, DISTRACTOR)),
        "in neither part": photos["part"] == "",
        f"without a pose ({settings.posed})": ~photos["posed"],
        "of an excluded view": trained & photos["view"].isin(settings.exclude_views),
        "of an excluded category": trained & photos["category"].isin(settings.exclude_categories),
    }
    return np.select(list(reasons.values()), list(reasons), "")


def _all_pairs(photos: pd.DataFrame, part: str, settings: SplitSettings) -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of a part. For patn, photos are in the order of the keypoint file, as by PATN."""
    rows = np.flatnonzero((photos["part"] == part) & (photos["dropped"] == ""))
    if settings.mode == "patn":
        rows = rows[np.argsort(photos["row"].to_numpy()[rows], kind="stable")]
    sources, targets = rules.all_pairs(photos["item"].iloc[rows])
    return rows[sources], rows[targets]


def _drawn_pairs(photos: pd.DataFrame, settings: SplitSettings) -> _Pairs:
    sources, targets = _all_pairs(photos, "test", settings)
    published = {"pg2": rules.PG2_TEST_PAIRS, "patn": rules.PATN_TEST_PAIRS, "official": settings.test_pairs}
    due = min(published[settings.mode], len(sources))
    if settings.mode == "patn":
        chosen = rules.drawn(len(sources), min(settings.test_pairs, rules.PATN_TEST_PAIRS), rules.PATN_SEED)
    else:
        chosen = rules.drawn(len(sources), settings.test_pairs, settings.seed)
    departures = [f"{len(chosen):,} test pairs in place of {due:,}"] if len(chosen) != due else []
    return _Pairs(sources[chosen], targets[chosen], {"not drawn": len(sources) - len(chosen)}, departures)


def _pairs_of_file(photos: pd.DataFrame, listed: pd.DataFrame, settings: SplitSettings) -> _Pairs:
    """The rows of the pairs file, in its order, with existing and posed test photos."""
    ends = listed[["source", "target"]].to_numpy()
    reasons = {
        "with a photo that is not there": (ends < 0).any(1),
        "of items that are not tested on": (photos["part"].to_numpy()[ends] != "test").any(1),
        "of photos left out": (photos["dropped"].to_numpy()[ends] != "").any(1),
        "listed twice": listed.duplicated(["source", "target"]).to_numpy(),
    }
    reason = np.select(list(reasons.values()), list(reasons), "").astype(object)
    rows = np.flatnonzero(reason == "")
    reason[rows[settings.test_pairs :]] = "beyond test_pairs"
    sources, targets = ends[reason == ""].T
    departures = [f"{len(sources):,} of the {len(listed):,} pairs of {settings.pairs}"] if (reason != "").any() else []
    return _Pairs(sources, targets, _counted(reason), departures)


def _dropped_after_pairing(photos: pd.DataFrame, test: _Pairs, settings: SplitSettings) -> np.ndarray:
    """Add two reasons to `dropped`: test photos of an excluded view that are in no pair, and single photos of an item."""
    dropped = photos["dropped"].to_numpy(copy=True)
    needless = photos["view"].isin(settings.exclude_views).to_numpy(copy=True)
    needless[test.sources] = needless[test.targets] = False
    dropped[(dropped == "") & needless] = "of an excluded view"
    kept = dropped == ""
    alone = ~photos["item"].where(kept, "").duplicated(keep=False).to_numpy()
    dropped[kept & alone] = "the only one of its item"
    return dropped


def _pairs_table(photos: pd.DataFrame, part: str, sources: np.ndarray, targets: np.ndarray) -> pd.DataFrame:
    names, items = photos["name"].to_numpy(), photos["item"].to_numpy()
    ends = {"from": names[sources], "to": names[targets], "item_from": items[sources], "item_to": items[targets]}
    return pd.DataFrame({"part": part, **ends})


def _record(
    photos: pd.DataFrame, items: pd.DataFrame, pairs: pd.DataFrame, parts: _Parts, test: _Pairs, settings: SplitSettings
) -> dict[str, Any]:
    """The content of split.json.

    Raises:
        ReposeError: a part is empty.
    """
    departures = parts.departures + test.departures
    if settings.mode == "patn" and settings.posed != "torso":
        departures.append(f"posed is {settings.posed}, not torso")
    mode, photos_dropped = f"{settings.mode}-like" if departures else settings.mode, _counted(photos["dropped"])
    counts = {}
    for part, needed in (("train", "items"), ("test", "pairs")):
        of_part = items[items["part"] == part]
        counts[part] = {
            "items": int(of_part["item"].nunique()), "photos": len(of_part), "pairs": int((pairs["part"] == part).sum()),
        }  # fmt: skip
        if not counts[part][needed]:
            left_out = photos_dropped | (test.dropped if part == "test" else {})
            raise ReposeError(
                f"The split ({mode}) has no {part} {needed}. Left out: {listing(left_out) or 'none'}. Change the block "
                "`split` of params.yaml: the lists, `test_share`, `posed` or the exclusions."
            )
    return {
        "mode": mode, "departures": departures, "posed": settings.posed, "seed": settings.seed, "lists": parts.lists, **counts,
        "photos_dropped": photos_dropped, "test_pairs_dropped": test.dropped,
    }  # fmt: skip


def _counted(reasons: "np.ndarray | pd.Series[str]") -> dict[str, int]:
    """The number of occurrences of each reason, the most frequent first."""
    counts = pd.Series(reasons).value_counts().drop("", errors="ignore")
    return {str(reason): int(count) for reason, count in counts.items()}
