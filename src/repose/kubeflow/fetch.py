"""Write a run's dvc.lock, params and metrics into the workspace, so that `dvc pull` can fetch every output.

The workspace's dvc.lock keeps its entries of other stages, as after a `dvc repro` of some stages.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.entries import check_tree, lock_file
from repose.kubeflow.project import Project, open_repo, read_project
from repose.kubeflow.record import FORMAT, key_of
from repose.kubeflow.remotes import open_remote
from repose.kubeflow.stages import ROOT, contains
from repose.storage.atomic import write_bytes
from repose.storage.remote import Remote
from repose.terminal import say


def fetch_run(folder: Path, run: str, *, remote: str | None, endpoint: str, force: bool) -> dict[str, Any]:
    """Write a run's dvc.lock files, params files and metrics into the project's folder; return the run's record.

    Args:
        folder: The DVC project.
        run: The run's ID.
        remote: Name or address of DVC's remote; None: the project's default.
        endpoint: URL of an S3 server other than Amazon's, or empty.
        force: Overwrite uncommitted changes.

    Raises:
        ReposeError: the run's record is missing or damaged, uncommitted changes would be lost, the remote cannot be
            used, or the project does not have the run's pipeline.
    """
    store = open_remote(open_repo(folder), remote, endpoint)
    record = read_record(store, run)
    file = record.get("file", ROOT)
    project = read_project(folder, file)  # before anything is written
    contents = {name: text.encode() for name, text in (_locks(folder, record) | record["params"]).items()}
    _check_paths(project, [*contents, *record["files"]])
    for text in record["locks"].values():
        for entry in parse_yaml(text)["stages"].values():
            for out in entry.get("outs", ()):
                check_tree(store, str(out["md5"]))  # before `dvc pull` writes the folder
    contents |= {name: store.object(oid) for name, oid in record["files"].items()}
    changed = {name: content for name, content in contents.items() if _differs(folder / name, content)}
    if not force:
        _refuse_to_lose(folder, changed)
    for name, content in changed.items():
        write_bytes(folder / name, content)
    _summarise(record, read_project(folder, file))
    return record


def _locks(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """Each dvc.lock of a run, merged over the workspace's own."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml

    texts = dict(record["locks"])
    for name in texts:
        if (folder / name).is_file():
            own, ran = (parse_yaml(text, name) for text in ((folder / name).read_text("utf-8"), texts[name]))
            texts[name] = dumps_yaml(ran | own | {"stages": own.get("stages", {}) | ran["stages"]})
    return texts


def read_record(remote: Remote, run: str) -> dict[str, Any]:
    """The record of a run.

    Raises:
        ReposeError: the record is missing or damaged.
    """
    content = remote.read(key_of(run))
    if content is None:
        raise ReposeError(
            f"The remote {remote.address} has no record of a run {run!r} ({key_of(run)}). The last task of a run writes "
            "it. Is the run still going (`repose kfp status`), or did it use another remote (--remote)?"
        )
    try:
        record: dict[str, Any] = json.loads(content)
        if record["format"] == FORMAT and all(isinstance(record[part], dict) for part in ("locks", "params", "files")):
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise ReposeError(f"{key_of(run)} in {remote.address} is not a run's record in this version's format ({FORMAT!r}).")


def _check_paths(project: Project, names: Iterable[str]) -> None:
    """Reject paths other than those of the project's locks, params files and outputs in git, and links in their place."""
    known = {lock_file(stage.address)[0] for stage in project.stages} | set(project.params_files)
    uncached = [out.path for stage in project.stages for out in stage.outs if not out.cached]
    for name in names:
        inside = (project.folder / name).resolve() == project.folder / name
        if not inside or not (name in known or any(contains(path, name) for path in uncached)):
            raise ReposeError(
                f"The run's record has a file {name}, which is not a lock, a params file or metrics of {project.file} here, "
                "or lies behind a link. Nothing was written. Is the run of another project?"
            )


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content


def _refuse_to_lose(folder: Path, changed: Mapping[str, bytes]) -> None:
    """Reject a fetch that would overwrite uncommitted changes."""
    there = [name for name in changed if (folder / name).exists()]
    if there and shutil.which("git"):
        command = ["git", "status", "--porcelain", "--", *there]
        done = subprocess.run(command, cwd=folder, check=False, text=True, capture_output=True)  # noqa: S603
        if done.returncode == 0:  # else the folder is in no git repository
            there = [line[3:] for line in done.stdout.splitlines()]
    if there:
        raise ReposeError(
            f"The run has other versions of {', '.join(there)}, and your changes are not committed. Commit or stash them, "
            "or discard them with --force."
        )


def _summarise(record: Mapping[str, Any], project: Project) -> None:
    stages = record["stages"]
    unfinished = [stage for stage in stages if stage["state"] != "finished"]
    done = f"{len(stages) - len(unfinished)} of {len(stages)} stages are finished"
    say(f"Run {record['run']}: {done}; dvc.lock, params and metrics are here.")
    for stage in unfinished:
        say(f"{stage['stage']}: {stage['state']}{': ' + stage['message'] if stage.get('message') else ''}")
    if other := sorted(_other_versions(project)):
        commit = f" (commit {record['commit']})" if record["commit"] else ""
        names = f"{', '.join(other[:5])}{' and more' if len(other) > 5 else ''}"
        say(f"The run's image{commit} has other versions of {names}: `dvc status` shows them as changed.")
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
