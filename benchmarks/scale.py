"""Cost of the data stages against the number of photos, beside two processes that merely decode the same photos.

python -m benchmarks.scale [--photos 500 5000 52712 527120] [--folder FOLDER] [--picture FILE.png]

The source is DeepFashion's layout in a zip: a hundred rendered mannequins of 256x256, many times, each copy with a JPEG
comment of its own, so that all bytes and digests differ and decoding costs what it costs; with the owner's partition and
keypoints in their published formats. Garments have as many photos as DeepFashion's. Each stage runs in a process of its own.
Its seconds are those of the stage, without Python's imports; its memory is the peak of the process and of its largest
worker together (ru_maxrss), imports included. The exponent e of seconds ~ photos^e is that between the last two sizes.
"""

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STAGES = ("download", "decode", "validate", "keypoints", "posemaps", "split")
VIEWS = ("1_front", "2_side", "3_back", "7_additional", "4_full", "6_flat")
DISTINCT = 30  # rendered garments, about four photos each
CHANGES: dict[str, dict[str, Any]] = {
    "download": {"source": "deepfashion", "limits": {"files": 10**6}},
    "keypoints": {"extractor": "posegan-csv"},
}


def main(arguments: list[str]) -> None:
    """Make the sources, run the stages, print a table and, if asked, draw the picture."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale")
    parser.add_argument("--photos", type=int, nargs="+", default=[500, 5_000])
    parser.add_argument("--folder", type=Path, help="where to work and keep everything; a temporary folder by default")
    parser.add_argument("--picture", type=Path, help="a PNG to draw")
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    chosen = parser.parse_args(arguments)
    # A child's peak memory is at least its parent's at the fork, so this process imports and makes nothing before the end.
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        found: list[dict[str, Any]] = []
        for photos in sorted(chosen.photos):
            place = folder / str(photos)
            if not (place / "source.zip").exists():
                shutil.rmtree(place, ignore_errors=True)
                child("source", place, photos)
            for stage in chosen.stages:
                found.append({"stage": stage, "photos": photos, **json.loads(child(stage, place, photos))})
                print(found[-1], file=sys.stderr)
        print(json.dumps(found))


def child(*words: object) -> str:
    """The answer of this module in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def measure(stage: str, place: Path, photos: int) -> dict[str, float]:
    """Run one stage, for each of its parts, and measure it."""
    calls = [decode(place)] if stage == "decode" else list(prepared(stage, place))
    clock, processor = time.perf_counter(), spent()
    for call in calls:
        call()
    clock, processor = time.perf_counter() - clock, spent() - processor
    own, workers = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"clock": clock, "processor": processor, "peak": own, "worker": workers}


def spent() -> float:
    """Processor seconds of this process and its workers."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def prepared(name: str, place: Path) -> Iterator[Any]:
    """The calls of a stage with the demo's settings, ready to run."""
    import importlib
    from functools import partial

    import yaml

    from repose.config import block

    stage = importlib.import_module(f"repose.stages.{name}")
    if name in ("validate", "keypoints", "split"):
        import great_expectations.expectations  # noqa: F401  # takes seconds, and is imported when it is used
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in CHANGES.get(name, {}).items():
        params[name][key] = params[name][key] | value if isinstance(value, dict) else value
    if name == "download":
        params[name]["origins"] = [{"address": str(place / each)} for each in ("source.zip", "keypoints.csv")]
    settings = block(params, name, getattr(stage, f"{name.capitalize()}Settings"), "benchmark")
    data = {each: place / each for each in ("raw", "images", "keypoints", "posemaps", "split")}
    data |= {"lists": place / "raw" / "lists", "report": place / f"report-{name}", "transfers": place / "t", "work": place / "w"}
    wanted = stage.run.__kwdefaults__ or {}
    import inspect

    wanted = [each for each in inspect.signature(stage.run).parameters if each != "settings"]
    for part in map(str, params["validate"]["parts"]) if name in ("keypoints", "posemaps") else [""]:
        paths = {each: data[each] / (part if each not in ("lists",) else "") for each in wanted}
        yield partial(stage.run, **paths, settings=settings)


def decode(place: Path) -> Any:
    """Decode all photos in two processes, each every second one."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from repose.data.raw import RawFiles

    files = RawFiles(place / "raw")

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

    import numpy as np

    from benchmarks.split import CATEGORIES, GARMENTS_OF
    from mannequins.renderer import MannequinSettings, files

    rendered = dict(files(MannequinSettings("fashion", items=DISTINCT, seed=0, quality=90), workers=2))
    header, *rows = rendered["keypoints.csv"].decode().splitlines()
    joints = [row.partition(":")[2] for row in rows]
    base = [content for name, content in sorted(rendered.items()) if name.endswith(".jpg")]
    place.mkdir(parents=True)
    sizes = np.random.default_rng(0).permutation(np.repeat(list(GARMENTS_OF), list(GARMENTS_OF.values())))
    listed, poses, number, garment = [], [header], 0, 0
    with zipfile.ZipFile(place / "partial", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        while number < photos:
            category = CATEGORIES[garment % len(CATEGORIES)]
            for view in VIEWS[: min(sizes[garment % len(sizes)], photos - number)]:
                path = f"img/{category}/id_{garment:08d}/01_{view}.jpg"
                comment = f"copy {number:08d}".encode()
                content = base[number % len(base)]
                marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
                archive.writestr(zipfile.ZipInfo(path), content[:2] + marker + content[2:], zipfile.ZIP_DEFLATED)
                listed.append(f"{path} id_{garment:08d} {'query' if garment % 13 == 0 else 'train'}")
                flat = f"fashion{category.replace('/', '')}id{garment:08d}01_{view.replace('_', '')}.jpg"
                poses.append(f"{flat}:{joints[number % len(base)]}")
                number += 1
            garment += 1
        text = "\n".join([str(photos), "image_name item_id evaluation_status", *listed, ""])
        archive.writestr("Eval/list_eval_partition.txt", text)
    (place / "keypoints.csv").write_text("\n".join([*poses, ""]))
    (place / "partial").rename(place / "source.zip")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("source", *STAGES):
        stage, place, photos = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
        if stage == "source":
            source(place, photos)
        else:
            print(json.dumps(measure(stage, place, photos)))
    else:
        main(sys.argv[1:])
