"""Transfers from paths, from HTTP servers that behave and misbehave, and from an S3 server (moto)."""

import errno
import hashlib
import io
import socket
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from repose.data import transfer
from repose.errors import ReposeError
from repose.files import partial_path
from serving import serving

BODY = hashlib.shake_256(b"body").digest(3 * transfer.CHUNK + 17)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = hashlib.shake_256(b"other").digest(len(BODY))  # the same size, so that only the ETag tells


class Server(ThreadingHTTPServer):
    """Serves one body at every path, with ranges; `plans` change its next answers, one each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.etag, self.modified = BODY, '"one"', ""
        self.ranges = True
        self.plans: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are what these tests are about."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.asked.append({**self.headers, "path": self.path})
        plan = server.plans.pop(0) if server.plans else {}
        status, body, headers = plan.get("status", 200), plan.get("body", server.body), dict(plan.get("headers", {}))
        if status == 200:
            headers |= {"ETag": server.etag} if server.etag else {}
            headers |= {"Last-Modified": server.modified} if server.modified else {}
            status, body = self._range(body, headers, plan)
        self._send(status, body, headers, plan)

    def _range(self, body: bytes, headers: dict[str, str], plan: dict[str, Any]) -> tuple[int, bytes]:
        wanted, server = self.headers.get("Range"), self.server
        unchanged = self.headers.get("If-Range") in (server.etag, server.modified) or plan.get("blind")
        unchanged = unchanged or self.headers.get("If-Match") == server.etag
        if not wanted or not server.ranges or not unchanged:
            return 200, body
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            headers["Content-Range"] = f"bytes */{len(body)}"
            return 416, b""
        headers["Content-Range"] = f"bytes {start + plan.get('shift', 0)}-{len(body) - 1}/{len(body)}"
        return 206, body[start:]

    def _send(self, status: int, body: bytes, headers: dict[str, str], plan: dict[str, Any]) -> None:
        self.send_response(status)
        if plan.get("chunked"):
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if plan.get("chunked"):
            body = b"%x\r\n%b\r\n" % (len(body), body) + b"0\r\n\r\n"
        self.wfile.write(body[: plan.get("cut")])
        if "cut" in plan:
            self.close_connection = True


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server):
        yield server


class Sleeps(list[float]):
    """Stands in for time.sleep and notes how long."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def begin(server: Server, destination: Path, cut: int) -> None:
    """A transfer that broke after `cut` bytes, for good."""
    server.plans = [{"cut": cut}] + [{"status": 503}] * transfer.ATTEMPTS
    with pytest.raises(ReposeError, match="gave up after 5 attempts"):
        transfer.fetch(f"{server.address}/a.zip", destination, sleep=Sleeps())
    assert not destination.exists()
    assert partial_path(destination).read_bytes() == BODY[:cut]
    server.plans, server.asked = [], []


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- HTTP ----


def test_http_file_arrives_with_size_and_digest_checked(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "vgg19.safetensors"
    path = transfer.fetch(f"{server.address}/x/vgg19", destination, sha256=SHA256.upper(), size=len(BODY))
    assert path == destination
    assert path.read_bytes() == BODY
    assert leftovers(path.parent) == {"vgg19.safetensors"}


def test_a_file_with_the_wanted_digest_is_not_fetched_again(tmp_path: Path) -> None:
    destination = tmp_path / "weights"
    destination.write_bytes(BODY)
    assert transfer.fetch("http://127.0.0.1:1/weights", destination, sha256=SHA256[:8]) == destination


def test_an_unlike_file_is_replaced(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "weights"
    destination.write_bytes(b"older")
    transfer.fetch(f"{server.address}/weights", destination, sha256=SHA256[:8])
    assert destination.read_bytes() == BODY


@pytest.mark.parametrize("cut", [transfer.CHUNK, 2 * transfer.CHUNK, len(BODY) - 17])
def test_an_interrupted_transfer_goes_on_in_the_next_run(server: Server, tmp_path: Path, cut: int) -> None:
    destination = tmp_path / "a.zip"
    begin(server, destination, cut)
    transfer.fetch(f"{server.address}/a.zip", destination, sha256=SHA256)
    assert destination.read_bytes() == BODY
    assert [(a["Range"], a["If-Range"]) for a in server.asked] == [(f"bytes={cut}-", '"one"')]
    assert leftovers(tmp_path) == {"a.zip"}


def test_dropped_connections_are_taken_up_in_the_same_run(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = transfer.CHUNK
    server.plans = [{"cut": part + 9}, {"status": 503}, {"status": 429}, {"cut": 2 * part}]
    sleeps = Sleeps()
    transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip", sha256=SHA256, sleep=sleeps)
    assert [asked.get("Range") for asked in server.asked] == [
        None, f"bytes={part}-", f"bytes={part}-", f"bytes={part}-", f"bytes={3 * part}-",
    ]  # fmt: skip
    assert sleeps == [1, 2, 4, 1]  # after new bytes it starts over with short waits
    assert "the server answers 503; trying again" in capsys.readouterr().err


def test_attempts_that_bring_nothing_new_end(server: Server, tmp_path: Path) -> None:
    server.ranges = False  # each attempt starts over and breaks at the same byte
    server.plans = [{"cut": transfer.CHUNK}] * 50
    sleeps = Sleeps()
    with pytest.raises(ReposeError, match=r"http://127.0.0.1:\d+/a.zip: the connection .* gave up after 5 attempts"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip", sleep=sleeps)
    assert len(server.asked) == 5  # the first brought a chunk
    assert sleeps == [1, 2, 4, 8]


def test_a_file_that_changed_between_two_runs_is_fetched_anew(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = tmp_path / "a.zip"
    begin(server, destination, transfer.CHUNK)
    server.body, server.etag = OTHER, '"two"'
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert destination.read_bytes() == OTHER
    assert "starting over" in capsys.readouterr().err


def test_a_body_that_ends_early_without_an_error_is_noticed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = transfer._http_chunks
    monkeypatch.setattr(transfer, "_http_chunks", lambda response: islice(whole(response), 1))
    sleeps = Sleeps()
    transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip", sha256=SHA256, sleep=sleeps)
    assert sleeps == [1] * (len(BODY) // transfer.CHUNK)


def test_a_crash_while_starting_over_never_mixes_two_states(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "a.zip"
    begin(server, destination, transfer.CHUNK)
    server.body, server.etag = OTHER, '"two"'
    real = Path.open

    def crash(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode == "wb":
            raise KeyboardInterrupt
        return real(path, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", crash)
        with pytest.raises(KeyboardInterrupt):
            transfer.fetch(f"{server.address}/a.zip", destination)
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert destination.read_bytes() == OTHER


@pytest.mark.parametrize("plan", [{"blind": True}, {"shift": 1}])
def test_a_server_that_sends_bytes_of_another_state_or_place_is_not_believed(
    server: Server, tmp_path: Path, plan: dict[str, Any]
) -> None:
    destination = tmp_path / "a.zip"
    begin(server, destination, transfer.CHUNK)
    if "blind" in plan:  # it knows Range and not If-Range
        server.body, server.etag = OTHER, '"two"'
    server.plans = [plan]
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert destination.read_bytes() == server.body
    assert [asked.get("Range") for asked in server.asked] == [f"bytes={transfer.CHUNK}-", None]


@pytest.mark.parametrize(("etag", "modified", "resumed"), [
    ('W/"weak"', "", False), ("", "", False), ('W/"weak"', "Tue, 01 Nov 2022 10:00:00 GMT", True),
])  # fmt: skip
def test_only_a_strong_validator_lets_a_transfer_go_on(
    server: Server, tmp_path: Path, etag: str, modified: str, resumed: bool
) -> None:
    server.etag, server.modified = etag, modified
    destination = tmp_path / "a.zip"
    begin(server, destination, transfer.CHUNK)
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert destination.read_bytes() == BODY
    assert ("Range" in server.asked[0]) is resumed


def test_a_note_that_is_cut_short_is_not_believed(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "a.zip"
    begin(server, destination, transfer.CHUNK)
    note = tmp_path / ".a.zip.partial.json"
    note.write_text(note.read_text()[:20])
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert destination.read_bytes() == BODY
    assert "Range" not in server.asked[0]


def test_a_finished_transfer_is_asked_after_and_kept(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "a.zip"
    for _ in range(2):
        transfer.fetch(f"{server.address}/a.zip", destination, size=len(BODY))
    assert [asked.get("Range") for asked in server.asked] == [None, f"bytes={len(BODY)}-"]
    server.ranges = False
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert len(server.asked) == 3
    server.body, server.etag = OTHER, '"two"'
    transfer.fetch(f"{server.address}/a.zip", destination)
    assert destination.read_bytes() == OTHER


def test_a_body_without_a_length_arrives_and_goes_on(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "a.zip"
    server.plans = [{"chunked": True, "cut": 2 * transfer.CHUNK}]
    transfer.fetch(f"{server.address}/a.zip", destination, sleep=Sleeps())
    assert destination.read_bytes() == BODY
    assert "Range" in server.asked[1]


def test_a_body_that_is_compressed_on_the_way_arrives_unpacked(server: Server, tmp_path: Path) -> None:
    import gzip

    server.plans = [{"body": gzip.compress(BODY), "headers": {"Content-Encoding": "gzip"}}]
    transfer.fetch(f"{server.address}/pairs.csv", tmp_path / "pairs.csv", sha256=SHA256, size=len(BODY))
    assert (tmp_path / "pairs.csv").read_bytes() == BODY


def test_a_wrong_digest_leaves_no_file_and_says_what_was_expected_and_found(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "weights"
    destination.write_bytes(b"good, of yesterday")
    with pytest.raises(ReposeError, match=f"SHA-256 should be {'0' * 64}, it is {SHA256}"):
        transfer.fetch(f"{server.address}/weights", destination, sha256="0" * 64)
    assert destination.read_bytes() == b"good, of yesterday"


def test_what_was_refused_is_used_once_the_digest_is_corrected_and_fetched_anew_if_not(
    server: Server, tmp_path: Path
) -> None:
    def again(sha256: str) -> None:
        server.asked.clear()
        transfer.fetch(f"{server.address}/weights", tmp_path / "weights", sha256=sha256)

    for _ in range(2):
        with pytest.raises(ReposeError, match="SHA-256"):
            again("0" * 64)
        assert "Range" not in server.asked[0]
    again(SHA256)
    assert [asked["Range"] for asked in server.asked] == [f"bytes={len(BODY)}-"]
    assert (tmp_path / "weights").read_bytes() == BODY


def test_a_wrong_size_is_told_before_anything_is_transferred(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"should have 12 bytes, it has 196,625"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip", size=12)
    assert leftovers(tmp_path) == set()


def test_a_wrong_size_that_the_server_does_not_announce_is_told_at_the_end(server: Server, tmp_path: Path) -> None:
    server.plans = [{"chunked": True}]
    with pytest.raises(ReposeError, match=r"should have 12 bytes, it has 196,625"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip", size=12)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("plan", [{}, {"chunked": True}])
def test_a_body_beyond_the_limit_is_cut_off(server: Server, tmp_path: Path, plan: dict[str, Any]) -> None:
    server.plans = [plan]
    with pytest.raises(ReposeError, match="larger than the limit of 1,000 bytes"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip", limit=1000)
    assert not (tmp_path / "a.zip").exists()


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


def test_a_web_page_in_place_of_a_zip_is_told(server: Server, tmp_path: Path) -> None:
    server.plans = [{"body": b"<html>", "headers": {"Content-Type": "text/html; charset=utf-8"}}]
    with pytest.raises(ReposeError, match="is a web page, not a file"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip")
    assert leftovers(tmp_path) == set()


def test_redirects_that_lead_round_in_circles_are_told(server: Server, tmp_path: Path) -> None:
    server.plans = [{"status": 302, "headers": {"Location": "/a.zip"}}] * 40
    with pytest.raises(ReposeError, match="round in circles"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip")


@pytest.mark.parametrize(("fault", "message"), [
    ("NameResolutionError", "no such host, or no network"), ("ConnectTimeout", "does not answer"),
    ("ConnectionError", "cannot connect"),
])  # fmt: skip
def test_no_connection_is_tried_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    import requests
    import urllib3

    def get(*_: Any, **__: Any) -> None:
        if fault == "NameResolutionError":
            reason = urllib3.exceptions.NameResolutionError("s3cret", None, socket.gaierror())
            raise requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "s3cret", reason))
        raise getattr(requests.exceptions, fault)("https://anna:s3cret@example.org")

    monkeypatch.setattr(requests, "get", get)
    sleeps = Sleeps()
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("https://anna:s3cret@example.org/a.zip", tmp_path / "a.zip", sleep=sleeps)
    assert sleeps == [1, 2, 4, 8]
    assert "s3cret" not in str(caught.value)


def test_a_certificate_that_is_not_trusted_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def get(*_: Any, **__: Any) -> None:
        raise requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED")

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(ReposeError, match="certificate is not trusted"):
        transfer.fetch("https://example.org/a.zip", tmp_path / "a.zip")


@pytest.mark.parametrize("address", ["http://", "https://[::1", "http://anna:s3/cret@example.org/a.zip"])
def test_an_address_that_cannot_be_read_is_told(tmp_path: Path, address: str) -> None:
    with pytest.raises(ReposeError, match="not an address that can be fetched") as caught:
        transfer.fetch(address, tmp_path / "a.zip")
    assert "cret" not in str(caught.value)


def test_an_unknown_scheme_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"~nobody-at-all/x: there is no such home folder"):
        transfer.local_path("~nobody-at-all/x")
    with pytest.raises(ReposeError, match=r"cannot fetch from ftp://.*s3://"):
        transfer.fetch("ftp://anna:s3cret@example.org/a.zip", tmp_path / "a.zip")


class _FullDisk(io.BytesIO):
    """A file on a disk without space for it."""

    code = errno.ENOSPC

    def write(self, _: Any) -> int:
        raise OSError(self.code, "no")


@pytest.mark.parametrize(("code", "message"), [
    (errno.ENOSPC, r"No space left .*what has come is kept"), (errno.EACCES, "Cannot write"),
])  # fmt: skip
def test_a_full_disk_is_told_and_what_came_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    destination = tmp_path / "a.zip"
    begin(server, destination, transfer.CHUNK)
    real, full = Path.open, _FullDisk()
    full.code = code
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a, **k: full if mode == "ab" else real(path, mode, *a, **k)
    )
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(f"{server.address}/a.zip", destination)
    assert str(destination) in str(caught.value)
    assert partial_path(destination).read_bytes() == BODY[: transfer.CHUNK]


def test_another_error_of_the_disk_is_a_defect(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = _FullDisk()
    full.code = errno.EIO
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a, **k: full if mode == "wb" else real(path, mode, *a, **k)
    )
    with pytest.raises(OSError, match="no"):
        transfer.fetch(f"{server.address}/a.zip", tmp_path / "a.zip")


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


# ---- S3 ----


@pytest.fixture
def put(endpoint: str) -> Callable[[str, bytes], None]:
    client = transfer._s3_client(endpoint)
    client.create_bucket(Bucket="data")
    return lambda key, body: client.put_object(Bucket="data", Key=key, Body=body)


def test_s3_object_arrives_and_is_asked_after(put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path) -> None:
    put("in/img.zip", BODY)
    for _ in range(2):
        path = transfer.fetch("s3://data/in/img.zip", tmp_path / "a", endpoint=endpoint, size=len(BODY))
        assert path.read_bytes() == BODY
    put("in/img.zip", OTHER)
    assert transfer.fetch("s3://data/in/img.zip", tmp_path / "a", endpoint=endpoint).read_bytes() == OTHER


def test_s3_transfer_goes_on_with_a_range_of_the_same_etag(
    server: Server, s3_credentials: None, tmp_path: Path
) -> None:
    server.modified = "Tue, 01 Nov 2022 10:00:00 GMT"
    server.plans = [{"cut": transfer.CHUNK}, {"status": 503}]
    sleeps = Sleeps()
    fetched = transfer.fetch(
        "s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address, sha256=SHA256, sleep=sleeps
    )
    assert fetched.read_bytes() == BODY
    assert [(asked.get("Range"), asked.get("If-Match")) for asked in server.asked] == [
        (None, None), (f"bytes={transfer.CHUNK}-", '"one"'), (f"bytes={transfer.CHUNK}-", '"one"'),
    ]  # fmt: skip
    assert sleeps == [1, 2]


def cut_s3(endpoint: str, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer from S3 that broke after the first chunk, for good."""

    def chunks(body: Any) -> Iterator[bytes]:
        yield body.read(transfer.CHUNK)
        raise transfer._Interrupted("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(transfer, "_s3_chunks", chunks)
        broken.setattr(transfer, "ATTEMPTS", 1)
        with pytest.raises(ReposeError, match="gave up"):
            transfer.fetch("s3://data/a.zip", destination, endpoint=endpoint, sleep=Sleeps())
    assert partial_path(destination).stat().st_size == transfer.CHUNK


@pytest.mark.parametrize("body", [BODY, OTHER, OTHER[:10]], ids=["same", "other", "shorter"])
def test_s3_transfer_of_the_next_run_goes_on_or_starts_over(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    put("a.zip", BODY)
    cut_s3(endpoint, tmp_path / "a.zip", monkeypatch)
    put("a.zip", body)
    assert transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=endpoint).read_bytes() == body


def test_s3_server_that_ignores_if_match_is_not_believed(server: Server, s3_credentials: None, tmp_path: Path) -> None:
    server.modified = "Tue, 01 Nov 2022 10:00:00 GMT"
    server.plans = [{"cut": transfer.CHUNK}, {"blind": True}]
    sleeps = Sleeps()

    def change(seconds: float) -> None:
        server.body, server.etag = OTHER, '"two"'

    fetched = transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address, sleep=change)
    assert fetched.read_bytes() == OTHER
    assert sleeps == []
    assert [asked.get("Range") for asked in server.asked] == [None, f"bytes={transfer.CHUNK}-", None]


def test_s3_prefix_brings_every_object(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"img/é k?#.jpg": b"1", "../up": b"2", "a": b"3", "a/b": b"4", "img/": b""}
    for name, body in names.items():
        put(f"in/{name}", body)
    put("instead", b"5")
    client = transfer._s3_client(endpoint)
    pages = client.list_objects_v2
    client.list_objects_v2 = lambda **how: pages(MaxKeys=2, **how)
    monkeypatch.setattr(transfer, "_s3_client", lambda _: client)
    objects = list(transfer.list_prefix("s3://data/in/", endpoint=endpoint))
    assert {entry.name: entry.size for entry in objects} == {n: len(b) for n, b in names.items() if n != "img/"}
    assert {entry.name for entry in transfer.list_prefix("s3://data", endpoint=endpoint)} > {"instead", "in/a"}
    fetched = transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint)
    assert {name: path.read_bytes() for name, path in fetched} == {n: b for n, b in names.items() if n != "img/"}
    assert {path.parent for _, path in fetched} == {tmp_path / "to"}

    monkeypatch.setattr(client, "get_object", None)  # a second run transfers nothing
    assert transfer.fetch_objects("s3://data/in/", objects, tmp_path / "to", endpoint=endpoint) == fetched


def test_s3_prefix_stops_at_the_first_object_that_cannot_be_had(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path
) -> None:
    put("in/a", b"1")
    gone = transfer.Object("b", 1, "in/b", '"x"')
    with pytest.raises(ReposeError, match="There is no s3://data/in/b"):
        transfer.fetch_objects("s3://data/in/", [gone], tmp_path, endpoint=endpoint)


@pytest.mark.parametrize(("address", "message"), [
    ("s3://data/missing.zip", r"There is no s3://data/missing.zip"),
    ("s3://nowhere/a.zip", "no such bucket"),
    ("s3://key:s3cret@data/a.zip", r"write s3://bucket/key"),
    ("s3:///a.zip", r"write s3://bucket/key"),
    ("s3://no bucket/a.zip", "name is not a valid one"),
])  # fmt: skip
def test_s3_addresses_that_lead_nowhere_are_told(
    put: Callable[[str, bytes], None], endpoint: str, tmp_path: Path, address: str, message: str
) -> None:
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(address, tmp_path / "a", endpoint=endpoint)
    assert "s3cret" not in str(caught.value)
    assert leftovers(tmp_path) == set()


def test_s3_prefix_in_a_bucket_that_is_not_there_is_told(endpoint: str) -> None:
    with pytest.raises(ReposeError, match="no such bucket"):
        list(transfer.list_prefix("s3://nowhere/in/", endpoint=endpoint))


@pytest.mark.parametrize(("status", "code", "message"), [
    (403, "InvalidAccessKeyId", "credentials are wrong or have expired"),
    (400, "ExpiredToken", "credentials are wrong or have expired"),
    (403, "AccessDenied", "may not be read with these credentials"),
    (403, "InvalidObjectState", "may not be read with these credentials"),
    (301, "PermanentRedirect", "answers 301 PermanentRedirect"),
    (503, "SlowDown", "answers 503 SlowDown; gave up"),
    (400, "RequestTimeout", "answers 400 RequestTimeout; gave up"),
])  # fmt: skip
def test_s3_refusals_say_what_to_do(
    server: Server, s3_credentials: None, tmp_path: Path, status: int, code: str, message: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>s3cret</Message></Error>".encode()
    server.plans = [{"status": status, "body": body}] * 9
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address, sleep=Sleeps())
    assert "s3cret" not in str(caught.value)


def test_s3_without_credentials_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_s3_server_that_is_not_there_is_told(s3_credentials: None, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"cannot connect to the S3 server.*gave up"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint="http://127.0.0.1:1", sleep=Sleeps())


def test_s3_server_that_does_not_answer_in_time_is_told(
    s3_credentials: None, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ReposeError, match=r"cannot connect to the S3 server, or the connection broke; gave up"):
            transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=endpoint, sleep=Sleeps())


@pytest.mark.parametrize("status", [200, 403, 404])
def test_an_endpoint_that_is_a_web_site_is_told(
    server: Server, s3_credentials: None, tmp_path: Path, status: int
) -> None:
    server.plans = [
        {"status": status, "body": b"<!doctype html><html>MinIO Console", "headers": {"Content-Type": "text/html"}}
    ] * 9
    server.etag = ""
    message = {200: "is no S3 server", 403: "may not be read", 404: "There is no"}[status]
    with pytest.raises(ReposeError, match=message):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=server.address, sleep=Sleeps())
    with pytest.raises(ReposeError, match=message):
        list(transfer.list_prefix("s3://data/in/", endpoint=server.address, sleep=Sleeps()))
    assert leftovers(tmp_path) == set()


def test_s3_certificate_that_is_not_trusted_is_told(s3_credentials: None, tmp_path: Path, server: Server) -> None:
    endpoint = server.address.replace("http://", "https://")  # speaks no TLS
    with pytest.raises(ReposeError, match="certificate is not trusted"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint=endpoint, sleep=Sleeps())


def test_an_endpoint_that_is_no_address_is_told(s3_credentials: None, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match="should read like http://host:port"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip", endpoint="127.0.0.1")


def test_s3_without_boto3_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReposeError, match=r"pip install 'repose\[pipeline\]'"):
        transfer.fetch("s3://data/a.zip", tmp_path / "a.zip")
