"""Validate a DataFrame with a suite of Great Expectations; the results are checks with descriptions in words.

A failed check is `critical` (the stage fails) or a `warning` (only reported). Great Expectations takes seconds to import, so
the first expectation imports it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from repose.errors import ReposeError

EXAMPLES = 3  # example rows of a check
BETWEEN, IN_SET = "ColumnValuesToBeBetween", "ColumnValuesToBeInSet"  # the most common kinds

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Check:
    """An expectation and its result."""

    name: str
    expected: str  # in words
    observed: str  # in words
    severity: Severity
    passed: bool
    examples: tuple[str, ...] = ()  # names of the first failing rows
    failing: tuple[int, ...] = ()  # index labels of all failing rows; none if the check is of the whole table

    def __str__(self) -> str:
        return f"{self.name} ({self.expected}): {self.observed}"


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


def expect(name: str, kind: str, description: str, severity: Severity = "critical", **arguments: Any) -> Any:
    """Create the expectation Expect`kind` of Great Expectations, with arguments such as column and value_set.

    `name` is the check's, and `description` the expectation in words.

    Raises:
        ReposeError: Great Expectations is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # raised by its own imports
            import great_expectations.expectations as gxe
    except ImportError as error:
        raise ReposeError(
            f"Great Expectations cannot be imported ({error}). The stages that check data need it: "
            "pip install great-expectations."
        ) from None
    make = getattr(gxe, f"Expect{kind}")
    return make(**arguments, meta={"name": name}, description=description, severity=severity)


@cache
def _whole_dataframe() -> Any:
    """The batch definition of a whole DataFrame, in a context in memory without progress bars."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("whole")


def validate(table: pd.DataFrame, expectations: Sequence[Any], *, label: Sequence[str]) -> list[Check]:
    """Validate a table with a suite of expectations from `expect`; return a check for each, in order.

    Messages identify a row by the columns `label`.

    Raises:
        RuntimeError: an expectation could not be evaluated, for example because a column is missing.
    """
    import great_expectations as gx

    # Only the columns that the suite looks at, as Great Expectations hashes every value of a batch, twice.
    columns = _columns(expectations).intersection(table) or set(label)
    looked_at = table[[column for column in table if column in columns]].reset_index(drop=True)
    batch = _whole_dataframe().get_batch(batch_parameters={"dataframe": looked_at})
    suite = gx.ExpectationSuite(name="suite", expectations=list(expectations))
    results = batch.validate(suite, result_format={"result_format": "COMPLETE"}).results  # not in the suite's order
    found = {result.expectation_config.meta["name"]: result for result in results}
    return [_check(found[expectation.meta["name"]], table[list(label)]) for expectation in expectations]


def _columns(expectations: Sequence[Any]) -> set[str]:
    """The columns that the expectations name."""
    given = [expectation.configuration.kwargs for expectation in expectations]
    single = {kwargs[key] for kwargs in given for key in ("column", "column_A", "column_B") if key in kwargs}
    return single.union(*(kwargs.get("column_list", ()) for kwargs in given))


def _check(result: Any, labels: pd.DataFrame) -> Check:
    config, found = result.expectation_config, result.result
    if "element_count" not in found and "observed_value" not in found:
        raise RuntimeError(f"The check {config.meta['name']!r} could not run: {result.exception_info}")
    failing = found.get("unexpected_index_list") or []  # counted from 0
    return Check(
        name=config.meta["name"],
        expected=config.description,
        observed=_observed(found),
        severity=config.severity.value,
        passed=bool(result.success),
        examples=tuple(" -> ".join(labels.iloc[row]) for row in failing[:EXAMPLES]),
        failing=tuple(labels.index[failing].tolist()),
    )


def _observed(found: dict[str, Any]) -> str:
    if "observed_value" in found:
        value = found["observed_value"]
        return "nothing to look at" if value is None or np.isnan(value) else f"{round(float(value), 3):,.10g}"
    looked_at, failing = found["element_count"] - found.get("missing_count", 0), found["unexpected_count"]
    if looked_at == 0:
        return "nothing to look at"
    return f"{part_of(failing, looked_at)} do not fit" if failing else f"all {looked_at:,} fit"


def part_of(part: int, whole: int) -> str:
    """A part of a whole as text, such as "3 of 12 (25 %)"."""
    return f"{part:,} of {whole:,} ({percent(part / max(whole, 1))})"


def percent(share: float) -> str:
    """A share, 0 to 1, in percent with three digits; only exactly 1 gives 100."""
    return f"{min(100 * share, 99.9) if share < 1 else 100:.3g} %"
