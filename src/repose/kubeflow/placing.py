"""Give a task of a pipeline its needs: resources, volumes, secrets, nodes, retries."""

from typing import Any

from repose.kubeflow.needs import Amounts, Needs
from repose.kubeflow.nodes import job_text, launcher_needs
from repose.kubeflow.variables import CACHE, JOB, RUN, SCRATCH, WORK


def place(task: Any, needs: Needs, image: str, service_account: str | None) -> None:
    """Set a task's needs, and the run's ID, which Kubeflow gives each pod as a label."""
    from kfp import kubernetes

    if needs.nodes > 1:
        task.set_env_variable(JOB, job_text(needs, image, service_account))
        needs = launcher_needs(needs)
    kubernetes.use_field_path_as_env(task, RUN, "metadata.labels['pipeline/runid']")
    _resources(task, needs)
    _volumes(task, needs)
    if r := needs.retries:
        task.set_retry(r.count, backoff_duration=r.backoff, backoff_factor=r.factor, backoff_max_duration=r.within)
    if needs.timeout:
        kubernetes.set_timeout(task, needs.timeout)
    for set_one, values in (
        (kubernetes.add_node_selector, needs.node_selector), (kubernetes.use_secret_as_volume, needs.secret_files),
        (kubernetes.use_config_map_as_env, needs.config_maps), (kubernetes.use_secret_as_env, needs.secrets),
        (kubernetes.add_pod_label, needs.labels), (kubernetes.add_pod_annotation, needs.annotations),
    ):  # fmt: skip
        for key, value in values.items():
            set_one(task, key, value)
    if needs.affinity:
        kubernetes.add_node_affinity_json(task, needs.affinity)
    for t in needs.tolerations:
        kubernetes.add_toleration(task, t.key, t.operator, t.value, t.effect)
    for name, value in needs.env.items():
        task.set_env_variable(name, value)
    if needs.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(needs.image_pull_secrets))
    if s := needs.security:
        kubernetes.set_security_context(task, s.run_as_user, s.run_as_group, s.run_as_non_root)


def _resources(task: Any, needs: Needs) -> None:
    limits = needs.limits or Amounts()
    if needs.cpu:
        task.set_cpu_request(needs.cpu)
    if cpu := limits.cpu or needs.cpu:
        task.set_cpu_limit(cpu)
    if needs.memory:
        task.set_memory_request(needs.memory)
    if memory := limits.memory or needs.memory:
        task.set_memory_limit(memory)
    if needs.accelerator:
        task.set_accelerator_type(needs.accelerator.type).set_accelerator_limit(needs.accelerator.count)


def _volumes(task: Any, needs: Needs) -> None:
    from kfp import kubernetes

    if needs.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=needs.shared_memory)  # noqa: S108
    if scratch := needs.scratch:
        if scratch.storage_class:
            kubernetes.add_ephemeral_volume(
                task, "scratch", SCRATCH, ["ReadWriteOnce"], scratch.size, scratch.storage_class
            )
        else:
            kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=scratch.size)
        task.set_env_variable(WORK, SCRATCH)
    for volume in needs.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path)
    if needs.cache:
        kubernetes.mount_pvc(task, needs.cache.claim, needs.cache.path)
        task.set_env_variable(CACHE, needs.cache.path)
