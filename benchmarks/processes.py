"""Images per second of training in processes that share a step, beside one process with all of its items.

python -m benchmarks.processes [cpu|cuda] [--processes N] [--params FILE] [--rows NAME ...] [--size HxW] [--seconds S]

As in `benchmarks.train`, rows train on noise in memory, with N items a step: in one process, then in N with one each (nccl
and a GPU for each process, or gloo on the CPU, each with train.threads). Several GPUs have not been measured yet.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from rich.console import Console
from rich.table import Table

from benchmarks.train import PHOTOS, Case, Work, _rate, add_device_and_size, add_rows, cases
from repose.config import block, read_params
from repose.devices import set_up
from repose.training import TrainSettings


def rate(case: Case, settings: TrainSettings, device: str, seconds: float, count: int) -> float:
    """Trained images per second of so many processes together."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (count, case, settings, device, seconds, Path(folder))
        torch.multiprocessing.set_forkserver_preload(["benchmarks.train"])  # imported once for all of them
        torch.multiprocessing.start_processes(_in_process, arguments, nprocs=count, start_method="forkserver")
        return float((Path(folder) / "rate").read_text())


def _in_process(
    rank: int, processes: int, case: Case, settings: TrainSettings, kind: str, seconds: float, folder: Path
) -> None:  # fmt: skip
    """Train as one of the processes; the first writes the best rate of all."""
    if kind == "cuda":
        torch.cuda.set_device(rank)
    device = set_up(kind, settings.threads, settings.seed)
    backend, meeting = "nccl" if kind == "cuda" else "gloo", f"file://{folder / 'meeting'}"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=processes)
    work = Work(case, settings, device, rank, processes)
    if processes > 1:
        work.system.distribute()
    work.train()  # is not counted
    best, end, going_on = 0.0, time.perf_counter() + seconds, torch.ones((), device=device)
    while going_on:
        best = max(best, _rate(work.train, device))
        going_on.fill_(time.perf_counter() < end)
        dist.broadcast(going_on, 0)  # all of them make the same steps
    dist.destroy_process_group()
    if rank == 0:
        (folder / "rate").write_text(str(best))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every row and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__.split("\n")[0])
    add_device_and_size(parser)
    add_rows(parser, ("attend", "paper-m"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each row is measured, about")
    asked = parser.parse_args(arguments)
    params, count = read_params(asked.params), asked.processes
    settings = block(params, "train", TrainSettings, str(asked.params))
    table = Table("system", "precision", "1 process", f"{count} processes", "times")
    table.title = (
        f"trained images/s with {count} items a step, {PHOTOS} photos an item, {settings.threads} CPU threads each"
    )
    for case in cases(params, str(asked.params), device=asked.device, names=asked.rows, size=asked.size):
        shared = case._replace(row=replace(case.row, items_per_step=count))
        one, many = (rate(shared, settings, asked.device, asked.seconds, number) for number in (1, count))
        table.add_row(case.name, case.precision, f"{one:,.1f}", f"{many:,.1f}", f"{many / one:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
