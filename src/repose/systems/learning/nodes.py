"""Training on several machines: where this one learns which of them it is, and where they meet.

Each machine runs the same `repose train`. The variables are those of torchrun, as Kubeflow's Trainer sets them:

| variable | what |
|---|---|
| PET_NNODES | number of machines |
| PET_NODE_RANK | number of this one, from 0; the first trains, writes and logs, the others only train |
| PET_NPROC_PER_NODE | training processes of each machine; `auto`: one for each GPU |
| PET_MASTER_ADDR, PET_MASTER_PORT | address and port of the first machine, which the others connect to |
| REPOSE_NODES_WAIT | seconds to wait for the other machines (default 1800) |
"""

import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Literal

from repose.errors import ReposeError, SettingsError

_NAMES = ("PET_NNODES", "PET_NODE_RANK", "PET_NPROC_PER_NODE", "PET_MASTER_ADDR", "PET_MASTER_PORT")
_WAIT = 1800  # seconds: other machines may still pull the image or fetch the data
_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of a network interface


@dataclass(frozen=True)
class Nodes:
    """The machines of a training, and this one's place among them."""

    number: int  # of this machine, from 0
    of: int
    processes: int | Literal["gpu"]  # training processes of each machine
    address: str  # of the first machine
    port: int
    wait: int  # seconds

    def __str__(self) -> str:
        return f"Node {self.number + 1} of {self.of}"

    @property
    def meeting_place(self) -> str:
        """The address and port where the machines meet."""
        return f"{self.address}:{self.port}"

    def options(self) -> list[str]:
        """Return the options of torchrun for this machine."""
        return [
            f"--nnodes={self.of}", f"--node-rank={self.number}", "--rdzv-backend=static",
            f"--rdzv-endpoint={self.meeting_place}", f"--rdzv-conf=timeout={self.wait}",
        ]  # fmt: skip

    def find_first(self) -> None:
        """Wait until the first machine answers.

        Raises:
            ReposeError: it did not within `wait` seconds.
        """
        deadline = time.monotonic() + self.wait
        while self.number > 0:
            try:
                socket.create_connection((self.address, self.port), timeout=10).close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise self.not_met(f"was not reached ({error})") from None
                time.sleep(1)

    def not_met(self, what: str) -> ReposeError:
        """Return the error when the machines do not meet; `what` happened to the first machine's address."""
        return ReposeError(
            f"{self}: the nodes did not meet within {self.wait} s. {self.meeting_place}, the "
            f"address of the first node, {what}. Check that all {self.of} nodes started `repose train` (one may have failed "
            f"before: see its log), that each has PET_NNODES={self.of} and its own PET_NODE_RANK, and that each can open a "
            f"TCP connection to {self.meeting_place} and, for the training itself, to any port of the others. "
            "REPOSE_NODES_WAIT sets the seconds to wait."
        )


def nodes_here() -> Nodes | None:
    """Return the machines that the environment names; None without PET_NNODES.

    Raises:
        SettingsError: a variable is missing or has no valid value.
    """
    if "PET_NNODES" not in os.environ:
        return None
    if missing := [name for name in _NAMES if not os.environ.get(name)]:
        raise SettingsError(
            f"PET_NNODES is set, but not {', '.join(missing)}. Set all of {', '.join(_NAMES)}, or none."
        )
    of, port, wait = _number("PET_NNODES", 1), _number("PET_MASTER_PORT", 1), _number("REPOSE_NODES_WAIT", 1, _WAIT)
    number = _number("PET_NODE_RANK", 0)
    if number >= of:
        raise SettingsError(f"PET_NODE_RANK is {number}, but the ranks of PET_NNODES={of} nodes are 0 to {of - 1}.")
    each = os.environ["PET_NPROC_PER_NODE"]
    processes: int | Literal["gpu"] = "gpu" if each in ("auto", "gpu") else _number("PET_NPROC_PER_NODE", 1)
    return Nodes(number, of, processes, os.environ["PET_MASTER_ADDR"], port, wait)


def interface_towards(address: str, port: int) -> str | None:
    """Return the name of the network interface that reaches an IPv4 address; None if there is no such interface.

    Gloo takes the address that the machine's own name has, which is 127.0.1.1 on Debian, where no other machine reaches it.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing
            mine = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                if _address_of(probe, name) == mine:
                    return name
    except OSError:
        pass
    return None


def _address_of(probe: socket.socket, interface: str) -> str | None:
    import fcntl  # not on Windows

    try:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()))
    except OSError:  # it has no IPv4 address
        return None
    return socket.inet_ntoa(answer[20:24])


def _number(name: str, least: int, default: int | None = None) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise SettingsError(f"The environment variable {name} should be a whole number from {least}, not {text!r}.")
    return int(text)
