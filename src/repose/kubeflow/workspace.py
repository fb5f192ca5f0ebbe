"""The writable copy of the project in which a step works, with DVC set up before any data are fetched."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repose.errors import ReposeError
from repose.kubeflow.params import from_pipeline, leaves_of
from repose.kubeflow.pointer import Entry, lock_texts
from repose.kubeflow.project import Project, read_project
from repose.storage.atomic import write_text
from repose.storage.remote import NAME

_LEFT_OUT = {".git", ".venv", "__pycache__"}
_LEFT_OUT_OF_DVC = {"cache", "tmp", "config.local"}  # of the folder .dvc
_WAITS = {"connect_timeout": 10, "read_timeout": 30}  # seconds, for S3; `remote` tries again


def image_project() -> Path:
    """The folder of the project in the image: $REPOSE_PROJECT, else the current one."""
    return Path(os.environ.get("REPOSE_PROJECT") or Path.cwd())


@contextmanager
def workspace(project: Path, remote: str, endpoint: str) -> Iterator[Path]:
    """Copy a project's folder without git, for the duration of the block.

    Args:
        project: The folder, which is not changed.
        remote: Address of DVC's remote.
        endpoint: URL of an S3 server other than Amazon's, or empty.
    """
    with tempfile.TemporaryDirectory(prefix="repose-step-", dir=os.environ.get("REPOSE_WORK")) as made:
        folder = Path(made) / "project"
        shutil.copytree(project, folder, ignore=_ignored, symlinks=True)
        for file in [folder, *folder.rglob("*")]:  # the image's are read-only
            if file.is_dir() and not file.is_symlink():
                file.chmod(0o755)
        _configure(folder, remote, endpoint)
        yield folder


def _ignored(folder: str, names: list[str]) -> set[str]:
    return {*names} & (_LEFT_OUT_OF_DVC if Path(folder).name == ".dvc" else _LEFT_OUT)


def _configure(folder: Path, remote: str, endpoint: str) -> None:
    """Set up DVC in the copy: without git, with this remote and its own or the shared cache."""
    from dvc.config import Config

    os.environ["DVC_NO_ANALYTICS"] = "1"
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder.parent / "site")
    (folder / ".dvc").mkdir(exist_ok=True)
    at: dict[str, Any] = {"url": remote}
    if remote.startswith("s3://"):
        at |= _WAITS | ({"endpointurl": endpoint} if endpoint else {})
    shared = os.environ.get("REPOSE_DVC_CACHE")
    # root can write through a link to the cache, whatever its permissions
    links = "copy" if os.geteuid() == 0 else "reflink,hardlink,symlink,copy"
    with Config(str(folder / ".dvc"), validate=False).edit("local") as config:
        config["core"] = {"no_scm": True, "remote": NAME, "analytics": False, "check_update": False}
        config["remote"] = {NAME: at}
        config["cache"] = {"type": links} | ({"dir": shared} if shared else {})


def prepare(folder: Path, entries: Mapping[str, Entry], file: str) -> Project:
    """Write dvc.lock files with only these entries, and read the pipeline of a dvc.yaml in the workspace."""
    for lock in folder.rglob("dvc.lock"):
        lock.unlink()
    for name, text in lock_texts(entries.items()).items():
        write_text(folder / name, text)
    return read_project(folder, file)


def apply_params(project: Project, values: Iterable[tuple[str, ...]], stage: str | None) -> Project:
    """Write the params of a run into the params files.

    Args:
        project: The project in a workspace.
        values: The name and text of each parameter.
        stage: The stage whose component has the parameters; None: they are the pipeline's.

    Returns:
        The project with the run's params.

    Raises:
        ReposeError: there is no such parameter, or the value is not YAML.
    """
    stages = project.stages if stage is None else (project[stage],)
    leaves = [leaf for each in stages for leaf in leaves_of(each, project.params_files)]
    known = {(leaf.name if stage is not None else leaf.pipeline_name): leaf for leaf in leaves}
    wanted: dict[str, dict[str, Any]] = {}
    for name, text in values:
        if name not in known:
            raise ReposeError(
                f"The parameter {name} is not one of {stage or 'the pipeline'} in this image's {project.file} and params. "
                "Was the pipeline compiled from another version? Compile it from the commit that the image was built from."
            )
        leaf = known[name]
        wanted.setdefault(leaf.file, {})[leaf.key] = from_pipeline(text, leaf.value, f"The parameter {name}")
    texts = {file: project.params_files[file].with_values(changes) for file, changes in wanted.items()}
    changed = {file: text for file, text in texts.items() if text != project.params_files[file].text}
    for file, text in changed.items():
        write_text(project.folder / file, text)
    return read_project(project.folder, project.file) if changed else project
