"""Checks of the sizes and SHA-256 of files."""

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from repose.errors import ReposeError


def check(path: Path, *, sha256: str | None, size: int | None, where: str) -> str:
    """The SHA-256 of a file, after checking its size and the given digits of its SHA-256.

    Raises:
        ReposeError: one of them differs, or the file may not be read. `where` names the file in the message.
    """
    check_size(path.stat().st_size, size, where)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except PermissionError:
        raise ReposeError(f"{where} may not be read. Change its permissions.") from None
    if not digest.startswith((sha256 or "").lower()):
        raise ReposeError(
            f"{where} is another file than expected: its SHA-256 should be {sha256}, it is {digest}. Compare with "
            "its owner's; correct the given sha256 or the address, or get the file again."
        )
    return digest


def md5_of(file: Path) -> str:
    """The MD5 of a file in hexadecimal: the name of an object of DVC, and the ETag of one of S3."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_size(found: int, wanted: int | None, where: str) -> None:
    """Raise a ReposeError if a size in bytes is not the wanted one."""
    if wanted not in (None, found):
        raise ReposeError(
            f"{where} is another file than expected: it should have {wanted:,} bytes, it has {found:,}. Correct "
            "the given size or the address, or get the file again."
        )


def _check_form(sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(
            f"A sha256 is 64 hexadecimal digits (or the first 8 or more of them), not {sha256!r}. `sha256sum FILE` prints it."
        )
    return sha256


Sha256 = Annotated[str, AfterValidator(_check_form)]  # in settings: 64 hexadecimal digits, or the first 8 or more
