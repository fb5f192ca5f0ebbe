"""Transfers from paths and from HTTP servers that behave and misbehave; S3 where the same has to hold."""

import errno
import gzip
import io
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from file_server import BODY, DATE, OTHER, SHA256, Server, Sleeps
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.atomic import partial_path
from repose.storage.transfer import remote
from repose.storage.transfer.fetching import ATTEMPTS
from repose.storage.transfer.remote import CHUNK
from serving import serving

OVER_BOTH = pytest.mark.parametrize("scheme", ["http", "s3"])


@pytest.fixture(autouse=True)
def _no_proxies(s3_credentials: None) -> None:
    """Sets NO_PROXY."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server):
        yield server


def get(server: Server, folder: Path, scheme: str = "http", **how: Any) -> bytes:
    """Fetch a.zip into the folder; its bytes."""
    if scheme == "s3":
        return transfer.fetch("s3://data/a.zip", folder / "a.zip", endpoint=server.address, **how).read_bytes()
    return transfer.fetch(f"{server.address}/a.zip", folder / "a.zip", **how).read_bytes()


def begin(server: Server, folder: Path, cut: int = CHUNK, scheme: str = "http") -> None:
    """A transfer that broke after `cut` bytes, for good."""
    server.plans = [{"cut": cut}] + [{"status": 503}] * ATTEMPTS
    with pytest.raises(ReposeError, match="gave up after 5 attempts"):
        get(server, folder, scheme, sleep=Sleeps())
    assert not (folder / "a.zip").exists()
    assert partial_path(folder / "a.zip").read_bytes() == BODY[:cut]
    server.plans, server.asked = [], []


def ranges(server: Server) -> list[str | None]:
    return [asked.get("Range") for asked in server.asked]


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- transfers that are interrupted ----


def test_a_file_arrives_and_replaces_another_of_its_name(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "vgg19.safetensors"
    for _ in range(2):
        path = transfer.fetch(f"{server.address}/x/vgg19", destination, sha256=SHA256.upper(), size=len(BODY))
        assert path == destination
        assert path.read_bytes() == BODY
        assert leftovers(path.parent) == {"vgg19.safetensors"}
        destination.write_bytes(b"older")


def test_a_file_with_the_wanted_digest_is_not_fetched_again(tmp_path: Path) -> None:
    destination = tmp_path / "weights"
    destination.write_bytes(BODY)
    assert transfer.fetch("http://127.0.0.1:1/weights", destination, sha256=SHA256[:8]) == destination


@OVER_BOTH
@pytest.mark.parametrize("cut", [CHUNK, len(BODY) - 17])
def test_an_interrupted_transfer_resumes_in_the_next_run(server: Server, tmp_path: Path, scheme: str, cut: int) -> None:
    begin(server, tmp_path, cut, scheme)
    assert get(server, tmp_path, scheme, sha256=SHA256) == BODY
    condition = "If-Range" if scheme == "http" else "If-Match"
    assert [(asked["Range"], asked[condition]) for asked in server.asked] == [(f"bytes={cut}-", '"one"')]
    assert leftovers(tmp_path) == {"a.zip"}


def test_dropped_connections_are_resumed_in_the_same_run(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plans = [{"cut": CHUNK + 9}, {"status": 503}, {"status": 429}, {"cut": 2 * CHUNK}]
    sleeps = Sleeps()
    get(server, tmp_path, sha256=SHA256, sleep=sleeps)
    assert ranges(server) == [None, *[f"bytes={CHUNK}-"] * 3, f"bytes={3 * CHUNK}-"]
    assert sleeps == [1, 2, 4, 1]  # after new bytes it starts over with short waits
    assert "the server answers 503; trying again" in capsys.readouterr().err


def test_attempts_that_bring_nothing_new_end(server: Server, tmp_path: Path) -> None:
    server.ranges = False  # each attempt starts over and breaks at the same byte
    server.plans = [{"cut": CHUNK}] * 50
    sleeps = Sleeps()
    with pytest.raises(ReposeError, match=r"http://127.0.0.1:\d+/a.zip: the connection .* gave up after 5 attempts"):
        get(server, tmp_path, sleep=sleeps)
    assert len(server.asked) == 5  # the first brought a chunk
    assert sleeps == [1, 2, 4, 8]


@OVER_BOTH
def test_a_file_that_changed_between_two_runs_is_fetched_anew(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    begin(server, tmp_path, scheme=scheme)
    server.body, server.etag = OTHER, '"two"'
    assert get(server, tmp_path, scheme) == OTHER
    assert "starting over" in capsys.readouterr().err


def test_a_body_that_ends_early_without_an_error_is_noticed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = remote.unbroken
    monkeypatch.setattr(remote, "unbroken", lambda *body: islice(whole(*body), 1))
    sleeps = Sleeps()
    get(server, tmp_path, sha256=SHA256, sleep=sleeps)
    assert sleeps == [1] * (len(BODY) // CHUNK)


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
def test_a_server_that_sends_bytes_of_another_state_or_place_is_not_believed(
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
def test_a_note_that_cannot_be_read_is_not_believed(server: Server, tmp_path: Path, note: str) -> None:
    begin(server, tmp_path)
    assert (tmp_path / ".a.zip.partial.json").exists()
    (tmp_path / ".a.zip.partial.json").write_text(note)
    assert get(server, tmp_path) == BODY
    assert ranges(server) == [None]


def test_a_finished_transfer_is_asked_after_and_kept(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        get(server, tmp_path, size=len(BODY))
    assert ranges(server) == [None, f"bytes={len(BODY)}-"]
    server.ranges = False
    get(server, tmp_path)
    assert len(server.asked) == 3
    server.body, server.etag = OTHER, '"two"'
    assert get(server, tmp_path) == OTHER


def test_a_body_without_a_length_arrives_and_resumes(server: Server, tmp_path: Path) -> None:
    server.plans = [{"chunked": True, "cut": 2 * CHUNK}]
    assert get(server, tmp_path, sleep=Sleeps()) == BODY
    assert "Range" in server.asked[1]


def test_a_body_that_is_compressed_on_the_way_arrives_decompressed(server: Server, tmp_path: Path) -> None:
    server.plans = [{"body": gzip.compress(BODY), "headers": {"Content-Encoding": "gzip"}}]
    assert get(server, tmp_path, sha256=SHA256, size=len(BODY)) == BODY


# ---- files that are not what was wanted ----


def test_a_wrong_digest_leaves_the_earlier_file_and_says_what_was_expected_and_found(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(b"good, of yesterday")
    with pytest.raises(ReposeError, match=f"SHA-256 should be {'0' * 64}, it is {SHA256}"):
        get(server, tmp_path, sha256="0" * 64)
    assert (tmp_path / "a.zip").read_bytes() == b"good, of yesterday"


@pytest.mark.parametrize("plan", [{}, {"chunked": True}])
def test_what_was_refused_is_used_once_the_digest_is_corrected_and_fetched_anew_if_not(
    server: Server, tmp_path: Path, plan: dict[str, Any]
) -> None:
    server.plans = [plan] * 2
    for _ in range(2):
        with pytest.raises(ReposeError, match="SHA-256"):
            get(server, tmp_path, sha256="0" * 64)
    assert ranges(server) == [None, None]
    assert get(server, tmp_path, sha256=SHA256) == BODY
    assert ranges(server)[2:] == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize(
    ("plan", "left"), [({}, set()), ({"chunked": True}, {".a.zip.partial", ".a.zip.partial.json"})]
)
@pytest.mark.parametrize(("wanted", "message"), [
    ({"size": 12}, rf"should have 12 bytes, it has {len(BODY):,}"),
    ({"limit": 1000}, "larger than the limit of 1,000 bytes"),
])  # fmt: skip
def test_a_wrong_size_is_told_before_anything_is_transferred_if_the_server_announces_it(
    server: Server, tmp_path: Path, plan: dict[str, Any], left: set[str], wanted: dict[str, int], message: str
) -> None:
    server.plans = [plan]
    with pytest.raises(ReposeError, match=message):
        get(server, tmp_path, **wanted)
    assert leftovers(tmp_path) == left


# ---- refusals ----


@pytest.mark.parametrize(("status", "message"), [
    (404, "There is no"), (403, "a signed link has expired"), (401, "wants a login"), (418, "the server answers 418"),
])  # fmt: skip
def test_refusals_say_what_to_do_and_show_no_secret(server: Server, tmp_path: Path, status: int, message: str) -> None:
    server.plans = [{"status": status}]
    address = server.address.replace("http://", "http://anna:s3cret@")
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(f"{address}/a.zip?signature=s3cret#s3cret", tmp_path / "a.zip")
    assert "s3cret" not in str(caught.value)
    assert "Authorization" in server.asked[0]  # it was used, though
    assert server.asked[0]["path"] == "/a.zip?signature=s3cret"


@pytest.mark.parametrize(("plan", "message"), [
    ({"body": b"<html>", "headers": {"Content-Type": "text/html; charset=utf-8"}}, "is a web page, not a file"),
    ({"status": 302, "headers": {"Location": "/a.zip"}}, "round in circles"),
])  # fmt: skip
def test_answers_that_are_no_file_are_told(server: Server, tmp_path: Path, plan: dict[str, Any], message: str) -> None:
    server.plans = [plan] * 40
    with pytest.raises(ReposeError, match=message):
        get(server, tmp_path)
    assert leftovers(tmp_path) == set()


NO_HOST = urllib3.exceptions.NameResolutionError("s3cret", None, socket.gaierror())  # type: ignore[arg-type]


@pytest.mark.parametrize(("fault", "message", "waits"), [
    (requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "s3cret", NO_HOST)), "no such host", [1, 2, 4, 8]),
    (requests.ConnectTimeout("https://anna:s3cret@example.org"), "does not answer", [1, 2, 4, 8]),
    (requests.ConnectionError("https://anna:s3cret@example.org"), "cannot connect", [1, 2, 4, 8]),
    (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED s3cret"), "certificate is not trusted", []),
])  # fmt: skip
def test_no_connection_is_tried_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, message: str, waits: list[float]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(requests, "get", fail)
    sleeps = Sleeps()
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("https://anna:s3cret@example.org/a.zip", tmp_path / "a.zip", sleep=sleeps)
    assert sleeps == waits
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("address", "message"), [
    ("http://", "not an address that can be fetched"),
    ("https://[::1", "not an address that can be fetched"),
    ("http://anna:s3/cret@example.org/a.zip", "not an address that can be fetched"),
    ("ftp://anna:s3cret@example.org/a.zip", "cannot fetch from ftp://.*s3://"),
    ("~nobody-at-all/x", "~nobody-at-all/x: there is no such home folder"),
])  # fmt: skip
def test_an_address_that_cannot_be_read_is_told(tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(address, tmp_path / "a.zip")
    assert "cret" not in str(caught.value)


class _FullDisk(io.BytesIO):
    """A file on a disk that fails."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def write(self, _: Any) -> int:
        raise OSError(self.code, "no")


@pytest.mark.parametrize(("code", "error", "message"), [
    (errno.ENOSPC, ReposeError, "No space left .*a.zip"), (errno.EACCES, ReposeError, "Cannot write .*a.zip"),
    (errno.EIO, OSError, "no"),
])  # fmt: skip
def test_a_disk_that_fails_is_told_and_what_came_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], message: str
) -> None:
    begin(server, tmp_path)
    real = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", lambda path, mode="r", *a, **k: _FullDisk(code) if mode == "ab" else real(path, mode, *a, **k)
        )
        with pytest.raises(error, match=message):
            get(server, tmp_path)
    assert partial_path(tmp_path / "a.zip").read_bytes() == BODY[:CHUNK]


# ---- local files and addresses ----


def test_a_local_file_is_copied_and_checked(tmp_path: Path) -> None:
    source, destination = tmp_path / "a", tmp_path / "b"
    source.write_bytes(BODY)
    assert transfer.fetch(str(source), destination, sha256=SHA256[:12], size=len(BODY)).read_bytes() == BODY
    with pytest.raises(ReposeError, match="SHA-256 should be 00000000, it is"):
        transfer.fetch(str(source), tmp_path / "c", sha256="00000000")
    with pytest.raises(ReposeError, match="should have 1 bytes"):
        transfer.fetch(str(source), tmp_path / "c", size=1)
    assert leftovers(tmp_path) == {"a", "b"}


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_local_path_without_a_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReposeError, match="There is no file"):
        transfer.fetch(str(tmp_path / name), tmp_path / "b")


@pytest.mark.parametrize("sha256", ["1234567", "x" * 64, "0" * 65, ""])
def test_a_digest_that_is_none_is_told(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ReposeError, match="64 hexadecimal digits"):
        transfer.fetch("a", tmp_path / "b", sha256=sha256)


@pytest.mark.parametrize(("address", "expected"), [
    ("https://anna:s3cret@example.org:8443/x/a.zip?sig=1#f", "https://example.org:8443/x/a.zip"),
    ("https://example.org/@scope/a.zip", "https://example.org/@scope/a.zip"),
    ("https://example.org?sig=1", "https://example.org"),
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
