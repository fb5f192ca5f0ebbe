import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from repose.errors import ReposeError
from repose.validation.expectations import Check, Outcome, expect, validate
from repose.validation.page import require


def check(name: str, *, passed: bool, severity: Any = "critical") -> Check:
    return Check(
        name, "it is so", "all 3 fit" if passed else "1 of 3 (33.3 %) do not fit", severity, passed, ("a", "b")
    )


def test_only_critical_checks_decide_and_warnings_are_printed(capsys):
    warned = Outcome((check("one", passed=True), check("two", passed=False, severity="warning")))
    assert warned.passed
    require(warned, "The photos", Path("report"))
    assert capsys.readouterr().err == "Warning: two (it is so): 1 of 3 (33.3 %) do not fit, for example a\n"


def test_require_lists_what_failed_with_examples():
    outcome = Outcome((check("one", passed=True), check("two", passed=False), check("three", passed=False)))
    with pytest.raises(ReposeError) as failure:
        require(outcome, "The pairs", Path("report"))
    assert str(failure.value).startswith(
        "The pairs failed 2 of 3 checks:\n"
        "  two (it is so): 1 of 3 (33.3 %) do not fit\n      a\n      b\n"
        "  three (it is so): 1 of 3 (33.3 %) do not fit\n      a\n      b\n"
        "Correct the data, or the stage's limits in params.yaml. report/validation.html explains every check. "
    )


def test_great_expectations_decides_and_its_answer_is_put_in_words():
    table = pd.DataFrame({"name": list("abcde"), "value": [1.0, 2.0, 30.0, None, 40.0]}, index=[9, 8, 7, 6, 5])
    suite = [
        expect("small", "ColumnValuesToBeBetween", "it is small", "warning", column="value", max_value=10),
        expect("half", "ColumnValuesToBeBetween", "half are", column="value", max_value=10, mostly=0.5),
        expect("median", "ColumnMedianToBeBetween", "a median", column="value", min_value=1, max_value=20),
        expect("no value", "ColumnValuesToBeNull", "nothing", column="value"),
    ]
    small, half, median, null = validate(table, suite, label=["name", "name"])
    assert small == Check(
        "small", "it is small", "2 of 4 (50 %) do not fit", "warning", False, ("c -> c", "e -> e"), (7, 5)
    )
    assert (half.passed, half.severity, half.observed) == (True, "critical", "2 of 4 (50 %) do not fit")
    assert (median.passed, median.observed, median.failing) == (True, "16", ())
    assert (null.passed, null.failing) == (False, (9, 8, 7, 5))


def test_a_check_that_cannot_run_is_a_defect_and_no_verdict():
    suite = [expect("typo", "ColumnValuesToBeNull", "nothing", column="valeu")]
    with pytest.raises(RuntimeError, match=r"'typo' could not run.*valeu"):
        validate(pd.DataFrame({"value": [1]}), suite, label=["value"])


def test_without_great_expectations_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "great_expectations.expectations", None)
    with pytest.raises(ReposeError, match="pip install great-expectations"):
        expect("one", "ColumnValuesToBeNull", "nothing", column="value")
