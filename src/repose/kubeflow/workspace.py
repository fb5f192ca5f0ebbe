"""The writable copy of the project in which a step works, with DVC set up before any data are fetched."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.entries import Entry, check_outs, lock_file, lock_texts, outputs_of
from repose.kubeflow.project import Project, open_repo, read_project
from repose.kubeflow.remotes import check_address_is_public
from repose.kubeflow.stages import ROOT, Stage, address_of, contains, file_of, is_pipeline
from repose.kubeflow.task import Task
from repose.kubeflow.variables import CACHE, WORK
from repose.storage.atomic import disk_errors_named, write_text
from repose.storage.listing import TamperedError, check_path
from repose.storage.remote import LOST, NAME, Remote

_LEFT_OUT = {".git", ".venv", "__pycache__"}
_ATTEMPTS = "AWS_MAX_ATTEMPTS"  # of boto at a request
_GIVEN = _ATTEMPTS in os.environ  # by the pod
_LEFT_OUT_OF_DVC = {"cache", "tmp", "config.local"}  # of the folder .dvc


def image_project() -> Path:
    """The folder of the project in the image: $REPOSE_PROJECT, else the current one."""
    return Path(os.environ.get("REPOSE_PROJECT") or Path.cwd())


@contextmanager
def workspace(project: Path, task: Task) -> Iterator[Path]:
    """Copy a project's folder without git, with the task's remote as DVC's, for the duration of the block."""
    with tempfile.TemporaryDirectory(
        prefix="repose-step-", dir=os.environ.get(WORK), ignore_cleanup_errors=True
    ) as made:
        folder = Path(made) / "project"
        with disk_errors_named(folder):
            shutil.copytree(project, folder, ignore=_ignored, symlinks=True)
            for file in [folder, *folder.rglob("*")]:  # the image's are read-only
                if file.is_dir() and not file.is_symlink():
                    file.chmod(0o755)
            check_address_is_public(task.remote, "The pipeline's parameter remote")
            _configure(folder, task.remote, task.endpoint)
            yield folder


def _ignored(folder: str, names: list[str]) -> set[str]:
    return {*names} & (_LEFT_OUT_OF_DVC if Path(folder).name == ".dvc" else _LEFT_OUT)


def _configure(folder: Path, remote: str, endpoint: str) -> None:
    """Set up DVC in the copy: without git, with this remote and its own or the shared cache."""
    from configobj import ConfigObj

    os.environ["DVC_NO_ANALYTICS"] = "1"
    os.environ.setdefault(_ATTEMPTS, "1")  # s3fs tries each of its calls again
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder.parent / "site")
    (folder / ".dvc").mkdir(exist_ok=True)
    at: dict[str, Any] = {"url": remote, "verify": True}  # the content of what is fetched
    if remote.startswith("s3://"):
        _try_again_if_s3_fails()
        at |= {"connect_timeout": 10, "read_timeout": 10} | ({"endpointurl": endpoint} if endpoint else {})
    cache = os.environ.get(CACHE) or str(folder / ".dvc" / "cache")  # not the project's own `cache.dir`
    # root can write through a link to the cache, whatever its permissions
    links = "copy" if os.geteuid() == 0 else "reflink,hardlink,symlink,copy"
    config = ConfigObj(encoding="utf-8")  # DVC itself writes only ASCII
    config["core"] = {"no_scm": True, "remote": NAME, "analytics": False, "check_update": False}
    config[f'remote "{NAME}"'] = at
    config["cache"] = {"type": links, "dir": cache}
    with (folder / ".dvc" / "config.local").open("wb") as file:
        config.write(file)


def _try_again_if_s3_fails() -> None:
    """Have s3fs try a call again after errors of the server, such as InternalError. By itself it only does after SlowDown."""
    from botocore.exceptions import ClientError
    from s3fs.core import set_custom_error_handler

    def is_the_server_s(error: Exception) -> bool:
        about = error.response.get("ResponseMetadata", {}) if isinstance(error, ClientError) else {}
        return bool(about.get("HTTPStatusCode", 0) >= 500)

    set_custom_error_handler(is_the_server_s)


@contextmanager
def environment_of_the_pod() -> Iterator[None]:
    """Restore the pod's environment variables in the block, in which a stage's command runs."""
    ours = None if _GIVEN else os.environ.pop(_ATTEMPTS, None)
    try:
        yield
    finally:
        if ours is not None:
            os.environ[_ATTEMPTS] = ours


def read_with(folder: Path, file: str, entries: Mapping[str, Entry]) -> Project:
    """The pipeline of a dvc.yaml, with only these entries, and those of frozen stages, in the dvc.lock files.

    Raises:
        ReposeError: an entry is of no stage of the pipeline, or has outputs that its stage does not have.
    """
    for address in entries:
        where = f"The entry of {address!r:.200}"
        if not (folder / check_path(file_of(address), where)).is_file() or Path(file_of(address)).name != ROOT:
            raise TamperedError(f"{where} is of no dvc.yaml of the project")
    frozen = dict(_frozen(folder))
    for lock in folder.rglob("dvc.lock"):
        lock.unlink()
    for name, text in lock_texts((frozen | dict(entries)).items()).items():
        write_text(folder / name, text)
    project = read_project(folder, file)
    for address, entry in entries.items():
        check_outs(project[address], entry, f"The entry of {address}")
    return project


def _frozen(folder: Path) -> Iterator[tuple[str, Entry]]:
    """The entries of frozen stages in the dvc.lock files that came with the project."""
    for stage in open_repo(folder).index.stages:
        if is_pipeline(stage) and stage.frozen:
            file, name = lock_file(address_of(stage))
            if (entry := _locked(folder / file, name)) is not None:
                yield address_of(stage), entry


def _locked(file: Path, name: str) -> Entry | None:
    """The entry of a stage in a dvc.lock; None if there is none."""
    found = parse_yaml(file.read_text("utf-8")) if file.is_file() else None
    entry: Entry | None = ((found or {}).get("stages") or {}).get(name)
    return entry


def bring(project: Project, remote: Remote, entries: Mapping[str, Entry], paths: Iterable[str]) -> None:
    """Fetch outputs of the entries' stages and data of .dvc files into the workspace: what `paths` are, contain or are in.

    Raises:
        ReposeError: the remote lacks an object or fails, or the disk is full.
    """
    from dvc.exceptions import DvcException

    wanted = set(paths)
    uncached: dict[str, Mapping[str, Any]] = {}
    for address, entry in entries.items():
        stage = project[address]
        uncached |= {path: out for path, out in outputs_of(stage, entry).items() if not stage.out(path).cached}
    targets = {path if contains(own, path) else own for path, own in _in_cache(project, remote, wanted)}
    with chdir(project.folder):  # DVC takes relative paths from there
        try:
            if targets:
                project.repo.pull(targets=[f"./{path}" for path in sorted(targets)], force=True)  # not names of stages
            for path, out in uncached.items():
                if any(contains(path, p) or contains(p, path) for p in wanted):
                    _check_out_uncached(project, remote, path, out)
        except DvcException as error:
            raise ReposeError(
                f"{', '.join(sorted(targets))} cannot be fetched from the remote {remote.address}: "
                f"{str(error).splitlines()[0].rstrip('.')}. The lines above say why. {LOST}"
            ) from error


def check_lists(project: Project, remote: Remote, paths: Iterable[str]) -> None:
    """Check the lists of folders at some paths, or that contain them, before DVC reads them. Raises as `Remote.files`."""
    for _ in _in_cache(project, remote, set(paths)):
        pass


def _in_cache(project: Project, remote: Remote, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Each wanted path with an output in DVC's cache that it is, contains or is in; its list of files is checked."""
    for out in project.repo.index.outs:
        own = project.repo.fs.relpath(out.fs_path, project.folder) if out.is_in_repo else None
        for path in wanted:
            if own and out.use_cache and out.hash_info and (contains(own, path) or contains(path, own)):
                if out.hash_name == "md5":  # older ones are of .dvc files in git, whose hash is the list's
                    remote.files([out.hash_info.value])
                yield path, own


def bring_earlier(project: Project, remote: Remote, stage: Stage, image: Path) -> None:
    """Fetch the outputs with which a stage starts (`persist: true`), in the versions of the image's dvc.lock.

    Those with `cache: false` are in git, and so in the image. Raises as `Remote`.
    """
    file, name = lock_file(stage.address)
    for path, out in outputs_of(stage, _locked(image / file, name) or {}).items():
        if "md5" in out and any(own.path == path and own.persist and own.cached for own in stage.outs):
            _check_out_uncached(project, remote, path, out)


def _check_out_uncached(project: Project, remote: Remote, path: str, out: Mapping[str, Any]) -> None:
    """Write an output that DVC does not check out: with `cache: false`, as metrics, or the start of one that is kept."""
    from dvc_data.hashfile import load
    from dvc_data.hashfile.checkout import checkout
    from dvc_data.hashfile.hash_info import HashInfo

    oid, cache = str(out["md5"]), project.repo.cache.local
    remote.pull([oid])
    target = project.folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    checkout(str(target), project.repo.fs, load(cache, HashInfo("md5", oid)), cache, force=True, prompt=None)
    if out.get("isexec"):
        cache.set_exec(str(target))
