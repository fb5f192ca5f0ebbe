"""The results of one system on one data set, written by the stage evaluate and read by the stage table.

A folder of results has pairs.csv, facts.json and generated/SYSTEM/; that of the baselines has examples/ instead of the last.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from repose.data.records import OCCLUSION, read_json, read_table
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.errors import ReposeError
from repose.metrics.by_pair import read_pairs
from repose.metrics.provenance import SCHEMA, Better

BASELINES = "baselines"  # the baselines' folder of results
COPY, MEAN, REAL = "copy source", "mean of sources", "real data"  # its rows
TORSO_CIEDE2000 = "torso-ciede2000"
# Facts that comparable results share; the last three identify the test data.
PROTOCOL = ("split", "size", "crop", "pairs", "format", "pairs sha256", "photos sha256", "keypoints")
RECORD = ("metrics", "provenance", "scores")  # facts about the scores, by metric, by their software, and by row
TRAINING = (
    "kind", "steps", "images", "seed", "device", "precision", "perceptual", "parameters", "max_sources",
    "items_per_step", "optimiser", "loss",
)  # fmt: skip
# A table of images of a few pairs: `shows` is source 1, source 2, ..., target pose or target.
EXAMPLES = ("from", "to", "shows", *INDEX_COLUMNS)


class Result(NamedTuple):
    """A folder of results: its facts, and a row of scores for each pair (for baselines, several)."""

    facts: dict[str, Any]
    pairs: pd.DataFrame


def image_name(source: str, target: str) -> str:
    """Return the file name of a system's image of a pair."""
    return f"{source}--{target}.png"


def read_generated(folder: Path, pairs: Iterable[Sequence[str]]) -> ShardReader:
    """Return a system's images, by `image_name`, from the folder that evaluate wrote.

    Raises:
        ReposeError: the table of the images is missing or damaged, or lacks one of the pairs (source, target).
    """
    images = ShardReader(folder, read_table(folder / "generated.csv", INDEX_COLUMNS))
    if missing := [name for pair in pairs if (name := image_name(*pair)) not in images]:
        raise ReposeError(
            f"{folder} lacks the image of {len(missing):,} pair(s), such as {missing[0]}. Run `dvc repro evaluate`."
        )
    return images


def with_one_source(system: str) -> str:
    """Return the name of the row of a system with only the pair's source."""
    return f"{system}, 1 source"


def read_whole(path: Path, keys: Sequence[str], advice: str) -> dict[str, Any]:
    """Read a JSON file of a stage that must have all these keys; `advice` says how to write it again.

    Raises:
        ReposeError: the file is missing or damaged, or was written by another version of repose.
    """
    found = read_json(path)
    missing = [name for name in keys if not isinstance(found, dict) or name not in found]
    if missing:
        raise ReposeError(f"{path} lacks {', '.join(missing)}: another version of repose wrote it. {advice}")
    return dict(found)


def read_result(folder: Path) -> Result:
    """Read what evaluate wrote for one system, or for the baselines.

    Raises:
        ReposeError: a file is missing or damaged, or lacks a required fact or column.
    """
    path, advice = folder / "facts.json", "Run `repose evaluate` on it again."
    training = TRAINING if folder.name != BASELINES else ()
    facts = read_whole(path, ("schema", "system", *PROTOCOL, *RECORD, *training), advice)
    if facts["schema"] != SCHEMA:
        raise ReposeError(f"{path} has schema {facts['schema']}, but this version of repose reads {SCHEMA}. {advice}")
    if facts["system"] != folder.name:
        raise ReposeError(f"{folder} holds the results of {facts['system']}: its folder should have that name.")
    pairs = read_pairs(folder / "pairs.csv", OCCLUSION)
    if not np.isfinite(pairs.get(TORSO_CIEDE2000, [])).any():
        raise ReposeError(
            f"{folder / 'pairs.csv'} has no {TORSO_CIEDE2000}, which every table with SSIM needs. Test on pairs "
            "whose shoulders and hips are known (split.posed: torso), and evaluate again."
        )
    return Result(facts, pairs)


def spread(pairs: int, most: int) -> list[int]:
    """Return the positions of at most `most` pairs, evenly spread over all."""
    places: list[int] = np.linspace(0, pairs - 1, min(most, pairs)).round().astype(int).tolist()
    return places


def drawn(pairs: int, most: int, seed: int, without: list[int]) -> list[int]:
    """Return at most `most` other pairs, drawn uniformly, in the order of the pairs."""
    others = np.setdiff1d(np.arange(pairs), without)
    chosen: list[int] = np.random.default_rng(seed).choice(others, min(most, len(others)), replace=False).tolist()
    return sorted(chosen)


def extremes(scores: np.ndarray, better: Better, most: int) -> tuple[list[int], list[int]]:
    """Return the pairs with the best scores, best first, and with the worst, worst first; none is in both.

    NaNs are ignored; of equal scores, the earlier pair comes first.
    """
    there = np.flatnonzero(np.isfinite(scores))
    values = scores[there] * (-1 if better == "higher" else 1)
    best: list[int] = there[np.argsort(values, kind="stable")][:most].tolist()
    worst: list[int] = there[np.argsort(-values, kind="stable")].tolist()
    return best, [place for place in worst if place not in best][:most]
