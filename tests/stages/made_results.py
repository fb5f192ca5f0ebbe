"""Results of two data sets as evaluate writes them: scores that are drawn, images that have one colour each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repose.config import block
from repose.data.images import encode_png
from repose.data.records import write_json, write_table
from repose.data.shards import INDEX_COLUMNS, ShardWriter, index_table
from repose.errors import ReposeError
from repose.evaluation.results import EXAMPLES
from repose.report.tables.settings import TableSettings
from repose.stages import table

ROOT = Path(__file__).parents[2]
PRINTED = ROOT / "table1" / "published.csv"
HEIGHT, WIDTH, PAIRS = 20, 12, 24
METRICS = ["ssim/pg2", "ssim/win51", "torso-ciede2000"]
BASELINE_ROWS = ["real data", "copy source", "mean of sources"]
BLOCK: Mapping[str, Any] = {
    "budget": "demo", "data_sets": {"fashion": "DeepFashion", "street": "Market-1501"},
    "systems": ["pix2pix", "paper-s", "paper-m", "attend"], "metrics": METRICS, "reference": "paper-m",
    "resamples": 300, "confidence": 0.9, "seed": 5, "figure_pairs": 3,
    "multi_source_gains": [["paper-m", "paper-s"], ["attend", "attend, 1 source"], ["mean of sources", "copy source"]],
}  # fmt: skip
PROTOCOL = {
    "split": "pg2-like", "size": f"{HEIGHT}x{WIDTH}", "crop": [1, 2, 13, 22], "pairs": PAIRS, "format": "8-bit RGB",
    "pairs sha256": "a" * 64, "photos sha256": "b" * 64, "keypoints": "SHA-256 " + "c" * 64,
}  # fmt: skip
BETTER = {"ssim/pg2": "higher", "ssim/gaussian11": "higher", "ssim/win51": "higher", "torso-ciede2000": "lower"}
BETTER_RECORDS = {name: {"better": way} for name, way in BETTER.items()}
OCCLUSION = np.arange(PAIRS) / (PAIRS - 1)  # 3 pairs below 0.1, 9 from there to 0.5, 12 above
NO_TORSO = 3  # pairs of the data set


def settings(**changes: Any) -> TableSettings:
    return block({"table": BLOCK | changes}, "table", TableSettings, "params.yaml")


def pair(number: int) -> tuple[str, str]:
    return f"a{number % 7}.jpg", f"b{number}.jpg"


def scores_of(system: str, data: str, level: float) -> pd.DataFrame:
    """Scores that share how hard a pair is, and differ by a level and noise."""
    hard = np.random.default_rng(len(data)).normal(0, 0.1, PAIRS)
    noise = np.random.default_rng([*system.encode(), *data.encode()]).normal(0, 0.01, (PAIRS, 2))
    garment = 20 - 10 * level + 20 * (hard + noise[:, 1])
    garment[:NO_TORSO] = np.nan
    names = [pair(number) for number in range(PAIRS)]
    return pd.DataFrame({
        "system": system, "from": [n[0] for n in names], "to": [n[1] for n in names], "sources": 1,
        "occlusion": OCCLUSION if data == "fashion" else np.nan,
        "ssim/pg2": level + hard + noise[:, 0], "ssim/gaussian11": 0.5, "ssim/win51": level + 0.1 + hard,
        "torso-ciede2000": garment, "split": "pg2-like",
    })  # fmt: skip


def facts_of(system: str) -> dict[str, Any]:
    """The parts of facts.json on numbers and their provenance."""
    systems = {} if system == "baselines" else {system: {"sha256": f"of {system}", "seed": 0, "steps": 800}}
    return {
        "schema": 2, "system": system, **PROTOCOL, "metrics": BETTER_RECORDS,
        "provenance": {"repose": "0", "seed": 0, "systems": systems}, "scores": {},
    }  # fmt: skip


def training(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "paper", "steps": 800, "images": 3200, "seed": 0, "device": "cpu", "precision": "fp32", "perceptual": None,
        "parameters": {"generator": 1234567, "image": 89}, "max_sources": 4, "items_per_step": 2,
        "optimiser": "Adam, learning rate 0.002, betas 0.9 and 0.99", "loss": "l1 1, image 0.001",
    } | changes  # fmt: skip


def grey(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def write_shards(folder: Path, images: Mapping[str, np.ndarray]) -> pd.DataFrame:
    folder.mkdir(parents=True)
    with ShardWriter(folder) as shards:
        return index_table([(name, shards.add(name, encode_png(pixels))) for name, pixels in images.items()])


def write_system(folder: Path, level: float, shade: int, **changes: Any) -> None:
    """What evaluate writes of a system; its images are grey, by the number of the pair and `shade`."""
    images = {
        f"{source}--{to}.png": grey(number + shade) for number, (source, to) in enumerate(map(pair, range(PAIRS)))
    }
    generated = folder / "generated" / folder.name
    write_table(generated / "generated.csv", write_shards(generated, images), INDEX_COLUMNS)
    write_json(folder / "facts.json", facts_of(folder.name) | training(**changes))
    scores_of(folder.name, folder.parent.name, level).to_csv(folder / "pairs.csv", index=False)


def write_baselines(folder: Path) -> None:
    """Four examples: pair 0 with one source, pair 8 with three, and so on."""
    images, shown = {}, []
    for number, sources in ((0, 1), (8, 3), (16, 2), (23, 1)):
        source, to = pair(number)
        for place, what in enumerate([*(f"source {n + 1}" for n in range(sources)), "target pose", "target"]):
            images[f"{number}-{what}.png"] = grey(200 + 10 * place + number % 10)
            shown.append({"from": source, "to": to, "shows": what})
    index = write_shards(folder / "examples", images)
    write_table(folder / "examples" / "examples.csv", pd.concat([pd.DataFrame(shown), index], axis=1), EXAMPLES)
    write_json(folder / "facts.json", facts_of("baselines"))
    rows = [
        scores_of(name, folder.parent.name, level) for name, level in zip(BASELINE_ROWS, (0.9, 0.3, 0.2), strict=True)
    ]
    pd.concat(rows).to_csv(folder / "pairs.csv", index=False)


def write_results(folder: Path) -> Path:
    """All systems on fashion; on street paper-s is not trained."""
    for data in ("fashion", "street"):
        write_baselines(folder / data / "baselines")
        for place, (system, level) in enumerate(
            {"pix2pix": 0.4, "paper-s": 0.5, "paper-m": 0.55, "attend": 0.7}.items()
        ):
            if (data, system) != ("street", "paper-s"):
                write_system(folder / data / system, level, 30 * place + 30, kind=system.split("-")[0])
    return folder


def laid(results: Path, to: Path, published: Path = PRINTED, **changes: Any) -> Path:
    table.run(results=results, published=published, table=to, settings=settings(**changes))
    return to


def fails(results: Path, message: str, **changes: Any) -> None:
    with pytest.raises(ReposeError, match=message):
        laid(results, results.parent / "table", **changes)
    assert not (results.parent / "table").exists()


def change_json(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def change_pairs(path: Path, change: Any) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)
