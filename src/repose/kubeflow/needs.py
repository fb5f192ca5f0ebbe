"""The needs of a stage in a cluster: `meta.kfp` in dvc.yaml, merged with an environment.

    meta:
      kfp:
        outs: {runs/attend: Model}                 # each output and its type in Kubeflow
        pages: {curves: runs/attend/history.csv}   # shown in Kubeflow: HTML, PNG, JPEG, CSV, Markdown
        unfinished: .repose/runs                   # pushed regularly, so that a retry resumes
        accelerator: {type: nvidia.com/gpu, count: 1}
        cpu: "4"

An environment (laptop, staging, production) is a YAML file with the image, the remote, and the needs of all or some stages.
"""

import re
from collections.abc import Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, PositiveInt

from repose.config import build, nearest, read_params, settings
from repose.errors import ReposeError
from repose.kubeflow.stages import Stage, contains, name_of

TypeName = Literal["Artifact", "Dataset", "Model", "Metrics", "HTML", "Markdown"]
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def _check_amount(text: str) -> str:
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount in Kubernetes' notation, such as 500m or 8Gi.")
    return text


Amount = Annotated[str, AfterValidator(_check_amount)]  # in Kubernetes' notation: 500m, 8Gi


@settings
class OutMeta:
    """An output with more settings than its type."""

    type: TypeName
    name: str | None = None  # in Kubeflow; None: made from the path
    page: str | None = None  # the file to show, for a folder of the type HTML or Markdown


@settings
class Accelerator:
    """Accelerators, under the cluster's name for them."""

    type: str  # nvidia.com/gpu
    count: int = 1


@settings
class Toleration:
    """A taint of nodes that the task tolerates."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None


@settings
class Retries:
    """Retries of a failed task; each wait is `factor` times the one before."""

    count: int
    backoff: str = "30s"
    factor: float = 2.0
    longest: str = "3600s"


@settings
class SharedCache:
    """A volume that keeps DVC's cache between pods."""

    claim: str  # name of the PersistentVolumeClaim
    path: str = "/cache"


@settings
class Security:
    """The user that runs the container."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None


@settings
class Needs:
    """The needs of a task."""

    cpu: Amount | None = None
    memory: Amount | None = None
    accelerator: Accelerator | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    shared_memory: Amount | None = None  # of /dev/shm
    retries: Retries | None = None
    timeout: PositiveInt | None = None  # seconds
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)  # secret: {its key: environment variable}
    cache: SharedCache | None = None
    image_pull_secrets: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    security: Security | None = None


@settings
class StageMeta(Needs):
    """A stage's meta.kfp."""

    outs: dict[str, OutMeta | TypeName] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    unfinished: str | None = None  # folder with the state that the stage needs to resume


@settings
class Environment:
    """The environment in which a pipeline runs."""

    name: str | None = None  # of the pipeline
    image: str | None = None  # of every task, preferably by digest (NAME@sha256:...)
    digest_required: bool = False
    remote: str | None = None  # DVC's remote, as the cluster reaches it
    endpoint: str | None = None  # of an S3 server other than Amazon's
    service_account: str | None = None  # of the run's pods
    defaults: dict[str, Any] = field(default_factory=dict)  # needs of all tasks
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # needs of a stage, or of one of its items

    def over(self, base: "Environment") -> "Environment":
        """This environment merged over a base."""
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in (None, False, {})}
        given |= {"defaults": _over(self.defaults, base.defaults), "stages": _over(self.stages, base.stages)}
        return replace(base, **given)


def read_environment(path: Path) -> Environment:
    """Read an environment.

    Raises:
        ReposeError: the file is missing, or has an unknown key or a value of another type.
    """
    environment = build(Environment, read_params(path), str(path))
    build(Needs, environment.defaults, f"{path}: defaults")
    for stage, needs in environment.stages.items():
        build(Needs, needs, f"{path}: stages.{stage}")
    return environment


def check_image(environment: Environment, where: str) -> None:
    """Check that the image is given by digest if the environment requires it.

    Raises:
        ReposeError: it is not.
    """
    if environment.digest_required and not _DIGEST.fullmatch(environment.image or ""):
        raise ReposeError(
            f"{where}: the image should be given by digest (--image NAME@sha256:...), not as {environment.image!r}. The "
            "image behind a tag can change, and Kubeflow's cache would not notice. `docker inspect --format "
            "'{{index .RepoDigests 0}}' IMAGE` prints it after a push."
        )


def needs_of(stage: Stage, environment: Environment) -> StageMeta:
    """A stage's meta.kfp with the environment's needs.

    Raises:
        ReposeError: meta.kfp is missing, lacks the type of an output, or has a path that is not an output.
    """
    where = f"dvc.yaml: {stage.address}: meta.kfp"
    if stage.meta is None:
        raise ReposeError(
            f"Stage {stage.address} has no meta.kfp in dvc.yaml. Give it one with the type of each output, such as "
            f"`meta: {{kfp: {{outs: {{{', '.join(f'{out.name}: Dataset' for out in stage.outs)}}}}}}}`."
        )
    _check_outs(stage, build(StageMeta, stage.meta, where), where)
    merged = dict(environment.defaults)
    for layer in (stage.meta, environment.stages.get(stage.group, {}), environment.stages.get(stage.address, {})):
        merged = _over(layer, merged)
    return build(StageMeta, merged, where)


def out_meta(stage: Stage, meta: StageMeta, path: str) -> OutMeta:
    """The settings of the output at a path."""
    found = meta.outs[stage.out(path).name]
    return found if isinstance(found, OutMeta) else OutMeta(found)


def out_names(stage: Stage, meta: StageMeta) -> dict[str, str]:
    """The name in Kubeflow of each output, by its path."""
    return {out.path: out_meta(stage, meta, out.path).name or name_of(out.template) for out in stage.outs}


def page_names(stage: Stage, meta: StageMeta) -> dict[str, str]:
    """The path of each page's file, by the page's name in Kubeflow."""
    return {f"{name_of(name)}_page": stage.resolve(path) for name, path in meta.pages.items()}


def _check_outs(stage: Stage, meta: StageMeta, where: str) -> None:
    paths = [out.name for out in stage.outs]
    for path in meta.outs:
        if path not in paths:
            raise ReposeError(f"{where}.outs: {path} is not an output of the stage{nearest(path, paths)}")
    if missing := [path for path in paths if path not in meta.outs]:
        raise ReposeError(
            f"{where}.outs lacks the type of {', '.join(missing)}: Dataset, Model, Metrics, HTML, Markdown or Artifact."
        )
    for name, path in meta.pages.items():
        if not any(contains(stage.resolve(out), stage.resolve(path)) for out in paths):
            raise ReposeError(f"{where}.pages.{name}: {path} is not in an output of the stage: {', '.join(paths)}.")


def _over(layer: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the layer's values: mappings are merged, null removes a key, other values are replaced."""
    merged = dict(base)
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _over(value, merged[key])
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged
