"""Build Kubeflow components and a pipeline from a plan: a component for each stage, and DVC's graph.

A foreach or matrix is one component, with a task for each item. A task only gets the params that its stage lists, so that
Kubeflow's cache is as precise as DVC's. Tasks pass pointers (see `pointer`); the data go through DVC's remote.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import yaml

from repose.config import build
from repose.kubeflow.needs import Needs, out_names
from repose.kubeflow.params import Leaf, to_pipeline
from repose.kubeflow.plan import RECORD, Plan, Port, Task
from repose.kubeflow.stages import ROOT, task_name

_ABOUT_REMOTE = {"remote": "Address of DVC's remote.", "endpoint": "URL of an S3 server other than Amazon's."}
_REQUIRED = inspect.Parameter.empty
_Parameters = dict[str, tuple[Any, Any]]  # type and default of each, by name


def components_of(plan: Plan) -> dict[str, Any]:
    """The components of a plan, by name."""
    return {name: _component(name, tasks, plan) for name, tasks in plan.groups.items()}


def pipeline_of(plan: Plan, components: Mapping[str, Any] | None = None, *, caching: bool = True) -> Any:
    """The pipeline of all stages of a plan and the task that writes the run's record, with or without Kubeflow's cache."""
    from kfp import dsl

    components = components or components_of(plan)
    record = _record_component(plan)

    def pipeline(**at: Any) -> None:
        done: dict[str, Any] = {}
        where = {name: at[name] for name in _ABOUT_REMOTE}
        exit_task = record(**where, **{key: at[key] for key in plan.leaves})
        exit_task.set_caching_options(False)
        _place(exit_task, build(Needs, plan.environment.defaults, "defaults"))
        with dsl.ExitHandler(exit_task, name=plan.name):
            for task in plan.tasks:
                given = {leaf.name: at[leaf.pipeline_name] for leaf in task.leaves}
                given |= {port.name: done[port.producer.stage].outputs[_output(plan, port)] for port in task.inputs}
                component = components[task_name(task.stage.group)]
                made = component(stage=task.stage.address, **where, **given, **dict(task.versions))
                done[task.stage.address] = made.set_display_name(task.stage.address)
                if task.stage.always_changed or not caching:
                    made.set_caching_options(False)
                _place(made, task.meta)

    more = "" if all(task.stage.file == plan.project.file for task in plan.tasks) else " and all that they need"
    text = f"The stages of {plan.project.file}{more}: {', '.join(plan.groups)}."
    comments = _ABOUT_REMOTE | {key: leaf.comment for key, leaf in plan.leaves.items()}
    function = _function(pipeline, plan.name, _run_parameters(plan), text, comments)
    return dsl.pipeline(name=plan.name, description=text)(function)


def text_of(component: Any, file: str = ROOT) -> str:
    """A component or pipeline of a dvc.yaml in KFP's intermediate representation, as YAML.

    KFP's own compiler writes the same, except for the summary at the top, but takes ten times as long.
    """
    from google.protobuf.json_format import MessageToDict

    documents = [MessageToDict(component.pipeline_spec)]
    if platforms := MessageToDict(component.platform_spec):
        documents.append(platforms)
    return head_of(file) + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=127)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Also quotes texts such as 1e-05, 08 and 0o17, which are text to PyYAML and numbers to Kubeflow's YAML readers."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"([-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+)$"), list("-+.0123456789")
)


def head_of(file: str) -> str:
    """The first line of a file that is compiled from a dvc.yaml."""
    command = "repose kfp compile" if file == ROOT else f"repose kfp compile {file}"
    return f"# Compiled from {file} by `{command}`. Change {file}, params.yaml or the environment, not this file.\n"


def _component(name: str, tasks: list[Task], plan: Plan) -> Any:
    """The component of a stage, or of all items of a foreach or matrix."""
    from kfp import dsl

    inputs, leaves = _by_name(task.inputs for task in tasks), _by_name(task.leaves for task in tasks)
    versions = _by_name(task.versions for task in tasks)
    outputs, first = tasks[0].outputs, tasks[0].stage
    required = {port for port, found in inputs.items() if len(found) == len(tasks)}
    defaults = {key: _default(found, len(tasks)) for key, found in leaves.items()}
    parameters: _Parameters = {"stage": (str, first.address if first.item is None else _REQUIRED)}
    parameters |= {port: _input(found[0].type, port in required) for port, found in inputs.items()}
    parameters |= {key: _parameter(default) for key, default in defaults.items()}
    parameters |= {key: (str, found[0].md5) for key, found in versions.items()} | _where_parameters(plan)
    parameters |= {out: (dsl.Output[getattr(dsl, kind)], _REQUIRED) for out, kind in outputs.items()}

    def container(**at: Any) -> Any:
        args: list[Any] = ["--stage", at["stage"], *_where(at)]
        for port in inputs:
            args += _given(port, ["--input", at[port].path], always=port in required)
        for out in outputs:
            args += ["--output", out, at[out].path, at[out].uri]
        for key, default in defaults.items():
            args += _given(key, ["--param", key, at[key]], always=default is not None)
        for key in versions:
            args += ["--version", key, at[key]]
        return dsl.ContainerSpec(image=plan.image, command=["python3", "-m", "repose.kubeflow.step"], args=args)

    choices = f"Which of {', '.join(task.stage.address for task in tasks)}."
    comments = {} if first.item is None else {"stage": choices}
    comments |= _ABOUT_REMOTE | {key: found[0].comment for key, found in leaves.items()}
    text = first.description or f"The DVC stage {name}"
    return dsl.container_component(_function(container, name, parameters, text, comments))


def _by_name(parts: Iterable[Iterable[Any]]) -> dict[str, list[Any]]:
    """The ports, leaves or versions of all items of a component, by name."""
    found: dict[str, list[Any]] = {}
    for part in parts:
        for entry in part:
            found.setdefault(entry.name, []).append(entry)
    return found


def _input(kind: str, required: bool) -> tuple[Any, Any]:
    from kfp import dsl

    artifact = dsl.Input[getattr(dsl, kind)]
    return (artifact, _REQUIRED) if required else (Optional[artifact], None)  # noqa: UP045 (what KFP reads)


def _parameter(default: str | None) -> tuple[Any, Any]:
    """An optional input. Without a value and a default, the image's params apply."""
    return (Optional[str], None) if default is None else (str, default)  # noqa: UP045 (what KFP reads)


def _default(found: list[Leaf], tasks: int) -> str | None:
    """The value of a param if it is the same for all items of a component, else None."""
    texts = [to_pipeline(leaf.value) for leaf in found]
    return texts[0] if len(texts) == tasks and len(set(texts)) == 1 else None


def _where_parameters(plan: Plan) -> _Parameters:
    return {"remote": (str, plan.remote or _REQUIRED), "endpoint": (str, plan.endpoint)}


def _run_parameters(plan: Plan) -> _Parameters:
    return _where_parameters(plan) | {name: (str, to_pipeline(leaf.value)) for name, leaf in plan.leaves.items()}


def _where(at: Mapping[str, Any]) -> list[Any]:
    from kfp import dsl

    return [
        "--run", dsl.PIPELINE_JOB_ID_PLACEHOLDER, "--remote", at["remote"], "--endpoint", at["endpoint"],
        "--report", dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER,
    ]  # fmt: skip


def _given(name: str, args: list[Any], *, always: bool) -> list[Any]:
    """Arguments that are omitted if an optional input is not given."""
    from kfp import dsl

    return args if always else [dsl.IfPresentPlaceholder(input_name=name, then=args)]


def _function(
    body: Callable[..., Any], name: str, parameters: _Parameters, text: str, comments: Mapping[str, str]
) -> Callable[..., Any]:
    """A function with the name, signature and docstring that KFP's decorators read."""

    def function(*values: Any, **named: Any) -> Any:
        return body(**dict(zip(parameters, values, strict=False)) | named)

    only, given = inspect.Parameter.KEYWORD_ONLY, parameters.items()
    signature = [inspect.Parameter(key, only, default=default, annotation=kind) for key, (kind, default) in given]
    function.__name__, function.__signature__ = name, inspect.Signature(signature)  # type: ignore[attr-defined]
    lines = [f"    {key}: {comment}" for key, comment in comments.items() if comment]
    function.__doc__ = "\n".join([text, "", *(["Args:", *lines] if lines else [])])
    return function


def _record_component(plan: Plan) -> Any:
    from kfp import dsl

    def container(**at: Any) -> Any:
        file = plan.project.file
        args = ["--pipeline", plan.name, *([] if file == ROOT else ["--file", file]), *_where(at)]
        for key in plan.leaves:
            args += ["--param", key, at[key]]
        return dsl.ContainerSpec(image=plan.image, command=["python3", "-m", "repose.kubeflow.record"], args=args)

    text = "Writes the run's dvc.lock, params and metrics to the remote, even if a stage failed."
    return dsl.container_component(_function(container, RECORD, _run_parameters(plan), text, {}))


def _output(plan: Plan, port: Port) -> str:
    task = plan[port.producer.stage]
    return out_names(task.stage, task.meta)[port.producer.path]


def _place(task: Any, needs: Needs) -> None:
    """Set a task's needs."""
    from kfp import kubernetes

    if needs.cpu:
        task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu)
    if needs.memory:
        task.set_memory_request(needs.memory).set_memory_limit(needs.memory)
    if needs.accelerator:
        task.set_accelerator_type(needs.accelerator.type).set_accelerator_limit(needs.accelerator.count)
    if r := needs.retries:
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
