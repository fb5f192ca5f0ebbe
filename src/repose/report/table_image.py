"""A table as a picture: groups of columns under their titles, thin rules, a second line of small print in a cell."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repose.data.pictures import broken

_INK, _SOFT, _RULE, _TINT, _WHITE = (30, 30, 30), (125, 125, 125), (60, 60, 60), (222, 236, 247), (255, 255, 255)
_TEXT, _SMALL, _NOTE = 21, 15, 16  # px of letters
_ROW, _HEAD = 54, 40  # px of a row, of a line of the head
_MARGIN, _PAD, _GAP = 28, 14, 26  # px around all, beside a cell's text, between groups


class Cell(NamedTuple):
    """What one place of the table says."""

    text: str
    under: str = ""  # small print below
    marked: bool = False  # on a tint
    soft: bool = False  # in grey


class Group(NamedTuple):
    """Columns that belong together."""

    title: str
    columns: Sequence[str]


def draw_sheet(groups: Sequence[Group], rows: Sequence[Sequence[Cell] | None], notes: Sequence[str]) -> np.ndarray:
    """A table with `notes` below -> (h,w,3) uint8.

    Args:
        groups: of columns, from the left; the first one's text is flushed left.
        rows: a cell for each column of all groups; None is a rule.
        notes: sentences, which are broken into lines of the table's width.
    """
    lefts, widths, spans = _columns(groups, rows)
    width = spans[-1][1] + _MARGIN
    lines = [line for note in notes for line in broken(note, _font(_NOTE), width - 2 * _MARGIN)]
    filled = [row for row in rows if row is not None]
    bottom = _MARGIN + 2 * _HEAD + len(filled) * _ROW
    height = bottom + (14 + len(lines) * 24 if lines else 0) + _MARGIN
    canvas = Image.new("RGB", (width, height), _WHITE)
    pen = ImageDraw.Draw(canvas)
    _draw_head(pen, groups, lefts, widths, spans)
    top = _MARGIN + 2 * _HEAD
    _rule(pen, spans, top, 2)
    for row in rows:
        if row is None:
            _rule(pen, spans, top, 1)
            continue
        _draw_row(pen, row, lefts, widths, top, left_columns=len(groups[0].columns))
        top += _ROW
    _rule(pen, spans, top, 2)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, bottom + 14 + 24 * number), line, fill=_SOFT, font=_font(_NOTE))
    return np.asarray(canvas)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 (for mypy: a size was given)
    return font


def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _columns(
    groups: Sequence[Group], rows: Sequence[Sequence[Cell] | None]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Of each column the left edge and the width in px, and of each group its left and right edge."""
    lefts: list[int] = []
    widths: list[int] = []
    spans = []
    left = _MARGIN
    for group in groups:
        first = len(widths)
        cells = [[row[first + n] for row in rows if row is not None] for n in range(len(group.columns))]
        own = [_column_width(title, column) for title, column in zip(group.columns, cells, strict=True)]
        lack = _length(group.title, _TEXT) + 2 * _PAD - sum(own)
        own = [width + max(0, int(np.ceil(lack / len(own)))) for width in own]
        start = left
        for width in own:
            lefts.append(left)
            widths.append(width)
            left += width
        spans.append((start, left))
        left += _GAP
    return lefts, widths, spans


def _column_width(title: str, cells: Sequence[Cell]) -> int:
    lengths = [max(_length(cell.text, _TEXT), _length(cell.under, _SMALL)) for cell in cells]
    return int(np.ceil(max([_length(title, _TEXT), *lengths]))) + 2 * _PAD


def _draw_head(
    pen: ImageDraw.ImageDraw, groups: Sequence[Group], lefts: Sequence[int], widths: Sequence[int],
    spans: Sequence[tuple[int, int]],
) -> None:  # fmt: skip
    _rule(pen, spans, _MARGIN, 2)
    column = 0
    for number, (group, (start, end)) in enumerate(zip(groups, spans, strict=True)):
        middle = _MARGIN + _HEAD / 2
        pen.text(((start + end) / 2, middle), group.title, fill=_INK, font=_font(_TEXT), anchor="mm")
        if group.title:
            pen.line((start + _PAD, _MARGIN + _HEAD, end - _PAD, _MARGIN + _HEAD), fill=_RULE)
        for title in group.columns:
            flush = number == 0
            x = lefts[column] + (_PAD if flush else widths[column] / 2)
            pen.text((x, middle + _HEAD), title, fill=_INK, font=_font(_TEXT), anchor="lm" if flush else "mm")
            column += 1


def _draw_row(
    pen: ImageDraw.ImageDraw, row: Sequence[Cell], lefts: Sequence[int], widths: Sequence[int], top: int,
    left_columns: int,
) -> None:  # fmt: skip
    for column, cell in enumerate(row):
        left, width = lefts[column], widths[column]
        if cell.marked:
            pen.rounded_rectangle((left + 3, top + 4, left + width - 3, top + _ROW - 4), 6, fill=_TINT)
        flush = column < left_columns
        x, anchor = (left + _PAD, "lm") if flush else (left + width / 2, "mm")
        middle = top + _ROW / 2 - (10 if cell.under else 0)
        pen.text((x, middle), cell.text, fill=_SOFT if cell.soft else _INK, font=_font(_TEXT), anchor=anchor)
        pen.text((x, middle + 21), cell.under, fill=_SOFT, font=_font(_SMALL), anchor=anchor)


def _rule(pen: ImageDraw.ImageDraw, spans: Sequence[tuple[int, int]], y: int, width: int) -> None:
    pen.line((spans[0][0], y, spans[-1][1], y), fill=_RULE, width=width)
