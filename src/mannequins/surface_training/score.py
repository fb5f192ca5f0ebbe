"""surface score: score the weights on rendered people that they were not trained on, against the renderer's truth.

    repose surface score --model model --metrics metrics.json

Each photo of an item is generated from one other photo of it, at the size of the networks (128x88), without the variation of
light, tone and joints. The flow is scored at places that the source shows.

A speck is a connected region of at least SPECK px, more than MARGIN px away from the person, in which the image differs from
the photo by more than UNLIKE (CIEDE2000), or which the predicted alpha counts as the person. Skin is grouped by its individual
typology angle (ITA).
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveInt

from mannequins.renderer.canvas import Colour
from mannequins.surface import WEIGHTS
from mannequins.surface_training.batches import pack, unpack
from mannequins.surface_training.losses import in_px
from mannequins.surface_training.renders import Item, render_item
from repose import checkpoint
from repose.config import settings
from repose.data.images import to_uint8
from repose.data.records import write_json
from repose.devices import set_up
from repose.errors import ReposeError
from repose.metrics.ssim import ssim
from repose.metrics.torso_ciede2000 import torso_ciede2000
from repose.models.surface import SurfaceGenerator
from repose.terminal import bar

VIEWS = 3  # photos of an item
TURNS = ((0, 30), (30, 75), (75, 120), (120, 180))  # degrees between the bodies of source and target
MARGIN, SPECK, UNLIKE = 6, 4, 10.0
SSIM = "gaussian11"
# The groups of individual typology angles, by their smallest angle in degrees (Chardon et al. 1991).
TONES = {"very light": 55, "light": 41, "intermediate": 28, "tan": 10, "brown": -30, "dark": -180}


@settings
class SurfaceScoreSettings:
    """The block `score` of surface/params.yaml."""

    seed: NonNegativeInt  # of the items, unlike that of any training
    items: PositiveInt  # rendered people, with three photos each
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    threads: PositiveInt  # CPU threads of torch


@dataclass(frozen=True)
class Pair:
    """The measurements of one generated image."""

    turn: float  # degrees
    errors: np.ndarray  # (n,) px: of the flow at the places in sight
    iou: float  # of the silhouettes
    specks: list[int]  # their areas in px
    ssim: float
    torso: float  # CIEDE2000; NaN where the target shows no torso
    tone: str
    category: str


def run(*, model: Path, metrics: Path, settings: SurfaceScoreSettings) -> None:
    """Score the weights in the folder `model` of `surface export`, write the scores and print their tables.

    Raises:
        ReposeError: the weights are missing, damaged or of another kind of system.
    """
    device = set_up(settings.device, settings.threads, seed=0)
    path = model / WEIGHTS.name
    system, about = checkpoint.load(path, device)
    generator = system.networks.get("generator")  # some kinds have none
    if not isinstance(generator, SurfaceGenerator):
        raise ReposeError(
            f"{path} is a system of the kind {about.row.kind}, not surface. Give a folder of `surface export`."
        )
    height, width = (side // generator.reduce for side in (about.frame.height, about.frame.width))
    generator.reduce, generator.unlike_training = 1, False
    items = (render_item(settings.seed, n, VIEWS, height, width, plain=True) for n in range(settings.items))
    pairs = [pair for item in bar(items, "score", settings.items) for pair in score_item(generator, item, device)]
    protocol = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "items": settings.items,
        "seed": settings.seed,
        "size": [height, width],
        "flow": "px, at places that the source shows",
        "ssim": SSIM,
        "specks": f"at least {SPECK} px, more than {MARGIN} px from the person; CIEDE2000 above {UNLIKE}, or alpha above 0.5",
    }
    record = {"protocol": protocol, **summary(pairs)}
    write_json(metrics, record)
    print(tables(record))


@torch.no_grad()
def score_item(generator: SurfaceGenerator, item: Item, device: torch.device) -> list[Pair]:
    """Generate each photo of an item from the next one, and measure it."""
    count = len(item.views)
    sources = [(target + 1) % count for target in range(count)]
    packed = pack([item], [[[source] for source in sources]])
    batch = unpack(packed, device)
    made = generator.generate(batch.images, batch.poses, batch.sources, batch.mask, batch.poses)
    errors = (in_px(made.matched.flow[:, :1], batch) - batch.flow).square().sum(2).sqrt()
    images, alpha = to_uint8(made.image), made.alpha[:, 0].sigmoid().cpu().numpy()
    ssims = ssim(images, packed.pixels, SSIM).tolist()
    torsos = torso_ciede2000(images, packed.pixels, packed.keypoints)
    tone, found = tone_of(item.skin), []
    for target, source in enumerate(sources):
        true, guess = packed.alpha[target] > 127, alpha[target] > 0.5
        turn = abs((item.views[target].yaw - item.views[source].yaw + 180) % 360 - 180)
        here = errors[target][batch.sight[target]].cpu().numpy()
        iou = float((true & guess).sum() / (true | guess).sum())
        areas = specks(images[target], packed.pixels[target], guess, true)
        found.append(Pair(turn, here, iou, areas, ssims[target], float(torsos[target]), tone, item.category))
    return found


def specks(made: np.ndarray, photo: np.ndarray, guess: np.ndarray, true: np.ndarray) -> list[int]:
    """The areas of the specks of an image; see the module.

    Args:
        made: (H,W,3) uint8.
        photo: (H,W,3) uint8.
        guess: (H,W) bool: the predicted person.
        true: (H,W) bool: the person.
    """
    from skimage.color import deltaE_ciede2000, rgb2lab
    from skimage.measure import label

    near = F.max_pool2d(torch.from_numpy(true).float()[None], 2 * MARGIN + 1, 1, MARGIN)[0].numpy() > 0
    unlike = deltaE_ciede2000(rgb2lab(photo), rgb2lab(made)) > UNLIKE  # type: ignore[no-untyped-call]
    regions = label((unlike | guess) & ~near)  # type: ignore[no-untyped-call]
    areas = np.bincount(regions.ravel())[1:]
    return [int(area) for area in areas if area >= SPECK]


def tone_of(skin: Colour) -> str:
    """The group of a skin color by its individual typology angle."""
    from skimage.color import rgb2lab

    lightness, _, yellow = rgb2lab(np.array(skin) / 255)
    angle = math.degrees(math.atan2(lightness - 50, yellow))
    return next(name for name, least in TONES.items() if angle > least)


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The scores of all pairs: of the flow by turn, of silhouette and background, and of the image by tone and category."""
    by_turn = {
        f"{low}-{high}": [p for p in pairs if low <= p.turn < high or p.turn == high == 180] for low, high in TURNS
    }
    areas = [area for pair in pairs for area in pair.specks]
    return {
        "flow": {name: _flow(some) for name, some in (by_turn | {"all": list(pairs)}).items()},
        "silhouette_iou": round(float(np.mean([pair.iou for pair in pairs])), 4),
        "specks": {
            "per_image": round(len(areas) / len(pairs), 4),
            "mean_area": round(float(np.mean(areas)), 1) if areas else 0.0,
            "images_without": round(float(np.mean([not pair.specks for pair in pairs])), 4),
        },
        "image": _image(pairs),
        "skin": _groups(pairs, list(TONES), lambda pair: pair.tone),
        "category": _groups(pairs, sorted({pair.category for pair in pairs}), lambda pair: pair.category),
    }


def _flow(pairs: Sequence[Pair]) -> dict[str, Any]:
    errors = np.concatenate([np.zeros(0), *(pair.errors for pair in pairs)])
    if not len(errors):
        return {"pairs": len(pairs)}
    return {
        "pairs": len(pairs),
        "median": round(float(np.median(errors)), 3),
        "within_2": round(float((errors < 2).mean()), 4),
        "within_4": round(float((errors < 4).mean()), 4),
    }


def _groups(pairs: Sequence[Pair], names: Sequence[str], group: Callable[[Pair], str]) -> dict[str, Any]:
    groups = {name: [pair for pair in pairs if group(pair) == name] for name in names}
    return {name: _image(some) for name, some in groups.items() if some}


def _image(pairs: Sequence[Pair]) -> dict[str, Any]:
    torsos = [pair.torso for pair in pairs if math.isfinite(pair.torso)]
    return {
        "images": len(pairs),
        "torso-ciede2000": round(float(np.mean(torsos)), 2) if torsos else None,
        "ssim": round(float(np.mean([pair.ssim for pair in pairs])), 4),
    }


def tables(record: dict[str, Any]) -> str:
    """The scores as tables in Markdown, as in docs/surface.md."""
    flow = [
        "| degrees between source and target | pairs | median | within 2 px | within 4 px |",
        "|---|---|---|---|---|",
    ]
    for name, of in record["flow"].items():
        if "median" in of:
            flow.append(
                f"| {name} | {of['pairs']} | {of['median']:.2f} px | {of['within_2']:.0%} | {of['within_4']:.0%} |"
            )
    specks = record["specks"]
    background = [
        "| silhouette IoU | specks per image | mean area of a speck | images without specks |", "|---|---|---|---|",
        f"| {record['silhouette_iou']:.3f} | {specks['per_image']:.2f} | {specks['mean_area']:.0f} px | "
        f"{specks['images_without']:.0%} |",
    ]  # fmt: skip
    image = ["| | images | torso CIEDE2000 | SSIM |", "|---|---|---|---|"]
    groups = {
        "all": record["image"],
        **cast(dict[str, Any], record["skin"]),
        **cast(dict[str, Any], record["category"]),
    }
    for name, of in groups.items():
        torso = "" if of["torso-ciede2000"] is None else f"{of['torso-ciede2000']:.1f}"
        image.append(f"| {name} | {of['images']} | {torso} | {of['ssim']:.3f} |")
    return "\n\n".join("\n".join(table) for table in (flow, background, image))
