"""The metrics, images per second, beside the way of the code that they are named after, both in this run.

python -m benchmarks.metrics [cpu|cuda] [--threads N]

The reference is on the CPU in one thread, an image after the other where its code has it so; ours is on the device, and
brings its images there. A GPU gets more images than the reference, or it would have nothing to do. A line is images of one
metric; the table also says how far the two ways are apart, as a share for IS and Fréchet distance.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the reference's products; read when NumPy is imported

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.morphology import closing, footprint_rectangle

from mannequins.renderer import MannequinSettings, render_item
from repose.data.skeleton import FIGURE
from repose.devices import set_up
from repose.errors import ReposeError
from repose.metrics.frechet import FeatureStatistics, frechet_distance
from repose.metrics.inception_score import SPLITS, InceptionScore
from repose.metrics.mask_ssim import mask_ssim
from repose.metrics.psnr import psnr
from repose.metrics.retrieval import nearest
from repose.metrics.ssim import SSIM_PROTOCOLS, ssim

ROUNDS = 6
PAIRS = 200  # of mannequins, 256x256
LOGITS = (2000, 1008)
FEATURES = (1000, 256)  # generated and as many real images
BATCH = 64  # of logits and features
TIMES = {"cpu": 1, "cuda": 4}  # so many times the pairs are ours
OF_SCIKIT_IMAGE = {
    "pg2": lambda generated, target: structural_similarity(generated, target, channel_axis=-1),
    "gaussian11": lambda generated, target: structural_similarity(
        target, generated, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=int(generated.max()) - int(generated.min()),
    ),
    "win51": lambda generated, target: structural_similarity(target, generated, channel_axis=-1, win_size=51),
}  # fmt: skip


class Case(NamedTuple):
    """One metric in two ways, which give the same numbers."""

    name: str
    images: int
    theirs: Callable[[], np.ndarray]
    ours: Callable[[], np.ndarray]
    relative: bool = False  # how the difference is given
    times: int = 1  # ours gets the images so many times


def mannequin_pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources and targets (PAIRS, 256, 256, 3) uint8, and the targets' keypoints (PAIRS, K, 2)."""
    settings, pairs, number = MannequinSettings("fashion", items=PAIRS + 2, seed=0, quality=90), [], 0
    while len(pairs) < PAIRS:
        photos = render_item(settings, number)
        pairs += [(source.pixels, target.pixels, target.keypoints) for source, target in pairwise(photos)]
        number += 1
    sources, targets, keypoints = zip(*pairs[:PAIRS], strict=True)
    return np.stack(sources), np.stack(targets), np.stack(keypoints)


def slow_psnr(generated: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.array([peak_signal_noise_ratio(*pair) for pair in zip(target, generated, strict=True)])


def slow_mask(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """Disc by disc: (H, W, 1) bool."""
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for first, last in np.round(keypoints[list(map(list, FIGURE))].astype(float)):
        if np.isnan([first, last]).any():
            continue
        steps = max(int(np.hypot(*(last - first)) / 4), 1)
        for step in range(steps + 1):
            x, y = (int(place) for place in first + (last - first) * step / steps)
            near = np.s_[max(y - 4, 0) : max(y + 5, 0), max(x - 4, 0) : max(x + 5, 0)]
            mask[near] |= (columns[near] - x) ** 2 + (rows[near] - y) ** 2 <= 16
    return closing(mask.astype(np.uint8), footprint_rectangle((5, 5)))[..., None].astype(bool)


def slow_mask_ssim(generated: np.ndarray, target: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    scores = []
    for one, other, points in zip(generated, target, keypoints, strict=True):
        mask = slow_mask(points, *other.shape[:2])
        scores.append(structural_similarity(one * mask, other * mask, channel_axis=-1))
    return np.array(scores)


def slow_inception_score(logits: np.ndarray) -> np.ndarray:
    """All at once, as improved-gan has it."""
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    scores = []
    for split in range(SPLITS):
        part = probabilities[split * len(logits) // SPLITS : (split + 1) * len(logits) // SPLITS]
        divergence = part * (np.log(part) - np.log(part.mean(0, keepdims=True)))
        scores.append(np.exp(divergence.sum(1).mean()))
    return np.array([np.mean(scores), np.std(scores)])


def inception_score(logits: np.ndarray, device: torch.device) -> np.ndarray:
    growing = InceptionScore(len(logits), "tf-2015")
    for some in torch.from_numpy(logits).split(BATCH):
        growing.update(some.to(device))
    return np.array(growing.score())


def slow_frechet(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """All at once, as pytorch-fid has it."""
    shift = generated.mean(0) - real.mean(0)
    first, second = np.cov(generated, rowvar=False), np.cov(real, rowvar=False)
    return np.array([shift @ shift + np.trace(first) + np.trace(second) - 2 * np.trace(sqrtm(first @ second)).real])


def frechet(generated: np.ndarray, real: np.ndarray, device: torch.device) -> np.ndarray:
    sets = FeatureStatistics("generated images"), FeatureStatistics("real photos")
    for statistics, features in zip(sets, (generated, real), strict=True):
        for some in torch.from_numpy(features).split(BATCH):
            statistics.update(some.to(device))
    return np.array([frechet_distance(*sets)])


def slow_nearest(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(real - one, axis=1).argmin() for one in generated])


def cases(device: torch.device) -> Iterator[Case]:
    """Every metric, on images of mannequins, and on logits and features that are made up."""
    generated, target, keypoints = mannequin_pairs()
    times = TIMES[device.type]
    ours = [np.concatenate([some] * times) for some in (generated, target, keypoints)]

    def case(name: str, theirs: Callable[[], np.ndarray], score: Callable[..., torch.Tensor], *rest: object) -> Case:
        def moved() -> Iterator[torch.Tensor]:  # as evaluate does
            return (torch.from_numpy(some).movedim(-1, 1).to(device) for some in ours[:2])

        return Case(name, PAIRS, theirs, lambda: score(*moved(), *rest).cpu().numpy(), times=times)

    yield case("psnr", lambda: slow_psnr(generated, target), psnr)
    for protocol in SSIM_PROTOCOLS:
        one = OF_SCIKIT_IMAGE[protocol]
        theirs = partial(lambda one: np.array([one(*pair) for pair in zip(generated, target, strict=True)]), one)
        yield case(f"ssim/{protocol}", theirs, ssim, protocol)
    yield case("mask-ssim/pg2", lambda: slow_mask_ssim(generated, target, keypoints), mask_ssim, ours[2], "pg2")
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, LOGITS)
    yield Case(
        "is/tf-2015, of logits", len(logits), lambda: slow_inception_score(logits),
        lambda: inception_score(logits, device), relative=True,
    )  # fmt: skip
    features, real = (random.normal(place, 1, FEATURES) @ random.normal(0, 1, (FEATURES[1],) * 2) for place in (0, 0.1))
    yield Case(
        "frechet, of features", FEATURES[0], lambda: slow_frechet(features, real),
        lambda: frechet(features, real, device), relative=True,
    )  # fmt: skip
    yield Case(
        "garment retrieval, of features", FEATURES[0], lambda: slow_nearest(features, real),
        lambda: nearest(*(torch.from_numpy(some).to(device) for some in (features, real))).cpu().numpy(),
    )  # fmt: skip


def best_seconds(*works: Callable[[], np.ndarray]) -> tuple[list[float], list[np.ndarray]]:
    """The shortest time of each and its result; they take turns, so that a busy machine slows all of them."""
    best, results = [float("inf")] * len(works), [np.zeros(0)] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            start = time.perf_counter()
            results[number] = work()
            best[number] = min(best[number], time.perf_counter() - start)
    return best, results


def row(case: Case) -> tuple[str, ...]:
    (theirs, ours), (expected, scores) = best_seconds(case.theirs, case.ours)
    theirs_rate, ours_rate = case.images / theirs, case.images * case.times / ours
    apart = abs(expected - scores[: len(expected)]) / (abs(expected) if case.relative else 1)
    rates = f"{theirs_rate:,.0f}", f"{ours_rate:,.0f}", f"{ours_rate / theirs_rate:.1f}"
    return case.name, f"{case.images:,}", *rates, f"{apart.max():.0e}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Each metric beside its reference's way.")
    parser.add_argument("device", nargs="?", default="cpu", choices=TIMES, help="where ours is computed")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU, for ours")
    asked = parser.parse_args(arguments)
    try:
        device = set_up(asked.device, asked.threads, seed=0)
    except ReposeError as error:
        raise SystemExit(str(error)) from None
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{asked.threads} thread(s)"
    table = Table("metric", "images", "reference, images/s", "repose, images/s", "times", "furthest apart", title=where)
    for case in cases(device):
        table.add_row(*row(case))
    Console().print(table)


if __name__ == "__main__":
    main()
