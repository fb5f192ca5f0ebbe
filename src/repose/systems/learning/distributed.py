"""Training in several processes, on one machine or several: determine their number, start them, join and end.

torchrun starts the processes; it is run by `start` or by the user. Each process is then a `repose train` with its rank in the
environment. `nodes` tells which machine this is.
"""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from repose.errors import ReposeError
from repose.storage.processes import STARTED_BY
from repose.systems.learning.nodes import Nodes, interface_towards, nodes_here
from repose.terminal import say

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

T = TypeVar("T")
Wanted = Literal["gpu"] | int
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_TIMEOUT = timedelta(hours=1)  # of a process that waits for the others; the first may have to fetch VGG19's file


class Rank(NamedTuple):
    """The rank of this process among all training processes."""

    number: int  # from 0; the first one writes and logs
    of: int


def count(wanted: Wanted, device: str) -> int:
    """The number of training processes for `train.processes`, on all machines.

    Raises:
        ReposeError: there are too few GPUs, or torchrun or the environment's nodes have another number.
    """
    gpus = 0 if device == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
    nodes = nodes_here()
    each = None if nodes is None else max(gpus, 1) if nodes.processes == "gpu" else nodes.processes
    if under_torchrun():
        started: int | None = int(os.environ["WORLD_SIZE"])
    else:
        started = None if nodes is None or each is None else nodes.of * each
    if wanted == "gpu":
        if not gpus:
            why = "train.device is cpu" if device == "cpu" else "torch sees no GPU here"
            raise ReposeError(f"train.processes is gpu, but {why}. Set it to a number, such as 1.")
        wanted = started or gpus
    if started not in (None, wanted):
        if nodes is not None:
            raise ReposeError(
                f"{nodes.of} node(s) with PET_NPROC_PER_NODE={os.environ['PET_NPROC_PER_NODE']} are {started} training "
                f"processes, but train.processes is {wanted}. Set train.processes to {started} (the number of all nodes "
                "together) or, with GPUs, to gpu."
            )
        raise ReposeError(
            f"torchrun started {started} processes, but train.processes is {wanted}. Set train.processes to {started}, or "
            "run repose train without torchrun: it starts torchrun itself."
        )
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if under_torchrun() else each or wanted
    if gpus and here > max(gpus, 1):
        raise ReposeError(
            f"Training in {here} processes on this machine needs a GPU for each, but torch sees {gpus}. Set "
            f"train.processes to {gpus} or to gpu."
        )
    return wanted


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return all(name in os.environ for name in _OF_TORCHRUN)


def start(processes: int, threads: int, arguments: Sequence[str]) -> None:
    """Run `repose` with these arguments in several processes of torchrun, each with `threads` CPU threads, until all end.

    On several machines, `processes` are those of all, and this starts the ones of this machine. The processes log their own
    errors, so torchrun's log is off.

    Raises:
        ReposeError: a process was killed, or the machines did not meet.
        SystemExit: a process failed; it has logged the error.
        KeyboardInterrupt: Ctrl-C; all processes have ended.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    nodes = nodes_here()
    where = ["--standalone", "--nnodes=1"] if nodes is None else nodes.options()
    here = processes if nodes is None else processes // nodes.of
    os.environ[STARTED_BY] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # otherwise torchrun sets 1 and logs it
    if nodes is not None:
        say(f"{nodes}: meeting the others at {nodes.meeting_place}, within {nodes.wait} s")
        nodes.find_first()
    logging.disable()
    try:
        options = parse_args([*where, f"--nproc-per-node={here}", "--module", "repose.cli"])
        options.training_script_args = list(arguments)  # otherwise torchrun takes --run for its own --run-path
        run(options)
    except SignalException as got:
        if got.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        signal.signal(got.sigval, signal.SIG_DFL)  # end by this signal, as a single process does
        os.kill(os.getpid(), got.sigval)
    except ChildFailedError as failed:
        logging.disable(logging.NOTSET)
        _end_as(failed, processes, nodes)
    except dist.DistError as error:
        if nodes is None:
            raise
        why = str(error).partition("\n")[0].rstrip(".")
        raise nodes.not_met(f"did not have all of them ({why})") from None
    finally:
        logging.disable(logging.NOTSET)


def _end_as(failed: "ChildFailedError", processes: int, nodes: Nodes | None) -> NoReturn:
    """End as the process that failed first."""
    rank, failure = failed.get_first_failure()
    if failure.exitcode > 0:
        if nodes is not None:
            say(f"{nodes}: training has stopped. If no error is above, it is in the log of another node.")
        raise SystemExit(failure.exitcode) from None
    raise ReposeError(
        f"Training stopped: its process {rank + 1} of {processes} was killed ({failure.signal_name()}), perhaps because "
        "memory ran out. Run the same command again: it resumes from the last checkpoint."
    ) from None


@contextmanager
def joined(processes: int, device: str) -> Iterator[Rank]:
    """Join the training processes and yield the rank of this one; at the end, wait for all to be done.

    If one of them fails, all end; the first to fail raises its error, the others exit silently.

    Raises:
        ReposeError: several processes are wanted, but torchrun did not start this one; or the connection to another machine
            was lost.
    """
    if processes == 1:
        yield Rank(0, 1)
        return
    if not under_torchrun():
        raise ReposeError(f"train.processes is {processes}, and this is one process. Train with `repose train`.")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at once, even within a collective operation
    gpu = None
    if device != "cpu" and torch.cuda.is_available():
        gpu = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(gpu)
    elif on_several_machines() and (interface := interface_towards(os.environ["MASTER_ADDR"], 1)):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    store, rank, _ = next(rendezvous("env://", timeout=_TIMEOUT))
    try:
        dist.init_process_group(
            "gloo" if gpu is None else "nccl", store=store, rank=rank, world_size=processes, timeout=_TIMEOUT,
            device_id=gpu,  # otherwise a barrier guesses the GPU and warns
        )  # fmt: skip
        yield Rank(rank, processes)
        dist.barrier()
    except Exception as error:
        if not isinstance(error, ReposeError):
            # If another process was killed, this is the lost connection, and torchrun is about to end this one.
            time.sleep(2)
        if _another_failed(store, error):
            raise SystemExit(1) from None
        # NCCL's error, or that of gloo's transport, which has no type of its own
        if on_several_machines() and (isinstance(error, dist.DistError) or "gloo/transport" in str(error)):
            raise _lost_connection(Rank(rank, processes), error) from None
        raise
    dist.destroy_process_group()


def on_several_machines() -> bool:
    """Whether the processes that torchrun started are on more than this machine."""
    return under_torchrun() and os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]


def _another_failed(store: "Store", error: Exception) -> bool:
    """Whether another process has failed before this one with its error."""
    try:
        return bool(store.add("repose: failed", 1) > 1)
    except dist.DistError:  # the first machine, which has the store, has ended
        return not isinstance(error, ReposeError)


def _lost_connection(rank: Rank, error: Exception) -> ReposeError:
    """The error of a process that cannot reach another one, at the start or later."""
    why = str(error).partition(". ")[0]
    if "connectFullMesh" in why:
        return ReposeError(
            f"Training stopped: process {rank.number + 1} of {rank.of} cannot connect to another one ({why}). Each has to "
            "reach any port of the others: check the network between the nodes, and set GLOO_SOCKET_IFNAME to the interface "
            "that the other nodes are on."
        )
    return ReposeError(
        f"Training stopped: process {rank.number + 1} of {rank.of} lost the connection to another one ({why}). Its node may "
        "have been stopped, or run out of memory: see the logs of the other nodes. Run the same command again on all of "
        "them: training resumes from the last checkpoint."
    )


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process of each machine run the block first, then all others, which find the files that it fetched."""
    shared = dist.is_initialized()
    first = shared and int(os.environ["LOCAL_RANK"]) == 0
    if shared and not first:
        dist.barrier()
    yield
    if first:
        dist.barrier()


def from_first(value: T) -> T:
    """Return the value that the first of all processes gave; without several, the value."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def shared(module: nn.Module) -> DistributedDataParallel:
    """Wrap a module so that its gradients are averaged over all processes; every process calls this."""
    found = DistributedDataParallel(module)
    if next(module.parameters()).device.type == "cpu":
        found.register_comm_hook(None, _mean_in_order)
    return found


def _mean_in_order(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """The mean of a bucket over the processes, summed in the order of their ranks.

    By default, the order depends on a gradient's position in its bucket, and DistributedDataParallel rebuilds the buckets
    after its first step. With three or more processes, a resumed run would then round differently.
    """
    mine, processes = bucket.buffer(), dist.get_world_size()
    parts = [torch.empty_like(mine) for _ in range(processes)]
    work = dist.all_gather(parts, mine, async_op=True)
    assert work is not None  # noqa: S101 (for mypy: it is asynchronous)
    gathered: torch.futures.Future[Tensor] = work.get_future()
    return gathered.then(lambda _: sum(parts[1:], parts[0]) / processes)


def weighted_mean(terms: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The mean of each scalar term over the processes, weighted by their shares, which sum to 1."""
    if not dist.is_initialized():
        return terms
    values = share * torch.stack(list(terms.values()))
    dist.all_reduce(values)
    return dict(zip(terms, values.unbind(), strict=True))
