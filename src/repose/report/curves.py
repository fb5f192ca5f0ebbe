"""Curves as SVG, each standing in a page by itself: no script, no style from elsewhere, text in the colour around it."""

import csv
import html
import io
from collections.abc import Sequence

_WIDTH, _HEIGHT, _EDGE = 340, 160, 28  # px of a chart
_LINE = "#3b76c4"  # told apart from a white and from a black ground


def charts(text: str, separator: str = ",") -> list[str]:
    """A chart for each column of numbers of a table, over its first column.

    Args:
        text: of the table, with a header; a place may be empty.
        separator: of its columns.

    Raises:
        ValueError: something is no number, or a row is longer or shorter than the header.
    """
    head, *rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    numbers = {name: [_number(cell) for cell in cells] for name, cells in columns.items()}
    x, *others = numbers
    return [chart(name, numbers[x], numbers[name]) for name in others if any(v is not None for v in numbers[name])]


def chart(name: str, x: Sequence[float | None], y: Sequence[float | None]) -> str:
    """One line: `y` over `x`, where both are there; its range and last value are said above it.

    Args:
        name: of `y`, above the line.
        x: ascending.
        y: as many; at least one point has both.
    """
    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*points, strict=True))
    across, up = (_WIDTH - 2 * _EDGE) / ((right - left) or 1), (_HEIGHT - 2 * _EDGE) / ((high - low) or 1)
    line = " ".join(f"{_EDGE + (a - left) * across:.1f},{_HEIGHT - _EDGE - (b - low) * up:.1f}" for a, b in points)
    said = f"{low:.4g} to {high:.4g}, last {points[-1][1]:.4g}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(name)}: {said}" fill="currentColor" font-size="11">'
        f'<text x="{_EDGE}" y="14" font-weight="bold">{html.escape(name)}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="14" text-anchor="end">{said}</text>'
        f'<text x="{_EDGE}" y="{_HEIGHT - 8}">{left:g}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 8}" text-anchor="end">{right:g}</text>'
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="1.5"/></svg>'
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
