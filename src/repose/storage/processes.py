"""Worker processes."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from repose.errors import ReposeError

# The environment variable of a training process: the number of the process that started it.
STARTED_BY = "REPOSE_STARTED_BY"


def end_with_parent(*_: object) -> None:
    """End this process within a second after the one that started it, even if that was killed.

    A worker calls this when it starts; arguments are ignored. A process forked by a fork server has that server as its parent
    in the system, and `multiprocessing` knows the process that asked for it.
    """
    end_with(os.getppid())


def end_with(parent: int) -> None:
    """End this process within a second after its parent, whose process number this is; at once if that has ended before."""
    asked_by = multiprocessing.parent_process()

    def watch() -> None:
        while os.getppid() == parent and (asked_by is None or asked_by.is_alive()):
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def starting_workers(without: str) -> Iterator[None]:
    """Turn the system's refusal to start worker processes into a ReposeError; `without` is a setting that needs none."""
    try:
        multiprocessing.Lock()  # torch's loader, if it cannot make one, prints an error of its own as well
        yield
    except OSError as error:
        raise ReposeError(
            f"Worker processes cannot be started: {error}. They need space in /dev/shm and a temporary folder (TMPDIR) with a "
            f"short path, and may write to both. Change these, or set {without}, which needs no worker processes."
        ) from None
