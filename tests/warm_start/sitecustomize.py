"""Python imports this when it starts, where `warm.environment` says so: a program that `warm` knows goes on over there."""

import os
import sys


def program() -> list[str]:
    """What this process is to run, as runpy takes it: `-m`, module, arguments; or script, arguments."""
    words = sys.orig_argv[1:]
    known = os.environ["TESTS_WARM_PROGRAMS"].split(os.pathsep)
    return words if "".join(words[:2] if words[:1] == ["-m"] else words[:1]) in known else []


def handed_over(words: list[str]) -> int:
    """Let the server run it with our streams, folder and environment; return its exit status."""
    import json
    import socket

    request = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["TESTS_WARM"])
        socket.send_fds(server, [len(request).to_bytes(4)], [0, 1, 2])
        server.sendall(request)
        answer = server.recv(4)
    assert answer, "the server is gone"
    return int.from_bytes(answer, signed=True)


if "TESTS_WARM" in os.environ and (words := program()):
    try:
        status = handed_over(words)
    except Exception as error:  # Python itself would go on without us
        print(f"tests/warm.py: {words} was not run: {error!r}", file=sys.stderr)
        status = 70  # EX_SOFTWARE
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)
