"""Entries of dvc.lock, which tasks pass on: a stage's and those of all stages before it lie in the remote, under their MD5."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from repose.errors import RemoteError
from repose.kubeflow.stages import file_of
from repose.storage.remote import OWN, Remote

Entry = Mapping[str, Any]  # of dvc.lock: cmd, deps, params, outs
_PAIRS = "\0pairs"


def write_entries(remote: Remote, entries: Mapping[str, Entry]) -> str:
    """Write the entries of a stage and of those before it to the remote; return their ID."""
    content = to_json(dict(sorted(entries.items())))
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    remote.write(_key(name), content)
    return name


def read_entries(remote: Remote, names: Iterable[str]) -> dict[str, Entry]:
    """The entries with some IDs, by the stages' addresses.

    Raises:
        RemoteError: the remote does not have them.
    """
    entries: dict[str, Entry] = {}
    for name in names:
        content = remote.read(_key(name))
        if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != name:
            raise RemoteError(
                f"The remote {remote.address} has no intact {_key(name)}, which an earlier task wrote. Did it use another "
                "remote? Run the pipeline again with `repose kfp submit --no-cache`."
            )
        entries |= from_json(content)
    for address in entries:
        check_path(file_of(address), f"An entry in the remote {remote.address}")
    return entries


def check_path(path: str, where: str) -> None:
    """Reject a path that comes from a remote and leaves the folder that it is relative to.

    Raises:
        RemoteError: it does.
    """
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
        raise RemoteError(
            f"{where} has the path {path!r}, which leaves the project. Somebody may have tampered with it."
        )


def check_tree(remote: Remote, oid: str) -> None:
    """Reject an object that is the list of a folder, if a file of it lies outside the folder.

    Raises:
        RemoteError: it does, or the remote lacks the list.
    """
    if oid.endswith(".dir"):
        for part in json.loads(remote.object(oid)):
            check_path(str(part["relpath"]), f"The object {oid} in the remote {remote.address}")


def to_json(value: Any) -> bytes:
    """JSON of entries. A mapping with other keys than text, as params may have, becomes a list of pairs."""
    return json.dumps(_packed(value), indent=1).encode()


def from_json(content: bytes) -> Any:
    """The value of `to_json`."""
    return json.loads(content, object_hook=lambda found: dict(found[_PAIRS]) if _PAIRS in found else found)


def _packed(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = {key: _packed(child) for key, child in value.items()}
        return pairs if all(isinstance(key, str) for key in pairs) else {_PAIRS: list(pairs.items())}
    return [_packed(child) for child in value] if isinstance(value, list | tuple) else value


def lock_file(address: str) -> tuple[str, str]:
    """The dvc.lock (relative to the project's folder) of a stage's entry, and the entry's key."""
    return file_of(address).removesuffix(".yaml") + ".lock", address.rpartition(":")[2]


def lock_texts(entries: Iterable[tuple[str, Entry]]) -> dict[str, str]:
    """The text of each dvc.lock for entries (address, entry), as DVC writes it."""
    from dvc.utils.serialize import dumps_yaml

    stages: dict[str, dict[str, Entry]] = {}
    for address, entry in entries:
        file, name = lock_file(address)
        stages.setdefault(file, {})[name] = entry
    return {file: str(dumps_yaml({"schema": "2.0", "stages": found})) for file, found in stages.items()}


def outputs_of(stage: Any, entry: Entry) -> dict[str, Mapping[str, Any]]:
    """The facts (md5, size, nfiles) of each output in a stage's entry, by its path relative to the project."""
    return {stage.resolve(out["path"]): out for out in entry.get("outs", ())}


def _key(name: str) -> str:
    return f"{OWN}/entries/{name}.json"
