from typing import Any

import pandas as pd
import pytest
from outcomes import named

from repose.validation.expectations import Outcome
from repose.validation.photos import REASONS, PhotoRules, check_photos

RULES: dict[str, Any] = {
    "sizes": ((256, 256), (128, 64)), "min_side": 64, "modes": ("RGB",), "formats": ("JPEG",), "max_megapixels": 20.0,
    "tolerated_share": 0.0, "duplicates": "set-aside", "photos_per_item": (2, 100),
}  # fmt: skip


def photos(count: int = 12, **columns: dict[int, Any]) -> pd.DataFrame:
    """A table of good photos, two of each item, with some values replaced: column={row: value}."""
    table = pd.DataFrame({
        "path": [f"img/{row:05d}.jpg" for row in range(count)], "name": [f"photo{row}" for row in range(count)],
        "item": [f"item{row // 2}" for row in range(count)], "category": "WOMEN/Dresses", "view": "front",
        "partition": "train", "decodes": True, "error": "", "format": "JPEG", "mode": "RGB", "width": 256, "height": 256,
        "bytes": 9000, "sha256": [f"digest{row}" for row in range(count)],
    }).astype({"decodes": object})  # fmt: skip
    for column, values in columns.items():
        for row, value in values.items():
            table.loc[row, column] = value
    return table


def judge(table: pd.DataFrame, **rules: Any) -> tuple[Outcome, pd.DataFrame]:
    return check_photos(table, PhotoRules(**(RULES | rules)))


def test_good_photos_pass_every_check():
    outcome, judged = judge(photos())
    assert outcome.passed
    assert not outcome.failed("warning")
    assert judged["reason"].isna().all()
    assert [found.name for found in outcome.checks] == [
        *REASONS, "share set aside", "photos left", "partition", "photos per item", "train and test apart",
    ]  # fmt: skip


# row: what is odd about the photo, why it is set aside, the detail, the checks that it fails
BAD: dict[int, tuple[dict[str, Any], str, str, list[str]]] = {
    3: (
        {"decodes": False, "error": "0 bytes", "format": "", "mode": "", "width": 0, "height": 0},
        "does not decode", "0 bytes", ["decodes"],
    ),
    4: ({"decodes": None, "width": 50_000, "height": 50_000}, "too many pixels", "50000 x 50000", ["pixels", "size"]),
    5: ({"format": "PNG"}, "wrong format", "PNG", ["format"]),
    6: ({"mode": "CMYK"}, "wrong mode", "CMYK", ["mode"]),
    7: ({"width": 200}, "wrong size", "256 x 200", ["size"]),
    8: ({"width": 1, "height": 1}, "wrong size", "1 x 1", ["size", "shorter side"]),
    9: ({"name": ""}, "misnamed", "", ["path"]),
    10: ({"name": "photo1"}, "same name twice", "as img/00001.jpg", ["names differ"]),
    11: ({"sha256": "digest1"}, "duplicate content", "as in img/00001.jpg", ["contents differ"]),
    # Of several reasons the first in the order of REASONS.
    12: ({"format": "PNG", "mode": "L", "name": ""}, "wrong format", "PNG", ["format", "mode", "path"]),
    13: ({"name": "photo1", "sha256": "digest1"}, "same name twice", "as img/00001.jpg", ["names differ"]),
}  # fmt: skip


def test_bad_photos_are_set_aside_each_for_one_reason():
    columns: dict[str, dict[int, Any]] = {}
    for row, (values, *_) in BAD.items():
        for column, value in values.items():
            columns.setdefault(column, {})[row] = value
    outcome, judged = judge(photos(30, **columns), tolerated_share=0.5)
    assert outcome.passed
    for name in REASONS:
        rows = [row for row, (*_, checks) in BAD.items() if name in checks]
        first = [1] if name.endswith("differ") else []  # the one that the others repeat
        assert (name, named(outcome, name).failing) == (name, (*first, *rows))
        assert named(outcome, name).severity == "warning"
    bad = judged[judged["reason"].notna()]
    assert list(zip(bad.index, bad["reason"], bad["detail"], strict=True)) == [
        (row, reason, detail) for row, (_, reason, detail, _) in BAD.items()
    ]


def test_any_size_from_the_smallest_side_up_where_no_sizes_are_named():
    outcome, judged = judge(photos(width={3: 200, 4: 64, 5: 63}), sizes=(), tolerated_share=0.1)
    assert judged["reason"].dropna().to_dict() == {5: "wrong size"}
    assert "size" not in [found.name for found in outcome.checks]


def test_the_good_one_of_two_equal_photos_stays():
    """Were the earlier one set aside for another reason, both would be gone."""
    _, judged = judge(photos(sha256={3: "digest1"}, name={1: ""}), tolerated_share=0.5)
    assert judged["reason"].dropna().to_dict() == {1: "misnamed"}


def test_duplicates_that_are_only_reported_stay_but_not_those_of_one_name():
    outcome, judged = judge(photos(sha256={3: "digest1"}, name={5: "photo1"}), duplicates="report", tolerated_share=0.1)
    assert judged["reason"].dropna().to_dict() == {5: "same name twice"}
    assert [found.name for found in outcome.failed("warning")] == ["names differ", "contents differ"]


@pytest.mark.parametrize(("percent", "passed"), [(57, True), (56, False)])
def test_the_tolerated_share_is_itself_tolerated_and_one_photo_more_is_not(percent, passed):
    outcome, _ = judge(photos(100, mode=dict.fromkeys(range(57), "L")), tolerated_share=percent / 100)
    assert named(outcome, "share set aside").passed is passed


def test_the_message_counts_reasons():
    table = photos(40, mode=dict.fromkeys(range(10), "L"), name={20: ""}, format={30: "PNG", 31: "PNG"})
    share = named(judge(table, tolerated_share=0.01)[0], "share set aside")
    assert (share.severity, share.expected) == ("critical", "at most 1 % of the photos are set aside")
    assert share.observed == "13 of 40 (32.5 %); wrong mode: 10; wrong format: 2; misnamed: 1"
    assert share.examples[0] == "img/00000.jpg -> wrong mode"


def test_nothing_left_fails_whatever_is_tolerated():
    outcome, judged = judge(photos(mode=dict.fromkeys(range(12), "L")), tolerated_share=1.0)
    assert [found.name for found in outcome.failed("critical")] == ["photos left"]
    assert judged["reason"].eq("wrong mode").all()


def test_photos_of_the_median_item():
    found = named(judge(photos(item={row: f"alone{row}" for row in range(12)}))[0], "photos per item")
    assert (found.passed, found.severity, found.observed) == (False, "critical", "1")
    assert found.expected == "the median item has 2 to 100 photos"


def test_nobody_in_particular_is_no_item():
    """Market-1501 files thousands of detections under -1 and 0000."""
    nobody = photos(16, item=dict.fromkeys(range(4), "-1") | dict.fromkeys(range(4, 12), "0000"))
    assert named(judge(nobody)[0], "photos per item").observed == "2"


def test_a_folder_may_have_the_name_of_nobody_in_particular():
    folder = photos(item=dict.fromkeys(range(12), "0000")).assign(view="", partition="")
    assert named(judge(folder)[0], "photos per item").observed == "12"


def test_an_item_in_both_of_the_owners_halves():
    outcome, _ = judge(photos(partition={4: "gallery", 6: "query", 7: "gallery"}))
    (failed,) = outcome.failed("critical")
    assert (failed.name, failed.examples) == ("train and test apart", ("item2",))


def test_a_photo_that_the_owners_list_forgot_stays_with_a_warning():
    outcome, judged = judge(photos(partition={4: ""}))
    assert outcome.passed
    assert [(found.name, found.examples) for found in outcome.failed("warning")] == [("partition", ("img/00004.jpg",))]
    assert judged["reason"].isna().all()
