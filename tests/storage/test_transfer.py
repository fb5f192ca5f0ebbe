"""Transfers from paths, HTTP servers and S3 servers that behave and misbehave."""

import errno
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from file_server import BODY, DATE, OTHER, SHA256, Server
from project import ROOT
from repose.config import build
from repose.errors import ReposeError, SettingsError
from repose.storage import transfer
from repose.storage.atomic import partial_path
from repose.storage.limits import LIMITS
from repose.storage.transfer import s3
from repose.storage.transfer.partial import ATTEMPTS, CHUNK, TIMEOUT, Partial
from repose.storage.transfer.stream import SLOWEST
from repose.storage.weight_files import WeightsFile

OVER_BOTH = pytest.mark.parametrize("scheme", ["http", "s3"])
pytestmark = pytest.mark.usefixtures("s3_credentials", "waits")


def get(server: Server, folder: Path, scheme: str = "http", **how: Any) -> bytes:
    """Fetch a.zip into the folder; its bytes."""
    if scheme == "s3":
        return transfer.fetch("s3://data/a.zip", folder / "a.zip", endpoint=server.address, **how).read_bytes()
    return transfer.fetch(f"{server.address}/a.zip", folder / "a.zip", **how).read_bytes()


def begin(server: Server, folder: Path, scheme: str = "http") -> None:
    """A transfer that broke after one chunk, for good."""
    server.plans = [{"cut": CHUNK}] + [{"status": 503}] * ATTEMPTS
    with pytest.raises(ReposeError, match="gave up after 5 attempts"):
        get(server, folder, scheme)
    assert not (folder / "a.zip").exists()
    assert partial_path(folder / "a.zip").read_bytes() == BODY[:CHUNK]
    server.plans, server.asked = [], []


def ranges(server: Server) -> list[str | None]:
    return [asked.get("Range") for asked in server.asked]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_with_a_digest_arrives_once_and_replaces_another(server, tmp_path):
    destination = tmp_path / "new" / "a.zip"
    for _ in range(2):
        assert get(server, destination.parent, sha256=SHA256.upper(), size=len(BODY)) == BODY
        assert names(destination.parent) == {"a.zip"}
        destination.write_bytes(b"older")
    destination.write_bytes(BODY)
    assert transfer.fetch("http://127.0.0.1:1/a.zip", destination, sha256=SHA256[:8]) == destination


@OVER_BOTH
def test_an_interrupted_transfer_resumes_in_the_next_run(server, tmp_path, scheme):
    begin(server, tmp_path, scheme)
    assert get(server, tmp_path, scheme, sha256=SHA256) == BODY
    condition = "If-Range" if scheme == "http" else "If-Match"
    assert [(asked["Range"], asked[condition]) for asked in server.asked] == [(f"bytes={CHUNK}-", '"one"')]
    assert names(tmp_path) == {"a.zip"}


def test_dropped_connections_resume_in_the_same_run(server, tmp_path, capsys, waits):
    server.plans = [{"cut": CHUNK + 9}, {"status": 503}, {"status": 429}, {"cut": 2 * CHUNK}]
    get(server, tmp_path, sha256=SHA256)
    assert ranges(server) == [None, *[f"bytes={CHUNK}-"] * 3, f"bytes={3 * CHUNK}-"]
    assert waits == [1, 2, 4, 1]  # short again after new bytes
    assert "the server answers 503; trying again" in capsys.readouterr().err


def test_attempts_that_bring_nothing_new_end(server, tmp_path, waits):
    server.ranges = False  # each attempt starts over and breaks at the same byte
    server.plans = [{"cut": CHUNK}] * 50
    with pytest.raises(ReposeError, match=r"http://127.0.0.1:\d+/a.zip: .*connection broke; gave up after 5 attempts"):
        get(server, tmp_path)
    assert waits == [1, 2, 4, 8]


@OVER_BOTH
@pytest.mark.parametrize("plan", [{}, {"blind": True}, {"shift": 1}])  # blind: knows Range and no conditions
def test_bytes_of_another_state_or_place_are_not_appended(server, tmp_path, scheme, plan, capsys):
    begin(server, tmp_path, scheme)
    if "shift" not in plan:
        server.body, server.etag = OTHER, '"two"'
    server.plans = [plan]
    assert get(server, tmp_path, scheme) == server.body
    assert "has changed" in capsys.readouterr().err or (scheme, plan) == ("s3", {"shift": 1})


@OVER_BOTH
def test_a_stop_before_the_first_byte_never_mixes_two_states(server, tmp_path, scheme, monkeypatch):
    get(server, tmp_path, scheme)
    server.body, server.etag = OTHER, '"two"'
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "append", MagicMock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path, scheme)
    assert get(server, tmp_path, scheme) == OTHER


def test_a_full_disk_is_an_error_and_what_came_is_kept(server, tmp_path, monkeypatch):
    begin(server, tmp_path)
    monkeypatch.setattr(Partial, "append", MagicMock(side_effect=OSError(errno.ENOSPC, "no")))
    with pytest.raises(ReposeError, match=r"No space left .*a\.zip"):
        get(server, tmp_path)
    assert partial_path(tmp_path / "a.zip").read_bytes() == BODY[:CHUNK]


@pytest.mark.parametrize(("etag", "modified", "resumed"), [
    ('W/"weak"', "", False), ('W/"weak"', DATE, True), ("", DATE.replace("2022", "2222"), False),
])  # fmt: skip
def test_only_a_strong_validator_lets_a_transfer_resume(server, tmp_path, etag, modified, resumed):
    server.etag, server.modified = etag, modified
    begin(server, tmp_path)
    assert get(server, tmp_path) == BODY
    assert ("Range" in server.asked[0]) is resumed


@OVER_BOTH
def test_a_file_without_a_digest_is_fetched_again_only_if_it_changed(server, tmp_path, scheme):
    for _ in range(2):
        get(server, tmp_path, scheme, size=len(BODY))
    assert ranges(server) == [None, f"bytes={len(BODY)}-"]
    for body in (OTHER, OTHER[:10], b""):
        server.body, server.etag = body, f'"{len(body)}"'
        assert get(server, tmp_path, scheme) == body


@pytest.mark.parametrize("links", [True, False])
def test_an_earlier_file_stays_where_it_is_until_another_has_arrived(server, tmp_path, links, monkeypatch):
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", MagicMock(side_effect=OSError(errno.EOPNOTSUPP, "no")))
    get(server, tmp_path)
    server.plans = [{"status": 503}] * ATTEMPTS
    with pytest.raises(ReposeError, match="gave up"):
        get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    server.body, server.etag = OTHER[:-1], '"two"'
    with pytest.raises(ReposeError, match="should have"):
        get(server, tmp_path, size=len(BODY))
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert names(tmp_path) == {"a.zip"}
    assert get(server, tmp_path) == OTHER[:-1]


@OVER_BOTH
@pytest.mark.parametrize(("wanted", "message"), [
    ({"sha256": "0" * 64}, f"SHA-256 should be {'0' * 64}, it is {SHA256}"),
    ({"size": 12}, rf"should have 12 bytes, it has {len(BODY):,}"),
    ({"limit": 1000}, "larger than the limit of 1,000 bytes"),
])  # fmt: skip
def test_a_file_of_another_digest_or_size_is_rejected(server, tmp_path, scheme, wanted, message):
    (tmp_path / "a.zip").write_bytes(b"good, of yesterday")
    server.plans = [{"chunked": scheme == "http"}]
    with pytest.raises(ReposeError, match=message):
        get(server, tmp_path, scheme, **wanted)
    assert (tmp_path / "a.zip").read_bytes() == b"good, of yesterday"
    assert names(tmp_path) == {"a.zip"}
    assert get(server, tmp_path, scheme, sha256=SHA256) == BODY


@pytest.mark.parametrize(("plan", "message"), [
    ({"status": 404}, "There is no"), ({"status": 403}, "a signed link has expired"),
    ({"body": b"<html>", "headers": {"Content-Type": "text/html; charset=utf-8"}}, "is a web page, not a file"),
])  # fmt: skip
def test_an_answer_without_the_file_is_an_error_that_shows_no_secret(server, tmp_path, plan, message):
    server.plans = [plan]
    address = server.address.replace("http://", "http://anna:s3cret@")
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(f"{address}/a.zip?signature=s3cret#s3cret", tmp_path / "a.zip")
    assert "s3cret" not in str(caught.value)
    assert "Authorization" in server.asked[0]  # it was used, though
    assert server.asked[0]["path"] == "/a.zip?signature=s3cret"
    assert names(tmp_path) == set()


def test_a_local_file_is_copied_and_checked(tmp_path, monkeypatch):
    source, destination = tmp_path / "a", tmp_path / "b"
    source.write_bytes(BODY)
    assert transfer.fetch(str(source), destination, sha256=SHA256[:12], size=len(BODY)).read_bytes() == BODY
    with pytest.raises(ReposeError, match="SHA-256 should be 00000000, it is"):
        transfer.fetch(str(source), tmp_path / "c", sha256="00000000")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ReposeError, match=r"/a may not be read\."):
        transfer.fetch(str(source), tmp_path / "c")
    assert names(tmp_path) == {"a", "b"}


TLS = "https://anna:s3cret@127.0.0.1:{port}"  # to a server that does not speak it


@pytest.mark.parametrize(("address", "endpoint", "message"), [
    ("https://[::1", None, "Check the address"), ("http://anna:s3/cret@example.org/a.zip", None, "Check the address"),
    ("ftp://anna:s3cret@example.org/a.zip", None, "ftp://example.org/a.zip: cannot.*s3://"),
    ("missing", None, "There is no file missing"), ("a\0b", None, r"The path .* cannot be used \(embedded null"),
    ("http://anna:s3cret@127.0.0.1:1/a.zip", None, "cannot connect to the server.*gave up"),
    (f"{TLS}/a.zip", None, "certificate is not trusted"), ("s3://data/a.zip", TLS, "certificate is not trusted"),
    ("s3://data/a.zip", "http://127.0.0.1:1", "cannot connect to the S3 server.*gave up"),
    ("s3://data/a.zip", "127.0.0.1", "should read like http://host:port"),
    ("s3://key:s3cret@data/a.zip", None, r"write s3://bucket/key"), ("s3:///a.zip", None, r"write s3://bucket/key"),
    ("s3://no bucket/a.zip", None, r"s3://no bucket/a.zip: it cannot be fetched \( ParamValidationError\)"),
])  # fmt: skip
def test_an_address_that_leads_nowhere_is_an_error(server, tmp_path, address, endpoint, message):
    address, endpoint = (part and part.format(port=server.server_port) for part in (address, endpoint))
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(address, tmp_path / "a.zip", endpoint=endpoint)
    assert "cret" not in str(caught.value)
    assert names(tmp_path) == set()


def test_a_digest_of_another_form_is_an_error():
    for sha256 in ("1234567", "x" * 64):
        with pytest.raises(SettingsError, match=r"^here\.sha256: A sha256 is 64 hexadecimal digits"):
            build(WeightsFile, {"address": "x", "sha256": sha256}, "here")


@pytest.mark.parametrize(("address", "shown", "name"), [
    ("https://anna:s3cret@example.org:8443/x/a%20b.zip?sig=1#f", "https://example.org:8443/x/a%20b.zip", "a b.zip"),
    ("https://example.org/@scope/", "https://example.org/@scope/", ""),
    ("https://anna:s3/cret@example.org/a", "https://...", "a"),
    ("https://anna:s3@cret@example.org/a", "https://example.org/a", "a"),
    ("s3://bucket/a@2x?%20.png", "s3://bucket/a@2x?%20.png", "a@2x?%20.png"),
])  # fmt: skip
def test_addresses_are_shown_without_secrets_and_end_in_a_name(address, shown, name):
    assert (transfer.shown(address), transfer.base_name(address)) == (shown, name)


# ---- S3 ----


def test_a_prefix_brings_every_object(endpoint, tmp_path, monkeypatch):
    files = {"img/é k?#.jpg": b"1", "../up": b"", "a": b"3", "a/b": b"4"}
    client = s3.client(endpoint)
    client.create_bucket(Bucket="data")
    for key, body in {**{f"in/{name}": body for name, body in files.items()}, "in/img/": b"", "instead": b"5"}.items():
        client.put_object(Bucket="data", Key=key, Body=body)
    monkeypatch.setattr(client, "list_objects_v2", partial(client.list_objects_v2, MaxKeys=2))
    monkeypatch.setattr(s3, "client", lambda _: client)
    objects = list(transfer.list_prefix("s3://data/in/", endpoint=endpoint))
    assert {entry.name: entry.size for entry in objects} == {name: len(body) for name, body in files.items()}
    fetched = transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint)
    assert {name: path.read_bytes() for name, path in fetched} == files
    assert sorted((tmp_path / "to").iterdir()) == sorted(path for _, path in fetched)
    monkeypatch.setattr(client, "get_object", None)  # a second run transfers nothing
    assert transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint) == fetched


def test_what_came_of_a_prefix_without_a_note_is_not_used(server, tmp_path):
    listed = [transfer.Object("a.zip", len(BODY), "a.zip", '"one"')]
    for _ in range(2):
        ((_, path),) = transfer.fetch_objects("s3://data/", listed, tmp_path, endpoint=server.address)
        assert path.read_bytes() == BODY
        path.rename(partial_path(path))
        partial_path(path).write_bytes(OTHER[:9])  # a stop in `Partial.forget` leaves this


@pytest.mark.parametrize(("status", "code", "message"), [
    (403, "InvalidAccessKeyId", r"with these credentials \(InvalidAccessKeyId\)"),
    (400, "ExpiredToken", r"with these credentials \(ExpiredToken\): they are wrong, have expired"),
    (301, "PermanentRedirect", "301 PermanentRedirect"), (404, "NoSuchKey", r"it cannot be fetched \(404 NoSuchKey\)\. Check"),
    (400, "RequestTimeout", "answers 400 RequestTimeout; gave up"),
    (200, "", "is not an S3 server"),  # such as a web console
])  # fmt: skip
def test_errors_of_the_server_say_what_to_do(server, tmp_path, status, code, message):
    body = f"<Error><Code>{code}</Code><Message>s3cret</Message></Error>".encode() if code else b"<!doctype html><html>"
    server.plans, server.modified = [{"status": status, "body": body}] * 20, ""
    with pytest.raises(ReposeError, match=message) as caught:
        get(server, tmp_path, "s3")
    with pytest.raises(ReposeError, match=message):
        list(transfer.list_prefix("s3://data/in/", endpoint=server.address))
    assert "s3cret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_missing_credentials_are_an_error(server, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ReposeError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        get(server, tmp_path, "s3")


def test_without_boto3_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReposeError, match="pip install boto3"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip")


def test_the_docs_have_the_limits():
    page = " ".join((ROOT / "docs" / "data.md").read_text().split())
    seconds = "{} s to accept a connection, {} s to send the next byte, and {:.0f} s for each MiB"
    assert seconds.format(*TIMEOUT, SLOWEST) in page
    assert f"After {ATTEMPTS} attempts in a row without a new byte" in page
    of = {kind: f"{limit // 1000} GB" if limit >= 1000 else f"{limit} MB" for kind, limit in LIMITS.items()}
    assert (
        f"{of['photo']} for a photo of `repose generate`, {of['CSV']} for a CSV of yours, {of['table']} for a table"
        in page
    )
    assert f"{of['JSON']} for a JSON file and {of['checkpoint']} for a checkpoint" in page
