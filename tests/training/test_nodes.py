"""train on several machines: as many processes of one machine would, each a node with torchrun's variables."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from processes import free_port
from repose.errors import ReposeError, SettingsError
from repose.systems.learning import distributed
from repose.systems.learning.nodes import interface_towards, nodes_here
from tiny import Data, files_in
from two_processes import REPOSE, Training, ended

VARIABLES = {
    "PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": "1",
}  # fmt: skip


# ---- the variables ----


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of the second of two nodes."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def test_without_the_variables_there_are_no_nodes(monkeypatch):
    monkeypatch.delenv("PET_NNODES", raising=False)
    monkeypatch.setenv("PET_NODE_RANK", "1")
    assert nodes_here() is None
    assert distributed.count(3, "cpu") == 3


def test_the_second_node_knows_itself(nodes):
    nodes.setenv("PET_MASTER_ADDR", "job-node-0-0.job")
    found = nodes_here()
    assert (str(found), found.meeting_place, found.wait) == ("Node 2 of 2", "job-node-0-0.job:1", 1800)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("PET_NODE_RANK", "", r"^PET_NNODES is set, but not PET_NODE_RANK\. Set all of PET_NNODES, .*, or none\.$"),
    ("PET_NODE_RANK", "2", r"^PET_NODE_RANK is 2, but the ranks of PET_NNODES=2 nodes are 0 to 1\.$"),
    ("PET_NNODES", "1:4", r"^The environment variable PET_NNODES should be a whole number from 1, not '1:4'\.$"),
    ("PET_NPROC_PER_NODE", "0", "PET_NPROC_PER_NODE should be a whole number from 1, not '0'"),
])  # fmt: skip
def test_wrong_variables_are_named(nodes, name, value, message):
    nodes.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        nodes_here()


def test_processes_are_those_of_all_nodes(nodes):
    assert distributed.count(2, "cpu") == 2
    nodes.setenv("PET_NPROC_PER_NODE", "3")
    assert distributed.count(6, "cpu") == 6
    with pytest.raises(ReposeError, match=r"^2 node\(s\) with PET_NPROC_PER_NODE=3 are 6 .*, but .* is 2\. "):
        distributed.count(2, "cpu")


def test_each_nodes_gpus_have_a_process(nodes):
    nodes.setattr(torch.cuda, "is_available", lambda: True)
    nodes.setattr(torch.cuda, "device_count", lambda: 4)
    nodes.setenv("PET_NPROC_PER_NODE", "auto")
    assert distributed.count("gpu", "auto") == distributed.count(8, "cuda") == 8
    nodes.setenv("PET_NPROC_PER_NODE", "5")
    with pytest.raises(ReposeError, match="5 processes on this machine needs a GPU for each, but torch sees 4"):
        distributed.count(10, "cuda")


def test_the_interface_is_the_one_that_reaches_the_first_node():
    assert interface_towards("127.0.0.1", 1) == "lo"
    assert interface_towards("nosuch.invalid", 1) is None


# ---- the command ----


@pytest.fixture(scope="module")
def alone(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes on one machine."""
    training = Training(data, tmp_path_factory.mktemp("alone"))
    ((code, said),) = ended(training.start())
    assert code == 0, said
    return training.run


def node(data: Data, folder: Path, number: int, port: int, wait: int = 120, **changes: Any) -> Training:
    """The training on one of two nodes, each of which has one of its processes."""
    training = Training(data, folder, **changes)
    here = {"PET_NODE_RANK": str(number), "PET_MASTER_PORT": str(port), "REPOSE_NODES_WAIT": str(wait)}
    training.environment |= VARIABLES | here
    return training


def pair(data: Data, folder: Path) -> tuple[Training, Training]:
    port = free_port()
    return node(data, folder / "a", 0, port), node(data, folder / "b", 1, port)


@pytest.mark.slow
def test_with_a_node_lost_the_other_says_so_and_both_resume_as_one_machine(data, alone, tmp_path):
    first, second = pair(data, tmp_path)
    staying, lost = first.start(), second.start()
    while not first.step():
        assert staying.poll() is None, staying.communicate()[1]
        time.sleep(0.005)
    for process in [*psutil.Process(lost.pid).children(recursive=True), psutil.Process(lost.pid)]:
        process.kill()
    (code, said), (lost_code, _) = ended(staying, lost)
    assert (code, lost_code) == (1, -signal.SIGKILL)
    assert "Training stopped: process 1 of 2 lost the connection to another one (" in said
    assert "Run the same command again on all of them" in said
    assert not first.run.exists()
    shutil.copytree(first.work, second.work)
    next(second.work.glob("*/checkpoints/last.*")).write_bytes(b"of an earlier attempt, which nobody reads")
    before = files_in(second.work)
    (code, said), (other_code, other_said) = ended(first.start(), second.start())
    assert (code, other_code) == (0, 0), said + other_said
    assert said.count("resuming from step") == 1
    assert "run is ready" in said
    assert other_said.partition("[W")[0].count("\n") == 1  # where it meets the first; torch may add a warning
    assert files_in(first.run) == files_in(alone)
    assert files_in(second.work) == before
    assert not second.run.exists()


@pytest.mark.slow
def test_nodes_that_do_not_meet_say_where_and_what_to_check(data, tmp_path):
    port, nowhere = free_port(), free_port()
    first, second = node(data, tmp_path / "a", 0, port, wait=2), node(data, tmp_path / "b", 1, nowhere, wait=2)
    (code, said), (other_code, other_said) = ended(first.start(), second.start())
    assert (code, other_code) == (1, 1)
    assert f"Node 1 of 2: the nodes did not meet within 2 s. 127.0.0.1:{port}, the address of" in said
    assert "of the first node, did not have all of them" in said
    assert "1/2 clients joined" in said
    assert f"Node 2 of 2: the nodes did not meet within 2 s. 127.0.0.1:{nowhere}, the address of" in other_said
    assert "was not reached ([Errno 111] Connection refused). Check that all 2 nodes" in other_said
    assert [path.name for path in tmp_path.glob("*/*")] == ["params.yaml"] * 2


@pytest.mark.slow
def test_a_node_with_other_settings_ends_the_training(data, tmp_path):
    port = free_port()
    first, second = node(data, tmp_path / "a", 0, port), node(data, tmp_path / "b", 1, port, train__seed=7)
    (code, said), (other_code, other_said) = ended(first.start(), second.start())
    assert (code, other_code) == (1, 1)
    assert "process 2 of 2 has other data, settings or versions than the first one. All nodes need" in other_said
    assert "Node 1 of 2: training has stopped. If no error is above, it is in the log of another node." in said


# ---- two network namespaces ----


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces of this machine, 10.77.0.1 and 10.77.0.2, which a cable joins."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and `ip`")
    names = f"repose-{os.getpid()}-0", f"repose-{os.getpid()}-1"
    with ExitStack() as after:
        for name in names:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"may not make network namespaces: {error.stderr.decode().strip()}")
            after.callback(ip, "netns", "del", name)
        ip("link", "add", "end", "netns", names[0], "type", "veth", "peer", "name", "end", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "end")
            ip("-n", name, "link", "set", "end", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names


@pytest.mark.slow
def test_nodes_in_two_network_namespaces_train_as_one_machine(data, alone, namespaces, tmp_path):
    nodes = pair(data, tmp_path)
    for node in nodes:
        node.environment["PET_MASTER_ADDR"] = "10.77.0.1"
    started = [node.start("ip", "netns", "exec", where, REPOSE) for node, where in zip(nodes, namespaces, strict=True)]
    (code, said), (other_code, other_said) = ended(*started)
    assert (code, other_code) == (0, 0), said + other_said
    assert files_in(nodes[0].run) == files_in(alone)
    assert not nodes[1].run.exists()
