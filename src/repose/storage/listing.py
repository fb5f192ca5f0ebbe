"""Check names that a remote gives for files. Whoever may write to a bucket chooses them."""

import json
import re
import unicodedata
from itertools import pairwise
from typing import Any

from repose.errors import RemoteError

_OID = re.compile(r"[0-9a-f]{32}(\.dir)?")
_NEVER = re.compile(r"[\x00-\x1f\x7f\\]")
_LONGEST, _LONGEST_PART = 4096, 255  # characters of a path, and bytes of a name in it
_OWN = (".git", ".dvc")  # folders whose files Git and DVC obey


class TamperedError(RemoteError):
    """Something in a remote is what neither DVC nor repose writes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}. Somebody may have tampered with it.")


def check_path(path: Any, where: str) -> str:
    """Check that a value is the path of a file inside the folder that it is relative to; return it.

    Raises:
        RemoteError: it is no text, or leaves the folder, has two spellings (`a//b`, `./a`), or is inside .git or .dvc. `where`
            opens the message.
    """
    if (
        isinstance(path, str)
        and len(path) <= _LONGEST
        and not _NEVER.search(path)
        and all(map(_is_name, path.split("/")))
    ):
        return path
    raise TamperedError(f"{where} has the path {path!r:.200}, which is not a plain path inside the project")


def check_oid(oid: Any, where: str) -> str:
    """Check that a value is the name of an object of DVC; return it.

    Raises:
        RemoteError: it is not.
    """
    if isinstance(oid, str) and _OID.fullmatch(oid):
        return oid
    raise TamperedError(f"{where} has {oid!r:.200} instead of the MD5 of an object")


def parse_listing(content: bytes, where: str) -> dict[str, str]:
    """The objects of a folder's files by their paths in it, from the folder's own object.

    Raises:
        RemoteError: it is not DVC's list of a folder, has a path that `check_path` rejects, or has one path twice, also as the
            folder of another.
    """
    try:
        parts = json.loads(content)
        right = isinstance(parts, list) and all(part.keys() == {"md5", "relpath"} for part in parts)
    except (ValueError, AttributeError, RecursionError):
        right = False
    if not right:
        raise TamperedError(f"{where} is not the list of a folder")
    found = {check_path(part["relpath"], where): check_oid(part["md5"], where) for part in parts}
    in_order = sorted(part["relpath"].replace("/", "\0") for part in parts)  # the files in a folder follow its own name
    for first, second in pairwise(in_order):
        if second == first or second.startswith(f"{first}\0"):
            raise TamperedError(f"{where} has the path {first!r:.200} twice")
    if folders := [oid for oid in found.values() if oid.endswith(".dir")]:
        raise TamperedError(f"{where} has the folder {folders[0]} as a file")
    return found


def _is_name(part: str) -> bool:
    """Whether a part of a path is the name of a file or folder. Some file systems ignore case and invisible characters."""
    try:
        known = "".join(letter for letter in part if unicodedata.category(letter) != "Cf").casefold()
        return part not in ("", ".", "..") and known not in _OWN and len(part.encode()) <= _LONGEST_PART
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
