"""Objects of S3: from a server (moto), and from servers that are none or refuse."""

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from file_server import BODY, OTHER, Server, Sleeps
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.transfer import s3
from serving import serving


@pytest.fixture(autouse=True)
def _credentials(s3_credentials: None) -> None:
    """Of every test here."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server):
        yield server


@pytest.fixture
def put(endpoint: str) -> Callable[[str, bytes], None]:
    client = s3.client(endpoint)
    client.create_bucket(Bucket="data")
    return lambda key, body: client.put_object(Bucket="data", Key=key, Body=body)


def test_object_arrives_and_is_asked_after(put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path) -> None:
    put("in/img.zip", BODY)
    for _ in range(2):
        path = transfer.fetch("s3://data/in/img.zip", tmp_path / "a", endpoint=endpoint, size=len(BODY))
        assert path.read_bytes() == BODY
    for body in (OTHER, OTHER[:10]):
        put("in/img.zip", body)
        assert transfer.fetch("s3://data/in/img.zip", tmp_path / "a", endpoint=endpoint).read_bytes() == body


def test_prefix_brings_every_object(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"img/é k?#.jpg": b"1", "../up": b"2", "a": b"3", "a/b": b"4", "img/": b""}
    for name, body in names.items():
        put(f"in/{name}", body)
    put("instead", b"5")
    client = s3.client(endpoint)
    pages = client.list_objects_v2
    client.list_objects_v2 = lambda **how: pages(MaxKeys=2, **how)
    monkeypatch.setattr(s3, "client", lambda _: client)
    objects = list(transfer.list_prefix("s3://data/in/", endpoint=endpoint))
    assert {entry.name: entry.size for entry in objects} == {n: len(b) for n, b in names.items() if n != "img/"}
    assert {entry.name for entry in transfer.list_prefix("s3://data", endpoint=endpoint)} > {"instead", "in/a"}
    fetched = transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint)
    assert {name: path.read_bytes() for name, path in fetched} == {n: b for n, b in names.items() if n != "img/"}
    assert {path.parent for _, path in fetched} == {tmp_path / "to"}

    monkeypatch.setattr(client, "get_object", None)  # a second run transfers nothing
    assert transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint) == fetched


def test_a_prefix_with_an_object_that_is_gone_or_without_its_bucket_is_told(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path
) -> None:
    put("in/a", b"1")
    (found,) = transfer.list_prefix("s3://data/in/", endpoint=endpoint)
    gone = transfer.Object("b", 1, "in/b", '"x"')
    with pytest.raises(ReposeError, match="There is no s3://data/in/b"):
        transfer.fetch_objects("s3://data/in/", [found, gone], tmp_path, endpoint=endpoint)
    with pytest.raises(ReposeError, match="no such bucket"):
        list(transfer.list_prefix("s3://nowhere/in/", endpoint=endpoint))


@pytest.mark.parametrize(("address", "message"), [
    ("s3://data/missing.zip", r"There is no s3://data/missing.zip"),
    ("s3://nowhere/a.zip", "no such bucket"),
    ("s3://key:s3cret@data/a.zip", r"write s3://bucket/key"),
    ("s3:///a.zip", r"write s3://bucket/key"),
    ("s3://no bucket/a.zip", "name is not a valid one"),
])  # fmt: skip
def test_addresses_that_lead_nowhere_are_told(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path, address: str, message: str
) -> None:
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(address, tmp_path / "a", endpoint=endpoint)
    assert "s3cret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "code", "message"), [
    (403, "InvalidAccessKeyId", "credentials are wrong or have expired"),
    (400, "ExpiredToken", "credentials are wrong or have expired"),
    (403, "AccessDenied", "may not be read with these credentials"),
    (403, "InvalidObjectState", "may not be read with these credentials"),
    (301, "PermanentRedirect", "answers 301 PermanentRedirect"),
    (503, "SlowDown", "answers 503 SlowDown; gave up"),
    (400, "RequestTimeout", "answers 400 RequestTimeout; gave up"),
])  # fmt: skip
def test_refusals_say_what_to_do(server: Server, tmp_path: Path, status: int, code: str, message: str) -> None:
    body = f"<Error><Code>{code}</Code><Message>s3cret</Message></Error>".encode()
    server.plans = [{"status": status, "body": body}] * 9
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address, sleep=Sleeps())
    assert "s3cret" not in str(caught.value)


def test_without_credentials_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
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
])  # fmt: skip
def test_an_endpoint_that_cannot_be_reached_is_told(
    server: Server, tmp_path: Path, endpoint: str, message: str
) -> None:
    endpoint = endpoint.format(port=server.server_port)
    with pytest.raises(ReposeError, match=message):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=endpoint, sleep=Sleeps())


def test_server_that_does_not_answer_in_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ReposeError, match=r"cannot connect to the S3 server, or the connection broke; gave up"):
            transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=endpoint, sleep=Sleeps())


@pytest.mark.parametrize("status", [200, 403, 404])
def test_an_endpoint_that_is_a_web_site_is_told(server: Server, tmp_path: Path, status: int) -> None:
    server.plans = [
        {"status": status, "body": b"<!doctype html><html>MinIO Console", "headers": {"Content-Type": "text/html"}}
    ] * 9
    server.etag = server.modified = ""
    message = {200: "is no S3 server", 403: "may not be read", 404: "There is no"}[status]
    with pytest.raises(ReposeError, match=message):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address, sleep=Sleeps())
    with pytest.raises(ReposeError, match=message):
        list(transfer.list_prefix("s3://data/in/", endpoint=server.address, sleep=Sleeps()))
    assert not list(tmp_path.iterdir())


def test_without_boto3_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReposeError, match=r"pip install 'repose\[pipeline\]'"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip")
