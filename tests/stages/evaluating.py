"""The stage evaluate on two test garments of 64x56 px."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from repose.data.photos import Photos
from repose.data.records import ITEMS, PAIRS, read_table
from repose.evaluation.settings import EvaluateSettings
from repose.generate import Job, jobs_of_pairs
from repose.stages import evaluate
from tiny import Data, settings

QUICK: dict[str, Any] = {"metrics": ["ssim/pg2", "torso-ciede2000"], "pairs": 2, "picture_pairs": 1}
COUNT = 20  # test pairs
FACTS = {
    "split": "pg2-like",
    "pairs": COUNT,
    "size": "64x56",
    "crop": [16, 0, 240, 256],
    "format": "8-bit RGB; kept as PNG",
}
Before = tuple[Path, dict[str, bytes]]  # a folder with earlier results, and their bytes
SCORES = ["ssim/pg2", "ssim/gaussian11", "ssim/win51", "mask-ssim/pg2", "psnr", "torso-ciede2000"]


def evaluated(data: Data, runs: Path, folder: Path, **changes: Any) -> Path:
    evaluate.run(
        folders=data.to_evaluate(runs), results=folder / "results", metrics=folder / "metrics.json",
        settings=settings("evaluate", EvaluateSettings, **changes),
    )  # fmt: skip
    return folder


def alone(data: Data, runs: Path, results: Path, system: str, **changes: Any) -> Path:
    evaluate.run(
        folders=data.to_evaluate(runs), results=results, system=system,
        settings=settings("evaluate", EvaluateSettings, **changes),
    )  # fmt: skip
    return results


def pairs_of(done: Path, system: str) -> pd.DataFrame:
    table = pd.read_csv(done / "results" / "pairs.csv")
    return table[table["system"] == system].reset_index(drop=True)


def photos_of(data: Data) -> Photos:
    return Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)


def jobs_of(data: Data, max_sources: int) -> list[Job]:
    items, pairs = read_table(data.split / "items.csv", ITEMS), read_table(data.split / "test-pairs.csv", PAIRS)
    return jobs_of_pairs(pairs, items[items["part"] == "test"], max_sources)


def with_pairs(data: Data, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Data:
    """The data with other test pairs."""
    shutil.copytree(data.split, folder / "split")
    file = folder / "split" / "test-pairs.csv"
    change(pd.read_csv(file)).to_csv(file, index=False)
    return data._replace(split=folder / "split")
