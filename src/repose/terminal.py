"""Messages, tables and progress bars at the terminal.

Messages go to the logger "repose". They and the bars are shown after `show_messages`, which the command line calls. A program
that uses repose as a library configures logging itself, or sees warnings only, and no bars.

Names of files and answers of servers are part of all three. Their control characters are shown as escapes (`printable`).
"""

import logging
import re
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from repose.errors import without_secrets

T = TypeVar("T")
_console = Console(stderr=True, highlight=False, soft_wrap=True)
_SECONDS_BETWEEN_LINES = 30.0  # seconds between lines of training without a terminal
# Control characters but tab and line feed, other line ends, marks that change the direction of text, and halves of characters.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with characters that steer a terminal or reorder text as escapes, such as `\x1b`, but tabs and line feeds."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class _Printable:
    """Content for a console whose text, but not its style, goes through `printable`."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._content, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class _ToTerminal(logging.Handler):
    """Prints messages to standard error, so that standard output stays data. Lines after the first are indented."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = re.sub(r"\n(?=[^ |\n])", "\n  ", printable(self.format(record)))
        _console.print(lines, markup=False, emoji=False)


_logger = logging.getLogger("repose")
_handler = _ToTerminal()


def show_messages() -> None:
    """Turn on messages and progress bars on standard error."""
    _logger.addHandler(_handler)
    _logger.setLevel(logging.INFO)
    _logger.propagate = False  # otherwise handlers that libraries add to the root logger print them again


def say(line: str) -> None:
    """Log one line at level INFO, `without_secrets`."""
    _logger.info(without_secrets(line))


def warn(line: str) -> None:
    """Log one line at level WARNING, which Python shows unless logging is configured otherwise, `without_secrets`."""
    _logger.warning(without_secrets(line))


def show(table: Table) -> None:
    """Print a table on standard error."""
    _console.print(_Printable(table))


def _is_watched() -> bool:
    return _handler in _logger.handlers and _console.is_terminal


class _Bars(Progress):
    def get_renderable(self) -> RenderableType:
        return _Printable(super().get_renderable())


def _progress() -> Progress:
    label, facts = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[facts]}", markup=False)
    columns = (label, BarColumn(), MofNCompleteColumn(), facts, TimeRemainingColumn(compact=True))
    return _Bars(*columns, console=_console, disable=not _is_watched())


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
