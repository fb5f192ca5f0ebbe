"""A proxy in front of an HTTP or S3 server that fails as a test says."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from serving import serving

BLOCK = 2**14  # bytes that are passed on at a time
_OF_A_CONNECTION = {"connection", "keep-alive", "expect", "proxy-connection"}  # headers that are not passed on


@dataclass(frozen=True)
class Fault:
    """What goes wrong with some requests."""

    status: int = 0  # of an error of S3 that is answered instead; 0: the server's own answer
    code: str = "SlowDown"  # of that error
    drop_response: int | None = None  # bytes of the body that arrive before the connection closes
    drop_request: int | None = None  # bytes of the request's body that reach the server before both connections close
    wrong: int | None = None  # the place of a byte of the body that arrives with other bits
    pace: int | None = None  # bytes of the body per second
    hang: bool = False  # silence until the proxy ends, instead of the answer
    methods: str = "GET HEAD PUT POST DELETE"
    paths: str = ""  # a pattern in the path and query
    times: int | None = None  # requests; None: all

    def is_for(self, method: str, path: str) -> bool:
        return method in self.methods.split() and re.search(self.paths, path) is not None


class Request(NamedTuple):
    """What a client asked for."""

    method: str
    path: str  # with its query
    range: str | None  # the header Range


class FaultyProxy:
    """Passes requests on as they are (with the Host, which is signed), one per connection, and notes them."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.requests: list[Request] = []
        self._faults: list[tuple[Fault, list[None]]] = []  # each with one entry per request that met it
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self._port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @contextmanager
    def listening(self) -> Iterator["FaultyProxy"]:
        """Take requests until the block ends."""
        self.ended.clear()
        server = _Server(("127.0.0.1", self._port), self)
        self._port = server.server_port
        with serving(server):
            try:
                yield self
            finally:
                self.ended.set()  # before the server waits for its threads

    def fail(self, *faults: Fault) -> None:
        """Replace the faults; a request meets the first that is for it and not used up."""
        with self._lock:
            self._faults = [(fault, []) for fault in faults]
            self.requests.clear()

    def count(self, method: str = "", paths: str = "") -> int:
        """The number of requests since `fail` of a method and with a pattern in their paths."""
        return sum(r.method == (method or r.method) and bool(re.search(paths, r.path)) for r in self.requests)

    def take(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            for fault, met in self._faults:
                if fault.is_for(request.method, request.path) and (fault.times is None or len(met) < fault.times):
                    met.append(None)
                    return fault
        return Fault()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # all of them have ended when the server is closed
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], proxy: FaultyProxy) -> None:
        super().__init__(address, _Handler)
        self.proxy = proxy

    def handle_error(self, *_: Any) -> None:
        """Connections that break are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        path = self.requestline.split()[1]  # as it was signed; self.path is tidied
        fault = self.server.proxy.take(Request(self.command, path, self.headers.get("Range")))
        if fault.hang:
            self.server.proxy.ended.wait()
        elif fault.status:
            for _ in self._request_body():  # a client may not look at the answer before it has sent all
                pass
            self._answer(fault)
        else:
            self._pass_on(path, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self, fault: Fault) -> None:
        body = f"<Error><Code>{fault.code}</Code><Message>as the test says</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass_on(self, path: str, fault: Fault) -> None:
        upstream = self.server.proxy.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        try:
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OF_A_CONNECTION:
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders()
            if not self._send_body(connection, fault.drop_request):
                return
            with connection.getresponse() as response:
                self._send_head(response)
                self._send_response_body(response, fault)
        finally:
            connection.close()

    def _send_body(self, connection: http.client.HTTPConnection, most: int | None) -> bool:
        """Whether all of the request's body went on."""
        sent = 0
        for block in self._request_body():
            if most is not None and sent + len(block) > most:
                connection.send(block[: most - sent])
                return False
            connection.send(block)
            sent += len(block)
        return True

    def _request_body(self) -> Iterator[bytes]:
        """The body as it is on the wire."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            yield from self._chunked_body()
            return
        rest = int(self.headers.get("Content-Length", 0))
        while rest and (block := self.rfile.read(min(rest, BLOCK))):
            rest -= len(block)
            yield block

    def _chunked_body(self) -> Iterator[bytes]:
        size = 1
        while size:
            line = self.rfile.readline()
            size = int(line.split(b";")[0], 16)
            yield line + self.rfile.read(size + 2)

    def _send_head(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _OF_A_CONNECTION | {"transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _send_response_body(self, response: http.client.HTTPResponse, fault: Fault) -> None:
        sent, most = 0, fault.drop_response
        with suppress(http.client.IncompleteRead):
            while block := response.read(BLOCK):
                if fault.wrong is not None and 0 <= (place := fault.wrong - sent) < len(block):
                    block = block[:place] + bytes([block[place] ^ 0xFF]) + block[place + 1 :]
                if most is not None and sent + len(block) > most:
                    self.wfile.write(block[: most - sent])
                    return
                if fault.pace is not None and self.server.proxy.ended.wait(len(block) / fault.pace):
                    return
                self.wfile.write(block)
                sent += len(block)
