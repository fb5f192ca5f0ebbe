"""Plan the compilation of a dvc.yaml: a task for each stage, with its inputs, params and needs, under unique names."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from repose.config import nearest
from repose.errors import ReposeError
from repose.kubeflow.needs import Environment, StageMeta, needs_of, out_meta, out_names, page_names
from repose.kubeflow.params import Leaf, leaves_of
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Producer, Stage, name_of, task_name

RECORD = "run-record"  # the task that writes the run's record, whether or not the run succeeds


class Port(NamedTuple):
    """An artifact that a task takes."""

    name: str
    producer: Producer
    type: str


class Version(NamedTuple):
    """The data of a .dvc file that a task reads."""

    name: str
    md5: str


@dataclass(frozen=True)
class Task:
    """A stage as the compiler sees it."""

    stage: Stage
    meta: StageMeta
    inputs: tuple[Port, ...]
    leaves: tuple[Leaf, ...]
    versions: tuple[Version, ...]

    @property
    def outputs(self) -> dict[str, str]:
        """The type of each output artifact of the task, by name."""
        outs: dict[str, str] = {}
        for path, name in out_names(self.stage, self.meta).items():
            outs[name] = out_meta(self.stage, self.meta, path).type
        return outs | dict.fromkeys(page_names(self.stage, self.meta), "HTML")


@dataclass(frozen=True)
class Plan:
    """The tasks of a pipeline, in DVC's order."""

    project: Project
    environment: Environment
    tasks: tuple[Task, ...]
    remote: str | None  # address of DVC's remote; None: given for each run
    endpoint: str  # of an S3 server other than Amazon's

    def __getitem__(self, address: str) -> Task:
        """The task of a stage."""
        return next(task for task in self.tasks if task.stage.address == address)

    @cached_property
    def groups(self) -> dict[str, list[Task]]:
        """The tasks of each component, by its name."""
        groups: dict[str, list[Task]] = {}
        for task in self.tasks:
            groups.setdefault(task_name(task.stage.group), []).append(task)
        return groups

    @cached_property
    def leaves(self) -> dict[str, Leaf]:
        """The params that are parameters of the pipeline, by the parameters' names."""
        return {leaf.pipeline_name: leaf for task in self.tasks for leaf in task.leaves}

    @property
    def project_name(self) -> str:
        """The project's name, which all its pipelines share."""
        return self.environment.name or task_name(self.project.folder.name) or "pipeline"

    @property
    def name(self) -> str:
        """The pipeline's name: the project's, followed by the folder of a dvc.yaml other than the root's."""
        return "-".join(filter(None, (self.project_name, task_name(f"{self.project.file}:"))))

    @property
    def image(self) -> str:
        """The image of each task."""
        return self.environment.image or f"{self.project_name}:latest"


def make_plan(project: Project, environment: Environment, where: str, remote: tuple[str | None, str]) -> Plan:
    """Plan a pipeline; `remote` is the address of DVC's remote and its endpoint.

    Raises:
        ReposeError: Kubeflow cannot express a stage or the environment (from the file `where`), or names are not unique.
    """
    known = project.known  # an environment applies to the pipelines of all dvc.yaml files
    for name in environment.stages:
        if name not in known:
            raise ReposeError(f"{where}: stages: there is no stage {name!r} in any dvc.yaml{nearest(name, known)}")
    metas = {stage.address: needs_of(stage, environment) for stage in project.stages}
    plan = Plan(project, environment, tuple(_task(project, stage, metas) for stage in project.stages), *remote)
    _check_names(plan)
    return plan


def _task(project: Project, stage: Stage, metas: Mapping[str, StageMeta]) -> Task:
    producers = list(dict.fromkeys(producer for dep in stage.deps for producer in dep.producers))
    names = _port_names(project, producers, metas)
    ports = [Port(names[p], p, out_meta(project[p.stage], metas[p.stage], p.path).type) for p in producers]
    sources = dict.fromkeys(source for dep in stage.deps for source in dep.sources)
    versions = [Version(f"{name_of(s.removesuffix('.dvc'))}_version", project.sources[s]) for s in sources]
    leaves = tuple(leaves_of(stage, project.params_files))
    return Task(stage, metas[stage.address], tuple(ports), leaves, tuple(versions))


def _port_names(project: Project, producers: list[Producer], metas: Mapping[str, StageMeta]) -> dict[Producer, str]:
    """A name for each input artifact of a task: the output's, with the item or the stage if needed."""
    plain = {p: out_names(project[p.stage], metas[p.stage])[p.path] for p in producers}

    def distinct(names: dict[Producer, str], suffix: Callable[[Stage], str]) -> dict[Producer, str]:
        taken = list(names.values())
        return {
            p: f"{name}_{name_of(suffix(project[p.stage]))}" if taken.count(name) > 1 else name
            for p, name in names.items()
        }

    by_item = distinct(plain, lambda stage: stage.item or stage.group)
    return distinct(by_item, lambda stage: stage.address)


def _check_names(plan: Plan) -> None:
    groups = list(dict.fromkeys(task.stage.group for task in plan.tasks))
    _check_unique([(task_name(name), name) for name in (RECORD, *groups)], "The stages")
    own = [(name, f"the pipeline's own {name}") for name in ("stage", "remote", "endpoint")]
    leaves = [(leaf.pipeline_name, f"{leaf.file}: {leaf.key}") for task in plan.tasks for leaf in task.leaves]
    _check_unique([*own[1:], *leaves], "The params")
    for task in plan.tasks:
        names = [(name, path) for path, name in out_names(task.stage, task.meta).items()]
        names += [(name, f"the page {path}") for name, path in page_names(task.stage, task.meta).items()]
        names += [(port.name, f"{port.producer.path} of {port.producer.stage}") for port in task.inputs]
        names += [(leaf.name, f"{leaf.file}: {leaf.key}") for leaf in task.leaves]
        names += [(version.name, version.name) for version in task.versions]
        _check_unique([*own, *names], f"Stage {task.stage.address}: its inputs and outputs:")


def _check_unique(names: Iterable[tuple[str, str]], what: str) -> None:
    """Reject duplicate names among pairs of a name and its owner."""
    seen: dict[str, str] = {}
    for name, owner in names:
        other = seen.setdefault(name, owner)
        if other != owner:
            raise ReposeError(
                f"{what} {other} and {owner} would both be called {name} in Kubeflow. Rename one of them in dvc.yaml."
            )
