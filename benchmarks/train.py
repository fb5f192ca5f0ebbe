"""Images per second of training and of generation, of the rows paper-m and attend of params.yaml, on noise in memory.

python -m benchmarks.train [cpu|cuda] [--processes N]

An item has 4 photos, and a step has all of them as targets. Timed is what the process that trains does with photos
that are loaded: change them (train.augment), draw their maps, train; and what evaluation does without its metrics.
On a CPU these are the rows as the demo trains them. On a GPU they are also measured in bf16, and at 256x256: paper-m
64 wide, as in the paper, and attend with a place every 8 px. There is no VGG19 in any of them.

With --processes, training alone is measured, with N items a step: in one process that has all of them, then in N with one
each (nccl and a GPU for each process, or gloo on the CPU, each with train.threads). Several GPUs have not been measured yet.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
import torch.multiprocessing
from benchmarks.posemaps import STANDING
from rich.console import Console
from rich.table import Table

from repose import systems
from repose.data.batches import Batch, Packed, Steps, unpack
from repose.data.frame import Frame
from repose.data.photos import Loaded
from repose.data.posemaps import draw
from repose.devices import set_up
from repose.settings import block, read_params
from repose.stages.train import TrainSettings
from repose.step import AdversarialRow
from repose.systems import Progress, System
from repose.systems.attend import AttendRow
from repose.systems.paper import PaperRow

PARAMS = Path(__file__).parents[1] / "params.yaml"
DEMO, LARGE = (128, 88), (256, 256)  # height and width in px
PHOTOS = 4  # of an item
ROUND = 8  # steps whose time is taken together: each has another number of sources
THICKNESS = {DEMO: 2.0, LARGE: 4.0}
SECONDS = {"cpu": 20.0, "cuda": 5.0}  # how long each is measured


class Case(NamedTuple):
    """What one row of the table measures."""

    name: str
    row: AdversarialRow
    size: tuple[int, int]  # height and width in px
    precision: str  # fp32 or bf16


class Measured(NamedTuple):
    """What came of a case; rates in generated images per second."""

    trained: float
    generated: float
    peak_gib: float | None  # of a GPU's memory, in training


class Noise:
    """Photos as `data.photos.Photos` has them, of noise, with standing people's keypoints; nothing is read."""

    def __init__(self, size: tuple[int, int], photos: int) -> None:
        self.frame, self.thickness = Frame(*size), THICKNESS[size]
        random = np.random.default_rng(0)
        height, width = size
        joints = np.array(STANDING) + random.normal(0, 0.03, (photos, len(STANDING), 2))
        keypoints = (joints * (width, height)).astype(np.float32)
        self._loaded = Loaded(
            random.integers(0, 256, (photos, height, width, 3), np.uint8),
            keypoints,
            draw(keypoints, height=height, width=width, thickness=self.thickness),
        )

    def load(self, names: Sequence[str]) -> Loaded:
        """The photos of these names, which are numbers."""
        rows = [int(name) for name in names]
        return Loaded(*(part[rows] for part in self._loaded))


def cases(device: str, rows: dict[str, AdversarialRow]) -> list[Case]:
    """The demo's rows; on a GPU also in bf16 and large."""
    demo = [Case(name, row, DEMO, "fp32") for name, row in rows.items()]
    if device == "cpu":
        return demo
    large = [Case(name, large_row(row), LARGE, "fp32") for name, row in rows.items()]
    return [case._replace(precision=precision) for case in demo + large for precision in ("fp32", "bf16")]


def adversarial_row(block: Any, name: str) -> AdversarialRow:
    """The row of that name from its block of params.yaml."""
    row = systems.row(block, f"systems.{name}")
    assert isinstance(row, AdversarialRow)
    return row


def large_row(row: AdversarialRow) -> AdversarialRow:
    """A row of the demo for 256x256: the paper's widths, attend's stride."""
    if isinstance(row, PaperRow):
        wide = {"generator": replace(row.generator, width=64), "discriminators": replace(row.discriminators, width=64)}
        return replace(row, **wide)
    assert isinstance(row, AttendRow)
    return replace(row, generator=replace(row.generator, stride=8))


def measure(case: Case, settings: TrainSettings, device: torch.device, seconds: float) -> Measured:
    """Train and generate for at least so many seconds each."""
    system, packed = _system(case, settings, device), _packed(case, settings)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trained = _rate(_training(system, case, settings, packed, device), device, seconds)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    batch = _loaded(packed[0], case, settings, device)
    return Measured(trained, _rate(_generation(system, case, batch, device), device, seconds), peak)


def measure_processes(case: Case, settings: TrainSettings, device: str, seconds: float, processes: int) -> list[float]:
    """Trained images per second of one process with so many items a step, and of so many processes with one each."""
    shared = case._replace(row=replace(case.row, items_per_step=processes))
    found = []
    for count in (1, processes):
        with tempfile.TemporaryDirectory() as folder:
            arguments = (count, shared, settings, device, seconds, Path(folder))
            torch.multiprocessing.spawn(_in_process, arguments, nprocs=count)
            found.append(float((Path(folder) / "rate").read_text()))
    return found


def _in_process(
    rank: int, processes: int, case: Case, settings: TrainSettings, kind: str, seconds: float, folder: Path
) -> None:  # fmt: skip
    """Be one of the processes; the first writes the rate of all."""
    if kind == "cuda":
        torch.cuda.set_device(rank)
    device = set_up(kind, settings.threads, settings.seed)
    backend, meeting = "nccl" if kind == "cuda" else "gloo", f"file://{folder / 'meeting'}"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=processes)
    system, packed = _system(case, settings, device), _packed(case, settings, rank, processes)
    if processes > 1:
        system.distribute()
    rate = _rate(_training(system, case, settings, packed, device), device, seconds)
    if rank == 0:
        (folder / "rate").write_text(str(rate))
    dist.destroy_process_group()


def _system(case: Case, settings: TrainSettings, device: torch.device) -> System:
    torch.manual_seed(settings.seed)
    system = systems.build(case.row, Frame(*case.size))
    for network in system.networks.values():
        network.to(device)
        if device.type == "cpu":  # as the stage train does
            network.to(memory_format=torch.channels_last)
    return system


def _loaded(packed: Packed, case: Case, settings: TrainSettings, device: torch.device) -> Batch:
    return unpack(packed, thickness=THICKNESS[case.size], augment=settings.augment, device=device)


def _training(
    system: System, case: Case, settings: TrainSettings, packed: list[Packed], device: torch.device
) -> Callable[[int], int]:
    """A step of all processes."""

    def train(number: int) -> int:
        batch = _loaded(packed[number], case, settings, device)
        system.step(batch, None, Progress(0, case.row.steps, ROUND), _autocast(case, device))
        return round(len(batch.target) / batch.share)

    return train


def _packed(case: Case, settings: TrainSettings, rank: int = 0, processes: int = 1) -> list[Packed]:
    """Some steps' input, so that the number of sources varies as it does in training."""
    items, row = ROUND * case.row.items_per_step, case.row
    table = pd.DataFrame({"name": [str(n) for n in range(items * PHOTOS)], "item": np.repeat(range(items), PHOTOS)})
    steps = Steps(
        Noise(case.size, len(table)), table, steps=ROUND, seed=settings.seed, items_per_step=row.items_per_step,
        most_photos=row.most_photos, most_sources=row.most_sources, targets=row.targets, augment=settings.augment,
        rank=rank, processes=processes,
    )  # fmt: skip
    return [steps[number] for number in range(len(steps))]


def _generation(system: System, case: Case, batch: Batch, device: torch.device) -> Callable[[int], int]:
    """Every photo of an item from all the others."""
    sources = torch.stack([torch.arange(PHOTOS)[torch.arange(PHOTOS) != photo] for photo in range(PHOTOS)]).to(device)
    mask = torch.ones_like(sources, dtype=torch.bool)
    images, poses = batch.images[:PHOTOS], batch.poses[:PHOTOS]
    for network in system.networks.values():
        network.eval()

    def generate(_: int) -> int:
        with torch.no_grad(), _autocast(case, device):
            system.generate(images, poses, sources, mask, poses)
        return PHOTOS

    return generate


def _rate(work: Callable[[int], int], device: torch.device, seconds: float) -> float:
    """Images per second of work(number), which says how many it made: of the fastest round, since others may be busy."""
    for number in range(2):
        work(number)
    _wait(device)
    best, end = 0.0, time.perf_counter() + seconds
    while _agreed(best == 0 or time.perf_counter() < end, device):
        start = time.perf_counter()
        images = sum(work(number) for number in range(ROUND))
        _wait(device)
        best = max(best, images / (time.perf_counter() - start))
    return best


def _agreed(going_on: bool, device: torch.device) -> bool:
    """What the first of the processes thinks: all of them make the same steps."""
    if not dist.is_initialized():
        return going_on
    opinion = torch.tensor(float(going_on), device=device)
    dist.broadcast(opinion, 0)
    return bool(opinion)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _autocast(case: Case, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if case.precision == "bf16" else nullcontext()


def table(device: torch.device, measured: list[tuple[Case, Measured]]) -> Table:
    """A row per case."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    drawn = Table(title=f"{PHOTOS} photos an item, {where}")
    for name in ("system", "size", "width", "precision", "trained, images/s", "generated, images/s", "peak GiB"):
        drawn.add_column(name, justify="left" if name == "system" else "right")
    for case, found in measured:
        drawn.add_row(
            case.name, f"{case.size[0]}x{case.size[1]}", str(case.row.generator.width), case.precision,
            f"{found.trained:,.1f}", f"{found.generated:,.1f}", "" if found.peak_gib is None else f"{found.peak_gib:.2f}",
        )  # fmt: skip
    return drawn


def table_of_processes(device: str, processes: int, threads: int, measured: list[tuple[Case, list[float]]]) -> Table:
    """A row per case."""
    where = f"{torch.cuda.get_device_name()} each" if device == "cuda" else f"{threads} CPU threads each"
    drawn = Table(title=f"trained images/s with {processes} items a step, {PHOTOS} photos an item, {where}")
    for name in ("system", "size", "width", "precision", "1 process", f"{processes} processes", "times"):
        drawn.add_column(name, justify="left" if name == "system" else "right")
    for case, (one, many) in measured:
        drawn.add_row(
            case.name, f"{case.size[0]}x{case.size[1]}", str(case.row.generator.width), case.precision,
            f"{one:,.1f}", f"{many:,.1f}", f"{many / one:.2f}",
        )  # fmt: skip
    return drawn


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__.split("\n")[0])
    parser.add_argument("device", nargs="?", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="compare one process with so many")
    chosen, processes = parser.parse_args().device, parser.parse_args().processes
    params = read_params(PARAMS)
    settings = block(params, "train", TrainSettings, str(PARAMS))
    device = set_up(chosen, settings.threads, settings.seed)
    rows = {name: adversarial_row(params["systems"][name], name) for name in ("paper-m", "attend")}
    if processes > 1:
        found = [
            (case, measure_processes(case, settings, chosen, SECONDS[chosen], processes))
            for case in cases(chosen, rows)
        ]
        Console().print(table_of_processes(chosen, processes, settings.threads, found))
        return
    measured = [(case, measure(case, settings, device, SECONDS[chosen])) for case in cases(chosen, rows)]
    Console().print(table(device, measured))


if __name__ == "__main__":
    main()
