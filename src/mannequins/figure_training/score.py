"""figure score: score the figure network on mannequins that it was not trained on, against the renderer's ground truth.

    repose figure score --run run --sets raw --metrics metrics.json --speed speed.json

Joints: PCK@0.1 (right within a tenth of the longer side of the box around the joints in sight) over the joints in sight;
joints that the network leaves out are wrong. Garments: the share of photos whose nearest other photo is of the same item.
"""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from mannequins.figure.network import DIGEST, THRESHOLD, WEIGHTS, FigureNetwork, read
from mannequins.figure_training.train import NOBODY, RenderedPhotos
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


def run(*, run: Path, sets: Path, metrics: Path, speed: Path, settings: ScoreSettings) -> None:
    """Score the network in the folder `run` of `figure train`; `sets` has a folder for each set.

    Raises:
        ReposeError: a set or the network is missing, or a set has too few photos to score.
    """
    device = set_up(settings.device, settings.threads, seed=0)
    try:
        sha256 = (run / DIGEST.name).read_text("ascii").split()[0]
    except OSError as error:
        raise ReposeError(
            f"{run / DIGEST.name} cannot be read ({error.strerror}). Give the folder of a finished `figure train`."
        ) from None
    network = read(run / WEIGHTS.name, sha256).to(device)
    scores, speeds = {}, {}
    for name, view in settings.views.items():
        scores[name], speeds[name] = _score(network, RenderedPhotos(sets / view.set), view, settings.batch)
        say(f"figure: {name}: {PCK} {scores[name][PCK]}, retrieval {scores[name]['retrieval']}")
    protocol = {
        "network": "figure",
        "sha256": sha256,
        "pck": f"within {PCK_ALPHA} of the longer side of the box around the joints in sight; joints in sight count",
        "threshold": THRESHOLD,
        "retrieval": "nearest other photo by Euclidean distance of the features, of the same item",
    }
    write_json(metrics, {"protocol": protocol, "scores": scores})
    write_json(speed, {name: {"images_per_second": rate} for name, rate in speeds.items()})


def _score(network: FigureNetwork, photos: RenderedPhotos, view: View, batch: int) -> tuple[dict[str, Any], float]:
    """The scores of the photos of items, and the photos per second of the network, without decoding."""
    rows, seconds = np.flatnonzero(photos.items != NOBODY), 0.0
    frame, items = Frame(view.height, view.width, view.crop), photos.items[rows]
    found, truth = [], []
    for first in range(0, len(rows), batch):
        some = rows[first : first + batch]
        pixels = [photos.pixels(row) for row in some]
        truth += [frame.keypoints(photos.keypoints[r], *image.shape[:2]) for r, image in zip(some, pixels, strict=True)]
        images = torch.from_numpy(np.stack([frame.image(image) for image in pixels])).movedim(3, 1)
        began = time.perf_counter()
        seen = network.find(images)
        found.append((seen.points.cpu().numpy(), seen.features))  # waits for a GPU
        seconds += time.perf_counter() - began
    joints = np.stack(truth)
    with np.errstate(invalid="ignore"):
        inside = np.asarray(((joints > -0.5) & (joints < np.array([view.width, view.height]) - 0.5)).all(-1))
    joints = np.where(inside[..., None], joints, np.nan).astype(np.float32)
    points, features = zip(*found, strict=True)
    retrieved, chance = retrieval(torch.cat(features), items)
    scores = {
        "items": len(np.unique(items)),
        **agreement(np.concatenate(points), joints),
        "retrieval": round(retrieved, 4),
        "retrieval_chance": round(chance, 4),
    }
    return scores, round(len(rows) / seconds, 1)


def retrieval(features: Tensor, items: np.ndarray) -> tuple[float, float]:
    """The share of photos, among those whose item has another, with a nearest photo of their item; and the share by chance.

    From features (n,D) and items (n,).

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
