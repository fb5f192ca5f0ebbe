"""Answers of servers that may be slow, silent or hostile: each has a time limit, and its bytes are taken as they were sent."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Thread, Timer
from typing import Any, TypeVar

from repose.errors import ReposeError
from repose.storage.transfer.partial import CHUNK, Interrupted

SLOWEST = 100.0  # seconds for the head of an answer, and for each CHUNK of its body (10 kB/s)
_PIECE = 2**16  # bytes

T = TypeVar("T")


def promptly(ask: Callable[[], T]) -> T:
    """The result of a request. Its time limit also ends an answer whose head comes byte by byte, or never ends.

    The request itself goes on in its thread, which the end of the program stops.

    Raises:
        Interrupted: it took more than SLOWEST seconds.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return answer.result(SLOWEST)
    except TimeoutError:
        if answer.done():  # an error of the request itself
            raise
        raise Interrupted(f"the server did not begin to answer in {SLOWEST:,.0f} s") from None


def chunks(raw: Any, where: str) -> Iterator[bytes]:
    """Yield the body of a urllib3 response in pieces of CHUNK bytes (the last is smaller), without decompressing it.

    Raises:
        Interrupted: the connection broke.
        ReposeError: a chunk took more than SLOWEST seconds.
    """
    from urllib3.exceptions import HTTPError

    late = Event()

    def stop() -> None:
        late.set()
        with suppress(Exception):  # it has ended meanwhile
            raw.shutdown()

    while True:
        timer = Timer(SLOWEST, stop)
        timer.daemon = True
        timer.start()
        try:
            chunk, broken = _read(raw), False
        except (HTTPError, OSError, ValueError):  # ValueError: chunks of an impossible size
            chunk, broken = b"", True
        finally:
            timer.cancel()
        if late.is_set():
            raise ReposeError(
                f"{where}: the server sends less than {CHUNK:,} bytes in {SLOWEST:,.0f} s. Try another server, or later: the "
                "transfer will resume."
            )
        if broken:
            raise Interrupted("the connection broke")
        if not chunk:
            return
        yield chunk


def _read(raw: Any) -> bytes:
    """The next CHUNK bytes, fewer at the end; http.client's read() would read a chunk of size -1 without a limit."""
    held = bytearray()
    while piece := raw.read1(min(_PIECE, CHUNK - len(held)), decode_content=False):
        held += piece
        if len(held) == CHUNK:
            break
    return bytes(held)
