"""Runs of a compiled pipeline on Kubeflow: start one, see how it goes, wait for its end.

A run is made of the compiled text itself, so nothing has to be uploaded before and the run keeps what it ran.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml
from rich.table import Table

from repose.config import nearest
from repose.errors import RemoteError, ReposeError
from repose.kubeflow.endpoint import Api, Endpoint, UnansweredError
from repose.kubeflow.run_status import CANCELED, FAILED, RunStatus, say_changes, status_of, task_table
from repose.terminal import say, watched


@dataclass(frozen=True)
class Run:
    """A run that was started."""

    id: str
    name: str
    address: str
    state: str


@dataclass(frozen=True)
class Pace:
    """How often to look at a run, in seconds."""

    first: float = 1.0  # before the second look
    growth: float = 1.5  # of each interval over the one before
    longest: float = 10.0
    patience: float = 300.0  # with an endpoint that does not answer


def submit(
    endpoint: Endpoint, *, text: str, pipeline: str, values: Mapping[str, str], experiment: str | None = None,
    service_account: str | None = None, run_name: str | None = None,
) -> Run:  # fmt: skip
    """Start a run.

    Args:
        endpoint: Where.
        text: The compiled pipeline, with or without its platform spec.
        pipeline: Its name.
        values: Of its parameters, where they are not the defaults.
        experiment: To which the run belongs, made if there is none of the name; None: one with the pipeline's name.
        service_account: Under which the run's pods work; None: the cluster's usual one.
        run_name: As people see it; None: the pipeline's name and the time.

    Raises:
        RemoteError: the pipeline has no such parameter, or one has no value, the endpoint does not answer or refuses the run.
    """
    import kfp_server_api as models

    api, spec = Api(endpoint), _spec(text)
    _check_values(values, spec)
    wanted = models.V2beta1Run(
        display_name=run_name or f"{pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        experiment_id=_experiment(api, experiment or pipeline), pipeline_spec=spec, service_account=service_account,
        runtime_config=models.V2beta1RuntimeConfig(parameters=dict(values)),
    )  # fmt: skip
    missing = "The experiment is no longer there: try again."
    run = api.ask(f"start a run of {pipeline}", missing, api.runs.run_service_create_run, wanted)
    _check_run(run, endpoint)
    return Run(run.run_id, run.display_name or wanted.display_name, endpoint.page(run.run_id), run.state or "PENDING")


def status(endpoint: Endpoint, run_id: str) -> RunStatus:
    """How a run goes.

    Raises:
        RemoteError: there is no such run, or the endpoint does not answer.
    """
    return _status(Api(endpoint), run_id)


def wait(
    endpoint: Endpoint, run_id: str, *, timeout: float | None = None, pace: Pace = Pace(),
    sleep: Callable[[float], None] = time.sleep,
) -> RunStatus:  # fmt: skip
    """Show a run's tasks until it ends: a live table on a terminal, else a line for each change.

    Args:
        endpoint: Where it runs.
        run_id: The run.
        timeout: Seconds to wait at most; None: as long as it takes.
        pace: How often to look.
        sleep: How to wait between two looks.

    Returns:
        The run that ended well.

    Raises:
        RemoteError: it failed or was cancelled, the time is up, or the endpoint did not answer for too long.
    """
    again = f"The run goes on; see it with `repose kfp status {run_id}` or at {endpoint.page(run_id)}"
    watch = _Watch(Api(endpoint), run_id, again)
    try:
        with watched(watch.table) as by_people:
            ended = watch.until_end(timeout, pace, sleep, tell=not by_people)
    except KeyboardInterrupt:
        say(again)
        raise
    if ended.state in (FAILED, CANCELED):
        how = "failed" if ended.state == FAILED else "was cancelled"
        which = f" in {', '.join(ended.failed)}" if ended.failed else ""
        why = f": {ended.message}" if ended.message else ""
        raise RemoteError(f"The run {ended.name} ({run_id}) {how}{which}{why}. Its tasks' logs: {ended.address}")
    return ended


class _Watch:
    """Looks at a run again and again."""

    def __init__(self, api: Api, run_id: str, again: str) -> None:
        self._api, self._run_id, self._again = api, run_id, again
        self._latest: RunStatus | None = None

    def table(self) -> Table:
        """The tasks as they were last seen, with the seconds until now."""
        return task_table(self._latest) if self._latest else Table("task", "state")

    def until_end(self, timeout: float | None, pace: Pace, sleep: Callable[[float], None], *, tell: bool) -> RunStatus:
        """The run's last status."""
        began = answered = time.monotonic()
        interval, silent = pace.first, False
        while True:
            try:
                now = _status(self._api, self._run_id)
                if tell:
                    say_changes(self._latest, now)
                self._latest, answered, silent = now, time.monotonic(), False
                if now.ended:
                    return now
            except UnansweredError as error:
                if time.monotonic() - answered >= pace.patience:
                    raise RemoteError(f"{error} It was so for {pace.patience:,.0f} s. {self._again}") from None
                if not silent:
                    say(f"{error} Looking again for {pace.patience:,.0f} s.")
                silent = True
            except ReposeError as error:
                if self._latest is None:
                    raise
                raise RemoteError(f"{error} {self._again}") from None
            left = None if timeout is None else timeout - (time.monotonic() - began)
            if left is not None and left <= 0:
                raise RemoteError(f"The run has not ended within {timeout:,.0f} s. {self._again}")
            sleep(interval if left is None else min(interval, left))
            interval = min(interval * pace.growth, pace.longest)


def _status(api: Api, run_id: str) -> RunStatus:
    missing = f"There is no run {run_id}: `repose kfp submit` prints the id of the run that it starts."
    run = api.ask(f"show the run {run_id}", missing, api.runs.run_service_get_run, run_id)
    _check_run(run, api.endpoint)
    spec, reference = run.pipeline_spec, run.pipeline_version_reference
    if spec is None and reference is not None and reference.pipeline_version_id:
        missing = f"The pipeline of the run {run_id} was deleted, so its tasks are not known."
        ask, ids = (
            api.pipelines.pipeline_service_get_pipeline_version,
            (reference.pipeline_id, reference.pipeline_version_id),
        )
        spec = api.ask(f"read the pipeline of the run {run_id}", missing, ask, *ids).pipeline_spec
    return status_of(run, spec or {}, api.endpoint)


def _experiment(api: Api, name: str) -> str:
    """The id of an experiment, made if there is none of the name."""
    import kfp_server_api as models

    namespace = api.endpoint.namespace
    only = models.V2beta1Filter([models.V2beta1Predicate(operation="EQUALS", key="display_name", string_value=name)])
    asked: dict[str, Any] = {"filter": json.dumps(api.plain(only))} | ({"namespace": namespace} if namespace else {})
    missing = f"There is no namespace {namespace}: correct KFP_NAMESPACE."
    found = api.ask(
        "list experiments", missing, api.experiments.experiment_service_list_experiments, **asked
    ).experiments
    if not found:
        wanted = models.V2beta1Experiment(display_name=name, namespace=namespace)
        ask = api.experiments.experiment_service_create_experiment
        found = [api.ask(f"make the experiment {name!r}", missing, ask, wanted)]
    if found[0].storage_state == "ARCHIVED":
        raise RemoteError(
            f"The experiment {name!r} at {api.endpoint.address} is archived: restore it there, or name another."
        )
    return str(found[0].experiment_id)


def _check_run(run: Any, endpoint: Endpoint) -> None:
    if not run.run_id:
        raise RemoteError(
            f"{endpoint.address} answers, but not as the pipeline API does (version v2beta1). Correct KFP_ENDPOINT."
        )


def _spec(text: str) -> dict[str, Any]:
    """The compiled documents as the API takes them."""
    documents = list(yaml.safe_load_all(text))
    return documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def _check_values(values: Mapping[str, str], spec: Mapping[str, Any]) -> None:
    """Refuse what the pipeline would, before anything is made."""
    known = spec.get("pipeline_spec", spec)["root"].get("inputDefinitions", {}).get("parameters", {})
    for name in values:
        if name not in known:
            raise RemoteError(f"The pipeline has no parameter {name!r}{nearest(name, list(known))}")
    left = [
        name
        for name, said in known.items()
        if name not in values and not (said.get("isOptional") or "defaultValue" in said)
    ]
    if left:
        raise RemoteError(f"The pipeline's parameters {', '.join(left)} have no default: give a value for each.")
