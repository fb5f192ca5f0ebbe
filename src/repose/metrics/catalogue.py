"""The metrics that evaluate computes, by name: `metric/protocol`, such as ssim/pg2+white-40 or fid/inception-tf-2015.

A metric scores each pair (SSIM: a column and its mean) or all images of a system together (FID: one number). Both take images
in batches and keep at most a thousand numbers per image. Before any image is generated, `prepare` rejects unknown protocols,
too small or too few images, and missing weights.

To add a network, add its name and what loads it to FEATURES.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from repose.config import nearest
from repose.errors import ReposeError
from repose.metrics.batches import protocol_of
from repose.metrics.frechet import FeatureStatistics, frechet_distance
from repose.metrics.inception_score import INCEPTION_PROTOCOLS, InceptionScore
from repose.metrics.mask_ssim import MASK_SSIM_PROTOCOLS, mask_ssim, pose_mask
from repose.metrics.networks import FIGURE, INCEPTION, Figure, Inception, Lpips
from repose.metrics.provenance import Better
from repose.metrics.psnr import psnr
from repose.metrics.retrieval import nearest as nearest_photo
from repose.metrics.retrieval import retrieval_chance
from repose.metrics.ssim import SSIM_PROTOCOLS, split_protocol, ssim
from repose.metrics.torso_ciede2000 import torso_ciede2000
from repose.storage.networks import Classifier, DistanceNetwork, FeatureNetwork, Load, Network, Networks

TORSO_CIEDE2000 = "torso-ciede2000"

FID: dict[str, Load[FeatureNetwork]] = {INCEPTION: Inception}  # fid/NAME; other networks are for frechet
FEATURES: dict[str, Load[FeatureNetwork]] = {FIGURE: Figure}  # frechet/NAME
RETRIEVAL = ChainMap(FEATURES, FID)  # recall@1/NAME
CLASSIFIER: Load[Classifier] = Inception  # is, mask-is
DISTANCES: dict[str, Load[DistanceNetwork]] = {"alex": Lpips}  # lpips/NAME
REAL_PARTS = ("train", "test")  # parts with the real photos of a Fréchet distance; the first is the default
MASK = "pg2"  # the mask of mask-is


class Batch(NamedTuple):
    """Generated images with their targets."""

    generated: Tensor  # (B, 3, H, W) uint8
    target: Tensor  # likewise
    keypoints: np.ndarray  # (B, K, 2) float32, of the targets in px, NaN for missing
    items: Sequence[str]  # the item that each image should show


class RealPhotos(NamedTuple):
    """A batch of real photos."""

    images: Tensor  # (B, 3, H, W) uint8
    items: Sequence[str]


@dataclass(frozen=True)
class Task:
    """The facts about the scored images that a metric needs in advance."""

    height: int  # px of the images
    width: int
    items: Sequence[str]  # the item of each pair
    networks: Networks
    real: Callable[[str], Iterable[RealPhotos]]  # the real photos of a part of the split, in batches


class OfPairs(NamedTuple):
    """The computation of a metric of pairs."""

    score: Callable[[Batch], np.ndarray]  # (B,) float64, NaN for a pair without a score
    facts: dict[str, Any]  # facts to record with a score, except its name


class Growing(NamedTuple):
    """A score of all images of a system, which arrive in batches."""

    update: Callable[[Batch], None]
    scores: Callable[[], dict[str, float]]  # by the suffix of the metric's name: "" for the score itself


class OfSet(NamedTuple):
    """The computation of a metric of all images together."""

    start: Callable[[], Growing]  # a new one for each system
    facts: dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A metric under one protocol."""

    name: str  # metric/protocol
    better: Better
    about: str  # a clause for the table's page
    left_out: str  # which pairs have no score; empty if every pair has one
    how: OfPairs | OfSet = field(repr=False)

    @property
    def record(self) -> dict[str, Any]:
        """The facts to record with a score in a file of results."""
        return {"better": self.better, **self.how.facts}


def prepare(names: Sequence[str], task: Task) -> list[Metric]:
    """Return metrics that are ready to score, with loaded networks and the features of real photos.

    Raises:
        ReposeError: a metric is unknown, or cannot be computed for these images.
    """
    found = []
    for name in names:
        kind, protocol = parsed(name)
        found.append(Metric(name, kind.better, kind.about, kind.left_out, kind.prepare(protocol, task)))
    return found


# ---- of pairs ----


def _check_size(protocol: str, task: Task) -> None:
    blank = torch.zeros((1, 3, task.height, task.width), dtype=torch.uint8)
    ssim(blank, blank, protocol)  # rejects images that are too small


def _ssim(protocol: str, task: Task) -> OfPairs:
    _check_size(protocol, task)
    return OfPairs(lambda batch: ssim(batch.generated, batch.target, protocol).cpu().numpy(), {})


def _mask_ssim(protocol: str, task: Task) -> OfPairs:
    _check_size(protocol, task)
    return OfPairs(lambda batch: mask_ssim(batch.generated, batch.target, batch.keypoints, protocol).cpu().numpy(), {})


def _psnr(_: str, __: Task) -> OfPairs:
    def score(batch: Batch) -> np.ndarray:
        values = psnr(batch.generated, batch.target).cpu().numpy()
        return np.where(np.isinf(values), np.nan, values)

    return OfPairs(score, {})


def _torso_ciede2000(_: str, __: Task) -> OfPairs:
    return OfPairs(lambda batch: torso_ciede2000(batch.generated, batch.target, batch.keypoints), {})


def _lpips(protocol: str, task: Task) -> OfPairs:
    network = task.networks.get(DISTANCES[protocol])
    if min(task.height, task.width) < network.least:
        raise ReposeError(
            f"lpips/{protocol} needs images of at least {network.least} px per side, not {task.width}x{task.height} (width x "
            "height). Remove it from evaluate.metrics, or use a larger size (block posemaps)."
        )

    def score(batch: Batch) -> np.ndarray:
        return network.distance(batch.generated, batch.target).double().cpu().numpy()

    return OfPairs(score, _facts(network))


def _retrieval(protocol: str, task: Task) -> OfPairs:
    network, features, items = task.networks.get(RETRIEVAL[protocol]), [], list[str]()
    for photos in task.real("test"):
        features.append(network.features(photos.images).double())
        items += photos.items
    gallery, of_photo = torch.cat(features), np.array(items)
    chance = float(retrieval_chance(task.items, of_photo).mean())

    def score(batch: Batch) -> np.ndarray:
        found = nearest_photo(network.features(batch.generated), gallery).cpu().numpy()
        return np.asarray(of_photo[found] == np.array(batch.items), np.float64)

    return OfPairs(score, _facts(network, real="test", photos=len(items), chance=float(f"{chance:.6g}")))


# ---- of all images ----


def _inception_score(protocol: str, task: Task, *, masked: bool = False) -> OfSet:
    """The Inception Score of images; with `masked`, of images that are black outside the target person's mask."""
    images = len(task.items)
    InceptionScore(images, protocol)  # rejects fewer images than splits
    network = task.networks.get(CLASSIFIER)

    def start() -> Growing:
        growing = InceptionScore(images, protocol)

        def update(batch: Batch) -> None:
            seen = batch.generated
            if masked:
                points = torch.as_tensor(batch.keypoints, device=seen.device)
                seen = seen * pose_mask(points, height=seen.shape[-2], width=seen.shape[-1], protocol=MASK)[:, None]
            growing.update(network.logits(seen))

        return Growing(update, lambda: dict(zip(("", " deviation"), growing.score(), strict=True)))

    return OfSet(start, _facts(network, **({"mask": MASK} if masked else {})))


def _frechet(protocol: str, task: Task) -> OfSet:
    name, part = _network_and_part(protocol)
    network = task.networks.get(RETRIEVAL[name])
    real = FeatureStatistics(f"the real photos ({part})")
    for photos in task.real(part):
        real.update(network.features(photos.images))
    real.moments()  # rejects fewer than two photos
    if len(task.items) < 2:
        raise ReposeError(f"A Fréchet distance needs at least two generated images, but there is {len(task.items)}.")

    def start() -> Growing:
        generated = FeatureStatistics("the generated images")
        return Growing(
            lambda batch: generated.update(network.features(batch.generated)),
            lambda: {"": frechet_distance(generated, real)},
        )

    return OfSet(start, _facts(network, real=part, photos=real.count))


def _facts(network: Network, **others: Any) -> dict[str, Any]:
    return {"networks": dict(network.sha256), **others}


# ---- names ----


def parsed(name: str) -> tuple["Kind", str]:
    """Return the metric of a name and its protocol. Raises a ReposeError if the metric or its protocol is unknown."""
    metric, slash, protocol = name.partition("/")
    if metric not in _KINDS:
        raise ReposeError(f"There is no metric {metric!r}{nearest(metric, list(_KINDS))}")
    kind = _KINDS[metric]
    if kind.protocols is None:
        if slash:
            raise ReposeError(f"{metric} has only one protocol: write {metric}, not {name}.")
    else:
        base, plus, _ = protocol.partition("+")
        protocol_of(kind.protocols, base, metric)
        if plus and kind.check_suffix is None:
            raise ReposeError(
                f"The protocol {protocol!r} has a part after +, but only ssim (a border), fid and frechet (real photos) take "
                "one."
            )
        if kind.check_suffix:
            kind.check_suffix(protocol)
    return kind, protocol


def _network_and_part(protocol: str) -> tuple[str, str]:
    """Return the network, and the part of the split with the real photos."""
    network, plus, part = protocol.partition("+")
    if plus and part not in REAL_PARTS:
        raise ReposeError(
            f"The protocol {protocol!r} has the unknown part {part!r}: the real photos are of {' or '.join(REAL_PARTS)}."
        )
    return network, part or REAL_PARTS[0]


class Kind(NamedTuple):
    """A metric with all its protocols."""

    better: Better
    about: str
    prepare: Callable[[str, Task], OfPairs | OfSet]
    protocols: Mapping[str, Any] | None = None  # by the part before a +; None: there is one, without a name
    left_out: str = ""
    check_suffix: Callable[[str], object] | None = None  # checks the part after a +


_KINDS: Mapping[str, Kind] = {
    "ssim": Kind("higher", "SSIM: higher is better, at most 1", _ssim, SSIM_PROTOCOLS, check_suffix=split_protocol),
    "mask-ssim": Kind(
        "higher", "mask-SSIM: SSIM of images that are black outside the target's figure, higher is better", _mask_ssim,
        MASK_SSIM_PROTOCOLS, left_out="whose target has no limb in the image",
    ),
    "psnr": Kind("higher", "PSNR: in dB, higher is better", _psnr, left_out="that are equal to their target"),
    "lpips": Kind("lower", "LPIPS: lower is better", _lpips, DISTANCES),
    TORSO_CIEDE2000: Kind(
        "lower", "torso-ciede2000: mean CIEDE2000 inside the target's torso, lower is better", _torso_ciede2000,
        left_out="without a whole torso",
    ),
    "recall@1": Kind(
        "higher", "retrieval: the share of images whose nearest real photo, by a network's features, is of their item, "
        "higher is better", _retrieval, RETRIEVAL,
    ),
    "is": Kind("higher", "IS: the Inception Score of 10 splits, higher is better", _inception_score, INCEPTION_PROTOCOLS),
    "mask-is": Kind(
        "higher", "mask-IS: the Inception Score of images that are black outside the target's figure, higher is better",
        partial(_inception_score, masked=True), INCEPTION_PROTOCOLS,
    ),
    "fid": Kind(
        "lower", "FID: the Fréchet distance to real photos by Inception's features, lower is better", _frechet, FID,
        check_suffix=_network_and_part,
    ),
    "frechet": Kind(
        "lower", "frechet: the Fréchet distance to real photos by the features of the network named, which is not FID; lower "
        "is better", _frechet, FEATURES, check_suffix=_network_and_part,
    ),
}  # fmt: skip
