"""Servers that lie, never end, or send the transfer elsewhere: each ends in a clear error, in time, and leaves no file."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from file_server import BODY, SHA256, Server
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.transfer import addresses, stream
from repose.storage.transfer.s3 import list_prefix

pytestmark = pytest.mark.usefixtures("s3_credentials", "waits")
OK, STATE = b"HTTP/1.1 200 OK\r\n", b'ETag: "x"\r\nLast-Modified: Tue, 01 Nov 2022 10:00:00 GMT\r\n'
CHUNKED = OK + STATE + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 10**6
Answer = bytes | Callable[[socket.socket], None]


class Hostile:
    """Answers each request with the same bytes, or in its own way, and closes the connection."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.answer: Answer = b""
        self.open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._one, args=(self.socket.accept()[0],), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        self.open.append(connection)
        with connection, suppress(OSError):
            connection.recv(65536)
            if callable(self.answer):
                self.answer(connection)
            else:
                connection.sendall(self.answer)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setattr(stream, "SLOWEST", 0.5)
    server = Hostile()
    yield server
    server.socket.close()
    for connection in server.open:  # otherwise abandoned requests would go on
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def repeated(head: bytes, part: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    """An answer that never ends."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)
            time.sleep(pause)

    return answer


def redirect(to: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + to + b"\r\n\r\n"


def sized(size: bytes) -> bytes:
    return OK + STATE + b"Content-Length: " + size + b"\r\n\r\nhello"


SLOW, BROKEN = "less than 1,048,576 bytes in", "connection broke.*gave up after 5 attempts"
OVER_HTTP: dict[str, tuple[Answer, str]] = {
    "an endless head": (repeated(b"HTTP/1.1 200 OK\r\nA: b", b"b", 0.01), "did not begin to answer in 0 s; gave up"),
    "a byte now and then": (repeated(sized(b"100000"), b"a", 0.01), SLOW),
    "a chunk of size -1": (repeated(CHUNKED + b"-1\r\n", b"a" * 65536), "larger than the limit|less than"),
    "chunks for ever": (repeated(CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n"), "larger than the limit of 1,000,000"),
    "a chunk too short": (CHUNKED + b"ffffffffffffffffffff\r\na", BROKEN),
    "not HTTP": (b"<html>", BROKEN),
    "a redirect with an endless body": (repeated(redirect(b"ftp://h/").replace(b"Content-Length: 0\r\n", b""), b"a" * 999), "ftp://h/"),
    "a redirect in a circle": (redirect(b"/a.zip"), "more than 10 redirects"),
    "to a file": (redirect(b"file:///etc/passwd"), "redirects to file://..., which is not https:// or http://"),
    "to an escape": (redirect(b"gopher://\x1b[31m"), r"redirects to gopher://.*, which is not|an address that is none"),
    "to a password": (redirect(b"ftp://anna:s3cret@h/?s3cret=s3cret"), "redirects to ftp://h/, which"),
    "to an empty label": (redirect(b"http://a..b/"), "cannot be fetched"),
}  # fmt: skip


@pytest.mark.parametrize("name", OVER_HTTP)
def test_a_hostile_web_server(hostile, tmp_path, name):
    hostile.answer, message = OVER_HTTP[name]
    address = hostile.address.replace("//", "//anna:s3cret@")
    began = time.monotonic()
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch(f"{address}/a.zip?s3cret=s3cret", tmp_path / "a", limit=LIMIT)
    assert time.monotonic() - began < 10
    assert str(caught.value).isprintable()
    assert "s3cret" not in str(caught.value)
    assert not (tmp_path / "a").exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= LIMIT + 2**20


def test_a_compressed_answer_is_not_unpacked(hostile, tmp_path):
    bomb = gzip.compress(bytes(10**8))
    hostile.answer = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    assert transfer.fetch(f"{hostile.address}/a", tmp_path / "a", limit=LIMIT).read_bytes() == bomb


# --- what is sent where


def login(server: Server) -> list[str | None]:
    return [asked.get("Authorization") for asked in server.asked]


def test_a_login_goes_to_the_address_s_own_server_alone(server, other, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for address in (server.address, server.address.replace("//", "//bert:hidden@")):
        moved = {"status": 302, "headers": {"Location": f"{other.address}/b", "Set-Cookie": "a=s3cret"}}
        server.plans = [{"status": 302, "headers": {"Location": f"{server.address}/b"}}, moved]
        transfer.fetch(f"{address}/a.zip", tmp_path / "a", sha256=SHA256)
        (tmp_path / "a").unlink()
    anna, bert = "Basic YW5uYTpzM2NyZXQ=", "Basic YmVydDpoaWRkZW4="
    assert login(server) == [anna, anna, bert, bert]
    assert login(other) == [None, None]
    assert not any("Cookie" in asked for asked in server.asked + other.asked)


def test_https_may_become_http_only_for_a_known_file(server, tmp_path, monkeypatch):
    real = requests.Session.get

    def get(session: requests.Session, address: str, **how: Any) -> requests.Response:
        if address.startswith("http://"):
            return real(session, address, **how)
        answer = requests.Response()
        answer.status_code, answer.headers["Location"] = 302, f"{server.address}/b?s3cret=s3cret"
        answer.close = lambda: None  # type: ignore[method-assign]
        return answer

    monkeypatch.setattr(requests.Session, "get", get)
    message = r"https://example.org/a redirects from https to http://127.*Give all 64 digits"
    for sha256 in (SHA256[:8], None):
        with pytest.raises(ReposeError, match=message) as caught:
            transfer.fetch("https://example.org/a", tmp_path / "a", sha256=sha256)
        assert "s3cret" not in str(caught.value)
    assert server.asked == []
    assert transfer.fetch("https://example.org/a", tmp_path / "a", sha256=SHA256).read_bytes() == BODY


# --- S3


ESCAPE = b"HTTP/1.1 404 N\r\nContent-Length: 32\r\n\r\n<Error><Code>\xc2\x9b</Code></Error>"


@pytest.mark.parametrize(("answer", "message"), [
    (repeated(sized(b"100000"), b"a", 0.01), SLOW),
    (repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), "did not begin to answer"),
    (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", "is not an S3 server"), (ESCAPE, "404 a code that S3 does not have"),
], ids=["a byte now and then", "100 Continue for ever", "no length", "a code of an escape"])  # fmt: skip
def test_a_hostile_s3_server(hostile, tmp_path, answer, message):
    hostile.answer = answer
    with pytest.raises(ReposeError, match=message) as caught:
        transfer.fetch("s3://data/a", tmp_path / "a", endpoint=hostile.address, limit=LIMIT)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "a").exists()


ENTRY = "<Contents><Key>in/a</Key><Size>3</Size><ETag>x</ETag></Contents>"
CUT, NEXT = "<IsTruncated>true</IsTruncated>", "<NextContinuationToken>{}</NextContinuationToken>"


@pytest.mark.parametrize("listed", [
    ENTRY.replace("Size", "Sice"), ENTRY.replace("in/", "out/"), CUT + ENTRY,
    CUT + NEXT, CUT + ENTRY + NEXT.format("t"),
], ids=["no size", "a key of another prefix", "no token", "empty pages for ever", "the same page for ever"])  # fmt: skip
def test_a_hostile_list(hostile, listed):
    pages = iter(range(200))

    def answer(connection: socket.socket) -> None:
        body = f"<ListBucketResult>{listed.format(next(pages))}</ListBucketResult>".encode()
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    hostile.answer = answer
    with pytest.raises(ReposeError, match=r"^s3://data/in/: the endpoint is not an S3 server"):
        list(list_prefix("s3://data/in/", endpoint=hostile.address))


def test_an_object_that_is_larger_than_the_list_says_is_refused(hostile, tmp_path):
    hostile.answer = sized(b"1000000000000")
    listed = [transfer.Object("a", 3, "in/a", '"x"')]
    with pytest.raises(ReposeError, match="should have 3 bytes, it has 1,000,000,000,000"):
        transfer.fetch_objects("s3://data/in/", listed, tmp_path, endpoint=hostile.address)
    assert not any(path.stat().st_size for path in tmp_path.iterdir() if path.suffix != ".json")


# --- names


@pytest.mark.parametrize("name", [
    "..%2F..%2Fetc", "a%00b", "a" * 300 + ".pth", "é" * 300, "", "a/%2f", "\u202egpj.exe",
])  # fmt: skip
def test_a_file_name_is_safe(name):
    found = addresses.file_name(f"https://example.org/x/{name}?y/z#/z")
    assert len(found) <= 80
    assert not set(found) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert found.endswith(".pth") == name.endswith(".pth")  # it tells how to read weights
