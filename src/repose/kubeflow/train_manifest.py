"""The TrainJob of a stage on several nodes: what Kubeflow's Trainer (2.2 or later) runs.

It has one pod for each node, with the same image and command. The runtime `torch-distributed`, which comes with the Trainer,
adds torchrun's variables (PET_NNODES and others), which `repose.systems.learning.nodes` describes.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from repose.kubeflow.needs import Amounts, Needs
from repose.kubeflow.variables import CACHE, SCRATCH, WORK

RUNTIME = "torch-distributed"  # a ClusterTrainingRuntime
NODE = "node"  # the Trainer's name of the job and of the container that train
_SIDECAR = {"sidecar.istio.io/inject": "false"}  # a service mesh would catch the connections between the nodes


def name_of(run: str, stage: str) -> str:
    """The TrainJob's name of a stage in a run: the same for each retry, at most 40 characters."""
    words = re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-")[:23].strip("-")
    return f"repose-{words}-{hashlib.sha256(f'{run} {stage}'.encode()).hexdigest()[:8]}"


def manifest(
    *, name: str, image: str, command: Sequence[str], needs: Needs, env: Mapping[str, str] | None = None,
    service_account: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The TrainJob of a stage, with what each node gets: a command of at most 128 words, its needs, more variables.

    Each accelerator gets a training process; without any, a node has one. The default account is the namespace's.
    """
    trainer = {
        "image": image, "command": [_literal(word) for word in command], "numNodes": needs.nodes,
        "numProcPerNode": needs.accelerator.count if needs.accelerator else 1,
        "resourcesPerNode": _resources(needs), "env": _variables(needs, env or {}),
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


def _variables(needs: Needs, more: Mapping[str, str]) -> list[dict[str, Any]]:
    values = dict(needs.env) | dict(more)
    if needs.scratch:
        values[WORK] = SCRATCH
    if needs.cache:
        values[CACHE] = needs.cache.path
    found: list[dict[str, Any]] = [{"name": name, "value": _literal(value)} for name, value in values.items()]
    for kind, sources in (("configMapKeyRef", needs.config_maps), ("secretKeyRef", needs.secrets)):
        for source, keys in sources.items():
            found += [{"name": name, "valueFrom": {kind: {"name": source, "key": key}}} for key, name in keys.items()]
    return found


def _resources(needs: Needs) -> dict[str, Any]:
    limits = needs.limits or Amounts()
    wanted = {"cpu": needs.cpu, "memory": needs.memory}
    most = {"cpu": limits.cpu or needs.cpu, "memory": limits.memory or needs.memory}
    if needs.accelerator:
        wanted[needs.accelerator.type] = most[needs.accelerator.type] = str(needs.accelerator.count)
    return {"requests": _given(wanted), "limits": _given(most)}


def _volumes(needs: Needs) -> list[tuple[dict[str, Any], str]]:
    """The volumes of a node, each with the folder where it is mounted."""
    found: list[tuple[dict[str, Any], str]] = []
    if needs.shared_memory:
        found.append(({"emptyDir": {"medium": "Memory", "sizeLimit": needs.shared_memory}}, "/dev/shm"))  # noqa: S108
    if scratch := needs.scratch:
        claim = {
            "accessModes": ["ReadWriteOnce"], "storageClassName": scratch.storage_class,
            "resources": {"requests": {"storage": scratch.size}},
        }  # fmt: skip
        on_disk = {"emptyDir": {"sizeLimit": scratch.size}}
        own = {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
        found.append((own if scratch.storage_class else on_disk, SCRATCH))
    claims = [*needs.volumes, *([needs.cache] if needs.cache else [])]
    found += [({"persistentVolumeClaim": {"claimName": volume.claim}}, volume.path) for volume in claims]
    found += [({"secret": {"secretName": secret}}, folder) for secret, folder in needs.secret_files.items()]
    return found


def _pod_spec(needs: Needs, service_account: str | None) -> dict[str, Any]:
    volumes = _volumes(needs)
    mounts = [{"name": f"volume-{number}", "mountPath": path} for number, (_, path) in enumerate(volumes)]
    user = needs.security
    settings: dict[str, Any] = {
        "serviceAccountName": service_account,
        "nodeSelector": dict(needs.node_selector),
        "affinity": {"nodeAffinity": dict(needs.affinity)} if needs.affinity else {},
        "tolerations": [_given(vars(toleration)) for toleration in needs.tolerations],
        "imagePullSecrets": [{"name": secret} for secret in needs.image_pull_secrets],
        "volumes": [{"name": f"volume-{number}", **source} for number, (source, _) in enumerate(volumes)],
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
