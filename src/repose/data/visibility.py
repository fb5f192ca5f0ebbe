"""Which cells of a garment's surface a photo shows, as text; and of what one photo shows, how much another hides.

A surface is cut into cells that are fixed to it, so that the same bit is the same piece of cloth in every photo of an item.
The renderer knows which are in sight (`figures.csv`, column `visible`); nobody knows it of real photos.
"""

import numpy as np


def to_text(visible: np.ndarray) -> str:
    """Cells (n,) bool, n a multiple of 8, as n / 4 hexadecimal digits: the first cell is the highest bit."""
    return np.packbits(visible).tobytes().hex()


def occlusion(source: str, target: str) -> float:
    """The share, 0 to 1, of the cells seen in the target that the source does not show; NaN where the target shows none.

    Args:
        source: the cells in sight, as `to_text` writes them; empty: not known, which gives NaN.
        target: likewise, of the same surface.

    Raises:
        ValueError: a text is not hexadecimal, or they are of surfaces with different numbers of cells.
    """
    if not source or not target:
        return float("nan")
    if len(source) != len(target):
        raise ValueError(f"{source} has {4 * len(source)} cells and {target} {4 * len(target)}")
    shown, seen = (int.from_bytes(bytes.fromhex(text), "big") for text in (source, target))
    return (seen & ~shown).bit_count() / seen.bit_count() if seen else float("nan")
