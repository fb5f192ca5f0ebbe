"""Contact sheets: rows of images side by side, with a title above each column."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP, _WHITE, _INK = 4, (255, 255, 255), (40, 40, 40)
_LINE, _MARGIN = 14, 6  # px of a line of a title; px above plus below the title


def grid(rows: Sequence[Sequence[np.ndarray | None]], titles: Sequence[str], zoom: int = 1) -> np.ndarray:
    """Rows of images (H,W,3) uint8 of one size, under their titles -> (h,w,3) uint8; None leaves a cell empty.

    `zoom` repeats each pixel that many times along both axes. A title wider than its column is wrapped.
    """
    height, width = (zoom * side for side in next(i for row in rows for i in row if i is not None).shape[:2])
    font = ImageFont.load_default(size=12)
    lines_of = [broken(title, font, width) for title in titles]
    header = _MARGIN + _LINE * max(map(len, lines_of))
    size = len(titles) * (width + _GAP) + _GAP, header + len(rows) * (height + _GAP) + _GAP
    canvas = Image.new("RGB", size, _WHITE)
    pen = ImageDraw.Draw(canvas)
    for column, lines in enumerate(lines_of):
        left = _GAP + column * (width + _GAP)
        for number, line in enumerate(lines):
            middle = header / 2 + 1 + _LINE * (number - (len(lines) - 1) / 2)
            pen.text((left + width / 2, middle), line, fill=_INK, font=font, anchor="mm")
        for number, row in enumerate(rows):
            image = row[column]
            if image is not None:
                large = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
                canvas.paste(large, (left, header + _GAP + number * (height + _GAP)))
    return np.asarray(canvas)


def broken(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Wrap a text after spaces and hyphens to lines of at most `width` px; a longer word gets its own line."""
    lines = [""]
    for word in re.findall(r"[^ -]+[ -]*|[ -]+", title):
        if lines[-1] and font.getlength((lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]
