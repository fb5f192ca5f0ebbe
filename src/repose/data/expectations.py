"""What the tables between the stages must be like: Great Expectations suites in code, run, judged, explained.

Three tables are gated by one mechanism: photos, keypoints, pairs. A check is `critical` (the stage fails) or `warning`
(the report says so); Great Expectations decides each check, `Outcome.passed` what follows from them.
Great Expectations takes seconds to import, so the first check that runs does it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from repose.data.layouts import DISTRACTOR, JUNK
from repose.data.placement import ENOUGH, MIDDLE, advice, centres
from repose.data.skeleton import JOINT, JOINTS, TORSO, present
from repose.errors import ReposeError
from repose.terminal import say

EXAMPLES = 3  # rows named beside a check
MARGIN = 1.0  # pixels that a joint may lie outside its photo: rounding and resizing push that far
NEARLY_ALL = 0.99  # of the photos have all their joints inside
MOST = 0.9  # of the photos follow anatomy; people bend and turn

Severity = Literal["critical", "warning"]
Duplicates = Literal["set-aside", "report"]

# Why a photo is set aside, by the name of the check that finds it, in the order in which reasons are tried.
REASONS = {
    "decodes": "does not decode",
    "pixels": "too many pixels",
    "format": "wrong format",
    "mode": "wrong mode",
    "size": "wrong size",
    "shorter side": "wrong size",
    "path": "misnamed",
    "names differ": "same name twice",
    "contents differ": "duplicate content",
}


@dataclass(frozen=True)
class Check:
    """One expectation and what was found."""

    name: str
    expected: str  # in words
    observed: str  # in words
    severity: Severity
    passed: bool
    rows: tuple[int, ...]  # index labels of those that do not fit; none where the check is of the table as a whole
    examples: tuple[str, ...]  # the first of these rows, named


@dataclass(frozen=True)
class Outcome:
    """All checks of a table, in the order of its suites."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no critical check failed."""
        return not self.failed("critical")

    def failed(self, severity: Severity) -> list[Check]:
        """The failed checks of one severity."""
        return [check for check in self.checks if not check.passed and check.severity == severity]


def require(outcome: Outcome, what: str, page: Path) -> None:
    """Go on only with a table that passed; failed warnings are printed.

    Args:
        outcome: of the checks.
        what: was checked; it opens the message: "The photos".
        page: where the report is that explains every check.

    Raises:
        ReposeError: a critical check failed; the message lists each with examples.
    """
    for check in outcome.failed("warning"):
        say(f"Warning: {_in_words(check)}{f', for example {check.examples[0]}' if check.examples else ''}")
    failed = outcome.failed("critical")
    if failed:
        lines = [line for check in failed for line in (_in_words(check), *(f"    {name}" for name in check.examples))]
        raise ReposeError(
            "\n  ".join([f"{what} failed {len(failed)} of {len(outcome.checks)} checks:", *lines])
            + f"\nPut the data right, or the stage's limits in params.yaml. {page} explains every check. "
            "Earlier results are kept (`dvc checkout --force` brings them back)."
        )


def check_photos(
    photos: pd.DataFrame,
    *,
    sizes: Sequence[tuple[int, int]],
    min_side: int,
    modes: Sequence[str],
    formats: Sequence[str],
    max_megapixels: float,
    tolerated_share: float,
    duplicates: Duplicates,
    photos_per_item: tuple[int, int],
) -> tuple[Outcome, pd.DataFrame]:
    """Judge the files of a source that should be photos, each for itself and then beside each other.

    Args:
        photos: a row per file; of equals the first one stays. Columns: path, name, item, category, view, partition,
            named (bool: the path is one of the layout's) and the fields of `inspection.Inspection`.
        sizes: accepted (height, width) in pixels; empty: any.
        min_side: of height and width, pixels.
        modes: accepted, as Pillow names them.
        formats: accepted, as Pillow names them.
        max_megapixels: more were not decoded.
        tolerated_share: share of the files, 0 to 1, that may be set aside.
        duplicates: what becomes of a photo with the same bytes as an earlier one.
        photos_per_item: least and most photos of the median item.

    Returns:
        The outcome; and the photos with the columns `reason` (of REASONS) and `detail`, missing where one passes.
    """
    table = _with_sizes(photos.reset_index(drop=True))
    checks = run_suite(table, _file_suite(sizes, min_side, modes, formats, max_megapixels), label=["path"])
    judged = table.assign(**_first_reason(table, checks))

    beside = judged[judged["reason"].isna()].copy()
    beside["named_before"] = _earlier(beside, "name")
    beside["duplicate_of"] = _earlier(beside[beside["named_before"].isna()], "sha256")
    comparisons = run_suite(beside, _comparison_suite(), label=["path"])
    counted = comparisons if duplicates == "set-aside" else comparisons[:1]
    judged.loc[beside.index, ["reason", "detail"]] = pd.DataFrame(_first_reason(beside, counted))

    good = judged[judged["reason"].isna()]
    checks += comparisons + _check_share(judged, tolerated_share) + _check_remaining(good, photos_per_item)
    return Outcome(tuple(checks)), judged[[*photos.columns, "reason", "detail"]]


def check_keypoints(
    names: Sequence[str],
    keypoints: np.ndarray,
    confidence: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
    *,
    min_posed_share: float,
    placed: bool = False,
) -> Outcome:
    """Judge a table of keypoints.

    Args:
        names: n photos.
        keypoints: (n, K, 2) x, y in pixels, NaN for missing.
        confidence: (n, K) in [0, 1]; not looked at where the joint is missing.
        heights: (n,) of the photos, pixels.
        widths: (n,) of the photos, pixels.
        min_posed_share: share of the photos, 0 to 1, in which both shoulders and both hips must be known.
        placed: whether the joints were not found in these very photos, so that it is judged whether they fit them
            (`placement`).
    """
    facts = _keypoint_facts(keypoints, confidence, np.asarray(heights), np.asarray(widths))
    table = pd.DataFrame({"name": list(names), **facts})
    return Outcome(
        (
            *run_suite(table, _keypoint_suite(min_posed_share), label=["name"]),
            *run_suite(_joint_facts(keypoints), _joint_suite(), label=["joint"]),
            *(_check_middle(keypoints, heights, widths) if placed else ()),
        )
    )


def check_pairs(pairs: pd.DataFrame, items: pd.DataFrame, *, min_train_pairs: int, min_test_pairs: int) -> Outcome:
    """Judge a split.

    Args:
        pairs: a row per pair: from, to (names of photos), part (train or test), item_from, item_to.
        items: a row per photo that is trained or tested on: part, item, name (`records.ITEMS`).
        min_train_pairs: the fewest pairs of the part `train`.
        min_test_pairs: the fewest pairs of the part `test`.
    """
    known = items["part"] + "\n" + items["item"] + "\n" + items["name"]
    ends = [pairs["part"] + "\n" + pairs[f"item_{end}"] + "\n" + pairs[end] for end in ("from", "to")]
    table = pairs.assign(
        differ=pairs["from"] != pairs["to"],
        listed=ends[0].isin(known) & ends[1].isin(known),
        train=(pairs["part"] == "train").astype(np.int64),
        test=(pairs["part"] == "test").astype(np.int64),
    )
    return Outcome(
        (
            *run_suite(table, _pair_suite(min_train_pairs, min_test_pairs), label=["from", "to"]),
            *run_suite(_parts(items, "item"), _leak_suite("item"), label=["item"]),
            *run_suite(_parts(items, "name"), _leak_suite("photo"), label=["name"]),
        )
    )


def run_suite(table: pd.DataFrame, suite: Sequence[Any], *, label: Sequence[str]) -> list[Check]:
    """Let Great Expectations judge a table; the columns `label` name a row. Expectations are made with `**_says(...)`.

    Raises:
        ReposeError: Great Expectations is not installed.
        RuntimeError: a check could not run, for example for a column that is not there: a defect of the suite.
    """
    _classes()
    from great_expectations import ExpectationSuite

    batch = _tables().get_batch({"dataframe": table.reset_index(drop=True)})
    results: list[Any] = batch.validate(
        ExpectationSuite(name="suite", expectations=list(suite)), result_format={"result_format": "COMPLETE"}
    ).results
    found = {result.expectation_config.meta["name"]: result for result in results}  # they come in an order of their own
    return [_check(found[expectation.meta["name"]], table[list(label)]) for expectation in suite]


def _classes() -> Any:
    """Great Expectations' module of expectation classes, without the deprecations of which its own imports warn."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import great_expectations.expectations as classes
    except ImportError as error:
        raise ReposeError(
            f"Great Expectations cannot be imported ({error}). The stages that check data need it: "
            "pip install 'repose[pipeline]'."
        ) from None
    return classes


@cache
def _tables() -> Any:
    """Great Expectations' door for tables in memory, with no files, no project and no progress bars of its own."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("whole")


def _says(name: str, expected: str, severity: Severity = "critical") -> dict[str, Any]:
    """The part of an expectation that is for people: what its check is called and what it expects, in words."""
    return {"meta": {"name": name}, "description": expected, "severity": severity}


def _check(result: Any, labels: pd.DataFrame) -> Check:
    config, found = result.expectation_config, result.result
    name = config.meta["name"]
    if "element_count" not in found and "observed_value" not in found:
        raise RuntimeError(f"The check {name!r} could not run: {result.exception_info}")
    unfit = found.get("unexpected_index_list") or []  # counted from 0
    return Check(
        name=name,
        expected=config.description,
        observed=_observed(found),
        severity=config.severity.value,
        passed=bool(result.success),
        rows=tuple(labels.index[unfit].tolist()),
        examples=tuple(" -> ".join(labels.iloc[row]) for row in unfit[:EXAMPLES]),
    )


def _observed(found: dict[str, Any]) -> str:
    if "observed_value" in found:
        value = found["observed_value"]
        return "nothing to look at" if value is None or np.isnan(value) else f"{round(float(value), 3):,.10g}"
    looked_at = found["element_count"] - found.get("missing_count", 0)
    if looked_at == 0:
        return "nothing to look at"
    unfit = found["unexpected_count"]
    return f"{_of(unfit, looked_at)} do not fit" if unfit else f"all {looked_at:,} fit"


def _in_words(check: Check) -> str:
    return f"{check.name} ({check.expected}): {check.observed}"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({_percent(part / max(whole, 1))})"


def _percent(share: float) -> str:
    return f"{min(100 * share, 99.9) if share < 1 else 100:.3g} %"  # 100 only where it is all of them


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)


# Photos


def _with_sizes(photos: pd.DataFrame) -> pd.DataFrame:
    """Photos with what the suite looks at. What a file that is no image does not have is missing: not judged."""
    table = photos.assign(
        megapixels=photos["height"] * photos["width"] / 1e6,
        size=photos["height"].astype(str) + " x " + photos["width"].astype(str),
        shorter_side=photos[["height", "width"]].min(axis=1).astype(float),
    ).astype({"format": object, "mode": object, "size": object})
    table.loc[photos["format"] == "", ["format", "mode", "size", "shorter_side", "megapixels"]] = None
    return table


def _file_suite(
    sizes: Sequence[tuple[int, int]], min_side: int, modes: Sequence[str], formats: Sequence[str], max_megapixels: float
) -> list[Any]:
    """Each file for itself. What does not fit is set aside; how much of that is too much, `_check_share` says."""
    gxe = _classes()
    accepted = [f"{height} x {width}" for height, width in sizes]
    of_size = gxe.ExpectColumnValuesToBeInSet(
        column="size",
        value_set=accepted,
        **_says("size", f"every photo has {_or(accepted)} pixels (height x width)", "warning"),
    )
    return [
        gxe.ExpectColumnValuesToBeInSet(
            column="decodes", value_set=[True], **_says("decodes", "every photo decodes to its last row", "warning")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="megapixels",
            max_value=max_megapixels,
            **_says("pixels", f"no photo has more than {max_megapixels:g} megapixels", "warning"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="format", value_set=list(formats), **_says("format", f"every file is {_or(formats)}", "warning")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="mode", value_set=list(modes), **_says("mode", f"every photo is {_or(modes)}", "warning")
        ),
        *([of_size] if sizes else []),
        gxe.ExpectColumnValuesToBeBetween(
            column="shorter_side",
            min_value=min_side,
            **_says("shorter side", f"every photo's shorter side has at least {min_side} pixels", "warning"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="named", value_set=[True], **_says("path", "every photo's path follows the layout", "warning")
        ),
    ]


def _comparison_suite() -> list[Any]:
    """The photos that are fine each for itself, beside each other."""
    gxe = _classes()
    return [
        gxe.ExpectColumnValuesToBeNull(
            column="named_before", **_says("names differ", "no two photos have the same name", "warning")
        ),
        gxe.ExpectColumnValuesToBeNull(
            column="duplicate_of", **_says("contents differ", "no two photos have the same bytes", "warning")
        ),
    ]


def _first_reason(table: pd.DataFrame, checks: Sequence[Check]) -> dict[str, "pd.Series[Any]"]:
    """For each row the first of the checks (in the order of REASONS) that it does not fit: `reason` and `detail`."""
    reason = pd.Series(None, index=table.index, dtype=object)
    detail = reason.copy()
    for check in reversed(checks):  # what is written last is what was tried first
        rows = list(check.rows)
        reason.loc[rows] = REASONS[check.name]
        detail.loc[rows] = _detail(check.name, table.loc[rows])
    return {"reason": reason, "detail": detail}


def _detail(name: str, rows: pd.DataFrame) -> Any:
    match name:
        case "decodes":
            return rows["error"]
        case "pixels" | "size" | "shorter side":
            return rows["size"]
        case "format" | "mode":
            return rows[name]
        case "names differ":
            return "as " + rows["named_before"]
        case "contents differ":
            return "as in " + rows["duplicate_of"]
    return ""


def _earlier(photos: pd.DataFrame, column: str) -> "pd.Series[str]":
    """The path of the first photo with the same value; missing where that is the photo itself."""
    first = photos.groupby(column)["path"].transform("first")
    return first.where(first != photos["path"])


def _check_share(judged: pd.DataFrame, tolerated_share: float) -> list[Check]:
    """How many of the files are set aside: what a bad source fails by."""
    gxe = _classes()
    expected = f"at most {_percent(tolerated_share)} of the photos are set aside"
    mostly = round(1 - tolerated_share, 9)  # without the rounding 1 - 0.57 > 0.43, and a share just as tolerated fails
    suite = [gxe.ExpectColumnValuesToBeNull(column="reason", mostly=mostly, **_says("share set aside", expected))]
    bad = judged[judged["reason"].notna()]
    counts = bad["reason"].value_counts()
    found = "; ".join([_of(len(bad), len(judged)), *(f"{reason}: {count:,}" for reason, count in counts.items())])
    of_each = bad.groupby("reason", sort=False).head(max(1, 2 * EXAMPLES // max(len(counts), 1)))
    named = tuple(
        f"{path} ({', '.join(filter(None, why))})"
        for path, *why in of_each[["path", "reason", "detail"]].itertuples(index=False)
    )
    return [replace(check, observed=found, examples=named) for check in run_suite(judged, suite, label=["path"])]


def _check_remaining(good: pd.DataFrame, photos_per_item: tuple[int, int]) -> list[Check]:
    """The photos that pass, and the items that they show."""
    gxe = _classes()
    least, most = photos_per_item
    partitions = ["train", "query", "gallery"] if good["partition"].ne("").any() else [""]
    photo_suite = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **_says("photos left", "at least one photo passes")),
        gxe.ExpectColumnValuesToBeInSet(
            column="partition",
            value_set=partitions,
            **_says("partition", "every photo is in the owner's partition list, if there is one", "warning"),
        ),
    ]
    item_suite = [
        gxe.ExpectColumnMedianToBeBetween(
            column="photos",
            min_value=least,
            max_value=most,
            **_says("photos per item", f"the median item has {least:,} to {most:,} photos"),
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="halves",
            max_value=1,
            **_says("train and test apart", "no item is both in the owner's train and in query or gallery"),
        ),
    ]
    checks = run_suite(good, photo_suite, label=["path"])
    return checks + run_suite(_items(good), item_suite, label=["item"]) if len(good) else checks


def _items(good: pd.DataFrame) -> pd.DataFrame:
    """A row per item: how many photos, and in how many of the owner's two halves they lie."""
    shown = good[~good["item"].isin((JUNK, DISTRACTOR))]
    half = shown["partition"].map({"train": "train", "query": "test", "gallery": "test"})
    return (
        shown.assign(half=half).groupby("item").agg(photos=("path", "size"), halves=("half", "nunique")).reset_index()
    )


# Keypoints


def _keypoint_facts(
    keypoints: np.ndarray, confidence: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> dict[str, Any]:
    """What the suite looks at, a value per photo; None where a photo cannot tell."""
    x, y, known = keypoints[..., 0], keypoints[..., 1], present(keypoints)
    right, bottom = widths[:, None] - 1 + MARGIN, heights[:, None] - 1 + MARGIN
    inside = (x >= -MARGIN) & (y >= -MARGIN) & (x <= right) & (y <= bottom)
    posed = np.asarray(known[:, TORSO].all(1))
    upright = np.asarray(y[:, TORSO[:2]].mean(1) < y[:, TORSO[2:]].mean(1))
    right_eye, left_eye, right_shoulder, left_shoulder = (
        x[:, JOINT[f"{side}_{joint}"]] for joint in ("eye", "shoulder") for side in ("right", "left")
    )
    frontal = (right_shoulder < left_shoulder) & ~np.isnan(right_eye) & ~np.isnan(left_eye)
    return {
        "whole": (np.isnan(x) == np.isnan(y)).all(1),
        "inside": (inside | ~known).all(1),
        "likely": (((confidence >= 0) & (confidence <= 1)) | ~known).all(1),
        "posed": posed,
        "upright": _where(posed, upright),
        "eyes": _where(frontal, right_eye < left_eye),
    }


def _where(tells: np.ndarray, values: np.ndarray) -> "pd.Series[Any]":
    return pd.Series(values, dtype=object).where(tells, None)


def _keypoint_suite(min_posed_share: float) -> list[Any]:
    gxe = _classes()
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **_says("photos", "there is at least one photo")),
        gxe.ExpectColumnValuesToBeUnique(column="name", **_says("one row per photo", "no photo has two rows")),
        gxe.ExpectColumnValuesToBeInSet(
            column="whole", value_set=[True], **_says("whole joints", "a joint has both x and y, or neither")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="likely", value_set=[True], **_says("confidence", "every known joint's confidence is in [0, 1]")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="inside",
            value_set=[True],
            mostly=NEARLY_ALL,
            **_says("inside", f"in {_percent(NEARLY_ALL)} of the photos every known joint is inside the photo"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="posed",
            value_set=[True],
            mostly=min_posed_share,
            **_says("posed share", f"in {_percent(min_posed_share)} of the photos both shoulders and hips are known"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="upright",
            value_set=[True],
            mostly=MOST,
            **_says(
                "upright",
                f"in {_percent(MOST)} of the photos the shoulders are above the hips (or are x and y exchanged?)",
                "warning",
            ),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="eyes",
            value_set=[True],
            mostly=MOST,
            **_says(
                "right is right",
                f"in {_percent(MOST)} of the photos from the front the right eye, like the right shoulder, is on the "
                "viewer's left",
                "warning",
            ),
        ),
    ]


def _joint_facts(keypoints: np.ndarray) -> pd.DataFrame:
    """A row per joint: in how many photos it is known, and how far apart, in pixels, its outermost places are."""
    known = present(keypoints)
    photos = known.sum(0)
    last = np.where(known[..., None], keypoints, -np.inf).max(0, initial=-np.inf)
    first = np.where(known[..., None], keypoints, np.inf).min(0, initial=np.inf)
    return pd.DataFrame(
        {"joint": JOINTS, "photos": photos, "spread": np.where(photos > 1, (last - first).max(1), np.nan)}
    )


def _joint_suite() -> list[Any]:
    gxe = _classes()
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="photos", min_value=1, **_says("every joint", "every joint is known in some photo", "warning")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="spread", min_value=1, **_says("joints move", "no joint is in one place in all photos", "warning")
        ),
    ]


def _check_middle(keypoints: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> list[Check]:
    """Critical where x and y both tell of a smaller copy: every pose would lie in the upper left of its photo."""
    middles = pd.DataFrame(centres(keypoints, heights, widths), columns=["x", "y"])
    if len(middles) < ENOUGH:
        return []
    severity: Severity = "critical" if (middles.median() < MIDDLE[0]).all() else "warning"
    expected = f"the centre of the joints is at {MIDDLE[0]} to {MIDDLE[1]} of the photo's %s in the median."
    suite = [
        _classes().ExpectColumnMedianToBeBetween(
            column=axis,
            min_value=MIDDLE[0],
            max_value=MIDDLE[1],
            **_says(f"middle in {axis}", f"{expected % side} {what}".rstrip(" ."), severity),
        )
        for axis, side, what in zip("xy", ("width", "height"), advice(keypoints, heights, widths), strict=True)
    ]
    return run_suite(middles, suite, label=[])


# Pairs


def _pair_suite(min_train_pairs: int, min_test_pairs: int) -> list[Any]:
    gxe = _classes()
    return [
        gxe.ExpectColumnSumToBeBetween(
            column="train",
            min_value=min_train_pairs,
            **_says("train pairs", f"at least {min_train_pairs:,} pairs to train on"),
        ),
        gxe.ExpectColumnSumToBeBetween(
            column="test",
            min_value=min_test_pairs,
            **_says("test pairs", f"at least {min_test_pairs:,} pairs to test on"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="part", value_set=["train", "test"], **_says("parts", "every pair is in train or in test")
        ),
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A="item_from", column_B="item_to", **_says("one item", "both photos of a pair show one item")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="differ", value_set=[True], **_says("two photos", "no pair goes from a photo to itself")
        ),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["part", "from", "to"], **_says("once", "no pair is listed twice")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="listed", value_set=[True], **_says("listed", "both photos of a pair are in the items of its part")
        ),
    ]


def _parts(items: pd.DataFrame, column: str) -> pd.DataFrame:
    return items.groupby(column)["part"].nunique().rename("parts").reset_index()


def _leak_suite(what: str) -> list[Any]:
    gxe = _classes()
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="parts", max_value=1, **_says(f"no {what} in both", f"no {what} is both in train and in test")
        )
    ]
