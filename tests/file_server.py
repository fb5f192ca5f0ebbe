"""A server of one file that behaves and misbehaves as a test says."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from repose.storage.transfer.partial import CHUNK

BODY = hashlib.shake_256(b"body").digest(3 * CHUNK + 17)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = hashlib.shake_256(b"other").digest(len(BODY))  # the same size, so that only the ETag differs
DATE = "Tue, 01 Nov 2022 10:00:00 GMT"


class Server(ThreadingHTTPServer):
    """Serves one body at every path, with ranges; `plans` change its next answers, one each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.etag, self.modified = BODY, '"one"', DATE
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
        match = self.headers.get("If-Match", server.etag)
        if match != server.etag and not plan.get("blind"):
            return 412, b""
        unchanged = "If-Range" not in self.headers or self.headers["If-Range"] in (server.etag, server.modified)
        if not wanted or not server.ranges or not (unchanged or plan.get("blind")):
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
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if "gate" in plan:  # the rest after `at` bytes comes when the gate is set
            self.wfile.write(body[: plan["at"]])
            plan["gate"].wait(30)
            body = body[plan["at"] :]
        self.wfile.write(body[: plan.get("cut")])
        if "cut" in plan:
            self.close_connection = True
