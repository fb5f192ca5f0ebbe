"""Look up a stage in the run-cache of DVC's remote, from hashes alone: an earlier result costs no transfer of data.

DVC itself looks a stage up only after its inputs are there.
"""

import copy
from collections.abc import Mapping
from typing import Any

from repose.config import parse_yaml
from repose.kubeflow.entries import Entry, outputs_of
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Stage
from repose.kubeflow.workspace import bring
from repose.storage.remote import Remote
from repose.terminal import say


def key_of(project: Project, stage: Stage, entries: Mapping[str, Entry], remote: Remote) -> str | None:
    """A stage's key in the run-cache; None if DVC does not cache it, or if an input is missing.

    Needs the entries of the upstream stages, also in dvc.lock. Lists of folders and uncached inputs, which are small, are
    fetched from the remote.
    """
    from dvc.stage.serialize import to_single_stage_lockfile
    from dvc_data.hashfile.build import build

    if not stage.run_cached:
        return None
    repo, dvc_stage = project.repo, project.dvc_stage(stage.address)
    bring(project, remote, entries, [o.path for one in stage.upstream for o in project[one].outs if not o.cached])
    made = {dep.path for dep in stage.deps if dep.producers}
    for dep in dvc_stage.deps:
        if str(dep) not in made and repo.fs.relpath(dep.fs_path, repo.root_dir) not in made and dep.exists:
            dep.save()  # params, and files of the project
            continue
        path = "/" + "/".join(repo.fs.relparts(dep.fs_path, repo.root_dir))
        try:  # a file system in which the outputs of all entries are
            _, dep.meta, found = build(repo.cache.local, path, repo.dvcfs, "md5", dry_run=True)
        except FileNotFoundError:
            return None
        dep.hash_info, dep.hash_name = found.hash_info, "md5"
    return _key(to_single_stage_lockfile(dvc_stage))


def find(remote: Remote, stage: Stage, key: str) -> Entry | None:
    """The entry of a stage with a key in the remote's run-cache, if it is intact and the remote has all its objects."""
    for name in remote.names(f"runs/{key[:2]}/{key}"):
        content = remote.read(name)
        entry = _parsed(content)
        if entry is None or _key(entry) != key or set(outputs_of(stage, entry)) != {out.path for out in stage.outs}:
            say(f"{name} in {remote.address} is not an entry of {stage.address} in a run-cache; it is not used.")
        elif _is_whole(remote, entry):
            return entry
    return None


def upload(remote: Remote, folder: Any, entry: Entry) -> None:
    """Copy the run-cache's files for an entry from a folder (`runs` of DVC's cache) to the remote."""
    key = _key(entry)
    for file in sorted((folder / key[:2] / key).glob("*")):
        remote.upload(file, f"runs/{key[:2]}/{key}/{file.name}")


def _key(entry: Mapping[str, Any]) -> str:
    from dvc.stage.cache import _get_cache_hash

    return str(_get_cache_hash(copy.deepcopy(entry), key=True))  # numbers stay numbers as keys: they sort differently


def _parsed(content: bytes | None) -> Entry | None:
    try:
        entry: Entry = parse_yaml((content or b"").decode())
        if entry["cmd"] and all(isinstance(out["md5"], str) and isinstance(out["path"], str) for out in entry["outs"]):
            return entry
    except (ValueError, KeyError, TypeError):
        pass
    return None


def _is_whole(remote: Remote, entry: Entry) -> bool:
    """Whether the remote has all objects of an entry."""
    oids = {str(out["md5"]) for out in entry["outs"]}
    return remote.has(oids) and remote.has(remote.files(oids))
