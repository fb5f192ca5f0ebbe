"""A DVC project as the compiler and a step see it: stages with their templates resolved, and what each hands to which.

DVC's own index reads dvc.yaml, so `vars`, `foreach`, `matrix`, `wdir` and nested files mean here what they mean there.
What cannot be done in a pod that starts from nothing is refused by name.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from repose.errors import ReposeError

if TYPE_CHECKING:
    from repose.kubeflow.params import ParamsFile

_TEMPLATE = re.compile(r"\$\{.*?\}")


@dataclass(frozen=True)
class Producer:
    """An output of another stage that a dependency consists of, holds, or lies in."""

    stage: str  # address
    path: str  # of the output


@dataclass(frozen=True)
class Dep:
    """A dependency; paths are relative to the project's folder."""

    path: str
    producers: tuple[Producer, ...]  # none: a file of the workspace, or data that a .dvc file names
    sources: tuple[str, ...]  # .dvc files whose data it consists of, holds, or lies in


@dataclass(frozen=True)
class Out:
    """An output; paths are relative to the project's folder."""

    path: str
    name: str  # as dvc.yaml has it: relative to the stage's wdir
    template: str  # that, before templates are resolved
    cached: bool  # whether DVC's cache holds it (`cache: true`)


@dataclass(frozen=True)
class Param:
    """A key of a params file that a stage lists."""

    file: str  # relative to the project's folder
    key: str  # dotted
    template: str  # the key as dvc.yaml has it


@dataclass(frozen=True)
class Stage:
    """A stage with its templates resolved; of a foreach or matrix there is one for each item."""

    address: str  # as DVC names it: download, train@attend, sub/dvc.yaml:fit
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
        """The addresses of the stages whose outputs it reads, each once."""
        return tuple(dict.fromkeys(producer.stage for dep in self.deps for producer in dep.producers))

    def out(self, path: str) -> Out:
        """The output at a path."""
        return next(out for out in self.outs if out.path == path)

    def resolve(self, path: str) -> str:
        """A path as dvc.yaml has it, relative to the project's folder."""
        return posixpath.normpath(posixpath.join(self.wdir, path))


@dataclass(frozen=True)
class Project:
    """All stages of a DVC project in the order in which `dvc repro` runs them."""

    folder: Path
    stages: tuple[Stage, ...]
    sources: Mapping[str, str]  # of each .dvc file, the hash of its data
    repo: Any  # dvc.repo.Repo

    def __getitem__(self, address: str) -> Stage:
        """The stage with an address.

        Raises:
            ReposeError: there is none.
        """
        found = next((stage for stage in self.stages if stage.address == address), None)
        if found is None:
            raise ReposeError(
                f"The project has no stage {address!r}; it has {', '.join(stage.address for stage in self.stages)}. Which "
                "stages there are is decided by dvc.yaml and the params that its foreach and matrix name: set those in "
                "the params file and compile the pipeline again."
            )
        return found

    @cached_property
    def params_files(self) -> "dict[str, ParamsFile]":
        """The params files that stages list, by path."""
        from repose.kubeflow.params import ParamsFile

        names = sorted({param.file for stage in self.stages for param in stage.params})
        return {name: ParamsFile.read(self.folder / name) for name in names}

    @cached_property
    def deciding(self) -> set[str]:
        """The keys of params that `foreach` and `matrix` name: they decide which stages there are."""
        keys = set()
        for file in {stage.path for stage in self.repo.index.stages if is_pipeline(stage)}:
            definitions = next(s for s in self.repo.index.stages if s.path == file).dvcfile.resolver.definitions
            for definition in definitions.values():
                data = getattr(definition, "foreach_data", None) or getattr(definition, "matrix_data", None)
                keys |= set(re.findall(r"\$\{\s*([\w.-]+)\s*\}", str(data or "")))
        return keys

    @property
    def edges(self) -> set[tuple[str, str]]:
        """DVC's graph: (stage, a stage that it waits for), by address."""
        graph = self.repo.index.graph
        return {(address_of(a), address_of(b)) for a, b in graph.edges if is_pipeline(a) and is_pipeline(b)}


def read_project(folder: Path) -> Project:
    """Read the DVC project in a folder.

    Raises:
        ReposeError: it is no DVC project, DVC cannot read it (a cycle, a key of the params that is not there), or a
            stage cannot be done in a pod.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(folder.resolve()))
        stages = [stage for stage in _in_order(repo) if is_pipeline(stage)]
        sources = {
            _path(repo, stage.path): stage.outs[0].hash_info.value for stage in repo.index.stages if _is_source(stage)
        }
        if not stages:
            raise ReposeError(f"{folder} has no stages: there is no dvc.yaml, or nothing in it.")
        resolvers = {stage.path: stage.dvcfile.resolver for stage in {s.path: s for s in stages}.values()}
        read = tuple(_stage(repo, stage, resolvers[stage.path]) for stage in stages)
        project = Project(folder.resolve(), read, sources, repo)
        _check_params_there(project)
        return project
    except DvcException as error:
        raise ReposeError(f"DVC cannot read the project in {folder}: {error}") from None


def name_of(template: str) -> str:
    """A KFP name for a path or key of dvc.yaml: its words joined by `_`, without the parts that an item decides."""
    words = re.findall(r"[a-z0-9]+", _TEMPLATE.sub(" ", template).lower())
    name = "_".join(words) or "item"
    return name if name[0].isalpha() else f"n{name}"


def task_name(address: str) -> str:
    """A name for a stage or group, as Kubernetes wants it: `sub/dvc.yaml:fit` is sub-fit."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(^|/)dvc\.yaml:", "/", address).lower())
    return "-".join(words)


def contains(folder: str, path: str) -> bool:
    """Whether a path is that of the folder or lies in it."""
    return folder == path or PurePosixPath(folder) in PurePosixPath(path).parents


def _in_order(repo: Any) -> list[Any]:
    """The order of `dvc repro`, so that dvc.lock is written in that order."""
    from dvc.repo.reproduce import get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    root = [stage for stage in graph if stage.path_in_repo == "dvc.yaml"]
    order = plan_repro(graph, root) if root else []
    return [*order, *(stage for stage in plan_repro(graph) if stage not in order)]


def is_pipeline(stage: Any) -> bool:
    """Whether a stage of DVC's stands in a dvc.yaml; those of .dvc files have no name."""
    return bool(getattr(stage, "name", None))


def _is_source(stage: Any) -> bool:
    return not is_pipeline(stage) and bool(stage.outs)


def _path(repo: Any, path: str) -> str:
    return PurePosixPath(Path(path).relative_to(repo.root_dir)).as_posix()


def address_of(stage: Any) -> str:
    """The address of a stage of DVC's; DVC's own depends on the working directory."""
    file = stage.path_in_repo
    return stage.name if file == "dvc.yaml" else f"{file}:{stage.name}"


def _stage(repo: Any, stage: Any, resolver: Any) -> Stage:
    raw, resolved = _definitions(resolver, stage)
    address, group = address_of(stage), stage.raw_data.generated_from
    item = stage.name.removeprefix(f"{group}@") if group else None
    return Stage(
        address=address,
        group=address.removesuffix(f"@{item}") if group else address,
        item=item,
        description=stage.desc or "",
        deps=tuple(_dep(repo, stage, dep) for dep in stage.deps if _is_file(stage, dep)),
        outs=tuple(_outs(repo, stage, raw, resolved)),
        params=tuple(_params(repo, stage, raw, resolved)),
        wdir="" if stage.wdir == repo.root_dir else _path(repo, stage.wdir),
        always_changed=stage.always_changed or stage.is_callback,
        meta=_meta(stage),
    )


def _definitions(resolver: Any, stage: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stage as dvc.yaml has it, and with its templates resolved."""
    definition = resolver.definitions.get(stage.name) or resolver.definitions[stage.name.partition("@")[0]]
    raw = definition.template if hasattr(definition, "template") else definition.definition
    return raw, resolver.resolve_one(stage.name)[stage.name]


def _is_file(stage: Any, dep: Any) -> bool:
    """Whether a dependency is one; params are not.

    Raises:
        ReposeError: it lies outside the project.
    """
    from dvc.dependency import DatasetDependency, ParamsDependency

    if isinstance(dep, ParamsDependency):
        return False
    if isinstance(dep, DatasetDependency) or dep.protocol != "local" or not dep.is_in_repo:
        raise ReposeError(
            f"Stage {address_of(stage)}: the dependency {dep.def_path} lies outside the project, so a pod does not have it. "
            "Bring it in with `dvc import-url` or a stage."
        )
    return True


def _dep(repo: Any, stage: Any, dep: Any) -> Dep:
    path = _path(repo, dep.fs_path)
    producers, sources = [], []
    for other in repo.index.stages:
        for out in other.outs if other is not stage else ():
            theirs = _path(repo, out.fs_path) if out.is_in_repo else ""
            if theirs and (contains(theirs, path) or contains(path, theirs)):
                if is_pipeline(other):
                    producers.append(Producer(address_of(other), theirs))
                else:
                    sources.append(_path(repo, other.path))
    return Dep(path, tuple(sorted(producers, key=lambda p: (p.stage, p.path))), tuple(sorted(sources)))


def _outs(repo: Any, stage: Any, raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> Iterator[Out]:
    templates = {}
    for kind in ("outs", "metrics", "plots"):
        for template, plain in zip(raw.get(kind) or (), resolved.get(kind) or (), strict=True):
            templates[_only_key(plain)] = _only_key(template)
    for out in stage.outs:
        _check_out(stage, out)
        yield Out(_path(repo, out.fs_path), out.def_path, templates[out.def_path], out.use_cache)


def _check_out(stage: Any, out: Any) -> None:
    where = f"Stage {address_of(stage)}: the output {out.def_path}"
    if out.protocol != "local" or not out.is_in_repo:
        raise ReposeError(f"{where} lies outside the project, so a pod cannot hand it on. Write it inside.")
    if out.persist:
        raise ReposeError(
            f"{where} is kept between runs (persist: true), but a pod starts without it. Leave persist out: DVC's cache "
            "keeps what was there."
        )
    if not out.can_push or out.remote:
        raise ReposeError(
            f"{where} has {'push: false' if not out.can_push else 'a remote of its own'}, but the pipeline's remote is how "
            "stages hand on their data. Leave that out."
        )


def _only_key(entry: Any) -> str:
    return entry if isinstance(entry, str) else str(next(iter(entry)))


def _params(repo: Any, stage: Any, raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> Iterator[Param]:
    """The listed keys; a file without keys stands for all its keys."""
    default = PurePosixPath(_path(repo, stage.wdir)) / "params.yaml" if stage.wdir != repo.root_dir else "params.yaml"
    for template, plain in zip(raw.get("params") or (), resolved.get("params") or (), strict=True):
        if isinstance(plain, str):
            yield Param(str(default), plain, template)
            continue
        for (file, keys), templates in zip(plain.items(), template.values(), strict=True):
            path = _path(repo, str((Path(stage.wdir) / file).resolve()))
            for key, written in zip(keys or (), templates or (), strict=True):
                yield Param(path, key, written)
            if not keys:
                yield Param(path, "", "")


def _meta(stage: Any) -> Mapping[str, Any] | None:
    """The stage's meta.kfp, checked for what DVC has and a pod has not."""
    if stage.frozen:
        raise ReposeError(
            f"Stage {address_of(stage)} is frozen: DVC does not run it, so neither can Kubeflow. Unfreeze it, or turn its "
            "output into data of the project (`dvc commit`, `dvc add`)."
        )
    meta = stage.meta if isinstance(stage.meta, Mapping) else {}
    return meta.get("kfp")


def _check_params_there(project: Project) -> None:
    files = project.params_files
    for stage in project.stages:
        for param in stage.params:
            if param.key not in files[param.file]:
                raise ReposeError(
                    f"Stage {stage.address} lists the param {param.key!r}, which {param.file} does not have."
                )


def unique(names: Iterable[tuple[str, str]], what: str) -> None:
    """Refuse two things with one name: pairs of a name and what has it.

    Raises:
        ReposeError: two have the same.
    """
    seen: dict[str, str] = {}
    for name, owner in names:
        other = seen.setdefault(name, owner)
        if other != owner:
            raise ReposeError(
                f"{what} {other} and {owner} would both be called {name} in Kubeflow. Rename one of them in dvc.yaml."
            )
