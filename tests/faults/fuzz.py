"""The fuzzer: damaged files, one after the other, in a process that is watched from outside.

An input is a function of the area, the seed and its number, so that a number is enough to repeat it. The process may not
hang, raise anything but a ReposeError, or need more than MEMORY beyond what it had at its start.
"""

import contextlib
import multiprocessing
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
from typing import Any, NamedTuple

from faults import mutate
from faults.targets import AREAS, Target
from repose.errors import ReposeError

SLOW = 5  # seconds for one input, by an alarm
START = 120  # seconds until it must have read valid files
STUCK = 30  # seconds after which the process is killed: it hangs where Python cannot interrupt it
MEMORY = 512 * 2**20  # bytes beyond the start


class _TooSlowError(BaseException):
    """An input took more than SLOW."""


class Plan(NamedTuple):
    """Which inputs of an area to try: those from `first`, until `end`, or `most` of them."""

    area: str
    seed: int
    end: float  # as time.monotonic() says
    first: int = 0
    most: int | None = None

    def goes_on(self, number: int) -> bool:
        return time.monotonic() < self.end and (self.most is None or number < self.first + self.most)

    def input(self, targets: Sequence[Target], number: int) -> tuple[Target, bytes]:
        """An input by its number, and the target that it is for."""
        random = Random(f"{self.area} {self.seed} {number}")
        target = random.choices(targets, [target.share for target in targets])[0]
        damage = target.damage if random.random() < 0.6 else mutate.binary
        try:
            return target, damage(random, target.seeds)
        except (ValueError, RecursionError, OverflowError):  # JSON and YAML cannot say everything
            return target, mutate.binary(random, target.seeds)


class Problem(NamedTuple):
    """An input that went wrong."""

    number: int
    target: str
    words: str
    content: bytes = b""


class Fuzzed:
    """What was tried, and one problem for each place in the code; its input is kept in the folder."""

    def __init__(self, plan: Plan, kept: Path) -> None:
        self.plan, self.kept, self.inputs = plan, kept, 0
        self.targets: list[str] = []
        self.problems: dict[str, tuple[Problem, int]] = {}  # with how often it came

    def take(self, what: Problem | list[str]) -> None:
        """Note a problem, or the names of the targets."""
        if isinstance(what, list):
            self.targets = what
            return
        place = f"{what.target}: {what.words.partition(': ')[0]}"
        found, times = self.problems.get(place, (what, 0))
        self.problems[place] = found, times + 1
        if not times:
            self.kept.mkdir(parents=True, exist_ok=True)
            (self.kept / f"{self.plan.area}-{self.plan.seed}-{what.number}").write_bytes(what.content)


def fuzz(plan: Plan, kept: Path) -> Fuzzed:
    """Try the inputs in a process, in another one after each that ended it.

    Raises:
        RuntimeError: the process cannot even read valid files.
    """
    context = multiprocessing.get_context("spawn")
    number, queue, done = context.Value("q", plan.first), context.SimpleQueue(), Fuzzed(plan, kept)
    while plan.goes_on(number.value):
        process = context.Process(target=_try_all, args=(plan, number, queue))
        process.start()
        last, since, ready = number.value, time.monotonic(), False
        while process.is_alive() or not queue.empty():
            process.join(0.1)
            while not queue.empty():
                what = queue.get()
                done.take(what)
                if isinstance(what, list):
                    since, ready = time.monotonic(), True
            if number.value != last:
                last, since = number.value, time.monotonic()
            elif time.monotonic() - since > (STUCK if ready else START):
                process.kill()
        if not done.targets:
            raise RuntimeError(f"fuzz {plan.area}: valid files cannot be read. The output above says why.")
        if process.exitcode != 0:
            hung = process.exitcode == -signal.SIGKILL
            done.take(Problem(number.value, "?", "hangs" if hung else f"ended the process with {process.exitcode}"))
            number.value += 1
    done.inputs = number.value - plan.first
    return done


def _try_all(plan: Plan, number: Any, queue: Any) -> None:
    """Try inputs in this process; `number` is that of the current one."""
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.chdir(folder):
        targets = read_valid(plan.area, Path(folder))
        queue.put([target.name for target in targets])
        os.dup2(silence, 2)
        start = _peak()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * MEMORY, resource.RLIM_INFINITY))
        while plan.goes_on(number.value):
            target, content = plan.input(targets, number.value)
            words = wrong_with(target, content)
            if _peak() - start > MEMORY:
                words, start = f"memory grew by {(_peak() - start) >> 20} MiB", _peak()
            if words:
                queue.put(Problem(number.value, target.name, words, content))
            number.value += 1


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
