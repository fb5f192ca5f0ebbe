"""Time and memory of the stage split on as many photos as DeepFashion has.

python -m benchmarks.split

The photos are made up (names, sizes of garments as in DeepFashion, everybody posed), the checks of Great Expectations
are left out. Each mode runs in a process of its own; the times are those of the stage without the imports, by the
clock and of the processor (the same on a machine that does nothing else).
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# How many garments of DeepFashion have so many photos: 13,029 garments, 52,712 photos, 167,618 ordered pairs.
GARMENTS_OF = {1: 117, 2: 76, 3: 2121, 4: 7695, 5: 2820, 6: 200}
VIEWS = ("1_front", "2_side", "3_back", "7_additional", "4_full", "6_flat")
CATEGORIES = ("WOMEN/Dresses", "WOMEN/Tees_Tanks", "MEN/Shirts_Polos", "WOMEN/Skirts", "MEN/Pants")
MODES: dict[str, dict[str, Any]] = {
    "pg2": {},
    "patn": {"mode": "patn", "train_list": "train.lst", "test_list": "test.lst", "pairs": "pairs.csv"},
    "official": {"mode": "official"},
}


def main() -> None:
    """Measure every mode and print a table."""
    # A child's peak memory is at least its parent's at the fork, so this process imports and makes nothing itself.
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "fabricate", folder], check=True)
        print("mode      photos    pairs  clock s  processor s  peak MiB")
        for mode in MODES:
            child = subprocess.run(
                [sys.executable, __file__, mode, folder], check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(child.stdout)
            times = f"{found['clock']:9.2f}{found['processor']:13.2f}"
            print(f"{mode:8}{found['photos']:8,}{found['pairs']:9,}{times}{found['peak_mib']:10.0f}", flush=True)


def measure(mode: str, folder: Path) -> dict[str, float]:
    """Run the stage once."""
    from repose.config import build
    from repose.data.records import part_names, read_json, read_parts
    from repose.stages import split as stage
    from repose.validation.expectations import Outcome

    stage.check_pairs = lambda *_, **__: Outcome(())
    base = {
        "mode": "pg2", "train_list": None, "test_list": None, "pairs": None, "test_share": None, "test_pairs": 12_800,
        "min_train_pairs": 1, "min_test_pairs": 1, "posed": "torso", "exclude_views": ["flat"],
        "exclude_categories": [], "max_unknown": 0.0, "seed": 0,
    }  # fmt: skip
    settings = build(stage.SplitSettings, base | MODES[mode], "benchmark")
    folders = {name: folder / name for name in ("lists", "images", "keypoints")}
    clock, processor = time.perf_counter(), time.process_time()
    stage.run(**folders, split=folder / mode, report=folder / "report", settings=settings)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record = read_json(folder / mode / "split.json")
    photos = len(read_parts(folder / "images", part_names(folder / "images"), "images.csv", ["name"]))
    return {
        "photos": photos,
        "pairs": record["train"]["pairs"] + record["test"]["pairs"],
        "clock": clock,
        "processor": processor,
        "peak_mib": peak,
    }


def fabricate(folder: Path) -> None:
    """Write lists, images and keypoints as the stages before split do, the latter two in two parts."""
    import numpy as np
    import pandas as pd

    from repose.data.layouts import DeepFashion
    from repose.data.records import FILES, IMAGES, ORDER, write_json, write_keypoints, write_table
    from repose.data.shards import ShardWriter, index_table
    from repose.data.skeleton import K

    sizes = np.random.default_rng(0).permutation(np.repeat(list(GARMENTS_OF), list(GARMENTS_OF.values())))
    items = [
        [f"img/{CATEGORIES[number % len(CATEGORIES)]}/id_{number:08d}/01_{view}.jpg" for view in VIEWS[:size]]
        for number, size in enumerate(sizes)
    ]
    paths = sorted(path for item in items for path in item)
    tested = {path for item in items[::13] for path in item}
    status = "".join(f"{path} id_00000000 {'query' if path in tested else 'train'}\n" for path in paths)
    lists = {"list_eval_partition.txt": f"{len(paths)}\n\n{status}".encode()}
    layout = DeepFashion(lists, lists.__getitem__)
    photo = {path: layout.photo(path) for path in paths}
    images = pd.DataFrame([photo[path] for path in paths]).assign(
        path=paths, height=256, width=256, sha256="0" * 64, shard="00000.tar", offset=range(len(paths)), size=9999
    )
    lists["train.lst"] = "\n".join(photo[path].name for path in paths if path not in tested).encode()
    lists["test.lst"] = "\n".join(photo[path].name for path in sorted(tested)).encode()
    pairs = [(photo[a].name, photo[b].name) for item in items[::13] for a in item for b in item if a != b]
    lists["pairs.csv"] = ("from,to\n" + "".join(f"{a},{b}\n" for a, b in pairs[:8_570])).encode()

    (folder / "lists").mkdir()
    with ShardWriter(folder / "lists") as shards:
        files = index_table((name, shards.add(name, content)) for name, content in lists.items())
    write_table(folder / "lists" / "files.csv", files.assign(sha256="0" * 64), FILES)
    write_json(folder / "lists" / "source.json", {"source": "made up", "layout": "deepfashion", "terms": "none"})
    keypoints = np.random.default_rng(0).integers(0, 256, (len(images), K, 2)).astype(np.float32)
    keypoints[:, [0, 10, 13]] = np.nan
    row = np.random.default_rng(1).permutation(len(images))  # each photo's place in the source of keypoints
    for part, rows in enumerate(np.array_split(np.arange(len(images)), 2)):
        names = images["name"].iloc[rows].tolist()
        write_table(folder / "images" / str(part) / "images.csv", images.iloc[rows], IMAGES)
        place = folder / "keypoints" / str(part)
        write_keypoints(place / "keypoints.csv", names, keypoints[rows], np.ones((len(names), K), np.float32))
        order = pd.DataFrame({"name": names, "row": row[rows]}).sort_values("row")
        write_table(place / "order.csv", order, ORDER)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "fabricate":
        fabricate(Path(sys.argv[2]))
    else:
        json.dump(measure(sys.argv[1], Path(sys.argv[2])), sys.stdout)
