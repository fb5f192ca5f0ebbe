"""The Kubernetes that a pod of ours runs in: TrainJobs, their pods and logs, by the official client.

A busy or unreachable server is asked again for some minutes, because a training lasts longer than a server's restart.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from repose.errors import RemoteError
from repose.kubeflow.endpoint import message_of
from repose.kubeflow.train_manifest import NODE
from repose.terminal import say

RETRIES = Retry(
    12, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None, raise_on_status=False, backoff_factor=1,
    backoff_max=30,
)  # fmt: skip
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_KIND: dict[str, Any] = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
_TIMES = (10.0, 60.0)  # seconds to connect, and to wait for a response


class Cluster:
    """A namespace of a Kubernetes cluster."""

    def __init__(self, client: Any, namespace: str) -> None:
        """A cluster reached by an ApiClient."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self._jobs, self._core, self._namespace = CustomObjectsApi(client), CoreV1Api(client), namespace

    @classmethod
    def of_this_pod(cls) -> "Cluster":
        """The cluster and namespace that this pod is in, with its service account.

        Raises:
            RemoteError: this is no pod, or it has no service account.
        """
        from kubernetes import client, config

        settings = client.Configuration()
        settings.retries = RETRIES
        try:
            config.load_incluster_config(client_configuration=settings)
            return cls(client.ApiClient(settings), _NAMESPACE.read_text("utf-8").strip())
        except (config.ConfigException, OSError) as error:
            raise RemoteError(
                f"A stage on several nodes is started by its task's pod, but this one has no service account ({error}). "
                "Submit the pipeline (`repose kfp submit`), or remove `nodes` from the environment."
            ) from None

    def create_job(self, job: Mapping[str, Any]) -> bool:
        """Create a TrainJob; false if there is one of this name.

        Raises:
            RemoteError: the cluster has no Trainer, or rejects the job.
        """
        create = self._jobs.create_namespaced_custom_object
        strict: dict[str, Any] = {"field_validation": "Strict"}  # another version of the Trainer may not know a field
        return self._ask(create, **_KIND, **strict, body=job, silent=(409,)) is not None

    def job(self, name: str) -> dict[str, Any] | None:
        """A TrainJob; None if there is none of this name."""
        return self._ask(self._jobs.get_namespaced_custom_object, **_KIND, name=name, silent=(404,))

    def delete_job(self, name: str) -> None:
        """Delete a TrainJob after its pods. An error is only logged, so that the one that led here is shown."""
        delete, how = self._jobs.delete_namespaced_custom_object, {"propagation_policy": "Foreground"}
        try:
            self._ask(delete, **_KIND, name=name, **how, silent=(404,))
        except RemoteError as error:
            say(f"TrainJob {name} was not deleted and may still run (`kubectl delete trainjob {name}`): {error}")

    def pods(self, name: str) -> list[Any]:
        """The pods (V1Pod) of a TrainJob."""
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        return self._ask(self._core.list_namespaced_pod, label_selector=label).items

    def log(self, pod: str, **which: Any) -> Iterator[tuple[str, str]]:
        """The lines of a node's log, each with its time; none if the container has not started.

        `which` lines: the last ones (`tail_lines`), the recent ones (`since_seconds`), or those of the container before its
        restart (`previous`).
        """
        read, of = self._core.read_namespaced_pod_log, {"name": pod, "container": NODE, "timestamps": True}
        text = self._ask(read, **of, silent=(400, 404), **which)
        for line in (text or "").splitlines():
            stamp, _, words = line.partition(" ")
            yield stamp, words

    def _ask(self, call: Callable[..., Any], *, silent: tuple[int, ...] = (), **arguments: Any) -> Any:
        """The answer to a request in this namespace; None if its status is one of `silent`."""
        from kubernetes.client import ApiException

        try:
            return call(**arguments, namespace=self._namespace, _request_timeout=_TIMES)
        except ApiException as error:
            if error.status in silent:
                return None
            raise self._refusal(error.status, error.body or error.reason) from None
        except HTTPError as error:
            raise RemoteError(
                f"Kubernetes' API server gave no answer ({message_of(error)}). See whether the control plane works; then "
                "run the step again."
            ) from None

    def _refusal(self, status: int, body: Any) -> RemoteError:
        try:
            why = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            why = body
        hint = "See `nodes` in pipelines/README.md."
        if status in (401, 403):
            hint = "Give the run's service account the rules in pipelines/README.md."
        elif status == 404:
            hint = "Install Kubeflow Trainer 2.2 or later in the cluster, or remove `nodes` from the environment."
        where = f"in the namespace {self._namespace}"
        return RemoteError(f"Kubernetes refuses a request {where} (HTTP status {status}: {message_of(why)}). {hint}")
