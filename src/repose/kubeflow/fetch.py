"""Write a run's dvc.lock, params and metrics into the workspace, so that `dvc pull` can fetch every output.

The workspace's dvc.lock keeps its entries of other stages, as after a `dvc repro` of some stages.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from repose.config import parse_yaml, settings
from repose.errors import ReposeError, SettingsError
from repose.kubeflow.entries import Entry, check_outs, lock_file, outputs_of, parse_lock
from repose.kubeflow.params import ParamsFile
from repose.kubeflow.project import Project, open_repo, read_project
from repose.kubeflow.record import FORMAT, files_of, key_of
from repose.kubeflow.remotes import open_remote
from repose.storage.listing import TamperedError, check_path
from repose.storage.remote import Remote
from repose.storage.together import write_together
from repose.terminal import say


@settings
class _State:
    stage: str
    state: Literal["finished", "failed", "not run"]
    how: str | None = None
    message: str | None = None
    seconds: float | None = None


@settings
class _Record:
    format: Annotated[str, Field(pattern=f"^{FORMAT}$")]
    run: str
    pipeline: str
    remote: str
    commit: str
    stages: tuple[_State, ...]
    locks: dict[str, str]
    params: dict[str, str]
    files: dict[str, str]
    file: str  # the dvc.yaml


_RECORD = TypeAdapter(_Record)
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")  # what a shell takes as it is


def fetch_run(folder: Path, run: str, *, remote: str | None, endpoint: str, force: bool) -> dict[str, Any]:
    """Write a run's dvc.lock files, params files and metrics into the project's folder; return the run's record.

    The record is not trusted: only files that the project's dvc.yaml names are written, all or none, and dvc.lock only gets
    entries of stages that dvc.yaml has here, with their outputs.

    `remote` is the name or address of DVC's remote (None: the project's default), and `endpoint` the URL of an S3 server other
    than Amazon's, or empty. With `force`, what is not committed is overwritten.

    Raises:
        ReposeError: the run's record is missing or damaged, or names other files; uncommitted changes would be lost; the
            remote cannot be used; or the project does not have the run's pipeline.
    """
    store = open_remote(open_repo(folder), remote, endpoint)
    record, where = read_record(store, run), f"{key_of(run)} in {store.address}"
    file = check_path(record["file"], where)
    project = read_project(folder, file)
    locks = dict(_locks(project, record, where))
    metrics = _metrics(project, store, locks)
    for part, known in (("locks", locks), ("params", project.params_files), ("files", metrics)):
        if wrong := [name for name in record[part] if name not in known]:
            raise ReposeError(
                f"The run's record has a file {wrong[0]!r}, which is not a lock, a params file or metrics of {project.file} "
                "here. Nothing was written. Is the run of another project?"
            )
    _check_params(project, record["params"], where)
    contents = {name: text.encode() for name, text in record["params"].items()}
    contents |= {name: store.object(metrics[name]) for name in record["files"]}
    with _locked(project.repo):
        contents |= {name: _merged(folder / name, entries) for name, entries in locks.items()}
        changed = {name: content for name, content in contents.items() if _differs(folder / name, content)}
        gone = list(_gone(project, metrics))
        if not force and (lost := [name for name in [*changed, *gone] if _is_lost(folder / name)]):
            raise ReposeError(
                f"The run has other versions of {', '.join(lost)}, and your changes are not committed. Commit or stash them, "
                "or discard them with --force."
            )
        write_together(folder, changed)
        for name in gone:
            (folder / name).unlink()
    _summarise(record, read_project(folder, file))
    return record


def _locks(project: Project, record: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Entry]]]:
    """The entries of each dvc.lock of a run that are of a stage here, with its outputs, by the stage's name."""
    stages = {lock_file(stage.address): stage for stage in project.stages}
    for name, text in record["locks"].items():
        if name in {lock for lock, _ in stages}:
            entries = parse_lock(text, f"{name} of {where}")
            for key, entry in entries.items():
                if (name, key) not in stages:
                    raise TamperedError(
                        f"{name} of {where} has a stage {key!r:.200}, which {project.file} here does not have"
                    )
                check_outs(stages[name, key], entry, f"{name} of {where}: {key}", all_of_them=False)
            yield name, entries


def _metrics(project: Project, store: Remote, locks: Mapping[str, Mapping[str, Entry]]) -> dict[str, str]:
    """The object of each file that git holds (`cache: false`) of the locks' outputs. The lists of all folders are checked."""
    found: dict[str, str] = {}
    for stage in project.stages:
        lock, name = lock_file(stage.address)
        for path, out in outputs_of(stage, locks.get(lock, {}).get(name, {})).items():
            files = dict(files_of(store, path, out["md5"]))  # also before `dvc pull` writes a folder
            found |= {} if stage.out(path).cached else files
    return found


def _check_params(project: Project, texts: Mapping[str, str], where: str) -> None:
    """Reject params that cannot be read, with which dvc.yaml would have other outputs, or that a shell would run."""
    read = {
        name: (ParamsFile(Path(name), text), ParamsFile.read(project.folder / name)) for name, text in texts.items()
    }
    for name, key in sorted(project.deciding | project.in_any_command):
        if name in read:
            ran, own = ([params[key]] if key in params else [] for params in read[name])
            if ran != own and ((name, key) in project.deciding or not all(map(_PLAIN.fullmatch, _words(ran)))):
                raise SettingsError(
                    f"{where} has another value of {key} in {name}, {ran!r:.100}. It decides which stages, params and outputs "
                    "exist, or a command would pass it to a shell. Nothing was written. If you trust it, set it yourself."
                )


def _words(value: Any) -> Iterator[str]:
    """The texts in a value of a params file."""
    if isinstance(value, Mapping | list):
        for child in [*value, *value.values()] if isinstance(value, Mapping) else value:
            yield from _words(child)
    else:
        yield str(value)


def _gone(project: Project, metrics: Mapping[str, str]) -> Iterator[str]:
    """The files of folders outside DVC's cache that the run does not have; those in .dvcignore are no part of a folder."""
    for out in (out for stage in project.stages for out in stage.outs if not out.cached):
        place = project.folder / out.path
        if any(name.startswith(f"{out.path}/") for name in metrics) and place.resolve() == place:  # not behind a link
            for file in project.repo.dvcignore.find(project.repo.fs, str(place)):
                if (name := Path(file).relative_to(project.folder).as_posix()) not in metrics:
                    yield name


@contextmanager
def _locked(repo: Any) -> Iterator[None]:
    """Run the block while no command of DVC changes dvc.lock."""
    from dvc.lock import LockError

    try:
        repo.lock.lock()
    except LockError:
        raise ReposeError(
            f"A command of DVC is at work in {repo.root_dir}. Nothing was written. Wait until it has ended, and fetch again."
        ) from None
    try:
        yield
    finally:
        repo.lock.unlock()


def _merged(file: Path, entries: Mapping[str, Entry]) -> bytes:
    """The text of a dvc.lock: the workspace's own, with a run's entries."""
    from dvc.utils.serialize import dumps_yaml

    own: dict[str, Any] = parse_yaml(file.read_text("utf-8")) if file.is_file() else {"schema": "2.0"}
    return str(dumps_yaml(own | {"stages": own.get("stages", {}) | dict(entries)})).encode()


def read_record(remote: Remote, run: str) -> dict[str, Any]:
    """The record of a run. Raises a ReposeError if it is missing or damaged."""
    content = remote.read(key_of(check_path(run, "The run's ID")))
    if content is None:
        raise ReposeError(
            f"The remote {remote.address} has no record of a run {run!r} ({key_of(run)}). The last task of a run writes "
            "it. Is the run still going (`repose kfp status`), or did it use another remote (--remote)?"
        )
    return parse_record(content, f"{key_of(run)} in {remote.address}")


def parse_record(content: bytes, where: str) -> dict[str, Any]:
    """A run's record, of which only the types are checked. Raises a ReposeError about `where` if it is none."""
    try:
        found: dict[str, Any] = _RECORD.dump_python(_RECORD.validate_json(content), mode="json", exclude_defaults=True)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ascii(".".join(map(str, first["loc"])))[1:-1]
        raise ReposeError(
            f"{where} is not a run's record in this version's format ({FORMAT!r}): {place:.200}: {first['msg']!r:.200}."
        ) from None


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content


def _is_lost(path: Path) -> bool:
    """Whether a file exists and is not as in git's last commit: changed, staged, ignored, or in no git repository."""
    if not os.path.lexists(path) or not shutil.which("git"):
        return os.path.lexists(path)
    command = ["git", "cat-file", "--filters", f"HEAD:./{path.name}"]
    committed = subprocess.run(command, cwd=path.parent, check=False, capture_output=True)  # noqa: S603
    return committed.returncode != 0 or not path.is_file() or path.read_bytes() != committed.stdout


def _summarise(record: Mapping[str, Any], project: Project) -> None:
    stages = record["stages"]
    unfinished = [stage for stage in stages if stage["state"] != "finished"]
    if record["locks"]:
        done = f"{len(stages) - len(unfinished)} of {len(stages)} stages are finished"
        say(f"Run {record['run']}: {done}; dvc.lock, params and metrics are here.")
    else:
        here = "only the params are here" if record["params"] else "nothing was written"
        say(f"Run {record['run']}: no stage finished; {here}.")
    for stage in unfinished:
        say(f"{stage['stage']}: {stage['state']}{': ' + stage['message'] if stage.get('message') else ''}")
    if other := sorted(_other_versions(project)):
        commit = f" (commit {record['commit']})" if record["commit"] else ""
        names = f"{', '.join(other[:5])}{' and more' if len(other) > 5 else ''}"
        say(f"The run's image{commit} has other versions of {names}: `dvc status` shows them as changed.")
    if record["locks"]:
        say("`dvc pull` fetches the outputs.")


def _other_versions(project: Project) -> Iterator[str]:
    """The files of the workspace that differ from those that a finished stage read."""
    own = {dep.path for stage in project.stages for dep in stage.deps if not dep.producers}
    for stage in project.stages:
        for dep in project.dvc_stage(stage.address).deps:
            path = project.repo.fs.relpath(dep.fs_path, project.folder) if dep.fs_path else ""
            if path in own and dep.hash_info and not (dep.exists and dep.get_hash() == dep.hash_info):
                own.remove(path)
                yield path
