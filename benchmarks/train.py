"""Images per second of training and of generation, of every row under systems in a params.yaml, on noise in memory.

python -m benchmarks.train [cpu|cuda] [--params FILE] [--rows NAME ...] [--size HxW] [--seconds S] [--equal-time S]

A row trains as its block says, with train.augment and train.threads, at the size of the block posemaps or at --size: the
project's params.yaml is the demo, and another file may have the rows at their authors' widths. On a CPU the precision is
train.precision; on a GPU both are measured. An item has 4 photos. Images trained are the targets of the steps, as in run.json.

Timed is what the process that trains does with photos that are loaded: change them, draw their maps, train; and what
evaluation does without its metrics. A round of training has steps from all over the training, since pg2 trains first one
network and then another. The first round, in which first weights are set, is not counted. Rows take turns, round by
round, and the best round of each counts: where others use the machine, that is fair to all. There is no VGG19 in any.

With --equal-time, standard output is how many steps each row trains in so many seconds, as a fragment of params.yaml
(in tens, rounded down; of the time that training takes, loading photos, checkpoints and samples are left out), and the
table goes to standard error.
"""

import argparse
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from repose import systems
from repose.config import block, nearest, read_params
from repose.data.batches import Batch, Packed, Steps, unpack
from repose.data.frame import Frame
from repose.data.photos import Loaded
from repose.data.posemaps import draw
from repose.devices import set_up
from repose.errors import ReposeError
from repose.generate import Job, generate_jobs
from repose.models.layers import parameter_count
from repose.stages.posemaps import PosemapsSettings
from repose.systems import Progress, System, SystemSettings
from repose.training import TrainSettings

# A standing person in shares of the image, x and y, in the order of skeleton.JOINTS.
STANDING = (
    (0.50, 0.12), (0.50, 0.22), (0.42, 0.22), (0.38, 0.36), (0.37, 0.49), (0.58, 0.22), (0.62, 0.36), (0.63, 0.49),
    (0.45, 0.50), (0.44, 0.70), (0.44, 0.90), (0.55, 0.50), (0.56, 0.70), (0.56, 0.90),
    (0.48, 0.10), (0.52, 0.10), (0.45, 0.11), (0.55, 0.11),
)  # fmt: skip
PARAMS = Path(__file__).parents[1] / "params.yaml"
PHOTOS = 4  # of an item
ROUND = 8  # steps whose time is taken together; as with its authors, 5 of 8 train pg2's first network
GENERATED = 32  # images that are generated in a round
SECONDS = {"cpu": 20.0, "cuda": 5.0}  # how long each row is measured
REFERENCE = "paper-m"  # the row with which the others are compared
MIN_WIDTH = 110  # characters of a table's line


class Case(NamedTuple):
    """What one row of the table measures."""

    name: str
    row: SystemSettings
    size: tuple[int, int]  # height and width in px
    line_width: float  # of a limb in px
    precision: str  # fp32 or bf16


class Measured(NamedTuple):
    """What came of a case; rates in images per second."""

    trained: float
    generated: float
    images_per_step: float  # that are trained on
    parameters: int  # of all networks that are trained
    peak_gib: float | None  # of a GPU's memory, in training


class Noise:
    """Photos as `data.photos.Photos` has them, of noise, with standing people's keypoints; nothing is read."""

    def __init__(self, size: tuple[int, int], line_width: float, photos: int) -> None:
        self.frame, self.line_width = Frame(*size), line_width
        random = np.random.default_rng(0)
        height, width = size
        joints = np.array(STANDING) + random.normal(0, 0.03, (photos, len(STANDING), 2))
        keypoints = (joints * (width, height)).astype(np.float32)
        self._loaded = Loaded(
            random.integers(0, 256, (photos, height, width, 3), np.uint8),
            keypoints,
            draw(keypoints, height=height, width=width, line_width=self.line_width),
        )

    def load(self, names: Sequence[str]) -> Loaded:
        """The photos of these names, which are numbers."""
        rows = [int(name) for name in names]
        return Loaded(*(part[rows] for part in self._loaded))


class Work:
    """A case at work; with several processes, one process's share of it."""

    def __init__(
        self, case: Case, settings: TrainSettings, device: torch.device, rank: int = 0, processes: int = 1,
        steps: int = ROUND,
    ) -> None:  # fmt: skip
        self.case, self.augment, self.device = case, settings.augment, device
        self.system = _system(case, settings, device)
        self.packed = _packed(case, settings, rank, processes, steps)
        self.photos: Any = Noise(case.size, case.line_width, GENERATED)
        self.jobs = _jobs(case.row.max_sources)

    def train(self) -> int:
        """A round of steps; how many images all processes trained on."""
        for network in self.system.networks.values():
            network.train()
        return sum(self.step(self.batch(number), number) for number in range(len(self.packed)))

    def generate(self) -> int:
        """A round of images, as evaluation makes them; how many."""
        for network in self.system.networks.values():
            network.eval()
        with self.autocast():
            return sum(len(done.jobs) for done in generate_jobs(self.system, self.jobs, self.photos, self.device))

    def batch(self, number: int) -> Batch:
        """The input of a step of the round, on the device."""
        return unpack(self.packed[number], augment=self.augment, device=self.device)

    def step(self, batch: Batch, number: int) -> int:
        """Train on a batch as step `number` of the round; how many images all processes trained on."""
        steps, round_ = self.case.row.steps, len(self.packed)
        progress = Progress(int((number + 0.5) / round_ * steps), steps, round_)
        self.terms = self.system.step(batch, None, progress, self.autocast())
        return round(len(batch.target) / batch.share)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of networks."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.case.precision == "bf16" else nullcontext()


def _system(case: Case, settings: TrainSettings, device: torch.device) -> System:
    torch.manual_seed(settings.seed)
    system = systems.build(case.row, Frame(*case.size))
    for network in system.networks.values():
        network.to(device)
        if device.type == "cpu":  # as the stage train does
            network.to(memory_format=torch.channels_last)
    return system


def _packed(case: Case, settings: TrainSettings, rank: int, processes: int, round_: int) -> list[Packed]:
    """The input of a round's steps: the number of sources varies as it does in training."""
    items, row = round_ * case.row.items_per_step, case.row
    table = pd.DataFrame({"name": [str(n) for n in range(items * PHOTOS)], "item": np.repeat(range(items), PHOTOS)})
    steps = Steps(
        Noise(case.size, case.line_width, len(table)), table, steps=round_, seed=settings.seed,
        items_per_step=row.items_per_step, max_photos=row.max_photos, max_sources=row.max_sources,
        targets=row.targets, augment=settings.augment, rank=rank, processes=processes, others=row.needs_others,
    )  # fmt: skip
    return [steps[number] for number in range(len(steps))]


def _jobs(max_sources: int) -> list[Job]:
    """Each photo of an item from its others, as many as the row takes."""
    items = [range(first, first + PHOTOS) for first in range(0, GENERATED, PHOTOS)]
    return [
        Job(tuple(str(photo) for photo in item if photo != target)[:max_sources], str(target))
        for item in items for target in item
    ]  # fmt: skip


def cases(
    params: Mapping[str, Any], where: str, *, device: str, names: Sequence[str] | None, size: tuple[int, int] | None
) -> list[Case]:
    """The rows of these names, or all, at this size, or at that of the block posemaps; on a GPU in both precisions.

    Limbs at a given size are as wide in proportion as R18 has them: 4 px at a height of 256.

    Raises:
        ReposeError: there is no such row, or a block is missing or does not fit.
    """
    blocks = params.get("systems")
    if not isinstance(blocks, dict) or not blocks:
        raise ReposeError(f"{where} has no rows under systems. Add one, or name another file with --params.")
    for name in names or ():
        if name not in blocks:
            raise ReposeError(f"{where} has no row {name!r} under systems{nearest(name, list(blocks))}")
    if size is None:
        posemaps = block(params, "posemaps", PosemapsSettings, where)
        size, line_width = (posemaps.height, posemaps.width), posemaps.line_width
    else:
        line_width = max(1.0, size[0] / 64)
    precisions = ("fp32", "bf16") if device == "cuda" else (block(params, "train", TrainSettings, where).precision,)
    return [
        Case(name, systems.row(blocks[name], f"{where}: systems.{name}"), size, line_width, precision)
        for name in names or blocks for precision in precisions
    ]  # fmt: skip


def measure(
    chosen: Sequence[Case], settings: TrainSettings, device: torch.device, seconds: float
) -> list[tuple[Case, Measured]]:
    """Train and generate in rounds, of one case after the other, for about so many seconds each; the first is not counted."""
    begun = [_begin(case, settings, device) for case in chosen]
    trained, generated = [0.0] * len(begun), [0.0] * len(begun)
    end = time.perf_counter() + seconds * len(begun)
    while 0 in trained or time.perf_counter() < end:
        for number, (work, _, _) in enumerate(begun):
            trained[number] = max(trained[number], _rate(work.train, device))
            generated[number] = max(generated[number], _rate(work.generate, device))
    return [
        (work.case, Measured(train, generate, images / ROUND, _parameters(work.system), peak))
        for (work, images, peak), train, generate in zip(begun, trained, generated, strict=True)
    ]


def _begin(case: Case, settings: TrainSettings, device: torch.device) -> tuple[Work, int, float | None]:
    """A case whose first round is done, how many images that trained on, and the GPU memory that it took by itself."""
    before = _allocated(device)
    work = Work(case, settings, device)
    images = work.train()
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else None
    work.generate()
    return work, images, None if peak is None else peak / 2**30


def _allocated(device: torch.device) -> int:
    """Bytes of a GPU's memory that are in use now; the peak is counted from here."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _parameters(system: System) -> int:
    return sum(parameter_count(network) for network in system.networks.values())


def _rate(work: Callable[[], int], device: torch.device) -> float:
    """Images per second of a round, which says how many it made."""
    _wait(device)
    start = time.perf_counter()
    images = work()
    _wait(device)
    return images / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def budget(measured: Sequence[tuple[Case, Measured]], precision: str, seconds: float) -> str:
    """How many steps each row trains in so many seconds at a precision, as a fragment of params.yaml."""
    lines = [f"# {seconds:g} s of training each, in {precision}, without VGG19", "systems:"]
    for case, found in measured:
        if case.precision == precision:
            lines.append(f"  {case.name}: {{steps: {_whole_tens(seconds * found.trained / found.images_per_step)}}}")
    return "\n".join(lines)


def _whole_tens(steps: float) -> int:
    """Rounded down; a few steps as they are."""
    return int(steps) // 10 * 10 if steps >= 10 else max(int(steps), 1)


def table(device: torch.device, measured: Sequence[tuple[Case, Measured]]) -> Table:
    """A row per case; how many times the rate of paper-m at that precision, where that is measured too."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    drawn = Table(title=f"images/s, {PHOTOS} photos an item, without VGG19, {where}")
    memory = ["peak\nGiB"] if device.type == "cuda" else []
    rates = ("trained", f"times\n{REFERENCE}", "generated", f"times\n{REFERENCE}")
    for name in ("system", "kind", "size", "precision", *rates, *memory, "parameters"):
        drawn.add_column(name, justify="left" if name in ("system", "kind") else "right")
    of = {case.precision: found for case, found in measured if case.name == REFERENCE}
    for case, found in measured:
        reference = of.get(case.precision)
        peak = [] if found.peak_gib is None else [f"{found.peak_gib:.2f}"]
        drawn.add_row(
            case.name, case.row.kind, f"{case.size[0]}x{case.size[1]}", case.precision,
            f"{found.trained:,.1f}", f"{found.trained / reference.trained:.2f}" if reference else "",
            f"{found.generated:,.1f}", f"{found.generated / reference.generated:.2f}" if reference else "",
            *peak, f"{found.parameters:,}",
        )  # fmt: skip
    return drawn


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"should be height x width in px, such as 128x88, not {text!r}")
    return int(found[1]), int(found[2])


def add_device_and_size(parser: argparse.ArgumentParser) -> None:
    """Where to measure, and how large."""
    parser.add_argument("device", nargs="?", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=_size, metavar="HxW", help="in px; else that of the block posemaps")


def add_rows(parser: argparse.ArgumentParser, rows: Sequence[str] | None = None) -> None:
    """What to measure; all rows of the file unless others are given."""
    parser.add_argument("--params", type=Path, default=PARAMS, help="the rows, and the blocks train and posemaps")
    parser.add_argument("--rows", nargs="+", metavar="NAME", default=rows, help="those under systems to measure")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__.split("\n")[0])
    add_device_and_size(parser)
    add_rows(parser)
    parser.add_argument("--seconds", type=float, help="how long each row is measured, about; at least a round")
    parser.add_argument("--equal-time", type=float, metavar="S", help="print the steps that take so many seconds")
    asked = parser.parse_args(arguments)
    params = read_params(asked.params)
    settings = block(params, "train", TrainSettings, str(asked.params))
    chosen = cases(params, str(asked.params), device=asked.device, names=asked.rows, size=asked.size)
    device = set_up(asked.device, settings.threads, settings.seed)
    seconds = SECONDS[asked.device] if asked.seconds is None else asked.seconds
    measured = measure(chosen, settings, device, seconds)
    console = Console(stderr=asked.equal_time is not None)
    console.width = max(console.width, MIN_WIDTH)  # no cell is cut
    console.print(table(device, measured))
    if asked.equal_time is not None:
        print(budget(measured, settings.precision, asked.equal_time))


if __name__ == "__main__":
    main()
