"""A file of which a part has arrived, and repeated attempts to fetch the rest, in this run or the next."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import NamedTuple, TypeVar

from repose.errors import ReposeError
from repose.storage.transfer.digests import check_size
from repose.terminal import bar, say

CHUNK = 2**20  # bytes per read (1 MiB); a broken connection loses less than this
TIMEOUT = (10, 20)  # seconds to connect, and to wait for the next byte: ATTEMPTS of them end within two minutes
ATTEMPTS = 5  # consecutive attempts without a new byte before the transfer fails

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818
    """The transfer may succeed when it is tried again."""


class State(NamedTuple):
    """The state of a remote file, as reported by its server."""

    validator: str = ""  # differs between any two states (RFC 9110, 8.8.1); empty if unknown
    size: int | None = None  # bytes; None if unknown


@dataclass(frozen=True)
class Partial:
    """The bytes that have arrived, with a note of the remote file's state, so that bytes of two states are never mixed."""

    path: Path
    where: str  # the file's name in messages
    expected: int | None = None  # bytes of the whole file
    limit: int | None = None  # maximum bytes of the whole file
    watched: bool = True  # whether to show a progress bar

    @property
    def note(self) -> Path:
        """The file with the state."""
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        """The number of bytes that have arrived; 0 for a link, which would lead to another file."""
        return self.path.stat().st_size if self.path.is_file() and not self.path.is_symlink() else 0

    def state(self) -> State:
        """The remote file's state when the bytes were fetched; unknown if the note is missing or damaged."""
        with suppress(ValueError, TypeError):
            if self.note.is_file():
                return State(*json.loads(self.note.read_text()))
        return State()

    def forget(self) -> None:
        """Remove what has arrived, first the note, so that a crash never leaves old bytes under a new note."""
        self.note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def start_over(self, state: State) -> None:
        """Remove what has arrived, and note the state of the bytes that will arrive.

        Raises:
            ReposeError: the remote file does not have the expected size, or exceeds the limit.
        """
        if self.size:
            say(f"{self.where} has changed since the transfer stopped, or cannot be resumed: starting over.")
        self.forget()
        if state.size is not None:
            check_size(state.size, self.expected, self.where)
            self._check_limit(state.size)
        self.path.touch()  # before the note: without this file, `fetch` would put an earlier one under it
        self.note.write_text(json.dumps(state))

    def append(self, chunks: Iterable[bytes], size: int | None) -> None:
        """Append chunks until the file has `size` bytes (None: until there are no more).

        Raises:
            Interrupted: there are fewer bytes.
            ReposeError: there are more bytes than the limit; what has arrived is removed.
        """
        label, total = f"{self.where.rpartition('/')[2]}, MiB", None if size is None else (size - self.size) // CHUNK
        with self.path.open("ab") as stream:
            for chunk in bar(chunks, label, total) if self.watched else chunks:
                stream.write(chunk)
                self._check_limit(stream.tell())
        if size not in (None, self.size):
            raise Interrupted(f"the connection closed after {self.size:,} of {size:,} bytes")

    def complete(self, receive: Callable[[], None]) -> None:
        """Call `receive` until it has fetched all bytes. Raises as `retry`."""
        retry(receive, self.where, lambda: self.size)

    def _check_limit(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            self.forget()
            raise ReposeError(
                f"{self.where} is larger than the limit of {self.limit:,} bytes. Check the address, or raise the limit."
            )


def retry(action: Callable[[], T], where: str, arrived: Callable[[], int] = lambda: 0) -> T:
    """Repeat an interrupted action, with growing waits.

    Raises:
        ReposeError: ATTEMPTS in a row brought no new byte.
    """
    failures, furthest = 0, arrived()
    while True:
        try:
            return action()
        except Interrupted as error:
            failures = failures + 1 if arrived() <= furthest else 1
            furthest = max(furthest, arrived())
            if failures == ATTEMPTS:
                raise ReposeError(
                    f"{where}: {error}; gave up after {ATTEMPTS} attempts. Check the address and the connection and run "
                    "the same command again: the transfer will resume."
                ) from None
            say(f"{where}: {error}; trying again.")
            sleep(2.0 ** (failures - 1))
