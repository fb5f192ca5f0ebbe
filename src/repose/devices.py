"""The torch device, and settings for reproducible results on it."""

import ctypes
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from repose.errors import SettingsError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def resolve(device: str | torch.device) -> torch.device:
    """The device with a name; auto is a GPU if torch sees one, else the CPU.

    Raises:
        SettingsError: the device is unknown or unavailable.
    """
    device = str(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError("The device is cuda, but torch sees no GPU. Use auto or cpu, or a machine with a GPU.")
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise SettingsError(f"There is no device {device!r}. Use auto, cpu or cuda.")
    if found.index and found.type == "cuda" and found.index >= (count := torch.cuda.device_count()):
        raise SettingsError(f"There is no device {device!r}: torch sees {count} GPU(s), the first of which is cuda:0.")
    return found


def set_up(device: str, threads: int, seed: int) -> torch.device:
    """The device with a name (see `resolve`), after setting up torch: seed, threads, deterministic kernels."""
    chosen = resolve(device)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # torch.use_deterministic_algorithms would import the compiler first, which takes seconds.
    torch.set_deterministic_debug_mode("error" if chosen.type == "cpu" else "default")
    # Otherwise, new memory is filled with NaN first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if chosen.type == "cpu" and os.name == "posix":
        _keep_freed_memory()
    return chosen


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors, if this is glibc.

    By default it returns large blocks to the system, which clears each page when the next tensor needs it: thousands of page
    faults in a step of training, 3 % of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in ((_MMAP_THRESHOLD, 2**25), (_TRIM_THRESHOLD, 2**30)):
            mallopt(option, size)


@contextmanager
def threads_of_one() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch uses, in each of which torch computes with one, so that results do not depend on the number."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
