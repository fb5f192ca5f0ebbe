"""Start runs of a pipeline on Kubeflow, upload it, schedule it, show a run's status, and wait for its end.

A run contains the compiled pipeline itself unless it names an uploaded version.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repose.errors import RemoteError, ReposeError
from repose.kubeflow.endpoint import Endpoint, UnansweredError, connect, understood
from repose.kubeflow.run_status import CANCELED, FAILED, RunStatus, say_changes, status_of
from repose.storage.atomic import temporary_folder
from repose.terminal import say


@dataclass(frozen=True)
class Pace:
    """How often to look at a run, in seconds."""

    first: float = 1.0  # before the second look
    growth: float = 1.5  # factor between one interval and the next
    longest: float = 10.0
    patience: float = 300.0  # how long the endpoint may be silent


@dataclass(frozen=True)
class Order:
    """What to run: a compiled pipeline, or an uploaded version of it, with parameters."""

    pipeline: str  # name
    values: Mapping[str, str]  # of parameters that differ from the defaults
    text: str = ""  # the compiled pipeline
    version: str | None = None  # the name of an uploaded version, instead of the text
    experiment: str | None = None  # created if missing; None: the pipeline's name
    name: str | None = None  # of the run; None: the pipeline's and the time
    service_account: str | None = None  # of the run's pods; None: the cluster's default


def submit(endpoint: Endpoint, order: Order) -> str:
    """Start a run; return its ID. Raises a RemoteError if the endpoint lacks the version, rejects it or does not answer."""
    client, name = connect(endpoint), order.name or f"{order.pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with _quiet_folder() as folder:
        run = client.run_pipeline(job_name=name, **_prepared(client, endpoint, order, folder))
    return str(run.run_id)


def schedule(endpoint: Endpoint, order: Order, cron: str) -> str:
    """Start a run at the times of a cron expression of six fields (the first is seconds); return the schedule's ID.

    Raises:
        RemoteError: as `submit`, or the expression does not have six fields or is invalid.
    """
    if len(cron.split()) != 6:  # the server takes five, too, but as seconds, minutes, hours, days and months
        raise RemoteError(
            f"The schedule {cron!r} should have six fields, of which the first is seconds: '0 0 3 * * 1'."
        )
    client, name = connect(endpoint), order.name or f"{order.pipeline} {cron}"
    with _quiet_folder() as folder:
        given = _prepared(client, endpoint, order, folder)
        made = client.create_recurring_run(job_name=name, cron_expression=cron, no_catchup=True, **given)
    return str(made.recurring_run_id)


def upload(endpoint: Endpoint, pipeline: str, text: str, version: str, description: str) -> str:
    """Upload a compiled pipeline as a version, of a new pipeline if there is none of its name; return the version's page.

    Raises:
        RemoteError: there is such a version already, or the endpoint rejects the request or does not answer.
    """
    client = connect(endpoint)
    with _quiet_folder() as folder:
        found = _pipeline_id(client, endpoint, pipeline)
        if found is None:
            wanted = client.api_models.V2beta1Pipeline(display_name=pipeline, namespace=endpoint.namespace)
            found = client.pipelines.pipeline_service_create_pipeline(wanted).pipeline_id
        elif version in _versions(client, found):
            raise RemoteError(
                f"{pipeline} has a version {version} already. Run it with --version, or give another name."
            )
        file = _written(text, folder)
        new = client.upload_pipeline_version(file, version, pipeline_id=found, description=description)
    return f"{endpoint.address}/#/pipelines/details/{found}/version/{new.pipeline_version_id}"


def status(endpoint: Endpoint, run_id: str) -> RunStatus:
    """The status of a run. Raises a RemoteError if there is no such run or the endpoint does not answer."""
    return _status(connect(endpoint), endpoint, run_id)


def wait(
    endpoint: Endpoint, run_id: str, *, pace: Pace = Pace(), sleep: Callable[[float], None] = time.sleep
) -> RunStatus:
    """Log the changes of a run's tasks until it ends, and return its status.

    Raises:
        RemoteError: the run or a task failed or was cancelled, or the endpoint did not answer for too long.
    """
    again = f"The run continues; see it with `repose kfp status {run_id}` or at {endpoint.page(run_id)}"
    try:
        ended = _last_status(endpoint, run_id, again, pace, sleep)
    except KeyboardInterrupt:
        say(again)
        raise
    if ended.state in (FAILED, CANCELED) or ended.failed:  # a failed task does not always make a failed run
        how = "was cancelled" if ended.state == CANCELED else "failed"
        which = f" in {', '.join(ended.failed)}" if ended.failed else ""
        why = f": {ended.message}" if ended.message else ""
        raise RemoteError(f"The run {ended.name} ({run_id}) {how}{which}{why}. Its tasks' logs: {ended.address}")
    return ended


def _last_status(endpoint: Endpoint, run_id: str, again: str, pace: Pace, sleep: Callable[[float], None]) -> RunStatus:
    """Poll a run until it ends, and log the changes."""
    client: Any = None
    latest, answered, interval, silent = None, time.monotonic(), pace.first, False
    while True:
        try:
            client = client or connect(endpoint)
            now = _status(client, endpoint, run_id)
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


def _status(client: Any, endpoint: Endpoint, run_id: str) -> RunStatus:
    run = client.get_run(run_id)
    spec, version = run.pipeline_spec, run.pipeline_version_reference
    if spec is None and version is not None and version.pipeline_version_id:  # a run of an uploaded pipeline
        spec = client.get_pipeline_version(version.pipeline_id, version.pipeline_version_id).pipeline_spec
    with understood(endpoint):
        return status_of(run, spec or {}, endpoint)


def _prepared(client: Any, endpoint: Endpoint, order: Order, folder: Path) -> dict[str, Any]:
    """The arguments that kfp.Client's methods for runs and schedules share."""
    name = order.experiment or order.pipeline
    experiment = client.create_experiment(name, namespace=endpoint.namespace)
    if experiment.storage_state == "ARCHIVED":
        raise RemoteError(
            f"The experiment {name!r} at {endpoint.address} is archived: restore it there, or name another."
        )
    given = {
        "experiment_id": experiment.experiment_id, "params": dict(order.values), "service_account": order.service_account,
    }  # fmt: skip
    if order.version is None:
        return given | {"pipeline_package_path": _written(order.text, folder)}
    found = _pipeline_id(client, endpoint, order.pipeline)
    versions = _versions(client, found) if found else {}
    if order.version not in versions:
        raise RemoteError(
            f"There is no version {order.version!r} of {order.pipeline} at {endpoint.address}; there are: "
            f"{', '.join(versions) or 'none'}. `repose kfp upload` makes one."
        )
    return given | {"pipeline_id": found, "version_id": versions[order.version]}


def _pipeline_id(client: Any, endpoint: Endpoint, name: str) -> str | None:
    """The ID of an uploaded pipeline; None if there is none."""
    only = {"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]}
    answer = client.list_pipelines(filter=json.dumps(only), namespace=endpoint.namespace)
    return answer.pipelines[0].pipeline_id if answer.pipelines else None


def _versions(client: Any, pipeline: str) -> dict[str, str]:
    """The IDs of a pipeline's versions by name, the newest first."""
    versions: dict[str, str] = {}
    page: str | None = ""
    while page is not None:
        answer = client.list_pipeline_versions(pipeline, page_token=page, page_size=100, sort_by="created_at desc")
        versions |= {version.display_name: version.pipeline_version_id for version in answer.pipeline_versions or ()}
        page = answer.next_page_token or None
    return versions


@contextmanager
def _quiet_folder() -> Iterator[Path]:
    """A folder for the compiled pipeline, which kfp.Client takes as a file; the links that it prints are not shown."""
    with temporary_folder() as folder, redirect_stdout(io.StringIO()):
        yield folder


def _written(text: str, folder: Path) -> str:
    file = folder / "pipeline.yaml"
    file.write_text(text, "utf-8")
    return str(file)
