"""Write a step's artifacts for Kubeflow: a pointer or page for each output, and a report with their metadata."""

import base64
import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.lookup import Lookup
from repose.kubeflow.needs import Environment, StageMeta, needs_of, out_meta, out_names, page_names
from repose.kubeflow.pointer import Entry, write_page, write_pointer
from repose.kubeflow.stages import Stage
from repose.report.curves import charts
from repose.storage.atomic import write_text

_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff}img{max-width:100%}"
    "svg{margin:0 1rem 1rem 0}pre{white-space:pre-wrap}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#1a1a1a}}"
)


class Artifact(NamedTuple):
    """An output of a task, and where Kubeflow expects it."""

    name: str  # in Kubeflow
    file: Path
    uri: str  # the file's address in Kubeflow's storage


def hand_on(artifacts: Iterable[Artifact], report: Path, stage: Stage, entry: Entry, lookup: Lookup) -> None:
    """Write a stage's artifacts and the report.

    Raises:
        ReposeError: an artifact is not an output of the stage, or its file is missing or cannot be shown.
    """
    meta = needs_of(stage, Environment())
    paths = {name: path for path, name in out_names(stage, meta).items()}
    pages = page_names(stage, meta)
    reported = {}
    for name, file, uri in artifacts:
        if name in paths:
            metadata = _write_output(file, paths[name], stage, entry, meta, lookup)
        elif name in pages:
            page = page_of(pages[name], _content(pages[name], stage, entry, lookup))
            write_page(file, page, stage.address, entry)
            metadata = {"path": pages[name]}
        else:
            raise ReposeError(
                f"The output {name} is not one of {stage.address} in this image's dvc.yaml. Was the pipeline compiled "
                "from another version? Compile it from the commit that the image was built from."
            )
        reported[name] = {"artifacts": [{"name": name, "uri": uri, "metadata": metadata}]}
    write_text(report, json.dumps({"artifacts": reported}, indent=1))


def _write_output(file: Path, path: str, stage: Stage, entry: Entry, meta: StageMeta, lookup: Lookup) -> dict[str, Any]:
    """Write the pointer of one output; return its metadata."""
    (out,) = (o for o in entry["outs"] if stage.resolve(o["path"]) == path)
    facts = {
        "md5": out["md5"], "size": out["size"], "nfiles": out.get("nfiles", 1), "remote": lookup.remote.address, "path": path,
    }  # fmt: skip
    kind = out_meta(stage, meta, path)
    if kind.type in ("HTML", "Markdown"):
        shown = f"{path}/{kind.page}" if kind.page else path
        content = _content(shown, stage, entry, lookup)
        page = content if kind.type == "Markdown" else page_of(shown, content)
        write_page(file, page, stage.address, entry)
    else:
        write_pointer(file, stage.address, entry)
    if kind.type == "Metrics":  # Kubeflow's "Compare runs" only shows numbers; DVC's are written as text
        numbers = _numbers(path, _content(path, stage, entry, lookup))
        return {f"dvc {key}": str(value) for key, value in facts.items()} | numbers
    return facts


def _content(path: str, stage: Stage, entry: Entry, lookup: Lookup) -> bytes:
    """A file of the stage's outputs."""
    oid = lookup.file(stage, entry, path)
    if oid is None:
        raise ReposeError(
            f"Stage {stage.address} has no file {path} among its outputs, but meta.kfp in dvc.yaml refers to it."
        )
    if lookup.cache.exists(oid):
        return Path(lookup.cache.oid_to_path(oid)).read_bytes()
    return lookup.remote.object(oid)


def _numbers(path: str, content: bytes) -> dict[str, float]:
    """The numbers of a metrics file (JSON or YAML) by their dotted keys."""
    try:
        values = json.loads(content) if path.endswith(".json") else parse_yaml(content.decode())
    except ValueError as error:
        raise ReposeError(f"The metrics file {path} is neither JSON nor YAML ({error}).") from None

    def flat(value: Any, key: str) -> dict[str, float]:
        if isinstance(value, Mapping):
            below = (flat(child, f"{key}.{name}" if key else str(name)) for name, child in value.items())
            return {name: number for numbers in below for name, number in numbers.items()}
        return {key: value} if isinstance(value, int | float) and not isinstance(value, bool) else {}

    return flat(values, "")


def page_of(path: str, content: bytes) -> bytes:
    """The self-contained HTML page of a file: HTML as it is, an image, the curves of a table (CSV, TSV), or text.

    Raises:
        ReposeError: the file is of another type, or its content does not match its name.
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
