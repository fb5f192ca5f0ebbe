"""Rounds of kills, SIGTERM, full disks and two at once: each disturbs one case, and returns what is wrong afterwards."""

import hashlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from faults.cases import Case, Snapshot, below, differences, snapshot
from faults.programs import Ended, Running, Strike

NAMED = (
    "train@attend",
    "dvc repro validate",
    "download (zip over http)",
    "kfp fetch",
)  # in every other round of two at once
_HIDDEN = re.compile(r"(^|/)\.[^/]+\.(partial|replaced|lock)(/|$)")  # what is being written, replaced, or held
_OTHER = re.compile(r"\block|another|other process|at the same time|already|busy|blocked|in use", re.IGNORECASE)
_SPACE = re.compile(r"no space left|disk", re.IGNORECASE)
_START = 3  # seconds, about, that a cold program imports


class Round(NamedTuple):
    """What one round did, and what was wrong."""

    case: str
    how: str
    problems: list[str]


Part = Callable[[Sequence[Case], Random, int, Path], Round]


def strike(cases: Sequence[Case], random: Random, number: int, place: Path, by: signal.Signals) -> Round:
    """End a command by a signal, at a random moment or before a random change of files; then run it again."""
    case = cases[number % len(cases)]
    with_earlier, often = case.earlier is not None and random.random() < 0.5, 1 + (random.random() < 0.2)
    case.lay(place, with_earlier=with_earlier)
    start, log, how, problems = snapshot(place), place.with_suffix(".log"), [], []
    for _ in range(often):
        words, ended = _strike_once(case, random, place, log, by)
        how.append(words)
        problems += [f"a child lived on: {child}" for child in ended.survivors]
        if ended.code not in (0, -by, 128 + by) or "Traceback" in ended.output:
            problems.append(ended.words)
        problems += _half(case, start, snapshot(place), place)
    problems += _again(case, place, log)
    return Round(case.name, ", ".join(how) + (", over earlier outputs" if with_earlier else ""), problems)


kill, terminate = partial(strike, by=signal.SIGKILL), partial(strike, by=signal.SIGTERM)


def _strike_once(case: Case, random: Random, place: Path, log: Path, by: signal.Signals) -> tuple[str, Ended]:
    cold = random.random() < 0.1
    if cold or random.random() < 0.5:
        moment = random.uniform(0, 1.05 * case.seconds + _START * cold)
        running = Running(case.program(place), log, cold=cold)
        running.wait(moment)
        how = f"after {moment:.2f} s{' (cold start)' if cold else ''}"
    else:
        change = random.randint(1, max(case.changes, 1))
        running = Running(case.program(place), log, strike=Strike(by, change))
        running.wait(case.seconds * 5 + 10)
        how = f"before change {change} of {case.changes}"
    running.send(by, to_all=case.wraps)
    return how, running.end()


def fill_disk(cases: Sequence[Case], random: Random, number: int, place: Path) -> Round:
    """Run a command on a disk that is too small, then the same one after more space was made."""
    case = cases[number % len(cases)]
    log, with_earlier = place.with_suffix(".log"), case.earlier is not None and random.random() < 0.5
    with _disk(place) as resize:
        case.lay(place, with_earlier=with_earlier)
        start, used = snapshot(place), shutil.disk_usage(place).used
        room = int(random.uniform(0, 1.05) * case.growth)
        resize(used + room)
        ended = case.run(place, log)
        problems = [f"a child lived on: {child}" for child in ended.survivors]
        problems += _refused(case, ended, _SPACE)
        problems += _half(case, start, snapshot(place), place)
        resize(2**30)
        problems += _again(case, place, log)
    said = "fitted" if ended.code == 0 else "was full"
    how = f"{room:,} bytes free, {case.growth:,} needed: {said}{', over earlier outputs' * with_earlier}"
    return Round(case.name, how, problems)


@contextmanager
def _disk(place: Path) -> Iterator[Callable[[int], None]]:
    """A disk at this folder, with a function that sets its size in bytes. Only for root."""

    def mount(size: int, *how: str) -> None:
        subprocess.run(["mount", *how, "-o", f"{'remount,' * (not how)}size={size}", str(place)], check=True)

    place.mkdir()
    mount(2**30, "-t", "tmpfs", "tmpfs")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def twice(cases: Sequence[Case], random: Random, number: int, place: Path) -> Round:
    """Start a command twice within 50 ms. Either both do it, or one names the other as the reason why it does not."""
    named = [case for case in cases if case.name in NAMED]
    among = named if number % 2 == 0 and named else cases
    case, delay = among[number // 2 % len(among)], random.uniform(0, 0.05)
    with_earlier = case.earlier is not None and random.random() < 0.5
    case.lay(place, with_earlier=with_earlier)
    logs = [place.with_suffix(f".log{which}") for which in (1, 2)]
    first = Running(case.program(place), logs[0])
    time.sleep(delay)
    both = [running.end() for running in (first, Running(case.program(place), logs[1]))]
    problems = [f"a child lived on: {child}" for ended in both for child in ended.survivors]
    for ended in both:
        problems += _refused(case, ended, _OTHER)
    if all(ended.code for ended in both):
        problems.append("neither of the two did the work")
    problems += differences(snapshot(place), case.after)
    codes = " and ".join(str(ended.code) for ended in both)
    return Round(
        case.name, f"{delay * 1000:.0f} ms apart, ended with {codes}{', over earlier outputs' * with_earlier}", problems
    )


def _refused(case: Case, ended: Ended, why: re.Pattern[str]) -> list[str]:
    """What is wrong with how it ended, which may be with a message that says why."""
    codes = (1, 255) if case.module.startswith("dvc") else (1,)  # DVC's own codes
    well = ended.code == 0 or (ended.code in codes and why.search(ended.output))
    return [] if well and "Traceback" not in ended.output else [ended.words]


def _half(case: Case, start: Snapshot, found: Snapshot, place: Path) -> list[str]:
    """What is half-written, and what else changed."""
    problems = [
        f"{out} is neither absent, old nor whole: {differences(below(found, out), below(case.after, out))[:3]}"
        for out in case.outs
        if below(found, out) not in ({}, below(start, out), below(case.after, out))
    ]

    def others(files: Snapshot) -> Snapshot:
        mine = {name for out in case.outs for name in below(files, out)}
        return {
            name: digest for name, digest in files.items()
            if name not in mine and not name.startswith(case.works) and not _HIDDEN.search(name)
        }  # fmt: skip

    problems += [f"meanwhile {text}" for text in differences(others(found), others(start))]
    for store in (place / "remote" / "files" / "md5", place / "flowers" / ".dvc" / "cache" / "files" / "md5"):
        for path in store.glob("??/*"):
            name = path.parent.name + path.name.removesuffix(".dir")
            if re.fullmatch("[0-9a-f]{32}", name) and hashlib.md5(path.read_bytes()).hexdigest() != name:  # noqa: S324
                problems.append(f"the object {path.relative_to(place)} has other bytes than its name says")
    return problems


def _again(case: Case, place: Path, log: Path) -> list[str]:
    """What is wrong after the same command again."""
    again = case.run(place, log)
    if again.code != 0:
        return [f"the same command again {again.words}"]
    return [f"after the same command again, {text}" for text in differences(snapshot(place), case.after)]
