"""The pictures of the README: `python docs/pictures.py` after `make demo`.

docs/demo.jpg is the top of the demo's results/picture.png; docs/mannequins.jpg shows the first items that have enough
photos, four of fashion with five photos each above two of street with twenty.
"""

from pathlib import Path

import numpy as np

from mannequins.renderer import MannequinSettings, contact_sheet
from repose.data.images import decode, encode_jpeg
from repose.storage.atomic import write_bytes

HERE = Path(__file__).parent
ROWS_END = 684  # px: five of its rows


def main() -> None:
    """Make both pictures anew."""
    fashion = contact_sheet(MannequinSettings("fashion", 60, seed=0, quality=90), rows=4, columns=5)
    street = contact_sheet(MannequinSettings("street", 60, seed=0, quality=90), rows=2, columns=20)
    room = np.full((8, fashion.shape[1], 3), 255, np.uint8)
    write_bytes(HERE / "mannequins.jpg", encode_jpeg(np.concatenate([fashion, room, street]), 88))
    demo = decode((HERE.parent / "results" / "picture.png").read_bytes())
    write_bytes(HERE / "demo.jpg", encode_jpeg(demo[:ROWS_END], 92))


if __name__ == "__main__":
    main()
