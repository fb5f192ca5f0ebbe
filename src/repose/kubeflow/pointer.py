"""Pointers, the files that tasks pass on: a stage's entry of dvc.lock.

The file has the form of dvc.lock, with the stage's address as its key. An artifact that Kubeflow shows as a page holds the
page, with the pointer in a comment at the end.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.stages import file_of
from repose.storage.atomic import write_bytes, write_text

Entry = Mapping[str, Any]  # of dvc.lock: cmd, deps, params, outs
_IN_PAGE = re.compile(rb"<!-- dvc\.lock (\{.*\}) -->\s*$")


def write_pointer(path: Path, address: str, entry: Entry) -> None:
    """Write a stage's entry."""
    write_text(path, _lock({address: entry}))


def write_page(path: Path, page: bytes, address: str, entry: Entry) -> None:
    """Write a page (HTML or Markdown) with a stage's entry at its end."""
    pointer = json.dumps({address: entry}).replace(">", "\\u003e")  # so that the text cannot end the comment
    write_bytes(path, page.rstrip() + f"\n<!-- dvc.lock {pointer} -->\n".encode())


def read_pointer(path: Path) -> dict[str, Entry]:
    """The entry in a pointer or page, by the stage's address.

    Raises:
        ReposeError: the file has no entry.
    """
    try:
        content = path.read_bytes()
        in_page = _IN_PAGE.search(content)
        stages = json.loads(in_page[1]) if in_page else parse_yaml(content.decode())["stages"]
        if stages and all({"cmd", "outs"} <= set(entry) for entry in stages.values()):
            return dict(stages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ReposeError(
        f"The input {path} is not a pointer: it should be a stage's entry of dvc.lock, as the stage's component writes it."
    )


def lock_file(address: str) -> tuple[str, str]:
    """The dvc.lock (relative to the project's folder) of a stage's entry, and the entry's key."""
    return file_of(address).removesuffix(".yaml") + ".lock", address.rpartition(":")[2]


def lock_texts(entries: Iterable[tuple[str, Entry]]) -> dict[str, str]:
    """The text of each dvc.lock for entries (address, entry), as DVC writes it."""
    stages: dict[str, dict[str, Entry]] = {}
    for address, entry in entries:
        file, name = lock_file(address)
        stages.setdefault(file, {})[name] = entry
    return {file: _lock(found) for file, found in stages.items()}


def _lock(stages: Mapping[str, Entry]) -> str:
    from dvc.utils.serialize import dumps_yaml

    text: str = dumps_yaml({"schema": "2.0", "stages": stages})
    return text
