"""The needs of a stage in a cluster: `meta.kfp` in dvc.yaml (optional), merged with an environment.

    meta:
      kfp:
        outs: {runs/attend: {type: Model, export: true}}   # only what cannot be inferred
        unfinished: .repose/runs                           # pushed regularly, so that a retry resumes
        accelerator: {type: nvidia.com/gpu, count: 1}
        cpu: "4"

An environment (laptop, staging, production) is a YAML file with the image, the remote, the parameters of the run form, and
the needs of all or some stages.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, NonNegativeInt, PositiveInt

from repose.config import build, nearest, read_params, settings
from repose.errors import ReposeError, SettingsError
from repose.kubeflow.stages import Out, Stage, TypeName, contains
from repose.kubeflow.variables import SCRATCH

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def _like(pattern: str, what: str, but: Callable[[str], bool] = lambda _: False) -> AfterValidator:
    """A check of texts; `but` says which of those that match are refused too."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text) or but(text):
            raise ValueError(f"{text!r} is not {what}.")
        return text

    return AfterValidator(check)


_ENDS = "[A-Za-z0-9]"  # the first and the last character of many names in Kubernetes
Amount = Annotated[
    str,
    _like(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?", "an amount in Kubernetes' notation, such as 500m or 8Gi"),
]
Duration = Annotated[
    str,
    _like("[0-9]+ ?(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)", "a duration, such as 30s, 10m, 2h or 7d"),
]
OutName = Annotated[
    str,
    _like(
        "[A-Za-z][A-Za-z0-9_]*", "a name for Kubeflow: use letters, digits and _, and no keyword of Python", iskeyword
    ),
]
ObjectName = Annotated[  # of a claim, a secret, a config map, an account
    str,
    _like("[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a name in Kubernetes: use lower-case letters, digits, - and ."),
]
LabelValue = Annotated[
    str,
    _like(
        f"({_ENDS}([-A-Za-z0-9_.]{{0,61}}{_ENDS})?)?", "a label's value: use letters, digits, -, _ and ., at most 63"
    ),
]
Variable = Annotated[str, _like(r"[-._A-Za-z][-._A-Za-z0-9]*", "a name of an environment variable")]
Image = Annotated[str, _like(r"\S+", "an image: write NAME@sha256:... or NAME:TAG")]


@settings
class OutMeta:
    """An output with other settings than those inferred."""

    type: TypeName | None = None
    name: OutName | None = None  # in Kubeflow; None: made from the path
    page: str | None = None  # the file to show, for a folder of the type HTML or Markdown
    export: bool = False  # whether its bytes are copied to the artifact's own address


@settings
class Amounts:
    """Amounts of CPU and memory."""

    cpu: Amount | None = None
    memory: Amount | None = None


@settings
class Accelerator:
    """Accelerators, under the cluster's name for them."""

    type: str  # nvidia.com/gpu
    count: PositiveInt = 1


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

    count: NonNegativeInt
    backoff: Duration = "30s"
    factor: PositiveInt = 2  # Argo only takes whole numbers
    within: Duration = "30d"  # no retry begins later than this after the first attempt did


@settings
class Volume:
    """A volume claim that is mounted."""

    claim: ObjectName  # name of the PersistentVolumeClaim
    path: str


@settings
class Scratch:
    """The step's working folder, which has the pod's life."""

    size: Amount
    storage_class: ObjectName | None = None  # of a volume of its own; None: the node's disk (an emptyDir)


@settings
class Security:
    """The user that runs the container."""

    run_as_user: NonNegativeInt | None = None
    run_as_group: NonNegativeInt | None = None
    run_as_non_root: bool | None = None


@settings
class Needs(Amounts):
    """The needs of a task. Amounts are requests; limits are equal unless `limits` gives others."""

    limits: Amounts | None = None
    accelerator: Accelerator | None = None
    nodes: PositiveInt = 1  # more: the task starts a TrainJob of Kubeflow's Trainer on as many nodes
    node_selector: dict[str, LabelValue] = field(default_factory=dict)
    affinity: dict[str, Any] = field(default_factory=dict)  # Kubernetes' nodeAffinity
    tolerations: tuple[Toleration, ...] = ()
    shared_memory: Amount | None = None  # of /dev/shm
    scratch: Scratch | None = None
    retries: Retries | None = None
    timeout: PositiveInt | None = None  # seconds
    env: dict[Variable, str] = field(default_factory=dict)
    config_maps: dict[ObjectName, dict[str, Variable]] = field(default_factory=dict)  # config map: {its key: variable}
    secrets: dict[ObjectName, dict[str, Variable]] = field(default_factory=dict)  # secret: {its key: variable}
    secret_files: dict[ObjectName, str] = field(default_factory=dict)  # secret: folder for its keys as files
    volumes: tuple[Volume, ...] = ()
    cache: Volume | None = None  # keeps DVC's cache between pods
    image_pull_secrets: tuple[ObjectName, ...] = ()
    labels: dict[str, LabelValue] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    security: Security | None = None

    def __post_init__(self) -> None:
        from kubernetes.utils import parse_quantity

        for name, most in vars(self.limits or Amounts()).items():
            asked = getattr(self, name)
            if asked and most and parse_quantity(asked) > parse_quantity(most):
                raise ValueError(f"limits.{name}, {most}, is less than {name}, {asked}, which Kubernetes refuses.")
        claims = [*self.volumes, *([self.cache] if self.cache else [])]
        mounts = [("shared-memory", "/dev/shm")] if self.shared_memory else []  # noqa: S108
        mounts += [("scratch", SCRATCH)] if self.scratch else []
        mounts += [*((volume.claim, volume.path) for volume in claims), *self.secret_files.items()]
        for names in zip(*((name, path.rstrip("/")) for name, path in mounts), strict=True):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(
                    f"{twice[0]} is mounted twice (shared_memory, scratch, volumes, cache, secret_files), which Kubernetes "
                    "refuses. Mount each claim and secret once, each at its own path."
                )


@settings
class StageMeta(Needs):
    """A stage's meta.kfp."""

    outs: dict[str, OutMeta | TypeName] = field(default_factory=dict)
    unfinished: str | None = None  # folder with the state that the stage needs to resume


@settings
class Environment:
    """The environment in which a pipeline runs."""

    name: str | None = None  # of the pipeline
    image: Image | None = None  # of every task, preferably by digest (NAME@sha256:...)
    digest_required: bool = False
    remote: str | None = None  # DVC's remote, as the cluster reaches it
    endpoint: str | None = None  # of an S3 server other than Amazon's
    service_account: ObjectName | None = None  # of the run's pods
    expose: dict[str, str | None] = field(default_factory=dict)  # param of the run form: its description
    defaults: dict[str, Any] = field(default_factory=dict)  # needs of all tasks
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # needs of a stage, or of one of its items


def read_environment(path: Path, base: Environment | None = None) -> Environment:
    """Read an environment, and merge it over a base: its keys replace the base's, but `defaults` and `stages` are merged.

    Raises:
        SettingsError: the file is missing, or has an unknown key or a value of another type.
    """
    values, base = read_params(path), base or Environment()
    environment = build(Environment, values, str(path))
    build(Needs, _without_null(environment.defaults), f"{path}: defaults")
    for stage, needs in environment.stages.items():
        build(Needs, _without_null(needs), f"{path}: stages.{stage}")
    given = {key: getattr(environment, key) for key in values}
    defaults = _without_null(_over(environment.defaults, base.defaults))  # nothing is below them
    return replace(base, **given | {"defaults": defaults, "stages": _over(environment.stages, base.stages)})


def check_image(environment: Environment, where: str) -> None:
    """Raise a ReposeError if the environment requires an image by digest and its image is not one."""
    if environment.digest_required and not _DIGEST.fullmatch(environment.image or ""):
        raise ReposeError(
            f"{where}: the image should be given by digest (--image NAME@sha256:...), not as {environment.image!r}. The "
            "image behind a tag can change, and Kubeflow's cache would not notice. `docker inspect --format "
            "'{{index .RepoDigests 0}}' IMAGE` prints it after a push."
        )


def needs_of(stage: Stage, environment: Environment) -> StageMeta:
    """A stage's meta.kfp with the environment's needs.

    Raises:
        SettingsError: meta.kfp has an unknown key, a path that is not an output, or unfinished work in an output.
    """
    where = f"{stage.file}: {stage.address}: meta.kfp"
    written = [out.written for out in stage.outs]
    for path in build(StageMeta, _without_null(stage.meta), where).outs:
        if path not in written:
            raise SettingsError(f"{where}.outs: {path} is not an output of the stage{nearest(path, written)}")
    merged = dict(environment.defaults)
    for layer in (stage.meta, environment.stages.get(stage.group, {}), environment.stages.get(stage.address, {})):
        merged = _over(layer, merged)
    meta = build(StageMeta, _without_null(merged), where)
    for out in stage.outs:
        if meta.unfinished and not out.persist and contains(out.path, stage.resolve(meta.unfinished)):
            raise SettingsError(
                f"{where}.unfinished: {meta.unfinished} is in the output {out.written}, which DVC deletes before the stage "
                "runs, so no attempt would resume. Name a folder outside the outputs."
            )
    return meta


def out_meta(out: Out, meta: StageMeta) -> OutMeta:
    """The settings of an output, with the inferred type and name where none is given."""
    found = meta.outs.get(out.written) or OutMeta()
    found = found if isinstance(found, OutMeta) else OutMeta(type=found)
    return replace(found, type=found.type or out.type, name=found.name or out.name)


def _over(layer: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the layer's values: mappings are merged, other values are replaced, also by null."""
    merged = dict(base)
    for key, value in layer.items():
        below = merged.get(key)
        merged[key] = _over(value, below) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _without_null(layer: Any) -> Any:
    """The layer without the keys that null removes from those below it."""
    if not isinstance(layer, Mapping):
        return layer
    return {key: _without_null(value) for key, value in layer.items() if value is not None}
