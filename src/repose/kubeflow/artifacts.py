"""Write a step's artifacts for Kubeflow: for each output a pointer to the data, its page, or its bytes, and metadata."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.entries import Entry, outputs_of, write_entry
from repose.kubeflow.needs import Environment, OutMeta, needs_of, out_meta
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Stage
from repose.kubeflow.task import Task, report
from repose.kubeflow.workspace import bring
from repose.storage.atomic import whole_file, write_text
from repose.storage.remote import Remote

_PAGES = ("HTML", "Markdown")


def hand_on(task: Task, project: Project, stage: Stage, entry: Entry, remote: Remote) -> None:
    """Write a stage's artifacts and their metadata. Outputs that are not in the workspace are fetched as needed.

    Raises:
        ReposeError: an artifact is not an output of the stage, or its file is missing or cannot be shown.
    """
    meta, facts = needs_of(stage, Environment()), outputs_of(stage, entry)
    settings = {out.path: out_meta(out, meta) for out in stage.outs}
    names = task.words[1:]  # in the order of the stage's outputs
    if len(names) != len(settings) or {artifact.name for artifact in task.outputs} != set(names):
        raise ReposeError(
            f"The task has {len(names)} outputs, but {stage.address} has {len(settings)} in this image's dvc.yaml. Was the "
            "pipeline compiled from another version? Compile it from the commit that the image was built from."
        )
    shown = {path: _shown(path, kind) for path, kind in settings.items()}
    if missing := [part for part in shown.values() if part and not (project.folder / part).exists()]:
        bring(project, remote, {stage.address: entry}, missing)
    entry_id = write_entry(remote, stage.address, entry)
    files = {artifact.name: artifact.file for artifact in task.outputs}
    metadata: dict[str, dict[str, Any]] = {}
    for name, (path, kind) in zip(names, settings.items(), strict=True):
        about = {"path": path, "md5": facts[path]["md5"], "size": facts[path].get("size", 0), "remote": remote.address}
        about |= {"nfiles": facts[path].get("nfiles", 1), "stage": stage.address, "entry": entry_id}
        metadata[name] = about
        if kind.type == "Metrics":  # Kubeflow's "Compare runs" shows all numbers, so DVC's are written as text
            metadata[name] = {key: str(value) for key, value in about.items()} | _numbers(project.folder / path)
        _write(files[name], project.folder / shown[path] if shown[path] else None, about)
    report(task, metadata)


def _shown(path: str, kind: OutMeta) -> str:
    """The path of the file or folder whose bytes Kubeflow gets, or that is read; empty for a pointer."""
    if kind.type in _PAGES and kind.page:
        return f"{path}/{kind.page}"
    return path if kind.export or kind.type in (*_PAGES, "Metrics") else ""


def _write(file: Path, source: Path | None, about: Mapping[str, Any]) -> None:
    """Write an artifact: the bytes of `source`, or a pointer."""
    if source is None:
        write_text(file, json.dumps(about, indent=1) + "\n")
    elif source.is_dir():
        shutil.copytree(source, file, dirs_exist_ok=True)
    elif source.is_file():
        with whole_file(file) as partial:
            shutil.copyfile(source, partial)
    else:
        raise ReposeError(
            f"{about['stage']} wrote no {source.name} to {about['path']}, but meta.kfp in dvc.yaml refers to it."
        )


def _numbers(file: Path) -> dict[str, float]:
    """The finite numbers of a metrics file by their dotted keys; Kubeflow rejects others."""
    from dvc.utils.serialize import PARSERS, ParseError

    try:
        text = file.read_text("utf-8")
        values = PARSERS[file.suffix](text, str(file)) if file.suffix in (".json", ".toml") else parse_yaml(text)
    except (ValueError, ParseError) as error:
        raise ReposeError(f"The metrics file {file.name} is not {file.suffix[1:] or 'YAML'} ({error}).") from None

    def flat(value: Any, key: str) -> dict[str, float]:
        if isinstance(value, Mapping):
            below = (flat(child, f"{key}.{name}" if key else str(name)) for name, child in value.items())
            return {name: number for numbers in below for name, number in numbers.items()}
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return {key: value} if number else {}

    return flat(values, "")
