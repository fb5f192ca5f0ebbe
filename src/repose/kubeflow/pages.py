"""Pages for Kubeflow's interface: one HTML file that needs nothing else, from what a stage wrote."""

import base64
import html
from pathlib import PurePosixPath

from repose.errors import ReposeError
from repose.report.curves import charts

_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff}img{max-width:100%}"
    "svg{margin:0 1rem 1rem 0}pre{white-space:pre-wrap}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#1a1a1a}}"
)


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
            return _page(path, "".join(charts(content.decode("utf-8"), "\t" if kind == ".tsv" else ",")))
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
