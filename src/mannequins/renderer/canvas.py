"""The texture of a surface: planes of color, mixed with fabrics, prints and shades."""

import numpy as np

from mannequins.renderer.exact import decay

Colour = tuple[float, float, float]  # RGB, 0 to 255


class Canvas:
    """A picture (3, rows, columns) float32, 0 to 255. Shares and factors broadcast over rows and columns."""

    def __init__(self, rows: int, columns: int, colour: Colour) -> None:
        self.planes = np.empty((3, rows, columns), np.float32)
        self.planes[:] = np.array(colour, np.float32)[:, None, None]

    def lay(self, colour: Colour, share: np.ndarray) -> None:
        """Mix in a color, with a share from 0 (not at all) to 1 (covers)."""
        for plane, level in zip(self.planes, colour, strict=True):
            plane += (np.float32(level) - plane) * share

    def shade(self, factor: np.ndarray) -> None:
        """Multiply by a factor: below 1 is darker."""
        self.planes *= factor

    def window(self, rows: slice, columns: slice) -> "Canvas":
        """A part of the canvas that shares its planes."""
        part = Canvas.__new__(Canvas)
        part.planes = self.planes[:, rows, columns]
        return part


def along(start: float, end: float, count: int) -> np.ndarray:
    """Evenly spaced float32, both ends included."""
    return np.linspace(start, end, count, dtype=np.float32)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, smooth between (low > high: the other way round)."""
    t = np.clip((value - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def line(distance: np.ndarray, width: float) -> np.ndarray:
    """1 at distance 0, falling off like a bell: 0.36 at `width`."""
    return decay(np.square(distance * (1 / width)))


def darker(colour: Colour, factor: float) -> Colour:
    """A color in the shade."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)
