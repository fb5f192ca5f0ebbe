"""The visible cells of a garment's surface as text, and the occlusion between two photos.

A surface is divided into cells that are fixed to it, so that a bit means the same piece of cloth in every photo of an item.
The renderer writes the visible cells (`figures.csv`, column `visible`). For real photos they are unknown.
"""

import numpy as np


def to_text(visible: np.ndarray) -> str:
    """Cells (n,) bool, n a multiple of 8, as n / 4 hexadecimal digits; the first cell is the highest bit."""
    return np.packbits(visible).tobytes().hex()


def occlusion(source: str, target: str) -> float:
    """The share, 0 to 1, of the target's visible cells that are hidden in the source.

    NaN if either text (of `to_text`) is empty, which means unknown, or no cell is visible in the target.

    Raises:
        ValueError: a text is not hexadecimal, or the two have different numbers of cells.
    """
    if not source or not target:
        return float("nan")
    if len(source) != len(target):
        raise ValueError(f"{source} has {4 * len(source)} cells and {target} {4 * len(target)}")
    shown, seen = (int.from_bytes(bytes.fromhex(text), "big") for text in (source, target))
    return (seen & ~shown).bit_count() / seen.bit_count() if seen else float("nan")
