"""DVC's remote as the steps use it: objects by their hash, DVC's run-cache, and files of our own under `kubeflow/`.

Everything goes through DVC's own file systems, so every remote of DVC works and credentials are found as usual. What goes
wrong is told apart: refused credentials, a remote that does not answer, an object that is missing, one that has changed.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repose.errors import ReposeError
from repose.files import partial_path, whole_file

T = TypeVar("T")
NAME = "pipeline"  # of the remote in the workspace of a step
OWN = "kubeflow"  # the folder of our own files in the remote
_AT_ONCE = 8  # transfers
_TRIES, _WAIT = 3, 1.0  # of a transfer on a connection that fails; seconds before the second, doubled each time
_REFUSED = {400, 401, 403}  # HTTP statuses; an expired token is a 400
_MISSING, _LOST = 404, 500  # and everything above the latter


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

        try:
            remote = repo.cloud.get_remote(name)
        except (DvcException, ConfigError) as error:
            raise ReposeError(f"DVC's remote cannot be used: {error}") from None
        self._fs, self._root, self._odb = remote.fs, remote.path, remote.odb
        self.address = str(remote.fs.unstrip_protocol(remote.path)).removeprefix("local://").removeprefix("file://")
        self.moved = Moved()

    def check(self) -> None:
        """Find out whether the remote answers and lets us in.

        Raises:
            ReposeError: it does not.
        """
        self.read(f"{OWN}/is-there")

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
        self._tried(lambda: self._fs.put_file(str(file), self._at(key)), f"write {key}")
        self._count_pushed(file.stat().st_size)

    def download(self, key: str, file: Path) -> bool:
        """Copy a file of the remote here, whole or not at all; say whether there is one."""
        partial = partial_path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._tried(lambda: self._get(self._at(key), partial), f"read {key}"):
                return False
            self._count_fetched(partial.stat().st_size)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        return True

    def delete(self, key: str) -> None:
        """Remove a file of the remote, if it is there."""
        self._tried(lambda: self._delete(self._at(key)), f"delete {key}")

    def names(self, folder: str) -> list[str]:
        """The paths of all files below a folder of the remote, sorted."""
        at = self._at(folder)
        self._fs.fs.invalidate_cache()
        found = self._tried(lambda: self._find(at), f"list {folder}")
        return sorted(f"{folder}/{self._fs.relpath(path, at)}" for path in found)

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
            ReposeError: it is missing or has changed.
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
            ReposeError: one is missing, or has changed under its hash; then it is not in the cache.
        """
        self._at_once(
            lambda oid: self._fetch(oid, Path(cache.oid_to_path(oid))),
            [o for o in sorted(set(oids)) if not cache.exists(o)],
        )

    def push(self, oids: Iterable[str], cache: Any) -> None:
        """Copy objects of a cache of DVC that the remote does not have; what lists others comes after them."""
        wanted = set(oids)
        wanted -= self.has(wanted)
        for of_folders in (False, True):
            some = sorted(oid for oid in wanted if oid.endswith(".dir") == of_folders)
            self._at_once(lambda oid: self.upload(Path(cache.oid_to_path(oid)), self._key(oid)), some)

    def _fetch(self, oid: str, place: Path) -> None:
        with whole_file(place) as partial:
            if not self._tried(lambda: self._get(self._path(oid), partial), f"read {oid}"):
                raise self._missing(oid)
            self._check(oid, _md5(partial))
        self._count_fetched(place.stat().st_size)

    def _missing(self, oid: str) -> ReposeError:
        return ReposeError(
            f"The object {oid} is not in the remote {self.address}, though a stage's entry of dvc.lock names it. Was it "
            "removed (`dvc gc`)? Run the stage that made it again, or `dvc push` from where it still is."
        )

    def _check(self, oid: str, md5: str) -> None:
        if md5 != oid.removesuffix(".dir"):
            raise ReposeError(
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
        try:
            return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            self._check_root()
            return None

    def _get(self, path: str, file: Path) -> bool:
        try:
            self._fs.get_file(path, str(file))
        except FileNotFoundError:
            self._check_root()
            return False
        return True

    def _delete(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            pass

    def _find(self, path: str) -> list[str]:
        try:
            return list(self._fs.find(path))
        except FileNotFoundError:
            return []

    def _check_root(self) -> None:
        """A bucket that is not there is not a file that is not there."""
        if self._fs.protocol in ("s3", "gs", "azure"):
            self._fs.fs.invalidate_cache()
            self._fs.fs.ls(self._root.split("/")[0])

    def _count_fetched(self, size: int) -> None:
        self.moved.fetched += 1
        self.moved.fetched_bytes += size

    def _count_pushed(self, size: int) -> None:
        self.moved.pushed += 1
        self.moved.pushed_bytes += size

    def _at_once(self, work: Callable[[str], T], names: list[str]) -> list[T]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(work, names))

    def _tried(self, work: Callable[[], T], what: str) -> T:
        """Do something with the remote, again where the connection failed.

        Raises:
            ReposeError: it cannot be done.
        """
        for attempt in range(_TRIES):
            try:
                return work()
            except ReposeError:
                raise
            except Exception as error:
                told = _told(error, self.address, what)
                if told is None:
                    raise
                again, message = told
                if not again or attempt == _TRIES - 1:
                    raise ReposeError(message) from error
                time.sleep(_WAIT * 2**attempt)
        raise AssertionError  # the loop returns or raises


def _told(error: Exception, address: str, what: str) -> tuple[bool, str] | None:
    """Whether another try may help, and what to tell; None: this is no error of a remote."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
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
            f"There are no credentials for the remote {address} (to {what}). Give them as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or in a cluster as a Kubernetes secret (meta.kfp: secrets)."
        )
    if status in _REFUSED or _any(chain, PermissionError):
        return False, (
            f"The remote {address} refuses to {what} ({code or 'permission denied'}). Check the credentials "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the Kubernetes secret that they come from) and what they may do."
        )
    if status == _MISSING or isinstance(error, FileNotFoundError):
        return False, f"There is no {address} (to {what}). Correct the remote's address, or make the bucket."
    lost = _any(chain, EndpointConnectionError, HTTPClientError, ConnectionError, TimeoutError)
    if status >= _LOST or lost or any(type(e).__module__.startswith("aiohttp") for e in chain):
        return True, (
            f"The remote {address} does not answer (to {what}): {_first(chain)}. Is it up, and can this machine reach it? "
            "Nothing is lost: run the step again."
        )
    if answers or _any(chain, BotoCoreError, OSError):
        return False, f"The remote {address} cannot {what}: {_first(chain)}."
    return None


def _any(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(error, kinds) for error in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first(chain: list[BaseException]) -> str:
    """The error that the others stem from, in one line and without what a URL may hold of a signature."""
    text = str(chain[-1]) or type(chain[-1]).__name__
    return text.splitlines()[0].split("?")[0]


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
