"""A run as other stages leave it, with made-up scores and images, over the tiny data."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from made_results import write_shards

from repose.config import block
from repose.data.records import write_json, write_table
from repose.data.shards import INDEX_COLUMNS
from repose.evaluation.results import COPY, MEAN, with_one_source
from repose.metrics.provenance import SCHEMA
from repose.report.gates import GatesSettings
from repose.stages import report
from repose.stages.report import Folders, ReportSettings
from tiny import HEIGHT, SYSTEMS, WIDTH, Data, params

PUBLISHED = Path(__file__).parents[2] / "table1" / "published.csv"
ROWS = {COPY: 1, MEAN: 4, "paper-m": 4, with_one_source("paper-m"): 1, "attend": 4}  # with the most sources of each
BY_PAIR = ("ssim/pg2", "torso-ciede2000")
WHOLE = "frechet/figure"  # of all images of a row together
REPORTS = ("validate", "keypoints", "split")


def made_run(data: Data, folder: Path) -> Path:
    """Write runs/, results/, reports/ and metrics.json into a folder."""
    random = np.random.default_rng(4)
    pairs = pd.read_csv(data.split / "test-pairs.csv", dtype=str, keep_default_na=False)
    photos = pd.read_csv(data.split / "items.csv").groupby("item")["name"].agg(list)
    others = {name: len(names) - 1 for names in photos for name in names}
    tables = []
    for row, most in ROWS.items():
        scores = {name: random.uniform(0, 30 if name == "torso-ciede2000" else 1, len(pairs)) for name in BY_PAIR}
        scores["torso-ciede2000"][3] = np.nan
        sources = [min(most, others[name]) for name in pairs["from"]]
        tables.append(pairs.assign(system=row, sources=sources, **scores, split="pg2-like"))
    table = pd.concat(tables)[["system", "from", "to", "occlusion", "sources", *BY_PAIR, "split"]]
    (folder / "results").mkdir(parents=True)
    table.to_csv(folder / "results" / "pairs.csv", index=False)
    means = table.groupby("system", sort=False)[list(BY_PAIR)].mean()
    scores = {
        row: {**of.to_dict(), "torso-ciede2000 pairs": float(len(pairs) - 1), WHOLE: 40.0 + place}
        for place, (row, of) in enumerate(means.iterrows())
    }
    facts = {"split": "pg2-like", "pairs": len(pairs), "size": f"{HEIGHT}x{WIDTH}", "crop": [16.0, 0.0, 240.0, 256.0]}
    better = {"ssim/pg2": "higher", "torso-ciede2000": "lower", WHOLE: "lower"}
    record = {
        "schema": SCHEMA, "protocol": facts | {"pairs sha256": "0123456789abcdef" * 4},
        "metrics": {name: {"better": way} for name, way in better.items()}, "scores": scores,
    }  # fmt: skip
    write_json(folder / "metrics.json", record)
    for number, system in enumerate(SYSTEMS):
        _write_generated(folder / "results" / "generated" / system, pairs, number)
        _write_training(folder / "runs" / system)
    shutil.copytree(data.split.parent / "reports", folder / "reports")
    return folder


def made_image(system: int, pair: int) -> np.ndarray:
    """What a system made of a pair, both by their places: one colour."""
    return np.full((HEIGHT, WIDTH, 3), (60 + 100 * system, 10 * pair, 90), np.uint8)


def _write_generated(folder: Path, pairs: pd.DataFrame, system: int) -> None:
    names = (pairs["from"] + "--" + pairs["to"] + ".png").tolist()
    images = {name: made_image(system, pair) for pair, name in enumerate(names)}
    write_table(folder / "generated.csv", write_shards(folder, images), INDEX_COLUMNS)


def _write_training(folder: Path) -> None:
    folder.mkdir(parents=True)
    record = {
        "system": folder.name, "steps": 1200, "images": 4800, "seed": 0, "device": "cpu", "precision": "fp32", "processes": 1,
        "perceptual": None, "parameters": {"generator": 123_456, "judge": 789},
    }  # fmt: skip
    write_json(folder / "run.json", record)
    (folder / "history.csv").write_text("step,l1,copied\n400,0.5,0.25\n800,0.25,0.125\n1200,0.2,0.1\n")
    (folder / "model.safetensors").write_bytes(bytes(2_500_000))


def reported(data: Data, run: Path, to: Path, **changes: Any) -> str:
    """The page of a run, written into the folder `to`."""
    read = params(**{f"report__{key}": value for key, value in changes.items()})
    report.run(
        folders=Folders(*data, run / "runs", run / "results", tuple(run / "reports" / name for name in REPORTS)),
        metrics=run / "metrics.json", published=PUBLISHED, report=to,
        settings=block(read, "report", ReportSettings, "params.yaml"),
        gates=block(read, "gates", GatesSettings, "params.yaml"),
    )  # fmt: skip
    return (to / "report.html").read_text("utf-8")
