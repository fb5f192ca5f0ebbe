"""The stages of dvc.yaml for the compiler and the steps, with resolved templates and the outputs that each stage reads.

Stages that cannot run in a fresh pod are rejected.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from repose.errors import ReposeError

ROOT = "dvc.yaml"  # in the project's folder; the default pipeline
_TEMPLATE = re.compile(r"\$\{.*?\}")


@dataclass(frozen=True)
class Producer:
    """An output of another stage that a dependency is, contains, or is part of."""

    stage: str  # address
    path: str  # of the output


@dataclass(frozen=True)
class Dep:
    """A dependency; paths are relative to the project's folder."""

    path: str
    producers: tuple[Producer, ...]  # empty: a file of the workspace, or data of a .dvc file
    sources: tuple[str, ...]  # .dvc files whose data it is, contains, or is part of


@dataclass(frozen=True)
class Out:
    """An output."""

    path: str  # relative to the project's folder
    name: str  # as in dvc.yaml: relative to the stage's wdir
    template: str  # the name before templates are resolved
    cached: bool  # whether DVC's cache holds it (`cache: true`)


@dataclass(frozen=True)
class Param:
    """A key of a params file that a stage lists."""

    file: str  # relative to the project's folder
    key: str  # dotted
    template: str  # the key before templates are resolved


@dataclass(frozen=True)
class Stage:
    """A stage, or one item of a foreach or matrix."""

    address: str  # as in DVC: download, train@attend, sub/dvc.yaml:fit
    group: str  # the address without the item
    item: str | None  # of a foreach or matrix
    description: str
    deps: tuple[Dep, ...]
    outs: tuple[Out, ...]
    params: tuple[Param, ...]
    wdir: str  # relative to the project's folder, or empty
    always_changed: bool
    meta: Mapping[str, Any] | None  # meta.kfp

    @cached_property
    def upstream(self) -> tuple[str, ...]:
        """The addresses of the stages whose outputs it reads, without duplicates."""
        return tuple(dict.fromkeys(producer.stage for dep in self.deps for producer in dep.producers))

    @property
    def file(self) -> str:
        """The dvc.yaml of the stage, relative to the project's folder."""
        return file_of(self.address)

    def out(self, path: str) -> Out:
        """The output at a path."""
        return next(out for out in self.outs if out.path == path)

    def resolve(self, path: str) -> str:
        """Convert a path in dvc.yaml to one relative to the project's folder."""
        return posixpath.normpath(posixpath.join(self.wdir, path))


def name_of(template: str) -> str:
    """A KFP name for a path or key of dvc.yaml: its words joined by `_`, without templates."""
    name = "_".join(re.findall(r"[a-z0-9]+", _TEMPLATE.sub(" ", template).lower())) or "item"
    return name if name[0].isalpha() else f"n{name}"


def task_name(address: str) -> str:
    """A Kubernetes name for a stage or group: `sub/dvc.yaml:fit` becomes sub-fit."""
    return "-".join(re.findall(r"[a-z0-9]+", re.sub(r"(^|/)dvc\.yaml:", "/", address).lower()))


def contains(folder: str, path: str) -> bool:
    """Whether a path is the folder or inside it."""
    return folder in (".", path) or path.startswith(f"{folder}/")


def is_pipeline(stage: Any) -> bool:
    """Whether a DVC stage belongs to a dvc.yaml; those of .dvc files have no name."""
    return bool(getattr(stage, "name", None))


def address_of(stage: Any) -> str:
    """The address of a DVC stage, which does not depend on the working directory as DVC's own does."""
    return stage.name if stage.path_in_repo == ROOT else f"{stage.path_in_repo}:{stage.name}"


def file_of(address: str) -> str:
    """The dvc.yaml of the stage or group with an address."""
    return address.rpartition(":")[0] or ROOT


def group_of(stage: Any) -> str:
    """The address of a DVC stage without its item."""
    group = stage.raw_data.generated_from
    return address_of(stage).removesuffix(f"@{stage.name.removeprefix(f'{group}@')}") if group else address_of(stage)


def path_in(repo: Any, path: str) -> str:
    """A path relative to the project's folder."""
    return Path(path).relative_to(repo.root_dir).as_posix()


def raw_definition(definition: Any) -> Mapping[str, Any]:
    """A stage as written in dvc.yaml; for a foreach or matrix, the template of its items."""
    raw: Mapping[str, Any] = definition.template if hasattr(definition, "template") else definition.definition
    return raw


def read_stage(repo: Any, stage: Any, resolver: Any, outs: Sequence[tuple[str, Any]]) -> Stage:
    """Read a DVC stage.

    Args:
        repo: dvc.repo.Repo.
        stage: The DVC stage.
        resolver: DVC's resolver of its dvc.yaml.
        outs: Path and DVC stage of each output in the project.

    Raises:
        ReposeError: the stage cannot run in a pod.
    """
    if stage.frozen:
        raise ReposeError(
            f"Stage {address_of(stage)} is frozen: DVC does not run it, so Kubeflow cannot either. Unfreeze it, or turn "
            "its output into data of the project (`dvc commit`, `dvc add`)."
        )
    raw = raw_definition(resolver.definitions.get(stage.name) or resolver.definitions[stage.name.partition("@")[0]])
    resolved = resolver.resolve_one(stage.name)[stage.name]
    group = stage.raw_data.generated_from
    return Stage(
        address=address_of(stage),
        group=group_of(stage),
        item=stage.name.removeprefix(f"{group}@") if group else None,
        description=stage.desc or "",
        deps=tuple(_dep(repo, stage, dep, outs) for dep in stage.deps if _is_file(stage, dep)),
        outs=tuple(_outs(repo, stage, raw, resolved)),
        params=tuple(_params(repo, stage, raw, resolved)),
        wdir="" if stage.wdir == repo.root_dir else path_in(repo, stage.wdir),
        always_changed=stage.always_changed or stage.is_callback,
        meta=stage.meta.get("kfp") if isinstance(stage.meta, Mapping) else None,
    )


def _is_file(stage: Any, dep: Any) -> bool:
    """Whether a dependency is a file or folder of the project, not params."""
    from dvc.dependency import DatasetDependency, ParamsDependency

    if isinstance(dep, ParamsDependency):
        return False
    if isinstance(dep, DatasetDependency) or dep.protocol != "local" or not dep.is_in_repo:
        raise ReposeError(
            f"Stage {address_of(stage)}: the dependency {dep.def_path} lies outside the project, so a pod does not have "
            "it. Import it with `dvc import-url` or a stage."
        )
    return True


def _dep(repo: Any, stage: Any, dep: Any, outs: Sequence[tuple[str, Any]]) -> Dep:
    path = path_in(repo, dep.fs_path)
    related = [
        (out, other) for out, other in outs if other is not stage and (contains(out, path) or contains(path, out))
    ]
    producers = [Producer(address_of(other), out) for out, other in related if is_pipeline(other)]
    sources = [path_in(repo, other.path) for _, other in related if not is_pipeline(other)]
    return Dep(path, tuple(sorted(producers, key=lambda p: (p.stage, p.path))), tuple(sorted(sources)))


def _outs(repo: Any, stage: Any, raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> Iterator[Out]:
    templates = {}
    for kind in ("outs", "metrics", "plots"):
        for template, plain in zip(raw.get(kind) or (), resolved.get(kind) or (), strict=True):
            templates[_only_key(plain)] = _only_key(template)
    for out in stage.outs:
        _check_out(stage, out)
        yield Out(path_in(repo, out.fs_path), out.def_path, templates[out.def_path], out.use_cache)


def _only_key(entry: Any) -> str:
    return entry if isinstance(entry, str) else str(next(iter(entry)))


def _check_out(stage: Any, out: Any) -> None:
    where = f"Stage {address_of(stage)}: the output {out.def_path}"
    if out.protocol != "local" or not out.is_in_repo:
        raise ReposeError(f"{where} lies outside the project, so a pod cannot pass it on. Write it inside.")
    if out.persist:
        raise ReposeError(
            f"{where} is kept between runs (persist: true), but a pod starts without it. Remove persist: DVC's cache "
            "keeps earlier versions."
        )
    if not out.can_push or out.remote:
        raise ReposeError(
            f"{where} has {'push: false' if not out.can_push else 'a remote of its own'}, but stages pass their data "
            "through the pipeline's remote. Remove that setting."
        )


def _params(repo: Any, stage: Any, raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> Iterator[Param]:
    """The listed keys; a file without keys means all its keys."""
    for template, plain in zip(raw.get("params") or (), resolved.get("params") or (), strict=True):
        if isinstance(plain, str):
            yield Param(str(PurePosixPath(path_in(repo, stage.wdir)) / "params.yaml"), plain, template)
            continue
        for (file, keys), templates in zip(plain.items(), template.values(), strict=True):
            path = path_in(repo, str((Path(stage.wdir) / file).resolve()))
            for key, written in zip(keys or [""], templates or [""], strict=True):
                yield Param(path, key, written)
