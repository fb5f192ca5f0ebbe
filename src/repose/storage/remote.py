"""DVC's remote as the steps use it: objects by their hash, DVC's run-cache, and files of our own under `kubeflow/`.

Everything goes through DVC's own file systems, so every remote of DVC works and credentials are found as usual. What goes
wrong is told apart: refused credentials, a remote that does not answer, an object that is missing, one that has changed.
Transfers are streamed: the memory that they take does not grow with the data.
"""

import errno
import hashlib
import math
import os
import re
import shutil
import ssl
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from repose.errors import RemoteError, ReposeError
from repose.storage.atomic import whole_file

T = TypeVar("T")
NAME = "pipeline"  # of the remote in the workspace of a step
OWN = "kubeflow"  # the folder of our own files in the remote
_AT_ONCE = 8  # transfers
_PART, _PARTS = 2**23, 10_000  # bytes of a part of an upload to S3; the most parts that S3 takes
_TRIES, _WAIT = 5, 1.0  # of a transfer on a connection that fails; seconds before the second, doubled each time
_PATIENCE = 40.0  # seconds after which no further try begins: a lost remote is told within about a minute
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BAD, _REFUSED, _MISSING, _LOST = 400, {401, 403}, 404, 500  # HTTP statuses, and everything above the last
_TOKENS = {
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "400",
}  # a HEAD is answered 400 without the true code
_LATER = {"RequestTimeout", "RequestTimeoutException", "OperationAborted", "TooManyRequests", "SlowDown"}


class _NotThere(Exception):  # noqa: N818
    """Leaves a block that was to write a file."""


class _OfThisDisk(Exception):  # noqa: N818
    """Wraps an error of the disk here, so that it is not told as one of the remote."""


@dataclass
class Moved:
    """What a step transferred."""

    fetched: int = 0
    fetched_bytes: int = 0
    pushed: int = 0
    pushed_bytes: int = 0


class Remote:
    """The remote of an opened DVC repository.

    Attributes:
        address: as people know it.
        moved: what was transferred through this object.
    """

    def __init__(self, repo: Any, name: str | None = None) -> None:
        from dvc.config import ConfigError
        from dvc.exceptions import DvcException
        from dvc_objects.fs.errors import AuthError, RemoteMissingDepsError
        from dvc_objects.fs.errors import ConfigError as FileSystemConfigError

        try:
            remote = repo.cloud.get_remote(name)
            self._fs, self._root, self._odb = remote.fs, remote.path, remote.odb
            if self._fs.protocol == "s3":
                _try_once(self._fs.fs_args)
        except (
            DvcException, ConfigError, FileSystemConfigError, AuthError, RemoteMissingDepsError, ImportError,
        ) as error:  # fmt: skip
            raise RemoteError(f"DVC's remote cannot be used: {_without_secrets(str(error))}") from None
        self.address = _known_as(str(remote.fs.unstrip_protocol(remote.path)))
        self.moved = Moved()
        self._root_is_there = False
        self._counting = threading.Lock()

    def read(self, key: str) -> bytes | None:
        """A file of the remote by its path; None if there is none."""
        return self._tried(lambda: self._read(self._at(key)), f"read {key}")

    def write(self, key: str, content: bytes) -> None:
        """Write a file of the remote, whole or not at all."""
        with tempfile.NamedTemporaryFile(prefix="repose-") as file:
            file.write(content)
            file.flush()
            self.upload(Path(file.name), key)

    def upload(self, file: Path, key: str) -> None:
        """Copy a file to the remote, whole or not at all."""
        size = file.stat().st_size
        self._tried(lambda: self._put(file, size, self._at(key)), f"write {key}")
        with self._counting:
            self.moved.pushed += 1
            self.moved.pushed_bytes += size

    def download(self, key: str, file: Path) -> bool:
        """Copy a file of the remote here, whole or not at all; say whether there is one."""
        try:
            with whole_file(file) as partial:
                if not self._tried(lambda: self._get(self._at(key), partial), f"read {key}"):
                    raise _NotThere
        except _NotThere:
            return False
        self._count_fetched(file.stat().st_size)
        return True

    def delete(self, key: str) -> None:
        """Remove a file of the remote, if it is there."""
        self._tried(lambda: self._delete(self._at(key)), f"delete {key}")

    def names(self, folder: str) -> list[str]:
        """The paths of all files below a folder of the remote, sorted."""
        at = self._at(folder)
        found = self._tried(lambda: self._find(at), f"list {folder}")
        names = [self._fs.relpath(path, at) for path in found]  # hidden: what a copy into a folder has not finished
        return sorted(f"{folder}/{name}" for name in names if not name.rpartition("/")[2].startswith("."))

    def has(self, oids: Iterable[str]) -> set[str]:
        """Which of some objects are there."""
        wanted = sorted(set(oids))
        there = self._at_once(
            lambda oid: self._tried(lambda: self._fs.exists(self._path(oid)), f"look for {oid}"), wanted
        )
        return {oid for oid, found in zip(wanted, there, strict=True) if found}

    def object(self, oid: str) -> bytes:
        """The content of an object, whole and of its hash.

        Raises:
            RemoteError: it is missing or has changed.
        """
        content = self._tried(lambda: self._read(self._path(oid)), f"read {oid}")
        if content is None:
            raise self._missing(oid)
        self._check(oid, hashlib.md5(content, usedforsecurity=False).hexdigest())
        self._count_fetched(len(content))
        return content

    def fetch(self, oids: Iterable[str], cache: Any) -> None:
        """Bring objects into a cache of DVC (an ODB) that does not have them.

        Raises:
            RemoteError: one is missing, or has changed under its hash; then it is not in the cache.
        """
        missing = [oid for oid in sorted(set(oids)) if not cache.exists(oid)]
        self._at_once(lambda oid: self._fetch(oid, Path(cache.oid_to_path(oid))), missing)

    def push(self, oids: Iterable[str], cache: Any) -> None:
        """Copy objects of a cache of DVC that the remote does not have; what lists others comes after them."""
        wanted = set(oids)
        wanted -= self.has(wanted)
        for of_folders in (False, True):
            some = sorted(oid for oid in wanted if oid.endswith(".dir") == of_folders)
            self._at_once(lambda oid: self.upload(Path(cache.oid_to_path(oid)), self._key(oid)), some)

    def _fetch(self, oid: str, place: Path) -> None:
        with whole_file(place, shared=True) as partial:
            if not self._tried(lambda: self._get(self._path(oid), partial), f"read {oid}"):
                raise self._missing(oid)
            self._check(oid, _md5(partial))
        self._count_fetched(place.stat().st_size)

    def _missing(self, oid: str) -> RemoteError:
        return RemoteError(
            f"The object {oid} is not in the remote {self.address}, though a stage's entry of dvc.lock names it. Was it "
            "removed (`dvc gc`)? Run the stage that made it again (where Kubeflow's cache stands in the way: `repose kfp "
            "submit --no-cache`), or `dvc push` from where it still is."
        )

    def _check(self, oid: str, md5: str) -> None:
        if md5 != oid.removesuffix(".dir"):
            raise RemoteError(
                f"The object {oid} in the remote {self.address} has changed: its content has the MD5 {md5}. It is not used. "
                f"Delete {self._key(oid)} there and run the stage that made it again, or `dvc push` from where it is whole."
            )

    def _at(self, key: str) -> str:
        return str(self._fs.join(self._root, *key.split("/")))

    def _path(self, oid: str) -> str:
        return str(self._odb.oid_to_path(oid))

    def _key(self, oid: str) -> str:
        return str(self._fs.relpath(self._path(oid), self._root))

    def _read(self, path: str) -> bytes | None:
        with tempfile.TemporaryDirectory(prefix="repose-") as made:  # s3fs's cat_file multiplies its tries
            file = Path(made) / "content"
            return file.read_bytes() if self._get(path, file) else None

    def _get(self, path: str, file: Path) -> bool:
        try:
            # one stream that goes on where it was cut; by itself s3fs holds ten parts of 50 MiB in memory
            self._fs.get_file(path, str(file), **({"max_concurrency": 1} if self._fs.protocol == "s3" else {}))
        except FileNotFoundError:
            self._check_root()
            return False
        except OSError as error:
            if error.errno in _FULL or str(file) in (error.filename, error.filename2):
                raise _OfThisDisk from error
            raise
        return True

    def _put(self, file: Path, size: int, path: str) -> None:
        if self._fs.protocol == "local":
            _copy(file, Path(path))
            return
        s3 = self._fs.protocol == "s3"  # a small file goes at once, a large one as parts, two of them in memory
        how = {"chunksize": max(_PART, math.ceil(size / _PARTS)), "max_concurrency": 2} if s3 else {}
        self._fs.put_file(str(file), path, **how)

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def _find(self, path: str) -> list[str]:
        try:
            return list(self._fs.find(path))
        except FileNotFoundError:
            return []

    def _check_root(self) -> None:
        """A bucket that is not there is not a file that is not there."""
        if self._root_is_there:
            return
        bucket, _, folder = self._root.strip("/").partition("/")
        if self._fs.protocol == "s3":  # what may be listed may be no more than the folder
            self._fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{folder}/" if folder else "", MaxKeys=1)
        elif self._fs.protocol in ("gs", "azure"):
            self._fs.fs.ls(bucket)
        self._root_is_there = True

    def _count_fetched(self, size: int) -> None:
        with self._counting:
            self.moved.fetched += 1
            self.moved.fetched_bytes += size

    def _at_once(self, work: Callable[[str], T], names: list[str]) -> list[T]:
        """Do all; after the first that fails no other begins."""
        over = threading.Event()

        def one(name: str) -> T:
            if over.is_set():
                raise RemoteError(f"{name} was not begun.")
            try:
                return work(name)
            except BaseException:
                over.set()
                raise

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                return list(pool.map(one, names))
            finally:
                over.set()  # also where the step is told to stop meanwhile

    def _tried(self, work: Callable[[], T], what: str) -> T:
        """Do something with the remote, again where the connection failed.

        Raises:
            RemoteError: it cannot be done.
        """
        began = time.monotonic()
        for attempt in range(_TRIES):
            try:
                if self._fs.protocol == "s3":  # s3fs's own tries: a stream that was cut goes on once
                    self._fs.fs.retries = 2
                return work()
            except ReposeError:
                raise
            except _OfThisDisk as error:
                raise error.__cause__ or error from None
            except Exception as error:
                told = _told(error, self.address, what)
                if told is None:
                    raise
                again, message = told
                if not again or attempt == _TRIES - 1 or time.monotonic() - began > _PATIENCE:
                    raise RemoteError(message) from error
                time.sleep(_WAIT * 2**attempt)
        raise AssertionError  # the loop returns or raises


def _told(error: Exception, address: str, what: str) -> tuple[bool, str] | None:
    """Whether another try may help, and what to tell; None: this is no error of a remote."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        CredentialRetrievalError,
        EndpointConnectionError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )  # fmt: skip

    chain = list(_chain(error))
    answers = [e.response for e in chain if isinstance(e, ClientError)]
    code = str(answers[0].get("Error", {}).get("Code", "")) if answers else ""
    status = int(answers[0].get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if answers else 0
    if _any(chain, NoCredentialsError, PartialCredentialsError, ProfileNotFound, CredentialRetrievalError):
        return False, (
            f"There are no credentials for the remote {address} (to {what}): {_first(chain)}. Give them as AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or in a cluster as a Kubernetes secret (meta.kfp: secrets)."
        )
    if code == "RequestTimeTooSkewed":
        return False, f"The remote {address} refuses to {what} ({code}): set this machine's clock right."
    if status in _REFUSED or (status == _BAD and code in _TOKENS):
        return False, (
            f"The remote {address} refuses to {what} ({code}). Check the credentials (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the Kubernetes secret that they come from): are they right, have "
            "they expired, and what may they do?"
        )
    if not answers and _any(chain, PermissionError):
        return False, f"The remote {address} refuses to {what}: {_first(chain)}. Check its permissions."
    if status == _MISSING or (not answers and isinstance(error, FileNotFoundError)):
        return False, f"There is no {address} (to {what}). Correct the remote's address, or make the bucket."
    if _any(chain, ssl.SSLCertVerificationError):
        return False, (
            f"The certificate of the remote {address} is not trusted (to {what}): {_first(chain)}. Correct the endpoint, or "
            "name the file of your own authority in AWS_CA_BUNDLE."
        )
    lost = _any(chain, EndpointConnectionError, ConnectTimeoutError, HTTPClientError, ConnectionError, TimeoutError)
    if status >= _LOST or code in _LATER or lost or any(type(e).__module__.startswith("aiohttp") for e in chain):
        return True, (
            f"The remote {address} does not answer (to {what}): {_first(chain)}. Is it up, and can this machine reach it? "
            "Nothing is lost: run the step again."
        )
    if isinstance(error, NotImplementedError):
        return False, f"The remote {address} cannot {what}, as its kind knows no such thing. Use a folder or S3."
    if answers or _any(chain, BotoCoreError, OSError):
        return False, f"The remote {address} cannot {what}: {_first(chain)}."
    return None


def _any(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(error, kinds) for error in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _first(chain: list[BaseException]) -> str:
    """The error that the others stem from, in one line."""
    first = [error for error in chain if isinstance(error, Exception)][-1]  # under it may be that a task was cancelled
    text = str(first) or type(first).__name__
    return _without_secrets(" ".join(text.split())).removesuffix(".")


def _without_secrets(text: str) -> str:
    """A text without what a URL in it may hold of a password or a signature."""
    return re.sub(r"\?[^\s\"']*=[^\s\"']*", "", re.sub(r"//[^/@\s]+@", "//", text))


def _known_as(address: str) -> str:
    """A remote's address as it may be shown."""
    address = address.removeprefix("local://").removeprefix("file://")
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _try_once(arguments: dict[str, Any]) -> None:
    """Let s3fs keep no lists, which others change, and botocore try once unless the user said otherwise: we try again."""
    arguments["use_listings_cache"] = False
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
        arguments.setdefault("config_kwargs", {})["retries"] = {"total_max_attempts": 1}


def _copy(file: Path, place: Path) -> None:
    """Copy a file, whole or not at all, also where others copy the same one there."""
    partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(file, partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
