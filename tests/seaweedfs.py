"""A throw-away S3 server that checks secrets, signatures and dates: SeaweedFS, from PyPI (`make test-s3`)."""

import ctypes
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import free_ports

PATIENCE = 60  # seconds until it has to answer
ACCESS_KEY, SECRET_KEY = "tester", "s3cret-of-the-tester"  # of its only user


@contextmanager
def running() -> Iterator[str]:
    """The address of a server on free ports of 127.0.0.1, over a temporary folder that is removed afterwards.

    Raises:
        RuntimeError: it is not installed, or it ended or did not answer in time; with the end of its log.
    """
    program = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
    if program is None:
        raise RuntimeError("There is no program `weed`. `make test-s3` installs it.")
    with tempfile.TemporaryDirectory(prefix="seaweedfs-", ignore_cleanup_errors=True) as made:
        folder, ports = Path(made), free_ports(8)
        address, keys = f"http://127.0.0.1:{ports[0]}", [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        users = {"identities": [{"name": "tester", "credentials": keys, "actions": ["Admin"]}]}
        (folder / "users.json").write_text(json.dumps(users))
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
        options = dict(zip((*names, "filer.port", "filer.port.grpc"), ports, strict=True)) | {
            "dir": folder, "s3.config": folder / "users.json", "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            "volume.max": 0, "master.volumeSizeLimitMB": 16, "master.telemetry": "false",
        }  # fmt: skip
        command = [program, "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, preexec_fn=_die_with_the_tests)
        try:
            end = time.monotonic() + PATIENCE
            while not _answers(address):
                if daemon.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"SeaweedFS does not answer:\n{(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield address
        finally:
            daemon.kill()
            daemon.wait()


def _die_with_the_tests() -> None:
    """Have Linux end a daemon whose tests were killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _answers(address: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 403  # who asks without a signature
    except OSError:
        return False
    return True
