"""The picture of docs/ablations.md: `python docs/ablations.py` after `dvc repro ablations/dvc.yaml`.

docs/ablations.png has a bar for each row of ablations/table/table.csv: its torso-ciede2000 with the interval over test pairs.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from repose.data.images import encode_png
from repose.evaluation.results import TORSO_CIEDE2000
from repose.storage.atomic import write_bytes

HERE = Path(__file__).parent
TABLE = HERE.parent / "ablations" / "table" / "table.csv"
ROW, TEXT, BARS, ROOM = 30, 190, 620, 90  # px: a row's height, its name's width, the longest bar, and beyond it
INK, SOFT, BASELINE, TRAINED = (40, 40, 40), (125, 125, 125), (190, 190, 190), (96, 142, 190)


def main() -> None:
    """Draw the picture anew."""
    write_bytes(HERE / "ablations.png", encode_png(chart(pd.read_csv(TABLE))))


def chart(table: pd.DataFrame) -> np.ndarray:
    """A bar for each row that has a score, in the table's order; grey are the baselines -> (h,w,3) uint8."""
    rows = table[table[TORSO_CIEDE2000].notna()].reset_index(drop=True)
    canvas = Image.new("RGB", (TEXT + BARS + ROOM, (len(rows) + 2) * ROW), (255, 255, 255))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=15)
    scale = BARS / rows[f"{TORSO_CIEDE2000} high"].max()  # px of one unit
    percent = f"{100 * rows['confidence'].iloc[0]:g} %"
    title = (
        f"torso-ciede2000 (CIEDE2000 inside the torso, lower is better), with the {percent} interval over test pairs"
    )
    pen.text((10, ROW / 2), title, fill=INK, font=font, anchor="lm")
    for number, row in rows.iterrows():
        middle = (int(str(number)) + 1.5) * ROW
        _draw_bar(pen, font, row, middle, scale)
    return np.asarray(canvas)


def _draw_bar(
    pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, row: pd.Series, middle: float, scale: float
) -> None:  # fmt: skip
    mean, low, high = (TEXT + float(row[f"{TORSO_CIEDE2000}{end}"]) * scale for end in ("", " low", " high"))
    colour = BASELINE if pd.isna(row["kind"]) else TRAINED
    pen.text((TEXT - 10, middle), row["system"], fill=INK, font=font, anchor="rm")
    pen.rectangle((TEXT, middle - 9, mean, middle + 9), fill=colour)
    pen.line((low, middle, high, middle), fill=INK, width=2)
    for end in (low, high):
        pen.line((end, middle - 4, end, middle + 4), fill=INK, width=2)
    pen.text((high + 10, middle), f"{row[TORSO_CIEDE2000]:.1f}", fill=SOFT, font=font, anchor="lm")


if __name__ == "__main__":
    main()
