import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repose.data.expectations import (
    REASONS,
    Check,
    Outcome,
    _classes,
    _says,
    check_keypoints,
    check_pairs,
    check_photos,
    require,
    run_suite,
)
from repose.data.skeleton import JOINT, JOINTS, K, mirrored
from repose.errors import ReposeError

# The mechanism


def check(name: str, *, passed: bool, severity: Any = "critical") -> Check:
    return Check(
        name, "it is so", "all 3 fit" if passed else "1 of 3 (33.3 %) do not fit", severity, passed, (), ("a", "b")
    )


def test_only_critical_checks_decide() -> None:
    warned = Outcome((check("one", passed=True), check("two", passed=False, severity="warning")))
    assert warned.passed
    assert [failed.name for failed in warned.failed("warning")] == ["two"]
    assert not Outcome((*warned.checks, check("three", passed=False))).passed


def test_require_prints_warnings_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    require(Outcome((check("two", passed=False, severity="warning"),)), "The photos", Path("page.html"))
    assert capsys.readouterr().err == "Warning: two (it is so): 1 of 3 (33.3 %) do not fit, for example a\n"


def test_require_lists_what_failed_with_examples() -> None:
    outcome = Outcome((check("one", passed=True), check("two", passed=False), check("three", passed=False)))
    with pytest.raises(ReposeError) as failure:
        require(outcome, "The pairs", Path("report/page.html"))
    assert str(failure.value) == (
        "The pairs failed 2 of 3 checks:\n"
        "  two (it is so): 1 of 3 (33.3 %) do not fit\n      a\n      b\n"
        "  three (it is so): 1 of 3 (33.3 %) do not fit\n      a\n      b\n"
        "Put the data right, or the stage's limits in params.yaml. report/page.html explains every check. "
        "Earlier results are kept (`dvc checkout --force` brings them back)."
    )


def test_great_expectations_decides_and_its_answer_is_put_in_words() -> None:
    gxe = _classes()
    table = pd.DataFrame({"name": list("abcde"), "value": [1.0, 2.0, 30.0, None, 40.0]}, index=[9, 8, 7, 6, 5])
    suite = [
        gxe.ExpectColumnValuesToBeBetween(column="value", max_value=10, **_says("small", "it is small", "warning")),
        gxe.ExpectColumnValuesToBeBetween(column="value", max_value=10, mostly=0.5, **_says("half", "half are")),
        gxe.ExpectColumnMedianToBeBetween(column="value", min_value=1, max_value=20, **_says("median", "a median")),
        gxe.ExpectColumnValuesToBeNull(column="value", **_says("no value", "nothing")),
    ]
    small, half, median, null = run_suite(table, suite, label=["name", "name"])
    assert small == Check(
        "small", "it is small", "2 of 4 (50 %) do not fit", "warning", False, (7, 5), ("c -> c", "e -> e")
    )
    assert (half.passed, half.severity, half.observed) == (True, "critical", "2 of 4 (50 %) do not fit")
    assert (median.passed, median.observed, median.rows) == (True, "16", ())
    assert (null.passed, null.rows) == (False, (9, 8, 7, 5))


def test_an_empty_table_has_nothing_to_look_at() -> None:
    gxe = _classes()
    suite = [
        gxe.ExpectColumnValuesToBeBetween(column="value", max_value=10, **_says("small", "it is small")),
        gxe.ExpectColumnMedianToBeBetween(column="value", min_value=1, **_says("median", "a median")),
    ]
    small, median = run_suite(pd.DataFrame({"value": pd.Series([], dtype=float)}), suite, label=["value"])
    assert (small.passed, small.observed) == (True, "nothing to look at")
    assert (median.passed, median.observed) == (False, "nothing to look at")


def test_a_check_that_cannot_run_is_a_defect_and_no_verdict() -> None:
    suite = [_classes().ExpectColumnValuesToBeNull(column="valeu", **_says("typo", "nothing"))]
    with pytest.raises(RuntimeError, match=r"'typo' could not run.*valeu"):
        run_suite(pd.DataFrame({"value": [1]}), suite, label=["value"])


def test_without_great_expectations_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "great_expectations.expectations", None)
    with pytest.raises(ReposeError, match=r"pip install 'repose\[pipeline\]'"):
        run_suite(pd.DataFrame({"value": [1]}), [], label=["value"])


def test_importing_the_module_does_not_import_great_expectations() -> None:
    import subprocess

    program = "import sys, repose.data.report; print('great_expectations' in sys.modules, 'jinja2' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout == "False False\n"


# Photos

RULES: dict[str, Any] = {
    "sizes": ((256, 256), (128, 64)),
    "min_side": 64,
    "modes": ("RGB",),
    "formats": ("JPEG",),
    "max_megapixels": 20.0,
    "tolerated_share": 0.0,
    "duplicates": "set-aside",
    "photos_per_item": (2, 100),
}


def photos(count: int = 12, **columns: dict[int, Any]) -> pd.DataFrame:
    """A table of good photos, two of each item, with some values replaced: column={row: value}."""
    table = pd.DataFrame(
        {
            "path": [f"img/{row:05d}.jpg" for row in range(count)],
            "name": [f"photo{row}" for row in range(count)],
            "item": [f"item{row // 2}" for row in range(count)],
            "category": "WOMEN/Dresses",
            "view": "front",
            "partition": "train",
            "named": True,
            "decodes": True,
            "error": "",
            "format": "JPEG",
            "mode": "RGB",
            "width": 256,
            "height": 256,
            "bytes": 9000,
            "sha256": [f"digest{row}" for row in range(count)],
        }
    ).astype({"decodes": object})
    for column, values in columns.items():
        for row, value in values.items():
            table.loc[row, column] = value
    return table


def judge(table: pd.DataFrame, **rules: Any) -> tuple[Outcome, pd.DataFrame]:
    return check_photos(table, **(RULES | rules))


def named(outcome: Outcome, name: str) -> Check:
    return next(found for found in outcome.checks if found.name == name)


def test_good_photos_pass_every_check() -> None:
    outcome, judged = judge(photos())
    assert outcome.passed
    assert not outcome.failed("warning")
    assert judged["reason"].isna().all()
    assert list(judged.columns) == [*photos().columns, "reason", "detail"]
    assert [found.name for found in outcome.checks] == [
        *REASONS, "share set aside", "photos left", "partition", "photos per item", "train and test apart",
    ]  # fmt: skip


# row: what is odd about the photo, why it is set aside, the detail, the checks that it fails
BAD: dict[int, tuple[dict[str, Any], str, str, list[str]]] = {
    3: (
        {"decodes": False, "error": "0 bytes", "format": "", "mode": "", "width": 0, "height": 0},
        "does not decode", "0 bytes", ["decodes"],
    ),
    4: ({"decodes": False, "error": "truncated"}, "does not decode", "truncated", ["decodes"]),
    5: (
        {"decodes": None, "width": 50_000, "height": 50_000},
        "too many pixels", "50000 x 50000", ["pixels", "size"],
    ),
    6: ({"format": "PNG"}, "wrong format", "PNG", ["format"]),
    7: ({"mode": "CMYK"}, "wrong mode", "CMYK", ["mode"]),
    8: ({"width": 200}, "wrong size", "256 x 200", ["size"]),
    9: ({"width": 1, "height": 1}, "wrong size", "1 x 1", ["size", "shorter side"]),
    10: ({"named": False, "name": ""}, "misnamed", "", ["path"]),
    11: ({"name": "photo1"}, "same name twice", "as img/00001.jpg", ["names differ"]),
    12: ({"sha256": "digest1"}, "duplicate content", "as in img/00001.jpg", ["contents differ"]),
    # Of several reasons the first in the order of REASONS.
    13: ({"format": "PNG", "mode": "L", "named": False}, "wrong format", "PNG", ["format", "mode", "path"]),
    14: ({"name": "photo1", "sha256": "digest1"}, "same name twice", "as img/00001.jpg", ["names differ"]),
}  # fmt: skip


def test_bad_photos_are_set_aside_each_for_one_reason() -> None:
    columns: dict[str, dict[int, Any]] = {}
    for row, (values, *_) in BAD.items():
        for column, value in values.items():
            columns.setdefault(column, {})[row] = value
    outcome, judged = judge(photos(30, **columns), tolerated_share=0.5)
    assert outcome.passed
    for name in REASONS:
        rows = tuple(row for row, (*_, checks) in BAD.items() if name in checks)
        assert (name, named(outcome, name).rows) == (name, rows)
        assert named(outcome, name).severity == "warning"
    bad = judged[judged["reason"].notna()]
    assert list(zip(bad.index, bad["reason"], bad["detail"], strict=True)) == [
        (row, reason, detail) for row, (_, reason, detail, _) in BAD.items()
    ]


def test_any_size_from_the_smallest_side_up_where_no_sizes_are_named() -> None:
    outcome, judged = judge(photos(width={3: 200, 4: 64, 5: 63}), sizes=(), tolerated_share=0.1)
    assert judged["reason"].dropna().to_dict() == {5: "wrong size"}
    assert "size" not in [found.name for found in outcome.checks]


def test_the_good_one_of_two_equal_photos_stays() -> None:
    """Were the earlier one set aside for another reason, both would be gone."""
    _, judged = judge(photos(sha256={3: "digest1"}, named={1: False}), tolerated_share=0.5)
    assert judged["reason"].dropna().to_dict() == {1: "misnamed"}


def test_duplicates_that_are_only_reported_stay() -> None:
    outcome, judged = judge(photos(sha256={3: "digest1"}), duplicates="report")
    assert judged["reason"].isna().all()
    assert [found.name for found in outcome.failed("warning")] == ["contents differ"]
    _, judged = judge(photos(name={3: "photo1"}), duplicates="report", tolerated_share=0.1)
    assert judged.loc[3, "reason"] == "same name twice"


@pytest.mark.parametrize("bad", [1, 57, 86])
def test_the_tolerated_share_is_itself_tolerated_and_one_photo_more_is_not(bad: int) -> None:
    table = photos(100, mode=dict.fromkeys(range(bad), "L"))
    assert named(judge(table, tolerated_share=bad / 100)[0], "share set aside").passed
    outcome, _ = judge(table, tolerated_share=(bad - 1) / 100)
    assert "share set aside" in [found.name for found in outcome.failed("critical")]


def test_the_message_counts_reasons_and_names_some_of_each() -> None:
    table = photos(40, mode=dict.fromkeys(range(10), "L"), named={20: False}, format={30: "PNG", 31: "PNG"})
    share = named(judge(table, tolerated_share=0.01)[0], "share set aside")
    assert share.expected == "at most 1 % of the photos are set aside"
    assert share.observed == "13 of 40 (32.5 %); wrong mode: 10; wrong format: 2; misnamed: 1"
    assert share.examples == (
        "img/00000.jpg (wrong mode, L)",
        "img/00001.jpg (wrong mode, L)",
        "img/00020.jpg (misnamed)",
        "img/00030.jpg (wrong format, PNG)",
        "img/00031.jpg (wrong format, PNG)",
    )


def test_nothing_left_fails_whatever_is_tolerated() -> None:
    outcome, judged = judge(photos(mode=dict.fromkeys(range(12), "L")), tolerated_share=1.0)
    assert [found.name for found in outcome.failed("critical")] == ["photos left"]
    assert judged["reason"].eq("wrong mode").all()


def test_photos_of_the_median_item() -> None:
    lonely = photos(item={row: f"alone{row}" for row in range(12)})
    found = named(judge(lonely)[0], "photos per item")
    assert (found.passed, found.observed, found.expected) == (False, "1", "the median item has 2 to 100 photos")
    assert not judge(photos(), photos_per_item=(1, 1))[0].passed


def test_nobody_in_particular_is_no_item() -> None:
    """Market-1501 files thousands of detections under -1 and 0000."""
    nobody = photos(item=dict.fromkeys(range(4), "-1") | dict.fromkeys(range(4, 12), "0000"))
    nobody = pd.concat([nobody, photos(16)[12:]])
    assert judge(nobody, photos_per_item=(2, 2))[0].passed


def test_an_item_in_both_of_the_owners_halves() -> None:
    outcome, _ = judge(photos(partition={4: "gallery", 6: "query", 7: "gallery"}))
    (failed,) = outcome.failed("critical")
    assert (failed.name, failed.examples) == ("train and test apart", ("item2",))


def test_a_photo_that_the_owners_list_forgot() -> None:
    outcome, judged = judge(photos(partition={4: ""}))
    assert outcome.passed
    assert [(found.name, found.examples) for found in outcome.failed("warning")] == [("partition", ("img/00004.jpg",))]
    assert judged["reason"].isna().all()


def test_a_source_without_a_list_of_partitions() -> None:
    assert not judge(photos().assign(partition=""))[0].failed("warning")


def test_fifty_thousand_photos_of_which_many_are_bad() -> None:
    table = photos(50_000, mode=dict.fromkeys(range(0, 50_000, 500), "L"))
    outcome, judged = judge(table, tolerated_share=0.002)
    assert outcome.passed
    assert judged["reason"].notna().sum() == 100
    assert len(named(outcome, "mode").rows) == 100
    assert len(named(outcome, "mode").examples) == 3


# Keypoints

STANDING = np.zeros((K, 2), np.float32)  # somebody who faces the camera, 256 x 256
for _joint, _place in {
    "nose": (128, 40), "neck": (128, 70), "right_shoulder": (100, 70), "left_shoulder": (156, 70),
    "right_elbow": (90, 110), "left_elbow": (166, 110), "right_wrist": (85, 150), "left_wrist": (171, 150),
    "right_hip": (110, 150), "left_hip": (146, 150), "right_knee": (110, 200), "left_knee": (146, 200),
    "right_ankle": (110, 245), "left_ankle": (146, 245), "right_eye": (122, 35), "left_eye": (134, 35),
    "right_ear": (116, 38), "left_ear": (140, 38),
}.items():  # fmt: skip
    STANDING[JOINT[_joint]] = _place


def people(count: int = 20) -> np.ndarray:
    generator = np.random.default_rng(0)
    return STANDING + generator.uniform(-5, 5, (count, 1, 2)).astype(np.float32)


def judge_keypoints(
    keypoints: np.ndarray, confidence: np.ndarray | None = None, share: float = 0.9, placed: bool = False
) -> Outcome:
    count = len(keypoints)
    names = [f"photo{row}" for row in range(count)]
    size = np.full(count, 256)
    known = np.ones((count, K), np.float32) if confidence is None else confidence
    return check_keypoints(names, keypoints, known, size, size, min_posed_share=share, placed=placed)


def failed(outcome: Outcome) -> list[str]:
    return [found.name for found in outcome.checks if not found.passed]


def test_people_who_stand_in_front_of_the_camera_pass() -> None:
    assert failed(judge_keypoints(people())) == []


def test_missing_joints_pass() -> None:
    keypoints = people()
    keypoints[np.random.default_rng(1).random((20, K)) < 0.3] = np.nan
    keypoints[:19, [JOINT[name] for name in ("right_shoulder", "left_shoulder", "right_hip", "left_hip")]] = STANDING[2]
    confidence = np.where(np.isnan(keypoints[..., 0]), np.nan, 1)
    assert judge_keypoints(keypoints, confidence).passed


def test_half_a_joint() -> None:
    keypoints = people()
    keypoints[3, 0, 1] = np.nan
    found = named(judge_keypoints(keypoints), "whole joints")
    assert (found.passed, found.severity, found.examples) == (False, "critical", ("photo3",))


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_confidence_outside_its_range(value: float) -> None:
    confidence = np.ones((20, K), np.float32)
    confidence[5, 7] = value
    assert failed(judge_keypoints(people(), confidence)) == ["confidence"]


@pytest.mark.parametrize(
    ("place", "fits"),
    [((-1, -1), True), ((256, 256), True), ((-1.5, 9), False), ((9, 256.5), False), ((300, 9), False)],
)
def test_joints_outside_their_photo(place: tuple[float, float], fits: bool) -> None:
    keypoints = people()
    keypoints[:2, JOINT["left_wrist"]] = place
    assert named(judge_keypoints(keypoints), "inside").passed is fits


def test_the_size_of_each_photo_counts() -> None:
    outcome = check_keypoints(
        ["wide", "tall"], people(2), np.ones((2, K)), np.array([128, 256]), np.array([256, 128]), min_posed_share=0
    )
    assert named(outcome, "inside").rows == (0, 1)


def test_the_share_of_posed_photos() -> None:
    keypoints = people()
    keypoints[:4, JOINT["right_hip"]] = np.nan
    assert judge_keypoints(keypoints, share=0.8).passed
    outcome = judge_keypoints(keypoints, share=0.81)
    assert [found.name for found in outcome.failed("critical")] == ["posed share"]
    assert named(outcome, "posed share").observed == "4 of 20 (20 %) do not fit"


def test_a_photo_with_two_rows() -> None:
    size = np.full(2, 256)
    outcome = check_keypoints(["a", "a"], people(2), np.ones((2, K)), size, size, min_posed_share=0)
    assert [found.name for found in outcome.failed("critical")] == ["one row per photo"]


def test_eyes_that_changed_places_are_warned_of() -> None:
    """pose-gan's own list of joint names swaps left and right eye and ear: the classic mistake."""
    keypoints = people()
    keypoints[:, [14, 15]] = keypoints[:, [15, 14]]
    outcome = judge_keypoints(keypoints)
    assert outcome.passed
    assert failed(outcome) == ["right is right"]


def test_a_mirrored_or_averted_person_is_fine() -> None:
    """Mirroring renames the joints; in a person seen from behind, the right shoulder is on the viewer's right."""
    assert failed(judge_keypoints(mirrored(people(), 256))) == []
    behind = people()
    behind[..., 0] = 255 - behind[..., 0]
    outcome = judge_keypoints(behind)
    assert failed(outcome) == []
    assert named(outcome, "right is right").observed == "nothing to look at"


def test_x_and_y_that_changed_places_are_warned_of() -> None:
    generator = np.random.default_rng(0)
    swapped = people()[..., ::-1] + generator.uniform(-9, 9, (20, K, 2))
    assert "upright" in failed(judge_keypoints(swapped))


def test_joints_that_are_never_known_or_never_move() -> None:
    keypoints = people()
    keypoints[:, JOINT["nose"]] = np.nan
    keypoints[:, JOINT["left_ear"]] = 7
    outcome = judge_keypoints(keypoints)
    assert outcome.passed
    assert named(outcome, "every joint").examples == ("nose",)
    assert named(outcome, "joints move").examples == ("left_ear",)
    assert named(outcome, "joints move").observed == f"1 of {len(JOINTS) - 1} (5.88 %) do not fit"


@pytest.mark.parametrize(
    ("scale", "offset", "critical", "warned"),
    [
        ((1, 1), (0, 0), [], []),
        ((0.5, 0.5), (64, 64), [], []),  # a small person in the middle
        ((0.5, 0.5), (0, 0), ["middle in x", "middle in y"], []),
        ((0.7, 0.7), (0, 0), ["middle in x", "middle in y"], []),
        ((0.5, 1), (0, 0), [], ["middle in x"]),
        ((1, 0.6), (0, 0), [], ["middle in y"]),
        ((1, 1), (-40, 0), [], ["middle in x"]),  # PATN's "resize" files without their offset
    ],
)
def test_joints_of_a_copy_of_another_size_or_crop_are_noticed(
    scale: tuple[float, float], offset: tuple[float, float], critical: list[str], warned: list[str]
) -> None:
    outcome = judge_keypoints(people() * np.array(scale) + np.array(offset), placed=True)
    assert [found.name for found in outcome.failed("critical")] == critical
    assert [found.name for found in outcome.failed("warning")] == warned
    if critical:
        assert f"x of `keypoints.scale` multiplied by about {1 / scale[0]:.2g}" in named(outcome, critical[0]).expected


def test_exchanged_x_and_y_are_warned_of() -> None:
    assert "upright" in failed(judge_keypoints(people()[..., ::-1], placed=True))


def test_no_photos_have_no_keypoints() -> None:
    outcome = judge_keypoints(people(0))
    assert [found.name for found in outcome.failed("critical")] == ["photos"]


# Pairs


def split(items_per_part: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs (both directions) of items of two photos, in train and in test."""
    items = pd.DataFrame(
        [
            (part, f"{part}{item}", f"{part}{item}_{photo}.jpg")
            for part in ("train", "test")
            for item in range(items_per_part)
            for photo in (1, 2)
        ],
        columns=["part", "item", "name"],
    )
    pairs = pd.DataFrame(
        [
            (f"{item}_{one}.jpg", f"{item}_{3 - one}.jpg", part, item, item)
            for part, item in items[["part", "item"]].drop_duplicates().itertuples(index=False)
            for one in (1, 2)
        ],
        columns=["from", "to", "part", "item_from", "item_to"],
    )
    return pairs, items


def judge_pairs(pairs: pd.DataFrame, items: pd.DataFrame, train: int = 10, test: int = 10) -> Outcome:
    return check_pairs(pairs, items, min_train_pairs=train, min_test_pairs=test)


def test_a_good_split_passes() -> None:
    outcome = judge_pairs(*split())
    assert failed(outcome) == []
    assert all(found.severity == "critical" for found in outcome.checks)
    assert named(outcome, "train pairs").observed == "10"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"to": "train1_1.jpg", "item_to": "train1"}, ["one item"]),
        ({"to": "train0_1.jpg"}, ["two photos"]),
        ({"from": "train0_2.jpg", "to": "train0_1.jpg"}, ["once"]),
        ({"to": "train0_3.jpg"}, ["listed"]),
        ({"item_from": "other", "item_to": "other"}, ["listed"]),
        ({"part": "test"}, ["train pairs", "listed"]),
        ({"part": "valid"}, ["train pairs", "parts", "listed"]),
    ],
)
def test_a_bad_pair_is_named(values: dict[str, str], names: list[str]) -> None:
    pairs, items = split()
    pairs.loc[0, list(values)] = list(values.values())
    outcome = judge_pairs(pairs, items)
    assert failed(outcome) == names
    with pytest.raises(ReposeError, match=names[-1]):
        require(outcome, "The pairs", Path("page.html"))
    if len(names) == 1:
        assert f"{pairs['from'][0]} -> {pairs['to'][0]}" in named(outcome, names[0]).examples


@pytest.mark.parametrize(("train", "test", "names"), [(11, 10, ["train pairs"]), (10, 11, ["test pairs"])])
def test_too_few_pairs(train: int, test: int, names: list[str]) -> None:
    assert failed(judge_pairs(*split(), train=train, test=test)) == names


def test_an_item_in_both_parts() -> None:
    pairs, items = split()
    items.loc[len(items)] = ["test", "train3", "train3_9.jpg"]
    outcome = judge_pairs(pairs, items)
    assert failed(outcome) == ["no item in both"]
    assert named(outcome, "no item in both").examples == ("train3",)


def test_a_photo_in_both_parts_under_two_items() -> None:
    """What grouping by the wrong part of a name leads to: items look apart, photos are not."""
    pairs, items = split()
    items.loc[len(items)] = ["test", "another", "train3_1.jpg"]
    assert failed(judge_pairs(pairs, items)) == ["no photo in both"]


def test_an_empty_split() -> None:
    pairs, items = split()
    assert failed(judge_pairs(pairs[:0], items[:0], 1, 1)) == ["train pairs", "test pairs"]


def test_a_hundred_and_fifty_thousand_pairs() -> None:
    pairs, items = split(37_500)
    pairs.loc[[5, 149_000], "to"] = pairs.loc[[5, 149_000], "from"]
    outcome = judge_pairs(pairs, items)
    assert len(pairs) == 150_000
    assert named(outcome, "two photos").rows == (5, 149_000)
