"""Fetch objects from S3 by boto3: one, or all under a prefix."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import ReposeError, shown
from repose.storage.atomic import disk_errors_named, partial_path
from repose.storage.transfer.addresses import bucket_and_key
from repose.storage.transfer.digests import md5_of
from repose.storage.transfer.partial import TIMEOUT, Interrupted, Partial, State, retry
from repose.storage.transfer.stream import chunks, promptly
from repose.terminal import bar

CONNECTIONS = 16  # for many small objects
_NO_S3 = "the endpoint is not an S3 server"
_EMPTY_PAGES = 100  # maximum number of consecutive pages of a list without an entry


class Object(NamedTuple):
    """An object under an S3 prefix."""

    name: str  # the key after the prefix
    size: int  # bytes
    key: str
    etag: str


def client(endpoint: str | None) -> Any:
    """A boto3 client without retries (see `retry`); `endpoint` is http(s)://host:port of a server other than Amazon's.

    Raises:
        ReposeError: boto3 is missing, or the endpoint or the profile is not valid.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ReposeError("s3:// needs boto3: pip install boto3.") from None
    # Checksums of whole objects say nothing about a part of one, and servers other than Amazon's differ in them.
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT[0], read_timeout=TIMEOUT[1],
        max_pool_connections=CONNECTIONS, response_checksum_validation="when_required",
    )  # fmt: skip
    with _errors_named(f"the S3 endpoint {shown(endpoint or 'of Amazon')}"):
        try:
            return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
        except ValueError:
            raise ReposeError(f"The S3 endpoint {shown(endpoint or '')!r} should read like http://host:port.") from None


def receive_object(address: str, came: Partial, endpoint: str | None) -> None:
    """Fetch the missing bytes of an object, or start over if it is in another state. Raises as `web.receive_http`."""
    _receive(client(endpoint), *bucket_and_key(address), came, came.state())


def _receive(s3: Any, bucket: str, key: str, came: Partial, state: State) -> None:
    """Fetch the missing bytes of an object that is in the given state (unknown: any)."""
    from botocore.exceptions import ClientError

    have = came.size if state.validator and came.state() == state else 0
    only = {"IfMatch": state.validator} if state.validator else {}
    if have:
        only["Range"] = f"bytes={have}-"
    with _errors_named(came.where):
        try:
            found = _ask(came.where, partial(s3.get_object, Bucket=bucket, Key=key, **only))
        except ClientError as error:
            status, _ = _answer(error)
            if status not in (412, 416):
                raise
            if status == 416 and have == state.size:  # the ETag matches, and no bytes are missing
                return
            came.forget()
            raise Interrupted("the object has changed") from None
        with closing(found["Body"]) as body:
            if not {"ETag", "LastModified", "ContentLength"} <= set(found):
                raise _no_s3(came.where)
            found_state = State(found["ETag"], have + found["ContentLength"])
            if not have:
                came.start_over(found_state)
            elif found_state != state:  # from a server that ignores IfMatch or Range
                came.forget()
                raise Interrupted("the object has changed")
            came.append(chunks(body._raw_stream, came.where), found_state.size)
        if not _has_md5_of(found, came.path):
            came.forget()
            raise Interrupted("other bytes came than those of the ETag")


def _has_md5_of(found: dict[str, Any], path: Path) -> bool:
    """Whether a file has the MD5 in the ETag, if there is one: not of uploads in parts, nor with a key of one's own."""
    md5 = re.fullmatch('"([0-9a-f]{32})"', found["ETag"])
    if md5 is None or found.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in found:
        return True
    return md5_of(path) == md5[1]


def list_prefix(address: str, *, endpoint: str | None = None) -> Iterator[Object]:
    """Yield every object under `s3://bucket/prefix/`, in the order of the keys.

    Raises:
        ReposeError: the list cannot be read, or is not one of this prefix.
    """
    (bucket, prefix), where = bucket_and_key(address), shown(address)
    s3, token = client(endpoint), dict[str, str]()

    def page() -> dict[str, Any]:
        with _errors_named(where):
            return _ask(where, partial(s3.list_objects_v2, Bucket=bucket, Prefix=prefix, **token))

    empty = 0  # pages in a row without an entry
    while True:
        listed = retry(page, where)
        entries = listed.get("Contents", [])
        empty = 0 if entries else empty + 1
        for entry in entries:
            if not ({"Key", "Size", "ETag"} <= set(entry) and entry["Key"].startswith(prefix) and entry["Size"] >= 0):
                raise _no_s3(where)
            if not entry["Key"].endswith("/"):  # written by consoles for an empty folder
                yield Object(entry["Key"].removeprefix(prefix), entry["Size"], entry["Key"], entry["ETag"])
        if not listed.get("IsTruncated"):
            return
        following = {"ContinuationToken": listed.get("NextContinuationToken", "")}
        if empty == _EMPTY_PAGES or following in (token, {"ContinuationToken": ""}):
            raise _no_s3(where)  # the list would never end
        token = following


def fetch_objects(
    address: str, objects: Sequence[Object], folder: Path, *, endpoint: str | None = None
) -> list[tuple[str, Path]]:
    """Fetch the objects from `list_prefix` into files in `folder`; return (name, path) of each, in order.

    A file's name is a hash of key, ETag and size, so an existing file is current, and no key leads out of the folder.
    """
    (bucket, _), s3 = bucket_and_key(address), client(endpoint)
    paths = [folder / hashlib.sha256(repr(entry).encode()).hexdigest() for entry in objects]

    def bring(path: Path, entry: Object) -> None:
        came = Partial(partial_path(path), shown(f"s3://{bucket}/{entry.key}"), entry.size, watched=False)
        if not path.exists():
            came.complete(lambda: _receive(s3, bucket, entry.key, came, State(entry.etag, entry.size)))
            came.path.replace(path)
            came.note.unlink()

    files = dict(zip(paths, objects, strict=True))  # without repetitions
    folder.mkdir(parents=True, exist_ok=True)
    # `map` cancels pending calls when one fails
    with disk_errors_named(folder), ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in bar(pool.map(bring, files, files.values()), f"{shown(address)}, objects", len(files)):
            pass
    return [(entry.name, path) for entry, path in zip(objects, paths, strict=True)]


def _ask(where: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer to a request; an error if boto3 cannot parse it."""
    try:
        return promptly(call)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise _no_s3(where) from None


def _no_s3(where: str) -> ReposeError:
    return ReposeError(f"{where}: {_NO_S3}. Check the endpoint: the port of S3, not that of a web console.")


@contextmanager
def _errors_named(where: str) -> Iterator[None]:
    """Turn errors of boto3 into Interrupted, or into a ReposeError that names `where`."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        status, code = _answer(error)
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            # a list that is cut short, or a web page instead, comes as a 500 without a code of S3
            raise Interrupted(f"the server answers {status} {code if not code.isdigit() else f'or {_NO_S3}'}") from None
        if isinstance(error, exceptions.SSLError):
            what = "the server's certificate is not trusted. Check the endpoint and AWS_CA_BUNDLE."
        elif isinstance(
            error, (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError)
        ):
            raise Interrupted("cannot connect to the S3 server, or the connection broke") from None
        elif status in (401, 403) or code in ("ExpiredToken", "InvalidToken"):
            what = (
                f"it may not be read with these credentials ({code}): they are wrong, have expired or do not allow reading "
                "and listing. Renew them, or ask the bucket's owner."
            )
        elif status or isinstance(error, exceptions.ParamValidationError):
            what = f"it cannot be fetched ({status or ''} {code}). Check the endpoint, the bucket and the key."
        else:  # boto3's other errors are about finding credentials
            what = (
                f"no credentials ({code}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public "
                "file use its https:// address."
            )
        raise ReposeError(f"{where}: {what}") from None


def _answer(error: Exception) -> tuple[int, str]:
    """The HTTP status and the code of a server's error; without a response, such as after a timeout, 0 and its name."""
    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = response.get("Error", {}).get("Code", "") or type(error).__name__
    return int(status), code if re.fullmatch("[A-Za-z0-9.]{1,80}", code) else "a code that S3 does not have"
