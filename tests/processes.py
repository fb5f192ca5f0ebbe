"""Waiting for other processes and threads, and ports on which they may meet."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; the limit is far above what a slow machine needs."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
