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

from faults.cases import Case, Snapshot, below, differences, half, snapshot
from faults.programs import Ended, Strike

_HIDDEN = re.compile(r"(^|/)\.[^/]+\.(partial|replaced|lock)(/|$)")  # what is being written, replaced, or held
_OTHER = re.compile(r"\block|another|other process|at the same time|already|busy|blocked|in use", re.IGNORECASE)
_SPACE = re.compile(r"no space left|disk", re.IGNORECASE)


class Round(NamedTuple):
    """What one round did, and what was wrong."""

    case: str
    how: str
    problems: list[str]


def strike(cases: Sequence[Case], random: Random, number: int, place: Path, by: signal.Signals) -> Round:
    """End a command by a signal, at a random moment or before a random change of files; then run it again."""
    case, log = cases[number % len(cases)], place.with_suffix(".log")
    start, words = _laid(case, random, place)
    how, problems = [], []
    for _ in range(random.choice((1, 1, 1, 1, 2))):
        if random.random() < 0.5:
            moment = random.uniform(0, 1.05 * case.seconds)
            running = case.start(place, log)
            running.wait(moment)
            how.append(f"after {moment:.2f} s")
        else:
            change = random.randint(1, max(case.changes, 1))
            running = case.start(place, log, Strike(by, change))
            running.wait(case.seconds * 5 + 10)
            how.append(f"before change {change} of {case.changes}")
        running.send(by, to_all=case.wraps)
        ended = running.end()
        problems += [f"a child lived on: {child}" for child in ended.survivors]
        if ended.code not in (0, -by, 128 + by) or "Traceback" in ended.output:
            problems.append(ended.words)
        problems += _wrong_meanwhile(case, start, place)
    return Round(case.name, ", ".join(how) + words, problems + _again(case, place, log))


kill, terminate = partial(strike, by=signal.SIGKILL), partial(strike, by=signal.SIGTERM)


def fill_disk(cases: Sequence[Case], random: Random, number: int, place: Path) -> Round:
    """Run a command on a disk that is too small, then the same one after more space was made."""
    case, log = cases[number % len(cases)], place.with_suffix(".log")
    with _disk(place) as resize:
        start, words = _laid(case, random, place)
        room = int(random.uniform(0, 1.05) * case.growth)
        resize(shutil.disk_usage(place).used + room)
        ended = case.run(place, log)
        problems = _wrong_with(case, ended, _SPACE) + _wrong_meanwhile(case, start, place)
        resize(2**30)
        problems += _again(case, place, log)
    said = "fitted" if ended.code == 0 else "was full"
    return Round(case.name, f"{room:,} bytes free, {case.growth:,} needed: {said}{words}", problems)


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
    case, delay = cases[number % len(cases)], random.uniform(0, 0.05)
    _, words = _laid(case, random, place)
    first = case.start(place, place.with_suffix(".log1"))
    time.sleep(delay)
    second = case.start(place, place.with_suffix(".log2"))
    both = [running.end() for running in (first, second)]
    problems = [problem for ended in both for problem in _wrong_with(case, ended, _OTHER)]
    if all(ended.code for ended in both):
        problems.append("neither of the two did the work")
    how = f"{delay * 1000:.0f} ms apart, ended with {both[0].code} and {both[1].code}{words}"
    return Round(case.name, how, problems + differences(snapshot(place), case.after))


def _laid(case: Case, random: Random, place: Path) -> tuple[Snapshot, str]:
    """Make the folder of the round, in half of the rounds with earlier outputs; what it has, and words about that."""
    old = case.folder == "project" and random.random() < 0.5
    case.lay(place, old=old)
    return snapshot(place), ", over earlier outputs" * old


def _wrong_with(case: Case, ended: Ended, why: re.Pattern[str]) -> list[str]:
    """What is wrong with how it ended, which may be with a message that says why."""
    codes = (1, 255) if case.module.startswith("dvc") else (1,)  # DVC's own codes
    well = ended.code == 0 or (ended.code in codes and why.search(ended.output))
    problems = [] if well and "Traceback" not in ended.output else [ended.words]
    return problems + [f"a child lived on: {child}" for child in ended.survivors]


def _wrong_meanwhile(case: Case, start: Snapshot, place: Path) -> list[str]:
    """What is half-written, and what else changed."""
    found = snapshot(place)

    def others(files: Snapshot) -> Snapshot:
        kept = files.keys() - below(files, *case.outs)
        return {name: files[name] for name in kept if not name.startswith(case.works) and not _HIDDEN.search(name)}

    problems = half(case, start, found)
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
