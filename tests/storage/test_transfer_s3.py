"""Objects of S3: from a server (moto), and from servers that refuse or are none."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from file_server import BODY, OTHER, Server
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.transfer import s3

pytestmark = pytest.mark.usefixtures("s3_credentials", "waits")
Put = Callable[[str, bytes], None]


@pytest.fixture
def put(endpoint: str) -> Put:
    client = s3.client(endpoint)
    client.create_bucket(Bucket="data")
    return lambda key, body: client.put_object(Bucket="data", Key=key, Body=body)


def test_an_object_is_fetched_again_when_it_changed(put: Put, endpoint: str, tmp_path: Path) -> None:
    for body in (BODY, BODY, OTHER, OTHER[:10]):
        put("in/img.zip", body)
        assert transfer.fetch("s3://data/in/img.zip", tmp_path / "a", endpoint=endpoint).read_bytes() == body


def test_a_prefix_brings_every_object(put: Put, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"img/é k?#.jpg": b"1", "../up": b"2", "a": b"3", "a/b": b"4"}
    for name, body in {**files, "img/": b""}.items():
        put(f"in/{name}", body)
    put("instead", b"5")
    client = s3.client(endpoint)
    pages = client.list_objects_v2
    client.list_objects_v2 = lambda **how: pages(MaxKeys=2, **how)
    monkeypatch.setattr(s3, "client", lambda _: client)
    objects = list(transfer.list_prefix("s3://data/in/", endpoint=endpoint))
    assert {entry.name: entry.size for entry in objects} == {name: len(body) for name, body in files.items()}
    assert {entry.name for entry in transfer.list_prefix("s3://data", endpoint=endpoint)} > {"instead", "in/a"}
    fetched = transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint)
    assert {name: path.read_bytes() for name, path in fetched} == files
    assert {path.parent for _, path in fetched} == {tmp_path / "to"}
    monkeypatch.setattr(client, "get_object", None)  # a second run transfers nothing
    assert transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint) == fetched


def test_a_prefix_with_an_object_that_is_gone_is_an_error(put: Put, endpoint: str, tmp_path: Path) -> None:
    gone = transfer.Object("b", 1, "in/b", '"x"')
    with pytest.raises(ReposeError, match="There is no s3://data/in/b"):
        transfer.fetch_objects("s3://data/in/", [gone], tmp_path, endpoint=endpoint)


@pytest.mark.parametrize(("address", "message"), [
    ("s3://data/missing.zip", r"There is no s3://data/missing.zip \(no such object\)"),
    ("s3://nowhere/a.zip", "no such bucket"),
    ("s3://key:s3cret@data/a.zip", r"write s3://bucket/key"),
    ("s3:///a.zip", r"write s3://bucket/key"),
    ("s3://no bucket/a.zip", "key is invalid"),
])  # fmt: skip
def test_addresses_that_lead_nowhere_are_errors(
    put: Put, endpoint: str, tmp_path: Path, address: str, message: str
) -> None:
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(address, tmp_path / "a", endpoint=endpoint)
    assert "s3cret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "code", "message"), [
    (403, "InvalidAccessKeyId", r"with these credentials \(InvalidAccessKeyId\)"),
    (400, "ExpiredToken", r"with these credentials \(ExpiredToken\): they are wrong, have expired"),
    (301, "PermanentRedirect", "answers 301 PermanentRedirect"),
    (503, "SlowDown", "answers 503 SlowDown; gave up"),
    (400, "RequestTimeout", "answers 400 RequestTimeout; gave up"),
])  # fmt: skip
def test_errors_of_the_server_say_what_to_do(
    server: Server, tmp_path: Path, status: int, code: str, message: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>s3cret</Message></Error>".encode()
    server.plans = [{"status": status, "body": body}] * 9
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address)
    assert "s3cret" not in str(caught.value)


def test_missing_credentials_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(ReposeError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint="http://127.0.0.1:1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ReposeError, match=r"no credentials \(ProfileNotFound\)"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint="http://127.0.0.1:1")


@pytest.mark.parametrize(("endpoint", "message"), [
    ("http://127.0.0.1:1", "cannot connect to the S3 server.*gave up"),
    ("https://127.0.0.1:{port}", "certificate is not trusted"),  # speaks no TLS
    ("127.0.0.1", "should read like http://host:port"),
    ("http://127.0.0.1:{silent}", "cannot connect to the S3 server, or the connection broke; gave up"),
])  # fmt: skip
def test_an_endpoint_that_cannot_be_reached_is_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, message: str
) -> None:
    monkeypatch.setattr(s3, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        endpoint = endpoint.format(port=server.server_port, silent=silent.getsockname()[1])
        with pytest.raises(ReposeError, match=message):
            transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=endpoint)


@pytest.mark.parametrize(
    ("status", "message"), [(200, "is not an S3 server"), (403, "may not be read"), (404, "There is no")]
)
def test_an_endpoint_that_is_a_web_site_is_an_error(server: Server, tmp_path: Path, status: int, message: str) -> None:
    page = {"status": status, "body": b"<!doctype html><html>Console", "headers": {"Content-Type": "text/html"}}
    server.plans = [page] * 9
    server.etag = server.modified = ""
    with pytest.raises(ReposeError, match=message):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address)
    with pytest.raises(ReposeError, match=message):
        list(transfer.list_prefix("s3://data/in/", endpoint=server.address))
    assert not list(tmp_path.iterdir())


def test_without_boto3_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReposeError, match=r"pip install 'repose\[pipeline\]'"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip")
