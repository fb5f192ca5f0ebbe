"""Fetch objects from S3 by boto3: one, or all under a prefix."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import ReposeError
from repose.storage.atomic import disk_errors_named, partial_path
from repose.storage.transfer.addresses import bucket_and_key, shown
from repose.storage.transfer.partial import CHUNK, TIMEOUT, Interrupted, Partial, State, retry
from repose.terminal import bar

CONNECTIONS = 16  # for many small objects
_NO_S3 = "the endpoint is not an S3 server"


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
        raise ReposeError("s3:// needs boto3: pip install 'repose[pipeline]'.") from None
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

    have = came.size if state.validator else 0
    only = {"IfMatch": state.validator} if state.validator else {}
    if have:
        only["Range"] = f"bytes={have}-"
    with _errors_named(came.where):
        try:
            found = s3.get_object(Bucket=bucket, Key=key, **only)
        except ClientError as error:
            status, _ = _answer(error)
            if status not in (412, 416):
                raise
            if status == 416 and have == state.size:  # the ETag matches, and no bytes are missing
                return
            came.forget()
            raise Interrupted("the object has changed") from None
        with closing(found["Body"]) as body:
            if not {"ETag", "LastModified"} <= set(found):
                raise ReposeError(
                    f"{came.where}: {_NO_S3}. Check the endpoint: the port of S3, not that of a web console."
                )
            found_state = State(found["ETag"], have + found["ContentLength"])
            if not have:
                came.start_over(found_state)
            elif found_state != state:  # from a server that ignores IfMatch or Range
                came.forget()
                raise Interrupted("the object has changed")
            came.append(body.iter_chunks(CHUNK), found_state.size)


def list_prefix(address: str, *, endpoint: str | None = None) -> Iterator[Object]:
    """Yield every object under `s3://bucket/prefix/`, in the order of the keys."""
    (bucket, prefix), where = bucket_and_key(address), shown(address)
    s3, token = client(endpoint), dict[str, str]()

    def page() -> dict[str, Any]:
        with _errors_named(where):
            listed: dict[str, Any] = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, **token)
        return listed

    while True:
        listed = retry(page, where)
        for entry in listed.get("Contents", []):
            if not entry["Key"].endswith("/"):  # written by consoles for an empty folder
                yield Object(entry["Key"].removeprefix(prefix), entry["Size"], entry["Key"], entry["ETag"])
        if not listed.get("IsTruncated"):
            return
        token["ContinuationToken"] = listed["NextContinuationToken"]


def fetch_objects(
    address: str, objects: Sequence[Object], folder: Path, *, endpoint: str | None = None
) -> list[tuple[str, Path]]:
    """Fetch the objects from `list_prefix` into files in `folder`; return (name, path) of each, in order.

    A file's name is a hash of key, ETag and size, so an existing file is current, and no key leads out of the folder.
    """
    (bucket, _), s3 = bucket_and_key(address), client(endpoint)
    paths = [folder / hashlib.sha256(repr(entry).encode()).hexdigest() for entry in objects]

    def bring(entry: Object, path: Path) -> None:
        came = Partial(partial_path(path), f"s3://{bucket}/{entry.key}", watched=False)
        if not path.exists():
            came.complete(lambda: _receive(s3, bucket, entry.key, came, State(entry.etag, entry.size)))
            came.path.replace(path)
            came.note.unlink()

    folder.mkdir(parents=True, exist_ok=True)
    # `map` cancels pending calls when one fails
    with disk_errors_named(folder), ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in bar(pool.map(bring, objects, paths), f"{shown(address)}, objects", len(objects)):
            pass
    return [(entry.name, path) for entry, path in zip(objects, paths, strict=True)]


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
    return int(status), response.get("Error", {}).get("Code", "") or type(error).__name__
