"""The distance between rendered people and photos of people, with each variation of the training's renderer left out.

python -m benchmarks.variety [--items N]

The photos are those of DeepFashion beside the project (../shared/data/deepfashion-sample). Without
them there is nothing to do.
The distance is the unbiased squared MMD with the cubic kernel of KID (Binkowski et al. 2018), on the means and standard
deviations of EfficientNet-Lite0's features, each scaled by its deviation over the photos. All variants render the same people
in the same poses. The error of a change is its standard deviation over 20 halves of the renderings.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mannequins.renderer.items import to_pixels
from mannequins.renderer.scenes import STUDIO_LIGHT, Studio
from mannequins.surface_training import renders
from repose.data.images import to_tensor
from repose.models.lite0 import Lite0

SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "deepfashion-sample"
HEIGHT, WIDTH, SEED = 128, 88, 991  # px; no training uses the seed


def main() -> None:
    """Render, compare and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--items", type=int, default=400, help="rendered people of each variant, one photo each")
    given = arguments.parse_args()
    if not SAMPLE.is_dir():
        print(f"There is no {SAMPLE}.")
        return
    network = Lite0()
    real = features(network, photos())
    print(f"| renderings | distance from {len(real)} photos | change | error of the change |\n|---|---|---|---|")
    left_out = {"all variations": [], **{f"without {name}": [name] for name in OFF}, "none of them": [*OFF]}
    full: list[float] = []
    for name, off in left_out.items():
        with ExitStack() as stack:
            for variation in off:
                stack.enter_context(OFF[variation]())
            made = features(network, rendered(given.items))
        rng = np.random.default_rng(0)  # the same halves of each variant
        halves = [rng.permutation(len(made))[: len(made) // 2] for _ in range(20)]
        found = [distance(made[of], real) for of in (slice(None), *halves)]
        full = full or found
        changes = np.subtract(found, full)
        print(f"| {name} | {found[0]:.2f} | {changes[0]:+.2f} | {changes[1:].std():.2f} |", flush=True)


def drawn_in_vain(name: str) -> Callable[[], Any]:
    """A patch of the function `name` of `renders`: it draws the same random numbers, and returns its first argument."""
    original = getattr(renders, name)

    def same(of: Any, *rest: Any) -> Any:
        original(of, *rest)
        return of

    return lambda: patch.object(renders, name, same)


def lit_as_in_the_demo(rng: np.random.Generator) -> Any:
    """The light of the demo's mannequins."""
    LIGHT(rng)
    return STUDIO_LIGHT


def without_folds(*arguments: Any) -> np.ndarray:
    """Cloth without folds."""
    return np.ones_like(CREASED(*arguments))


def with_the_shadow_of_the_demo(rng: np.random.Generator) -> Studio:
    """The same wall with a faint shadow at the right."""
    usual = {field.name: field.default for field in fields(Studio) if field.default is not MISSING}
    return replace(PLACE(rng), **usual)


LIGHT, CREASED, PLACE = renders._light, renders.creased, renders._place
OFF: dict[str, Callable[[], Any]] = {
    "hair": drawn_in_vain("with_hair"),
    "clothes as sold": drawn_in_vain("as_sold"),
    "grain": drawn_in_vain("with_grain"),
    "poses at ease": drawn_in_vain("at_ease"),
    "folds": lambda: patch.object(renders, "creased", without_folds),
    "shadows": lambda: patch.object(renders, "_place", with_the_shadow_of_the_demo),
    "light": lambda: patch.object(renders, "_light", lit_as_in_the_demo),
    "tone": lambda: patch.object(renders._Tone, "photo", lambda _, image, __: to_pixels(image)),
}


def photos() -> Iterator[np.ndarray]:
    """The photos of people, cut and reduced as for a training."""
    for path in sorted(SAMPLE.glob("img/**/*.jpg")):
        if "flat" not in path.name:
            photo = Image.open(path).convert("RGB")
            width = min(photo.width, photo.height * WIDTH / HEIGHT)
            left = (photo.width - width) / 2
            yield np.asarray(
                photo.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, (left, 0, left + width, photo.height))
            )


def rendered(items: int) -> Iterator[np.ndarray]:
    """One photo of each rendered person."""
    for number in range(items):
        yield renders.render_item(SEED, number, 1, HEIGHT, WIDTH).views[0].pixels


@torch.inference_mode()
def features(network: Lite0, images: Iterator[np.ndarray]) -> Tensor:
    """(N,C): the mean and the standard deviation of each channel, over the image."""
    rows = []
    for image in images:
        maps = [layer[0].flatten(1) for layer in network(to_tensor(image[None]))]
        rows.append(torch.cat([x for of in maps for x in (of.mean(1), of.std(1))]))
    return torch.stack(rows).double()


def distance(made: Tensor, real: Tensor) -> float:
    """The unbiased squared MMD of features (N,C) and (M,C)."""
    scale, middle = real.std(0) + 1e-9, real.mean(0)
    made, real = (made - middle) / scale, (real - middle) / scale

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return float(within(made) + within(real) - 2 * kernel(made, real).mean())


if __name__ == "__main__":
    main()
