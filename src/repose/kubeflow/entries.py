"""A stage's entry of dvc.lock, which tasks pass on: it lies in the remote, under the MD5 that artifacts have as metadata."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from repose.errors import RemoteError
from repose.kubeflow.stages import file_of
from repose.kubeflow.task import Artifact
from repose.storage.remote import OWN, Remote

Entry = Mapping[str, Any]  # of dvc.lock: cmd, deps, params, outs


def write_entry(remote: Remote, address: str, entry: Entry) -> str:
    """Write a stage's entry to the remote; return its ID."""
    content = json.dumps({address: entry}).encode()
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    remote.write(_key(name), content)
    return name


def read_entries(remote: Remote, artifacts: Iterable[Artifact]) -> dict[str, Entry]:
    """The entries of the stages that made some artifacts, by the stages' addresses.

    Raises:
        RemoteError: an artifact has no entry, or the remote does not have it.
    """
    names = dict.fromkeys(str(artifact.metadata.get("entry")) for artifact in artifacts)
    entries: dict[str, Entry] = {}
    for name in names:
        content = remote.read(_key(name))
        if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != name:
            raise RemoteError(
                f"The remote {remote.address} has no intact {_key(name)}, to which an input artifact refers. Did its task use "
                "another remote? Run the pipeline again with `repose kfp submit --no-cache`."
            )
        entries |= json.loads(content)
    return entries


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
