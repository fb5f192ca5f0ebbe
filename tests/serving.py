"""Servers in a thread of their own, for tests that fetch from 127.0.0.1."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What a file server answers to a request."""

    body: bytes
    kind: str = "application/octet-stream"
    status: int = 200
    sent: int | None = None  # bytes, then the connection ends; None: all


class FileServer(ThreadingHTTPServer):
    """Answers by path, whatever the query, and notes the requests."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Answer], otherwise: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Files)
        self.asked: list[str] = []
        self.answers, self.otherwise = answers, otherwise

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Files(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path.partition("?")[0], self.server.otherwise)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: answer.sent])
        self.close_connection = True


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Answer requests until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
