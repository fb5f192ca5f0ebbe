"""Bring a file from a local path, s3:// or http(s):// to a local file; the size and the SHA-256 are checked.

A transfer that is cut off goes on where it stopped, in this run or the next: the bytes that came lie at a hidden
`.partial` beside the destination, and beside it the state of the remote file (ETag, date, size) that they belong to.
Bytes of two states are never mixed. What a message shows of an address holds no password and no signature.
"""

import errno
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from repose.errors import ReposeError
from repose.files import partial_path, whole_file
from repose.terminal import bar, say

ATTEMPTS = 5  # in a row without one new byte; then it is an error
CHUNK = 2**16  # bytes that are read at a time; a connection that breaks loses less than that
CONNECTIONS = 16  # to S3, for many small objects
TIMEOUT = (10, 60)  # seconds until a server has to accept, and until the next byte

_MIB = 2**20
T = TypeVar("T")
Sleep = Callable[[float], None]


class Object(NamedTuple):
    """An object under an S3 prefix: its key after the prefix, its size in bytes, its whole key, its ETag."""

    name: str
    size: int
    key: str
    etag: str


def fetch(
    address: str, destination: Path, *, sha256: str | None = None, size: int | None = None, endpoint: str | None = None,
    limit: int | None = None, sleep: Sleep = time.sleep,
) -> Path:  # fmt: skip
    """Bring the file at `address` to `destination` and return that path.

    Nothing is transferred when the file at `destination` has the wanted SHA-256, or (where none is wanted) when it came
    by `fetch` and its server says that it is still the current one. A file that is not what was wanted never gets
    there.

    Args:
        address: a local file, `s3://bucket/key` or `http(s)://...`.
        destination: where to; its folder is made. An earlier file there stays until the new one is whole and right.
        sha256: of the file, in hexadecimal; its first 8 or more digits will do.
        size: of the file, in bytes.
        endpoint: an S3 server other than Amazon's; the credentials are those of the usual AWS environment or profile.
        limit: the most bytes that the file may have.
        sleep: waits the given seconds between attempts.

    Raises:
        ReposeError: no such file, no access, an unlike size or digest, no more space, or no connection.
    """
    wanted = _Wanted(digest_form(sha256), size, limit)
    if sha256 and destination.is_file() and _is_wanted(destination, wanted):
        return destination
    if local := local_path(address):
        return _copy(local, destination, wanted)
    return _fetch(_remote(address, endpoint), destination, wanted, sleep)


def list_prefix(address: str, *, endpoint: str | None = None, sleep: Sleep = time.sleep) -> Iterator[Object]:
    """Every object under `s3://bucket/prefix/`, page by page, in the order of their keys."""
    bucket, prefix = _bucket_and_key(address)
    client = _s3_client(endpoint)
    token: dict[str, str] = {}
    while True:
        page = _persistently(partial(_list_page, client, bucket, prefix, token), lambda: 0, address, sleep)
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
    bucket, _ = _bucket_and_key(address)
    client = _s3_client(endpoint)
    paths = [folder / hashlib.sha256(repr(entry).encode()).hexdigest() for entry in objects]

    def bring(entry: Object, path: Path) -> None:
        if not path.exists():
            where = f"s3://{bucket}/{entry.key}"
            remote = _Remote(where, partial(_s3, client, bucket, entry.key, where))
            _fetch(remote, path, _Wanted("", entry.size, None), sleep, watched=False)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = [pool.submit(bring, *job) for job in zip(objects, paths, strict=True)]
        try:
            for job in bar(as_completed(jobs), f"{shown(address)}, objects", len(jobs)):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [(entry.name, path) for entry, path in zip(objects, paths, strict=True)]


def check(path: Path, *, sha256: str | None, size: int | None, where: str) -> str:
    """The SHA-256 of a file, in hexadecimal, once its size and digest (or the first digits of it) are as wanted.

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
    """A SHA-256, or the first 8 or more hexadecimal digits of one, in small letters; empty for None.

    Raises:
        ReposeError: it is neither.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ReposeError(
            f"A sha256 is 64 hexadecimal digits (or the first 8 or more of them), not {sha256!r}. "
            "`sha256sum FILE` prints it."
        )
    return (sha256 or "").lower()


def shown(address: str) -> str:
    """An address as messages and records show it: without user, password, query and fragment.

    An address whose host cannot be told from a password is not shown at all.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    if scheme == "s3":
        return f"s3://{rest.rpartition('@')[2]}" if "@" in rest.partition("/")[0] else address
    host_and_path = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = host_and_path.partition("/")
    host = host.rpartition("@")[2]
    if not re.fullmatch(r"([^:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d*)?", host):
        return f"{scheme}://..."
    return f"{scheme}://{host}{slash}{path}"


def local_path(address: str) -> Path | None:
    """The path that an address is, or None where it is s3:// or http(s)://.

    Raises:
        ReposeError: it has another scheme, or starts with the home folder of nobody.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        try:
            return Path(address).expanduser()
        except RuntimeError:
            raise ReposeError(f"{address}: there is no such home folder. Write the path in full.") from None
    if scheme not in ("s3", "http", "https"):
        raise ReposeError(
            f"{shown(address)}: cannot fetch from {scheme}://. Give a local path, s3://bucket/key, https://... or http://..."
        )
    return None


def is_prefix(address: str) -> bool:
    """Whether an address means every object under it: s3:// with a slash at its end (or a bucket alone)."""
    return address.startswith("s3://") and (address.endswith("/") or "/" not in address.removeprefix("s3://"))


def base_name(address: str) -> str:
    """The last part of an address's path, which is what the file is called."""
    if local := local_path(address):
        return local.name
    if address.startswith("s3://"):
        return address.rpartition("/")[2]
    return unquote(urlsplit(address).path.rpartition("/")[2])


# ---- what is wanted, and what has come ----


class _Wanted(NamedTuple):
    sha256: str  # its first digits, or empty
    size: int | None  # bytes
    limit: int | None  # bytes


class _Version(NamedTuple):
    """The state of a remote file, as its server tells it; empty or None where it does not."""

    etag: str
    modified: str
    size: int | None  # bytes

    @property
    def validator(self) -> str:
        """What tells this state from every other byte for byte (RFC 9110, 8.8.1), or nothing."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def is_same(self, other: "_Version") -> bool:
        sizes = {self.size, other.size} - {None}
        return self.validator != "" and self.validator == other.validator and len(sizes) <= 1


class _Reply(NamedTuple):
    version: _Version
    start: int  # where in the file the chunks begin: 0, or at what is there already
    chunks: Iterator[bytes]


class _Remote(NamedTuple):
    shown: str
    open: Callable[[int, _Version | None], AbstractContextManager[_Reply]]


class _Interrupted(Exception):  # noqa: N818
    """What may go better when it is tried again."""


def _fetch(remote: _Remote, destination: Path, wanted: _Wanted, sleep: Sleep, *, watched: bool = True) -> Path:
    came = partial_path(destination)
    with _disk_errors_named(destination, remote.shown):
        destination.parent.mkdir(parents=True, exist_ok=True)
        if not wanted.sha256 and wanted.size in (None, _size(destination)) and _is_current(remote, destination, sleep):
            return destination
        receive = partial(_receive, remote, came, wanted, watched=watched)
        _persistently(receive, lambda: _size(came), remote.shown, sleep)
        _check_or_refuse(came, wanted, remote.shown)
        _note(destination).unlink(missing_ok=True)
        came.replace(destination)
        if wanted.sha256:  # which tells all that the note could
            _note(came).unlink()
        else:
            _note(came).replace(_note(destination))
    return destination


def _is_current(remote: _Remote, destination: Path, sleep: Sleep) -> bool:
    """Whether the file at `destination` is what its server would send now; asks for the bytes after its end."""
    version, _ = _read_note(destination)
    size = _size(destination)
    if version is None or size == 0:
        return False

    def ask() -> bool:
        with remote.open(size, version) as reply:
            return reply.start == size

    return _persistently(ask, lambda: 0, remote.shown, sleep)


def _receive(remote: _Remote, came: Path, wanted: _Wanted, *, watched: bool) -> None:
    """Add to the file `came` what is missing, or start it over where its bytes are no longer the remote file's."""
    version, refused = _read_note(came)
    have = _size(came) if version is not None and refused != list(wanted) else 0
    with remote.open(have, version if have else None) as reply:
        if have and not reply.start:
            say(f"{remote.shown} has changed since the transfer was cut off, or cannot be resumed: starting over.")
        if None not in (wanted.size, reply.version.size) and wanted.size != reply.version.size:
            raise _wrong_size(remote.shown, wanted.size, reply.version.size)
        _refuse_size(reply.version.size or 0, wanted, remote.shown)
        if not reply.start:
            came.unlink(missing_ok=True)  # first, so that a crash never leaves old bytes under a new note
            _write_note(came, reply.version, None)
        with came.open("ab" if reply.start else "wb") as stream:
            steps: Iterable[None] = _stored(reply, stream, partial(_refuse_size, wanted=wanted, where=remote.shown))
            if watched:
                rest = None if reply.version.size is None else reply.version.size // _MIB - reply.start // _MIB
                steps = bar(steps, f"{remote.shown.rpartition('/')[2]}, MiB", rest)
            for _ in steps:
                pass
    if reply.version.size not in (None, _size(came)):
        raise _Interrupted(f"the connection closed after {_size(came):,} of {reply.version.size:,} bytes")


def _stored(reply: _Reply, stream: BinaryIO, refuse_size: Callable[[int], None]) -> Iterator[None]:
    """Write what arrives, and say so at each whole MiB of the file."""
    arrived = reply.start
    for chunk in reply.chunks:
        stream.write(chunk)
        before, arrived = arrived, arrived + len(chunk)
        refuse_size(arrived)
        yield from repeat(None, arrived // _MIB - before // _MIB)


def _persistently(action: Callable[[], T], arrived: Callable[[], int], where: str, sleep: Sleep) -> T:
    """Do it, and again when it is interrupted, longer apart each time, until ATTEMPTS in a row brought nothing new."""
    failures, furthest = 0, arrived()
    while True:
        try:
            return action()
        except _Interrupted as error:
            failures = failures + 1 if arrived() <= furthest else 1
            furthest = max(furthest, arrived())
            if failures == ATTEMPTS:
                raise ReposeError(
                    f"{shown(where)}: {error}; gave up after {ATTEMPTS} attempts. Check the address and the "
                    "connection and run the same command again: what has come is kept and the transfer goes on."
                ) from None
            say(f"{shown(where)}: {error}; trying again.")
            sleep(2.0 ** (failures - 1))


def _check_or_refuse(came: Path, wanted: _Wanted, where: str) -> None:
    """Check what has come. If it is refused, the next run starts over, unless something else is wanted by then."""
    try:
        if wanted.size not in (None, _size(came)):
            raise _wrong_size(where, wanted.size, _size(came))
        if wanted.sha256:
            check(came, sha256=wanted.sha256, size=None, where=where)
    except ReposeError:
        _write_note(came, _read_note(came)[0], wanted)
        raise


def _refuse_size(size: int, wanted: _Wanted, where: str) -> None:
    if wanted.limit is not None and size > wanted.limit:
        raise ReposeError(
            f"{where} is larger than the limit of {wanted.limit:,} bytes. Check the address, or raise the limit."
        )


def _wrong_size(where: str, wanted: int | None, found: int | None) -> ReposeError:
    return ReposeError(
        f"{where} is not the file that was asked for: it should have {wanted:,} bytes, it has {found:,}. Correct the "
        "size that was given, or the address, or get the file again."
    )


def _copy(source: Path, destination: Path, wanted: _Wanted) -> Path:
    if not source.is_file():
        raise ReposeError(f"There is no file {source}. Check the path; a relative one starts at {Path.cwd()}.")
    _refuse_size(source.stat().st_size, wanted, str(source))
    with whole_file(destination) as whole:
        shutil.copyfile(source, whole)
        check(whole, sha256=wanted.sha256 or None, size=wanted.size, where=str(source))
    return destination


def _is_wanted(path: Path, wanted: _Wanted) -> bool:
    return wanted.size in (None, _size(path)) and _sha256(path).startswith(wanted.sha256)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name.lstrip('.')}.json")


def _write_note(path: Path, version: _Version | None, refused: _Wanted | None) -> None:
    _note(path).write_text(json.dumps({"version": version, "refused": refused}))


def _read_note(path: Path) -> tuple[_Version | None, list[Any] | None]:
    """The state that the bytes at `path` belong to, and what they were refused for; (None, None) if nobody knows."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # a note that is cut short is none
        note = json.loads(_note(path).read_text())
        return _Version(*note["version"]), note["refused"]
    return None, None


@contextmanager
def _disk_errors_named(destination: Path, where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ReposeError(
                f"No space left on the disk while transferring {where} to {destination}. Free some and run the same "
                "command again: what has come is kept and the transfer goes on."
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ReposeError(
                f"Cannot write {destination}: {error.strerror} ({error.filename}). Change the permissions or the path."
            ) from None
        raise


# ---- http:// and https:// ----


def _remote(address: str, endpoint: str | None) -> _Remote:
    if address.startswith("s3://"):
        bucket, key = _bucket_and_key(address)
        return _Remote(shown(address), partial(_s3, _s3_client(endpoint), bucket, key, shown(address)))
    return _Remote(shown(address), partial(_http, address))


@contextmanager
def _http(address: str, have: int, version: _Version | None) -> Iterator[_Reply]:
    """The bytes after the first `have`, if the file is still in this state; else all of them (RFC 9110, section 14)."""
    import requests

    resumed = have > 0 and version is not None and version.validator != ""
    headers = {"Accept-Encoding": "identity"}
    if resumed and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.validator}
    try:
        response = requests.get(address, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise _http_failure(error, shown(address)) from None
    with response:
        _refuse_status(response, (200, 206, 416) if resumed else (200,), address)
        found = _http_version(response, version)
        same = resumed and version is not None and found.is_same(version)
        if same and found.size == have:  # 416, or a server that knows no ranges: all of it is here
            yield _Reply(found, have, iter(()))
            return
        if same and response.status_code == 206 and _range_start(response) == have:
            yield _Reply(found, have, _http_chunks(response))
            return
        if response.status_code == 200:
            _refuse_page(response, address)
            yield _Reply(found, 0, _http_chunks(response))
            return
    with _http(address, 0, None) as reply:  # bytes of another state, or not those that were asked for
        yield reply


def _http_chunks(response: Any) -> Iterator[bytes]:
    import requests

    try:
        yield from response.iter_content(CHUNK)
    except requests.RequestException:
        raise _Interrupted("the connection broke") from None


def _http_version(response: Any, asked: _Version | None) -> _Version:
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":  # unpacked on the way: not the file's own bytes
        return _Version("", "", None)
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    if response.status_code == 200:
        size = headers.get("Content-Length")
    else:
        size = headers.get("Content-Range", "").rpartition("/")[2]
    if response.status_code == 416 and asked is not None:  # such an answer need not repeat what was named in If-Range
        etag, modified = etag or asked.etag, modified or asked.modified
    return _Version(etag, modified, int(size) if size and size.isdigit() else None)


def _range_start(response: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _refuse_status(response: Any, allowed: tuple[int, ...], address: str) -> None:
    status, where = response.status_code, shown(address)
    if status in allowed:
        return
    if status >= 500 or status == 429:
        raise _Interrupted(f"the server answers {status}")
    if status in (401, 403):
        raise ReposeError(
            f"{where} may not be read (HTTP {status}): a signed link has expired, or the server wants a login. Get a "
            "new link from the data's owner, or fetch the file with a browser and give its path."
        )
    if status in (404, 410):
        raise ReposeError(f"There is no {where} (HTTP {status}). Check the address.")
    raise ReposeError(f"{where} cannot be fetched: the server answers {status}. Check the address.")


def _refuse_page(response: Any, address: str) -> None:
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not base_name(address).endswith((".html", ".htm")):
        raise ReposeError(
            f"{shown(address)} is a web page, not a file: the link has expired, or leads to a login or a question. "
            "Fetch the file with a browser and give its path, or get a direct link."
        )


def _http_failure(error: Exception, where: str) -> Exception:
    """What to raise for an error of requests; their texts hold whole addresses, so none of them is passed on."""
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return ReposeError(
            f"{where}: the server's certificate is not trusted. Check the address and this machine's clock."
        )
    if isinstance(error, requests.TooManyRedirects):
        return ReposeError(f"{where} leads round in circles. Get a direct link.")
    if not isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return ReposeError(f"{where} is not an address that can be fetched. Check how it is written.")
    if "NameResolutionError" in repr(error):
        return _Interrupted("there is no such host, or no network")
    if isinstance(error, requests.Timeout):
        return _Interrupted("the server does not answer")
    return _Interrupted("cannot connect")


# ---- s3:// ----

_NO_S3 = "what answers at the endpoint is no S3 server"


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or "@" in bucket:
        raise ReposeError(
            f"{shown(address)} is not an address in S3: write s3://bucket/key, with the credentials in the usual AWS "
            "environment variables or profile."
        )
    return bucket, key


def _s3_client(endpoint: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ReposeError("s3:// needs boto3: pip install 'repose[pipeline]'.") from None
    # We try again ourselves, and go on where it stopped. Checksums of whole objects say nothing about a part of one,
    # and servers other than Amazon's differ in them; sizes, SHA-256 and the zip's own checksums are looked at instead.
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT[0], read_timeout=TIMEOUT[1],
        max_pool_connections=CONNECTIONS, response_checksum_validation="when_required",
    )  # fmt: skip
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
    except ValueError:
        raise ReposeError(f"The S3 endpoint {shown(endpoint or '')!r} should read like http://host:port.") from None
    except BotoCoreError as error:
        raise _s3_failure(error, f"the S3 endpoint {shown(endpoint or 'of Amazon')}") from None


@contextmanager
def _s3(client: Any, bucket: str, key: str, where: str, have: int, version: _Version | None) -> Iterator[_Reply]:
    from botocore.exceptions import BotoCoreError, ClientError

    resumed = have > 0 and version is not None and version.etag != ""
    only = {"Range": f"bytes={have}-", "IfMatch": version.etag} if resumed and version else {}
    try:
        answer = client.get_object(Bucket=bucket, Key=key, **only)
    except (BotoCoreError, ClientError) as error:
        if not resumed or _status(error) not in (412, 416):
            raise _s3_failure(error, where) from None
        if _status(error) == 416 and version and version.size == have:
            yield _Reply(version, have, iter(()))  # the ETag is still right and nothing comes after the end
            return
    else:
        with closing(answer["Body"]) as body:
            if not {"ETag", "LastModified"} <= set(answer):
                raise ReposeError(f"{where}: {_NO_S3}. Check the endpoint: the port of S3, not that of a web console.")
            start = have if resumed else 0
            found = _Version(answer["ETag"], answer["LastModified"].isoformat(), start + answer["ContentLength"])
            if not resumed or (version and found.is_same(version)):
                yield _Reply(found, start, _s3_chunks(body))
                return
    with _s3(client, bucket, key, where, 0, None) as reply:  # another state
        yield reply


def _s3_chunks(body: Any) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError

    try:
        yield from body.iter_chunks(CHUNK)
    except BotoCoreError:
        raise _Interrupted("the connection broke") from None


def _list_page(client: Any, bucket: str, prefix: str, token: dict[str, str]) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        page: dict[str, Any] = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **token)
    except (BotoCoreError, ClientError) as error:
        raise _s3_failure(error, f"s3://{bucket}/{prefix}") from None
    return page


def _status(error: Any) -> int:
    """The HTTP status of an answer, or 0 where there was none."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: Any) -> dict[str, Any]:
    """What the server answered; timeouts have a `response` as well, which is None."""
    return getattr(error, "response", None) or {}


_WRONG_CREDENTIALS = (
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed",
)  # fmt: skip


def _s3_failure(error: Any, where: str) -> Exception:
    """What to raise for an error of boto3."""
    from botocore import exceptions

    code, status = _answer(error).get("Error", {}).get("Code", ""), _status(error)
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
        # a list that is cut short, or a web page in its place, comes as a 500 without a code of S3
        return _Interrupted(f"the server answers {status} {code if code not in ('', str(status)) else f'or {_NO_S3}'}")
    if isinstance(error, exceptions.SSLError):
        return ReposeError(f"{where}: the server's certificate is not trusted. Check the endpoint and AWS_CA_BUNDLE.")
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        return _Interrupted("cannot connect to the S3 server, or the connection broke")
    if code == "NoSuchBucket":
        return ReposeError(f"{where}: there is no such bucket. Check its name and the endpoint.")
    if status == 404:
        return ReposeError(f"There is no {where}. Check the key; end it with a slash to mean all that is under it.")
    if code in _WRONG_CREDENTIALS:
        return ReposeError(f"{where}: the credentials are wrong or have expired ({code}). Renew the AWS ones in use.")
    if status in (401, 403):
        return ReposeError(
            f"{where} may not be read with these credentials ({code or status}), or is not there. Check the address, "
            "or ask the bucket's owner for the rights to read and to list it."
        )
    if isinstance(error, exceptions.ParamValidationError):
        return ReposeError(f"{where} is not an address in S3: the bucket's or the key's name is not a valid one.")
    if not code:  # all else that boto3 raises by itself is about finding credentials
        return ReposeError(
            f"{where}: no credentials ({type(error).__name__}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE; for a public file use its https:// address."
        )
    return ReposeError(f"{where} cannot be fetched: the S3 server answers {status} {code}. Check address and endpoint.")
