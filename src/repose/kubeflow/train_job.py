"""A stage on several nodes: its task starts a TrainJob of Kubeflow's Trainer and waits for it.

`run` creates the job that `train_manifest.manifest` describes, shows the first node's log, reports what keeps pods waiting,
and deletes the job at the end. The first node that fails ends the job: Kubernetes would restart it up to six times, but the
number of attempts is that of the task's `retries`.
"""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NoReturn

from repose.errors import RemoteError, ReposeError
from repose.kubeflow.cluster import Cluster
from repose.terminal import say


def run(job: Mapping[str, Any], cluster: Cluster | None = None, *, pause: float = 5.0) -> None:
    """Run a TrainJob to its end, and delete it; a job of the same name from an earlier attempt is continued, if it runs.

    It is looked at every `pause` seconds; without a cluster, it runs in the one that this pod is in. SIGTERM, or any exception
    that ends the wait, deletes the job too. A task's pod lives about a second after SIGTERM.

    Raises:
        ReposeError: the cluster has no Trainer, forbids something or does not answer; or a node or the job failed.
    """
    cluster, name = cluster or Cluster.of_this_pod(), job["metadata"]["name"]
    watch = _Watch(name, job["spec"]["trainer"]["numNodes"], cluster)
    with _sigterm_as_error():
        try:
            _start(job, cluster, pause)
        except RemoteError:
            raise  # there is no job
        except BaseException:  # a signal, perhaps just after the job was created
            cluster.delete_job(name)
            raise
        try:
            while not watch.is_done():
                time.sleep(pause)
        finally:
            cluster.delete_job(name)
    say(f"TrainJob {name}: complete")


@contextmanager
def _sigterm_as_error() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise ReposeError(
            "The step was stopped (SIGTERM): the run was cancelled, or the pod evicted or past its timeout."
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(job: Mapping[str, Any], cluster: Cluster, pause: float) -> None:
    name, waits = job["metadata"]["name"], False
    while not cluster.create_job(job):
        found = cluster.job(name)
        if found is not None:
            deleted = "deletionTimestamp" in found["metadata"]
            if not deleted and not _condition(found, "Failed"):
                say(f"TrainJob {name}: continuing the one of an earlier attempt")
                return
            if not waits:
                say(f"TrainJob {name}: waiting until the one of an earlier attempt is deleted")
                waits = True
            if not deleted:
                cluster.delete_job(name)
        time.sleep(pause)
    say(f"TrainJob {name}: created, with {job['spec']['trainer']['numNodes']} nodes")


class _Watch:
    """What was seen and said of a TrainJob."""

    def __init__(self, name: str, nodes: int, cluster: Cluster) -> None:
        self._name, self._nodes, self._cluster = name, nodes, cluster
        self._said: set[str] = set()
        self._running: dict[int, str] = {}  # the pod of each node that was seen to run
        self._line = ""  # time of the last line of the log that was shown

    def is_done(self) -> bool:
        """Look once, and show what is new. Raises a ReposeError if the job or a node failed, or somebody deleted the job."""
        job, pods = self._cluster.job(self._name), self._cluster.pods(self._name)
        if job is None:
            raise ReposeError(f"TrainJob {self._name} was deleted while the step waited for it. Run the step again.")
        for pod in pods:
            if _number(pod) == 0:
                self._show_log(pod)
            if waiting := _waiting(pod):
                self._say_once(f"node {_number(pod) + 1} of {self._nodes} waits: {waiting}")
        if failed := sorted(((end, pod, why) for pod in pods for end, why in _failures(pod)), key=itemgetter(0)):
            self._raise_failed(failed)
        if _condition(job, "Complete"):
            return True
        if failure := _condition(job, "Failed"):
            raise ReposeError(
                f"TrainJob {self._name} failed: {failure.get('reason')}: {failure.get('message')}. The log above, if there "
                "is one, says more."
            )
        suspended = _condition(job, "Suspended")
        self._check_pods(pods, new=bool(suspended))
        running = sum(pod.status.phase == "Running" for pod in pods)
        why = ", and the job is suspended (a queue decides when it starts)" if suspended else ""
        self._say_once(f"{running} of {self._nodes} nodes run{why}")
        return False

    def _check_pods(self, pods: Sequence[Any], *, new: bool) -> None:
        """Check that no node's pod was replaced, as the others wait for the one that they began with."""
        if new:
            self._running.clear()
        for pod in pods:
            number, name = _number(pod), pod.metadata.name
            if self._running.get(number, name) != name:
                raise ReposeError(
                    f"TrainJob {self._name}: node {number + 1} of {self._nodes} was lost: Kubernetes deleted its pod "
                    f"{self._running[number]}, as it does when it evicts a pod or loses a machine. The job was stopped."
                )
            if pod.status.phase == "Running":
                self._running[number] = name

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            say(f"TrainJob {self._name}: {line}")

    def _show_log(self, pod: Any) -> None:
        recent = {"since_seconds": 900} if self._line else {}  # more than the cluster may have been silent
        seen = self._line  # CRI-O gives all lines that it reads at once the same time
        for stamp, line in self._cluster.log(pod.metadata.name, **recent):
            if stamp > seen:
                say(line)
                self._line = max(stamp, self._line)

    def _raise_failed(self, failed: Sequence[tuple[str, Any, str]]) -> NoReturn:
        """Show the logs of the nodes that failed, and raise the error of the first."""
        for _, pod, _ in failed:
            for _, line in self._cluster.log(pod.metadata.name, tail_lines=30, previous=_was_restarted(pod)):
                say(f"node {_number(pod) + 1}: {line}")
        _, pod, why = failed[0]
        raise ReposeError(
            f"TrainJob {self._name}: node {_number(pod) + 1} of {self._nodes} failed ({why}), in pod {pod.metadata.name}. The "
            "end of its log is above. The job was stopped."
        )


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of a TrainJob, if it holds."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)


def _number(pod: Any) -> int:
    """The number of a pod's node, from 0."""
    return int((pod.metadata.annotations or {}).get("batch.kubernetes.io/job-completion-index", 0))


def _waiting(pod: Any) -> str | None:
    """What keeps a pod from running, if Kubernetes says it."""
    for container in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = container.state and container.state.waiting
        if waiting and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            return _why(waiting)
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return _why(condition)
    return None


def _why(status: Any) -> str:
    """Reason and message of a status, which may lack either."""
    return ": ".join(filter(None, (status.reason, status.message))) or "no reason given"


def _failures(pod: Any) -> list[tuple[str, str]]:
    """When and why containers of a pod ended with an error, or the pod itself, as when it is evicted."""
    found = []
    for container in pod.status.container_statuses or []:
        for state in (container.last_state, container.state):
            ended = state and state.terminated
            if ended and ended.exit_code:
                found.append((str(ended.finished_at), f"{ended.reason}, exit status {ended.exit_code}"))
    if pod.status.phase == "Failed" and not found:
        found.append(("", _why(pod.status)))
    return found


def _was_restarted(pod: Any) -> bool:
    return any(container.restart_count for container in pod.status.container_statuses or [])
