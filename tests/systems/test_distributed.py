"""The number of training processes, and how they join and end."""

import os
import signal
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

import forked
from processes import free_port
from repose.errors import ReposeError
from repose.systems import build
from repose.systems.learning import distributed
from tiny_system import FRAME, small_row


@pytest.fixture(autouse=True)
def by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


def torchrun(monkeypatch: pytest.MonkeyPatch, number: int, here: int) -> None:
    """As in the first of so many processes, of which so many are on this machine."""
    for name, value in {"RANK": 0, "WORLD_SIZE": number, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": here}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("wanted", "device", "here", "started", "found"), [
    (1, "auto", 4, (), 1), (2, "cpu", 1, (), 2), ("gpu", "cuda", 4, (), 4), ("gpu", "auto", 2, (4, 2), 4),
])  # fmt: skip
def test_processes_are_as_many_as_wanted_or_as_there_are_gpus(monkeypatch, wanted, device, here, started, found):
    """On a machine with so many GPUs, on which torchrun may have started so many processes of all."""
    gpus(monkeypatch, here)
    if started:
        torchrun(monkeypatch, *started)
    assert distributed.count(wanted, device) == found


@pytest.mark.parametrize(("wanted", "device", "here", "started", "message"), [
    ("gpu", "cuda", 0, (), "^train.processes is gpu, but torch sees no GPU here. Set it to a number"),
    (3, "auto", 2, (), r"Training in 3 processes .* but torch sees 2\. Set train\.processes to 2"),
    (2, "cpu", 0, (4, 4), r"^torchrun started 4 processes, but .* is 2\. Set .* to 4, or"),
])  # fmt: skip
def test_other_numbers_of_processes_are_refused(monkeypatch, wanted, device, here, started, message):
    gpus(monkeypatch, here)
    if started:
        torchrun(monkeypatch, *started)
    with pytest.raises(ReposeError, match=message):
        distributed.count(wanted, device)


def test_batch_norm_is_not_shared():
    system = build(small_row("paper", losses={}, discriminators={"width": 4, "norm": "batch"}), FRAME)
    with pytest.raises(ReposeError, match=r"^The network image has BatchNorm.*Set train.processes to 1, or norm"):
        system.distribute()


def test_a_process_keeps_to_its_own_gpu(monkeypatch):
    """The second process of the second of two machines, on which other programs use further GPUs."""
    gpus(monkeypatch, 4)
    torchrun(monkeypatch, 4, here=2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    used, group = list[torch.device](), mock.MagicMock()
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(distributed, "dist", group)
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([("store", 3, 4)]))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with distributed.joined(4, "auto") as rank:
        assert rank == (3, 4)
    assert used == [group.init_process_group.call_args.kwargs["device_id"]] == [torch.device("cuda", 1)]
    assert group.init_process_group.call_args.args == ("nccl",)


# ---- processes that end together ----


def ends(*kinds: str) -> list[int | None]:
    """What so many processes end with that meet and then each do what is named."""
    port = free_port()
    children = [forked.start(_joined, port, rank, kinds) for rank in range(len(kinds))]
    for child in children:
        child.join(60)
    return [child.exitcode for child in children]


# Exit status: an error came through, it was kept silent, or another error came through.
TOLD, NOT_TOLD, DEFECT = 3, 1, 4


def _joined(port: int, rank: int, kinds: tuple[str, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(len(kinds)), "LOCAL_WORLD_SIZE": str(len(kinds))}
    try:
        with distributed.joined(len(kinds), "cpu") as found:
            assert found == (rank, len(kinds))
            dist.barrier()
            _do(kinds[rank], rank)
    except ReposeError:
        if rank == 0:
            time.sleep(1)  # it holds the store; under torchrun none of them does
        os._exit(TOLD)
    except AssertionError:
        os._exit(DEFECT)


def _do(kind: str, rank: int) -> None:
    if kind == "mistake":
        raise ReposeError("told once")
    if kind == "defect":
        raise AssertionError("a defect")
    if kind == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if kind == "wait":
        dist.barrier()
    if kind.startswith("/"):
        with distributed.first_alone():
            assert Path(kind).exists() == (rank > 0)
            time.sleep(0.2)
            Path(kind).touch()


@pytest.mark.parametrize(("kinds", "codes"), [
    (("wait", "mistake"), [NOT_TOLD, TOLD]), (("wait", "defect"), [NOT_TOLD, DEFECT]),
    (("interrupt", "interrupt"), [-signal.SIGINT] * 2),
])  # fmt: skip
def test_an_error_of_one_is_told_and_the_others_end_in_silence(kinds, codes):
    assert ends(*kinds) == codes


def test_what_the_first_fetches_is_there_for_the_others(tmp_path):
    assert ends(*[str(tmp_path / "fetched")] * 2) == [0, 0]


def _failed(status: int) -> ChildFailedError:
    return ChildFailedError("", {1: ProcessFailure(1, 7, status, "")})


@pytest.mark.parametrize(("ended", "raised", "said"), [
    (SignalException("", signal.SIGINT), KeyboardInterrupt, None), (_failed(9), SystemExit, "^9$"),
    (_failed(-signal.SIGKILL), ReposeError, r"its process 2 of 2 was killed \(SIGKILL\).* it resumes"),
])  # fmt: skip
def test_what_starts_the_processes_ends_as_they_do(monkeypatch, ended, raised, said):
    monkeypatch.setattr("torch.distributed.run.run", mock.Mock(side_effect=ended))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(raised, match=said):
        distributed.start(2, 1, ["train"])
