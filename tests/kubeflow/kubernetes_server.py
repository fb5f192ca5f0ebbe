"""A stand-in for the parts of Kubernetes' API that a launcher uses. It is not Kubernetes and runs nothing.

TrainJobs are checked against the published models of kubeflow-trainer-api, which refuse a value of another type and drop an
unknown field. Each look at a job goes one `Look` further.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from pydantic import ValidationError
from stand_in import Request, StandIn

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"


@dataclass(frozen=True)
class Look:
    """What is seen at one look: the conditions of the job that hold, and the pods."""

    conditions: Sequence[str] = ()  # type, or type: reason: message
    pods: Sequence[Any] = ()


def pod(
    number: int, phase: str = "Running", *, why: str = "", waiting: str = "", ended: Any = (), restarted: Any = ()
) -> Any:
    """The pod of a node.

    Args:
        number: of the node.
        phase: of the pod.
        why: reason and message of a pod that cannot be scheduled, or that failed.
        waiting: reason and message of a container that waits.
        ended: how its container ended: exit status, second, reason.
        restarted: how its container ended before a restart.
    """
    container = {"name": "node", "image": "i", "imageID": "", "ready": False, "restartCount": int(bool(restarted))}
    container["state"] = {"waiting": split(waiting)} if waiting else terminated(*ended)
    container["lastState"] = terminated(*restarted)
    status: dict[str, Any] = {"phase": phase} | ({} if why else {"containerStatuses": [container]})
    if phase == "Pending" and why:
        status["conditions"] = [{"type": "PodScheduled", "status": "False"} | split(why)]
    index = {"batch.kubernetes.io/job-completion-index": str(number)}
    return {
        "metadata": {"name": f"n{number}", "annotations": index},
        "status": status | (split(why) if phase == "Failed" else {}),
    }


def terminated(status: int | None = None, second: int = 0, reason: str = "Error") -> Any:
    finished = (BEGAN + timedelta(seconds=second)).isoformat()
    return {} if status is None else {"terminated": {"exitCode": status, "reason": reason, "finishedAt": finished}}


def split(text: str) -> dict[str, str]:
    reason, _, message = text.partition(": ")
    return {"reason": reason, "message": message} if message else {"reason": reason}


class KubernetesServer(StandIn):
    """The server and all that it knows.

    Attributes:
        looks: what is seen at each look; the last one stays.
        logs: the lines of each pod's log; those of one entry have the same time.
        forbidden: verbs and resources that are answered with 403.
        installed: whether the cluster has TrainJobs.
        lingers: looks for which a deleted job is still there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[Look] = [Look(["Complete"])]
        self.logs: dict[str, list[str]] = {}
        self.forbidden: set[tuple[str, str]] = set()
        self.installed, self.lingers = True, 1
        self.jobs: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []

    @property
    def deleted(self) -> list[dict[str, str]]:
        """The queries of the requests to delete a job."""
        return [request.query for request in self.requests if request.method == "DELETE"]

    def answer(self, request: Request) -> tuple[int, Any]:
        status, found = self.found(*request[:4])
        if status >= 400 and found != "404 page not found":
            found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": found, "code": status}
        return status, found

    def found(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
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
            return 200, {"kind": "PodList", "apiVersion": "v1", "items": list(self.looks[0].pods)}
        name = path.removeprefix(f"{PODS}/").removesuffix("/log")
        assert query["container"] == "node"
        if name not in self.logs:
            return 400, f'container "node" in pod "{name}" is waiting to start: ContainerCreating'
        lines = [
            f"2026-01-02T03:04:{second:02d}.000000000Z {line}"
            for second, entry in enumerate(self.logs[name])
            for line in entry.split("\n")
        ]
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
                about = {"type": kind, "status": "True", "lastTransitionTime": BEGAN.isoformat()}
                conditions.append(about | split(why or kind))
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
