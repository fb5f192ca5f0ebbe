"""Weights of networks that repose did not train, by SHA-256: from the cache, a path, s3:// or https://.

Nothing is downloaded unless the user named the address. A file is only ever used when its digest is the one asked for.
"""

import os
from pathlib import Path

from repose.errors import ReposeError
from repose.storage.transfer import base_name, check, fetch, local_path


def cache_folder() -> Path:
    """Where fetched weights stay: $REPOSE_CACHE, else $XDG_CACHE_HOME/repose, else ~/.cache/repose."""
    named = os.environ.get("REPOSE_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repose"


def locate(address: str, sha256: str, *, endpoint: str | None = None) -> Path:
    """The local file of the weights at `address`, fetched into the cache unless it is local or there already.

    Args:
        address: a local path, `s3://bucket/key` or `https://...`.
        sha256: in hexadecimal, at least the first 8 digits (torchvision puts those into its file names).
        endpoint: an S3 server other than Amazon's.

    Raises:
        ReposeError: no such file, no access, or another digest.
    """
    if not sha256:
        raise ReposeError(f"The weights at {address} need a sha256 (at least its first 8 digits), which is not given.")
    local = local_path(address)
    if local is not None:
        if not local.is_file():
            raise ReposeError(f"There are no weights at {local}. Correct the path in params.yaml.")
        check(local, sha256=sha256, size=None, where=str(local))
        return local
    return fetch(address, cache_folder() / f"{sha256[:16]}-{base_name(address)}", sha256=sha256, endpoint=endpoint)
