"""Write the results of a stage's checks as JSON and as one HTML page.

The page needs no network or scripts, fits phones, and has a light and a dark style. Neither file contains a time, a run's name
or facts about the machine, so the same data give the same bytes.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from repose.data.records import write_json
from repose.errors import ReposeError
from repose.storage.atomic import write_text
from repose.terminal import say
from repose.validation.expectations import Outcome

if TYPE_CHECKING:
    import jinja2

RECORD, PAGE = "validation.json", "validation.html"
SHOWN = ("name", "severity", "passed", "expected", "observed", "examples")  # of a check
BARS = 24  # maximum number of bars of a distribution on the page; the JSON has all


class Distribution(NamedTuple):
    """The number of occurrences of each value, shown as a bar chart."""

    title: str
    counts: dict[str, int]


class Rejected(NamedTuple):
    """The items excluded for one reason."""

    reason: str
    number: int
    examples: tuple[tuple[str, str], ...]  # path or name, and detail


class Picture(NamedTuple):
    """A picture of a gallery."""

    name: str  # name of the photo
    detail: str  # caption
    jpeg: bytes
    width: int  # px
    height: int  # px

    @property
    def address(self) -> str:
        """The picture as a data URL."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


class Gallery(NamedTuple):
    """Pictures under a title."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Facts:
    """The content of a report besides the checks."""

    counts: dict[str, int]  # headline figures: "photos": 52712
    distributions: tuple[Distribution, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    rejected_list: str = ""  # the file beside the page that lists all of them
    galleries: tuple[Gallery, ...] = ()  # only on the page


def write_report(folder: Path, title: str, outcome: Outcome, facts: Facts) -> None:
    """Write `validation.json` and `validation.html` into a folder."""
    record = {
        "title": title,
        "passed": outcome.passed,
        "counts": facts.counts,
        "checks": [{name: getattr(check, name) for name in SHOWN} for check in outcome.checks],
        "rejected": {rejected.reason: rejected.number for rejected in facts.rejected},
        "distributions": {part.title: part.counts for part in facts.distributions},
    }
    write_json(folder / RECORD, record)
    page = template("repose.validation", "checks.html.jinja").render(
        title=title,
        passed=outcome.passed,
        failed=outcome.failed("critical"),
        warnings=outcome.failed("warning"),
        checks=outcome.failed("critical")
        + outcome.failed("warning")
        + [check for check in outcome.checks if check.passed],
        facts=facts,
        bars=BARS,
    )
    write_text(folder / PAGE, page)


def require(outcome: Outcome, what: str, report: Path) -> None:
    """Log the warnings of an outcome, and raise if a critical check failed.

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


def distribution(title: str, values: "pd.Series[Any]") -> Distribution:
    """The distribution of values, most frequent first; an empty text is shown as "none"."""
    counts = values.replace("", "none").value_counts(sort=False).sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")
    return Distribution(title, {str(value): int(count) for value, count in counts.items()})


def template(package: str, name: str) -> "jinja2.Template":
    """A template in a package of repose, which may include these pages' style (`style.css`)."""
    import jinja2

    packages = dict.fromkeys((package, "repose.validation"))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
