"""Plan the compilation of a dvc.yaml: a task for each stage, the stages before it, its exposed params and its needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from repose.config import nearest
from repose.errors import SettingsError
from repose.kubeflow.needs import Environment, OutMeta, StageMeta, needs_of, out_meta
from repose.kubeflow.params import ParamsFile, split_address, to_text
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Stage, distinct, name_of, task_name
from repose.kubeflow.task import AFTER

RECORD = "run-record"  # the task that writes the run's record, whether or not the run succeeds
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
ENTRY = "entry"  # the output parameter of a task: the ID of its stage's entry of dvc.lock
FIXED = ("remote", "endpoint", "overrides")  # the run form's own parameters


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
    after: tuple[str, ...]  # addresses of stages; what these need themselves is left out
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

    @cached_property
    def groups(self) -> dict[str, list[Task]]:
        """The tasks of each component, by its name."""
        groups: dict[str, list[Task]] = {}
        for task in self.tasks:
            groups.setdefault(task.stage.group, []).append(task)
        names = distinct((task_name(group) or "stage" for group in groups), "-", [RECORD])
        return dict(zip(names, groups.values(), strict=True))

    @property
    def project_name(self) -> str:
        """The project's name, which all its pipelines share."""
        return self.environment.name or task_name(self.project.folder.name) or "pipeline"

    @property
    def name(self) -> str:
        """The pipeline's name: the project's, followed by the folder of a dvc.yaml other than the root's.

        KFP's loader takes a component with the pipeline's name for the pipeline, so that name gets another ending.
        """
        name = "-".join(filter(None, (self.project_name, task_name(f"{self.project.file}:"))))
        return f"{name}-pipeline" if name in self.groups else name

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
    tasks = tuple(_task(project, stage, needs_of(stage, environment), exposed) for stage in project.stages)
    plan = Plan(
        project, environment, tasks,
        tuple(e for e in exposed if any(project.uses(stage, e.file, e.key) for stage in project.stages)), *remote,
    )  # fmt: skip
    if not _NAME.fullmatch(plan.name):
        raise SettingsError(
            f"{where}: the pipeline's name would be {plan.name!r}, which Kubeflow refuses. Set `name` to at most 50 "
            "lower-case letters, digits and -, beginning with a letter or digit."
        )
    return plan


def _exposed(project: Project, expose: Mapping[str, str | None], where: str) -> list[Exposed]:
    """The params that an environment exposes."""
    found, files = [], dict[str, ParamsFile]()
    for address, description in expose.items():
        file, key = split_address(address)
        params = files[file] = files.get(file) or ParamsFile.read(project.folder / file)
        text = to_text(params[key])
        project.check_changeable(address, f"{where}:")
        if not (text_of := " ".join((description or params.comment(key)).split())):
            raise SettingsError(f"{where}: {address} has no comment in the params file. Describe it here.")
        prefix = f"{file.rpartition('.')[0]} " if ":" in address else ""
        found.append(Exposed(name_of(prefix + key), file, key, text, text_of))
    names = distinct((exposed.name for exposed in found), taken=_taken(project))
    return [exposed._replace(name=name) for exposed, name in zip(found, names, strict=True)]


def _taken(project: Project) -> list[str]:
    """The names of a component's own inputs and of its entry. Exposed params and outputs need others."""
    most = max(len(stage.upstream) for stage in project.stages)
    return ["stage", ENTRY, *FIXED, *(f"{AFTER}{number}" for number in range(most))]


def _task(project: Project, stage: Stage, meta: StageMeta, exposed: tuple[Exposed, ...]) -> Task:
    used = tuple(e for e in exposed if project.uses(stage, e.file, e.key))
    own = [out_meta(out, meta) for out in stage.outs]
    names = distinct((str(out.name) for out in own), taken=[*_taken(project), *(e.name for e in exposed)])
    outputs = tuple(OutMeta(out.type, name, out.page, out.export) for out, name in zip(own, names, strict=True))
    after = tuple(one for one in stage.upstream if not any(one in project.above[other] for other in stage.upstream))
    return Task(stage, meta, after, outputs, used)
