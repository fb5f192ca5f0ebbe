"""Build Kubeflow components and a pipeline from a plan: a component for each stage, and DVC's graph.

A foreach or matrix is one component, with a task for each item. A task gets the address of its stage, the remote, the run's
changed params, and from each stage before it the ID of its entry of dvc.lock: the data go through DVC's remote. Artifacts are
only for people and other programs: each costs a task that takes it a thousand bytes, several times, in the workflow's object.
A container reads its inputs from its last argument, `{{$}}`, for which Kubeflow's launcher puts them as JSON. The component's
name before it keeps containers apart: Kubeflow takes components with equal containers for one.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Optional

import yaml

from repose.config import build
from repose.kubeflow.needs import Needs
from repose.kubeflow.placing import place
from repose.kubeflow.plan import ENTRY, FIXED, RECORD, Exposed, Plan, Task
from repose.kubeflow.stages import ROOT
from repose.kubeflow.task import AFTER

_FIXED = {
    "remote": "Address of DVC's remote, such as s3://bucket/folder.",
    "endpoint": "URL of an S3 server other than Amazon's.",
    "overrides": 'Other params for this run: a JSON object of dotted keys, such as {"train.seed": 3}.',
}
_REQUIRED = inspect.Parameter.empty
_Parameters = dict[str, tuple[Any, Any]]  # type and default of each, by name


def components_of(plan: Plan) -> dict[str, Any]:
    """The components of a plan, by name."""
    return {name: _component(name, tasks, plan) for name, tasks in plan.groups.items()}


def pipeline_of(plan: Plan, components: Mapping[str, Any] | None = None, *, caching: bool = True) -> Any:
    """The pipeline of all stages of a plan and the task that writes the run's record, with or without Kubeflow's cache."""
    from kfp import dsl

    components = components or components_of(plan)
    names = {task.stage.address: name for name, tasks in plan.groups.items() for task in tasks}
    words = [RECORD, plan.name, plan.project.file]
    record = _container(plan, RECORD, "record", words, _run_parameters(plan), {}, plan.exposed)

    def pipeline(**at: Any) -> None:
        made: dict[str, Any] = {}
        fixed = {name: at[name] for name in _FIXED}
        exit_task = record(**at)
        exit_task.set_caching_options(False)
        needs = build(Needs, plan.environment.defaults, "defaults")
        place(exit_task, replace(needs, nodes=1), plan.image, None)
        with dsl.ExitHandler(exit_task, name=plan.name):
            for task in plan.tasks:
                address = task.stage.address
                given = {exposed.name: at[exposed.name] for exposed in task.exposed}
                given |= {name: made[one].outputs[ENTRY] for name, one in zip(_after(task), task.after, strict=True)}
                made[address] = components[names[address]](stage=address, **fixed, **given).set_display_name(address)
                if not task.stage.run_cached or not caching:
                    made[address].set_caching_options(False)
                place(made[address], task.meta, plan.image, plan.environment.service_account)

    more = "" if all(task.stage.file == plan.project.file for task in plan.tasks) else " and all that they need"
    text = f"The stages of {plan.project.file}{more}: {', '.join(plan.groups)}."
    function = _function(pipeline, plan.name, _run_parameters(plan), text, _comments(plan.exposed))
    return dsl.pipeline(name=plan.name, description=text)(function)


def text_of(component: Any, file: str = ROOT) -> str:
    """A component or pipeline of a dvc.yaml in KFP's intermediate representation, as YAML.

    KFP's own compiler writes the same, except for the summary at the top, but takes ten times as long.
    """
    from google.protobuf.json_format import MessageToDict

    documents = [_sorted(MessageToDict(component.pipeline_spec))]
    if parameters := documents[0]["root"].get("inputDefinitions", {}).get("parameters"):
        first = {name: parameters.pop(name) for name in FIXED if name in parameters}
        documents[0]["root"]["inputDefinitions"]["parameters"] = first | parameters
    if platforms := MessageToDict(component.platform_spec):
        documents.append(_sorted(platforms))
    return head_of(file) + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=127)


def _sorted(value: Any) -> Any:
    """A copy with sorted keys; Protobuf's maps have no order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


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

    always = min(len(task.after) for task in tasks)
    exposed = list(dict.fromkeys(e for task in tasks for e in task.exposed))
    parameters: _Parameters = {"stage": (str, _REQUIRED)} | dict.fromkeys(_FIXED, (str, _REQUIRED))
    for number, port in enumerate(_after(max(tasks, key=lambda task: len(task.after)))):
        parameters[port] = (str, _REQUIRED) if number < always else (Optional[str], None)  # noqa: UP045 (what KFP reads)
    parameters |= {e.name: (Optional[str], None) for e in exposed}  # noqa: UP045
    for of_items in zip(*(task.outputs for task in tasks), strict=True):
        types = {str(out.type) for out in of_items}
        kind = getattr(dsl, types.pop() if len(types) == 1 else "Artifact")
        parameters[str(of_items[0].name)] = (dsl.Output[kind], _REQUIRED)
    parameters[ENTRY] = (dsl.OutputPath(str), _REQUIRED)
    addresses = ", ".join(task.stage.address for task in tasks)
    choices = f"Which of {addresses}." if len(tasks) > 1 else f"The stage: {addresses}."
    words = [name, *(str(out.name) for out in tasks[0].outputs)]
    return _container(plan, name, "step", words, parameters, {"stage": choices} | _comments(exposed), exposed)


def _container(
    plan: Plan, name: str, module: str, words: list[str], parameters: _Parameters, comments: Mapping[str, str],
    exposed: Iterable[Exposed],
) -> Any:  # fmt: skip
    """A component that runs a module of this package with `words`, the keys of the exposed params, and `{{$}}`."""
    from kfp import dsl

    words = [*words, *(f"{e.name}={e.file}:{e.key}" for e in exposed), "{{$}}"]

    def container(**_: Any) -> Any:
        return dsl.ContainerSpec(
            image=plan.image, command=["python3", "-m", f"repose.kubeflow.{module}"], args=list(words)
        )

    return dsl.container_component(_function(container, name, parameters, name, comments))


def _comments(exposed: Iterable[Exposed]) -> dict[str, str]:
    return _FIXED | {e.name: f"{e.description} ({e.key})" for e in exposed}


def _run_parameters(plan: Plan) -> _Parameters:
    fixed = {"remote": (str, plan.remote or _REQUIRED), "endpoint": (str, plan.endpoint), "overrides": (str, "{}")}
    return fixed | {e.name: (str, e.text) for e in plan.exposed}


def _after(task: Task) -> list[str]:
    """The names of the inputs with the entries of the stages before a task."""
    return [f"{AFTER}{number}" for number in range(len(task.after))]


def _function(
    body: Callable[..., Any], name: str, parameters: _Parameters, text: str, comments: Mapping[str, str]
) -> Callable[..., Any]:
    """A function with the name, signature and docstring that KFP's decorators read."""

    def function(*values: Any, **named: Any) -> Any:
        return body(**dict(zip(parameters, values, strict=False)) | named)

    only, given = inspect.Parameter.KEYWORD_ONLY, parameters.items()
    signature = [inspect.Parameter(key, only, default=default, annotation=kind) for key, (kind, default) in given]
    function.__name__, function.__signature__ = name, inspect.Signature(signature)  # type: ignore[attr-defined]
    lines = [f"    {key}: {comment}" for key, comment in comments.items() if key in parameters]
    function.__doc__ = "\n".join([text, "", *(["Args:", *lines] if lines else [])])
    return function
