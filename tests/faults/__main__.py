"""The command line: `PYTHONPATH=tests python -m faults PART...`; docs/faults.md, which it writes, says what each part does."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before anything imports torch
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

from faults import page

LOCAL = ("kills", "terms", "disk", "twice")  # parts that share the prepared cases
DRAWN = Callable[[Random, int, Path], Any]


def main(words: list[str] | None = None) -> None:
    """Run parts of the campaign, or write the page of what was run."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("parts", nargs="+", choices=[*page.PARTS, "all", "page"], help="all: every part, then the page")
    parser.add_argument("--rounds", type=int, help="of each part, even those that have run; default: the others")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round, or of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="rounds at the same time; of s3, four times as many")
    parser.add_argument("--minutes", type=float, default=page.MINUTES, help="of each area of fuzz")
    parser.add_argument("--areas", nargs="+", help="of fuzz; default: all")
    options = parser.parse_args(words)
    parts = [*page.PARTS, "page"] if "all" in options.parts else list(dict.fromkeys(options.parts))
    if "disk" in parts and "FAULTS_OWN_MOUNTS" not in os.environ:  # so that no disk is left mounted
        os.environ["FAULTS_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, "-m", "faults", *(words or sys.argv[1:])])  # noqa: S606
    import warm

    warm.share()  # DVC, where a part prepares projects
    if local := [part for part in LOCAL if part in parts]:
        _run_local(local, options)
    if "s3" in parts:
        _run_s3(options)
    if "fuzz" in parts:
        _run_fuzz(options)
    if "page" in parts:
        page.write()


def _run_local(parts: list[str], options: argparse.Namespace) -> None:
    from faults import cases, rounds
    from file_server import Server
    from serving import serving

    server = Server()
    server.body = cases.zip_of(cases.photos(30))
    with _folder() as folder, serving(server):
        prepared = cases.prepare(folder, server.address)
        ways = {"kills": rounds.kill, "terms": rounds.terminate, "disk": rounds.fill_disk, "twice": rounds.twice}
        for part in parts:
            run = ways[part]
            _rounds(part, options, folder, lambda *how, run=run: run(prepared, *how), options.jobs)


def _run_s3(options: argparse.Namespace) -> None:
    import seaweedfs
    from faults import store

    with _folder() as folder, seaweedfs.running() as address:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": seaweedfs.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": seaweedfs.SECRET_KEY, "NO_PROXY": "*",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        known = list(store.prepare(folder, address))
        run: DRAWN = lambda *how: store.fail(known, *how, address, seaweedfs.SECRET_KEY)  # noqa: E731
        _rounds("s3", options, folder, run, 4 * options.jobs)  # most of the time they wait


def _rounds(part: str, options: argparse.Namespace, folder: Path, run: DRAWN, jobs: int) -> None:
    """Run the rounds of a part that are asked for, or that this commit has not run yet, and keep each as it ends."""
    results = page.Results.open(part, options.seed)
    numbers = range(options.first, options.first + (options.rounds or page.PARTS[part]))
    began = time.monotonic()

    def one(number: int) -> None:
        place = folder / f"{part}-{number}"
        try:
            case, how, problems = run(Random(f"{part} {options.seed} {number}"), number, place)
        except Exception as error:  # the other rounds go on
            case, how, problems = "?", "", [f"the round itself failed: {error!r}"]
        shutil.rmtree(place, ignore_errors=True)
        results.add(number, case, how, problems)
        print(f"{part} {number}: {case}: {how}: {'; '.join(problems) or 'right'}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [number for number in numbers if options.rounds or number not in results]))
    results.took(time.monotonic() - began)


def _run_fuzz(options: argparse.Namespace) -> None:
    from faults import fuzz
    from faults.targets import AREAS

    results = page.Results.open("fuzz", options.seed)
    began = time.monotonic()

    def one(area: str) -> None:
        end = time.monotonic() + 60 * options.minutes
        plan = fuzz.Plan(area, options.seed, end, options.first, options.rounds)
        done = fuzz.fuzz(plan, page.FOLDER / "inputs")
        problems = [
            f"{times} times, first input {found.number}: {found.target}: {found.words}"
            for found, times in done.problems.values()
        ]
        how = f"{done.inputs:,} inputs in {options.minutes:g} minutes for {', '.join(done.targets)}"
        if not options.rounds:  # inputs that are repeated are not all of the area's
            results.add(area, area, how, problems)
        print(f"fuzz {area}: {done.inputs:,} inputs; {'; '.join(problems) or 'right'}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, [area for area in options.areas or AREAS if options.rounds or area not in results]))
    results.took(time.monotonic() - began)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder, in memory where that is possible."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory, ignore_cleanup_errors=True) as made:
        yield Path(made)


if __name__ == "__main__":
    main()
