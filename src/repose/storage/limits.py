"""Limits on the size of files that are read whole, which are checked before a file is read."""

import stat
from pathlib import Path
from typing import Literal

from repose.errors import DataError

Kind = Literal["photo", "CSV", "table", "JSON", "checkpoint"]
# In 10^6 bytes. A table is a CSV that a stage wrote; a CSV is a user's, which takes more memory to read.
LIMITS: dict[Kind, int] = {"photo": 500, "CSV": 50, "table": 2_000, "JSON": 32, "checkpoint": 16_000}


def within_limit(path: Path, kind: Kind) -> Path:
    """The path itself, if the file may be read.

    Raises:
        DataError: the file is larger than its kind may be, or is a device or a pipe, which may never end; or the path has
            characters that no path may have.
        OSError: there is no such file, or it cannot be looked at.
    """
    limit = LIMITS[kind]
    try:
        found = path.stat()
    except ValueError as error:  # such as a null character
        raise DataError(f"{str(path)!r} cannot be the path of a file ({error}). Check the path.") from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise DataError(f"{path} is a device or a pipe. Give a file.")
    if found.st_size > limit * 10**6:
        raise DataError(
            f"{path} has {found.st_size / 1e6:,.0f} MB, more than the {limit:,} MB that a {kind} may have. Is it the right "
            "file?"
        )
    return path


def read_limited(path: Path, kind: Kind, advice: str) -> bytes:
    """The content of a file.

    Raises:
        DataError: see `within_limit`, or the file cannot be read. The message ends in `advice`.
    """
    try:
        return within_limit(path, kind).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. {advice}") from None
