"""An HTTP stand-in for the parts of Kubernetes' API that a launcher uses. It is not Kubernetes and runs nothing.

What it takes and gives is checked against published models: TrainJobs with those of kubeflow-trainer-api, which refuse a value
of another type and drop an unknown field, pods with those of the official client. Each look at a job goes one `Look` further.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from kubernetes import client
from pydantic import ValidationError

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"


@dataclass(frozen=True)
class Look:
    """What is seen at one look: the conditions of the job that hold, and the pods."""

    conditions: Sequence[str] = ()  # type, or type: reason: message
    pods: Sequence[Any] = ()  # V1Pod


def pod(number: int, phase: str = "Running", *, why: str = "", job: str = "", **container: Any) -> Any:
    """The pod of a node.

    Args:
        number: of the node.
        phase: of the pod.
        why: reason and message of a pod that cannot be scheduled, or that failed.
        job: the name of its job.
        container: what its container does: `waiting` (reason: message), `ended` or, before a restart, `restarted`
            (exit status, second, reason).
    """
    state = terminated(*container["ended"]) if "ended" in container else None
    last = terminated(*container["restarted"]) if "restarted" in container else None
    if waiting := container.get("waiting"):
        state = client.V1ContainerState(waiting=client.V1ContainerStateWaiting(**split(waiting)))
    status = client.V1ContainerStatus(
        name="node",
        image="i",
        image_id="",
        ready=False,
        restart_count=int(last is not None),
        state=state,
        last_state=last,
    )
    conditions = []
    if phase == "Pending" and why:
        conditions.append(client.V1PodCondition(type="PodScheduled", status="False", **split(why)))
    return client.V1Pod(
        metadata=client.V1ObjectMeta(
            name=f"n{number}", labels={"jobset.sigs.k8s.io/jobset-name": job},
            annotations={"batch.kubernetes.io/job-completion-index": str(number)},
        ),
        status=client.V1PodStatus(
            phase=phase, conditions=conditions or None, container_statuses=None if why else [status],
            **(split(why) if phase == "Failed" else {}),
        ),
    )  # fmt: skip


def terminated(status: int, second: int, reason: str = "Error") -> Any:
    finished = BEGAN + timedelta(seconds=second)
    ended = client.V1ContainerStateTerminated(exit_code=status, reason=reason, finished_at=finished)
    return client.V1ContainerState(terminated=ended)


def split(text: str) -> dict[str, str]:
    reason, _, message = text.partition(": ")
    return {"reason": reason, "message": message}


class KubernetesServer(ThreadingHTTPServer):
    """The server and all that it knows.

    Attributes:
        looks: what is seen at each look; the last one stays.
        logs: the lines of each pod's log.
        troubles: what the next requests get instead of an answer: a status, or None for a lost connection.
        forbidden: verbs and resources that are answered with 403.
        installed: whether the cluster has TrainJobs.
        lingers: looks for which a deleted job is still there.
        requests: method, path and query of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.looks: list[Look] = [Look(["Complete"])]
        self.logs: dict[str, list[str]] = {}
        self.troubles: list[int | None] = []
        self.forbidden: set[tuple[str, str]] = set()
        self.installed, self.lingers = True, 1
        self.jobs: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def deleted(self) -> list[dict[str, str]]:
        """The queries of the requests to delete a job."""
        return [query for method, _, query in self.requests if method == "DELETE"]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        resource = "pods/log" if path.endswith("/log") else "pods" if path.startswith(PODS) else "trainjobs"
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "list" if path == PODS else "get")
        if (verb, resource) in self.forbidden:
            return 403, f"{resource} is forbidden: User x cannot {verb} resource {resource} in the namespace team"
        if resource == "trainjobs" and not self.installed:
            return 404, "404 page not found"
        if verb == "create":
            assert query == {"fieldValidation": "Strict"}
            return self.create(body)
        if resource == "trainjobs":
            return self.job(verb, path.removeprefix(f"{JOBS}/"))
        if resource == "pods":
            (job,) = self.jobs
            assert query["labelSelector"] == f"jobset.sigs.k8s.io/jobset-name={job}"
            return 200, client.ApiClient().sanitize_for_serialization(client.V1PodList(items=list(self.looks[0].pods)))
        name = re.fullmatch(rf"{PODS}/([^/]+)/log", path)[1]  # type: ignore[index]
        assert query["container"] == "node"
        if name not in self.logs:
            return 400, f'container "node" in pod "{name}" is waiting to start: ContainerCreating'
        lines = [f"2026-01-02T03:04:{second:02d}.000000000Z {line}" for second, line in enumerate(self.logs[name])]
        return 200, "\n".join(lines[-int(query.get("tailLines", 0)) :]) + "\n"

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        try:
            if check_job(body) != body:
                return 422, "TrainJob is invalid: unknown field"
        except ValidationError as error:
            return 422, f"TrainJob is invalid: {error}"
        name = body["metadata"]["name"]
        if name in self.jobs:
            return 409, f'trainjobs.trainer.kubeflow.org "{name}" already exists'
        self.jobs[name] = body | {"metadata": body["metadata"] | {"namespace": "team"}}
        self.created.append(body)
        return 201, self.jobs[name]

    def job(self, verb: str, name: str) -> tuple[int, Any]:
        if name not in self.jobs:
            return 404, f'trainjobs.trainer.kubeflow.org "{name}" not found'
        job = self.jobs[name]
        if verb == "delete":
            job["metadata"]["deletionTimestamp"] = BEGAN.isoformat()
        elif "deletionTimestamp" in job["metadata"]:
            self.lingers -= 1
            if self.lingers < 0:
                del self.jobs[name]
                self.looks = self.looks[1:] or self.looks
        else:
            if "status" in job and len(self.looks) > 1:
                self.looks.pop(0)
            conditions = []
            for text in self.looks[0].conditions:
                kind, _, why = text.partition(": ")
                conditions.append(
                    {"type": kind, "status": "True", "lastTransitionTime": BEGAN.isoformat()} | split(why or kind)
                )
            job["status"] = {"conditions": conditions}
        return 200, check_job(job)


def check_job(job: dict[str, Any]) -> dict[str, Any]:
    """A TrainJob as its published model has it.

    Raises:
        ValidationError: a value is of another type.
    """
    found = TrainerV1alpha1TrainJob.from_dict(job)
    assert found is not None
    return json.loads(json.dumps(found.to_dict(), default=str))


class Handler(BaseHTTPRequestHandler):
    server: KubernetesServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.handle_one()

    def do_POST(self) -> None:
        self.handle_one()

    def do_DELETE(self) -> None:
        self.handle_one()

    def handle_one(self) -> None:
        parts, length = urlsplit(self.path), int(self.headers["Content-Length"] or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.requests.append((self.command, parts.path, query))
        trouble = self.server.troubles.pop(0) if self.server.troubles else 200
        if trouble is None:
            self.close_connection = True
            return
        status, found = (
            (trouble, "busy") if trouble != 200 else self.server.answer(self.command, parts.path, query, body)
        )
        if status >= 400 and found != "404 page not found":
            found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": found, "code": status}
        text = found if isinstance(found, str) else json.dumps(found)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        """Be silent."""
