"""What the stand-ins for servers share: an HTTP server on this machine that records requests and can misbehave."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from serving import serving

JSON = "application/json"


class Request(NamedTuple):
    """A request; `body` is JSON, or the file of an upload."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: Any


class StandIn(ThreadingHTTPServer):
    """A server that answers requests by its method `answer`.

    Attributes:
        requests: all requests.
        troubles: what the next requests get instead of an answer: status, content type, body; None for a lost connection; True
            for no trouble.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.troubles: list[tuple[int, str, bytes] | bool | None] = []
        self.scheme = "http"

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def answer(self, request: Request) -> tuple[int, Any]:
        """The status, and a JSON value or a text."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Self]:
        """The server in a thread."""
        with serving(self):
            yield self


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        parts, content = urlsplit(self.path), self.rfile.read(int(self.headers["Content-Length"] or 0))
        kind = self.headers["Content-Type"] or ""
        if kind.startswith("multipart/"):
            (part,) = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content).get_payload()
            body = part.get_payload(decode=True)
        else:
            body = json.loads(content) if content else None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Request(self.command, parts.path, query, body, self.headers)
        self.server.requests.append(request)
        trouble = self.server.troubles.pop(0) if self.server.troubles else True
        if trouble is None:
            self.close_connection = True
        elif isinstance(trouble, tuple):
            self.reply(*trouble)
        else:
            status, found = self.server.answer(request)
            text = found if isinstance(found, str) else json.dumps(found)
            self.reply(status, "text/plain" if isinstance(found, str) else JSON, text.encode())

    do_GET = do_POST = do_DELETE = handle_one  # noqa: N815 (http.server's names)

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Be silent."""
