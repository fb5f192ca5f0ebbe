"""DVC's remote for the steps of Kubeflow: objects by hash, the run-cache, and repose's own files under `kubeflow/`.

All access goes through DVC's file systems, so every kind of remote works and credentials are found as usual. Transfers are
streamed, so memory does not grow with the data.
"""

import errno
import hashlib
import math
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repose.errors import RemoteError, ReposeError
from repose.storage.atomic import whole_file
from repose.storage.transfer.addresses import shown

T = TypeVar("T")
NAME = "pipeline"  # name of the remote in the workspace of a step
OWN = "kubeflow"  # folder of repose's own files in the remote
_AT_ONCE = 8  # parallel transfers
_PART, _MAX_PARTS = 2**23, 10_000  # of an upload to S3: bytes of a part, parts that S3 takes
_TRIES, _WAIT = 5, 1.0  # after connection errors; seconds before the second attempt, doubled each time
_PATIENCE = 40.0  # seconds after which no further attempt begins


@dataclass
class Moved:
    """The numbers of objects and bytes that a step transferred."""

    fetched: int = 0
    fetched_bytes: int = 0
    pushed: int = 0
    pushed_bytes: int = 0


class Remote:
    """The remote of an opened DVC repository. Every method raises RemoteError if the remote fails or rejects a request.

    Attributes:
        address: the remote's address, without secrets.
        moved: the transfers through this object.
    """

    def __init__(self, repo: Any, name: str | None = None) -> None:
        from dvc.config import ConfigError
        from dvc.exceptions import DvcException
        from dvc_objects.fs.errors import AuthError, RemoteMissingDepsError
        from dvc_objects.fs.errors import ConfigError as FileSystemConfigError

        known = (DvcException, ConfigError, FileSystemConfigError, AuthError, RemoteMissingDepsError, ImportError)
        try:
            remote = repo.cloud.get_remote(name)
            self._fs, self._root, self._odb = remote.fs, remote.path, remote.odb
            self._is_s3 = self._fs.protocol == "s3"
            if self._is_s3:
                _try_once(self._fs.fs_args)
        except known as error:
            raise RemoteError(f"DVC's remote cannot be used: {_without_secrets(str(error))}") from None
        self.address = shown(re.sub("^(local|file)://", "", str(remote.fs.unstrip_protocol(remote.path))))
        self.moved = Moved()
        self._lock = threading.Lock()  # of `moved`
        self._root_exists = False

    def read(self, key: str) -> bytes | None:
        """The content of a file of the remote; None if missing."""
        with tempfile.TemporaryDirectory(prefix="repose-") as folder, suppress(FileNotFoundError):
            file = Path(folder) / "content"
            self._get(self._at(key), file, f"read {key}")
            return file.read_bytes()
        return None

    def write(self, key: str, content: bytes) -> None:
        """Write a file of the remote atomically."""
        with tempfile.NamedTemporaryFile(prefix="repose-") as file:
            file.write(content)
            file.flush()
            self.upload(Path(file.name), key)

    def upload(self, file: Path, key: str) -> None:
        """Copy a file to the remote atomically."""
        size = file.stat().st_size
        self._retry(lambda: self._put(file, size, self._at(key)), f"write {key}")
        with self._lock:
            self.moved.pushed += 1
            self.moved.pushed_bytes += size

    def download(self, key: str, file: Path) -> bool:
        """Copy a file of the remote to `file` atomically; return whether it exists."""
        try:
            with whole_file(file) as partial:
                self._get(self._at(key), partial, f"read {key}")
        except FileNotFoundError:
            return False
        self._count_fetched(file)
        return True

    def delete(self, key: str) -> None:
        """Remove a file of the remote if it exists."""

        def remove() -> None:
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._at(key))

        self._retry(remove, f"delete {key}")

    def names(self, folder: str) -> list[str]:
        """The sorted paths of all files below a folder of the remote, except hidden ones, which may be incomplete."""
        at = self._at(folder)

        def find() -> list[str]:
            with suppress(FileNotFoundError):
                return [self._fs.relpath(path, at) for path in self._fs.find(at)]
            return []

        names = self._retry(find, f"list {folder}")
        return sorted(f"{folder}/{name}" for name in names if not name.rpartition("/")[2].startswith("."))

    def has(self, oids: Iterable[str]) -> set[str]:
        """The objects among `oids` that exist."""

        def exists(oid: str) -> bool:
            return bool(self._retry(lambda: self._fs.exists(self._path(oid)), f"look for {oid}"))

        wanted = sorted(set(oids))
        return {oid for oid, found in zip(wanted, _at_once(exists, wanted), strict=True) if found}

    def object(self, oid: str) -> bytes:
        """The content of an object.

        Raises:
            RemoteError: the object is missing, or its content has another hash.
        """
        with tempfile.TemporaryDirectory(prefix="repose-") as folder:
            file = Path(folder) / "content"
            self._get_object(oid, file)
            return file.read_bytes()

    def fetch(self, oids: Iterable[str], cache: Any) -> None:
        """Fetch objects into a DVC cache (an ODB), unless it has them.

        Raises:
            RemoteError: an object is missing, or its content has another hash; it is not added to the cache.
        """

        def bring(oid: str) -> None:  # other processes may fetch the same object
            with whole_file(Path(cache.oid_to_path(oid)), shared=True) as partial:
                self._get_object(oid, partial)

        _at_once(bring, [oid for oid in sorted(set(oids)) if not cache.exists(oid)])

    def push(self, oids: Iterable[str], cache: Any) -> None:
        """Copy objects that the remote lacks from a DVC cache: files first, then the lists of folders."""
        wanted = set(oids)
        wanted -= self.has(wanted)
        for of_folders in (False, True):
            some = sorted(oid for oid in wanted if oid.endswith(".dir") == of_folders)
            _at_once(lambda oid: self.upload(Path(cache.oid_to_path(oid)), self._key(oid)), some)

    def _get_object(self, oid: str, file: Path) -> None:
        try:
            self._get(self._path(oid), file, f"read {oid}")
        except FileNotFoundError:
            raise RemoteError(
                f"The object {oid} is not in the remote {self.address}, but a stage's entry of dvc.lock refers to it. Was it "
                "removed (`dvc gc`)? Run its stage again (if Kubeflow's cache prevents that: `repose kfp submit --no-cache`), "
                "or `dvc push` from where it still exists."
            ) from None
        if (md5 := md5_of(file)) != oid.removesuffix(".dir"):
            raise RemoteError(
                f"The object {oid} in the remote {self.address} has changed: its content has the MD5 {md5}. "
                f"Delete {self._key(oid)} there and run its stage again, or `dvc push` from an intact copy."
            )
        self._count_fetched(file)

    def _count_fetched(self, file: Path) -> None:
        with self._lock:
            self.moved.fetched += 1
            self.moved.fetched_bytes += file.stat().st_size

    def _at(self, key: str) -> str:
        return str(self._fs.join(self._root, *key.split("/")))

    def _path(self, oid: str) -> str:
        return str(self._odb.oid_to_path(oid))

    def _key(self, oid: str) -> str:
        return str(self._fs.relpath(self._path(oid), self._root))

    def _get(self, path: str, file: Path, what: str) -> None:
        """Copy a file of the remote to `file`.

        Raises:
            FileNotFoundError: the remote exists, but not the file.
        """

        def get() -> bool:
            try:
                # one stream, which resumes if interrupted; by default s3fs holds ten parts of 50 MiB in memory
                self._fs.get_file(path, str(file), **({"max_concurrency": 1} if self._is_s3 else {}))
            except FileNotFoundError:
                self._check_root()
                return False
            return True

        if not self._retry(get, what, file):
            raise FileNotFoundError(path)

    def _put(self, file: Path, size: int, path: str) -> None:
        if self._fs.protocol == "local":
            with whole_file(Path(path), shared=True) as partial:
                shutil.copyfile(file, partial)
        elif self._is_s3:  # a small file at once, a large one in parts, two of them in memory
            part = max(_PART, math.ceil(size / _MAX_PARTS))
            self._fs.put_file(str(file), path, chunksize=part, max_concurrency=2)
        else:
            self._fs.put_file(str(file), path)

    def _check_root(self) -> None:
        """Raise if the S3 bucket is missing. Only lists the folder, as the credentials may not allow more."""
        if self._is_s3 and not self._root_exists:
            bucket, _, folder = self._root.strip("/").partition("/")
            self._fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{folder}/" if folder else "", MaxKeys=1)
            self._root_exists = True

    def _retry(self, work: Callable[[], T], what: str, local: Path | None = None) -> T:
        """Call a function, again after connection errors; errors of the local file `local` are raised unchanged."""
        began, attempt = time.monotonic(), 1
        while True:
            try:
                if self._is_s3:
                    self._fs.fs.retries = 2  # s3fs's own: an interrupted stream resumes once
                return work()
            except ReposeError:
                raise
            except Exception as error:
                if _is_local(error, local):
                    raise
                again, message = _explain(error, self.address, what)
                if not message:
                    raise
                if not again or attempt == _TRIES or time.monotonic() - began > _PATIENCE:
                    raise RemoteError(message) from error
            time.sleep(_WAIT * 2 ** (attempt - 1))
            attempt += 1


def md5_of(file: Path) -> str:
    """The MD5 of a file in hexadecimal, which is the name of DVC's object."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _at_once(work: Callable[[str], T], names: list[str]) -> list[T]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # `map` cancels pending calls when one fails
        return list(pool.map(work, names))


def _is_local(error: Exception, file: Path | None) -> bool:
    """Whether an error is of the local disk that `file` is on."""
    if file is None or not isinstance(error, OSError):
        return False
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or str(file) in (error.filename, error.filename2)


def _explain(error: Exception, address: str, what: str) -> tuple[bool, str]:
    """Whether another attempt may help, and the message; empty if the error does not come from a remote."""
    from botocore import exceptions as boto

    chain = list(_chain(error))
    reason = _without_secrets(" ".join((str(chain[-1]) or type(chain[-1]).__name__).split())).removesuffix(".")
    response: Any = next((e.response for e in chain if isinstance(e, boto.ClientError)), {})
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(e, kinds) for e in chain)

    if caused_by(
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound, boto.CredentialRetrievalError
    ):
        return False, (
            f"There are no credentials for the remote {address} (to {what}): {reason}. Give them as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or in a cluster as a Kubernetes secret (meta.kfp: secrets)."
        )
    # the response to a HEAD is 400 without the actual code
    if status in (401, 403) or (
        status == 400 and code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "400")
    ):
        return False, (
            f"The remote {address} refuses to {what} ({code}). Check the credentials (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the Kubernetes secret that they come from), when they expire "
            "and what they allow. If the code is RequestTimeTooSkewed, correct this machine's clock."
        )
    if status == 404 or (not response and isinstance(error, FileNotFoundError)):
        return False, f"There is no {address} (to {what}). Correct the remote's address, or create the bucket."
    lost = caused_by(boto.ConnectionError, boto.HTTPClientError, ConnectionError, TimeoutError)
    later = status >= 500 or code in ("RequestTimeout", "OperationAborted", "TooManyRequests", "SlowDown")
    if lost or later or any(type(e).__module__.startswith("aiohttp") for e in chain):
        return True, (
            f"The remote {address} does not answer (to {what}): {reason}. Is it up, and can this machine reach it and trust "
            "its certificate (AWS_CA_BUNDLE)? Nothing is lost: run the step again."
        )
    if response or caused_by(boto.BotoCoreError, OSError, NotImplementedError):
        return False, f"The remote {address} cannot {what}: {reason}."
    return False, ""


def _chain(error: BaseException | None) -> Iterator[Exception]:
    """An error and its causes, except canceled tasks."""
    while error is not None:
        if isinstance(error, Exception):
            yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _without_secrets(text: str) -> str:
    """A text without the passwords and signatures in its URLs."""
    return re.sub(r"\?[^\s\"']*=[^\s\"']*", "", re.sub(r"//[^/@\s]+@", "//", text))


def _try_once(arguments: dict[str, Any]) -> None:
    """Disable s3fs's cache of lists and, unless the user set them, botocore's retries: `Remote` retries."""
    arguments["use_listings_cache"] = False
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
        arguments.setdefault("config_kwargs", {})["retries"] = {"total_max_attempts": 1}
