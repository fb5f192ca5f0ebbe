"""The pictures of the README: `python docs/pictures.py` after `make demo`.

docs/demo.jpg is the top of the demo's results/picture.png; docs/mannequins.jpg shows the first items that have enough
photos, four of fashion with five photos each above two of street with twenty.
"""

from itertools import islice
from pathlib import Path

import numpy as np

from mannequins.renderer import MannequinSettings, render_item
from repose.data.images import decode, encode_jpeg
from repose.storage.atomic import write_bytes

HERE = Path(__file__).parent
ROWS_END = 684  # px: five of its rows


def sheet(settings: MannequinSettings, rows: int, columns: int) -> np.ndarray:
    """The first items with enough photos, a row per item: (H, W, 3) uint8."""
    photos = (render_item(settings, number)[:columns] for number in range(settings.items))
    full = islice((row for row in photos if len(row) == columns), rows)
    return np.concatenate([np.concatenate([photo.pixels for photo in row], axis=1) for row in full])


def main() -> None:
    """Make both pictures anew."""
    fashion = sheet(MannequinSettings("fashion", 60, seed=0, quality=90), rows=4, columns=5)
    street = sheet(MannequinSettings("street", 60, seed=0, quality=90), rows=2, columns=20)
    room = np.full((8, fashion.shape[1], 3), 255, np.uint8)
    write_bytes(HERE / "mannequins.jpg", encode_jpeg(np.concatenate([fashion, room, street]), 88))
    demo = decode((HERE.parent / "results" / "picture.png").read_bytes())
    write_bytes(HERE / "demo.jpg", encode_jpeg(demo[:ROWS_END], 92))


if __name__ == "__main__":
    main()
