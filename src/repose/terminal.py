"""Messages, tables and progress bars at the terminal.

Messages go to the logger "repose". They and the bars are shown after `show_messages`, which the command line calls; a program
that uses repose as a library configures logging itself and sees no bars.
"""

import logging
import re
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")
_console = Console(stderr=True, highlight=False, soft_wrap=True)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # except tab and newline
_SECONDS_BETWEEN_LINES = 30.0  # seconds between lines of training without a terminal


class _ToTerminal(logging.Handler):
    """Prints messages to standard error, so that standard output stays data. Control characters are escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        text = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], self.format(record))
        _console.print(text, markup=False, emoji=False)


_logger = logging.getLogger("repose")
_handler = _ToTerminal()


def show_messages() -> None:
    """Turn on messages and progress bars on standard error."""
    _logger.addHandler(_handler)
    _logger.setLevel(logging.INFO)
    _logger.propagate = False  # otherwise handlers that libraries add to the root logger print them again


def say(line: str) -> None:
    """Log one line at level INFO."""
    _logger.info(line)


def show(table: Table) -> None:
    """Print a table on standard error."""
    _console.print(table)


def _is_watched() -> bool:
    return _handler in _logger.handlers and _console.is_terminal


def _progress() -> Progress:
    label, facts = TextColumn("{task.description}"), TextColumn("{task.fields[facts]}")
    columns = (label, BarColumn(), MofNCompleteColumn(), facts, TimeRemainingColumn(compact=True))
    return Progress(*columns, console=_console, disable=not _is_watched())


def bar(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar that shows the time left; without a terminal, show nothing."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with _progress() as progress:
        task = progress.add_task(label, total=total, facts="")
        for entry in iterable:
            yield entry
            progress.advance(task)


class TrainingBar:
    """A progress bar with losses, photos/s and the time left; without a terminal, a line every 30 s."""

    def __init__(self, label: str, start: int, total: int) -> None:
        self._progress = _progress()
        self._task = self._progress.add_task(label, total=total, completed=start, facts="")
        self._label, self._total, self._done, self._photos = label, total, start, 0
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> "TrainingBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        if error[0] is None:
            say(f"{self._label}: {self._facts({})}")

    def advance(self, losses: dict[str, float], *, photos: int) -> None:
        """Count one step, with its losses and number of generated images."""
        self._done, self._photos = self._done + 1, self._photos + photos
        self._progress.update(self._task, advance=1, facts=self._facts(losses))
        if not _is_watched() and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(f"{self._label}: {self._facts(losses)}")

    def _facts(self, losses: dict[str, float]) -> str:
        speed = self._photos / max(time.monotonic() - self._began, 1e-9)
        terms = [f"{name} {value:.4f}" for name, value in losses.items() if name != "step"]
        return "  ".join([f"step {self._done:,}/{self._total:,}", *terms, f"{speed:,.0f} photos/s"])
