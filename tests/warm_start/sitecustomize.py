"""Python imports this when it starts, where `warm.environment` says so: a program that `warm` knows goes on over there."""

import os
import sys


def handed_over(address: str) -> int:
    """Let the server there run it with our words, streams, folder and variables; return its exit status."""
    request = {"words": sys.orig_argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(content).to_bytes(4)], [0, 1, 2])
        server.sendall(content)
        answer = server.recv(4)
    assert answer, "the server is gone"
    return int.from_bytes(answer)


if "TESTS_WARM" in os.environ:
    import json

    words = sys.orig_argv[1:]
    address = json.loads(os.environ["TESTS_WARM"]).get("".join(words[:2] if words[:1] == ["-m"] else words[:1]))
    if address is not None:
        import socket

        try:
            status = handed_over(address)
        except Exception as error:  # Python itself would go on without us
            print(f"tests/warm.py: {words} was not run: {error!r}", file=sys.stderr)
            status = 70  # EX_SOFTWARE
        os._exit(status)
