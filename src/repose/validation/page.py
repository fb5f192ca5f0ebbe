"""Write the results of a stage's checks as JSON and as one HTML page.

The page needs no network or scripts, fits phones, and has a light and a dark style. Neither file contains a time, a run's name
or facts about the machine, so the same data give the same bytes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from repose.data.records import write_json
from repose.errors import ReposeError
from repose.storage.atomic import write_text
from repose.terminal import printable, say
from repose.validation.expectations import Outcome

if TYPE_CHECKING:
    import jinja2

RECORD, PAGE = REPORT_FILES = ("validation.json", "validation.html")  # that `write_report` writes
SHOWN = ("name", "severity", "passed", "expected", "observed", "examples")  # of a check
BARS = 24  # maximum number of bars of a distribution on the page; the JSON has all


class Rejected(NamedTuple):
    """The items excluded for one reason."""

    reason: str
    number: int
    examples: tuple[tuple[str, str], ...]  # path or name, and detail


class Picture(NamedTuple):
    """A picture of a gallery."""

    name: str  # name of the photo
    detail: str  # caption
    address: str  # data URL
    width: int  # px
    height: int  # px


@dataclass(frozen=True)
class Facts:
    """The content of a report besides the checks."""

    counts: dict[str, int]  # headline figures: "photos": 52712
    distributions: dict[str, dict[str, int]] = field(default_factory=dict)  # bar charts: counts of values, by title
    rejected: tuple[Rejected, ...] = ()
    rejected_list: str = ""  # the file beside the page that lists all of them
    galleries: dict[str, list[Picture]] = field(default_factory=dict)  # by title; only on the page


def write_report(folder: Path, title: str, outcome: Outcome, facts: Facts) -> None:
    """Write `validation.json` and `validation.html` into a folder."""
    record = {
        "title": title,
        "passed": outcome.passed,
        "counts": facts.counts,
        "checks": [{name: getattr(check, name) for name in SHOWN} for check in outcome.checks],
        "rejected": {rejected.reason: rejected.number for rejected in facts.rejected},
        "distributions": facts.distributions,
    }
    write_json(folder / RECORD, record)
    failed, warnings = outcome.failed("critical"), outcome.failed("warning")
    page = template("repose.validation", "checks.html.jinja").render(
        title=title,
        passed=outcome.passed,
        failed=failed,
        warnings=warnings,
        checks=[*failed, *warnings, *(check for check in outcome.checks if check.passed)],
        facts=facts,
        bars=BARS,
    )
    write_text(folder / PAGE, page)


def require(outcome: Outcome, what: str, report: Path) -> None:
    """Log the warnings of an outcome.

    `what` was checked ("The photos"), and `report` is the folder written by `write_report`.

    Raises:
        ReposeError: a critical check failed. The message lists each with examples.
    """
    for check in outcome.failed("warning"):
        say(f"Warning: {check}{f', for example {check.examples[0]}' if check.examples else ''}")
    if failed := outcome.failed("critical"):
        lines = [line for check in failed for line in (str(check), *(f"    {name}" for name in check.examples))]
        raise ReposeError(
            "\n  ".join([f"{what} failed {len(failed)} of {len(outcome.checks)} checks:", *lines])
            + f"\nCorrect the data, or the stage's limits in params.yaml. {report / PAGE} explains every check. "
            "Earlier results are kept (`dvc checkout --force` restores them)."
        )


def distribution(values: "pd.Series[Any]") -> dict[str, int]:
    """The number of occurrences of each value, most frequent first; an empty text is shown as "none"."""
    counts = values.replace("", "none").value_counts(sort=False).sort_index()
    return {str(value): int(n) for value, n in counts.sort_values(ascending=False, kind="stable").items()}


def template(package: str, name: str) -> "jinja2.Template":
    """A template in a package of repose, which may include these pages' style (`style.css`)."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(place) for place in (package, "repose.validation")]),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup, a subclass, is ours
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
