"""Bring a file from a local path, s3:// or http(s):// to a local file; the size and the SHA-256 are checked.

A transfer that is interrupted resumes where it stopped, in this run or the next. Until it is complete, the bytes lie in a
hidden `.partial` beside the destination, and beside that a note of the state of the remote file that they belong to.
Bytes of two states are never mixed. No message shows a password or a signature of an address.

Neither boto3's managed transfers nor requests resume in another process, so the loop that does is here; `remote` and
`s3` request the bytes.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from repose.errors import ReposeError
from repose.storage.atomic import disk_errors_named, partial_path, whole_file
from repose.storage.transfer import s3
from repose.storage.transfer.addresses import bucket_and_key, local_path, shown
from repose.storage.transfer.remote import CHUNK, Changed, Interrupted, Open, Reply, State, open_http
from repose.terminal import bar, say

ATTEMPTS = 5  # in a row without one new byte; then it is an error

T = TypeVar("T")
Sleep = Callable[[float], None]


class Object(NamedTuple):
    """An object under an S3 prefix."""

    name: str  # its key after the prefix
    size: int  # bytes
    key: str
    etag: str


class _Wanted(NamedTuple):
    sha256: str  # its first digits, or empty
    size: int | None  # bytes
    limit: int | None  # bytes


class _Remote(NamedTuple):
    shown: str
    open: Open


def fetch(
    address: str, destination: Path, *, sha256: str | None = None, size: int | None = None, endpoint: str | None = None,
    limit: int | None = None, sleep: Sleep = time.sleep,
) -> Path:  # fmt: skip
    """Bring the file at `address` to `destination` and return that path.

    Nothing is transferred if the file at `destination` has the wanted SHA-256 or, without one, if an earlier `fetch`
    brought it and its server says that it is current. A file that is not what was wanted never gets there.

    Args:
        address: a local file, `s3://bucket/key` or `http(s)://...`.
        destination: where to; its folder is made. An earlier file there stays until the new one is complete and checked.
        sha256: of the file, in hexadecimal; the first 8 or more digits are enough.
        size: of the file, in bytes.
        endpoint: an S3 server other than Amazon's; the credentials are those of the usual AWS environment or profile.
        limit: the most bytes that the file may have.
        sleep: waits the given seconds between attempts.

    Raises:
        ReposeError: no such file, no access, another size or digest, no more space, or no connection.
    """
    wanted = _Wanted(digest_form(sha256), size, limit)
    if sha256 and destination.is_file() and _is_wanted(destination, wanted):
        return destination
    if local := local_path(address):
        return _copy(local, destination, wanted)
    if address.startswith("s3://"):
        opener: Open = partial(s3.open_object, s3.client(endpoint), *bucket_and_key(address))
    else:
        opener = partial(open_http, address)
    return _fetch(_Remote(shown(address), opener), destination, wanted, sleep)


def list_prefix(address: str, *, endpoint: str | None = None, sleep: Sleep = time.sleep) -> Iterator[Object]:
    """Every object under `s3://bucket/prefix/`, page by page, in the order of their keys."""
    bucket, prefix = bucket_and_key(address)
    client, token = s3.client(endpoint), dict[str, str]()
    while True:
        page = _persistently(partial(s3.list_page, client, bucket, prefix, token), lambda: 0, address, sleep)
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith("/"):  # what consoles write for an empty folder
                yield Object(entry["Key"].removeprefix(prefix), entry["Size"], entry["Key"], entry["ETag"])
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def fetch_objects(
    address: str, objects: Sequence[Object], folder: Path, *, endpoint: str | None = None, sleep: Sleep = time.sleep
) -> list[tuple[str, Path]]:
    """Bring the objects that `list_prefix` found to files in `folder`; returns (name, path) of each, in their order.

    The files are named after key, ETag and size, not after what the bucket's owner wrote: a file that is there is the
    current one, and no key leads out of the folder.
    """
    bucket, _ = bucket_and_key(address)
    client = s3.client(endpoint)
    paths = [folder / hashlib.sha256(repr(entry).encode()).hexdigest() for entry in objects]

    def bring(entry: Object, path: Path) -> None:
        if not path.exists():
            remote = _Remote(f"s3://{bucket}/{entry.key}", partial(s3.open_object, client, bucket, entry.key))
            _fetch(remote, path, _Wanted("", entry.size, None), sleep, watched=False)

    with ThreadPoolExecutor(s3.CONNECTIONS) as pool:  # `map` cancels what has not begun when one fails
        for _ in bar(pool.map(bring, objects, paths), f"{shown(address)}, objects", len(objects)):
            pass
    return [(entry.name, path) for entry, path in zip(objects, paths, strict=True)]


def check(path: Path, *, sha256: str | None, size: int | None, where: str) -> str:
    """The SHA-256 of a file, in hexadecimal, if its size and digest (or the first digits of it) are as wanted.

    Raises:
        ReposeError: one of them is not; `where` names the file in the message.
    """
    found = path.stat().st_size
    if size is not None and found != size:
        raise _wrong_size(where, size, found)
    digest = _sha256(path)
    if not digest.startswith(digest_form(sha256)):
        raise ReposeError(
            f"{where} is not the file that was asked for: its SHA-256 should be {sha256}, it is {digest}. Compare with "
            "its owner's; correct the sha256 that was given, or the address, or get the file again."
        )
    return digest


def digest_form(sha256: str | None) -> str:
    """A SHA-256, or the first 8 or more hexadecimal digits of one, in lower case; empty for None.

    Raises:
        ReposeError: it is neither.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ReposeError(
            f"A sha256 is 64 hexadecimal digits (or the first 8 or more of them), not {sha256!r}. "
            "`sha256sum FILE` prints it."
        )
    return (sha256 or "").lower()


def _copy(source: Path, destination: Path, wanted: _Wanted) -> Path:
    if not source.is_file():
        raise ReposeError(f"There is no file {source}. Check the path; a relative one starts at {Path.cwd()}.")
    _check_limit(source.stat().st_size, wanted, str(source))
    with whole_file(destination) as whole:
        shutil.copyfile(source, whole)
        check(whole, sha256=wanted.sha256 or None, size=wanted.size, where=str(source))
    return destination


def _fetch(remote: _Remote, destination: Path, wanted: _Wanted, sleep: Sleep, *, watched: bool = True) -> Path:
    came = partial_path(destination)
    with disk_errors_named(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        if not wanted.sha256 and wanted.size in (None, _size(destination)) and _is_current(remote, destination, sleep):
            return destination
        if came.exists() and _read_note(came).size == _size(came) and not _is_wanted(came, wanted):
            came.unlink()  # complete, and refused by an earlier run
        receive = partial(_receive, remote, came, wanted, watched=watched)
        _persistently(receive, lambda: _size(came), remote.shown, sleep)
        try:
            if wanted.size not in (None, _size(came)):
                raise _wrong_size(remote.shown, wanted.size, _size(came))
            if wanted.sha256:
                check(came, sha256=wanted.sha256, size=None, where=remote.shown)
        except ReposeError:  # kept in case that the digest was mistyped
            _write_note(came, _read_note(came)._replace(size=_size(came)))
            raise
        _note(destination).unlink(missing_ok=True)
        came.replace(destination)
        if wanted.sha256:  # says all that the note could
            _note(came).unlink()
        else:
            _note(came).replace(_note(destination))
    return destination


def _is_current(remote: _Remote, destination: Path, sleep: Sleep) -> bool:
    """Whether the file at `destination` is what its server would send now; asks for the bytes after its end."""
    state, size = _read_note(destination), _size(destination)
    if not state.validator or not size:
        return False

    def ask() -> bool:
        try:
            with remote.open(size, state) as reply:
                return reply.start == size
        except Changed:
            return False

    return _persistently(ask, lambda: 0, remote.shown, sleep)


def _receive(remote: _Remote, came: Path, wanted: _Wanted, *, watched: bool) -> None:
    """Append what is missing to the file `came`, or start it over where its bytes are no longer the remote file's."""
    state = _read_note(came)
    try:
        with remote.open(_size(came) if state.validator else 0, state) as reply:
            _append(remote.shown, reply, came, wanted, watched=watched)
    except Changed:
        with remote.open(0, State()) as reply:
            _append(remote.shown, reply, came, wanted, watched=watched)


def _append(where: str, reply: Reply, came: Path, wanted: _Wanted, *, watched: bool) -> None:
    size = reply.state.size
    if size is not None and wanted.size not in (None, size):
        raise _wrong_size(where, wanted.size, size)
    _check_limit(size or 0, wanted, where)
    if not reply.start:
        if _size(came):
            say(f"{where} has changed since the transfer stopped, or cannot be resumed: starting over.")
        came.unlink(missing_ok=True)  # first, so that a crash never leaves old bytes under a new note
        _write_note(came, reply.state)
    with came.open("ab" if reply.start else "wb") as stream:
        total = None if size is None else (size - reply.start) // CHUNK
        label = f"{where.rpartition('/')[2]}, MiB"
        for chunk in bar(reply.chunks, label, total) if watched else reply.chunks:
            stream.write(chunk)
            _check_limit(stream.tell(), wanted, where)
    if size not in (None, _size(came)):
        raise Interrupted(f"the connection closed after {_size(came):,} of {size:,} bytes")


def _persistently(action: Callable[[], T], arrived: Callable[[], int], where: str, sleep: Sleep) -> T:
    """Try again when interrupted, with longer waits, until ATTEMPTS in a row brought nothing new."""
    failures, furthest = 0, arrived()
    while True:
        try:
            return action()
        except Interrupted as error:
            failures = failures + 1 if arrived() <= furthest else 1
            furthest = max(furthest, arrived())
            if failures == ATTEMPTS:
                raise ReposeError(
                    f"{shown(where)}: {error}; gave up after {ATTEMPTS} attempts. Check the address and the "
                    "connection and run the same command again: what has come is kept and the transfer goes on."
                ) from None
            say(f"{shown(where)}: {error}; trying again.")
            sleep(2.0 ** (failures - 1))


def _check_limit(size: int, wanted: _Wanted, where: str) -> None:
    if wanted.limit is not None and size > wanted.limit:
        raise ReposeError(
            f"{where} is larger than the limit of {wanted.limit:,} bytes. Check the address, or raise the limit."
        )


def _wrong_size(where: str, wanted: int | None, found: int) -> ReposeError:
    return ReposeError(
        f"{where} is not the file that was asked for: it should have {wanted:,} bytes, it has {found:,}. Correct the "
        "size that was given, or the address, or get the file again."
    )


def _is_wanted(path: Path, wanted: _Wanted) -> bool:
    same_size = wanted.size in (None, _size(path))
    return same_size and (not wanted.sha256 or _sha256(path).startswith(wanted.sha256))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name.lstrip('.')}.json")


def _write_note(path: Path, state: State) -> None:
    _note(path).write_text(json.dumps(state))


def _read_note(path: Path) -> State:
    """The state that the bytes at `path` belong to; an unknown one if there is no note, or it is cut short."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        return State(*json.loads(_note(path).read_text()))
    return State()
