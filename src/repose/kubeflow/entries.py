"""Entries of dvc.lock, which tasks pass on: a stage's and those of all stages before it lie in the remote, under their MD5."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from repose.config import parse_yaml
from repose.errors import RemoteError
from repose.kubeflow.stages import Stage, split_stage
from repose.storage.listing import TamperedError, check_oid
from repose.storage.remote import OWN, Remote

Entry = Mapping[str, Any]  # of dvc.lock: cmd, deps, params, outs
_PAIRS = "\0pairs"
_FACTS = {"path", "md5", "hash", "size", "nfiles", "isexec"}  # of an output
_ELSEWHERE = {"cloud", "files", "dataset"}  # facts with which DVC reads a dependency from another place


def write_entries(remote: Remote, entries: Mapping[str, Entry]) -> str:
    """Write the entries of a stage and of those before it to the remote; return their ID."""
    content = to_json(dict(sorted(entries.items())))
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    remote.write(_key(name), content)
    return name


def read_entries(remote: Remote, names: Iterable[str]) -> dict[str, Entry]:
    """The entries with some IDs, by the stages' addresses. Raises a RemoteError if the remote lacks one."""
    entries: dict[str, Entry] = {}
    for name in names:
        content = remote.read(_key(name))
        if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != name:
            raise RemoteError(
                f"The remote {remote.address} has no intact {_key(name)}, which an earlier task wrote. Did it use another "
                "remote? Run the pipeline again with `repose kfp submit --no-cache`."
            )
        entries |= parse_entries(content, f"{_key(name)} in the remote {remote.address}")
    return entries


def parse_entries(content: bytes, where: str) -> dict[str, Entry]:
    """Entries of stages by their addresses. Raises a RemoteError about `where` for what DVC does not write."""
    found = from_json(content, where)
    if not isinstance(found, dict) or not all(isinstance(address, str) for address in found):
        raise TamperedError(f"{where} does not hold entries of dvc.lock by their stages")
    return {address: check_entry(entry, f"{where}: {address!r:.200}") for address, entry in found.items()}


def parse_lock(text: str, where: str) -> dict[str, Entry]:
    """The entries in the text of a dvc.lock, by the stages' names. Raises a RemoteError for another version or other parts."""
    try:
        lock = parse_yaml(text)
        right = lock.keys() == {"schema", "stages"} and lock["schema"] == "2.0" and isinstance(lock["stages"], dict)
    except (ValueError, AttributeError) as error:
        raise TamperedError(f"{where} is not a dvc.lock ({error!r:.200})") from None
    if not right:
        raise TamperedError(f"{where} has more than the entries of stages, or another schema than 2.0")
    return {str(name): check_entry(entry, f"{where}: {name!r:.200}") for name, entry in lock["stages"].items()}


def check_entry(entry: Any, where: str) -> Entry:
    """Check that a value is what DVC writes of a stage into dvc.lock; return it.

    Raises:
        RemoteError: it is not, or an output is no object of DVC's remote. `where` opens the message.
    """
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
    from voluptuous import Invalid

    try:
        checked: Entry = COMPILED_LOCK_FILE_STAGE_SCHEMA(entry)
    except (Invalid, TypeError, RecursionError) as error:
        raise TamperedError(f"{where} is not an entry of dvc.lock ({str(error)!r:.200})") from None
    for out in checked.get("outs", ()):
        check_oid(out.get("md5"), where)
        if not out.keys() <= _FACTS or out.get("hash") != "md5":  # others make DVC look for the data elsewhere
            raise TamperedError(f"{where} has an output with {', '.join(sorted(out))}, not with an MD5 of DVC 3")
    if any(dep.keys() & _ELSEWHERE for dep in checked.get("deps", ())):
        raise TamperedError(f"{where} has a dependency with {', '.join(sorted(_ELSEWHERE))}")
    return checked


def check_outs(stage: Stage, entry: Entry, where: str, *, all_of_them: bool = True) -> Entry:
    """Return an entry if it has the outputs of its stage, or only such, each once. Else raises a RemoteError."""
    named, own = sorted(outputs_of(stage, entry)), sorted(out.path for out in stage.outs)
    if len(named) != len(entry.get("outs", ())) or not (named == own if all_of_them else set(named) <= set(own)):
        raise TamperedError(
            f"{where} has the outputs {named!r:.200}, but {stage.address} in dvc.yaml has {', '.join(own) or 'none'}"
        )
    return entry


def to_json(value: Any) -> bytes:
    """JSON of entries. A mapping with other keys than text, as params may have, becomes a list of pairs."""
    return json.dumps(_packed(value), indent=1).encode()


def from_json(content: bytes, where: str) -> Any:
    """The value of `to_json`. Raises a RemoteError about `where` if it is damaged."""
    try:
        return json.loads(content, object_hook=lambda found: dict(found[_PAIRS]) if _PAIRS in found else found)
    except (ValueError, TypeError, RecursionError) as error:
        raise TamperedError(f"{where} is damaged ({error!r:.200})") from None


def _packed(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = {key: _packed(child) for key, child in value.items()}
        return pairs if all(isinstance(key, str) for key in pairs) else {_PAIRS: list(pairs.items())}
    return [_packed(child) for child in value] if isinstance(value, list | tuple) else value


def lock_file(address: str) -> tuple[str, str]:
    """The dvc.lock (relative to the project's folder) of a stage's entry, and the entry's key."""
    file, name = split_stage(address)
    return file.removesuffix(".yaml") + ".lock", name


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
