"""Line charts as inline SVG, without scripts or external styles. Their text has the color of the page."""

import csv
import html
import io
from collections.abc import Sequence

from repose.terminal import printable

_WIDTH, _HEIGHT, _EDGE = 340, 160, 28  # px of a chart
_LINE = "#3b76c4"  # readable on white and on black


def charts(text: str) -> list[str]:
    """Charts of the columns of a CSV with a header as SVG, each against the first column; cells may be empty.

    Raises:
        ValueError: a cell is not a number, or a row is longer or shorter than the header.
    """
    head, *rows = list(csv.reader(io.StringIO(text)))
    columns = dict(zip(head, zip(*rows, strict=True) if rows else [()] * len(head), strict=True))
    numbers = {name: [float(cell) if cell else None for cell in cells] for name, cells in columns.items()}
    x, *others = numbers
    return [chart(name, numbers[x], numbers[name]) for name in others if any(v is not None for v in numbers[name])]


def chart(name: str, x: Sequence[float | None], y: Sequence[float | None]) -> str:
    """A line chart of `y` against ascending `x`, with the range and the last value of `y` above it.

    At least one point must have both values.
    """
    name = html.escape(printable(name))
    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*points, strict=True))
    across, up = (_WIDTH - 2 * _EDGE) / ((right - left) or 1), (_HEIGHT - 2 * _EDGE) / ((high - low) or 1)
    line = " ".join(f"{_EDGE + (a - left) * across:.1f},{_HEIGHT - _EDGE - (b - low) * up:.1f}" for a, b in points)
    summary = f"{low:.4g} to {high:.4g}, last {points[-1][1]:.4g}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{name}: {summary}" fill="currentColor" font-size="11">'
        f'<text x="{_EDGE}" y="14" font-weight="bold">{name}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="14" text-anchor="end">{summary}</text>'
        f'<text x="{_EDGE}" y="{_HEIGHT - 8}">{left:.10g}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 8}" text-anchor="end">{right:.10g}</text>'
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="1.5"/></svg>'
    )
