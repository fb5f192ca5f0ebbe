"""Pages for Kubeflow's interface: one HTML file that needs nothing else, from what a stage wrote."""

import base64
import csv
import html
import io
from collections.abc import Sequence
from pathlib import PurePosixPath

from repose.errors import ReposeError

_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff}img{max-width:100%}"
    "svg{margin:0 1rem 1rem 0}pre{white-space:pre-wrap}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#1a1a1a}}"
)
_WIDTH, _HEIGHT, _EDGE = 340, 160, 28  # px of a curve's chart


def page_of(path: str, content: bytes) -> bytes:
    """The page that shows a file: HTML as it is, an image, the curves of a table (CSV, TSV), or text.

    Raises:
        ReposeError: the file is of another kind, or is not what its name says.
    """
    kind = PurePosixPath(path).suffix.lower()
    if kind in (".html", ".htm"):
        return content
    if kind in _IMAGES:
        data = base64.b64encode(content).decode()
        return _page(path, f'<img alt="{html.escape(path)}" src="data:{_IMAGES[kind]};base64,{data}">')
    try:
        if kind in (".csv", ".tsv"):
            return _page(path, _curves(content.decode("utf-8"), "\t" if kind == ".tsv" else ","))
        if kind in (".md", ".txt", ".json", ".yaml"):
            return _page(path, f"<pre>{html.escape(content.decode('utf-8'))}</pre>")
    except ValueError as error:
        raise ReposeError(f"The page {path} is not {kind[1:]} ({error}). Correct the stage that writes it.") from None
    raise ReposeError(f"No page can be made of {path}: name an HTML, PNG, JPEG, SVG, CSV, TSV, Markdown or text file.")


def _page(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{body}</html>\n"
    ).encode()


def _curves(text: str, separator: str) -> str:
    """A chart for each column of numbers over the first column."""
    head, *rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    numbers = {name: [_number(cell) for cell in cells] for name, cells in columns.items()}
    x, *others = numbers
    return "".join(
        _chart(name, numbers[x], numbers[name]) for name in others if any(v is not None for v in numbers[name])
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _chart(name: str, x: Sequence[float | None], y: Sequence[float | None]) -> str:
    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*points, strict=True))
    across, up = (_WIDTH - 2 * _EDGE) / ((right - left) or 1), (_HEIGHT - 2 * _EDGE) / ((high - low) or 1)
    line = " ".join(f"{_EDGE + (a - left) * across:.1f},{_HEIGHT - _EDGE - (b - low) * up:.1f}" for a, b in points)
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" fill="currentColor" font-size="11">'
        f'<text x="{_EDGE}" y="14" font-weight="bold">{html.escape(name)}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="14" text-anchor="end">{low:.4g} to {high:.4g}, last {points[-1][1]:.4g}</text>'
        f'<text x="{_EDGE}" y="{_HEIGHT - 8}">{left:g}</text>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 8}" text-anchor="end">{right:g}</text>'
        f'<polyline points="{line}" fill="none" stroke="#3b76c4" stroke-width="1.5"/></svg>'
    )
