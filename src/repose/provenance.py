"""What a number says of itself, so that it can be traced, and compared with its like only.

Nothing here is of the time, the machine or git's state: equal inputs give equal records, in a folder and in a pod alike, as
DVC hashes them. So the commit is not named as such (a stage runs before the commit that will hold its result, mostly in a
changed folder): `code` is what git calls the tree of the package's files, which every commit with that code shares.

    git rev-parse COMMIT:src/repose     # equals `code`: the scores were made by that commit's code
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

SCHEMA = 2  # of metrics.json and facts.json; 1 had no schema, no metrics and no provenance
FORMAT = "8-bit RGB; kept as PNG"  # of the images that are scored: pixels as they are kept, without loss

PACKAGE = Path(__file__).parent
NONE = "none"  # in place of a fact or a number that is not there
Better = Literal["higher", "lower"]  # which way a metric is better


class _Entry(NamedTuple):
    """A line of git's tree object."""

    key: bytes  # that it is sorted by: a folder's name ends with a slash
    line: bytes


def code() -> str:
    """The name that git gives to the tree of this package's files: 40 hexadecimal digits.

    Folders of Python's own cache, and what a dot starts, are left out, as .gitignore has it. Every file counts as one that
    cannot be executed.
    """
    return _tree(PACKAGE).hex()


def digest(lines: Iterable[str]) -> str:
    """The SHA-256 of lines of text."""
    whole = hashlib.sha256()
    for line in lines:
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()


def in_words(fact: object) -> str:
    """A fact of a protocol as people read it."""
    if isinstance(fact, Mapping):
        return ", ".join(f"{key} {in_words(value)}" for key, value in fact.items()) or NONE
    if isinstance(fact, Sequence) and not isinstance(fact, str):
        return ", ".join(map(in_words, fact)) or NONE
    if fact is None:
        return NONE
    if isinstance(fact, int | float) and not isinstance(fact, bool):
        return f"{fact:,}" if isinstance(fact, int) else f"{fact:g}"
    return str(fact)


def _tree(folder: Path) -> bytes:
    entries = []
    for path in folder.iterdir():
        name = path.name.encode()
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            if digest := _tree_or_none(path):
                entries.append(_Entry(name + b"/", b"40000 " + name + b"\0" + digest))
        else:
            entries.append(_Entry(name, b"100644 " + name + b"\0" + _object(b"blob", path.read_bytes())))
    return _object(b"tree", b"".join(entry.line for entry in sorted(entries)))


def _tree_or_none(folder: Path) -> bytes | None:
    """Git knows no empty folder."""
    found = _tree(folder)
    return None if found == _object(b"tree", b"") else found


def _object(kind: bytes, content: bytes) -> bytes:
    header = kind + b" " + str(len(content)).encode() + b"\0"
    return hashlib.sha1(header + content, usedforsecurity=False).digest()
