"""A dvc.yaml compiled to Kubeflow: a component for each of its stages, and the pipeline, whose graph is DVC's.

Compiled are, in components/ and pipelines/,

    dvc.yaml           NAME/component.yaml of each stage           pipeline.yaml
    table1/dvc.yaml    table1/NAME/component.yaml of each stage    table1.yaml

The pipeline has the stages of other files that these need, too; their components are written with their own file.

A foreach or matrix is one component and a task for each item, side by side. A task gets the params that its stage lists and
no other, so that Kubeflow's cache is as precise as DVC's. What goes from task to task are pointers (see `pointer`); the
data go through DVC's remote.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import yaml

from repose.errors import ReposeError
from repose.kubeflow.needs import (
    Environment,
    Needs,
    StageMeta,
    check_environment,
    check_image,
    default_needs,
    needs_of,
    out_meta,
    out_names,
    page_names,
    read_environment,
)
from repose.kubeflow.params import Leaf, leaves_of, to_pipeline
from repose.kubeflow.project import (
    ROOT,
    Producer,
    Project,
    Stage,
    is_pipeline,
    name_of,
    task_name,
    unique,
)
from repose.storage.atomic import write_text

RECORD = "run-record"  # the task that leaves the run's record, whatever happened
BASE, ENVIRONMENTS = Path("pipelines/base.yaml"), Path("pipelines/environments")
COMPONENTS, PIPELINES = Path("components"), Path("pipelines")
_ABOUT_REMOTE = {"remote": "Address of DVC's remote.", "endpoint": "Of an S3 server other than Amazon's."}
_REQUIRED = inspect.Parameter.empty
_COMMAND = ["python3", "-m", "repose.kubeflow.step"]


@dataclass(frozen=True)
class Port:
    """An artifact that a task takes: from which output of which stage, and under which name."""

    name: str
    producer: Producer
    type: str


@dataclass(frozen=True)
class Task:
    """A stage as the compiler sees it."""

    stage: Stage
    meta: StageMeta
    inputs: tuple[Port, ...]
    leaves: tuple[Leaf, ...]
    versions: tuple[tuple[str, str], ...]  # name and hash of the data of each .dvc file that it reads

    @property
    def outputs(self) -> dict[str, str]:
        """Type of each artifact that it leaves, by name."""
        outs: dict[str, str] = {}
        for path, name in out_names(self.stage, self.meta).items():
            outs[name] = out_meta(self.stage, self.meta, path).type
        return outs | dict.fromkeys(page_names(self.stage, self.meta), "HTML")


@dataclass(frozen=True)
class Plan:
    """All that is compiled: tasks in DVC's order."""

    project: Project
    environment: Environment
    tasks: tuple[Task, ...]

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
        """The pipeline's parameters that are params, by their names."""
        return {leaf.pipeline_name: leaf for task in self.tasks for leaf in task.leaves}

    @property
    def parameters(self) -> dict[str, tuple[Any, Any]]:
        """Type and default of each of the pipeline's parameters that are params."""
        return {name: (str, to_pipeline(leaf.value)) for name, leaf in self.leaves.items()}

    @property
    def where(self) -> dict[str, tuple[Any, Any]]:
        """Type and default of the parameters that say where DVC's remote is."""
        return {"remote": (str, self.remote or _REQUIRED), "endpoint": (str, self.endpoint)}

    @property
    def project_name(self) -> str:
        """Of the project, which all its pipelines share, as they share the image."""
        return self.environment.name or task_name(self.project.folder.name) or "pipeline"

    @property
    def name(self) -> str:
        """Of the pipeline: the project's, and behind it the folder of any dvc.yaml but the project's own."""
        return "-".join(filter(None, (self.project_name, _folder_name(self.project.file))))

    @property
    def image(self) -> str:
        """In which each task runs."""
        return self.environment.image or f"{self.project_name}:latest"

    @property
    def remote(self) -> str | None:
        """Address of DVC's remote: the environment's, else the project's own; None: whoever starts a run says it."""
        return remote_of(self.project.repo, self.environment)[0]

    @property
    def endpoint(self) -> str:
        """Of an S3 server other than Amazon's: the environment's, else that of the project's own remote."""
        return remote_of(self.project.repo, self.environment)[1]


def make_plan(project: Project, environment: Environment, where: str) -> Plan:
    """What to compile.

    Raises:
        ReposeError: a stage or the environment cannot be expressed, or two things would have one name.
    """
    check_environment(environment, project, where)
    metas = {stage.address: needs_of(stage, environment) for stage in project.stages}
    plan = Plan(project, environment, tuple(_task(project, stage, metas) for stage in project.stages))
    _check_names(plan)
    return plan


def write_all(project: Project, image: str | None = None) -> list[Path]:
    """Compile the components of a dvc.yaml and its pipeline; return the files that changed.

    Raises:
        ReposeError: see `make_plan`.
    """
    written = compiled(project, image)
    changed = [path for path, text in written.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in changed:
        write_text(path, written[path])
    for stale in _stale(project, written):
        stale.unlink()
        if not any(stale.parent.iterdir()):
            stale.parent.rmdir()
        changed.append(stale)
    return changed


def write_pipeline(project: Project, environment: str, image: str | None = None) -> Path:
    """Compile the pipeline for one environment alone; return its file.

    Raises:
        ReposeError: see `plan_for`; the image is not by digest where that is asked for.
    """
    path, plan = pipeline_path(project, environment), plan_for(project, environment, image)
    check_image(plan.environment, environment)
    write_text(path, text_of(pipeline_of(plan), project.file))
    return path


def not_current(project: Project, image: str | None = None) -> list[Path]:
    """The compiled files that are not there, not as they would be compiled now, or not compiled any more."""
    written = compiled(project, image)
    old = [path for path, text in written.items() if not path.is_file() or path.read_text("utf-8") != text]
    return old + _stale(project, written)


def compiled(project: Project, image: str | None = None) -> dict[Path, str]:
    """Path and text of every file that is compiled; the environments are checked."""
    for name in environments(project.folder):
        plan_for(project, name, image)
    plan, file = plan_for(project, None, image), project.file
    components = components_of(plan)
    own = {task.stage.group: task_name(task.stage.group) for task in plan.tasks if task.stage.file == file}
    texts = {
        _components(project) / task_name(group.removeprefix(f"{file}:")) / "component.yaml": text_of(
            components[name], file
        )
        for group, name in own.items()
    }
    return texts | {pipeline_path(project): text_of(pipeline_of(plan, components), file)}


def pipeline_path(project: Project, environment: str | None = None) -> Path:
    """The file of the compiled pipeline, as an environment has it or as the base alone.

    Raises:
        ReposeError: it would have the name of another file of the folder.
    """
    stem = _stem(project.file)
    if project.file != ROOT:
        _check_free(project, stem)
    return project.folder / PIPELINES / f"{stem if environment is None else f'{stem}-{environment}'}.yaml"


def _folder_name(file: str) -> str:
    """A name for the folder of a dvc.yaml: `table1/dvc.yaml` is table1; the project's own is empty."""
    return task_name(f"{file}:")


def _stem(file: str) -> str:
    return "pipeline" if file == ROOT else _folder_name(file)


def _check_free(project: Project, stem: str) -> None:
    """Refuse a folder whose name would make its pipeline's file that of something else."""
    others = {ROOT} | {stage.path_in_repo for stage in project.repo.index.stages if is_pipeline(stage)}
    taken = {"": "no name at all", BASE.stem: "what holds in every environment"}
    for other in sorted(others - {project.file}):
        names = (_stem(other), *(f"{_stem(other)}-{name}" for name in environments(project.folder)))
        taken |= dict.fromkeys(names, f"the pipeline of {other}")
    if stem in taken:
        raise ReposeError(
            f"The pipeline of {project.file} would be {PIPELINES}/{stem}.yaml, which is {taken[stem]}. Rename the folder."
        )


def _components(project: Project) -> Path:
    """The folder of the components of a dvc.yaml's own stages."""
    return project.folder / COMPONENTS / Path(project.file).parent


def environments(folder: Path) -> list[str]:
    """The names of the environments of a project's folder."""
    return [path.stem for path in sorted((folder / ENVIRONMENTS).glob("*.yaml"))]


def plan_for(project: Project, environment: str | None, image: str | None = None) -> Plan:
    """The plan for an environment of the project by its name; None: the base alone.

    Raises:
        ReposeError: there is no such environment; see `make_plan`.
    """
    chosen = environment_of(project.folder, environment)
    if image:
        chosen = Environment(image=image).over(chosen)
    return make_plan(project, chosen, str(BASE if environment is None else ENVIRONMENTS / f"{environment}.yaml"))


def environment_of(folder: Path, name: str | None) -> Environment:
    """An environment of a project's folder over the base; None: the base alone.

    Raises:
        ReposeError: there is no such environment, or it cannot be read.
    """
    base = read_environment(folder / BASE) if (folder / BASE).is_file() else Environment()
    if name is None:
        return base
    file = folder / ENVIRONMENTS / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(environments(folder)) or "none"
        raise ReposeError(f"There is no environment {name!r} in {ENVIRONMENTS}/; there are: {known}.")
    return read_environment(file).over(base)


def text_of(component: Any, file: str = ROOT) -> str:
    """A component or pipeline of a dvc.yaml in KFP's intermediate representation, as YAML.

    What KFP's own compiler writes, but for the summary at its head; its emitter of YAML takes ten times as long.
    """
    from google.protobuf.json_format import MessageToDict

    documents = [MessageToDict(component.pipeline_spec)]
    if platforms := MessageToDict(component.platform_spec):
        documents.append(platforms)
    return _head(file) + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=127)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes texts such as 1e-05, 08 and 0o17, too: numbers to Kubeflow's readers of YAML, and text to PyYAML's."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"([-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+)$"), list("-+.0123456789")
)


def _head(file: str) -> str:
    command = "repose kfp compile" if file == ROOT else f"repose kfp compile {file}"
    return f"# Compiled from {file} by `{command}`. Change {file}, params.yaml or the environment, not this file.\n"


def component_of(name: str, tasks: list[Task], plan: Plan) -> Any:
    """The component of a stage, or of all items of a foreach or matrix."""
    from kfp import dsl

    inputs, leaves = _union(task.inputs for task in tasks), _union(task.leaves for task in tasks)
    versions = _union(task.versions for task in tasks)
    outputs, first = tasks[0].outputs, tasks[0].stage
    everywhere = {name for name in inputs if all(any(p.name == name for p in task.inputs) for task in tasks)}
    parameters = {"stage": (str, first.address if first.item is None else _REQUIRED)}
    parameters |= {port: _input(_type(ports[0].type), port in everywhere) for port, ports in inputs.items()}
    parameters |= {key: _parameter(found, len(tasks)) for key, found in leaves.items()}
    parameters |= {key: (str, found[0][1]) for key, found in versions.items()}
    parameters |= plan.where
    parameters |= {out: (dsl.Output[_type(kind)], _REQUIRED) for out, kind in outputs.items()}

    def container(**at: Any) -> Any:
        args: list[Any] = ["--stage", at["stage"], *_where(at)]
        for port in inputs:
            args += _given(port, ["--input", at[port].path], always=port in everywhere)
        for out in outputs:
            args += ["--output", out, at[out].path, at[out].uri]
        for key, found in leaves.items():
            args += _given(key, ["--param", key, at[key]], always=_default(found, len(tasks)) is not None)
        for key in versions:
            args += ["--version", key, at[key]]
        return dsl.ContainerSpec(image=plan.image, command=_COMMAND, args=args)

    text = first.description or f"The DVC stage {name}"
    comments = (
        {"stage": f"Which of {', '.join(task.stage.address for task in tasks)}."} if first.item is not None else {}
    )
    comments |= _ABOUT_REMOTE | {key: found[0].comment for key, found in leaves.items()}
    return dsl.container_component(_function(container, name, parameters, text, comments))


def components_of(plan: Plan) -> dict[str, Any]:
    """The components of a plan, by name."""
    return {name: component_of(name, tasks, plan) for name, tasks in plan.groups.items()}


def pipeline_of(plan: Plan, components: Mapping[str, Any] | None = None, *, caching: bool = True) -> Any:
    """The pipeline of all a plan's stages, and the task that leaves the run's record; with or without Kubeflow's cache."""
    from kfp import dsl

    components = components or components_of(plan)
    record = _record_component(plan)
    parameters = plan.where | plan.parameters
    comments = _ABOUT_REMOTE | {key: leaf.comment for key, leaf in plan.leaves.items()}

    def pipeline(**at: Any) -> None:
        done: dict[str, Any] = {}
        where = {"remote": at["remote"], "endpoint": at["endpoint"]}
        exit_task = record(**where, **{key: at[key] for key in plan.leaves})
        exit_task.set_caching_options(False)
        _place(exit_task, default_needs(plan.environment))
        with dsl.ExitHandler(exit_task, name=plan.name):
            for task in plan.tasks:
                given = {leaf.name: at[leaf.pipeline_name] for leaf in task.leaves}
                given |= {port.name: done[port.producer.stage].outputs[_output(plan, port)] for port in task.inputs}
                made = components[task_name(task.stage.group)](
                    stage=task.stage.address, **where, **given, **dict(task.versions)
                )
                done[task.stage.address] = made.set_display_name(task.stage.address)
                if task.stage.always_changed or not caching:
                    made.set_caching_options(False)
                _place(made, task.meta)

    more = "" if all(task.stage.file == plan.project.file for task in plan.tasks) else " and all that they need"
    text = f"The stages of {plan.project.file}{more}: {', '.join(plan.groups)}."
    return dsl.pipeline(name=plan.name, description=text)(_function(pipeline, plan.name, parameters, text, comments))


def _task(project: Project, stage: Stage, metas: Mapping[str, StageMeta]) -> Task:
    producers = list(dict.fromkeys(producer for dep in stage.deps for producer in dep.producers))
    names = _port_names(project, producers, metas)
    ports = [Port(names[p], p, out_meta(project[p.stage], metas[p.stage], p.path).type) for p in producers]
    versions = {
        f"{name_of(source.removesuffix('.dvc'))}_version": project.sources[source]
        for d in stage.deps
        for source in d.sources
    }
    leaves = tuple(leaves_of(stage, project.params_files))
    return Task(stage, metas[stage.address], tuple(ports), leaves, tuple(versions.items()))


def _port_names(project: Project, producers: list[Producer], metas: Mapping[str, StageMeta]) -> dict[Producer, str]:
    """A name for each artifact that a task takes: its output's, with the item or the stage where that is not enough."""
    plain = {p: out_names(project[p.stage], metas[p.stage])[p.path] for p in producers}

    def distinct(names: dict[Producer, str], more: Callable[[Stage], str]) -> dict[Producer, str]:
        values = list(names.values())
        return {
            p: f"{name}_{name_of(more(project[p.stage]))}" if values.count(name) > 1 else name
            for p, name in names.items()
        }

    by_item = distinct(plain, lambda stage: stage.item or stage.group)
    return distinct(by_item, lambda stage: stage.address)


def _check_names(plan: Plan) -> None:
    unique(((task_name(task.stage.group), task.stage.group) for task in plan.tasks), "The stages")
    unique(((task_name(name), name) for name in (RECORD, *(task.stage.group for task in plan.tasks))), "The tasks")
    own = [(name, f"the pipeline's own {name}") for name in ("stage", *plan.where)]
    leaves = [(leaf.pipeline_name, f"{leaf.file}: {leaf.key}") for task in plan.tasks for leaf in task.leaves]
    unique([*own[1:], *leaves], "The params")
    for task in plan.tasks:
        where = f"Stage {task.stage.address}: "
        outs = [(name, path) for path, name in out_names(task.stage, task.meta).items()]
        pages = [(name, f"the page {path}") for name, path in page_names(task.stage, task.meta).items()]
        ports = [(port.name, f"{port.producer.path} of {port.producer.stage}") for port in task.inputs]
        leaves = [(leaf.name, f"{leaf.file}: {leaf.key}") for leaf in task.leaves]
        unique(
            [*own, *outs, *pages, *ports, *leaves, *((name, name) for name, _ in task.versions)],
            f"{where}what it reads and writes:",
        )


def _union(parts: Iterable[Iterable[Any]]) -> dict[str, list[Any]]:
    """Ports, leaves or versions of all items of a component, by name."""
    found: dict[str, list[Any]] = {}
    for part in parts:
        for entry in part:
            found.setdefault(entry[0] if isinstance(entry, tuple) else entry.name, []).append(entry)
    return found


def _type(name: str) -> Any:
    from kfp import dsl

    return getattr(dsl, name)


def _input(kind: Any, required: bool) -> tuple[Any, Any]:
    from kfp import dsl

    return (dsl.Input[kind], _REQUIRED) if required else (Optional[dsl.Input[kind]], None)  # noqa: UP045 (what KFP reads)


def _parameter(found: list[Leaf], tasks: int) -> tuple[Any, Any]:
    """Type and default of a component's parameter; without a default, the image's params hold where nothing is given."""
    default = _default(found, tasks)
    return (str, default) if default is not None else (Optional[str], None)  # noqa: UP045 (what KFP reads)


def _default(found: list[Leaf], tasks: int) -> str | None:
    """The value of a param that is the same for all items of a component; None where it is not."""
    texts = [to_pipeline(leaf.value) for leaf in found]
    return texts[0] if len(texts) == tasks and len(set(texts)) == 1 else None


def _where(at: Mapping[str, Any]) -> list[Any]:
    from kfp import dsl

    return [
        "--run", dsl.PIPELINE_JOB_ID_PLACEHOLDER, "--remote", at["remote"], "--endpoint", at["endpoint"],
        "--report", dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER,
    ]  # fmt: skip


def _given(name: str, args: list[Any], *, always: bool) -> list[Any]:
    """Arguments, or those that are left out where an optional input is not given."""
    from kfp import dsl

    return args if always else [dsl.IfPresentPlaceholder(input_name=name, then=args)]


def _function(
    body: Callable[..., Any],
    name: str,
    parameters: Mapping[str, tuple[Any, Any]],
    text: str,
    comments: Mapping[str, str],
) -> Callable[..., Any]:
    """A function as KFP's decorators read it: by its name, signature and docstring."""

    def function(*values: Any, **named: Any) -> Any:
        return body(**dict(zip(parameters, values, strict=False)) | named)

    kind = inspect.Parameter.KEYWORD_ONLY
    function.__name__ = name
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(key, kind, default=default, annotation=type_)
            for key, (type_, default) in parameters.items()
        ]
    )
    lines = [f"    {key}: {comment}" for key, comment in comments.items() if comment]
    function.__doc__ = "\n".join([text, "", *(["Args:", *lines] if lines else [])])
    return function


def _record_component(plan: Plan) -> Any:
    from kfp import dsl

    parameters = plan.where | plan.parameters

    def container(**at: Any) -> Any:
        file = plan.project.file
        args = ["--pipeline", plan.name, *([] if file == ROOT else ["--file", file]), *_where(at)]
        for key in plan.leaves:
            args += ["--param", key, at[key]]
        return dsl.ContainerSpec(image=plan.image, command=["python3", "-m", "repose.kubeflow.record"], args=args)

    text = "Leaves the run's dvc.lock, params and metrics in the remote, also when a stage failed."
    return dsl.container_component(_function(container, RECORD, parameters, text, {}))


def _output(plan: Plan, port: Port) -> str:
    task = plan[port.producer.stage]
    return out_names(task.stage, task.meta)[port.producer.path]


def _place(task: Any, needs: Needs) -> None:
    """Ask the cluster for what a task needs."""
    from kfp import kubernetes

    if needs.cpu:
        task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu)
    if needs.memory:
        task.set_memory_request(needs.memory).set_memory_limit(needs.memory)
    if needs.accelerator:
        task.set_accelerator_type(needs.accelerator.type).set_accelerator_limit(needs.accelerator.count)
    if needs.retries:
        r = needs.retries
        task.set_retry(r.count, backoff_duration=r.backoff, backoff_factor=r.factor, backoff_max_duration=r.longest)
    if needs.timeout:
        kubernetes.set_timeout(task, needs.timeout)
    for key, value in needs.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for t in needs.tolerations:
        kubernetes.add_toleration(task, t.key, t.operator, t.value, t.effect)
    if needs.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=needs.shared_memory)  # noqa: S108
    for secret, keys in needs.secrets.items():
        kubernetes.use_secret_as_env(task, secret, keys)
    if needs.cache:
        kubernetes.mount_pvc(task, needs.cache.claim, needs.cache.path)
        task.set_env_variable("REPOSE_DVC_CACHE", needs.cache.path)
    if needs.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(needs.image_pull_secrets))
    for key, value in needs.labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in needs.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    if s := needs.security:
        kubernetes.set_security_context(task, s.run_as_user, s.run_as_group, s.run_as_non_root)


def remote_of(repo: Any, environment: Environment) -> tuple[str | None, str]:
    """Address and endpoint of DVC's remote: the environment's, else those of the project's own."""
    own = {} if environment.remote else _own_remote(repo)
    return environment.remote or own.get("url"), environment.endpoint or own.get("endpointurl") or ""


def _own_remote(repo: Any) -> Mapping[str, Any]:
    """The default remote of .dvc/config, which is committed; what config.local says is of one machine."""
    config = repo.config.load_one("repo")
    found: Mapping[str, Any] = config["remote"].get(config["core"].get("remote"), {})
    return found


def _stale(project: Project, written: Mapping[Path, str]) -> list[Path]:
    """Components that an earlier compilation of this dvc.yaml wrote and this one does not."""
    found = sorted(_components(project).glob("*/component.yaml"))
    return [path for path in found if path not in written and path.read_text("utf-8").startswith(_head(project.file))]
