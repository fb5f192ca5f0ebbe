"""The state of a run and of each of its pipeline's tasks, from the pipeline API.

The API lists the nodes of the workflow that Kubeflow makes of a pipeline. For a task `train` these are `train-driver`, which
looks for inputs and the cache, and `train`, with `executor` below it. There are also nodes for `root`, exit handlers and
their drivers. Nothing marks the tasks among them, so their names come from the pipeline. A node that has not ended has an end
before the year 2000. Up to Kubeflow 2.17, only the task's log gives the reason of a failure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

from rich.table import Table
from rich.text import Text

from repose.kubeflow.endpoint import Endpoint, message_of
from repose.terminal import say, show

PENDING, RUNNING, SUCCEEDED, SKIPPED = "PENDING", "RUNNING", "SUCCEEDED", "SKIPPED"
FAILED, CANCELED = "FAILED", "CANCELED"
_ENDED = (SUCCEEDED, SKIPPED, FAILED, CANCELED)
_STYLES = {RUNNING: "yellow", SUCCEEDED: "green", FAILED: "red", CANCELED: "red"}


@dataclass(frozen=True)
class TaskStatus:
    """A task of a run."""

    name: str  # as the pipeline shows it
    state: str  # one of KFP's runtime states
    start: datetime | None = None
    end: datetime | None = None
    message: str = ""

    def seconds(self, now: datetime) -> float | None:
        """How long the task ran, or has been running; None before it starts."""
        return max(0.0, ((self.end or now) - self.start).total_seconds()) if self.start else None


@dataclass(frozen=True)
class RunStatus:
    """A run: its tasks in the pipeline's order."""

    id: str
    name: str
    address: str
    state: str
    message: str
    tasks: tuple[TaskStatus, ...]

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.state in _ENDED

    @property
    def failed(self) -> list[str]:
        """The names of the tasks that failed."""
        return [task.name for task in self.tasks if task.state == FAILED]


def status_of(run: Any, spec: Mapping[str, Any], endpoint: Endpoint) -> RunStatus:
    """The status of a V2beta1Run that runs a pipeline spec."""
    details = (run.run_details and run.run_details.task_details) or []
    state, spec = _state(run), spec.get("pipeline_spec", spec)
    names = dict(_walk(spec, spec.get("root", {})))
    tasks = [task for key, name in names.items() for task in _nodes(key, name, details, state)]
    return RunStatus(
        run.run_id, message_of(run.display_name or ""), endpoint.page(run.run_id), state, _message(run), tuple(tasks)
    )


def _walk(spec: Mapping[str, Any], component: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and name of each task of a component that runs a container, in the order of the graph."""
    tasks = component.get("dag", {}).get("tasks", {})
    for key in TopologicalSorter({key: tasks[key].get("dependentTasks", ()) for key in sorted(tasks)}).static_order():
        below = spec["components"][tasks[key]["componentRef"]["name"]]
        if "dag" in below:
            yield from _walk(spec, below)
        else:
            yield key, tasks[key].get("taskInfo", {}).get("name", key)


def _nodes(key: str, name: str, details: Sequence[Any], run: str) -> list[TaskStatus]:
    """A task's nodes. A failed driver counts too, as the task then never starts."""
    nodes = [node for node in details if node.display_name == key and _state(node) != PENDING]
    nodes += [node for node in details if node.display_name == f"{key}-driver" and _state(node) == FAILED]
    if not nodes:
        return [TaskStatus(name, SKIPPED if run in _ENDED else PENDING)]
    return [TaskStatus(name, _state(n), _time(n.start_time), _time(n.end_time), _message(n)) for n in nodes]


def _state(node: Any) -> str:
    return PENDING if node.state in (None, "RUNTIME_STATE_UNSPECIFIED") else str(node.state)


def _time(time: datetime | None) -> datetime | None:
    return time if time is not None and time.year >= 2000 else None


def _message(node: Any) -> str:
    return message_of((node.error and node.error.message) or "")


def show_status(status: RunStatus) -> None:
    """Print a run's state, address and tasks."""
    say(f"{status.name} ({status.id}): {status.state.lower()}{f', {status.message}' if status.message else ''}")
    say(status.address)
    show(_task_table(status))


def _task_table(status: RunStatus) -> Table:
    with_messages = any(task.message for task in status.tasks)
    table = Table("task", "state", *(["message"] if with_messages else []))
    table.add_column("seconds", justify="right")
    for task in status.tasks:
        state = Text(task.state.lower(), style=_STYLES.get(task.state, ""))
        seconds = task.seconds(datetime.now(UTC))
        message = [Text(task.message)] if with_messages else []
        table.add_row(Text(task.name), state, *message, "" if seconds is None else f"{seconds:,.0f}")
    return table


def say_changes(before: RunStatus | None, now: RunStatus) -> None:
    """Log a line for each task whose state has changed."""
    same = before is not None and len(before.tasks) == len(now.tasks)
    old = [task.state for task in before.tasks] if before and same else [PENDING] * len(now.tasks)
    for task, state in zip(now.tasks, old, strict=True):
        if task.state != state:
            seconds = task.seconds(datetime.now(UTC)) if task.state in _ENDED else None
            took = "" if seconds is None else f", {seconds:,.0f} s"
            say(f"{task.name}: {task.state.lower()}{took}{f', {task.message}' if task.message else ''}")
