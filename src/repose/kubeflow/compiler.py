"""Compile a dvc.yaml to its files, for an environment or for all.

    dvc.yaml           components/NAME/component.yaml of each stage           pipelines/pipeline.yaml
    table1/dvc.yaml    components/table1/NAME/component.yaml of each stage    pipelines/table1.yaml

The pipeline also has the stages of other files that its stages need. Their components are compiled with their own file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from repose.config import as_dict
from repose.errors import ReposeError
from repose.kubeflow.components import components_of, head_of, pipeline_of, text_of
from repose.kubeflow.needs import Environment, check_image, read_environment
from repose.kubeflow.params import ParamsFile
from repose.kubeflow.plan import Plan, make_plan
from repose.kubeflow.project import Project
from repose.kubeflow.remotes import check_public, remote_of
from repose.kubeflow.stages import ROOT, distinct, task_name
from repose.storage.atomic import write_text

BASE, ENVIRONMENTS = Path("pipelines/base.yaml"), Path("pipelines/environments")
PIPELINES = Path("pipelines")


def plan_for(project: Project, environment: str | None, image: str | None = None) -> Plan:
    """The plan for an environment, given by name; None: only the base.

    Raises:
        ReposeError: there is no such environment; a setting or a param is an address with a login or a signature; see
            `make_plan`.
    """
    chosen = environment_of(project.folder, environment)
    if image:
        chosen = replace(chosen, image=image)
    where = BASE if environment is None else ENVIRONMENTS / f"{environment}.yaml"
    check_public(as_dict(chosen), f"{where}: ")
    for name in project.params_files:
        check_public(ParamsFile.read(project.folder / name).values, f"{name}: ")
    for stage in project.stages:
        check_public(stage.meta, f"{stage.file}: {stage.address}: meta.kfp")
    return make_plan(project, chosen, str(where), remote_of(project.repo, chosen, committed=True))


def environment_of(folder: Path, name: str | None) -> Environment:
    """An environment of a project, merged over the base; None: only the base. Raises a ReposeError if it cannot be read."""
    base = read_environment(folder / BASE) if (folder / BASE).is_file() else Environment()
    if name is None:
        return base
    if name not in (known := _environments(folder)):  # a path such as ../base is no name
        raise ReposeError(
            f"There is no environment {name!r} in {ENVIRONMENTS}/; there are: {', '.join(known) or 'none'}."
        )
    return read_environment(folder / ENVIRONMENTS / f"{name}.yaml", base)


def write_all(project: Project, image: str | None = None) -> list[Path]:
    """Compile the components of a dvc.yaml and its pipeline; return the files that changed.

    Raises:
        ReposeError: see `plan_for`; or there is a file of that name that was not compiled from this dvc.yaml.
    """
    texts = compiled(project, image)
    changed, stale = _changed(texts), _stale(project, texts)
    _check_ours(changed, project.file)
    for path in changed:
        write_text(path, texts[path])
    for path in stale:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    return changed + stale


def write_pipeline(project: Project, environment: str, image: str | None = None) -> Path:
    """Compile only the pipeline for one environment; return its file.

    Raises:
        ReposeError: see `plan_for`; or the environment requires an image by digest, and this is not one.
    """
    path, plan = _pipeline_path(project, f"-{environment}"), plan_for(project, environment, image)
    check_image(plan.environment, environment)
    _check_ours([path], project.file)
    write_text(path, text_of(pipeline_of(plan), project.file))
    return path


def not_current(project: Project, image: str | None = None) -> list[Path]:
    """The compiled files that are missing, out of date, or no longer compiled."""
    texts = compiled(project, image)
    return _changed(texts) + _stale(project, texts)


def compiled(project: Project, image: str | None = None) -> dict[Path, str]:
    """The path and text of every compiled file; also checks the environments."""
    for name in _environments(project.folder):
        plan_for(project, name, image)
    plan, file = plan_for(project, None, image), project.file
    components = components_of(plan)
    texts = {}
    own = {name: first.stage for name, (first, *_) in plan.groups.items() if first.stage.file == file}
    folders = distinct((task_name(stage.group.removeprefix(f"{file}:")) or "stage" for stage in own.values()), "-")
    for name, folder in zip(own, folders, strict=True):
        texts[_components(project) / folder / "component.yaml"] = text_of(components[name], file)
    return texts | {_pipeline_path(project): text_of(pipeline_of(plan, components), file)}


def _pipeline_path(project: Project, ending: str = "") -> Path:
    """The file of the compiled pipeline."""
    stem = "" if project.file == ROOT else task_name(f"{project.file}:")
    return project.folder / PIPELINES / f"{stem or 'pipeline'}{ending}.yaml"


def _environments(folder: Path) -> list[str]:
    return [path.stem for path in sorted((folder / ENVIRONMENTS).glob("*.yaml"))]


def _components(project: Project) -> Path:
    """The folder of the components of a dvc.yaml's own stages."""
    return project.folder / "components" / Path(project.file).parent


def _changed(texts: Mapping[Path, str]) -> list[Path]:
    return [path for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]


def _check_ours(paths: Iterable[Path], file: str) -> None:
    """Reject files that exist and were not compiled from this dvc.yaml."""
    for path in paths:
        if path.is_file() and not _is_compiled(path, file):
            raise ReposeError(
                f"{path} was not compiled from {file}, so it is not overwritten. Rename or remove it, or rename the folder "
                "of one of the dvc.yaml files."
            )


def _stale(project: Project, texts: Mapping[Path, str]) -> list[Path]:
    """Components of this dvc.yaml whose stages no longer exist."""
    found = sorted(_components(project).glob("*/component.yaml"))
    return [path for path in found if path not in texts and _is_compiled(path, project.file)]


def _is_compiled(path: Path, file: str) -> bool:
    """Whether a file was compiled from a dvc.yaml."""
    return path.read_text("utf-8").startswith(head_of(file).partition("`")[0])
