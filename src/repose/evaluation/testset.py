"""The test pairs of a split, with the metrics to score and the facts to record with each score."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from repose.data import records
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import OCCLUSION
from repose.errors import DataError, ReposeError
from repose.evaluation.examples import Example
from repose.evaluation.results import read_whole, spread
from repose.generate import TARGETS_AT_ONCE, jobs_of_pairs
from repose.metrics import provenance
from repose.metrics.catalogue import Metric, RealPhotos, Task, prepare
from repose.storage.networks import Networks, Weights
from repose.storage.weight_files import WeightsFile


class TestSet(NamedTuple):
    """The test pairs, photos and metrics for all contestants."""

    photos: Photos
    items: pd.DataFrame  # of the test part: part, item, name
    item_of: dict[str, str]  # the item of each of its photos, by name
    pairs: pd.DataFrame  # from, to and occlusion, float64 with NaN if unknown
    facts: dict[str, Any]  # `results.PROTOCOL`
    metrics: list[Metric]
    device: torch.device  # where metrics are computed

    def examples(self, most: int, max_sources: int) -> Iterator[Example]:
        """Yield at most `most` pairs, evenly spread, each with a maximum number of sources."""
        few = self.pairs.iloc[spread(len(self.pairs), most)]
        for job in jobs_of_pairs(few, self.items, max_sources):
            sources, target = self.photos.load(job.sources), self.photos.load([job.target])
            shown = {f"source {number}": pixels for number, pixels in enumerate(sources.pixels, 1)}
            shown |= {"target pose": PALETTE[target.maps[0]], "target": target.pixels[0]}
            yield Example(job.sources[0], job.target, shown)


def read_test_set(
    *, images: Path, keypoints: Path, posemaps: Path, split: Path, metrics: Sequence[str],
    weights: Mapping[str, WeightsFile], max_pairs: int | None, device: torch.device,
) -> TestSet:  # fmt: skip
    """Return the test pairs of the folder `split`, with metrics that are ready to score.

    The folders are those that the stages write. `metrics` are named as in `metrics.catalogue`; the files of their networks are
    `weights` or in the cache. Of more than `max_pairs` pairs, evenly spread ones are taken.

    Raises:
        ReposeError: a file is missing or damaged, there are no pairs, or a metric cannot be computed for these images.
    """
    photos = Photos(images=images, keypoints=keypoints, posemaps=posemaps, cache_megabytes=64)
    items = records.read_table(split / "items.csv", records.ITEMS)
    tested, pairs = items[items["part"] == "test"], _read_pairs(split / "test-pairs.csv", max_pairs)
    item_of = dict(zip(tested["name"], tested["item"], strict=True))
    if unknown := [name for end in records.PAIRS for name in pairs[end] if name not in item_of]:
        raise DataError(
            f"{split / 'test-pairs.csv'} has a pair of {unknown[0]}, which is not a test photo in items.csv. Run `dvc repro "
            "split` again."
        )
    task = Task(
        photos.frame.height, photos.frame.width, [item_of[source] for source in pairs["from"]],
        Networks(Weights(weights), device), lambda part: _real_photos(photos, items[items["part"] == part], device),
    )  # fmt: skip
    facts = {
        "split": read_whole(split / "split.json", ["mode"], "Run `dvc repro split` again.")["mode"],
        "pairs": len(pairs),
        "size": f"{photos.frame.height}x{photos.frame.width}",
        "crop": list(crop) if isinstance(crop := photos.frame.crop, tuple) else crop,
        "format": provenance.FORMAT,
        **_digests(images, keypoints, item_of, pairs),
    }
    return TestSet(photos, tested, item_of, pairs, facts, prepare(metrics, task), device)


def to_device(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) uint8 on the device."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 1).to(device)


def _read_pairs(path: Path, most: int | None) -> pd.DataFrame:
    table = records.read_table(path, (*records.PAIRS, OCCLUSION))
    if table.empty:
        raise ReposeError(f"{path} has no pairs to evaluate. See the block split in params.yaml.")
    table = table.assign(**{OCCLUSION: records.shares(table, OCCLUSION, path)})
    return table if most is None else table.iloc[spread(len(table), most)].reset_index(drop=True)


def _real_photos(photos: Photos, items: pd.DataFrame, device: torch.device) -> Iterator[RealPhotos]:
    for first in range(0, len(items), TARGETS_AT_ONCE):
        some = items.iloc[first : first + TARGETS_AT_ONCE]
        yield RealPhotos(to_device(photos.load(list(some["name"])).pixels, device), list(some["item"]))


def _digests(images: Path, keypoints: Path, item_of: Mapping[str, str], pairs: pd.DataFrame) -> dict[str, str]:
    """Return the SHA-256 of the pairs, of the test photos' files and of their keypoints.

    Keypoints that a network found are identified by the network and its settings: their last digits differ between
    processors.
    """
    parts = records.part_names(images)
    table = records.read_parts(images, parts, "images.csv", records.IMAGES)
    files = table.loc[table["name"].isin(item_of), ["name", "sha256"]].sort_values("name")
    photos, joints, _ = records.read_parts_keypoints(keypoints, parts)
    points = sorted((name, own.tolist()) for name, own in zip(photos, joints, strict=True) if name in item_of)
    of_pairs = zip(pairs["from"], pairs["to"], strict=True)
    return {
        "pairs sha256": provenance.digest(f"{source},{target},{item_of[source]}" for source, target in of_pairs),
        "photos sha256": provenance.digest(f"{name},{sha256}" for name, sha256 in files.itertuples(index=False)),
        "keypoints": _found_by(keypoints, parts)
        or f"SHA-256 {provenance.digest(f'{name},{own}' for name, own in points)}",
    }


def _found_by(keypoints: Path, parts: Sequence[str]) -> str:
    """Return the network that found the keypoints, with its settings; empty if they are from files."""
    reports = [records.read_json(path) for path in records.part_files(keypoints, parts, "report.json")]
    return "; ".join(dict.fromkeys(provenance.in_words(r["found_by"]) for r in reports if "found_by" in r))
