"""The fuzzer: damaged files, one after the other.

An input is a function of the area, the seed and its number, so that a number is enough to repeat it. None may take longer
than SLOW, raise anything but a ReposeError, or need more than MEMORY beyond the start.
"""

import contextlib
import faulthandler
import os
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import FrameType

from faults import mutate
from faults.targets import AREAS, Target
from repose.errors import ReposeError

SLOW = 5  # seconds for one input, by an alarm
STUCK = 30  # seconds after which the process ends, with its stack: it hangs where Python cannot interrupt it
MEMORY = 512 * 2**20  # bytes beyond the start


class _TooSlowError(BaseException):
    """An input took more than SLOW."""


def fuzz(area: str, seed: int, first: int, most: int | None, minutes: float) -> list[str]:
    """Try the inputs of an area from `first` on, `most` of them or for some minutes; return what to tell."""
    warnings.simplefilter("ignore")
    end, number, problems = time.monotonic() + 60 * minutes, first, dict[str, tuple[str, int]]()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.chdir(folder):
        targets = read_valid(area, Path(folder))
        errors, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        start, pages = _peak(), int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * MEMORY, resource.RLIM_INFINITY))
        while time.monotonic() < end and (most is None or number < first + most):
            target, content = damaged(area, seed, number, targets)
            faulthandler.dump_traceback_later(STUCK, exit=True, file=errors)
            words = wrong_with(target, content)
            if _peak() - start > MEMORY:
                words, start = f"memory grew by {(_peak() - start) >> 20} MiB", _peak()
            if words:  # one for each place in the code
                place = f"{target.name}: {words.partition(': ')[0]}"
                told, times = problems.get(place, (f"input {number}: {target.name}: {words}", 0))
                problems[place] = told, times + 1
            number += 1
        faulthandler.cancel_dump_traceback_later()
    names = ", ".join(target.name for target in targets)
    return [f"fuzz {area}: {number - first:,} inputs for {names}"] + [
        f"fuzz {area}, {times} times, first {told}" for told, times in problems.values()
    ]


def damaged(area: str, seed: int, number: int, targets: Sequence[Target]) -> tuple[Target, bytes]:
    """An input by its number, and the target that it is for."""
    random = Random(f"{area} {seed} {number}")
    target = random.choices(targets, [target.share for target in targets])[0]
    damage = target.damage if random.random() < 0.6 else mutate.binary
    try:
        return target, damage(random, target.seeds)
    except (ValueError, RecursionError, OverflowError):  # JSON and YAML cannot say everything
        return target, mutate.binary(random, target.seeds)


def read_valid(area: str, folder: Path) -> list[Target]:
    """The targets of an area, after each has read a valid file, which also imports what is imported late."""
    targets = list(AREAS[area](folder))
    for target in targets:
        target.call(target.seeds[0])
    return targets


def wrong_with(target: Target, content: bytes) -> str:
    """What is wrong with what the target makes of the content; empty if nothing is."""
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SLOW)
    try:
        target.call(content)
    except ReposeError:
        return ""
    except _TooSlowError as error:
        return f"takes more than {SLOW} s in {_place(error)}"
    except BaseException as error:
        return f"{type(error).__name__} in {_place(error)}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return ""


def _place(error: BaseException) -> str:
    """The innermost line of ours, or of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/src/" in frame.filename] or frames
    return f"{ours[-1].filename.rpartition('/src/')[2]}:{ours[-1].lineno}"


def _ring(_: int, __: FrameType | None) -> None:
    raise _TooSlowError


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
