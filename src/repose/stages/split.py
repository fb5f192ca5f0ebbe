"""split: who is trained on and who is tested on, and with which pairs.

Modes, one of which is printed with every number:

| mode | tested on | test pairs |
|---|---|---|
| pg2 | DeepFashion: the garments in test_list; Market-1501: bounding_box_test | drawn from all ordered pairs |
| patn | DeepFashion: the garments in test_list or pairs; Market-1501 as in pg2 | pose-gan's draw, or a file's |
| official | the owner's query and gallery | drawn from all ordered pairs |

Of photos that were rendered, the renderer tells in figures.csv which cells of the garment are in sight, so test-pairs.csv
says of each pair what share of the garment in the target its source hides. Of real photos nobody knows it: it is empty.

A split that departs from the rule that its mode stands for (garments of our own draw, fewer pairs) is called pg2-like
or patn-like, and split.json says why. Written are items.csv, train-pairs.csv, test-pairs.csv and split.json.
"""

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from repose.config import nearest, settings
from repose.data import pairs as rules
from repose.data.layouts import DISTRACTOR, JUNK, VIEWS
from repose.data.pairs import PosedRule
from repose.data.raw import RawFiles
from repose.data.records import (
    IMAGES,
    ITEMS,
    OCCLUSION,
    ORDER,
    PAIRS,
    part_names,
    read_parts,
    read_parts_keypoints,
    write_json,
    write_table,
)
from repose.data.visibility import occlusion
from repose.errors import ReposeError
from repose.storage.atomic import whole_folder
from repose.terminal import say

_FIGURES = "figures.csv"  # the renderer's own truth, in a source that it made


@settings
class SplitSettings:
    """The block `split` of params.yaml."""

    mode: Literal["pg2", "patn", "official"]
    train_list: str | None  # DeepFashion: file in the source that names photos; their garments are trained on
    test_list: str | None  # DeepFashion: file in the source that names photos; their garments are tested on
    pairs: str | None  # patn: CSV in the source (from,to); its rows are the test pairs
    test_share: float | None  # DeepFashion: of all garments, to test on (drawn from those listed); null: as published
    test_pairs: int  # at most so many test pairs
    min_train_pairs: int  # at least so many, or the stage fails
    min_test_pairs: int  # at least so many, or the stage fails
    posed: PosedRule  # photos that count have: torso, both shoulders and both hips; any, at least one joint
    exclude_views: tuple[str, ...]  # DeepFashion: photos that nothing is trained on, such as flat (no person in it)
    exclude_categories: tuple[str, ...]  # DeepFashion: garments that nothing is trained on, such as WOMEN/Shorts
    max_unknown: float  # share of the rows of `pairs` that may name photos that are not there; more: an error
    seed: int  # of the draws that are ours: garments, and pairs but for patn's

    def __post_init__(self) -> None:
        if self.mode == "official" and (self.train_list or self.test_list or self.test_share is not None):
            raise ValueError("mode official takes the owner's partition: train_list, test_list, test_share go unused.")
        if self.mode != "patn" and self.pairs:
            raise ValueError(f"mode {self.mode} makes its own pairs. Set pairs to null, or mode to patn.")
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise ValueError(f"test_share should lie between 0 and 1, not {self.test_share}.")
        for view in self.exclude_views:
            if view not in VIEWS:
                raise ValueError(f"exclude_views names {view!r}{nearest(view, VIEWS)}")
        if not 0 <= self.max_unknown <= 1:
            raise ValueError(f"max_unknown should lie between 0 and 1, not {self.max_unknown}.")
        for name in ("test_pairs", "min_train_pairs", "min_test_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed should lie between 0 and 2**32 - 1, not {self.seed}.")


def run(*, lists: Path, images: Path, keypoints: Path, split: Path, report: Path, settings: SplitSettings) -> None:
    """Write `split` (if the checks pass) and `report` (also if not) for the photos in `images` and their `keypoints`.

    Raises:
        ReposeError: a list or pairs file that is missing, names nothing known or contradicts another; an item in both
            parts; no owner's partition where the mode needs it; nothing to train or to test on; a damaged figures.csv.
    """
    files, photos = RawFiles(lists), _photos(images, keypoints, settings.posed)
    finder = rules.PhotoFinder(photos)
    listed = _listed_pairs(files, finder, settings)
    if settings.mode == "official" or files.layout == "market1501":
        parts = _owners_parts(photos, settings)
    else:
        parts = _garment_parts(photos, finder, files, listed, settings)
    photos["part"] = parts.part
    _warn_of_unknown_categories(photos, settings)
    photos["dropped"] = _dropped(photos, files.layout, settings)
    train, test = _train_pairs(photos, settings), _test_pairs(photos, listed, settings)
    photos["dropped"] = _dropped_after_pairing(photos, test, settings)
    items, pairs = _items(photos), _pairs_table(photos, train, test)
    record = _record(photos, items, pairs, parts, test, settings)
    _check_both_parts(record)
    _gate(report, items, pairs, record, settings)
    tested = _with_hidden(pairs[pairs["part"] == "test"], _visible(files))
    with whole_folder(split) as folder:
        write_table(folder / "items.csv", items, ITEMS)
        write_table(folder / "train-pairs.csv", pairs[pairs["part"] == "train"], PAIRS)
        write_table(folder / "test-pairs.csv", tested, (*PAIRS, OCCLUSION))
        write_json(folder / "split.json", record)
    _say(record)


def _gate(
    report: Path, items: pd.DataFrame, pairs: pd.DataFrame, record: dict[str, Any], settings: SplitSettings
) -> None:
    """Write the report of the checks, and go on only if they pass."""
    from repose.validation.expectations import require
    from repose.validation.page import PAGE, Facts, distribution, write_report
    from repose.validation.pairs import check_pairs

    outcome = check_pairs(
        pairs, items, min_train_pairs=settings.min_train_pairs, min_test_pairs=settings.min_test_pairs
    )
    figures = {
        f"{part} {what}": len(table[table["part"] == part])
        for what, table in (("photos", items), ("pairs", pairs))
        for part in ("train", "test")
    }
    per_item = items.groupby(["part", "item"]).size().reset_index(name="photos")
    sizes = distribution("Photos per item", per_item["part"] + ": " + per_item["photos"].astype(str))
    with whole_folder(report) as folder:
        write_report(folder, f"Split {record['mode']}", outcome, Facts(figures, (sizes,)))
    require(outcome, "The split", report / PAGE)


class _Parts(NamedTuple):
    part: np.ndarray  # (photos,) train, test or, for photos in neither, empty
    lists: dict[str, dict[str, Any]]  # what the lists said
    departures: list[str]  # from the rule that the mode stands for


class _Pairs(NamedTuple):
    sources: np.ndarray  # (pairs,) rows of the table of photos
    targets: np.ndarray  # (pairs,) rows of the table of photos
    dropped: dict[str, int]  # pairs that are left out, by reason
    departures: list[str]  # from the rule that the mode stands for


def _photos(images: Path, keypoints: Path, rule: PosedRule) -> pd.DataFrame:
    """images.csv of all parts with two more columns: posed, and row, the place in the order of the keypoints' source."""
    parts = part_names(images)
    photos = read_parts(images, parts, "images.csv", IMAGES)[["name", "item", "category", "view", "partition"]]
    names, joints, _ = read_parts_keypoints(keypoints, parts)
    if names != photos["name"].tolist():
        raise ReposeError(
            f"The keypoints in {keypoints} are not of the photos in {images}. Run the keypoints stage again "
            "(`dvc repro keypoints`)."
        )
    order = read_parts(keypoints, parts, "order.csv", ORDER)
    row = photos["name"].map(order.set_index("name")["row"])  # NaN, which sorts last, where it has none
    return photos.assign(posed=rules.is_posed(joints, rule), row=row)


def _listed_pairs(files: RawFiles, finder: rules.PhotoFinder, settings: SplitSettings) -> pd.DataFrame | None:
    """The pairs file's rows: source and target (rows of photos, -1 for those that are not there) and their item."""
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
    _check_pairs_known(table, listed, path, settings)
    _check_pairs_of_one_item(table, listed, path)
    return listed


def _owners_parts(photos: pd.DataFrame, settings: SplitSettings) -> _Parts:
    """The owner's partition; Market-1501's query photos are in neither part but in mode official."""
    if settings.train_list or settings.test_list or settings.test_share is not None:
        raise ReposeError(
            "Market-1501's folders say who is tested on. Set train_list, test_list and test_share of the block `split` "
            "in params.yaml to null."
        )
    if not photos["partition"].any():
        raise ReposeError(
            "Mode official needs the owner's partition, and the source has none. Add Eval/list_eval_partition.txt to "
            "it, or set `split.mode` in params.yaml to pg2 or patn."
        )
    part_of = {"train": "train", "gallery": "test", "query": "test" if settings.mode == "official" else ""}
    part = photos["partition"].map(part_of).fillna("").to_numpy()
    tested = set(photos["item"][part == "test"])
    _check_disjoint(set(photos["item"][part == "train"]) & tested, "the owner's partition")
    return _Parts(part, {}, [])


def _garment_parts(
    photos: pd.DataFrame,
    finder: rules.PhotoFinder,
    files: RawFiles,
    listed_pairs: pd.DataFrame | None,
    settings: SplitSettings,
) -> _Parts:
    """DeepFashion's garments by lists, where there are any, else by PG2's rule."""
    lists: dict[str, dict[str, Any]] = {}
    train = _listed_items(settings.train_list, "train_list", files, finder, lists)
    named = _listed_items(settings.test_list, "test_list", files, finder, lists)
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


def _tested_garments(photos: pd.DataFrame, named: set[str], settings: SplitSettings) -> tuple[set[str], list[str]]:
    """The garments to test on, from those that a list names or by PG2's rule, and how that departs from the mode."""
    if not named and settings.mode == "patn":
        raise ReposeError(
            "Mode patn needs a list of DeepFashion's test garments: set `split.test_list` in params.yaml to PATN's "
            "test.lst, or `split.pairs` to its pairs CSV."
        )
    if named and settings.test_share is None:
        return named, []
    garments = photos.drop_duplicates("item")
    upper = garments["item"][garments["category"].isin(rules.PG2_CATEGORIES)]
    candidates, share = named or set(upper), settings.test_share or rules.PG2_TEST_SHARE
    number = max(1, round(share * len(garments)))
    if number > len(candidates):
        raise ReposeError(
            f"{number:,} of {len(garments):,} garments should be tested on, and only {len(candidates):,} can be "
            f"({'those in the lists' if named else 'upper bodies and dresses, as in PG2'}). Lower `split.test_share`."
        )
    whence = "garments of the lists" if named else "upper bodies and dresses"
    departure = f"tested on {number:,} of {len(candidates):,} {whence}, drawn with seed {settings.seed}"
    return set(rules.drawn_items(candidates, number, settings.seed)), [departure]


def _listed_items(
    suffix: str | None, key: str, files: RawFiles, finder: rules.PhotoFinder, lists: dict[str, dict[str, Any]]
) -> set[str]:
    """The items that a list names; what it is goes to `lists[key]`."""
    if suffix is None:
        return set()
    path = files.find(suffix)
    names = rules.names_in(files[path], path)
    items = {item for name in names if (item := finder.item(name)) is not None}
    if not items:
        raise ReposeError(
            f"{path} names {len(names):,} photos, first {names[0]}, and not one is of a garment in images.csv. Is "
            f"`split.{key}` in params.yaml a list of this data set?"
        )
    not_there = sum(finder.row(name) < 0 for name in names)
    lists[key] = {"file": path, "names": len(names), "not_there": not_there, "items": len(items)}
    return items


def _warn_of_unknown_categories(photos: pd.DataFrame, settings: SplitSettings) -> None:
    known = sorted(set(photos["category"]))
    for category in settings.exclude_categories:
        if category not in known:
            say(
                f"Warning: split.exclude_categories names {category!r}, of which there is no photo{nearest(category, known)}"
            )


def _dropped(photos: pd.DataFrame, layout: str, settings: SplitSettings) -> np.ndarray:
    """Why a photo cannot be in a pair: (photos,) text, empty where it can."""
    trained = photos["part"] == "train"
    reasons = {
        "of nobody in particular (-1 or 0000)": (layout == "market1501") & photos["item"].isin((JUNK, DISTRACTOR)),
        "in neither part": photos["part"] == "",
        f"without a pose ({settings.posed})": ~photos["posed"],
        "of an excluded view": trained & photos["view"].isin(settings.exclude_views),
        "of an excluded category": trained & photos["category"].isin(settings.exclude_categories),
    }
    return np.select(list(reasons.values()), list(reasons), "")


def _train_pairs(photos: pd.DataFrame, settings: SplitSettings) -> _Pairs:
    return _Pairs(*_all_pairs(photos, "train", settings), {}, [])


def _all_pairs(photos: pd.DataFrame, part: str, settings: SplitSettings) -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of a part; patn takes the photos in the order of the keypoint file, as PATN did."""
    rows = np.flatnonzero((photos["part"] == part) & (photos["dropped"] == ""))
    if settings.mode == "patn":
        rows = rows[np.argsort(photos["row"].to_numpy()[rows], kind="stable")]
    sources, targets = rules.all_pairs(photos["item"].iloc[rows])
    return rows[sources], rows[targets]


def _test_pairs(photos: pd.DataFrame, listed: pd.DataFrame | None, settings: SplitSettings) -> _Pairs:
    pairs = _drawn_pairs(photos, settings) if listed is None else _pairs_of_file(photos, listed, settings)
    if settings.mode == "patn" and settings.posed != "torso":
        pairs.departures.append(f"posed is {settings.posed}, not torso")
    return pairs


def _drawn_pairs(photos: pd.DataFrame, settings: SplitSettings) -> _Pairs:
    sources, targets = _all_pairs(photos, "test", settings)
    published = {"pg2": rules.PG2_TEST_PAIRS, "patn": rules.PATN_TEST_PAIRS, "official": settings.test_pairs}
    most, due = settings.test_pairs, min(published[settings.mode], len(sources))
    if settings.mode == "patn":
        chosen = rules.drawn(len(sources), min(most, rules.PATN_TEST_PAIRS), rules.PATN_SEED)
    else:
        chosen = rules.drawn(len(sources), most, settings.seed)
    departures = [f"{len(chosen):,} test pairs in place of {due:,}"] if len(chosen) != due else []
    return _Pairs(sources[chosen], targets[chosen], {"not drawn": len(sources) - len(chosen)}, departures)


def _pairs_of_file(photos: pd.DataFrame, listed: pd.DataFrame, settings: SplitSettings) -> _Pairs:
    """The rows of the pairs file, in its order, whose photos are there, tested on and posed."""
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
    """`dropped` with two more reasons: test photos of an excluded view that no pair needs, and photos left alone."""
    dropped = photos["dropped"].to_numpy(copy=True)
    needless = photos["view"].isin(settings.exclude_views).to_numpy(copy=True)
    needless[test.sources] = needless[test.targets] = False
    dropped[(dropped == "") & needless] = "of an excluded view"
    kept = dropped == ""
    alone = ~photos["item"].where(kept, "").duplicated(keep=False).to_numpy()
    dropped[kept & alone] = "the only one of its item"
    return dropped


def _items(photos: pd.DataFrame) -> pd.DataFrame:
    """The kept photos, those to train on first, item by item."""
    kept = photos[photos["dropped"] == ""]
    item, _ = pd.factorize(kept["item"])
    return kept.iloc[np.lexsort((item, kept["part"] == "test"))][list(ITEMS)]


def _pairs_table(photos: pd.DataFrame, train: _Pairs, test: _Pairs) -> pd.DataFrame:
    sources, targets = (np.concatenate([train[end], test[end]]) for end in (0, 1))
    names, items = photos["name"].to_numpy(), photos["item"].to_numpy()
    return pd.DataFrame(
        {
            "part": np.repeat(["train", "test"], [len(train.sources), len(test.sources)]),
            "from": names[sources],
            "to": names[targets],
            "item_from": items[sources],
            "item_to": items[targets],
        }
    )


def _visible(files: RawFiles) -> dict[str, str]:
    """Which cells of the garment a photo shows, by its name: what a renderer wrote of its photos; else nothing."""
    found = [name for name in files if PurePosixPath(name).name == _FIGURES]
    if len(found) != 1:
        return {}
    try:
        table = pd.read_csv(io.BytesIO(files[found[0]]), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise _damaged_figures(found[0], error) from None
    if not {"name", "visible"} <= set(table):
        say(
            f"Warning: {found[0]} has no columns name and visible (an earlier repose wrote it, or it is not a renderer's), "
            "so nothing says what the source of a pair hides. Render the mannequins again: `dvc repro --force download`"
        )
        return {}
    return dict(zip(table["name"], table["visible"], strict=True))


def _with_hidden(pairs: pd.DataFrame, visible: Mapping[str, str]) -> pd.DataFrame:
    """Pairs with the column OCCLUSION: four digits, empty where it is not known."""
    ends = zip(*(pairs[end].map(lambda name: visible.get(name, "")) for end in PAIRS), strict=True)
    try:
        shares = [occlusion(source, target) for source, target in ends]
    except ValueError as error:
        raise _damaged_figures(_FIGURES, error) from None
    return pairs.assign(**{OCCLUSION: ["" if np.isnan(share) else f"{share:.4f}" for share in shares]})


def _damaged_figures(path: str, error: ValueError) -> ReposeError:
    return ReposeError(
        f"{path} in the source is damaged ({error}). Render the mannequins again (`dvc repro --force download`); or, if no "
        "renderer of repose wrote it, take it out of the source."
    )


def _record(
    photos: pd.DataFrame, items: pd.DataFrame, pairs: pd.DataFrame, parts: _Parts, test: _Pairs, settings: SplitSettings
) -> dict[str, Any]:
    """What split.json says."""
    departures = parts.departures + test.departures
    return {
        "mode": f"{settings.mode}-like" if departures else settings.mode,
        "departures": departures,
        "posed": settings.posed,
        "seed": settings.seed,
        "lists": parts.lists,
        **{
            part: {
                "items": int(items["item"][items["part"] == part].nunique()),
                "photos": int((items["part"] == part).sum()),
                "pairs": int((pairs["part"] == part).sum()),
            }
            for part in ("train", "test")
        },
        "photos_dropped": _counted(photos["dropped"]),
        "test_pairs_dropped": test.dropped,
    }


def _counted(reasons: "np.ndarray | pd.Series[str]") -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    counts = pd.Series(reasons).value_counts().drop("", errors="ignore")
    return {str(reason): int(count) for reason, count in counts.items()}


def _say(record: dict[str, Any]) -> None:
    head = f"split ({record['mode']})"
    for part in ("train", "test"):
        say(f"{head}: {part} {_listing(record[part])}")
    say(f"{head}: photos left out: {_listing(record['photos_dropped']) or 'none'}")
    for departure in record["departures"]:
        say(f"{head}: {departure}")


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)


def _check_pairs_known(table: pd.DataFrame, listed: pd.DataFrame, path: str, settings: SplitSettings) -> None:
    missing = table.loc[listed["source"] < 0, "from"].tolist() + table.loc[listed["target"] < 0, "to"].tolist()
    rows = int((listed[["source", "target"]] < 0).any(axis=1).sum())
    if rows > settings.max_unknown * len(table):
        raise ReposeError(
            f"{path}: {rows:,} of {len(table):,} pairs name a photo that is not in images.csv, such as "
            f"{', '.join(list(dict.fromkeys(missing))[:3])}. Get the missing photos (see the validate stage's report) "
            f"or let more pairs go with `split.max_unknown` (now {settings.max_unknown:g}) in params.yaml."
        )


def _check_pairs_of_one_item(table: pd.DataFrame, listed: pd.DataFrame, path: str) -> None:
    differ = listed["item"].notna() & listed["target_item"].notna() & (listed["item"] != listed["target_item"])
    wrong = differ | ((listed["source"] == listed["target"]) & (listed["source"] >= 0))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ReposeError(
            f"{path}, line {row + 2}: {table['from'][row]} and {table['to'][row]} are not two photos of one item "
            f"({int(wrong.sum()):,} such line(s)). Correct or remove them."
        )


def _check_disjoint(both: set[str], where: str) -> None:
    if both:
        raise ReposeError(
            f"{len(both):,} item(s) are in both parts, to train and to test on, by {where}: such as "
            f"{', '.join(sorted(both)[:3])}. Take each out of one of them."
        )


def _check_both_parts(record: dict[str, Any]) -> None:
    for part, what in (("train", "items"), ("test", "pairs")):
        if not record[part][what]:
            dropped = {**record["photos_dropped"], **(record["test_pairs_dropped"] if part == "test" else {})}
            if part == "train" and record["test"]["items"] and not dropped:
                raise ReposeError(
                    f"The split ({record['mode']}) tests on all {record['test']['items']:,} items and trains on none. Set "
                    "`split.test_share` in params.yaml (0.3, say), or give a list or pairs file that names fewer of them."
                )
            raise ReposeError(
                f"The split ({record['mode']}) has no {part} {what}. Left out: {_listing(dropped) or 'none'}. Change "
                "the block `split` of params.yaml: the lists, `test_share`, `posed` or what is excluded."
            )
