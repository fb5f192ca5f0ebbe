"""Draws for an outfit and the colors that it comes in.

Two random generators work side by side, one for the cut and one for the colors, so that a garment can come in several
colors of one cut.
"""

import colorsys
from typing import TypeVar

import numpy as np

from mannequins.renderer.canvas import Colour
from mannequins.renderer.exact import uniform

T = TypeVar("T")

_NEUTRALS: tuple[Colour, ...] = (
    (243, 242, 238), (236, 232, 222), (32, 32, 36), (60, 62, 68), (128, 130, 134), (188, 190, 192), (28, 36, 66),
    (200, 178, 146),
)  # fmt: skip
DENIMS: tuple[Colour, ...] = ((46, 66, 104), (72, 98, 142), (118, 148, 186), (34, 40, 58))
LEATHERS: tuple[Colour, ...] = (
    (36, 34, 36), (240, 240, 236), (92, 58, 38), (150, 104, 66), (70, 70, 76), (206, 182, 150), (40, 46, 70),
)  # fmt: skip
# The strong colors of clothes: hue in degrees, saturation, value.
_VIVID = (
    (355, 0.82, 0.80), (350, 0.80, 0.52), (4, 0.62, 0.93), (16, 0.80, 0.90), (28, 0.82, 0.94), (44, 0.80, 0.88),
    (52, 0.75, 0.95), (74, 0.55, 0.48), (88, 0.58, 0.72), (140, 0.68, 0.50), (152, 0.75, 0.62), (160, 0.45, 0.85),
    (176, 0.75, 0.55), (184, 0.68, 0.78), (200, 0.55, 0.92), (214, 0.78, 0.80), (226, 0.82, 0.62), (240, 0.55, 0.50),
    (262, 0.50, 0.80), (276, 0.68, 0.58), (300, 0.60, 0.58), (322, 0.72, 0.80), (336, 0.50, 0.94), (340, 0.72, 0.88),
    (20, 0.62, 0.50),
)  # fmt: skip


class Chance:
    """Draws for one outfit: `cut` decides forms, `hue` decides colors.

    The same draws with another `variant` (0, 1, 2) give the same outfit in other colors.
    """

    def __init__(self, cut: np.random.Generator, hue: np.random.Generator, variant: int = 0) -> None:
        self.cut, self.hue, self.variant = cut, hue, variant

    def often(self, share: float) -> bool:
        """True in this share of all cuts."""
        return bool(self.cut.random() < share)

    def pick(self, *choices: T) -> T:
        """One of these forms."""
        return choices[int(self.cut.integers(len(choices)))]

    def between(self, low: float, high: float) -> float:
        """A measure."""
        return uniform(self.cut, low, high)

    def one_of(self, colours: tuple[Colour, ...]) -> Colour:
        """One of these colors."""
        return colours[(int(self.hue.integers(len(colours))) + self.variant * (len(colours) // 3)) % len(colours)]

    def vivid(self, away: Colour | None = None) -> Colour:
        """A strong color, its hue well away from another's."""
        while True:
            hue, saturation, value = self.one_of(_VIVID)
            turn = 0.5 if away is None else (hue / 360 - _hue(away)) % 1
            if 0.16 < turn < 0.84:
                return _rgb(
                    (hue + uniform(self.hue, -5, 5)) / 360 % 1, saturation, value * uniform(self.hue, 0.94, 1.04)
                )

    def neutral(self) -> Colour:
        """White, gray, black, navy or beige."""
        return self.one_of(_NEUTRALS)

    def colour(self) -> Colour:
        """A color of clothes: mostly a strong one."""
        return self.vivid() if self.hue.random() < 0.78 else self.neutral()

    def contrast(self, ground: Colour) -> Colour:
        """A color that clearly differs from another."""
        if self.hue.random() < 0.45:
            return (242.0, 240.0, 234.0) if np.mean(ground) < 150 else (28.0, 28.0, 36.0)
        return self.vivid(ground)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (255 * min(level, 1.0) for level in colorsys.hsv_to_rgb(hue, saturation, value))
    return (red, green, blue)


def _hue(colour: Colour) -> float:
    return colorsys.rgb_to_hsv(*(c / 255 for c in colour))[0]
