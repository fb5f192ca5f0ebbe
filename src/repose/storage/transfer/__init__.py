"""Fetch files from local paths, s3:// and http(s)://; interrupted transfers resume, and sizes and digests are checked."""

from repose.storage.transfer.addresses import base_name, is_prefix, local_path, shown
from repose.storage.transfer.digests import Sha256, check, digest_form
from repose.storage.transfer.fetching import Object, fetch, fetch_objects, list_prefix

__all__ = [
    "Object", "Sha256", "base_name", "check", "digest_form", "fetch", "fetch_objects", "is_prefix", "list_prefix",
    "local_path", "shown",
]  # fmt: skip
