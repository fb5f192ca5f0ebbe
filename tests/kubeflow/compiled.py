"""What a compiled pipeline says, read back from its text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import networkx
import yaml

from repose.kubeflow import compiler
from repose.kubeflow.components import pipeline_of, text_of
from repose.kubeflow.plan import Plan, Task
from repose.kubeflow.project import Project, read_project
from repose.kubeflow.stages import address_of as address_in_dvc
from repose.kubeflow.stages import is_pipeline

RECORD = "run-record"  # where a pipeline's parts are named by stage, the last task


class Pipeline(NamedTuple):
    """A compiled pipeline. Its tasks are those of the stages, by address, and the last."""

    spec: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    components: dict[str, dict[str, Any]]  # of each task
    containers: dict[str, dict[str, Any]]  # of each task
    platform: dict[str, dict[str, Any]]  # of each task: what Kubernetes is asked for

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The run form."""
        found: dict[str, dict[str, Any]] = self.spec["root"]["inputDefinitions"]["parameters"]
        return found

    @property
    def edges(self) -> set[tuple[str, str]]:
        """Stage and the stage whose entry it takes."""
        addresses = {key: address_of(task) for key, task in _inner(self.spec).items()}
        return {
            (address, addresses[given["taskOutputParameter"]["producerTask"]])
            for address, task in self.tasks.items()
            for given in task["inputs"]["parameters"].values()
            if "taskOutputParameter" in given
        }


def read(text: str) -> Pipeline:
    """A compiled pipeline by its stages' addresses."""
    spec, platform = yaml.safe_load_all(text)
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    tasks = {address_of(task): task for task in _inner(spec).values()} | {RECORD: spec["root"]["dag"]["tasks"][RECORD]}
    components = {address: spec["components"][task["componentRef"]["name"]] for address, task in tasks.items()}
    labels = {address: component["executorLabel"] for address, component in components.items()}
    return Pipeline(
        spec, tasks, components,
        {address: spec["deploymentSpec"]["executors"][label]["container"] for address, label in labels.items()},
        {address: kubernetes[label] for address, label in labels.items()},
    )  # fmt: skip


def _inner(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of the stages."""
    ((tasks),) = (component["dag"]["tasks"] for component in spec["components"].values() if "dag" in component)
    found: dict[str, dict[str, Any]] = tasks
    return found


def address_of(task: Mapping[str, Any]) -> str:
    """The stage of a task."""
    return str(task["inputs"]["parameters"]["stage"]["runtimeValue"]["constant"])


def edges_of_dvc(project: Project) -> set[tuple[str, str]]:
    """DVC's graph: stage and a stage that it waits for."""
    ours = {stage.address for stage in project.stages}
    pairs = ((a, b) for a, b in project.repo.index.graph.edges if is_pipeline(a) and is_pipeline(b))
    return {(address_in_dvc(a), address_in_dvc(b)) for a, b in pairs if address_in_dvc(a) in ours}


def reduced(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges without those that a longer way implies."""
    return set(networkx.transitive_reduction(networkx.DiGraph(edges)).edges)


def text_for(project: Project, environment: str | None = None) -> str:
    """The compiled pipeline."""
    return text_of(pipeline_of(compiler.plan_for(project, environment)), project.file)


def compile_(folder: Path, environment: str | None = None, file: str = "dvc.yaml") -> Pipeline:
    """The compiled pipeline of a folder, read back."""
    return read(text_for(read_project(folder, file), environment))


def task_of(plan: Plan, address: str) -> Task:
    """The task of a stage."""
    return next(task for task in plan.tasks if task.stage.address == address)


def environment(folder: Path, text: str, name: str = "show") -> str:
    """Write an environment of a project; return its name."""
    path = folder / "pipelines" / "environments" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def edit(path: Path, old: str, new: str) -> None:
    """Replace a part of a file, which must be there."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
