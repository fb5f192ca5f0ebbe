"""Fetch files from local paths, s3:// and http(s)://; interrupted transfers resume, and sizes and digests are checked."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from repose.errors import ReposeError, shown
from repose.storage.atomic import disk_errors_named, locked, partial_path
from repose.storage.transfer.addresses import base_name, is_prefix, local_path
from repose.storage.transfer.digests import Sha256, check
from repose.storage.transfer.partial import Partial
from repose.storage.transfer.s3 import Object, fetch_objects, list_prefix, receive_object
from repose.storage.transfer.web import receive_http

__all__ = [
    "Object", "Sha256", "base_name", "check", "fetch", "fetch_objects", "is_current", "is_prefix", "list_prefix",
    "local_path", "shown",
]  # fmt: skip


def fetch(
    address: str, destination: Path, *, sha256: str | None = None, size: int | None = None, endpoint: str | None = None,
    limit: int | None = None,
) -> Path:  # fmt: skip
    """Fetch the file at `address` into `destination` and return that path.

    Nothing is transferred if the file at `destination` has the given SHA-256 or, without one, if an earlier `fetch` wrote
    it and the server reports no change. A file with another size or digest is never written to `destination`.

    Args:
        address: a local file, `s3://bucket/key` or `http(s)://...`.
        destination: the file to write; its folder is created.
        sha256: the expected SHA-256 in hexadecimal; the first 8 or more digits are enough, unless https redirects to http.
        size: the expected size in bytes.
        endpoint: an S3 server other than Amazon's; the credentials come from the usual AWS environment or profile.
        limit: maximum size in bytes.

    Raises:
        ReposeError: the file is missing, inaccessible, or has another size or digest; the disk is full; or there is no
            connection.
    """
    if is_current(destination, sha256, size):
        return destination
    local, where = local_path(address), shown(address)
    came = Partial(partial_path(destination), where, size, limit)
    with locked(destination), disk_errors_named(destination):
        if is_current(destination, sha256, size):  # by another process, meanwhile
            return destination
        if local:
            _check_readable(local, where)
            came.forget()
            shutil.copyfile(local, came.path)
        else:
            if not sha256 and came.note.exists() and destination.is_file() and not came.path.exists():
                _link_or_copy(destination, came.path)  # fetched earlier: ask the server whether it is current
            if address.startswith("s3://"):
                came.complete(lambda: receive_object(address, came, endpoint))
            else:
                came.complete(lambda: receive_http(address, came, sha256=sha256))
        try:
            check(came.path, sha256=sha256, size=size, where=where)
        except ReposeError:
            came.forget()
            raise
        came.path.replace(destination)
        came.path.unlink(missing_ok=True)  # it is still there if it was a hard link
        if sha256:
            came.note.unlink(missing_ok=True)
    return destination


def is_current(file: Path, sha256: str | None, size: int | None) -> bool:
    """Whether a file is there and has a known SHA-256 and size."""
    if sha256 and os.path.isfile(file):  # noqa: PTH113 (Path.is_file fails in folders that may not be entered)
        with suppress(ReposeError):
            check(file, sha256=sha256, size=size, where="")
            return True
    return False


def _check_readable(file: Path, where: str) -> None:
    if not file.is_file():
        raise ReposeError(f"There is no file {where}. Check the path; a relative one starts at {Path.cwd()}.")
    if not os.access(file, os.R_OK):
        raise ReposeError(f"{where} may not be read. Change its permissions.")


def _link_or_copy(file: Path, path: Path) -> None:
    try:
        path.hardlink_to(file)
    except OSError:  # not all file systems have hard links
        shutil.copyfile(file, path)
