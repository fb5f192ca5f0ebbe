"""Read a DVC project as pipelines: each dvc.yaml is one, with its stages and the stages of other files that they need.

DVC's own index reads dvc.yaml, so `vars`, `foreach`, `matrix`, `wdir` and nested files work as in DVC. Frozen stages and .dvc
files are sources: no task runs them, and their hashes come from dvc.lock and the .dvc file.
"""

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from repose.errors import ReposeError, SettingsError, installed
from repose.kubeflow.params import SUFFIXES, split_address
from repose.kubeflow.stages import (
    ROOT,
    Producers,
    Stage,
    address_of,
    contains,
    group_of,
    is_pipeline,
    overlap,
    path_in,
    raw_definition,
    read_stage,
)
from repose.storage.atomic import disk_errors_named

_NAMED = re.compile(r"\$\{\s*(.*?)\s*\}")  # a key in a template
_PATHS = ("params", "wdir", "deps", "outs", "metrics", "plots")  # the parts of a stage with names of files


@dataclass(frozen=True)
class Project:
    """The stages of one dvc.yaml and the stages that they need, in the order in which `dvc repro FILE` runs them."""

    folder: Path
    file: str  # the dvc.yaml, relative to the folder
    stages: tuple[Stage, ...]
    repo: Any  # dvc.repo.Repo

    def __getitem__(self, address: str) -> Stage:
        """The stage with an address. Raises a ReposeError if there is none."""
        found = next((stage for stage in self.stages if stage.address == address), None)
        if found is None:
            raise ReposeError(
                f"The project has no stage {address!r}; it has {', '.join(stage.address for stage in self.stages)}. Was the "
                "pipeline compiled from another version? Compile it from the commit that the image was built from."
            )
        return found

    def dvc_stage(self, address: str) -> Any:
        """DVC's own stage with an address."""
        return next(stage for stage in self.repo.index.stages if is_pipeline(stage) and address_of(stage) == address)

    @cached_property
    def above(self) -> dict[str, set[str]]:
        """The stages that each stage needs, directly or not."""
        found: dict[str, set[str]] = {}
        for stage in self.stages:
            found[stage.address] = set(stage.upstream).union(*(found[one] for one in stage.upstream))
        return found

    @property
    def params_files(self) -> list[str]:
        """The params files that stages use and a run can change; not those in Python."""
        used = self.in_commands.union(*(stage.params for stage in self.stages))
        return sorted({file for file, _ in used if file.endswith(SUFFIXES)})

    @cached_property
    def deciding(self) -> set[tuple[str, str]]:
        """The file and key of each param that decides which stages, params, inputs and outputs exist.

        These are used in `foreach`, in `matrix`, in `wdir`, or in the names of params, params files, inputs and outputs, of
        any dvc.yaml of the repository, because `repose kfp fetch` brings a run's params to all of them.
        """
        return self._used_in(_PATHS, None)

    @cached_property
    def in_commands(self) -> set[tuple[str, str]]:
        """The file and key of each param that is a part of a command of these stages, which a shell reads."""
        return self._used_in(("cmd",), {stage.file for stage in self.stages})

    @property
    def in_any_command(self) -> set[tuple[str, str]]:
        """`in_commands` of all dvc.yaml files of the repository, including other pipelines."""
        return self._used_in(("cmd",), None)

    @cached_property
    def _any_params_file(self) -> set[str]:
        """The params files of all dvc.yaml files of the repository."""
        from dvc.dependency import ParamsDependency

        deps = (dep for stage in self.repo.index.stages for dep in stage.deps if isinstance(dep, ParamsDependency))
        listed = {self.repo.fs.relpath(dep.fs_path, self.repo.root_dir) for dep in deps}
        return listed | {file for file, _ in self.in_any_command | self.deciding}

    def _used_in(self, parts: Sequence[str], files: set[str] | None) -> set[tuple[str, str]]:
        """The params that parts of some dvc.yaml files use; None: all of the repository."""
        files = files or {stage.path_in_repo for stage in self.repo.index.stages if is_pipeline(stage)}
        return {key for file in files for key in _used(self.repo, file, parts)}

    def uses(self, stage: Stage, file: str, key: str) -> bool:
        """Whether a stage lists a param. One that is a part of a command counts as listed by all stages."""
        in_commands = any(file == other and overlap(key, name) for other, name in self.in_commands)
        return in_commands or stage.lists(file, key)

    def check_changeable(self, address: str, where: str) -> None:
        """Reject a param, KEY or FILE:KEY, that decides which stages exist, or is above or below one that does.

        Raises:
            SettingsError: it does: the compiled tasks cannot follow its change; or its file is no params file, and would
                change without a trace in the run's record. `where` opens the message.
        """
        file, key = split_address(address)
        if file not in self._any_params_file or posixpath.basename(file) == ROOT:
            raise SettingsError(f"{where} {address}: {file} is not a params file of a stage. Name one of those.")
        for other, name in self.deciding:
            if file == other and overlap(key, name):
                raise SettingsError(
                    f"{where} {address} decides which stages and params exist, so a run cannot change it: change it in {file} "
                    "and compile again."
                )

    @property
    def known(self) -> list[str]:
        """The addresses of all stages and groups of the repository, including other pipelines."""
        stages = [stage for stage in self.repo.index.stages if is_pipeline(stage)]
        return list(dict.fromkeys(name for stage in stages for name in (group_of(stage), address_of(stage))))


def open_repo(folder: Path) -> Any:
    """DVC's repository in a folder (dvc.repo.Repo).

    Raises:
        ReposeError: the folder is not the root of a repository of DVC, DVC cannot write to its folder .dvc, or DVC is not
            installed.
    """
    with installed():
        from dvc.repo import Repo
    with _dvc_errors(folder), disk_errors_named(folder / ".dvc"):
        repo = Repo(str(folder.resolve()))
    if Path(repo.root_dir) != folder.resolve():
        raise ReposeError(f"{folder} is not the folder of the DVC project, which is {repo.root_dir}: go there.")
    return repo


def read_project(folder: Path, file: str = ROOT) -> Project:
    """Read the pipeline of one dvc.yaml, given by its path relative to the folder."""
    return read_projects(folder, [file])[0]


def read_projects(folder: Path, files: Sequence[str]) -> list[Project]:
    """Read the pipelines of several dvc.yaml files, without duplicates.

    Raises:
        ReposeError: the folder is not a DVC project, DVC cannot read it (a cycle, an unknown key of the params), a file
            is outside or has no stages, or a stage cannot run in a pod.
    """
    repo = open_repo(folder)
    with _dvc_errors(folder):
        try:
            repo.index.stages  # noqa: B018 (here DVC reads dvc.yaml and the params that it names)
        except (TypeError, ValueError) as error:  # DVC's answer to a date
            raise ReposeError(
                f"DVC cannot read the project in {folder}: {error}. If it is text, put it in quotes."
            ) from None
        names = dict.fromkeys(_relative(folder.resolve(), file) for file in files)
        return [_read(repo, folder.resolve(), name) for name in names]


@contextmanager
def _dvc_errors(folder: Path) -> Iterator[None]:
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        why = " ".join(str(error.__cause__ or "").split())
        raise ReposeError(
            f"DVC cannot read the project in {folder}: {error}{f' ({why})' if why and why not in str(error) else ''}"
        ) from None


def _relative(folder: Path, file: str) -> str:
    """The path of a dvc.yaml relative to the project's folder."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder):
        raise ReposeError(
            f"{file} lies outside the project in {folder}: name a dvc.yaml of the project, such as {ROOT}."
        )
    return path.relative_to(folder).as_posix()


def _read(repo: Any, folder: Path, file: str) -> Project:
    from dvc.repo.metrics.show import _collect_top_level_metrics

    needed = _in_order(repo, file)
    stages = [stage for stage in needed if is_pipeline(stage) and not stage.frozen]
    if not stages:
        parent = (folder / file).parent
        own = (
            f" {parent} is a DVC project of its own: go there."
            if parent != folder and (parent / ".dvc").is_dir()
            else ""
        )
        files = sorted({stage.path_in_repo for stage in repo.index.stages if is_pipeline(stage)})
        raise ReposeError(
            f"{folder / file} has no stages to run: the file is missing or empty, or all its stages are frozen. Files with "
            f"stages: {', '.join(files) or 'none'}.{own}"
        )
    for stage in needed:
        if is_pipeline(stage) and stage.frozen and not all(out.hash_info for out in stage.outs):
            raise ReposeError(
                f"Stage {address_of(stage)} is frozen, so its outputs are taken from dvc.lock, which does not have them. Run "
                "it once (`dvc repro` after `dvc unfreeze`), or record its outputs with `dvc commit`."
            )
    resolvers = {path: stage.dvcfile.resolver for path, stage in {s.path: s for s in stages}.items()}
    producers, kinds = Producers(repo), (set(_models(repo)), set(_collect_top_level_metrics(repo)))
    read = tuple(read_stage(repo, stage, resolvers[stage.path], producers, *kinds) for stage in stages)
    _check_params(repo, read)
    return Project(folder, file, read, repo)


def _check_params(repo: Any, stages: Sequence[Stage]) -> None:
    """Reject params that DVC does not find, that dvc.lock cannot hold, or whose file a stage makes."""
    from dvc.dependency.param import read_param_file

    made = {path_in(repo, out.fs_path): out.stage for out in repo.index.outs if out.is_in_repo}
    listed: dict[str, dict[str, str]] = {}
    for stage in stages:
        for file, key in stage.params:
            listed.setdefault(file, {}).setdefault(key, stage.address)
    for file, addresses in listed.items():
        path, keys = Path(repo.root_dir) / file, [key for key in addresses if key]
        if by := next((stage for one, stage in made.items() if contains(one, file)), None):
            raise ReposeError(
                f"Stage {next(iter(addresses.values()))}: the params file {file} is an output of "
                f"{address_of(by) if is_pipeline(by) else by.path_in_repo}. List it under deps instead."
            )
        found = read_param_file(repo.fs, str(path), keys or None, flatten=True) if path.is_file() else {}
        for key in keys:
            if key not in found:
                what = f"has no key {key!r}" if path.is_file() else "is missing"
                why = " A dot is not allowed in a key: DVC takes what follows it for a key inside." * ("." in key)
                raise ReposeError(f"Stage {addresses[key]}: {file} {what}, which the stage lists under params.{why}")
        for key, value in found.items():
            try:
                json.dumps(value, sort_keys=True)  # as DVC does; numbers and texts have no order
            except TypeError:
                raise ReposeError(
                    f"{file}: {key} is {value!r}, which dvc.lock cannot hold. Put it, or its keys, in quotes."
                ) from None


def _models(repo: Any) -> Iterator[str]:
    """The paths of the artifacts that dvc.yaml files declare as models."""
    for file, artifacts in repo.artifacts.read().items():
        for artifact in artifacts.values():
            if artifact.type == "model":
                yield posixpath.normpath(posixpath.join(posixpath.dirname(Path(file).as_posix()), artifact.path))


def _in_order(repo: Any, file: str) -> list[Any]:
    """The stages that `dvc repro FILE` runs, in order.

    If the pipeline is less than half of all stages, DVC's own order (and that of dvc.lock) changes from process to process,
    as networkx iterates over a set. Otherwise this order is DVC's.
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
    """Stages with the root's first, then by file; within a file, in the file's order."""
    return sorted(stages, key=lambda stage: (stage.path_in_repo != ROOT, stage.path_in_repo))


def _used(repo: Any, file: str, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The file and key of each value of a params file that parts of a dvc.yaml's stages use, or that decides which exist."""
    from dvc.parsing.context import KeyNotInContext

    stages = [stage for stage in repo.index.stages if is_pipeline(stage) and stage.path_in_repo == file]
    resolver = stages[0].dvcfile.resolver
    items = [vars(d).get(f"{kind}_data") for d in resolver.definitions.values() for kind in ("foreach", "matrix")]
    raw = {stage: raw_definition(resolver, stage.name) for stage in stages}
    of_stages = [(_context(stage, resolver, raw[stage]), list(map(raw[stage].get, parts))) for stage in stages]
    for context, texts in [(resolver.context, items), *of_stages]:
        for key in sorted(set(_NAMED.findall(str(texts)))):
            try:
                node = context.select(key)
            except KeyNotInContext:  # an item
                continue
            for source, path in _origins(node, context.imports):
                here = posixpath.relpath(source, resolver.wdir or ".")  # DVC's are relative to the working directory
                yield posixpath.normpath(posixpath.join(posixpath.dirname(file), here)), path


def _context(stage: Any, resolver: Any, raw: Mapping[str, Any]) -> Any:
    """The values that a DVC stage's templates can name: those of its dvc.yaml, and of its own `vars`."""
    if not raw.get("vars"):
        return resolver.context
    context = type(resolver.context).clone(resolver.context)
    wdir = posixpath.join(resolver.wdir, posixpath.relpath(stage.wdir, posixpath.dirname(stage.path)))
    context.load_from_vars(resolver.fs, raw["vars"], wdir, stage_name=stage.name)
    return context


def _origins(node: Any, files: Collection[str]) -> Iterator[tuple[str, str]]:
    """The file and dotted key of each value below a node of DVC's context, which merges the mappings of all files."""
    meta = node.meta
    if meta.source and not meta.local:
        yield meta.source, meta.path()
    if isinstance(node, Mapping):
        yield from ((file, meta.path()) for file in files)
    children = node.values() if isinstance(node, Mapping) else node if isinstance(node, Sequence) else ()
    for child in children:
        yield from _origins(child, files)
