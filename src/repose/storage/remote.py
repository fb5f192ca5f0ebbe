"""DVC's remote for the tasks of Kubeflow: its objects, and repose's own small files under `kubeflow/`.

Objects are transferred by DVC, other files through the file system that DVC opens, so every kind of remote works and
credentials are found as usual.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from repose.errors import RemoteError, ReposeError, shown, without_secrets
from repose.storage.atomic import temporary_folder, whole_file
from repose.storage.listing import TamperedError, check_oid, parse_listing
from repose.storage.transfer.digests import md5_of

NAME = "repose-step"  # of the remote in the workspace of a step; a project's own would be merged with it
OWN = "kubeflow"  # folder of repose's own files in the remote
_LONGEST = 500  # maximum length of a server's message
_CLOUDS = ("adlfs", "asyncssh", "azure", "gcsfs", "google", "sshfs", "webdav4")  # clients whose errors are no OSError
_LARGEST = 128 * 2**20  # bytes of what is read into memory: repose's own files, lists of folders, metrics
LOST = (
    "If an object is missing there (`dvc gc`) or damaged, run its stage again (`repose kfp submit --no-cache`), or `dvc push` "
    "from where it exists."
)


class Remote:
    """The remote of an opened DVC repository. Every method raises RemoteError if the remote fails or rejects a request.

    Attributes:
        address: the remote's address, without secrets.
    """

    def __init__(self, repo: Any, name: str | None = None) -> None:
        self._repo, self._name = repo, name
        with _explained(name or "of the project", "be opened"):
            remote = repo.cloud.get_remote(name)
            self._fs, self._root, self._odb = remote.fs, remote.path, remote.odb
            self.address = shown(re.sub("^(local|file)://", "", str(remote.fs.unstrip_protocol(remote.path))))

    def read(self, key: str) -> bytes | None:
        """The content of a file of the remote, at most 128 MiB; None if missing."""
        with temporary_folder() as folder:
            file = folder / "content"
            with _explained(self.address, f"read {key}"), suppress(FileNotFoundError):
                self._check_size(key, self._fs.size(self._at(key)))
            if not self.download(key, file):
                return None
            self._check_size(key, file.stat().st_size)
            return file.read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Write a file of the remote atomically."""
        with temporary_folder() as folder:
            (folder / "content").write_bytes(content)
            self.upload(folder / "content", key)

    def upload(self, file: Path, key: str) -> None:
        """Copy a file to the remote atomically."""
        with _explained(self.address, f"write {key}"):
            if self._fs.protocol == "local":
                with whole_file(Path(self._at(key))) as partial:
                    shutil.copyfile(file, partial)
            else:
                self._fs.put_file(str(file), self._at(key))

    def download(self, key: str, file: Path) -> bool:
        """Copy a file of the remote to `file` atomically; return whether it exists."""
        with _explained(self.address, f"read {key}"), whole_file(file) as partial:
            try:
                self._fs.get_file(self._at(key), str(partial))
                return True
            except FileNotFoundError:
                self._check_bucket()
                partial.touch()
        file.unlink()
        return False

    def delete(self, key: str) -> None:
        """Remove a file of the remote if it exists."""
        with _explained(self.address, f"delete {key}"), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(key))

    def names(self, folder: str) -> list[str]:
        """The sorted paths of all files below a folder of the remote, except hidden ones, which may be incomplete."""
        at = self._at(folder)
        with _explained(self.address, f"list {folder}"):
            self._fs.fs.invalidate_cache()
            self._check_bucket()
            found = [self._fs.relpath(path, at) for path in self._fs.find(at)] if self._fs.exists(at) else []
        return sorted(f"{folder}/{name}" for name in found if not name.rpartition("/")[2].startswith("."))

    def has(self, oids: Iterable[str]) -> bool:
        """Whether all objects exist."""
        wanted = set(oids)
        with _explained(self.address, "look for objects"):
            return wanted <= set(self._odb.oids_exist(sorted(wanted)))

    def pull(self, oids: Iterable[str]) -> None:
        """Fetch objects, and the files of those that are folders, into DVC's cache; their content is checked."""
        wanted = set(oids)
        parts = self.files(wanted)
        self._transfer(self._repo.cloud.pull, {o for o in wanted if not o.endswith(".dir")} | parts, "read objects")

    def push(self, oids: Iterable[str]) -> None:
        """Copy objects from DVC's cache: first the files of those that are folders, then their lists."""
        from dvc_data.hashfile.db import get_index

        wanted = set(oids)
        get_index(self._odb).clear()  # in which each file of a folder whose list is in the remote counts as there
        self._transfer(self._repo.cloud.push, self.files(wanted), "write objects")
        self._transfer(self._repo.cloud.push, wanted, "write objects")

    def files(self, oids: Iterable[str]) -> set[str]:
        """The objects of the files of objects that are folders."""
        return {part for oid in oids if oid.endswith(".dir") for part in self.listed(oid).values()}

    def listed(self, oid: str) -> dict[str, str]:
        """The objects of a folder's files, by their paths in it, which do not leave it."""
        return parse_listing(self.object(oid), f"The object {oid} in the remote {self.address}")

    def object(self, oid: str) -> bytes:
        """The content of an object, at most 128 MiB, from DVC's cache or the remote."""
        file = Path(self._repo.cache.local.oid_to_path(check_oid(oid, f"The remote {self.address}")))
        if not file.exists():
            self._fetch(oid, file)
        self._check_size(oid, file.stat().st_size)
        if not file.is_file() or md5_of(file) != oid.removesuffix(".dir"):  # of a cache that others can write to
            raise RemoteError(f"{file} has changed since DVC wrote it. Delete it, and it is fetched again.")
        return file.read_bytes()

    def _fetch(self, oid: str, file: Path) -> None:
        """Copy an object into DVC's cache. DVC itself would follow the list of a folder before it is checked."""
        source = self._odb.oid_to_path(oid)
        with _explained(self.address, "read objects"):
            try:
                self._check_size(oid, self._odb.fs.size(source))
                with whole_file(file) as partial:
                    self._odb.fs.get_file(source, str(partial))
                    if md5_of(partial) != oid.removesuffix(".dir"):
                        raise self._lost("read objects", [oid])
                    partial.chmod(0o444)
            except FileNotFoundError:
                raise self._lost("read objects", [oid]) from None

    def _check_size(self, name: str, size: int | None) -> None:
        if size is not None and size > _LARGEST:  # a web server need not tell it
            raise TamperedError(
                f"{name} in the remote {self.address} has {size:,} bytes, and what is read into memory may have {_LARGEST:,}"
            )

    def _transfer(self, way: Callable[..., Any], oids: set[str], what: str) -> None:
        from dvc_data.hashfile.hash_info import HashInfo

        for oid in oids:
            check_oid(oid, f"The remote {self.address}")
        with _explained(self.address, what):
            failed = {str(info.value) for info in way({HashInfo("md5", oid) for oid in oids}, remote=self._name).failed}
        cache = self._repo.cache.local
        if lost := sorted(failed | {oid for oid in oids if not cache.exists(oid)}):  # DVC skips what its source lacks
            raise self._lost(what, lost)

    def _lost(self, what: str, lost: list[str]) -> RemoteError:
        return RemoteError(
            f"The remote {self.address} cannot {what}: {len(lost)} failed, first {lost[0]}. The lines above say why. {LOST}"
        )

    def _at(self, key: str) -> str:
        return str(self._fs.join(self._root, *key.split("/")))

    def _check_bucket(self) -> None:
        """Raise if the S3 bucket is missing. Only lists the folder, as the credentials may not allow more."""
        if self._fs.protocol == "s3":
            bucket, _, folder = self._root.strip("/").partition("/")
            self._fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{folder}/" if folder else "", MaxKeys=1)


@contextmanager
def _explained(address: str, what: str) -> Iterator[None]:
    """Turn an error of the remote into a RemoteError that says what was tried, and what to do."""
    try:
        yield
    except ReposeError:
        raise
    except Exception as error:
        message = _explain(error, address, what)
        if message is None:
            raise
        raise RemoteError(message) from error


def _explain(error: Exception, address: str, what: str) -> str | None:
    """The message; None if the error does not come from a remote."""
    from botocore import exceptions as boto
    from dvc.exceptions import DvcException
    from dvc_objects.fs.errors import AuthError, ConfigError, RemoteMissingDepsError

    chain = list(_chain(error))
    first = error if isinstance(error, ImportError | DvcException) else chain[-1]  # DVC says what is missing
    reason = without_secrets(" ".join((str(first) or type(first).__name__).split()))[:_LONGEST].removesuffix(".")
    response: Any = next((e.response for e in chain if isinstance(e, boto.ClientError)), {})
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(e, kinds) for e in chain)

    if caused_by(
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound, boto.CredentialRetrievalError
    ):
        return (
            f"There are no credentials for the remote {address} (to {what}): {reason}. Give them as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or in a cluster as a Kubernetes secret (`secrets` in the environment)."
        )
    # the response to a HEAD is 400 without the actual code
    if status in (401, 403) or (status == 400 and code in ("ExpiredToken", "InvalidToken", "400")):
        return (
            f"The remote {address} refuses to {what} ({code}). Check the credentials (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the Kubernetes secret that they come from), when they expire "
            "and what they allow. If the code is RequestTimeTooSkewed, correct this machine's clock."
        )
    if status == 404 or (not response and isinstance(error, FileNotFoundError)):
        return f"There is no {address} (to {what}). Correct the remote's address, or create the bucket."
    lost = caused_by(boto.ConnectionError, boto.HTTPClientError, ConnectionError, TimeoutError)
    if lost or status >= 500 or any(type(e).__module__.startswith("aiohttp") for e in chain):
        return (
            f"The remote {address} does not answer (to {what}): {reason}. Is it up, and can this machine reach it and trust "
            "its certificate (AWS_CA_BUNDLE)? Nothing is lost: run the step again."
        )
    known = (
        boto.BotoCoreError, OSError, ImportError, NotImplementedError, DvcException, AuthError, ConfigError,
        RemoteMissingDepsError,
    )  # fmt: skip
    if response or caused_by(*known) or any(type(e).__module__.partition(".")[0] in _CLOUDS for e in chain):
        return f"The remote {address} cannot {what}: {reason}."
    return None


def _chain(error: BaseException | None) -> Iterator[Exception]:
    """An error and its causes, except canceled tasks."""
    while error is not None:
        if isinstance(error, Exception):
            yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
