"""The picture of docs/speed.md: `python docs/scale.py` after `python -m benchmarks.scale --record docs/scale.json`.

docs/scale.png has a line for each data stage: its processor seconds against the number of photos, both logarithmic.
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repose.data.images import encode_png
from repose.storage.atomic import write_bytes

HERE = Path(__file__).parent
LEFT, TOP, RIGHT, BOTTOM = 70, 50, 660, 430  # px of the plot's edges
WIDTH, HEIGHT = 800, 480
INK, SOFT, GRID = (40, 40, 40), (125, 125, 125), (230, 230, 230)
COLOURS = ((214, 96, 77), (125, 125, 125), (67, 121, 178), (90, 160, 90), (150, 110, 180), (210, 150, 50))


def main() -> None:
    """Draw the picture anew."""
    lines: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in json.loads((HERE / "scale.json").read_text()):
        lines[one["stage"]][one["photos"]].append(one["processor"])
    chart = draw({
        stage: [(photos, median(seconds)) for photos, seconds in sorted(points.items())] for stage, points in lines.items()
    })  # fmt: skip
    write_bytes(HERE / "scale.png", encode_png(chart))


def draw(lines: dict[str, list[tuple[int, float]]]) -> np.ndarray:
    """A line for each stage -> (h,w,3) uint8."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=15)
    x, y = (_scale([point[axis] for line in lines.values() for point in line], *ends)
            for axis, ends in enumerate(((LEFT, RIGHT), (BOTTOM, TOP))))  # fmt: skip
    pen.text(
        (10, TOP / 2), "Processor seconds of each data stage by number of photos", fill=INK, font=font, anchor="lm"
    )
    for power in range(-3, 8):
        if TOP <= (row := y(10.0**power)) <= BOTTOM:
            pen.line((LEFT, row, RIGHT, row), fill=GRID)
            pen.text((LEFT - 10, row), f"{10.0**power:,g} s", fill=SOFT, font=font, anchor="rm")
    for photos in sorted({point[0] for line in lines.values() for point in line}):
        pen.line((x(photos), TOP, x(photos), BOTTOM), fill=GRID)
        pen.text((x(photos), BOTTOM + 18), f"{photos:,}", fill=SOFT, font=font, anchor="mm")
    label = math.inf  # labels, from the bottom up, keep a line's distance
    for (stage, line), colour in sorted(zip(lines.items(), COLOURS, strict=False), key=lambda one: one[0][1][-1][1]):
        places = [(x(photos), y(seconds)) for photos, seconds in line]
        pen.line(places, fill=colour, width=2)
        for place in places:
            pen.ellipse((place[0] - 3, place[1] - 3, place[0] + 3, place[1] + 3), fill=colour)
        label = min(places[-1][1], label - 18)
        pen.text((RIGHT + 12, label), stage, fill=colour, font=font, anchor="lm")
    return np.asarray(canvas)


def _scale(values: list[float], first: float, last: float):  # type: ignore[no-untyped-def]
    low, high = math.log(min(values)), math.log(max(values))
    return lambda value: first + (last - first) * (math.log(value) - low) / (high - low)


if __name__ == "__main__":
    main()
