"""A throw-away S3 server: Ceph's radosgw over one monitor and one storage daemon in memory."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")
PATIENCE = 120  # seconds until a daemon has to answer

# One copy of everything, no keys between the daemons, nothing outside the folder.
_CONFIG = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = {folder}
admin socket =
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
mon allow pool size one = true
mon cluster log to file = false
osd objectstore = memstore
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
rgw frontends = beast endpoint=127.0.0.1:{rgw_port}
rgw num rados handles = 1
rgw thread pool size = 32
rgw enable usage log = false
"""


@dataclass(frozen=True)
class Radosgw:
    """A running server, and the keys of its only user."""

    address: str  # http://127.0.0.1:port
    access_key: str
    secret_key: str


def missing() -> list[str]:
    """The programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def install() -> str | None:
    """Install the Debian packages that are missing; returns why that is impossible, or None."""
    if not (absent := missing()):
        return None
    command = f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return f"Ceph's programs are missing ({', '.join(absent)}). As root, on Debian: `{command}`."
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], check=True, env=environment)
    subprocess.run([*command.split(), "--yes", "--quiet"], check=True, env=environment)
    return None


@contextmanager
def running() -> Iterator[Radosgw]:
    """A server on free ports of 127.0.0.1, over a temporary folder that is removed afterwards.

    Raises:
        RuntimeError: a daemon ended or did not answer in time; with the end of its log.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="radosgw-", ignore_cleanup_errors=True)))
        cluster = _Cluster(folder, stack)
        cluster.start_monitor()
        cluster.start_storage()
        yield cluster.start_gateway()


class _Cluster:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack, self.fsid = folder, stack, str(uuid.uuid4())
        self.mon_port, self.rgw_port = _free_ports(2)
        self.config = folder / "ceph.conf"
        self.config.write_text(
            _CONFIG.format(fsid=self.fsid, folder=folder, mon_port=self.mon_port, rgw_port=self.rgw_port)
        )
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()

    def start_monitor(self) -> None:
        monmap = self.folder / "monmap"
        self.call(
            "monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", f"[v2:127.0.0.1:{self.mon_port}]", monmap
        )
        self.call("ceph-mon", "--mkfs", "--id", "a", "--monmap", monmap)
        daemon = self.start("ceph-mon", "--id", "a")
        self.wait(daemon, lambda: self.call("ceph", "--connect-timeout", "5", "status", check=False).returncode == 0)

    def start_storage(self) -> None:
        identity = str(uuid.uuid4())
        self.call("ceph", "osd", "new", identity)
        self.call("ceph-osd", "--id", "0", "--mkfs", "--osd-uuid", identity)
        daemon = self.start("ceph-osd", "--id", "0")
        self.wait(
            daemon, lambda: json.loads(self.call("ceph", "osd", "stat", "--format", "json").stdout)["num_up_osds"] == 1
        )

    def start_gateway(self) -> Radosgw:
        address = f"http://127.0.0.1:{self.rgw_port}"
        self.wait(self.start("radosgw", "--id", "rgw"), lambda: _answers(address))
        made = self.call("radosgw-admin", "user", "create", "--uid", "tester", "--display-name", "tester").stdout
        keys = json.loads(made)["keys"][0]
        return Radosgw(address, keys["access_key"], keys["secret_key"])

    def call(self, program: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [program, "--conf", str(self.config), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=self.folder)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        output = self.stack.enter_context((self.folder / f"{program}.out").open("wb"))
        command = [program, "--conf", str(self.config), "--foreground", *arguments]
        daemon = subprocess.Popen(
            command, cwd=self.folder, stdout=output, stderr=output, preexec_fn=_die_with_the_tests,
        )  # fmt: skip
        self.stack.callback(_stop, daemon)
        return daemon

    def wait(self, daemon: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            if daemon.poll() is not None or time.monotonic() > end:
                logs = "\n".join(
                    path.read_text(errors="replace")[-2000:]
                    for path in self.folder.glob("*.*")
                    if path.suffix in (".log", ".out")
                )
                raise RuntimeError(f"{daemon.args} ended with {daemon.poll()} or does not answer:\n{logs}")
            time.sleep(0.2)


def _die_with_the_tests() -> None:
    """Have Linux end a daemon whose tests were killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.kill()
    daemon.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _answers(address: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(install())
