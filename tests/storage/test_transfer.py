"""Transfers from paths and from HTTP servers that behave and misbehave; S3 where the same has to hold."""

import errno
import gzip
import io
import socket
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from file_server import BODY, DATE, OTHER, SHA256, Server
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.atomic import partial_path
from repose.storage.transfer import web
from repose.storage.transfer.fetching import ATTEMPTS
from repose.storage.transfer.replies import CHUNK

OVER_BOTH = pytest.mark.parametrize("scheme", ["http", "s3"])
pytestmark = pytest.mark.usefixtures("waits")


def get(server: Server, folder: Path, scheme: str = "http", **how: Any) -> bytes:
    """Fetch a.zip into the folder; its bytes."""
    if scheme == "s3":
        return transfer.fetch("s3://data/a.zip", folder / "a.zip", endpoint=server.address, **how).read_bytes()
    return transfer.fetch(f"{server.address}/a.zip", folder / "a.zip", **how).read_bytes()


def begin(server: Server, folder: Path, cut: int = CHUNK, scheme: str = "http") -> None:
    """A transfer that broke after `cut` bytes, for good."""
    server.plans = [{"cut": cut}] + [{"status": 503}] * ATTEMPTS
    with pytest.raises(ReposeError, match="gave up after 5 attempts"):
        get(server, folder, scheme)
    assert not (folder / "a.zip").exists()
    assert partial_path(folder / "a.zip").read_bytes() == BODY[:cut]
    server.plans, server.asked = [], []


def ranges(server: Server) -> list[str | None]:
    return [asked.get("Range") for asked in server.asked]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_and_replaces_another_of_its_name(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "vgg19.safetensors"
    for _ in range(2):
        path = transfer.fetch(f"{server.address}/x/vgg19", destination, sha256=SHA256.upper(), size=len(BODY))
        assert path.read_bytes() == BODY
        assert names(destination.parent) == {"vgg19.safetensors"}
        destination.write_bytes(b"older")
    destination.write_bytes(BODY)
    assert (
        transfer.fetch("http://127.0.0.1:1/weights", destination, sha256=SHA256[:8]) == destination
    )  # not fetched again


@OVER_BOTH
@pytest.mark.parametrize("cut", [CHUNK, len(BODY) - 17])
def test_an_interrupted_transfer_resumes_in_the_next_run(server: Server, tmp_path: Path, scheme: str, cut: int) -> None:
    begin(server, tmp_path, cut, scheme)
    assert get(server, tmp_path, scheme, sha256=SHA256) == BODY
    condition = "If-Range" if scheme == "http" else "If-Match"
    assert [(asked["Range"], asked[condition]) for asked in server.asked] == [(f"bytes={cut}-", '"one"')]
    assert names(tmp_path) == {"a.zip"}


def test_dropped_connections_resume_in_the_same_run(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], waits: list[float]
) -> None:
    server.plans = [{"cut": CHUNK + 9}, {"status": 503}, {"status": 429}, {"cut": 2 * CHUNK}]
    get(server, tmp_path, sha256=SHA256)
    assert ranges(server) == [None, *[f"bytes={CHUNK}-"] * 3, f"bytes={3 * CHUNK}-"]
    assert waits == [1, 2, 4, 1]  # short again after new bytes
    assert "the server answers 503; trying again" in capsys.readouterr().err


def test_attempts_that_bring_nothing_new_end(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.ranges = False  # each attempt starts over and breaks at the same byte
    server.plans = [{"cut": CHUNK}] * 50
    with pytest.raises(ReposeError, match=r"http://127.0.0.1:\d+/a.zip: the connection .* gave up after 5 attempts"):
        get(server, tmp_path)
    assert len(server.asked) == 5  # the first brought a chunk
    assert waits == [1, 2, 4, 8]


@OVER_BOTH
def test_a_file_that_changed_between_two_runs_is_fetched_anew(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    begin(server, tmp_path, scheme=scheme)
    server.body, server.etag = OTHER, '"two"'
    assert get(server, tmp_path, scheme) == OTHER
    assert "starting over" in capsys.readouterr().err


def test_a_body_that_ends_early_without_an_error_is_noticed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    whole = web.unbroken
    monkeypatch.setattr(web, "unbroken", lambda *body: islice(whole(*body), 1))
    get(server, tmp_path, sha256=SHA256)
    assert waits == [1] * (len(BODY) // CHUNK)


def test_a_crash_while_starting_over_never_mixes_two_states(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(server, tmp_path)
    server.body, server.etag = OTHER, '"two"'
    real = Path.open

    def crash(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode == "wb":
            raise KeyboardInterrupt
        return real(path, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", crash)
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path)
    assert get(server, tmp_path) == OTHER


@pytest.mark.parametrize(
    ("scheme", "plan"), [("http", {"blind": True}), ("s3", {"blind": True}), ("http", {"shift": 1})]
)
def test_bytes_of_another_state_or_place_are_not_appended(
    server: Server, tmp_path: Path, scheme: str, plan: dict[str, Any]
) -> None:
    begin(server, tmp_path, scheme=scheme)
    if "blind" in plan:  # it knows Range and no conditions
        server.body, server.etag = OTHER, '"two"'
    server.plans = [plan]
    assert get(server, tmp_path, scheme) == server.body
    assert ranges(server) == [f"bytes={CHUNK}-", None]


@pytest.mark.parametrize(("etag", "modified", "resumed"), [
    ('W/"weak"', "", False), ("", "", False), ('W/"weak"', DATE, True),
])  # fmt: skip
def test_only_a_strong_validator_lets_a_transfer_resume(
    server: Server, tmp_path: Path, etag: str, modified: str, resumed: bool
) -> None:
    server.etag, server.modified = etag, modified
    begin(server, tmp_path)
    assert get(server, tmp_path) == BODY
    assert ("Range" in server.asked[0]) is resumed


@pytest.mark.parametrize("note", ['["\\"one\\"", 31', "7", "[1, 2, 3]"])
def test_a_note_that_cannot_be_read_is_ignored(server: Server, tmp_path: Path, note: str) -> None:
    begin(server, tmp_path)
    assert (tmp_path / ".a.zip.partial.json").exists()
    (tmp_path / ".a.zip.partial.json").write_text(note)
    assert get(server, tmp_path) == BODY
    assert ranges(server) == [None]


def test_a_file_without_a_digest_is_fetched_again_only_if_it_changed(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        get(server, tmp_path, size=len(BODY))
    assert ranges(server) == [None, f"bytes={len(BODY)}-"]
    server.ranges = False
    get(server, tmp_path)
    assert len(server.asked) == 3
    server.body, server.etag = OTHER, '"two"'
    assert get(server, tmp_path) == OTHER


def test_a_body_without_a_length_or_compressed_on_the_way_arrives(server: Server, tmp_path: Path) -> None:
    server.plans = [{"chunked": True, "cut": 2 * CHUNK}]
    assert get(server, tmp_path) == BODY
    assert "Range" in server.asked[1]
    server.plans = [{"body": gzip.compress(BODY), "headers": {"Content-Encoding": "gzip"}}]
    assert get(server, tmp_path / "other", sha256=SHA256, size=len(BODY)) == BODY


@pytest.mark.parametrize("plan", [{}, {"chunked": True}])
@pytest.mark.parametrize(("wanted", "message"), [
    ({"sha256": "0" * 64}, f"SHA-256 should be {'0' * 64}, it is {SHA256}"),
    ({"size": 12}, rf"should have 12 bytes, it has {len(BODY):,}"),
    ({"limit": 1000}, "larger than the limit of 1,000 bytes"),
])  # fmt: skip
def test_a_file_of_another_digest_or_size_is_rejected(
    server: Server, tmp_path: Path, plan: dict[str, Any], wanted: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.zip").write_bytes(b"good, of yesterday")
    server.plans = [plan]
    with pytest.raises(ReposeError, match=message):
        get(server, tmp_path, **wanted)
    assert (tmp_path / "a.zip").read_bytes() == b"good, of yesterday"
    assert get(server, tmp_path, sha256=SHA256) == BODY


@pytest.mark.parametrize(("plan", "message"), [
    ({"status": 404}, "There is no"), ({"status": 403}, "a signed link has expired"), ({"status": 401}, "requires a login"),
    ({"status": 418}, "the server answers 418"), ({"status": 302, "headers": {"Location": "/a.zip"}}, "TooManyRedirects"),
    ({"body": b"<html>", "headers": {"Content-Type": "text/html; charset=utf-8"}}, "is a web page, not a file"),
])  # fmt: skip
def test_an_answer_without_the_file_is_an_error_that_shows_no_secret(
    server: Server, tmp_path: Path, plan: dict[str, Any], message: str
) -> None:
    server.plans = [plan] * 40
    address = server.address.replace("http://", "http://anna:s3cret@")
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(f"{address}/a.zip?signature=s3cret#s3cret", tmp_path / "a.zip")
    assert "s3cret" not in str(caught.value)
    assert "Authorization" in server.asked[0]  # it was used, though
    assert server.asked[0]["path"] == "/a.zip?signature=s3cret"
    assert names(tmp_path) == set()


NO_HOST = urllib3.exceptions.NameResolutionError("s3cret", None, socket.gaierror())  # type: ignore[arg-type]


@pytest.mark.parametrize(("fault", "message", "attempts"), [
    (requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "s3cret", NO_HOST)), "no such host", 5),
    (requests.ConnectTimeout("https://anna:s3cret@example.org"), "cannot connect", 5),
    (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED s3cret"), "certificate is not trusted", 1),
])  # fmt: skip
def test_a_server_that_cannot_be_reached_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, message: str, attempts: int, waits: list[float]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(requests, "get", fail)
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("https://anna:s3cret@example.org/a.zip", tmp_path / "a.zip")
    assert len(waits) == attempts - 1
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("address", "message"), [
    ("https://[::1", "Check the address"),
    ("http://anna:s3/cret@example.org/a.zip", "Check the address"),
    ("ftp://anna:s3cret@example.org/a.zip", "cannot fetch from ftp://.*s3://"),
    ("~nobody-at-all/x", "~nobody-at-all/x: there is no such home folder"),
    ("missing", "There is no file missing"), (".", "There is no file"),
])  # fmt: skip
def test_an_address_that_leads_nowhere_is_an_error(tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(address, tmp_path / "a.zip")
    assert "cret" not in str(caught.value)


class _FullDisk(io.BytesIO):
    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, "no")


def test_a_full_disk_is_an_error_and_what_came_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(server, tmp_path)
    real = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", lambda path, mode="r", *a, **k: _FullDisk() if mode == "ab" else real(path, mode, *a, **k)
        )
        with pytest.raises(ReposeError, match=r"No space left .*a\.zip"):
            get(server, tmp_path)
    assert partial_path(tmp_path / "a.zip").read_bytes() == BODY[:CHUNK]


def test_a_local_file_is_copied_and_checked(tmp_path: Path) -> None:
    source, destination = tmp_path / "a", tmp_path / "b"
    source.write_bytes(BODY)
    assert transfer.fetch(str(source), destination, sha256=SHA256[:12], size=len(BODY)).read_bytes() == BODY
    with pytest.raises(ReposeError, match="SHA-256 should be 00000000, it is"):
        transfer.fetch(str(source), tmp_path / "c", sha256="00000000")
    assert names(tmp_path) == {"a", "b"}


@pytest.mark.parametrize("sha256", ["1234567", "x" * 64, "0" * 65, ""])
def test_a_digest_of_another_form_is_an_error(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ReposeError, match="64 hexadecimal digits"):
        transfer.fetch("a", tmp_path / "b", sha256=sha256)


@pytest.mark.parametrize(("address", "expected"), [
    ("https://anna:s3cret@example.org:8443/x/a.zip?sig=1#f", "https://example.org:8443/x/a.zip"),
    ("https://example.org/@scope/a.zip", "https://example.org/@scope/a.zip"),
    ("https://[::1]:80/a", "https://[::1]:80/a"),
    ("https://anna:s3/cret@example.org/a", "https://..."),
    ("https://anna:s3@cret@example.org/a", "https://example.org/a"),
    ("s3://key:secret@bucket/a", "s3://bucket/a"),
    ("s3://bucket/a@2x?.png", "s3://bucket/a@2x?.png"),
    ("data/a@b?.zip", "data/a@b?.zip"),
])  # fmt: skip
def test_addresses_are_shown_without_secrets(address: str, expected: str) -> None:
    assert transfer.shown(address) == expected


@pytest.mark.parametrize(("address", "expected"), [
    ("https://example.org/x/in%20shop.zip?a=/b", "in shop.zip"), ("s3://bucket/x/a%20?.csv", "a%20?.csv"),
    ("data/lists/train.lst", "train.lst"), ("https://example.org/", ""),
])  # fmt: skip
def test_base_names(address: str, expected: str) -> None:
    assert transfer.base_name(address) == expected
