"""The command line: `PYTHONPATH=tests python -m faults PART...`; docs/faults.md, which it writes, says what each part does."""

import argparse
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before anything imports torch
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import seaweedfs
import warm
from faults import cases, fuzz, page, rounds, store
from faults.rounds import Round
from faults.targets import AREAS
from file_server import Server
from serving import serving

LOCAL = {"kills": rounds.kill, "terms": rounds.terminate, "disk": rounds.fill_disk, "twice": rounds.twice}
FUZZED = 300  # seconds of each area
Run = Callable[[Random, int, Path], Round]


def main(words: Sequence[str] | None = None) -> None:
    """Run parts of the campaign, or write the page of what was run."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("parts", nargs="+", choices=[*page.PARTS, "all", "page"], help="all: every part, then the page")
    parser.add_argument("--round", type=int, help="repeat this one alone, and keep no result")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    parts = [*page.PARTS, "page"] if "all" in options.parts else options.parts
    warm.share()  # DVC, where a part prepares projects
    page.FOLDER.mkdir(exist_ok=True)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory, ignore_cleanup_errors=True) as made:
        how = Path(made), options.seed, options.round
        if local := [part for part in LOCAL if part in parts]:
            server = Server()
            server.body = cases.zip_of(cases.photos(30))
            with serving(server):
                known = cases.prepare(Path(made), server.address)
                for part in local:
                    run_part(part, partial(LOCAL[part], known), *how)
        if "s3" in parts:
            os.environ |= {
                "AWS_ACCESS_KEY_ID": seaweedfs.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": seaweedfs.SECRET_KEY, "NO_PROXY": "*",
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            }  # fmt: skip
            with seaweedfs.running() as address:
                stored = list(store.prepare(Path(made), address))
                fail = partial(store.fail, stored, server=address, secret=seaweedfs.SECRET_KEY)
                run_part("s3", fail, *how, jobs=8)  # most of the time they wait
        if "fuzz" in parts:
            warnings.simplefilter("ignore")
            logging.disable()
            resource.setrlimit(resource.RLIMIT_AS, (32 * fuzz.MEMORY, resource.RLIM_INFINITY))
            run_part("fuzz", partial(_fuzz, options.seed), *how, jobs=1)
    if "page" in parts:
        page.write()


def run_part(part: str, run: Run, folder: Path, seed: int, only: int | None, jobs: int = 2) -> None:
    """Run the rounds of a part, so many at a time, and keep what they did; or only one."""
    began = time.monotonic()

    def one(number: int) -> Round:
        place = folder / f"{part}-{number}"
        try:
            done = run(Random(f"{part} {seed} {number}"), number, place)
        except Exception as error:  # the other rounds go on
            done = Round("?", "", [f"the round itself failed: {error!r}"])
        shutil.rmtree(place, ignore_errors=True)
        print(f"{part} {number}: {done.case}: {done.how}: {'; '.join(done.problems) or 'right'}", flush=True)
        return done

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(one, range(page.PARTS[part]) if only is None else [only]))
    if only is None:
        page.keep(part, seed, (time.monotonic() - began) / 60, done)


def _fuzz(seed: int, _: Random, number: int, place: Path) -> Round:
    area, make = list(AREAS.items())[number]
    place.mkdir()
    os.chdir(place)
    return Round(area, *fuzz.fuzz(area, list(make(place)), seed, FUZZED, page.FOLDER / "input"))


if __name__ == "__main__":
    main()
