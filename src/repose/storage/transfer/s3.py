"""Access to S3 by boto3: a client, the objects under a prefix, and one object from any byte on."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from repose.errors import ReposeError
from repose.storage.transfer.addresses import shown
from repose.storage.transfer.replies import CHUNK, TIMEOUT, Changed, Interrupted, Reply, State, unbroken

CONNECTIONS = 16  # for many small objects
_NO_S3 = "the endpoint is not an S3 server"


def client(endpoint: str | None) -> Any:
    """A boto3 client without retries; `endpoint` is http(s)://host:port of a server other than Amazon's.

    Raises:
        ReposeError: boto3 is missing, or the endpoint or the profile is not valid.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ReposeError("s3:// needs boto3: pip install 'repose[pipeline]'.") from None
    # `fetching` retries and resumes. Checksums of whole objects say nothing about a part of one, and servers other than
    # Amazon's differ in them; sizes, SHA-256 and the zip's own checksums are checked instead.
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT[0], read_timeout=TIMEOUT[1],
        max_pool_connections=CONNECTIONS, response_checksum_validation="when_required",
    )  # fmt: skip
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
    except ValueError:
        raise ReposeError(f"The S3 endpoint {shown(endpoint or '')!r} should read like http://host:port.") from None
    except BotoCoreError as error:
        raise _failure(error, f"the S3 endpoint {shown(endpoint or 'of Amazon')}") from None


@contextmanager
def open_object(client: Any, bucket: str, key: str, have: int, state: State) -> Iterator[Reply]:
    """Request an object from byte `have` on, if it is still in this state. Raises as `web.open_http`."""
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"s3://{bucket}/{key}"
    only = {"Range": f"bytes={have}-", "IfMatch": state.validator} if have else {}
    try:
        answer = client.get_object(Bucket=bucket, Key=key, **only)
    except (BotoCoreError, ClientError) as error:
        status, _ = _answer(error)
        if not have or status not in (412, 416):
            raise _failure(error, where) from None
        if status == 412 or state.size != have:
            raise Changed from None
        yield Reply(state, have, iter(()))  # 416: the ETag matches, and no bytes are missing
        return
    with closing(answer["Body"]) as body:
        if not {"ETag", "LastModified"} <= set(answer):
            raise ReposeError(f"{where}: {_NO_S3}. Check the endpoint: the port of S3, not that of a web console.")
        found = State(answer["ETag"], have + answer["ContentLength"])
        if have and not found.is_same(state):  # a server that ignores IfMatch or Range
            raise Changed
        yield Reply(found, have, unbroken(body.iter_chunks(CHUNK), BotoCoreError))


def list_page(client: Any, bucket: str, prefix: str, token: dict[str, str]) -> dict[str, Any]:
    """One page of the objects under a prefix, after the page with the token. Raises as `open_object`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        page: dict[str, Any] = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **token)
    except (BotoCoreError, ClientError) as error:
        raise _failure(error, f"s3://{bucket}/{prefix}") from None
    return page


def _answer(error: Exception) -> tuple[int, str]:
    """The HTTP status and the code of a server's error; 0 and an empty text without a response."""
    response = getattr(error, "response", None) or {}  # timeouts have a response of None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), response.get("Error", {}).get("Code", "")


def _failure(error: Exception, where: str) -> Exception:
    """The exception to raise for a boto3 error."""
    from botocore import exceptions

    status, code = _answer(error)
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
        # a list that is cut short, or a web page instead, comes as a 500 without a code of S3
        return Interrupted(f"the server answers {status} {code if code not in ('', str(status)) else f'or {_NO_S3}'}")
    if isinstance(error, exceptions.SSLError):
        return ReposeError(f"{where}: the server's certificate is not trusted. Check the endpoint and AWS_CA_BUNDLE.")
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        return Interrupted("cannot connect to the S3 server, or the connection broke")
    if status == 404:
        what = "bucket" if code == "NoSuchBucket" else "object"
        return ReposeError(f"There is no {where} (no such {what}). Check the endpoint, the bucket and the key.")
    if status in (401, 403) or code in ("ExpiredToken", "InvalidToken"):
        return ReposeError(
            f"{where} may not be read with these credentials ({code or status}): they are wrong, have expired or do not "
            "allow reading and listing. Renew them, or ask the bucket's owner."
        )
    if isinstance(error, exceptions.ParamValidationError):
        return ReposeError(f"{where} is not an S3 address: the name of the bucket or the key is invalid.")
    if not code:  # boto3's other errors are about finding credentials
        return ReposeError(
            f"{where}: no credentials ({type(error).__name__}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE; for a public file use its https:// address."
        )
    return ReposeError(f"{where} cannot be fetched: the S3 server answers {status} {code}. Check address and endpoint.")
