"""Sizes and SHA-256 of files: what a file should be, and whether it is."""

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from repose.errors import ReposeError


def check(path: Path, *, sha256: str | None, size: int | None, where: str) -> str:
    """The SHA-256 of a file, once its size and the first digits of its SHA-256 are found to be as expected.

    Raises:
        ReposeError: one of them differs; `where` names the file in the message.
    """
    check_size(path.stat().st_size, size, where)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if not digest.startswith(digest_form(sha256)):
        raise ReposeError(
            f"{where} is not the file that was asked for: its SHA-256 should be {sha256}, it is {digest}. Compare with "
            "its owner's; correct the sha256 that was given, or the address, or get the file again."
        )
    return digest


def check_size(found: int, wanted: int | None, where: str) -> None:
    """Check a size in bytes.

    Raises:
        ReposeError: another one was expected.
    """
    if wanted not in (None, found):
        raise ReposeError(
            f"{where} is not the file that was asked for: it should have {wanted:,} bytes, it has {found:,}. Correct "
            "the size that was given, or the address, or get the file again."
        )


def digest_form(sha256: str | None) -> str:
    """A SHA-256, or its first 8 or more hexadecimal digits, in lower case; empty for None.

    Raises:
        ReposeError: it is neither.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ReposeError(
            f"A sha256 is 64 hexadecimal digits (or the first 8 or more of them), not {sha256!r}. `sha256sum FILE` prints it."
        )
    return (sha256 or "").lower()


def _check_form(sha256: str) -> str:
    try:
        digest_form(sha256)
    except ReposeError as error:
        raise ValueError(error) from None
    return sha256


Sha256 = Annotated[str, AfterValidator(_check_form)]  # in settings: 64 hexadecimal digits, or the first 8 or more
