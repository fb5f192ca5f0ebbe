"""Fetch a file from a local path, s3:// or http(s):// into a local file, and check its size and SHA-256.

An interrupted transfer resumes where it stopped, in this run or the next. Until it is complete, the bytes are in a hidden
`.partial` beside the destination, with a note of the remote file's state (ETag and size), so that bytes of two versions are
never mixed. Neither boto3's managed transfers nor requests can resume in another process.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep
from typing import NamedTuple, TypeVar

from repose.errors import ReposeError
from repose.storage.atomic import disk_errors_named, partial_path, whole_file
from repose.storage.transfer import s3
from repose.storage.transfer.addresses import bucket_and_key, local_path, shown
from repose.storage.transfer.digests import check, check_size, digest_form
from repose.storage.transfer.replies import CHUNK, Changed, Interrupted, Open, Reply, State
from repose.storage.transfer.web import open_http
from repose.terminal import bar, say

ATTEMPTS = 5  # consecutive attempts without a new byte before the transfer fails

T = TypeVar("T")


class Object(NamedTuple):
    """An object under an S3 prefix."""

    name: str  # the key after the prefix
    size: int  # bytes
    key: str
    etag: str


@dataclass(frozen=True)
class _Transfer:
    """A transfer from a server."""

    where: str  # the file's name in messages
    open: Open
    destination: Path
    sha256: str | None = None
    size: int | None = None  # bytes
    limit: int | None = None  # bytes
    watched: bool = True  # whether to show a progress bar

    @property
    def partial(self) -> Path:
        return partial_path(self.destination)


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
        sha256: the expected SHA-256 in hexadecimal; the first 8 or more digits are enough.
        size: the expected size in bytes.
        endpoint: an S3 server other than Amazon's; the credentials come from the usual AWS environment or profile.
        limit: maximum size in bytes.

    Raises:
        ReposeError: the file is missing, inaccessible, or has another size or digest; the disk is full; or there is no
            connection.
    """
    if digest_form(sha256) and destination.is_file():
        with suppress(ReposeError):
            check(destination, sha256=sha256, size=size, where="")
            return destination
    if local := local_path(address):
        return _copy(local, destination, sha256, size)
    if address.startswith("s3://"):
        opener: Open = partial(s3.open_object, s3.client(endpoint), *bucket_and_key(address))
    else:
        opener = partial(open_http, address)
    return _fetch(_Transfer(shown(address), opener, destination, sha256, size, limit))


def list_prefix(address: str, *, endpoint: str | None = None) -> Iterator[Object]:
    """Yield every object under `s3://bucket/prefix/`, in the order of the keys."""
    bucket, prefix = bucket_and_key(address)
    client, token = s3.client(endpoint), dict[str, str]()
    while True:
        page = _retry(partial(s3.list_page, client, bucket, prefix, token), shown(address))
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith("/"):  # written by consoles for an empty folder
                yield Object(entry["Key"].removeprefix(prefix), entry["Size"], entry["Key"], entry["ETag"])
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def fetch_objects(
    address: str, objects: Sequence[Object], folder: Path, *, endpoint: str | None = None
) -> list[tuple[str, Path]]:
    """Fetch the objects from `list_prefix` into files in `folder`; return (name, path) of each, in order.

    A file's name is a hash of key, ETag and size, so an existing file is current, and no key leads out of the folder.
    """
    bucket, _ = bucket_and_key(address)
    client = s3.client(endpoint)
    paths = [folder / hashlib.sha256(repr(entry).encode()).hexdigest() for entry in objects]

    def bring(entry: Object, path: Path) -> None:
        if not path.exists():
            opener = partial(s3.open_object, client, bucket, entry.key)
            _fetch(_Transfer(f"s3://{bucket}/{entry.key}", opener, path, size=entry.size, watched=False))

    with ThreadPoolExecutor(s3.CONNECTIONS) as pool:  # `map` cancels pending calls when one fails
        for _ in bar(pool.map(bring, objects, paths), f"{shown(address)}, objects", len(objects)):
            pass
    return [(entry.name, path) for entry, path in zip(objects, paths, strict=True)]


def _copy(source: Path, destination: Path, sha256: str | None, size: int | None) -> Path:
    if not source.is_file():
        raise ReposeError(f"There is no file {source}. Check the path; a relative one starts at {Path.cwd()}.")
    with whole_file(destination) as whole:
        shutil.copyfile(source, whole)
        check(whole, sha256=sha256, size=size, where=str(source))
    return destination


def _fetch(transfer: _Transfer) -> Path:
    came, destination = transfer.partial, transfer.destination
    with disk_errors_named(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        if not transfer.sha256 and _note(destination).exists():  # fetched earlier: ask the server whether it is current
            destination.replace(came)
            _note(destination).replace(_note(came))
        _retry(partial(_receive, transfer), transfer.where, lambda: _size(came))
        try:
            check_size(_size(came), transfer.size, transfer.where)
            if transfer.sha256:
                check(came, sha256=transfer.sha256, size=None, where=transfer.where)
        except ReposeError:
            came.unlink()
            raise
        came.replace(destination)
        if transfer.sha256:
            _note(came).unlink()
        else:
            _note(came).replace(_note(destination))
    return destination


def _receive(transfer: _Transfer) -> None:
    """Append the missing bytes to the partial file, or start over if the remote file has changed."""
    state = _read_note(transfer.partial)
    try:
        with transfer.open(_size(transfer.partial) if state.validator else 0, state) as reply:
            _append(transfer, reply)
    except Changed:
        with transfer.open(0, State()) as reply:
            _append(transfer, reply)


def _append(transfer: _Transfer, reply: Reply) -> None:
    came, size = transfer.partial, reply.state.size
    if size is not None:
        check_size(size, transfer.size, transfer.where)
        _check_limit(size, transfer)
    if not reply.start:
        if _size(came):
            say(f"{transfer.where} has changed since the transfer stopped, or cannot be resumed: starting over.")
        came.unlink(missing_ok=True)  # first, so that a crash never leaves old bytes under a new note
        _note(came).write_text(json.dumps(reply.state))
    with came.open("ab" if reply.start else "wb") as stream:
        total = None if size is None else (size - reply.start) // CHUNK
        label = f"{transfer.where.rpartition('/')[2]}, MiB"
        for chunk in bar(reply.chunks, label, total) if transfer.watched else reply.chunks:
            stream.write(chunk)
            _check_limit(stream.tell(), transfer)
    if size not in (None, _size(came)):
        raise Interrupted(f"the connection closed after {_size(came):,} of {size:,} bytes")


def _retry(action: Callable[[], T], where: str, arrived: Callable[[], int] = lambda: 0) -> T:
    """Repeat an interrupted action, with growing waits, until ATTEMPTS in a row brought no new byte."""
    failures, furthest = 0, arrived()
    while True:
        try:
            return action()
        except Interrupted as error:
            failures = failures + 1 if arrived() <= furthest else 1
            furthest = max(furthest, arrived())
            if failures == ATTEMPTS:
                raise ReposeError(
                    f"{where}: {error}; gave up after {ATTEMPTS} attempts. Check the address and the connection and run "
                    "the same command again: the transfer will resume."
                ) from None
            say(f"{where}: {error}; trying again.")
            sleep(2.0 ** (failures - 1))


def _check_limit(size: int, transfer: _Transfer) -> None:
    if transfer.limit is not None and size > transfer.limit:
        raise ReposeError(
            f"{transfer.where} is larger than the limit of {transfer.limit:,} bytes. Check the address, or raise the limit."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name.lstrip('.')}.json")


def _read_note(path: Path) -> State:
    """The remote file's state when the bytes at `path` were fetched; unknown if the note is missing or truncated."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        return State(*json.loads(_note(path).read_text()))
    return State()
