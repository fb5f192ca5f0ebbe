"""Addresses of files (local paths, s3://, http(s)://), and how messages show them: without passwords and signatures."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from repose.errors import ReposeError


def shown(address: str) -> str:
    """An address without user, password, query and fragment; only the scheme if it might still contain a password."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    if scheme == "s3":
        return f"s3://{rest.rpartition('@')[2]}" if "@" in rest.partition("/")[0] else address
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = host.rpartition("@")[2]
    if not re.fullmatch(r"([^:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d*)?", host):
        return f"{scheme}://..."
    return f"{scheme}://{host}{slash}{path}"


def local_path(address: str) -> Path | None:
    """The path of a local address; None for s3:// and http(s)://.

    Raises:
        ReposeError: the address has another scheme.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        return Path(os.path.expanduser(address))  # noqa: PTH111 (Path.expanduser fails on an unknown user)
    if scheme not in ("s3", "http", "https"):
        raise ReposeError(
            f"{shown(address)}: cannot fetch from {scheme}://. Give a local path, s3://bucket/key, https://... or http://..."
        )
    return None


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
    """The file name at the end of an address."""
    if address.startswith(("http://", "https://")):
        address = unquote(urlsplit(address).path)
    return address.rpartition("/")[2]
