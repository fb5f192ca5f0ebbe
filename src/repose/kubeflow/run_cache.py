"""Look up a stage in the run-cache of DVC's remote, from hashes alone: an earlier result costs no transfer of data.

DVC itself looks a stage up only after its inputs are there.
"""

import copy
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from repose.config import parse_yaml
from repose.kubeflow.entries import Entry, check_entry, check_outs
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Stage
from repose.kubeflow.workspace import bring, check_lists
from repose.storage.listing import TamperedError
from repose.storage.remote import Remote
from repose.terminal import say


def wanted(project: Project, stage: Stage, entries: Mapping[str, Entry], remote: Remote) -> Entry | None:
    """A stage's entry before it runs, without hashes of outputs; None if DVC does not cache it, or if an input is missing.

    Needs the entries of the upstream stages, also in dvc.lock. Lists of folders and uncached inputs, which are small, are
    fetched from the remote.
    """
    from dvc.stage.serialize import to_single_stage_lockfile
    from dvc_data.hashfile.build import build

    if not stage.run_cached:
        return None
    repo, dvc_stage = project.repo, project.dvc_stage(stage.address)
    bring(project, remote, entries, [o.path for one in stage.upstream for o in project[one].outs if not o.cached])
    check_lists(project, remote, [dep.path for dep in stage.deps])
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
    entry: Entry = to_single_stage_lockfile(dvc_stage)
    return entry


def key_of(entry: Entry) -> str:
    """The key in the run-cache of a stage's entry, which does not depend on the hashes of its outputs."""
    from dvc.stage.cache import _get_cache_hash

    return str(_get_cache_hash(copy.deepcopy(entry), key=True))  # numbers stay numbers as keys: they sort differently


def full_key_of(entry: Entry) -> str:
    """The key of a stage's entry and all its params; DVC's key leaves out those that are named size or nfiles."""
    from dvc.utils import dict_sha256

    return str(dict_sha256([key_of(entry), entry.get("params")]))


def find(remote: Remote, stage: Stage, wanted: Entry) -> Entry | None:
    """The entry of a stage in the remote's run-cache, if it is intact and the remote has all its objects."""
    for name in remote.names(_folder(wanted)):
        try:
            entry = _checked(remote.read(name) or b"", stage, wanted, f"{name} in {remote.address}")
            oids = {str(out["md5"]) for out in entry["outs"]} if entry else set()
            if entry and remote.has(oids) and remote.has(remote.files(oids)):
                return entry
        except TamperedError as error:
            say(f"{error} It is not used.")
    return None


def drop_others(cache: Path, stage: Stage, wanted: Entry) -> None:
    """Delete what is not the stage's from the run-cache in DVC's cache, which may be shared: DVC would use it unchecked."""
    folder = cache / _folder(wanted)
    for file in folder.glob("*"):
        try:
            with suppress(FileNotFoundError):  # another step's, which it moves
                if _checked(file.read_bytes(), stage, wanted, str(file)) is not None:
                    continue
        except TamperedError as error:
            say(f"{error} It is deleted.")
        file.unlink(missing_ok=True)
    with suppress(OSError):  # DVC fails on an empty one
        folder.rmdir()


def upload(remote: Remote, cache: Path, entry: Entry) -> None:
    """Copy the run-cache's files for an entry from DVC's cache to the remote."""
    for file in sorted((cache / _folder(entry)).glob("*")):
        remote.upload(file, f"{_folder(entry)}/{file.name}")


def _folder(entry: Entry) -> str:
    """The folder of the run-cache with the entries of the same key."""
    key = key_of(entry)
    return f"runs/{key[:2]}/{key}"


def _checked(content: bytes, stage: Stage, wanted: Entry, where: str) -> Entry | None:
    """The entry in a file of the run-cache; None if it is of other params. Raises a TamperedError if it is not the stage's."""
    try:
        entry = check_outs(stage, check_entry(parse_yaml(content.decode()), where), where)
    except ValueError as error:
        raise TamperedError(f"{where} is not an entry of a run-cache ({error!r:.200})") from None
    if key_of(entry) != key_of(wanted):
        raise TamperedError(f"{where} is an entry of other inputs than {stage.address} has")
    return entry if full_key_of(entry) == full_key_of(wanted) else None
