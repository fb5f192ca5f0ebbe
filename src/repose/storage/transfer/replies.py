"""Replies to requests for the rest of a remote file, whatever the protocol."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

CHUNK = 2**20  # bytes per read, a MiB; a connection that breaks loses fewer
TIMEOUT = (10, 60)  # seconds until a server has to accept, and until the next byte


class State(NamedTuple):
    """The state of a remote file as its server describes it."""

    validator: str = ""  # differs between any two states (RFC 9110, 8.8.1); empty if unknown
    size: int | None = None  # bytes; None if unknown

    def is_same(self, other: "State") -> bool:
        """Whether both are certainly the same state."""
        return self.validator != "" and self.validator == other.validator and len({self.size, other.size} - {None}) <= 1


class Reply(NamedTuple):
    """The bytes of a file in one state from `start` on: 0, or the number of bytes that are here already."""

    state: State
    start: int
    chunks: Iterator[bytes]


Open = Callable[[int, State], AbstractContextManager[Reply]]


class Interrupted(Exception):  # noqa: N818
    """The transfer may succeed when it is tried again."""


class Changed(Exception):  # noqa: N818
    """The file is no longer in the state that was asked for, or its server cannot send a part of it."""


def unbroken(chunks: Iterable[bytes], errors: type[Exception]) -> Iterator[bytes]:
    """The chunks; `errors` of the connection become Interrupted."""
    try:
        yield from chunks
    except errors:
        raise Interrupted("the connection broke") from None
