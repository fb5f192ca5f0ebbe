"""Training in several processes: determine their number, start them, join and end.

torchrun starts the processes; it is run by `start` or by the user (or a pod of Kubeflow's trainer). Each process is then a
`repose train` with its rank in the environment.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from repose.errors import ReposeError

Wanted = Literal["gpu"] | int
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_TIMEOUT = timedelta(hours=1)  # of a process that waits for the others; the first may have to fetch VGG19's file


class Rank(NamedTuple):
    """The rank of this process among all training processes."""

    number: int  # from 0; the first one writes and logs
    of: int


def count(wanted: Wanted, device: str) -> int:
    """The number of training processes for `train.processes`, on this machine or, under torchrun, on all machines.

    Raises:
        ReposeError: there are too few GPUs, or torchrun started another number.
    """
    gpus = 0 if device == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
    started = int(os.environ["WORLD_SIZE"]) if under_torchrun() else None
    if wanted == "gpu":
        if not gpus:
            why = "train.device is cpu" if device == "cpu" else "torch sees no GPU here"
            raise ReposeError(f"train.processes is gpu, but {why}. Set it to a number, such as 1.")
        wanted = started or gpus
    if started not in (None, wanted):
        raise ReposeError(
            f"torchrun started {started} processes, but train.processes is {wanted}. Set train.processes to {started}, or "
            "run repose train without torchrun: it starts torchrun itself."
        )
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if started else wanted
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

    The processes log their own errors, so torchrun's log is off.

    Raises:
        ReposeError: a process was killed.
        SystemExit: a process failed; it has logged the error.
        KeyboardInterrupt: Ctrl-C; all processes have ended.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # otherwise torchrun sets 1 and logs it
    logging.disable()
    try:
        options = parse_args(["--standalone", f"--nproc-per-node={processes}", "--module", "repose.cli"])
        options.training_script_args = list(arguments)  # otherwise torchrun takes --run for its own --run-path
        run(options)
    except SignalException as got:
        if got.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        signal.signal(got.sigval, signal.SIG_DFL)  # end by this signal, as a single process does
        os.kill(os.getpid(), got.sigval)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode > 0:
            raise SystemExit(failure.exitcode) from None
        raise ReposeError(
            f"Training stopped: its process {rank + 1} of {processes} was killed ({failure.signal_name()}), perhaps because "
            "memory ran out. Run the same command again: it resumes from the last checkpoint."
        ) from None
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def joined(processes: int, device: str) -> Iterator[Rank]:
    """Join the training processes and yield the rank of this one.

    If one of them fails, all end; the first to fail raises its error, the others exit silently.

    Raises:
        ReposeError: several processes are wanted, but torchrun did not start this one.
    """
    if processes == 1:
        yield Rank(0, 1)
        return
    if not under_torchrun():
        raise ReposeError(f"train.processes is {processes}, and this is one process. Train with `repose train`.")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at once, even within a collective operation
    _end_with_parent()
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, _ = next(rendezvous("env://", timeout=_TIMEOUT))
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=_TIMEOUT)
    try:
        yield Rank(rank, processes)
    except Exception as error:
        if not isinstance(error, ReposeError):
            time.sleep(
                2
            )  # if another process was killed, this is the lost connection, and torchrun is about to end this process
        if store.add("repose: failed", 1) > 1:
            raise SystemExit(1) from None
        raise
    dist.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """Let rank 0 run the block first, then all others, which find the files that it fetched."""
    shared = dist.is_initialized()
    if shared and dist.get_rank() > 0:
        dist.barrier()
    yield
    if shared and dist.get_rank() == 0:
        dist.barrier()


def world_size() -> int:
    """The number of joined processes."""
    return dist.get_world_size()


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


def _end_with_parent() -> None:
    """End this process soon after torchrun, which cannot do it when killed by SIGKILL."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
