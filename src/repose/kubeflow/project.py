"""A DVC project as the compiler and a step see it: stages with their templates resolved, and what each hands to which.

DVC's own index reads dvc.yaml, so `vars`, `foreach`, `matrix`, `wdir` and nested files mean here what they mean there.
Each dvc.yaml is a pipeline: its stages and all that they need, those of other files too. What cannot be done in a pod that
starts from nothing is refused by name.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from repose.errors import ReposeError

if TYPE_CHECKING:
    from repose.kubeflow.params import ParamsFile

ROOT = "dvc.yaml"  # in the project's folder; the pipeline where none is named
_TEMPLATE = re.compile(r"\$\{.*?\}")
_NAMED = re.compile(r"\$\{\s*([\w.-]+)\s*\}")  # a key in a template


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

    @property
    def file(self) -> str:
        """The dvc.yaml that it stands in, relative to the project's folder."""
        return file_of(self.address)

    def out(self, path: str) -> Out:
        """The output at a path."""
        return next(out for out in self.outs if out.path == path)

    def resolve(self, path: str) -> str:
        """A path as dvc.yaml has it, relative to the project's folder."""
        return posixpath.normpath(posixpath.join(self.wdir, path))


@dataclass(frozen=True)
class Project:
    """The stages of one dvc.yaml and all that they need, in the order in which `dvc repro FILE` runs them."""

    folder: Path
    file: str  # the dvc.yaml, relative to the folder
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
    def deciding(self) -> set[tuple[str, str]]:
        """The keys of params, each with its file, that decide which stages and params there are.

        They are those that `foreach`, `matrix` and the names of params files and of params are made of.
        """
        files = {stage.file for stage in self.stages}
        of_file = {s.path_in_repo: s for s in self.repo.index.stages if is_pipeline(s) and s.path_in_repo in files}
        return {key for file, stage in of_file.items() for key in _deciding(stage.dvcfile.resolver, file)}

    @property
    def edges(self) -> set[tuple[str, str]]:
        """DVC's graph: (stage, a stage that it waits for), by address."""
        ours = {stage.address for stage in self.stages}
        pairs = ((a, b) for a, b in self.repo.index.graph.edges if is_pipeline(a) and is_pipeline(b))
        return {(address_of(a), address_of(b)) for a, b in pairs if address_of(a) in ours}

    @property
    def known(self) -> list[str]:
        """The addresses of all stages and groups of the repository, those of other pipelines too."""
        stages = [stage for stage in self.repo.index.stages if is_pipeline(stage)]
        return list(dict.fromkeys(name for stage in stages for name in (_group_of(stage), address_of(stage))))


def open_repo(folder: Path) -> Any:
    """DVC's repository in a folder (dvc.repo.Repo).

    Raises:
        ReposeError: there is none, or the folder lies below that of one.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(folder.resolve()))
    except DvcException as error:
        raise ReposeError(f"DVC cannot read the project in {folder}: {error}") from None
    if Path(repo.root_dir) != folder.resolve():
        raise ReposeError(f"{folder} is not the folder of the DVC project, which is {repo.root_dir}: go there.")
    return repo


def read_project(folder: Path, file: str = ROOT) -> Project:
    """Read one pipeline of the DVC project in a folder: that of a dvc.yaml, whose path is relative to the folder.

    Raises:
        ReposeError: see `read_projects`.
    """
    return read_projects(folder, [file])[0]


def read_projects(folder: Path, files: Sequence[str]) -> list[Project]:
    """Read the pipelines of several dvc.yaml files.

    Raises:
        ReposeError: the folder is not that of a DVC project, DVC cannot read it (a cycle, a key of the params that is not
            there), a file lies outside or has no stages, or a stage cannot be done in a pod.
    """
    from dvc.exceptions import DvcException

    repo = open_repo(folder)
    try:
        _check_values(repo, folder)
        return [_read(repo, folder.resolve(), name) for name in dict.fromkeys(_inside(folder, file) for file in files)]
    except DvcException as error:
        raise ReposeError(f"DVC cannot read the project in {folder}: {error}") from None


def _check_values(repo: Any, folder: Path) -> None:
    """Refuse a params file with a value that DVC has no use for, such as a date, which it reports by a bare TypeError."""
    try:
        repo.index.stages  # noqa: B018 (here DVC reads dvc.yaml and the params that it names)
    except (TypeError, ValueError) as error:
        raise ReposeError(
            f"DVC cannot read the project in {folder}: {error}. If it is text, put it in quotes."
        ) from None


def _inside(folder: Path, file: str) -> str:
    """The path of a dvc.yaml relative to the project's folder."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ReposeError(
            f"{file} lies outside the project in {folder}: name a dvc.yaml of the project, such as {ROOT}."
        )
    return path.relative_to(folder.resolve()).as_posix()


def _read(repo: Any, folder: Path, file: str) -> Project:
    stages = [stage for stage in _in_order(repo, file) if is_pipeline(stage)]
    if not stages:
        files = dict.fromkeys(stage.path_in_repo for stage in repo.index.stages if is_pipeline(stage))
        raise ReposeError(
            f"{folder / file} has no stages: there is no such dvc.yaml, or nothing in it. Files with stages: "
            f"{', '.join(sorted(files)) or 'none'}."
        )
    sources = {
        _path(repo, stage.path): stage.outs[0].hash_info.value for stage in repo.index.stages if _is_source(stage)
    }
    resolvers = {stage.path: stage.dvcfile.resolver for stage in {s.path: s for s in stages}.values()}
    outs = _all_outs(repo)
    read = tuple(_stage(repo, stage, resolvers[stage.path], outs) for stage in stages)
    project = Project(folder, file, read, sources, repo)
    _check_params_there(project)
    return project


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
    return folder in (".", path) or path.startswith(f"{folder}/")


def _in_order(repo: Any, file: str) -> list[Any]:
    """What `dvc repro FILE` runs, in an order in which it may run.

    DVC's own order, and with it that of the entries in dvc.lock, changes from process to process where the file's pipeline
    is less than half of all stages: networkx then goes through a set. Ours is what DVC's is where it is not left to chance.
    """
    from dvc.repo.reproduce import get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    own = [stage for stage in graph if stage.path_in_repo == file]
    needed = set(plan_repro(graph, own)) if own else set()
    ordered = type(graph)()
    ordered.add_nodes_from(stage for stage in _by_file(graph) if stage in needed)
    ordered.add_edges_from((stage, upstream) for stage in ordered for upstream in _by_file(graph[stage]))
    return list(plan_repro(ordered))


def _by_file(stages: Iterable[Any]) -> list[Any]:
    """Stages with the root's first, then by file, whatever the order of the folder's files; in a file as they stand there."""
    return sorted(stages, key=lambda stage: (stage.path_in_repo != ROOT, stage.path_in_repo))


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
    return stage.name if file == ROOT else f"{file}:{stage.name}"


def file_of(address: str) -> str:
    """The dvc.yaml that the stage or group with an address stands in."""
    return address.rpartition(":")[0] or ROOT


def _group_of(stage: Any) -> str:
    """The address of a stage of DVC's without its item."""
    group = stage.raw_data.generated_from
    return address_of(stage).removesuffix(f"@{stage.name.removeprefix(f'{group}@')}") if group else address_of(stage)


def _stage(repo: Any, stage: Any, resolver: Any, outs: Sequence[tuple[str, Any]]) -> Stage:
    raw, resolved = _definitions(resolver, stage)
    group = stage.raw_data.generated_from
    return Stage(
        address=address_of(stage),
        group=_group_of(stage),
        item=stage.name.removeprefix(f"{group}@") if group else None,
        description=stage.desc or "",
        deps=tuple(_dep(repo, stage, dep, outs) for dep in stage.deps if _is_file(stage, dep)),
        outs=tuple(_outs(repo, stage, raw, resolved)),
        params=tuple(_params(repo, stage, raw, resolved)),
        wdir="" if stage.wdir == repo.root_dir else _path(repo, stage.wdir),
        always_changed=stage.always_changed or stage.is_callback,
        meta=_meta(stage),
    )


def _definitions(resolver: Any, stage: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """A stage as dvc.yaml has it, and with its templates resolved."""
    definition = resolver.definitions.get(stage.name) or resolver.definitions[stage.name.partition("@")[0]]
    return _raw(definition), resolver.resolve_one(stage.name)[stage.name]


def _deciding(resolver: Any, file: str) -> Iterator[tuple[str, str]]:
    """File and key of each value of a params file that decides which stages and params a dvc.yaml has."""
    from dvc.parsing.context import KeyNotInContext

    texts = [
        (getattr(d, "foreach_data", None), getattr(d, "matrix_data", None), _raw(d).get("params"))
        for d in resolver.definitions.values()
    ]
    for key in sorted(set(_NAMED.findall(str(texts)))):
        try:
            node = resolver.context.select(key)
        except KeyNotInContext:  # an item, or among the stage's own vars
            continue
        for source, path in _origins(node):
            here = posixpath.relpath(source, resolver.wdir or ".")  # DVC's are relative to the working directory
            yield posixpath.normpath(posixpath.join(posixpath.dirname(file), here)), path


def _origins(node: Any) -> Iterator[tuple[str, str]]:
    """Where DVC has the values of a template's key from: file and dotted key of each."""
    if node.meta.source and not node.meta.local:
        yield node.meta.source, node.meta.path()
    children = node.values() if isinstance(node, Mapping) else node if isinstance(node, Sequence) else ()
    for child in children:
        yield from _origins(child)


def _raw(definition: Any) -> Mapping[str, Any]:
    """A stage as dvc.yaml has it; of a foreach or matrix, what each item is made from."""
    raw: Mapping[str, Any] = definition.template if hasattr(definition, "template") else definition.definition
    return raw


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


def _all_outs(repo: Any) -> list[tuple[str, Any]]:
    """The path of each output in the project, and whose it is."""
    return [(_path(repo, out.fs_path), stage) for stage in repo.index.stages for out in stage.outs if out.is_in_repo]


def _dep(repo: Any, stage: Any, dep: Any, outs: Sequence[tuple[str, Any]]) -> Dep:
    path = _path(repo, dep.fs_path)
    producers, sources = [], []
    for theirs, other in outs:
        if other is not stage and (contains(theirs, path) or contains(path, theirs)):
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
                name = files[param.file].unreachable(param.key)
                why = (
                    f" A dot is not allowed in the key {name!r}, as it separates the parts of a key in DVC."
                    if name
                    else ""
                )
                raise ReposeError(
                    f"Stage {stage.address} lists the param {param.key!r}, which {param.file} does not have.{why}"
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
