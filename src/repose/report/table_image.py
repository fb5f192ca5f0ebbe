"""A table as an image: titled groups of columns, thin rules, and cells with an optional second line in small print."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repose.data.pictures import broken

_INK, _SOFT, _RULE, _TINT, _WHITE = (30, 30, 30), (125, 125, 125), (60, 60, 60), (222, 236, 247), (255, 255, 255)
_TEXT, _SMALL, _NOTE = 21, 15, 16  # font sizes in px
_ROW, _HEAD, _LINE = 54, 40, 24  # heights in px of a row, a head line, a note line
_MARGIN, _PAD, _GAP = 28, 14, 26  # px around the table, beside the text of a cell, between groups


class Cell(NamedTuple):
    """The text of a cell."""

    text: str
    under: str = ""  # small print below the text
    marked: bool = False  # with a tinted background
    soft: bool = False  # in gray


class Group(NamedTuple):
    """Columns under one title."""

    title: str
    columns: Sequence[str]


class _Column(NamedTuple):
    """The position of a column in px. The text of the first group is left-aligned."""

    left: int
    width: int
    flush: bool

    def place(self) -> tuple[float, str]:
        """The x coordinate of the text and the horizontal letter of Pillow's anchor."""
        return (self.left + _PAD, "l") if self.flush else (self.left + self.width / 2, "m")


def draw_sheet(groups: Sequence[Group], rows: Sequence[Sequence[Cell] | None], notes: Sequence[str]) -> np.ndarray:
    """Draw a table with notes below, (h,w,3) uint8.

    Args:
        groups: the groups of columns, from left to right.
        rows: one cell per column of all groups; None draws a rule.
        notes: paragraphs, wrapped to the width of the table.
    """
    columns, spans = _layout(groups, [row for row in rows if row is not None])
    width = spans[-1][1] + _MARGIN
    lines = [line for note in notes for line in broken(note, _font(_NOTE), width - 2 * _MARGIN)]
    bottom = _MARGIN + 2 * _HEAD + sum(row is not None for row in rows) * _ROW
    canvas = Image.new("RGB", (width, bottom + (14 + len(lines) * _LINE if lines else 0) + _MARGIN), _WHITE)
    pen = ImageDraw.Draw(canvas)
    _draw_head(pen, groups, columns, spans)
    top = _MARGIN + 2 * _HEAD
    for y, thickness in ((_MARGIN, 2), (top, 2), (bottom, 2)):
        _rule(pen, spans, y, thickness)
    for row in rows:
        if row is None:
            _rule(pen, spans, top, 1)
        else:
            _draw_row(pen, row, columns, top)
            top += _ROW
    for number, line in enumerate(lines):
        pen.text((_MARGIN, bottom + 14 + _LINE * number), line, fill=_SOFT, font=_font(_NOTE))
    return np.asarray(canvas)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 (for mypy: a size was given)
    return font


def _layout(groups: Sequence[Group], rows: Sequence[Sequence[Cell]]) -> tuple[list[_Column], list[tuple[int, int]]]:
    """The columns, and the left and right edges of each group."""
    columns: list[_Column] = []
    spans: list[tuple[int, int]] = []
    left = _MARGIN
    for group in groups:
        first, start = len(columns), left
        widths = [_width(title, [row[first + n] for row in rows]) for n, title in enumerate(group.columns)]
        lack = _font(_TEXT).getlength(group.title) + 2 * _PAD - sum(widths)
        for width in widths:
            columns.append(_Column(left, width + max(0, int(np.ceil(lack / len(widths)))), flush=not spans))
            left += columns[-1].width
        spans.append((start, left))
        left += _GAP
    return columns, spans


def _width(title: str, cells: Sequence[Cell]) -> int:
    texts = [(title, _TEXT), *((cell.text, _TEXT) for cell in cells), *((cell.under, _SMALL) for cell in cells)]
    return int(np.ceil(max(_font(size).getlength(text) for text, size in texts))) + 2 * _PAD


def _draw_head(
    pen: ImageDraw.ImageDraw, groups: Sequence[Group], columns: Sequence[_Column], spans: Sequence[tuple[int, int]]
) -> None:
    middle = _MARGIN + _HEAD / 2
    for group, (start, end) in zip(groups, spans, strict=True):
        pen.text(((start + end) / 2, middle), group.title, fill=_INK, font=_font(_TEXT), anchor="mm")
        if group.title:
            pen.line((start + _PAD, _MARGIN + _HEAD, end - _PAD, _MARGIN + _HEAD), fill=_RULE)
    for title, column in zip([title for group in groups for title in group.columns], columns, strict=True):
        x, anchor = column.place()
        pen.text((x, middle + _HEAD), title, fill=_INK, font=_font(_TEXT), anchor=f"{anchor}m")


def _draw_row(pen: ImageDraw.ImageDraw, row: Sequence[Cell], columns: Sequence[_Column], top: int) -> None:
    for column, cell in zip(columns, row, strict=True):
        if cell.marked:
            box = (column.left + 3, top + 4, column.left + column.width - 3, top + _ROW - 4)
            pen.rounded_rectangle(box, 6, fill=_TINT)
        x, anchor = column.place()
        y = top + _ROW / 2 - (10 if cell.under else 0)
        pen.text((x, y), cell.text, fill=_SOFT if cell.soft else _INK, font=_font(_TEXT), anchor=f"{anchor}m")
        pen.text((x, y + 21), cell.under, fill=_SOFT, font=_font(_SMALL), anchor=f"{anchor}m")


def _rule(pen: ImageDraw.ImageDraw, spans: Sequence[tuple[int, int]], y: int, width: int) -> None:
    pen.line((spans[0][0], y, spans[-1][1], y), fill=_RULE, width=width)
