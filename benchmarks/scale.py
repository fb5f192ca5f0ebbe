"""Cost of the data stages against the number of photos, beside two processes that merely decode the same photos.

python -m benchmarks.scale [--photos 500 5000 52712 527120] [--rounds 3] [--folder FOLDER] [--record docs/scale.json]

The source has DeepFashion's layout, in a zip: a hundred rendered mannequins of 256x256, many times, each copy with a JPEG
comment of its own, so that all bytes and digests differ and decoding costs what it costs; with the owner's partition and
keypoints in their published formats, and garments of as many photos as DeepFashion's. Each stage runs in a process of its own,
each part of keypoints and posemaps too. Seconds are the stage's by the clock, without imports, both parts one after the other;
they are medians of the rounds, in which the stages take turns. The peak is that of the process, imports included, or of the
largest that it starts. The exponent e of cost ~ photos^e is that between the two largest sizes.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peak_mebibytes

ROOT = Path(__file__).parents[1]
STAGES = ("download", "decode", "validate", "keypoints", "posemaps", "split")
PARTS = ("0", "1")
VIEWS = ("1_front", "2_side", "3_back", "7_additional", "4_full", "6_flat")
CATEGORIES = ("WOMEN/Dresses", "WOMEN/Tees_Tanks", "MEN/Shirts_Polos", "WOMEN/Skirts", "MEN/Pants")
# How many garments of DeepFashion have so many photos: 13,029 garments, 52,712 photos, 167,618 ordered pairs.
GARMENTS_OF = {1: 117, 2: 76, 3: 2121, 4: 7695, 5: 2820, 6: 200}
GARMENTS = 30  # that are rendered, with about four photos each
CHANGES: dict[str, dict[str, Any]] = {  # in the demo's params.yaml
    "download": {"source": "deepfashion", "limits": {
        "files": 1_000_000, "total_gigabytes": 20, "file_megabytes": 200, "ratio": 50,
    }},
    "keypoints": {"extractor": "posegan-csv"},
}  # fmt: skip
TITLES = {"seconds": "Seconds", "processor": "Processor seconds", "mebibytes": "Peak memory in MiB"}


def main(arguments: Sequence[str] = ()) -> None:
    """Make the sources, run the stages and print a table."""
    # A child's peak memory is at least its parent's at the fork, so this process imports and makes nothing before the end.
    parser = argparse.ArgumentParser(prog="benchmarks.scale")
    parser.add_argument("--photos", type=int, nargs="+", default=[500, 5_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES, help="which to run, in this order")
    parser.add_argument("--folder", type=Path, help="keeps the sources and the outputs; a temporary folder by default")
    parser.add_argument("--record", type=Path, help="a JSON of measurements, which are added to those it has")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        record = chosen.record or Path(temporary, "record.json")
        found = json.loads(record.read_text()) if record.exists() else []
        for photos in sorted(chosen.photos) * chosen.rounds:
            place = (chosen.folder or Path(temporary)) / str(photos)
            if not (place / "source.zip").exists():
                child("source", place, photos)
            for stage in chosen.stages:
                parts = PARTS if stage in ("keypoints", "posemaps") else ("",)
                each = [json.loads(child(stage, place, part)) for part in parts]
                seconds, processor = (sum(one[key] for one in each) for key in ("seconds", "processor"))
                peak = max(one["mebibytes"] for one in each)
                found.append(
                    {"stage": stage, "photos": photos, "seconds": seconds, "processor": processor, "mebibytes": peak}
                )
                record.write_text(json.dumps(found, indent=1) + "\n")
    _show(found)


def child(*words: object) -> str:
    """The answer of this module in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def measure(stage: str, place: Path, part: str) -> dict[str, float]:
    """Run a stage, or `decode`, once."""
    call = _decoding(place) if stage == "decode" else _prepared(stage, place, part)
    clock, processor = time.perf_counter(), _processor()
    call()
    clock, processor = time.perf_counter() - clock, _processor() - processor
    return {"seconds": clock, "processor": processor, "mebibytes": peak_mebibytes()}


def _processor() -> float:
    """The seconds of this process and those that it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def settings_of(place: Path) -> dict[str, Any]:
    """The demo's params.yaml with CHANGES."""
    import yaml

    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, changes in CHANGES.items():
        params[name] |= changes
    params["download"]["origins"] = [{"address": str(place / name)} for name in ("source.zip", "keypoints.csv")]
    return params


def _prepared(name: str, place: Path, part: str) -> Any:
    """The call of a stage, with its paths as in dvc.yaml."""
    import importlib
    import inspect
    from functools import partial

    from repose.config import block

    stage = importlib.import_module(f"repose.stages.{name}")
    if name in ("validate", "keypoints", "split"):
        from repose.validation.expectations import BETWEEN, expect

        expect("any", BETWEEN, "imports Great Expectations", column="any", max_value=1)
    data = place / "data"
    paths = {kind: data / kind / part for kind in ("images", "keypoints", "posemaps")}
    paths |= {"raw": data / "raw", "lists": data / "raw" / "lists", "split": data / "split"}
    paths |= {"report": place / "reports" / name / part, "transfers": place / "transfers", "work": place / "work"}
    wanted = {key: paths[key] for key in inspect.signature(stage.run).parameters if key != "settings"}
    settings = block(settings_of(place), name, getattr(stage, f"{name.capitalize()}Settings"), "benchmark")
    return partial(stage.run, **wanted, settings=settings)


def _decoding(place: Path) -> Any:
    """A call that decodes all photos in two processes, each every second one."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from repose.data.raw import RawFiles

    files = RawFiles(place / "data" / "raw")

    def both() -> None:
        with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
            list(pool.map(partial(_decode, files), range(2)))

    return both


def _decode(files: Any, first: int) -> None:
    import io

    from PIL import Image

    for name in [name for name in files if name.endswith(".jpg")][first::2]:
        with Image.open(io.BytesIO(files[name])) as image:
            image.load()


def source(place: Path, photos: int) -> None:
    """Write source.zip and keypoints.csv."""
    import zipfile

    from mannequins.renderer import MannequinSettings, files

    rendered = dict(files(MannequinSettings("fashion", items=GARMENTS, seed=0, quality=90), workers=2))
    header, *rows = rendered["keypoints.csv"].decode().splitlines()
    joints = dict(row.split(":", 1) for row in rows)
    shown = [(rendered[path], joints[_flat(path)]) for path in sorted(rendered) if path.endswith(".jpg")]
    place.mkdir(parents=True)
    listed, poses = [str(photos), "image_name item_id evaluation_status"], [header]
    with zipfile.ZipFile(place / "source.zip.partial", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, (garment, path) in zip(range(photos), _paths(), strict=False):
            jpeg, pose = shown[number % len(shown)]
            comment = f"copy {number:08d}".encode()
            marker = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment  # behind the first, SOI
            archive.writestr(zipfile.ZipInfo(path), jpeg[:2] + marker + jpeg[2:], zipfile.ZIP_DEFLATED)
            listed.append(f"{path} id_{garment:08d} {'train' if garment % 13 else 'query'}")
            poses.append(f"{_flat(path)}:{pose}")
        archive.writestr("Eval/list_eval_partition.txt", "".join(f"{line}\n" for line in listed))
    (place / "keypoints.csv").write_text("".join(f"{line}\n" for line in poses))
    (place / "source.zip.partial").rename(place / "source.zip")


def _flat(path: str) -> str:
    from repose.data.layouts import DeepFashion

    photo = DeepFashion([], str.encode).photo(path)
    assert photo is not None
    return photo.name


def _paths() -> Iterator[tuple[int, str]]:
    """The number of a garment and the path of each of its photos, without end."""
    import numpy as np

    sizes = np.random.default_rng(0).permutation(np.repeat(list(GARMENTS_OF), list(GARMENTS_OF.values())))
    for garment in range(10**8):
        category = CATEGORIES[garment % len(CATEGORIES)]
        for view in VIEWS[: sizes[garment % len(sizes)]]:
            yield garment, f"img/{category}/id_{garment:08d}/01_{view}.jpg"


def _show(found: list[dict[str, Any]]) -> None:
    """Print a table of seconds, and one of memory."""
    from rich.console import Console
    from rich.table import Table

    counts = sorted({one["photos"] for one in found})
    cost = {
        (key, stage, count): [one[key] for one in found if (one["stage"], one["photos"]) == (stage, count)]
        for key in TITLES for stage in STAGES for count in counts
    }  # fmt: skip
    for key, title in TITLES.items():
        table = Table("stage", *(f"{count:,}" for count in counts), "e", title=f"{title} by number of photos")
        if key == "seconds":
            table.add_column("rate / decode's (least-most)")
        for stage in STAGES:
            known = {count: median(cost[key, stage, count]) for count in counts if cost[key, stage, count]}
            cells = [
                f"{known[count]:,.{2 if known[count] < 100 else 0}f}" if count in known else "" for count in counts
            ]
            ratio = [_ratio(cost, stage, counts)] if key == "seconds" else []
            table.add_row(stage, *cells, exponent(known), *ratio)
        Console().print(table)


def exponent(costs: dict[int, float]) -> str:
    """The e of cost ~ photos^e between the two largest sizes."""
    if len(costs) < 2:
        return ""
    (x0, y0), (x1, y1) = sorted(costs.items())[-2:]
    return f"{math.log(y1 / y0) / math.log(x1 / x0):.2f}"


def _ratio(cost: dict[tuple[str, str, int], list[float]], stage: str, counts: list[int]) -> str:
    """The rate at the largest size at which both ran, as a multiple of that of decoding in the same round."""
    for count in reversed(counts):
        rounds = zip(cost["seconds", "decode", count], cost["seconds", stage, count], strict=False)
        if ratios := [decode / seconds for decode, seconds in rounds]:
            return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) at {count:,}"
    return ""


if __name__ == "__main__":
    if sys.argv[1:2] == ["source"]:
        source(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) == 4 and sys.argv[1] in STAGES:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
    else:
        main(sys.argv[1:])
