"""Start a run of a compiled pipeline on Kubeflow, show its status, and wait for its end.

A run contains the compiled pipeline itself, so nothing has to be uploaded first.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import yaml

from repose.config import nearest
from repose.errors import RemoteError, ReposeError
from repose.kubeflow.endpoint import Api, Endpoint, UnansweredError
from repose.kubeflow.run_status import CANCELED, FAILED, RunStatus, say_changes, status_of
from repose.terminal import say


class Run(NamedTuple):
    """A run that was started."""

    id: str
    address: str


@dataclass(frozen=True)
class Pace:
    """How often to look at a run, in seconds."""

    first: float = 1.0  # before the second look
    growth: float = 1.5  # factor between one interval and the next
    longest: float = 10.0
    patience: float = 300.0  # how long the endpoint may be silent


def submit(
    endpoint: Endpoint, *, text: str, pipeline: str, values: Mapping[str, str], experiment: str | None = None,
    service_account: str | None = None, run_name: str | None = None,
) -> Run:  # fmt: skip
    """Start a run.

    Args:
        endpoint: The endpoint of Kubeflow Pipelines.
        text: The compiled pipeline.
        pipeline: The pipeline's name.
        values: Values of parameters that differ from the defaults.
        experiment: The run's experiment, created if missing; None: the pipeline's name.
        service_account: The service account of the run's pods; None: the cluster's default.
        run_name: The run's name; None: the pipeline's name and the time.

    Raises:
        RemoteError: a parameter is unknown or has no value, or the endpoint rejects the request or does not answer.
    """
    import kfp_server_api as models

    api, documents = Api(endpoint), list(yaml.safe_load_all(text))
    _check_values(values, documents[0])
    spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    wanted = models.V2beta1Run(
        display_name=run_name or f"{pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        experiment_id=_experiment(api, experiment or pipeline), pipeline_spec=spec, service_account=service_account,
        runtime_config=models.V2beta1RuntimeConfig(parameters=dict(values)),
    )  # fmt: skip
    missing = "The experiment is no longer there: try again."
    run = api.ask(f"start a run of {pipeline}", missing, api.runs.run_service_create_run, wanted)
    _check_run(run, endpoint)
    return Run(run.run_id, endpoint.page(run.run_id))


def status(endpoint: Endpoint, run_id: str) -> RunStatus:
    """The status of a run.

    Raises:
        RemoteError: there is no such run, or the endpoint does not answer.
    """
    api = Api(endpoint)
    missing = f"There is no run {run_id}: `repose kfp submit` prints the ID of the run that it starts."
    run = api.ask(f"show the run {run_id}", missing, api.runs.run_service_get_run, run_id)
    _check_run(run, endpoint)
    spec, version = run.pipeline_spec, run.pipeline_version_reference
    if spec is None and version is not None and version.pipeline_version_id:  # a run of an uploaded pipeline
        missing = f"The pipeline of the run {run_id} was deleted, so its tasks are not known."
        get = api.pipelines.pipeline_service_get_pipeline_version
        ids = (version.pipeline_id, version.pipeline_version_id)
        spec = api.ask(f"read the pipeline of the run {run_id}", missing, get, *ids).pipeline_spec
    return status_of(run, spec or {}, endpoint)


def wait(
    endpoint: Endpoint, run_id: str, *, pace: Pace = Pace(), sleep: Callable[[float], None] = time.sleep
) -> RunStatus:
    """Log the changes of a run's tasks until it ends, and return its status.

    Raises:
        RemoteError: the run failed or was cancelled, or the endpoint did not answer for too long.
    """
    again = f"The run continues; see it with `repose kfp status {run_id}` or at {endpoint.page(run_id)}"
    try:
        ended = _last_status(endpoint, run_id, again, pace, sleep)
    except KeyboardInterrupt:
        say(again)
        raise
    if ended.state in (FAILED, CANCELED):
        how = "failed" if ended.state == FAILED else "was cancelled"
        which = f" in {', '.join(ended.failed)}" if ended.failed else ""
        why = f": {ended.message}" if ended.message else ""
        raise RemoteError(f"The run {ended.name} ({run_id}) {how}{which}{why}. Its tasks' logs: {ended.address}")
    return ended


def _last_status(endpoint: Endpoint, run_id: str, again: str, pace: Pace, sleep: Callable[[float], None]) -> RunStatus:
    """Poll a run until it ends, and log the changes."""
    latest, answered, interval, silent = None, time.monotonic(), pace.first, False
    while True:
        try:
            now = status(endpoint, run_id)
            say_changes(latest, now)
            latest, answered, silent = now, time.monotonic(), False
            if now.ended:
                return now
        except UnansweredError as error:
            if time.monotonic() - answered >= pace.patience:
                raise RemoteError(f"{error} This lasted {pace.patience:,.0f} s. {again}") from None
            if not silent:
                say(f"{error} Looking again for {pace.patience:,.0f} s.")
            silent = True
        except ReposeError as error:
            if latest is None:
                raise
            raise RemoteError(f"{error} {again}") from None
        sleep(interval)
        interval = min(interval * pace.growth, pace.longest)


def _experiment(api: Api, name: str) -> str:
    """The ID of an experiment, which is created if missing."""
    import kfp_server_api as models

    namespace = api.endpoint.namespace
    only = {"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]}
    query = {"filter": json.dumps(only)} | ({"namespace": namespace} if namespace else {})
    missing = f"There is no namespace {namespace}: correct KFP_NAMESPACE."
    answer = api.ask("list experiments", missing, api.experiments.experiment_service_list_experiments, **query)
    found = answer.experiments
    if not found:
        wanted = models.V2beta1Experiment(display_name=name, namespace=namespace)
        create = api.experiments.experiment_service_create_experiment
        found = [api.ask(f"create the experiment {name!r}", missing, create, wanted)]
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


def _check_values(values: Mapping[str, str], spec: Mapping[str, Any]) -> None:
    """Reject values that the pipeline would reject, before anything is created."""
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name in values:
        if name not in known:
            raise RemoteError(f"The pipeline has no parameter {name!r}{nearest(name, list(known))}")
    needed = [name for name, d in known.items() if not d.get("isOptional") and "defaultValue" not in d]
    if left := [name for name in needed if name not in values]:
        raise RemoteError(f"The pipeline's parameters {', '.join(left)} have no default: give a value for each.")
