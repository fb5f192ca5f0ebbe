"""What a person at the terminal sees while a stage works: one line per fact, one bar per long loop."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print one line for people (standard error, so that standard output stays data)."""
    _console.print(line, markup=False)


def bar(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Go through an iterable behind a progress bar with its rate and the time left; silent where nobody watches."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=_console, disable=not _console.is_terminal) as progress:
        task = progress.add_task(label, total=total if total is not None else _length(iterable), rate="")
        for entry in iterable:
            yield entry
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:,.0f}/s" if speed else "")


def _length(iterable: object) -> int | None:
    return len(iterable) if hasattr(iterable, "__len__") else None
