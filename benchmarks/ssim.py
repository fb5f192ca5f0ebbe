"""SSIM, pairs per second on one core under each protocol, beside a loop over scikit-image's function.

python -m benchmarks.ssim

The table also says how far the two are apart.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage.metrics import structural_similarity

from repose.metrics.ssim import ssim, ssim_protocols_for

PAIRS, ROUNDS, SIZES = 8, 6, ((256, 256), (128, 64))
OF_SCIKIT_IMAGE = {
    "pg2": lambda generated, target: structural_similarity(generated, target, channel_axis=-1),
    "gaussian11": lambda generated, target: structural_similarity(
        target, generated, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=int(generated.max()) - int(generated.min()),
    ),
    "win51": lambda generated, target: structural_similarity(target, generated, channel_axis=-1, win_size=51),
}  # fmt: skip


def images(height: int, width: int, seed: int) -> np.ndarray:
    """Waves and noise: (PAIRS, H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows[..., None] / generator.uniform(4, 20, 3)) * np.cos(columns[..., None] / 9)
    return (128 + 80 * waves + generator.normal(0, 15, (PAIRS, height, width, 3))).clip(0, 255).astype(np.uint8)


def best_seconds(*works: Callable[[], np.ndarray]) -> tuple[list[float], list[np.ndarray]]:
    """The shortest time of each and its result; they take turns, so that a busy machine slows all of them."""
    best, results = [float("inf")] * len(works), [np.zeros(0)] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            start = time.perf_counter()
            results[number] = work()
            best[number] = min(best[number], time.perf_counter() - start)
    return best, results


def row(generated: np.ndarray, target: np.ndarray, protocol: str) -> tuple[str, ...]:
    def by_scikit_image() -> np.ndarray:
        return np.array([OF_SCIKIT_IMAGE[protocol](*pair) for pair in zip(generated, target, strict=True)])

    def by_repose() -> np.ndarray:
        return ssim(generated, target, protocol).numpy()

    (theirs, ours), (expected, scores) = best_seconds(by_scikit_image, by_repose)
    rates = f"{PAIRS / theirs:,.0f}", f"{PAIRS / ours:,.0f}", f"{theirs / ours:.1f}"
    return protocol, *rates, f"{abs(expected - scores).max():.0e}"


def main() -> None:
    torch.set_num_threads(1)
    table = Table("size", "protocol", "scikit-image, pairs/s", "repose, pairs/s", "times", "furthest apart")
    for height, width in SIZES:
        generated, target = images(height, width, 0), images(height, width, 1)
        for protocol in ssim_protocols_for(height, width):
            table.add_row(f"{height}x{width}", *row(generated, target, protocol))
    Console().print(table)


if __name__ == "__main__":
    main()
