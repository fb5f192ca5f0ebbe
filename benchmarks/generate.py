"""Images per second of `repose generate --jobs`, and the time to the first picture and to the help.

python -m benchmarks.generate [--jobs N] [--rounds N] [--base REVISION] [--checkpoint FILE]

A job is two of a garment's photos and a third photo whose pose is wanted; the network figure finds all poses. Compared, with
the model that comes with repose (unless --checkpoint names another) and two threads:

- one by one: each job with `make_one`;
- jobs: all of them with `make_all`, as `repose generate --jobs`.

Start-up is the time of a new process: of `repose --help`, of `repose generate` for one job (with poses found by figure, by
BlazePose if it was fetched, and from a file), and of `import torch` alone, below which these cannot come. With --base, a
revision of this repository does the same in the same rounds; it must read the checkpoint. Rates and times take turns, and the
median of the rounds is shown with their spread. Processor time counts all threads: it is what remains comparable where others
use the machine. Furthest apart is the largest difference of a value, 0 to 255, from the images made one by one now.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import ROOT, checked_out
from mannequins import surface
from mannequins.renderer import MannequinSettings, render_item
from repose.data.images import decode, encode_jpeg
from repose.pose.blazepose import has_runtime
from repose.storage.weight_files import cached

THREADS = 2
WAYS = ("one by one", "jobs")
# Makes the jobs of jobs.csv in a process that is warm; prints the seconds, wall and processor.
RATE = """
import sys, time
from pathlib import Path
import torch, repose
from repose.inference import jobs
torch.set_num_threads(int(sys.argv[4]))
model = repose.load(sys.argv[1], device="cpu", pose_detector="figure")
listed = jobs.read_jobs(Path("jobs.csv"), Path(sys.argv[2]))
jobs.make_all(listed[:2], model)
start = time.perf_counter(), time.process_time()
jobs.make_all(listed, model) if sys.argv[3] == "jobs" else [jobs.make_one(job, model) for job in listed]
print(time.perf_counter() - start[0], time.process_time() - start[1])
"""


def prepare(folder: Path, jobs: int) -> None:
    """Photos, their poses and jobs.csv in the folder."""
    garments = max(jobs // 2 + 1, 2)
    render, rows = MannequinSettings("fashion", items=garments, seed=0, quality=95), ["sources,pose,out"]
    poses = ["name:keypoints_y:keypoints_x"]
    rendered = (photos[:3] for photos in (render_item(render, number) for number in count()) if len(photos) > 2)
    for item, photos in enumerate(islice(rendered, garments)):
        for number, photo in enumerate(photos):
            (folder / f"{item}-{number}.jpg").write_bytes(encode_jpeg(photo.pixels))
            x, y = np.nan_to_num(photo.keypoints, nan=-1).round().astype(int).T.tolist()
            poses.append(f"{item}-{number}.jpg: {y}: {x}")
    (folder / "poses.csv").write_text("\n".join(poses))
    for job in range(jobs):  # each garment in two poses, of the next two garments' last photos
        item, pose = job // 2, (job // 2 + 1 + job % 2) % garments
        rows.append(f"{item}-0.jpg;{item}-1.jpg,{pose}-2.jpg,{job}.png")
    (folder / "jobs.csv").write_text("\n".join(rows))


def sources(base: str | None, folder: Path) -> dict[str, Path]:
    """The folder src of this tree and, if a revision is given, of that."""
    return {"now": ROOT / "src"} | ({} if base is None else {base: checked_out(base, folder / "base") / "src"})


def run(words: list[str], src: Path, folder: Path) -> tuple[float, float, str]:
    """The wall and processor seconds of a Python process, and what it prints."""
    environment = os.environ | {"PYTHONPATH": str(src), "GOMP_SPINCOUNT": "1000"}
    before, start = os.times(), time.perf_counter()
    ran = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, check=False, text=True, capture_output=True
    )
    if ran.returncode:
        sys.exit(f"This failed with {src}: {' '.join(words)}\n{ran.stderr}")
    wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used, ran.stdout


def measure(
    folder: Path, model: Path, found: dict[str, Path], rounds: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """The wall and processor seconds of each way and revision, in each round."""
    start, out = ["-m", "repose.cli"], ["-o", "one.png", "-c", str(model)]
    one = [*start, "generate", "0-0.jpg", "0-1.jpg", "-p", "1-2.jpg", *out]
    starts = {
        "repose --help": [*start, "--help"],
        "import torch": ["-c", "import torch"],
        "first picture, figure": [*one, "--find-poses", "figure"],
        "first picture, poses.csv": [*one, "--keypoints", "poses.csv"],
    }
    if cached("blazepose").is_file() and has_runtime():
        starts["first picture, blazepose"] = [*one, "--find-poses", "blazepose"]
    measured: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, src in found.items():
            for what, words in starts.items():
                measured.setdefault((what, name), []).append(run(words, src, folder)[:2])
            for way in WAYS:
                printed = run(["-c", RATE, str(model), f"{way} {name}", way, str(THREADS)], src, folder)[2]
                wall, used = map(float, printed.split())
                measured.setdefault((way, name), []).append((wall, used))
    return measured


def furthest_apart(folder: Path, what: str, revision: str) -> str:
    """The largest difference of a value, 0 to 255, between the images of a way and those made one by one now."""
    made = sorted((folder / f"{what} {revision}").glob("*.png"))
    apart = [
        decode(file.read_bytes()).astype(int) - decode((folder / "one by one now" / file.name).read_bytes())
        for file in made
    ]
    return str(abs(np.stack(apart)).max()) if made else ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=32, help="number of images, default 32")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--base", help="a revision of git to compare with")
    parser.add_argument("--checkpoint", type=Path, help="a trained system instead of the one that comes with repose")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, asked.jobs)
        model, found = (asked.checkpoint or surface.weights()).absolute(), sources(asked.base, folder)
        measured = measure(folder, model, found, asked.rounds)
        apart = {key: furthest_apart(folder, *key) for key in measured}
    columns = ("what", "revision", "wall s", "spread", "processor s", "images/s", "furthest apart")
    table = Table(*columns, title=f"{asked.jobs} jobs, {THREADS} threads")
    for (what, revision), times in sorted(measured.items()):
        walls, used = zip(*times, strict=True)
        wall, spread = statistics.median(walls), f"{min(walls):.2f} to {max(walls):.2f}"
        rate = f"{asked.jobs / wall:.1f}" if what in WAYS else ""
        used_by_all = f"{statistics.median(used):.2f}"
        table.add_row(what, revision, f"{wall:.2f}", spread, used_by_all, rate, apart[what, revision])
    Console(width=max(Console().width, 110)).print(table)  # cells are not wrapped, also in a narrow terminal or a pipe


if __name__ == "__main__":
    main()
