"""The scores on real photos in the card of the model that comes with repose.

python docs/surface_card.py SAMPLE

SAMPLE has photos of DeepFashion in img/, their joints in keypoints.csv, and pairs.csv with the columns from and to. For each
pair of people whose joints are known, an image is generated from one source, at the model's size. The card gets the mean
scores of all pairs, by section and category in the photo's path, and by the tone of the skin around the nose. The tone is the
individual typology angle (Chardon et al. 1991), measured in the target photo or, if that shows no face, in the source. It
depends on the light.
"""

import argparse
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.draw import disk

import repose
from mannequins.surface_training.score import TONES, tone_of
from repose.data.layouts import DeepFashion, NameFinder
from repose.data.photo_files import read_photo
from repose.data.skeleton import JOINT, present
from repose.metrics.ssim import ssim
from repose.metrics.torso_ciede2000 import torso_ciede2000
from repose.storage.atomic import write_bytes

CARD = Path(__file__).parents[1] / "src" / "mannequins" / "surface" / "README.md"
BETWEEN = re.compile(r"(<!-- python docs/surface_card\.py SAMPLE -->\n\n).*?(\n<!-- end -->)", re.DOTALL)
FACE = [JOINT["nose"], JOINT["right_eye"], JOINT["left_eye"]]


class Score(NamedTuple):
    """The scores of one image."""

    section: str  # WOMEN or MEN
    category: str
    tone: str
    ssim: float
    torso: float  # CIEDE2000
    face: float  # CIEDE2000 between the median colors around the nose; NaN if source or target shows no face


def main(arguments: list[str] | None = None) -> None:
    """Score the model and write the tables into the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    scores = list(scored(parser.parse_args(arguments).sample))
    write_bytes(CARD, BETWEEN.sub(rf"\g<1>{tables(scores)}\g<2>", CARD.read_text()).encode())


def scored(sample: Path) -> Iterable[Score]:
    """The scores of the sample's pairs whose joints are known."""
    model, grammar = repose.load(keypoints=sample / "keypoints.csv"), DeepFashion([], lambda _: b"")
    named = {grammar.photo(str(path.relative_to(sample))): path for path in sorted((sample / "img").rglob("*.jpg"))}
    paths = {photo.name: path for photo, path in named.items() if photo}
    finder, frame = NameFinder(paths), model.about.frame
    for pair in pd.read_csv(sample / "pairs.csv")[["from", "to"]].itertuples(index=False):
        if any("flat" in name for name in pair):  # a garment alone
            continue
        first, second = (paths[str(finder.find(name))] for name in pair)
        try:
            source = model.source(first)
            request = model.request([source], second)
        except repose.PoseNotFoundError:
            continue
        (made,), target = model.generate([request]), frame.image(read_photo(second))
        at_target, at_source = request.pose, source.keypoints
        faces = [face(target, at_target), face(source.pixels, at_source), face(made, at_target)]
        shown = [color for color in faces[:2] if color is not None]
        away = deltaE_ciede2000(*rgb2lab(np.stack(faces[::2]) / 255)) if len(shown) == 2 else math.nan
        yield Score(
            *second.parts[-4:-2], tone="no face" if not shown else tone_of(tuple(shown[0])),
            ssim=float(ssim(made[None], target[None], "gaussian11")[0]),
            torso=float(torso_ciede2000(made[None], target[None], at_target[None])[0]), face=float(away),
        )  # fmt: skip


def face(pixels: np.ndarray, keypoints: np.ndarray) -> np.ndarray | None:
    """The median color around the nose, RGB from 0 to 255; None if the nose or an eye is not known."""
    if not present(keypoints)[FACE].all():
        return None
    nose, right, left = keypoints[FACE]
    inside = disk((nose[1], nose[0]), max(2.0, float(np.linalg.norm(left - right))), shape=pixels.shape[:2])
    return np.median(pixels[inside], 0)


def tables(scores: list[Score]) -> str:
    """The means of all pairs and of each group, as Markdown."""
    table = pd.DataFrame(scores)
    groups = [("all", table)]
    for column in ("section", "tone", "category"):
        found = dict(list(table.groupby(column)))
        groups += [(name, found[name]) for name in (TONES if column == "tone" else sorted(found)) if name in found]
    lines = ["| | pairs | SSIM | torso CIEDE2000 | face CIEDE2000 |", "|---|---|---|---|---|"]
    for name, of in groups:
        means = of[["ssim", "torso", "face"]].mean()
        cells = (f"{means['ssim']:.3f}", *("" if math.isnan(x) else f"{x:.1f}" for x in means[["torso", "face"]]))
        lines.append(f"| {name} | {len(of)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
