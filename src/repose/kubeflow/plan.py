"""Plan the compilation of a dvc.yaml: a task for each stage, with its inputs, exposed params and needs, under unique names."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from repose.config import nearest
from repose.errors import SettingsError
from repose.kubeflow.needs import Environment, OutMeta, StageMeta, needs_of, out_meta
from repose.kubeflow.params import ParamsFile, to_text
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Producer, Stage, distinct, name_of, task_name

RECORD = "run-record"  # the task that writes the run's record, whether or not the run succeeds
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
FIXED = ("remote", "endpoint", "overrides")  # the run form's own parameters


class Port(NamedTuple):
    """An artifact that a task takes."""

    name: str
    producer: Producer
    type: str


class Exposed(NamedTuple):
    """A param that the run form shows."""

    name: str  # of the pipeline's parameter: train_seed
    file: str
    key: str  # dotted
    text: str  # the value in the params file
    description: str


@dataclass(frozen=True)
class Task:
    """A stage as the compiler sees it."""

    stage: Stage
    meta: StageMeta
    inputs: tuple[Port, ...]
    outputs: tuple[OutMeta, ...]  # in the order of the stage's outputs
    exposed: tuple[Exposed, ...]


@dataclass(frozen=True)
class Plan:
    """The tasks of a pipeline, in DVC's order."""

    project: Project
    environment: Environment
    tasks: tuple[Task, ...]
    exposed: tuple[Exposed, ...]
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
            groups.setdefault(task.stage.group, []).append(task)
        names = distinct([RECORD, *map(task_name, groups)])[1:]
        return {name.replace("_", "-"): tasks for name, tasks in zip(names, groups.values(), strict=True)}

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
        SettingsError: Kubeflow cannot express a stage or the environment (from the file `where`).
    """
    known = project.known  # an environment applies to the pipelines of all dvc.yaml files
    for name in environment.stages:
        if name not in known:
            raise SettingsError(f"{where}: stages: there is no stage {name!r} in any dvc.yaml{nearest(name, known)}")
    exposed = tuple(_exposed(project, environment.expose, f"{where}: expose"))
    metas = {stage.address: needs_of(stage, environment) for stage in project.stages}
    plan = Plan(
        project, environment, tuple(_task(project, stage, metas, exposed) for stage in project.stages),
        tuple(e for e in exposed if any(stage.lists(e.file, e.key) for stage in project.stages)), *remote,
    )  # fmt: skip
    if not _NAME.fullmatch(plan.name):
        raise SettingsError(
            f"{where}: the pipeline's name would be {plan.name!r}, which Kubeflow refuses. Set `name` to at most 50 small "
            "letters, digits and -, beginning with a letter or digit."
        )
    return plan


def _exposed(project: Project, expose: Mapping[str, str | None], where: str) -> list[Exposed]:
    """The params that an environment exposes."""
    found = []
    for address, description in expose.items():
        file, _, key = address.rpartition(":")
        params = ParamsFile.read(project.folder / (file or "params.yaml"))
        text = to_text(params[key])
        if (file or "params.yaml", key) in project.deciding:
            raise SettingsError(f"{where}: {address} decides which stages exist, so a run cannot change it. Remove it.")
        if not (text_of := description or params.comment(key)):
            raise SettingsError(f"{where}: {address} has no comment in the params file. Describe it here.")
        prefix = f"{file.rpartition('.')[0]} " if file else ""
        found.append(Exposed(name_of(prefix + key), file or "params.yaml", key, text, text_of))
    names = distinct([*FIXED, *(exposed.name for exposed in found)])[len(FIXED) :]
    return [exposed._replace(name=name) for exposed, name in zip(found, names, strict=True)]


def _task(project: Project, stage: Stage, metas: Mapping[str, StageMeta], exposed: tuple[Exposed, ...]) -> Task:
    producers = list(dict.fromkeys(producer for dep in stage.deps for producer in dep.producers))
    outs = {p: out_meta(project[p.stage].out(p.path), metas[p.stage]) for p in producers}
    plain = [str(outs[p].name) for p in producers]
    count = Counter(plain)
    names = [
        f"{name}_{name_of(project[p.stage].item or p.stage)}" if count[name] > 1 else name
        for p, name in zip(producers, plain, strict=True)
    ]
    own = tuple(out_meta(out, metas[stage.address]) for out in stage.outs)
    listed = tuple(e for e in exposed if stage.lists(e.file, e.key))
    # one namespace for all inputs and outputs of a component
    taken = ["stage", *FIXED, *(e.name for e in exposed)]
    unique = distinct([*taken, *(str(out.name) for out in own), *names])[len(taken) :]
    outputs = tuple(OutMeta(out.type, name, out.page, out.export) for out, name in zip(own, unique, strict=False))
    ports = zip(unique[len(own) :], producers, strict=True)
    return Task(
        stage, metas[stage.address], tuple(Port(name, p, str(outs[p].type)) for name, p in ports), outputs, listed
    )
