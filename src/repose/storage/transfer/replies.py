"""Replies to requests for the rest of a remote file, for any protocol."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

CHUNK = 2**20  # bytes per read (1 MiB); a broken connection loses less than this
TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next byte


class State(NamedTuple):
    """The state of a remote file, as reported by its server."""

    validator: str = ""  # differs between any two states (RFC 9110, 8.8.1); empty if unknown
    size: int | None = None  # bytes; None if unknown

    def is_same(self, other: "State") -> bool:
        """Whether both are certainly the same state."""
        return self.validator != "" and self.validator == other.validator and len({self.size, other.size} - {None}) <= 1


class Reply(NamedTuple):
    """The bytes of a file in one state from `start` on: 0, or the number of bytes fetched earlier."""

    state: State
    start: int
    chunks: Iterator[bytes]


Open = Callable[[int, State], AbstractContextManager[Reply]]


class Interrupted(Exception):  # noqa: N818
    """The transfer may succeed when it is tried again."""


class Changed(Exception):  # noqa: N818
    """The file is no longer in the requested state, or its server cannot send a part of it."""


def unbroken(chunks: Iterable[bytes], errors: type[Exception]) -> Iterator[bytes]:
    """Yield the chunks; connection errors (`errors`) become Interrupted."""
    try:
        yield from chunks
    except errors:
        raise Interrupted("the connection broke") from None
