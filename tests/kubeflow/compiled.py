"""What a compiled pipeline says, read back from its text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from repose.kubeflow import compiler
from repose.kubeflow.components import pipeline_of, text_of
from repose.kubeflow.project import Project, read_project
from repose.kubeflow.stages import address_of as address_in_dvc
from repose.kubeflow.stages import is_pipeline


class Pipeline(NamedTuple):
    """A compiled pipeline."""

    spec: dict[str, Any]
    tasks: dict[str, dict[str, Any]]  # of the stages, by address
    executors: dict[str, dict[str, Any]]  # of each stage's task: its container
    platform: dict[str, dict[str, Any]]  # of each stage's task: what Kubernetes is asked for


def read(text: str) -> Pipeline:
    """A compiled pipeline by its stages' addresses."""
    spec, *more = yaml.safe_load_all(text)
    kubernetes = more[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if more else {}
    (inner,) = (component["dag"] for component in spec["components"].values() if "dag" in component)
    tasks = {address_of(task): task for task in inner["tasks"].values()}
    labels = {
        address: spec["components"][task["componentRef"]["name"]]["executorLabel"] for address, task in tasks.items()
    }
    return Pipeline(
        spec, tasks,
        {address: spec["deploymentSpec"]["executors"][label]["container"] for address, label in labels.items()},
        {address: kubernetes.get(label, {}) for address, label in labels.items()},
    )  # fmt: skip


def address_of(task: Mapping[str, Any]) -> str:
    """The stage of a task."""
    return str(task["inputs"]["parameters"]["stage"]["runtimeValue"]["constant"])


def edges(text: str) -> set[tuple[str, str]]:
    """Stage and the stage whose artifact it takes, for every artifact that goes from task to task."""
    spec = yaml.safe_load_all(text)
    (inner,) = (component["dag"] for component in next(spec)["components"].values() if "dag" in component)
    names = {name: address_of(task) for name, task in inner["tasks"].items()}
    return {
        (names[name], names[artifact["taskOutputArtifact"]["producerTask"]])
        for name, task in inner["tasks"].items()
        for artifact in task["inputs"].get("artifacts", {}).values()
    }


def edges_of_dvc(project: Project) -> set[tuple[str, str]]:
    """DVC's graph: stage and a stage that it waits for."""
    ours = {stage.address for stage in project.stages}
    pairs = ((a, b) for a, b in project.repo.index.graph.edges if is_pipeline(a) and is_pipeline(b))
    return {(address_in_dvc(a), address_in_dvc(b)) for a, b in pairs if address_in_dvc(a) in ours}


def text_for(project: Project, environment: str | None = None) -> str:
    """The compiled pipeline."""
    return text_of(pipeline_of(compiler.plan_for(project, environment)), project.file)


def compile_(folder: Path, environment: str | None = None, file: str = "dvc.yaml") -> Pipeline:
    """The compiled pipeline of a folder, read back."""
    return read(text_for(read_project(folder, file), environment))


def parameters(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """The parameters of a pipeline."""
    found: dict[str, dict[str, Any]] = pipeline.spec["root"]["inputDefinitions"]["parameters"]
    return found


def edit(path: Path, old: str, new: str) -> None:
    """Replace a part of a file, which must be there."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
