"""The Kubernetes that a pod of ours runs in: TrainJobs, their pods and logs, by the official client.

A busy or unreachable server is asked again for some minutes, because a training lasts longer than a server's restart.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import RemoteError
from repose.kubeflow.endpoint import message_of
from repose.kubeflow.train_manifest import NODE
from repose.terminal import say

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_KIND: dict[str, Any] = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
_TIMES = (10.0, 60.0)  # seconds to connect, and to wait for a response
_TRANSIENT = (429, 500, 502, 503, 504)


class _Rule(NamedTuple):
    """A right in Kubernetes: what a Role has to list."""

    verb: str
    resource: str
    group: str = ""


_CREATE, _GET, _DELETE = (_Rule(verb, "trainjobs", "trainer.kubeflow.org") for verb in ("create", "get", "delete"))
_PODS, _LOG = _Rule("list", "pods"), _Rule("get", "pods/log")


class Cluster:
    """A namespace of a Kubernetes cluster."""

    def __init__(self, client: Any, namespace: str, *, patience: float = 300.0) -> None:
        """A cluster reached by an ApiClient; a server may be silent for `patience` seconds."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self._jobs, self._core = CustomObjectsApi(client), CoreV1Api(client)
        self._namespace, self._patience = namespace, patience

    @classmethod
    def of_this_pod(cls) -> "Cluster":
        """The cluster and namespace of this pod, with its service account. Raises a RemoteError if there is none."""
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
            return cls(client.ApiClient(settings), _NAMESPACE.read_text("utf-8").strip())
        except (config.ConfigException, OSError) as error:
            raise RemoteError(
                f"A stage on several nodes is started by its task's pod, but this one has no service account ({error}). "
                "Submit the pipeline (`repose kfp submit`), or remove `nodes` from the environment."
            ) from None

    def create_job(self, job: Mapping[str, Any]) -> bool:
        """Create a TrainJob; false if there is one of this name. Raises a RemoteError if the cluster rejects it."""
        create = self._jobs.create_namespaced_custom_object
        strict: dict[str, Any] = {"field_validation": "Strict"}  # another version of the Trainer may not know a field
        created = self._ask(_CREATE, create, **_KIND, **strict, namespace=self._namespace, body=job, silent=(409,))
        return created is not None

    def job(self, name: str) -> dict[str, Any] | None:
        """A TrainJob; None if there is none of this name."""
        get = self._jobs.get_namespaced_custom_object
        return self._ask(_GET, get, **_KIND, namespace=self._namespace, name=name, silent=(404,))

    def delete_job(self, name: str) -> None:
        """Delete a TrainJob after its pods. An error is only logged, so that the one that led here is shown."""
        delete, where = self._jobs.delete_namespaced_custom_object, {"namespace": self._namespace, "name": name}
        patience = min(self._patience, 10.0)  # a pod that was told to stop has half a minute
        try:
            self._ask(
                _DELETE, delete, **_KIND, **where, propagation_policy="Foreground", silent=(404,), patience=patience
            )
        except RemoteError as error:
            say(f"TrainJob {name} was not deleted and may still run (`kubectl delete trainjob {name}`): {error}")

    def pods(self, name: str) -> list[Any]:
        """The pods (V1Pod) of a TrainJob."""
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        return self._ask(_PODS, self._core.list_namespaced_pod, namespace=self._namespace, label_selector=label).items

    def log(self, pod: str, **which: Any) -> Iterator[tuple[str, str]]:
        """The lines of a node's log, each with its time; none if the container has not started.

        `which` lines: the last ones (`tail_lines`), the recent ones (`since_seconds`), or those of the container before its
        restart (`previous`).
        """
        text = self._ask(
            _LOG, self._read_log, namespace=self._namespace, name=pod, container=NODE, timestamps=True, silent=(400, 404),
            **which,
        )  # fmt: skip
        for line in filter(None, (text or "").split("\n")):  # a line may have \r, as of a progress bar
            stamp, _, words = line.partition(" ")
            yield stamp, words

    def _read_log(self, **which: Any) -> str:
        try:
            return self._core.read_namespaced_pod_log(**which)
        except UnicodeDecodeError as error:  # the client decodes strictly, but a program may write any bytes
            if not error.object[:1].isdigit():  # no time, so no log
                raise
            return error.object.decode(errors="replace")

    def _ask(
        self, rule: _Rule, call: Callable[..., Any], *, silent: tuple[int, ...] = (), patience: float | None = None,
        **arguments: Any,
    ) -> Any:  # fmt: skip
        """The answer to a request; None if its status is one of `silent`."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        patience = self._patience if patience is None else patience
        deadline = time.monotonic() + patience
        while True:
            try:
                return call(**arguments, _request_timeout=_TIMES)
            except ApiException as error:
                if error.status in silent:
                    return None
                if error.status not in _TRANSIENT or time.monotonic() > deadline:
                    raise RemoteError(self._message(rule, error.status, error.body or error.reason)) from None
            except (HTTPError, UnicodeDecodeError) as error:  # the latter: a proxy's page, of any status
                if time.monotonic() > deadline:
                    raise RemoteError(
                        f"Kubernetes did not {rule.verb} {rule.resource} in the namespace {self._namespace}: its API server "
                        f"gave no answer for {patience:.0f} s ({message_of(error)}). See whether the control plane works; "
                        "then run the step again."
                    ) from None
            time.sleep(1)

    def _message(self, rule: _Rule, status: int, body: Any) -> str:
        try:
            why = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            why = body
        where = f"in the namespace {self._namespace}"
        what = f"Kubernetes did not {rule.verb} {rule.resource} {where} (HTTP status {status}: {message_of(why)})."
        if status == 401 or (status == 403 and f"cannot {rule.verb}" in str(why)):  # a quota answers 403, too
            return (
                f"{what} Give the run's service account a Role with the rule {{apiGroups: [{rule.group!r}], resources: "
                f"[{rule.resource!r}], verbs: [{rule.verb!r}]}}. pipelines/README.md has all rules."
            )
        if status == 404:
            return (
                f"{what} Install Kubeflow Trainer 2.2 or later in the cluster, or remove `nodes` from the environment."
            )
        return f"{what} See `nodes` in pipelines/README.md."
