"""Pose maps per second on one core at 256x256, beside a loop that draws the same limbs as pose-gan does.

python -m benchmarks.posemaps

pose-gan draws one image at a time, each limb with scikit-image's `line_aa`: one px wide, antialiased, grey on black.
Its discs at the joints are left out, in its favour.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage.draw import line_aa

from repose.data.images import encode_png
from repose.data.posemaps import PALETTE, colour, draw
from repose.data.skeleton import LIMBS

SIZE, MAPS, ROUNDS = 256, 64, 15
# A standing person in shares of the image, x and y, in the order of skeleton.JOINTS.
STANDING = (
    (0.50, 0.12), (0.50, 0.22), (0.42, 0.22), (0.38, 0.36), (0.37, 0.49), (0.58, 0.22), (0.62, 0.36), (0.63, 0.49),
    (0.45, 0.50), (0.44, 0.70), (0.44, 0.90), (0.55, 0.50), (0.56, 0.70), (0.56, 0.90),
    (0.48, 0.10), (0.52, 0.10), (0.45, 0.11), (0.55, 0.11),
)  # fmt: skip


def people(count: int) -> np.ndarray:
    """Standing people, large and small, moved about, every eighth joint missing: (count, K, 2) in whole px."""
    generator = np.random.default_rng(0)
    scale, place = generator.uniform(0.7, 1.1, (count, 1, 1)), generator.uniform(-0.05, 0.05, (count, 1, 2))
    joints = (np.array(STANDING) - 0.5) * scale + 0.5 + place + generator.normal(0, 0.03, (count, len(STANDING), 2))
    keypoints = (joints * SIZE).round().clip(0, SIZE - 1).astype(np.float32)
    keypoints[generator.random(keypoints.shape[:2]) < 1 / 8] = np.nan
    return keypoints


def by_line_aa(keypoints: np.ndarray) -> np.ndarray:
    """(B, H, W, 3) uint8, one image and one limb after the other."""
    maps = []
    for person in keypoints:
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        for ends in LIMBS:
            if not np.isnan(person[list(ends)]).any():
                (x0, y0), (x1, y1) = person[list(ends)].astype(int)
                rows, columns, value = line_aa(y0, x0, y1, x1)
                pixels[rows, columns] = np.expand_dims(value, 1) * 255
        maps.append(pixels)
    return np.stack(maps)


def best_seconds(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The shortest time of each; they take turns, so that a busy machine slows all of them."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    torch.set_num_threads(1)
    keypoints = people(MAPS)
    tensors, how = torch.from_numpy(keypoints), {"height": SIZE, "width": SIZE, "line_width": 4.0}
    indices = draw(keypoints, **how)
    seconds = best_seconds(
        {
            "line_aa loop: RGB": lambda: by_line_aa(keypoints),
            "draw, arrays: palette indices": lambda: draw(keypoints, **how),
            "draw + colour, arrays: RGB": lambda: colour(draw(keypoints, **how)),
            "draw, tensors: palette indices": lambda: draw(tensors, **how),
            "draw + colour, tensors: float32 in [-1, 1]": lambda: colour(draw(tensors, **how)),
            "draw + PNG, as the stage does": lambda: [encode_png(drawn, PALETTE) for drawn in draw(keypoints, **how)],
            "PNG alone": lambda: [encode_png(drawn, PALETTE) for drawn in indices],
        }
    )
    table = Table("what", "maps/s", "times the loop", title=f"{MAPS} maps of {SIZE}x{SIZE}, one core")
    for name, spent in seconds.items():
        table.add_row(name, f"{MAPS / spent:,.0f}", f"{seconds['line_aa loop: RGB'] / spent:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
