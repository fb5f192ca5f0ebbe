"""Where the processor time of a training step goes, beside what the machine can do; or that of another revision.

python -m benchmarks.step [--params FILE] [--rows NAME ...] [--against REVISION]

Rows of a params.yaml train on noise in memory as in `benchmarks.train`, in float32 and one thread, with the figure network as
the perceptual term. Times are processor times per image, the medians of rounds of 8 steps. The ceilings are a product of two
1024x1024 matrices and a copy of 200 MB. A floating-point operation is an addition or a multiplication.

With --against, the revision is checked out beside this one, and both take turns, in a new process for each turn: the table has
the median of the turns, and the least and the most. The revision needs the same `benchmarks.train`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from torch.utils import flop_counter

from benchmarks.train import PARAMS, ROUND, Case, Work, cases
from repose.config import block, read_params
from repose.devices import set_up
from repose.models.figure_maps import figure_loss
from repose.systems import Progress
from repose.training import TrainSettings

ROOT = Path(__file__).parents[1]
ROWS = ("attend", "paper-m")
ROUNDS = 3  # of a row; and turns of a revision
KINDS = {"convolutions": ("conv",), "attention": ("scaled_dot_product",)}  # by parts of the names of operators
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLOPS = {
    _ATTENTION: lambda q, k, v, *_, **__: flop_counter.sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        lambda grad, q, k, v, *_, **__: flop_counter.sdpa_backward_flop_count(grad, q, k, v),
}  # fmt: skip


class Part(NamedTuple):
    """What operators of one kind take."""

    kind: str
    ms: float  # per image
    gflop: float | None  # per image; None: not counted


class Training:
    """A row that trains with the figure network."""

    def __init__(self, case: Case, settings: TrainSettings) -> None:
        self.work = Work(case, settings, torch.device("cpu"))
        self.perceptual = figure_loss(case.row.l1_scale)
        for network in self.work.system.networks.values():
            network.train()

    def round(self) -> int:
        """Train a round of steps; how many images."""
        case, images = self.work.case, 0
        for number in range(len(self.work.packed)):
            batch = self.work.batch(number)
            progress = Progress(int((number + 0.5) / ROUND * case.row.steps), case.row.steps, ROUND)
            self.work.system.step(batch, self.perceptual, progress, nullcontext())
            images += len(batch.target)
        return images

    def ms(self) -> float:
        """Processor time per image, after a round that is not counted."""
        images = self.round()
        return _median_ms(self.round) / images

    def parts(self) -> list[Part]:
        """The time and the operations by kind."""
        with flop_counter.FlopCounterMode(display=False, custom_mapping=_FLOPS) as counter:
            images = self.round()
        ms = _median_ms(self.round) / images
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            self.round()
        taken = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
        counted = {str(operator): flops for operator, flops in counter.get_flop_counts()["Global"].items()}
        found = [
            Part(kind, _sum(taken, names) / sum(taken.values()) * ms, _sum(counted, names) / images / 1e9)
            for kind, names in KINDS.items()
        ]
        found = [part for part in found if part.gflop]
        return [*found, Part("others", ms - sum(part.ms for part in found), None)]


def _sum(values: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(value for key, value in values.items() if any(name in key for name in names))


def _median_ms(work: Callable[[], Any]) -> float:
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken) * 1e3


def ceilings() -> tuple[float, float]:
    """GFLOP/s of a product of matrices, and GB/s of a copy, read and written."""
    one, other, long = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.zeros(50_000_000)
    target = torch.zeros_like(long)
    return 2 * 1.024**3 * 1e3 / _median_ms(lambda: one @ other), 0.4e3 / _median_ms(lambda: target.copy_(long))


def table(found: Mapping[str, Sequence[Part]], gflops: float, gigabytes: float) -> Table:
    """A line per kind of operator of each row."""
    drawn = Table(title=f"processor time of training; a product has {gflops:.0f} GFLOP/s, a copy {gigabytes:.0f} GB/s")
    for name in ("system", "operators", "ms\nper image", "share", "GFLOP\nper image", "GFLOP/s", "of the\nceiling"):
        drawn.add_column(name, justify="left" if name in ("system", "operators") else "right")
    for name, parts in found.items():
        whole = sum(part.ms for part in parts)
        for part in parts:
            cells = [name, part.kind, f"{part.ms:.1f}", f"{part.ms / whole:.0%}"]
            if part.gflop is not None:
                rate = part.gflop / part.ms * 1e3
                cells += [f"{part.gflop:.2f}", f"{rate:.0f}", f"{rate / gflops:.0%}"]
            drawn.add_row(*cells)
        drawn.add_row(name, "all", f"{whole:.1f}", "100%", end_section=True)
    return drawn


def compare(revision: str, arguments: Sequence[str]) -> Table:
    """Each row's time in a revision and here, in turns."""
    found: list[list[dict[str, float]]] = [[], []]
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "there"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(there), revision], check=True)
        try:
            for _ in range(ROUNDS):
                for turns, root in zip(found, (there, ROOT), strict=True):
                    paths = os.pathsep.join([str(root), str(root / "src")])
                    # -P: `benchmarks` comes from the revision's root, not from this file's folder
                    command = [sys.executable, "-P", str(Path(__file__).resolve()), *arguments, "--json"]
                    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, stdout=-1, check=True)
                    turns.append(json.loads(done.stdout))
        finally:
            subprocess.run([*git, "remove", "--force", str(there)], check=True)
    drawn = Table("system", revision, "here", "times", title="processor time of training, ms per image")
    for name in found[0][0]:
        there_ms, here_ms = (sorted(turn[name] for turn in turns) for turns in found)
        cells = [f"{statistics.median(ms):.1f} ({ms[0]:.1f} to {ms[-1]:.1f})" for ms in (there_ms, here_ms)]
        drawn.add_row(name, *cells, f"{statistics.median(there_ms) / statistics.median(here_ms):.2f}")
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.split("\n")[0])
    parser.add_argument("--params", type=Path, default=PARAMS, help="the rows, and the blocks train and posemaps")
    parser.add_argument("--rows", nargs="+", metavar="NAME", default=ROWS, help="those under systems to measure")
    parser.add_argument("--against", metavar="REVISION", help="compare with this revision of git")
    parser.add_argument("--json", action="store_true", help="print the times alone")
    asked = parser.parse_args(arguments)
    if asked.against:
        Console().print(compare(asked.against, ["--params", str(asked.params.resolve()), "--rows", *asked.rows]))
        return
    params = read_params(asked.params)
    settings = block(params, "train", TrainSettings, str(asked.params))
    set_up("cpu", 1, settings.seed)
    chosen = cases(params, str(asked.params), device="cpu", names=asked.rows, size=None)
    if asked.json:
        print(json.dumps({case.name: Training(case, settings).ms() for case in chosen}))
        return
    found = {case.name: Training(case, settings).parts() for case in chosen}
    Console().print(table(found, *ceilings()))


if __name__ == "__main__":
    main()
