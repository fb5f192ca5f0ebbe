"""Write a step's artifacts for Kubeflow: for each output a pointer to the data, its page, or its bytes, and metadata."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repose.errors import ReposeError, SettingsError
from repose.kubeflow.entries import Entry, outputs_of, write_entries
from repose.kubeflow.needs import Environment, OutMeta, needs_of, out_meta
from repose.kubeflow.params import parse
from repose.kubeflow.project import Project
from repose.kubeflow.task import Task, report
from repose.kubeflow.workspace import bring
from repose.storage.atomic import whole_file, write_text
from repose.storage.remote import Remote
from repose.terminal import say

_PAGES = ("HTML", "Markdown")


def hand_on(task: Task, project: Project, entries: Mapping[str, Entry], remote: Remote) -> None:
    """Write a stage's artifacts, their metadata and the ID of its entry. What they show is fetched: the image's may be older.

    Raises:
        ReposeError: an artifact is not an output of the stage, or its file is missing or cannot be shown.
    """
    stage, entry = project[task.stage], entries[task.stage]
    meta, facts = needs_of(stage, Environment()), outputs_of(stage, entry)
    settings = {out.path: out_meta(out, meta) for out in stage.outs}
    names = task.words[1:]  # in the order of the stage's outputs
    if len(names) != len(settings) or {artifact.name for artifact in task.outputs} != set(names):
        raise ReposeError(
            f"The task has {len(names)} outputs, but {stage.address} has {len(settings)} in this image's dvc.yaml. Was the "
            "pipeline compiled from another version? Compile it from the commit that the image was built from."
        )
    metrics = {out.path: out.metrics or (out.path,) for out in stage.outs if settings[out.path].type == "Metrics"}
    shown = {path: _shown(path, kind, metrics.get(path, ())) for path, kind in settings.items()}
    bring(project, remote, {stage.address: entry}, filter(None, [*shown.values(), *metrics]))
    files = {artifact.name: artifact.file for artifact in task.outputs}
    metadata: dict[str, dict[str, Any]] = {}
    for name, (path, kind) in zip(names, settings.items(), strict=True):
        about = {"path": path, "md5": facts[path]["md5"], "size": facts[path].get("size", 0), "remote": remote.address}
        about |= {"nfiles": facts[path].get("nfiles", 1), "stage": stage.address}
        metadata[name] = about
        if kind.type == "Metrics":  # Kubeflow's "Compare runs" shows all numbers, so DVC's are written as text
            metadata[name] = {key: str(value) for key, value in about.items()} | _numbers(
                project.folder, path, metrics[path]
            )
        _write(files[name], project.folder / shown[path] if shown[path] else None, about)
    report(task, write_entries(remote, entries), metadata)


def _shown(path: str, kind: OutMeta, metrics: tuple[str, ...]) -> str:
    """The path of the file or folder whose bytes Kubeflow gets; empty for a pointer."""
    if kind.type in _PAGES and kind.page:
        return f"{path}/{kind.page}"
    return path if kind.export or kind.type in _PAGES or path in metrics else ""


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


def _numbers(folder: Path, out: str, files: Sequence[str]) -> dict[str, float]:
    """The finite numbers of an output's metrics files by dotted keys, after the file's path unless there is one file of keys.

    Kubeflow rejects others. A file may be missing, as DVC does not ask for it. A file that cannot be read has no numbers.
    """
    found: dict[str, float] = {}
    given = [folder / name for name in files]
    for path in [file for one in given for file in (one, *sorted(one.rglob("*"))) if file.is_file()]:
        try:
            values = parse(path.read_text("utf-8"), path.suffix, f"The metrics file {path.name}")
        except (SettingsError, UnicodeDecodeError) as error:
            say(f"Kubeflow gets no numbers of {path.relative_to(folder)}: {error}")
            continue
        unnamed = given == [path] and isinstance(values, Mapping)
        name = ".".join([*path.relative_to(folder / out).parts[:-1], path.stem])
        found |= _flat(values, "" if unnamed else f"{name}.")
    return found


def _flat(value: Any, key: str) -> dict[str, float]:
    if isinstance(value, Mapping):
        below = (_flat(child, f"{key}{name}.") for name, child in value.items())
        return {name: number for numbers in below for name, number in numbers.items()}
    real = isinstance(value, int | float) and not isinstance(value, bool)
    number = real and abs(value) <= sys.float_info.max  # a whole number may be larger than any float
    return {key.removesuffix("."): value} if number else {}
