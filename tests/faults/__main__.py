"""The command line: `PYTHONPATH=tests python -m faults PART...`; docs/faults.md says what each part does."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before anything imports torch
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

ROUNDS = {"kills": 200, "terms": 50, "disk": 50, "twice": 50}


def main() -> None:
    """Run parts of the campaign."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("parts", nargs="+", choices=[*ROUNDS, "fuzz", "all"])
    parser.add_argument("--rounds", type=int, help="of each part, instead of the campaign's own number")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round, or of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="rounds or areas at the same time")
    parser.add_argument("--minutes", type=float, default=10, help="of each area of fuzz")
    parser.add_argument("--areas", nargs="+", help="of fuzz; default: all")
    options = parser.parse_args()
    parts = [*ROUNDS, "fuzz"] if "all" in options.parts else options.parts
    if "disk" in parts and "FAULTS_OWN_MOUNTS" not in os.environ:  # so that no disk is left mounted
        os.environ["FAULTS_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, "-m", "faults", *sys.argv[1:]])  # noqa: S606
    import warm

    warm.share()  # DVC, where a part prepares projects
    if local := [part for part in parts if part != "fuzz"]:
        _disturb(local, options)
    if "fuzz" in parts:
        _fuzz(options)


def _disturb(parts: Sequence[str], options: argparse.Namespace) -> None:
    """Run the rounds of parts that disturb commands, and tell each as it ends."""
    from faults import cases, rounds
    from file_server import Server
    from serving import serving

    ways = {"kills": rounds.kill, "terms": rounds.terminate, "disk": rounds.fill_disk, "twice": rounds.twice}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    server = Server()
    server.body = cases.zip_of(cases.photos(30))
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory, ignore_cleanup_errors=True) as made, serving(server):
        prepared = cases.prepare(Path(made), server.address)

        def survives(part: str, number: int) -> bool:
            place = Path(made, f"{part}-{number}")
            try:
                done = ways[part](prepared, Random(f"{part} {options.seed} {number}"), number, place)
            except Exception as error:  # the other rounds go on
                done = rounds.Round("?", "", [f"the round itself failed: {error!r}"])
            shutil.rmtree(place, ignore_errors=True)
            print(f"{part} {number}: {done.case}: {done.how}: {'; '.join(done.problems) or 'right'}", flush=True)
            return not done.problems

        for part in parts:
            numbers = range(options.first, options.first + (options.rounds or ROUNDS[part]))
            with ThreadPoolExecutor(options.jobs) as pool:
                survived = sum(pool.map(survives, [part] * len(numbers), numbers))
            print(f"{part}: {survived} of {len(numbers)} survived", flush=True)


def _fuzz(options: argparse.Namespace) -> None:
    from faults.fuzz import fuzz
    from faults.targets import AREAS

    areas = options.areas or list(AREAS)
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        how = (options.seed, options.first, options.rounds, options.minutes)
        for found in pool.map(fuzz, areas, *([value] * len(areas) for value in how)):
            print("\n".join(found), flush=True)


if __name__ == "__main__":
    main()
