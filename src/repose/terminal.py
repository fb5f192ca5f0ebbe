"""What a person at the terminal sees while a stage works: one line per fact, one bar per long loop.

Lines are messages of the logger "repose". They and the bars are shown once `show_messages` was called, as the command line
does; a program that uses repose as a library configures logging as it likes, and sees no bars.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
_console = Console(stderr=True, highlight=False, soft_wrap=True)
_TELL_EVERY = 30.0  # seconds between two lines about training where nobody watches


class _ToTerminal(logging.Handler):
    """Prints messages as they are, to standard error, so that standard output stays data."""

    def emit(self, record: logging.LogRecord) -> None:
        _console.print(self.format(record), markup=False, emoji=False)


_logger = logging.getLogger("repose")
_handler = _ToTerminal()


def show_messages() -> None:
    """Show messages and progress bars on standard error from now on."""
    _logger.addHandler(_handler)
    _logger.setLevel(logging.INFO)
    _logger.propagate = False  # handlers that other libraries add to the root logger would print them again


def say(line: str) -> None:
    """Log one line for people, at level INFO."""
    _logger.info(line)


def _is_watched() -> bool:
    return _handler in _logger.handlers and _console.is_terminal


def show(table: Table) -> None:
    """Print a table for people."""
    _console.print(table)


@contextmanager
def watched(table: Callable[[], Table]) -> Iterator[bool]:
    """Show a table, made anew each second, while the block works; where nobody watches, yield False and show none."""
    if not _is_watched():
        yield False
        return
    with Live(get_renderable=table, console=_console, refresh_per_second=1):
        yield True


def bar(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Go through an iterable behind a progress bar with its rate and the time left; silent where nobody watches."""
    if not _is_watched():
        yield from iterable
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=_console) as progress:
        task = progress.add_task(label, total=total if total is not None else _length(iterable))
        for entry in iterable:
            yield entry
            progress.advance(task)


class _Rate(ProgressColumn):
    """Steps a second; computed when the bar is drawn, not at each step."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def _length(iterable: object) -> int | None:
    return len(iterable) if hasattr(iterable, "__len__") else None


class TrainingBar:
    """A progress bar with the loss, photos/s and the time left; a line now and then where nobody watches."""

    def __init__(self, label: str, start: int, total: int) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
        )  # fmt: skip
        self._progress = Progress(*columns, console=_console, disable=not _is_watched())
        self._task = self._progress.add_task(label, total=total, completed=start, facts="")
        self._label, self._total, self._done, self._photos = label, total, start, 0
        self._began, self._told = time.monotonic(), time.monotonic()

    def __enter__(self) -> "TrainingBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        if error[0] is None:
            say(f"{self._label}: {self._facts({})}")

    def advance(self, losses: dict[str, float], *, photos: int) -> None:
        """One step is done: the latest losses, and how many images it generated."""
        self._done, self._photos = self._done + 1, self._photos + photos
        self._progress.update(self._task, advance=1, facts=self._facts(losses))
        if not _is_watched() and time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()
            say(f"{self._label}: {self._facts(losses)}")

    def _facts(self, losses: dict[str, float]) -> str:
        speed = self._photos / max(time.monotonic() - self._began, 1e-9)
        terms = "  ".join(f"{name} {value:.4f}" for name, value in losses.items() if name != "step")
        return f"step {self._done:,}/{self._total:,}  {terms}  {speed:,.0f} photos/s".replace("    ", "  ")
