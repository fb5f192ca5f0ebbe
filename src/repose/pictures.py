"""Pictures for people: rows of images side by side, with a word above each column."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP, _WHITE, _INK = 4, (255, 255, 255), (40, 40, 40)


def grid(rows: Sequence[Sequence[np.ndarray | None]], titles: Sequence[str], zoom: int = 1) -> np.ndarray:
    """Rows of equally large images (H,W,3) uint8 under their titles; None leaves a place empty. -> (h,w,3) uint8.

    `zoom` repeats each pixel so often along both sides.
    """
    height, width = (zoom * side for side in next(i for row in rows for i in row if i is not None).shape[:2])
    header = 20
    canvas = Image.new(
        "RGB", (len(titles) * (width + _GAP) + _GAP, header + len(rows) * (height + _GAP) + _GAP), _WHITE
    )
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for column, title in enumerate(titles):
        left = _GAP + column * (width + _GAP)
        pen.text((left + width / 2, header / 2 + 1), title, fill=_INK, font=font, anchor="mm")
        for number, row in enumerate(rows):
            image = row[column]
            if image is not None:
                large = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
                canvas.paste(large, (left, header + _GAP + number * (height + _GAP)))
    return np.asarray(canvas)
