"""The model that comes with repose on photos of people: as it is, trained further, and trained from random weights.

python -m benchmarks.finetune [--steps N] [--work FOLDER]

The photos are those of DeepFashion beside the project (../shared/data/deepfashion-sample), by its joints: 68 garments for
training, 25 pairs of 23 others for testing, one source each, 256x176. Without them there is nothing to do. `surface-tuned` is
the row of params.yaml; `from scratch` is the same with random first weights and a higher learning rate. Prints the mean scores
and the processor time of each training on one core. FOLDER keeps the runs and the picture; an interrupted run resumes.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from repose.data.images import decode, to_tensor
from repose.data.photos import Photos
from repose.data.records import PAIRS, read_table
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.models.lite0 import Lite0

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT.parent / "shared" / "data" / "deepfashion-sample"
SYSTEMS = ("surface", "surface-tuned", "from-scratch")
IMAGES, KEYPOINTS, MAPS = "--images data/images", "--keypoints data/keypoints", "--posemaps data/posemaps"
DATA = f"{IMAGES} {KEYPOINTS} {MAPS} --split data/split"
STAGES = (
    "download --raw data/raw --transfers transfers",
    f"validate --raw data/raw {IMAGES} --report reports/validate",
    f"keypoints --lists data/raw/lists {IMAGES}/0 {KEYPOINTS}/0 --report reports/keypoints --work found",
    f"posemaps {IMAGES}/0 {KEYPOINTS}/0 {MAPS}/0",
    f"split --lists data/raw/lists {IMAGES} {KEYPOINTS} --split data/split --report reports/split",
)


def main() -> None:
    """Train, score and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--steps", type=int, default=800, help="of both trainings; 800 are about 10 CPU minutes")
    arguments.add_argument("--work", type=Path, help="folder that keeps the runs")
    given = arguments.parse_args()
    if not SAMPLE.is_dir():
        print(f"There is no {SAMPLE}.")
        return
    with tempfile.TemporaryDirectory() as made:
        work = given.work or Path(made)
        work.mkdir(parents=True, exist_ok=True)
        (work / "params.yaml").write_text(yaml.safe_dump(params(given.steps)))
        for stage in STAGES if not (work / "data" / "split").exists() else ():
            seconds(work, stage)
        for system in SYSTEMS:
            took = seconds(work, f"train {system} {DATA} --run runs/{system} --work unfinished")
            print(f"{system}: {took / 60:.1f} CPU minutes, start included")
        seconds(work, f"evaluate {DATA} --runs runs --results results --metrics metrics.json")
        table = pd.read_csv(work / "results" / "table.csv", index_col="system")
        print(table[["ssim/gaussian11", "torso-ciede2000"]].assign(perceptual=perceptual(work)).drop("mean of sources"))


def params(steps: int) -> dict[str, Any]:
    """The project's params with what differs for these photos."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    found["download"] |= {"source": "deepfashion", "origins": [{"address": str(SAMPLE)}]}
    found["validate"] |= {"parts": [0]}
    found["keypoints"] |= {"extractor": "posegan-csv"}
    found["posemaps"] |= {"height": 256, "width": 176, "line_width": 4}
    found["split"] |= {"mode": "patn", "pairs": "pairs.csv", "test_share": 0.25}
    found["train"]["perceptual"] |= {"network": "lite0"}
    found["train"] |= {"sample_every": 0}
    found["evaluate"] |= {"systems": list(SYSTEMS), "pairs": None, "threads": 1, "picture_pairs": 25}
    rows = found["systems"]
    rows["surface-tuned"]["steps"] = steps
    for name in ("surface", "surface-tuned"):
        rows[name] |= {"generator": {"reduce": 2, "unlike_training": name == "surface"}, "max_sources": 1}
    optimiser = rows["surface-tuned"]["optimiser"] | {"learning_rate": 0.001}
    rows["from-scratch"] = rows["surface-tuned"] | {"init": None, "optimiser": optimiser}
    return found


def seconds(work: Path, command: str) -> float:
    """The processor time of a command of repose."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([Path(sys.executable).with_name("repose"), *command.split()], cwd=work, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def perceptual(work: Path) -> "pd.Series[float]":
    """The mean distance of EfficientNet-Lite0's features of each row from the target's: squared, a sum over channels."""
    data = work / "data"
    photos = Photos(images=data / "images", keypoints=data / "keypoints", posemaps=data / "posemaps")
    pairs = read_table(data / "split" / "test-pairs.csv", PAIRS)
    source, target = (photos.load(list(pairs[end])).pixels for end in PAIRS)
    rows = {"copy source": source}
    for system in SYSTEMS:
        folder = work / "results" / "generated" / system
        files = ShardReader(folder, read_table(folder / "generated.csv", INDEX_COLUMNS))
        names = [f"{pair[0]}--{pair[1]}.png" for pair in pairs[list(PAIRS)].itertuples(index=False)]
        rows[system] = np.stack([decode(files[name]) for name in names])
    network = Lite0().eval()
    with torch.no_grad():
        expected = network(to_tensor(target))
        found = {row: network(to_tensor(pixels)) for row, pixels in rows.items()}
    return pd.Series(
        {
            row: sum(float((a - b).square().sum(1).mean()) for a, b in zip(maps, expected, strict=True)) / len(maps)
            for row, maps in found.items()
        }
    )


if __name__ == "__main__":
    main()
