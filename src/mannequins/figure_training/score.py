"""figure score: score the figure network on mannequins that it was not trained on, against the renderer's ground truth.

    repose figure score --run run --sets raw --metrics metrics.json --speed speed.json

Joints: PCK@0.1 (right within a tenth of the longer side of the box around the joints in sight) over the joints in sight;
joints that the network leaves out are wrong. Garments: the share of photos whose nearest other photo is of the same item.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from mannequins.figure.network import DIGEST, THRESHOLD, WEIGHTS, FigureNetwork, read
from mannequins.figure_training.photos import NOBODY, RenderedPhotos
from repose.config import settings
from repose.data.frame import Crop, Frame
from repose.data.records import write_json
from repose.devices import set_up
from repose.errors import ReposeError
from repose.metrics.retrieval import nearest, retrieval_chance
from repose.pose.agreement import PCK, agreement
from repose.pose.pck import PCK_ALPHA
from repose.terminal import say


@settings
class View:
    """One set of photos at one size."""

    set: str  # name of a folder of rendered photos
    height: PositiveInt  # px
    width: PositiveInt  # px
    crop: Crop | None  # left, top, right, bottom in px of the photo; null: all of it


@settings
class ScoreSettings:
    """The block `score` of figure/params.yaml."""

    views: Annotated[dict[str, View], Field(min_length=1)]  # what is scored, by its name in the metrics
    batch: PositiveInt  # photos at a time
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    threads: PositiveInt  # CPU threads of torch


@dataclass(frozen=True)
class Found:
    """The ground truth of photos, and the network's results."""

    truth: np.ndarray  # (n,K,2) float32 px, NaN where not in sight
    items: np.ndarray  # (n,) int64
    points: np.ndarray  # (n,K,2) float32 px, NaN where not found
    features: Tensor  # (n,D)
    seconds: float  # of the network, without decoding


def run(*, run: Path, sets: Path, metrics: Path, speed: Path, settings: ScoreSettings) -> None:
    """Score the network in the folder `run` of `figure train`; `sets` has a folder for each set.

    Raises:
        ReposeError: a set or the network is missing, or a set has too few photos to score.
    """
    device = set_up(settings.device, settings.threads, seed=0)
    sha256 = (run / DIGEST.name).read_text("ascii").split()[0]
    network = read(run / WEIGHTS.name, sha256).to(device)
    found = {
        name: _found(network, RenderedPhotos(sets / view.set), view, settings.batch)
        for name, view in settings.views.items()
    }
    scores = {name: _scores(f) for name, f in found.items()}
    write_json(metrics, {"protocol": _protocol(sha256), "scores": scores})
    write_json(speed, {name: {"images_per_second": round(len(f.items) / f.seconds, 1)} for name, f in found.items()})
    for name, of_view in scores.items():
        say(f"figure: {name}: {PCK} {of_view[PCK]}, retrieval {of_view['retrieval']}")


def _found(network: FigureNetwork, photos: RenderedPhotos, view: View, batch: int) -> Found:
    rows = [row for row in range(len(photos)) if photos.items[row] != NOBODY]
    frame = Frame(view.height, view.width, view.crop)
    points, features, truth, seconds = [], [], [], 0.0
    for images, joints in _batches(photos, rows, frame, batch):
        began = time.perf_counter()
        seen = network.find(images)
        points.append(seen.points.cpu().numpy())  # waits for a GPU
        seconds += time.perf_counter() - began
        features.append(seen.features)
        truth.append(joints)
    return Found(np.concatenate(truth), photos.items[rows], np.concatenate(points), torch.cat(features), seconds)


def _batches(photos: RenderedPhotos, rows: list[int], frame: Frame, batch: int) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield images (b,3,H,W) uint8 in the frame, and their joints in sight (b,K,2)."""
    for first in range(0, len(rows), batch):
        pixels = [photos.pixels(row) for row in rows[first : first + batch]]
        known = photos.keypoints[rows[first : first + batch]]
        joints = np.stack([frame.keypoints(of, *image.shape[:2]) for of, image in zip(known, pixels, strict=True)])
        with np.errstate(invalid="ignore"):
            inside = np.asarray(((joints > -0.5) & (joints < np.array([frame.width, frame.height]) - 0.5)).all(-1))
        images = np.stack([frame.image(image) for image in pixels])
        yield torch.from_numpy(images).movedim(3, 1), np.where(inside[..., None], joints, np.nan).astype(np.float32)


def _protocol(sha256: str) -> dict[str, Any]:
    return {
        "network": "figure",
        "sha256": sha256,
        "pck": f"within {PCK_ALPHA} of the longer side of the box around the joints in sight; joints in sight count",
        "threshold": THRESHOLD,
        "retrieval": "nearest other photo by Euclidean distance of the features, of the same item",
    }


def _scores(found: Found) -> dict[str, Any]:
    retrieved, chance = retrieval(found.features, found.items)
    return {
        "items": len(np.unique(found.items)),
        **agreement(found.points, found.truth),
        "retrieval": round(retrieved, 4),
        "retrieval_chance": round(chance, 4),
    }


def retrieval(features: Tensor, items: np.ndarray) -> tuple[float, float]:
    """The share of photos, among those whose item has another, with a nearest photo of their item; and the share by chance.

    Args:
        features: (n,D).
        items: (n,).

    Raises:
        ReposeError: no item has two photos.
    """
    numbers, counts = np.unique(items, return_counts=True)
    right, chance = [], []
    for row in np.flatnonzero(np.isin(items, numbers[counts > 1])):
        others = np.delete(np.arange(len(items)), row)
        found = int(nearest(features[row : row + 1], features[torch.from_numpy(others).to(features.device)])[0])
        right.append(items[others[found]] == items[row])
        chance.append(retrieval_chance(items[row : row + 1], items[others])[0])
    if not right:
        raise ReposeError("No item has two photos: retrieval cannot be scored. Render more views of each item.")
    return float(np.mean(right)), float(np.mean(chance))
