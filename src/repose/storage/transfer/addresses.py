"""Addresses of files: local paths, s3://, http(s)://."""

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from repose.errors import ReposeError, shown


def local_path(address: str) -> Path | None:
    """The path of a local address; None for s3:// and http(s)://.

    Raises:
        ReposeError: the address has another scheme, or is a path that no file can have.
    """
    if address.startswith(("s3://", "http://", "https://")):
        return None
    if "://" in address:
        raise ReposeError(
            f"{shown(address)}: cannot fetch from such an address. Give a local path, s3://bucket/key, https://... or http://..."
        )
    try:
        path = Path(os.path.expanduser(address))  # noqa: PTH111 (Path.expanduser fails on an unknown user)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except (OSError, ValueError) as error:  # too long, a zero byte, a folder that may not be entered
        reason = getattr(error, "strerror", None) or error
        raise ReposeError(f"The path {shown(address)[:200]} cannot be used ({reason}). Correct it.") from None
    return path


def is_prefix(address: str) -> bool:
    """Whether an address is an S3 prefix, which means every object under it: it ends in a slash, or is only a bucket."""
    return address.startswith("s3://") and (address.endswith("/") or "/" not in address.removeprefix("s3://"))


def bucket_and_key(address: str) -> tuple[str, str]:
    """Bucket and key of an s3:// address.

    Raises:
        ReposeError: the address has no bucket, or contains credentials.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or "@" in bucket:
        raise ReposeError(
            f"{shown(address)} is not an S3 address: write s3://bucket/key, and give credentials in the usual AWS "
            "environment variables or profile."
        )
    return bucket, key


def base_name(address: str) -> str:
    """The file name at the end of an address; an owner may have chosen any characters, so see `file_name`."""
    if address.startswith(("http://", "https://")):
        address = unquote(re.split("[?#]", address.partition("://")[2], maxsplit=1)[0].partition("/")[2])
    return address.rpartition("/")[2]


def file_name(address: str) -> str:
    """The end of `base_name` that is safe on any file system: at most 80 of the characters A-Z, a-z, 0-9, `.`, `_`, `-`."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", base_name(address))[-80:]
