"""The fuzzer: damaged files, one after the other, in a process that is watched from outside.

An input is a function of the area, the seed and its number, so that a number is enough to repeat it. The process may not
hang, raise anything but a ReposeError, or need more than MEMORY beyond what it had at its start.
"""

import contextlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NamedTuple

from faults import mutate
from faults.targets import AREAS, Target

SLOW = 5  # seconds for one input, by an alarm
STUCK = 30  # seconds after which the process is killed: it hangs where Python cannot interrupt it
MEMORY = 512 * 2**20  # bytes beyond the start


class _TooSlowError(BaseException):
    pass


class Found(NamedTuple):
    """An input that went wrong."""

    number: int
    target: str
    problem: str
    content: bytes


def fuzz(area: str, seed: int, seconds: float, kept: Path, first: int = 0, most: int | None = None) -> dict[str, Any]:
    """Fuzz an area for so many seconds; failing inputs are kept in a folder, one for each place in the code."""
    context = multiprocessing.get_context("spawn")
    number, found, end = context.Value("q", first), context.Queue(), time.monotonic() + seconds
    problems: dict[str, dict[str, Any]] = {}
    targets: list[str] = []
    while time.monotonic() < end and (most is None or number.value < first + most):
        process = context.Process(target=_work, args=(area, seed, number, found, end - time.monotonic(), first, most))
        process.start()
        last, since = -1, time.monotonic()
        while process.is_alive():
            process.join(0.2)
            while not found.empty():
                _note(problems, targets, found.get(), area, seed, kept)
            if number.value != last:
                last, since = number.value, time.monotonic()
            elif time.monotonic() - since > STUCK * (1 if last >= first + 1 else 4):  # imports take their time
                process.kill()
        while not found.empty():
            _note(problems, targets, found.get(), area, seed, kept)
        if process.exitcode != 0:
            how = "hangs" if process.exitcode == -signal.SIGKILL else f"ended the process with {process.exitcode}"
            _note(problems, targets, Found(number.value, "?", how, b""), area, seed, kept)
            number.value += 1
    return {"inputs": number.value - first, "problems": list(problems.values()), "targets": targets}


def _note(
    problems: dict[str, dict[str, Any]], targets: list[str], found: Found | list[str], area: str, seed: int, kept: Path
) -> None:
    if isinstance(found, list):
        targets[:] = found
        return
    key = f"{found.target}: {found.problem.partition(': ')[0]}"  # without its message
    if key not in problems:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / f"{area}-{seed}-{found.number}").write_bytes(found.content)
        problems[key] = {"number": found.number, "target": found.target, "problem": found.problem, "times": 0}
    problems[key]["times"] += 1


def _work(area: str, seed: int, number: Any, found: Any, seconds: float, first: int, most: int | None) -> None:
    import warnings

    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    signal.signal(signal.SIGALRM, _ring)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)
        targets = list(AREAS[area](Path(folder)))
        for target in targets:  # valid files are read, and what is imported late is imported
            with contextlib.suppress(*target.allowed):
                target.call(target.seeds[0])
        found.put([target.name for target in targets])
        own = _peak()
        resource.setrlimit(resource.RLIMIT_AS, (_virtual() + 4 * MEMORY, resource.RLIM_INFINITY))
        end = time.monotonic() + seconds
        while time.monotonic() < end and (most is None or number.value < first + most):
            target, content = input_of(area, targets, seed, number.value)
            problem = _try(target, content)
            if _peak() - own > MEMORY:
                problem, own = f"memory grew by {(_peak() - own) >> 20} MiB", _peak()
            if problem:
                found.put(Found(number.value, target.name, problem, content))
            number.value += 1
    found.close()
    found.join_thread()
    os._exit(0)


def input_of(area: str, targets: Sequence[Target], seed: int, number: int) -> tuple[Target, bytes]:
    """Input `number`, and the target that it is for."""
    random = Random(f"{area} {seed} {number}")
    target = random.choices(targets, [target.share for target in targets])[0]
    damage = target.damage if random.random() < 0.6 else mutate.binary
    try:
        return target, damage(random, target.seeds)
    except (ValueError, RecursionError, OverflowError):  # JSON and YAML cannot say everything
        return target, mutate.binary(random, target.seeds)


def _try(target: Target, content: bytes) -> str | None:
    """What is wrong with what the target makes of the content."""
    signal.setitimer(signal.ITIMER_REAL, SLOW)
    try:
        target.call(content)
    except target.allowed:
        return None
    except _TooSlowError as error:
        return f"takes more than {SLOW} s in {_place(error)}"
    except BaseException as error:  # noqa: BLE001 (that is what is looked for)
        return f"{type(error).__name__} in {_place(error)}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _place(error: BaseException) -> str:
    """The innermost line of ours."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "/src/" in frame.filename
    ] or traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/src/')[2]}:{frames[-1].lineno}"


def _ring(_: int, __: FrameType | None) -> None:
    raise _TooSlowError


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
