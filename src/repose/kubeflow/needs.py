"""What a stage's `meta.kfp` in dvc.yaml says, and what an environment lays over it; strictly read.

    meta:
      kfp:
        outs: {runs/attend: Model}                 # each output and its type in Kubeflow
        pages: {curves: runs/attend/history.csv}   # what people look at: HTML, PNG, JPEG, CSV, Markdown
        unfinished: .repose/runs                   # pushed now and then, so that a retry goes on
        accelerator: {type: nvidia.com/gpu, count: 1}
        cpu: "4"

An environment (laptop, staging, production) is a YAML file with the image, the remote and needs for all stages or some.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, Literal

from repose.config import build, nearest, read_params, settings
from repose.errors import ReposeError
from repose.kubeflow.project import Project, Stage, name_of

TypeName = Literal["Artifact", "Dataset", "Model", "Metrics", "HTML", "Markdown"]
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")  # as Kubernetes writes amounts
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@settings
class OutMeta:
    """An output that needs more than its type."""

    type: TypeName
    name: str | None = None  # in Kubeflow; from its path if not given
    page: str | None = None  # of a folder of the type HTML or Markdown: the file in it that is shown


@settings
class Accelerator:
    """Graphics cards or the like, as the cluster calls them."""

    type: str  # nvidia.com/gpu
    count: int = 1


@settings
class Toleration:
    """Of a node's taint."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None


@settings
class Retries:
    """Of a failed task; the wait between two grows by `factor`."""

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
    """Who runs the container."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None


@settings
class Needs:
    """What a task asks of the cluster; amounts as Kubernetes writes them (500m, 8Gi), times in seconds."""

    cpu: str | None = None
    memory: str | None = None
    accelerator: Accelerator | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    shared_memory: str | None = None  # of /dev/shm
    retries: Retries | None = None
    timeout: int | None = None  # seconds
    secrets: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # of each, its keys and their environment variables
    cache: SharedCache | None = None
    image_pull_secrets: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    security: Security | None = None

    def __post_init__(self) -> None:
        for name in ("cpu", "memory", "shared_memory"):
            amount = getattr(self, name)
            if amount is not None and not _QUANTITY.fullmatch(amount):
                raise ValueError(
                    f"{name} should be an amount as Kubernetes writes it, such as 500m or 8Gi, not {amount!r}."
                )
        if self.timeout is not None and self.timeout < 1:
            raise ValueError(f"timeout should be at least 1 second, not {self.timeout}.")


@settings
class StageMeta(Needs):
    """All of a stage's meta.kfp."""

    outs: dict[str, OutMeta | TypeName] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    unfinished: str | None = None  # folder in which the stage keeps what it needs to go on after it was killed


@settings
class Environment:
    """Where a pipeline runs."""

    name: str | None = None  # of the pipeline
    image: str | None = None  # in which every task runs; by digest (NAME@sha256:...) it can never be a stale one
    digest_required: bool = False
    remote: str | None = None  # DVC's remote, as the cluster reaches it
    endpoint: str | None = None  # of an S3 server other than Amazon's
    service_account: str | None = None  # under which the run's pods work
    defaults: dict[str, Any] = field(default_factory=dict)  # needs of all tasks
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # needs of a stage, or of one of its items

    def over(self, base: "Environment") -> "Environment":
        """This one where it says something, elsewhere the base."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) not in (None, False, {})}
        merged = {name: getattr(base, name) for name in said if name in ("defaults", "stages")}
        said |= {name: _over(said[name], block) for name, block in merged.items()}
        return Environment(**{f.name: getattr(base, f.name) for f in fields(base)} | said)


def read_environment(path: Path) -> Environment:
    """The environment in a file.

    Raises:
        ReposeError: there is no such file, an unknown key, a value of another type.
    """
    environment = build(Environment, read_params(path), str(path))
    build(Needs, environment.defaults, f"{path}: defaults")
    for stage, needs in environment.stages.items():
        build(Needs, needs, f"{path}: stages.{stage}")
    return environment


def check_environment(environment: Environment, project: Project, where: str) -> None:
    """Refuse an environment that does not fit the project.

    Raises:
        ReposeError: it names a stage that is not there.
    """
    known = project.known  # an environment is for the pipelines of all dvc.yaml files
    for name in environment.stages:
        if name not in known:
            raise ReposeError(f"{where}: stages: there is no stage {name!r} in any dvc.yaml{nearest(name, known)}")


def check_image(environment: Environment, where: str) -> None:
    """Refuse an image that could be another one tomorrow, where the environment asks for that.

    Raises:
        ReposeError: the image is not given by digest.
    """
    if environment.digest_required and not _DIGEST.fullmatch(environment.image or ""):
        raise ReposeError(
            f"{where}: the image should be given by digest (--image NAME@sha256:...), not as {environment.image!r}: what a "
            "name or tag stands for can change, and Kubeflow's cache would not notice. `docker inspect --format "
            "'{{index .RepoDigests 0}}' IMAGE` prints it after a push."
        )


def needs_of(stage: Stage, environment: Environment) -> StageMeta:
    """What a stage says and what the environment lays over it.

    Raises:
        ReposeError: no meta.kfp, an output without a type or of one that Kubeflow does not know, a path that is no output.
    """
    where = f"dvc.yaml: {stage.address}: meta.kfp"
    if stage.meta is None:
        raise ReposeError(
            f"Stage {stage.address} has no meta.kfp in dvc.yaml. Give it one with the type of each output, such as "
            f"`meta: {{kfp: {{outs: {{{', '.join(f'{out.name}: Dataset' for out in stage.outs)}}}}}}}`."
        )
    own = build(StageMeta, stage.meta, where)
    _check_outs(stage, own, where)
    merged = dict(environment.defaults)
    for layer in (stage.meta, environment.stages.get(stage.group, {}), environment.stages.get(stage.address, {})):
        merged = _over(layer, merged)
    return build(StageMeta, merged, where)


def default_needs(environment: Environment) -> Needs:
    """What a task of the pipeline's own asks of the cluster."""
    return build(Needs, environment.defaults, "defaults")


def out_meta(stage: Stage, meta: StageMeta, path: str) -> OutMeta:
    """Type and name of the output at a path."""
    said = meta.outs[stage.out(path).name]
    return said if isinstance(said, OutMeta) else OutMeta(said)


def out_names(stage: Stage, meta: StageMeta) -> dict[str, str]:
    """What each output is called in Kubeflow, by its path."""
    return {out.path: out_meta(stage, meta, out.path).name or name_of(out.template) for out in stage.outs}


def page_names(stage: Stage, meta: StageMeta) -> dict[str, str]:
    """What each page is called in Kubeflow, with the path of its file."""
    return {f"{name_of(name)}_page": stage.resolve(path) for name, path in meta.pages.items()}


def _check_outs(stage: Stage, meta: StageMeta, where: str) -> None:
    paths = [out.name for out in stage.outs]
    for path in meta.outs:
        if path not in paths:
            raise ReposeError(f"{where}.outs: {path} is no output of the stage{nearest(path, paths)}")
    missing = [path for path in paths if path not in meta.outs]
    if missing:
        raise ReposeError(
            f"{where}.outs does not say the type of {_some(missing)}: Dataset, Model, Metrics, HTML, Markdown or Artifact."
        )
    for name, path in meta.pages.items():
        if not any(Path(out) == Path(path) or Path(out) in Path(path).parents for out in paths):
            raise ReposeError(f"{where}.pages.{name}: {path} is not in an output of the stage: {_some(paths)}.")


def _some(names: Iterable[str]) -> str:
    return ", ".join(names)


def _over(layer: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The base with what the layer says; mappings are merged, null takes away, all else is replaced."""
    merged = dict(base)
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _over(value, merged[key])
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged
