"""The stages of dvc.yaml for the compiler and the steps: their inputs, outputs and params, with names for Kubeflow.

Stages that cannot run in a fresh pod are rejected.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from keyword import iskeyword
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from repose.errors import ReposeError

TypeName = Literal["Artifact", "Dataset", "Model", "Metrics", "HTML", "Markdown"]
ROOT = "dvc.yaml"  # in the project's folder; the default pipeline
_ITEM = re.compile(r"\$\{\s*(item|key)\b.*?\}")  # the parts of a template that differ between the items of a stage
_PAGES: dict[str, TypeName] = {".html": "HTML", ".htm": "HTML", ".md": "Markdown"}


class Producers:
    """The stages that tasks run, by the paths of their outputs."""

    def __init__(self, repo: Any) -> None:
        self._of_outs: dict[str, str] = {}
        self._elsewhere: dict[str, str] = {}  # sources whose data the pipeline's remote lacks, and why
        for out in (out for out in repo.index.outs if out.is_in_repo):
            path, stage = path_in(repo, out.fs_path), out.stage
            name = address_of(stage) if is_pipeline(stage) else stage.path_in_repo
            if is_pipeline(stage) and not stage.frozen:
                self._of_outs[path] = name
            elif why := _why_elsewhere(stage, out):
                self._elsewhere[path] = f"{name}, which {why}"

    def of(self, path: str) -> list[str]:
        """The addresses of the stages with outputs that a path is, contains, or is part of, sorted."""
        return sorted({name for out, name in self._of_outs.items() if contains(out, path) or contains(path, out)})

    def check_source(self, path: str, where: str) -> None:
        """Raise a ReposeError about `where` if the remote lacks data of a source that a path is, contains or is in."""
        for source, why in self._elsewhere.items():
            if contains(source, path) or contains(path, source):
                raise ReposeError(
                    f"{where} is data of {why}, so the pipeline's remote does not have it. Add the data with `dvc add` or "
                    "`dvc import-url`, without such settings, and `dvc push`."
                )


def _why_elsewhere(stage: Any, out: Any) -> str:
    """Why DVC does not push the data of a source to the pipeline's remote, or not under their MD5; empty if it does."""
    reasons = {
        "imports them from another DVC project": stage.is_repo_import,
        "has a remote of its own": out.remote,
        "has push: false": not out.can_push,
        "names versions of a cloud's files": out.files or out.meta.version_id,
    }
    return next((why for why, holds in reasons.items() if holds), "")


@dataclass(frozen=True)
class Dep:
    """A dependency; paths are relative to the project's folder."""

    path: str
    producers: tuple[str, ...]  # addresses of stages that make it or parts of it; none of a file or of a source's data
    url: bool = False  # the path is an address outside the project, such as https://


@dataclass(frozen=True)
class Out:
    """An output."""

    path: str  # relative to the project's folder
    name: str  # in Kubeflow
    written: str  # as in dvc.yaml, with resolved templates: relative to the stage's wdir
    cached: bool  # whether DVC's cache holds it (`cache: true`)
    persist: bool  # whether the stage starts with its earlier version
    for_git: bool  # whether neither DVC's cache nor its run-cache holds it: `cache: false`, but no metrics or plots
    metrics: tuple[str, ...]  # itself if it is a metrics file, or the metrics files in it
    type: TypeName  # inferred


@dataclass(frozen=True)
class Stage:
    """A stage, or one item of a foreach or matrix."""

    address: str  # as in DVC: download, train@attend, sub/dvc.yaml:fit
    group: str  # the address without the item
    deps: tuple[Dep, ...]
    outs: tuple[Out, ...]
    params: tuple[tuple[str, str], ...]  # params file and dotted key (empty: the whole file)
    wdir: str  # relative to the project's folder, or empty
    always_changed: bool
    meta: Mapping[str, Any]  # meta.kfp

    @cached_property
    def upstream(self) -> tuple[str, ...]:
        """The addresses of the stages whose outputs it reads, without duplicates."""
        return tuple(dict.fromkeys(address for dep in self.deps for address in dep.producers))

    @property
    def run_cached(self) -> bool:
        """Whether DVC's run-cache holds its results; Kubeflow's cache is only used for such stages."""
        given = bool(self.deps or self.params) and not any(dep.url for dep in self.deps)
        made = bool(self.outs) and not any(out.persist or out.for_git for out in self.outs)
        return given and made and not self.always_changed

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

    def lists(self, file: str, key: str) -> bool:
        """Whether it lists a param: the key, or one above or below it."""
        return any(own == file and (not listed or overlap(key, listed)) for own, listed in self.params)


def name_of(text: str) -> str:
    """A KFP name for a path or key of dvc.yaml: its words joined by `_`, without the item of a foreach or matrix.

    As KFP makes it the name of a Python parameter, one of Python's keywords gets a `_`.
    """
    name = "_".join(re.findall(r"[a-z0-9]+", _ITEM.sub(" ", text).lower())) or "item"
    name = name if name[0].isalpha() else f"n{name}"
    return f"{name}_" if iskeyword(name) else name


def distinct(names: Iterable[str], separator: str = "_", taken: Collection[str] = ()) -> list[str]:
    """The names, of which the second of several equal ones ends in _2, the third in _3; none is one of those `taken`."""
    made = list(taken)
    for name in names:
        number, new = 2, name
        while new in made:
            number, new = number + 1, f"{name}{separator}{number}"
        made.append(new)
    return made[len(taken) :]


def task_name(address: str) -> str:
    """A Kubernetes name for a stage or group: `sub/dvc.yaml:fit` becomes sub-fit; empty if it has no letters a to z."""
    return "-".join(re.findall(r"[a-z0-9]+", re.sub(r"(^|/)dvc\.yaml:", "/", address).lower()))


def contains(folder: str, path: str) -> bool:
    """Whether a path is the folder or inside it."""
    return folder in (".", path) or path.startswith(f"{folder}/")


def overlap(key: str, other: str) -> bool:
    """Whether dotted keys are the same, or one is above the other."""
    return f"{key}.".startswith(f"{other}.") or other.startswith(f"{key}.")


def is_pipeline(stage: Any) -> bool:
    """Whether a DVC stage belongs to a dvc.yaml; those of .dvc files have no name."""
    return bool(getattr(stage, "name", None))


def address_of(stage: Any) -> str:
    """The address of a DVC stage, which does not depend on the working directory as DVC's own does."""
    return stage.name if stage.path_in_repo == ROOT else f"{stage.path_in_repo}:{stage.name}"


def split_stage(address: str) -> tuple[str, str]:
    """The dvc.yaml of the stage or group with an address, and its name there, which may have colons."""
    named = re.match(r"(.*?dvc\.yaml):", address)
    return (named[1], address[named.end() :]) if named else (ROOT, address)


def file_of(address: str) -> str:
    """The dvc.yaml of the stage or group with an address."""
    return split_stage(address)[0]


def group_of(stage: Any) -> str:
    """The address of a DVC stage without its item."""
    group = stage.raw_data.generated_from
    return address_of(stage).removesuffix(f"@{stage.name.removeprefix(f'{group}@')}") if group else address_of(stage)


def path_in(repo: Any, path: str) -> str:
    """A path relative to the project's folder."""
    return Path(path).relative_to(repo.root_dir).as_posix()


def raw_definition(resolver: Any, name: str) -> Mapping[str, Any]:
    """A stage as written in dvc.yaml; for an item of a foreach or matrix, the template."""
    definition = resolver.definitions.get(name) or resolver.definitions[name.partition("@")[0]]
    raw: Mapping[str, Any] = definition.template if hasattr(definition, "template") else definition.definition
    return raw


def read_stage(
    repo: Any, stage: Any, resolver: Any, producers: Producers, models: set[str], metrics: set[str]
) -> Stage:
    """Read a DVC stage of a dvc.repo.Repo, with DVC's resolver of its dvc.yaml. Raises a ReposeError if no pod can run it.

    `models` are the paths of artifacts that are models, `metrics` those of metrics that a dvc.yaml lists outside its stages.
    """
    from dvc.dependency import ParamsDependency

    raw = raw_definition(resolver, stage.name)
    of_params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return Stage(
        address=address_of(stage),
        group=group_of(stage),
        deps=tuple(_dep(repo, stage, dep, producers) for dep in stage.deps if dep not in of_params),
        outs=tuple(_outs(repo, stage, raw, resolver.resolve_one(stage.name)[stage.name], models, metrics)),
        params=tuple((_inside(repo, stage, dep.fs_path), key) for dep in of_params for key in dep.params or [""]),
        wdir="" if stage.wdir == repo.root_dir else _inside(repo, stage, stage.wdir),
        always_changed=stage.always_changed or stage.is_callback,
        meta=(stage.meta.get("kfp") if isinstance(stage.meta, Mapping) else None) or {},
    )


def _inside(repo: Any, stage: Any, path: str) -> str:
    """The path of a stage's params file or wdir, relative to the project's folder."""
    if not Path(path).is_relative_to(repo.root_dir):
        raise ReposeError(
            f"Stage {address_of(stage)}: {path}, which it names under params or wdir, lies outside the project, so a pod does "
            "not have it. Move it into the project."
        )
    return path_in(repo, path)


def _dep(repo: Any, stage: Any, dep: Any, producers: Producers) -> Dep:
    from dvc.dependency import DatasetDependency

    if dep.protocol != "local" and not isinstance(dep, DatasetDependency):
        return Dep(dep.def_path, (), url=True)
    if isinstance(dep, DatasetDependency) or not dep.is_in_repo:
        raise ReposeError(
            f"Stage {address_of(stage)}: the dependency {dep.def_path} lies outside the project, so a pod does not have "
            "it. Import it with `dvc import-url` or a stage."
        )
    path = path_in(repo, dep.fs_path)
    producers.check_source(path, f"Stage {address_of(stage)}: the dependency {dep.def_path}")
    return Dep(path, tuple(found for found in producers.of(path) if found != address_of(stage)))


def _outs(
    repo: Any, stage: Any, raw: Mapping[str, Any], resolved: Mapping[str, Any], models: set[str], metrics: set[str]
) -> Iterator[Out]:
    templates: dict[str, str] = {}
    for kind in ("outs", "metrics", "plots"):
        for template, plain in zip(raw.get(kind) or (), resolved.get(kind) or (), strict=True):
            templates |= dict(zip(_keys(plain), _keys(template), strict=True))
    names = distinct(name_of(templates[out.def_path]) for out in stage.outs)
    for out, name in zip(stage.outs, names, strict=True):
        _check_out(stage, out)
        path = path_in(repo, out.fs_path)
        inside = (path,) if out.metric else tuple(sorted(file for file in metrics if contains(path, file)))
        for_git, kind = not (out.use_cache or out.metric or out.plot), _type(path, path in inside, inside, models)
        yield Out(path, name, out.def_path, out.use_cache, out.persist, for_git, inside, kind)


def _type(path: str, metric: bool, inside: tuple[str, ...], models: set[str]) -> TypeName:
    """The type of an output: as `metrics`, `artifacts` or its suffix says."""
    if metric:
        return "Metrics"
    if any(contains(path, model) for model in models):
        return "Model"
    return "Metrics" if inside else _PAGES.get(PurePosixPath(path).suffix.lower(), "Dataset")


def _keys(entry: Any) -> list[str]:
    """The outputs of an entry of dvc.yaml's lists: text, or a mapping, usually of one key."""
    return [entry] if isinstance(entry, str) else list(map(str, entry))


def _check_out(stage: Any, out: Any) -> None:
    where = f"Stage {address_of(stage)}: the output {out.def_path}"
    if out.protocol != "local" or not out.is_in_repo:
        raise ReposeError(f"{where} lies outside the project, so a pod cannot pass it on. Write it inside.")
    if not out.can_push or out.remote:
        raise ReposeError(
            f"{where} has {'push: false' if not out.can_push else 'a remote of its own'}, but stages pass their data "
            "through the pipeline's remote. Remove that setting."
        )
