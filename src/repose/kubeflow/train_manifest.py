"""The TrainJob of a stage on several nodes: what Kubeflow's Trainer (2.2 or later) runs.

It has one pod for each node, with the same image and command. The runtime `torch-distributed`, which comes with the Trainer,
adds torchrun's variables (PET_NNODES and others), which `repose.systems.learning.nodes` describes.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from repose.kubeflow.needs import Needs

RUNTIME = "torch-distributed"  # a ClusterTrainingRuntime
NODE = "node"  # the Trainer's name of the job and of the container that train
_SIDECAR = {"sidecar.istio.io/inject": "false"}  # a service mesh would catch the connections between the nodes


def name_of(run: str, stage: str) -> str:
    """The TrainJob's name of a stage in a run: the same for each retry, at most 40 characters."""
    words = re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-")[:23].strip("-")
    return f"repose-{words}-{hashlib.sha256(f'{run} {stage}'.encode()).hexdigest()[:8]}"


def manifest(
    *, name: str, image: str, command: Sequence[str], nodes: int, needs: Needs, env: Mapping[str, str] | None = None,
    service_account: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The TrainJob of a stage.

    Args:
        name: Its name, see `name_of`.
        image: The image of each node.
        command: The command of each node, at most 128 words.
        nodes: The number of nodes.
        needs: The needs of each node. Each accelerator gets a training process; without any, a node has one.
        env: More environment variables.
        service_account: The service account of the nodes; None: the namespace's default.
    """
    variables: list[dict[str, Any]] = [{"name": key, "value": _literal(value)} for key, value in (env or {}).items()]
    for secret, keys in needs.secrets.items():
        variables += [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for key, variable in keys.items()
        ]
    if needs.cache:
        variables.append({"name": "REPOSE_DVC_CACHE", "value": needs.cache.path})
    trainer = {
        "image": image, "command": [_literal(word) for word in command], "numNodes": nodes,
        "numProcPerNode": needs.accelerator.count if needs.accelerator else 1,
        "resourcesPerNode": _resources(needs), "env": variables,
    }  # fmt: skip
    pod = {"metadata": {"labels": dict(needs.labels) | _SIDECAR, "annotations": dict(needs.annotations) | _SIDECAR}}
    pod["spec"] = _pod_spec(needs, service_account)
    jobs = [{"name": NODE, "template": {"spec": {"template": pod}}}]
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
        "trainer": trainer,
        "runtimePatches": [
            {"manager": "repose/pipeline", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}
        ],
    }
    if needs.timeout:
        spec["activeDeadlineSeconds"] = needs.timeout
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob",
        "metadata": {"name": name, "labels": dict(needs.labels)}, "spec": spec,
    }  # fmt: skip


def _resources(needs: Needs) -> dict[str, Any]:
    amounts = {"cpu": needs.cpu, "memory": needs.memory}
    if needs.accelerator:
        amounts[needs.accelerator.type] = str(needs.accelerator.count)
    given = {name: amount for name, amount in amounts.items() if amount}
    return {"requests": given, "limits": dict(given)}


def _pod_spec(needs: Needs, service_account: str | None) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if needs.shared_memory:
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": needs.shared_memory}})
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108
    if needs.cache:
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": needs.cache.claim}})
        mounts.append({"name": "cache", "mountPath": needs.cache.path})
    tolerations = [
        {"key": t.key, "operator": t.operator, "value": t.value, "effect": t.effect} for t in needs.tolerations
    ]
    user = needs.security
    settings: dict[str, Any] = {
        "serviceAccountName": service_account,
        "nodeSelector": dict(needs.node_selector),
        "tolerations": [_given(toleration) for toleration in tolerations],
        "imagePullSecrets": [{"name": secret} for secret in needs.image_pull_secrets],
        "volumes": volumes,
        "containers": [{"name": NODE, "volumeMounts": mounts}] if mounts else [],
        "securityContext": user and _given(
            {"runAsUser": user.run_as_user, "runAsGroup": user.run_as_group, "runAsNonRoot": user.run_as_non_root}
        ),
    }  # fmt: skip
    return {name: value for name, value in settings.items() if value}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _literal(text: str) -> str:
    """The text in a form that Kubernetes, which expands $(NAME), turns into the text."""
    return text.replace("$", "$$")
