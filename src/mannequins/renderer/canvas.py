"""The texture of a surface: planes of color, and the patterns and prints of a cloth.

A pattern is a function of p (around the body from the back) and q (up), one unit per repeat, so it moves with the cloth and
closes where p is whole. A print is a function of x and y of the body at rest, in heights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mannequins.renderer.exact import along, arctan2, cos, hypot, sin

Colour = tuple[float, float, float]  # RGB, 0 to 255


class Canvas:
    """A picture (3, rows, columns) float32, 0 to 255. Shares and factors broadcast over rows and columns.

    `shine` is how much light the surface reflects like a mirror.
    """

    def __init__(self, rows: int, columns: int, colour: Colour, shine: float = 0.0) -> None:
        self.shine = shine
        self.planes = np.empty((3, rows, columns), np.float32)
        self.planes[:] = np.array(colour, np.float32)[:, None, None]

    def lay(self, colour: Colour, share: np.ndarray) -> None:
        """Mix in a color, with a share from 0 (not at all) to 1 (covers)."""
        for plane, level in zip(self.planes, colour, strict=True):
            plane += (np.float32(level) - plane) * share

    def shade(self, factor: np.ndarray) -> None:
        """Multiply by a factor: below 1 is darker."""
        self.planes *= factor


def darker(colour: Colour, factor: float) -> Colour:
    """A color in the shade."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


@dataclass(frozen=True)
class Cloth:
    """A fabric."""

    pattern: str  # of PATTERNS
    ground: Colour
    second: Colour
    third: Colour
    repeat: float  # heights


@dataclass(frozen=True)
class Print:
    """A motif printed on a cloth."""

    motif: str  # of PRINTS
    colour: Colour
    x: float  # its middle, in heights to the person's left
    y: float
    size: float  # half its height


def weave(
    canvas: Canvas, cloth: Cloth, turn: np.ndarray, y: np.ndarray, girth: float, where: np.ndarray | float = 1.0
) -> None:
    """Cover a canvas with a cloth.

    turn: share of the way around the body, -0.5 to 0.5, 0 in front. y: height. girth: length of the way, in heights.
    where: 1 where this cloth lies.
    """
    repeats = max(1, round(girth / cloth.repeat))  # a whole number, so that the pattern closes at the back
    canvas.lay(cloth.ground, np.asarray(where))
    shares = PATTERNS[cloth.pattern]((turn + 0.5) * repeats, y * (1 / cloth.repeat))
    for colour, share in zip((cloth.second, cloth.third), shares, strict=False):
        canvas.lay(colour, share * where)


def crease(canvas: Canvas, y: np.ndarray, girth: float, rng: np.random.Generator) -> None:
    """Light and shade of small folds; y (rows, 1)."""
    phase, few = 2 * np.pi * rng.random(3), max(1, round(girth / 0.13))
    u = along(0, 2 * np.pi, canvas.planes.shape[2])
    bend, slow = 2 * sin(few * u + phase[0]), 2 * few * u + phase[1]
    # sin(slow + 30 y) sin(48 y + bend), each sine of a sum written as products of a row and a column
    first = sin(slow) * cos(30 * y) + cos(slow) * sin(30 * y)
    second = cos(bend) * sin(48 * y + phase[2]) + sin(bend) * cos(48 * y + phase[2])
    third = sin(3 * few * u) * cos(40 * y) - cos(3 * few * u) * sin(40 * y)
    canvas.shade((1 + 0.022 * first * second + 0.014 * third).astype(np.float32))


def printed(mark: Print, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How much of each place a print covers: 0 to 1, broadcast."""
    u, v = (x - mark.x) * (1 / mark.size), (y - mark.y) * (1 / mark.size)
    return np.asarray(_soft(PRINTS[mark.motif](u, v) * 0.5) * (np.abs(u) < 1.6) * (np.abs(v) < 1.3))


def _soft(inside: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(inside * (1 / 0.06) + 0.5, 0, 1))


def _band(t: np.ndarray, share: float) -> np.ndarray:
    """1 on a band about each whole number that covers `share` of the way, else 0; soft at its edges."""
    return _soft(share / 2 - np.abs(t - np.rint(t)))


Shares = tuple[np.ndarray, ...]  # of the second and of the third color


def _dots(p: np.ndarray, q: np.ndarray) -> Shares:
    shifted = p + 0.5 * np.mod(np.rint(q), 2)
    return (_soft(0.30 - hypot(shifted - np.rint(shifted), q - np.rint(q))),)


def _argyle(p: np.ndarray, q: np.ndarray) -> Shares:
    u, v = p + q / 2, p - q / 2
    return _band(u, 0.5) * _band(v, 0.5), np.maximum(_band(u + 0.5, 0.07), _band(v + 0.5, 0.07))


def _floral(p: np.ndarray, q: np.ndarray) -> Shares:
    """One flower per cell, moved, turned and colored by a hash of the cell's place."""
    cell_p, cell_q = np.floor(p), np.floor(q)
    odd = np.mod(sin(cell_p * 12.99 + cell_q * 78.23) * 437.58, 1)
    dp, dq = p - cell_p - 0.5 - 0.25 * (odd - 0.5), q - cell_q - 0.5 - 0.25 * (np.mod(odd * 7, 1) - 0.5)
    radius = hypot(dp, dq)
    flower, heart = _soft(0.27 + 0.09 * cos(5 * arctan2(dq, dp) + 6 * odd) - radius), _soft(0.10 - radius)
    return flower * (odd < 0.6), np.where(odd < 0.6, heart, flower)


def _camouflage(p: np.ndarray, q: np.ndarray) -> Shares:
    a, b = 2 * np.pi * p, 2 * np.pi * q
    wave = sin(a + 1.7 * sin(0.7 * b)) + sin(0.9 * b + 1.4 * sin(a)) + 0.7 * sin(2 * a - 1.7 * b)
    return _soft(0.3 * (wave - 0.5)), _soft(0.3 * (-wave - 1.0))


PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], Shares]] = {
    "plain": lambda _p, _q: (),
    "stripes": lambda _p, q: (_band(q, 0.5),),
    "breton": lambda _p, q: (_band(q, 0.32),),
    "triple": lambda _p, q: (_band(q / 2, 0.34), _band(q / 2 + 0.5, 0.22)),
    "upright": lambda p, _q: (_band(p, 0.4),),
    "gingham": lambda p, q: ((_band(p, 0.5) + _band(q, 0.5)) / 2,),
    "tartan": lambda p, q: (
        (_band(p, 0.45) + _band(q, 0.45)) / 2, 0.8 * np.maximum(_band(p + 0.5, 0.08), _band(q + 0.5, 0.08)),
    ),
    "dots": _dots,
    "argyle": _argyle,
    "chevron": lambda p, q: (_band(q + 0.9 * np.abs(p - np.rint(p)), 0.45),),
    "floral": _floral,
    "camouflage": _camouflage,
}  # fmt: skip


def _box(u: np.ndarray, v: np.ndarray, wide: float, high: float) -> np.ndarray:
    return np.asarray(np.minimum(wide - np.abs(u), high - np.abs(v)))


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    angle = np.mod(arctan2(u, v) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    return np.asarray(0.52 - hypot(u, v) * cos(np.abs(angle) - 1.02))


def _letters(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Three rows of blocks, like words."""
    row, column = np.floor((v + 1) * 1.5), u * 3
    gap = np.abs(sin(17 * row + 3.1 * np.floor(column)))
    inside = np.minimum(0.26 - np.abs((v + 1) / 0.6667 % 1 - 0.5), 0.30 + 0.12 * gap - np.abs(column % 1 - 0.5))
    return np.where((np.abs(v) < 1) & (np.abs(u) < 1.34), inside, -1)


def _number(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A player's number: 7 and 1 side by side."""
    slant = 0.17 - np.abs(u + 0.45 - 0.32 * v) - 9 * np.maximum(np.abs(v) - 1, 0)
    seven = np.maximum(_box(u + 0.5, v - 0.8, 0.42, 0.2), slant)
    one = np.maximum(_box(u - 0.55, v, 0.17, 1.0), _box(u - 0.36, v - 0.72, 0.2, 0.14))
    return np.asarray(np.maximum(seven, one))


# Positive inside; u to the reader's right, v up, the motif about 1 in each direction.
PRINTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda u, v: 0.95 - hypot(u, v),
    "ring": lambda u, v: 0.22 - np.abs(hypot(u, v) - 0.75),
    "star": _star,
    "heart": lambda u, v: 0.5 * (1 - (np.square(u) + np.square(v * 1.1 + 0.1 - 0.7 * np.sqrt(np.abs(u))))),
    "square": lambda u, v: _box(u, v, 0.85, 0.85),
    "triangle": lambda u, v: np.minimum(v + 0.7, 0.62 - 0.62 * v - 1.1 * np.abs(u)),
    "cross": lambda u, v: np.maximum(_box(u, v, 0.28, 1), _box(u, v, 1, 0.28)),
    "diamond": lambda u, v: 0.6 * (1 - np.abs(u) - np.abs(v)),
    "bars": lambda u, v: np.minimum(_box(u, v, 1.1, 1), 0.19 - np.abs((v + 1) * 1.25 % 1 - 0.5)),
    "letters": _letters,
    "number": _number,
}
