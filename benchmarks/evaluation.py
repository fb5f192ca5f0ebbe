"""A pass of evaluation with all metrics beside a pass with each metric alone, and its memory, on rendered people.

python -m benchmarks.evaluation [--pairs N] [--real N] [--metrics NAME ...] [--memory]

A pass is what evaluation does with one system's images: real photos are decoded and looked at, then pairs are decoded and
scored, by as many threads as the demo has. Images are photos of another pose. Passes take turns. Published comparisons on
DeepFashion have 8,570 pairs and 48,674 photos to train on, whose ratio the default has. Times are processor time, and the
clock's, which also depends on who else uses the machine.

The networks of LPIPS, the Inception Score and FID have the authors' layers with random weights, as repose ships no weights:
their scores mean nothing, and their times are those of the real ones.

--memory prints the peak of a pass with 64 and with 512 pairs, each in a process of its own. There, a projection with as many
features takes Inception's place: the network needs the same memory whatever the number of pairs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import peak_mebibytes
from benchmarks.gpu_ways import Rendered
from repose.data.records import OCCLUSION
from repose.devices import set_up
from repose.evaluation.contestants import Contestant
from repose.evaluation.scores import score
from repose.evaluation.testset import TestSet, to_device
from repose.generate import TARGETS_AT_ONCE, Done, Job
from repose.metrics import catalogue, networks
from repose.metrics.catalogue import RealPhotos, Task, prepare
from repose.metrics.frechet import frechet_distance

METRICS = (
    "ssim/pg2", "ssim/gaussian11", "ssim/win51", "mask-ssim/pg2", "psnr", "torso-ciede2000", "lpips/alex", "recall@1/figure",
    "is/tf-2015", "mask-is/tf-2015", "fid/inception-tf-2015", "frechet/figure",
)  # fmt: skip
SIZE = (256, 256)
ITEMS = 8  # that are rendered; photos repeat
MEMORY_PAIRS = (64, 512)
CPU = torch.device("cpu")


class Spent(NamedTuple):
    """What a pass took."""

    processor: float  # seconds, of all threads
    clock: float


class RandomInception(networks.Inception):
    """Inception's layers; the weights are random."""

    def __init__(self, *_: object) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        class Layers(FeatureExtractorInceptionV3):
            def load_state_dict(self, *_: object) -> None:
                """The file has no weights."""

        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            torch.save({}, file.name)
            network = Layers("random", ["2048", "logits_unbiased"], feature_extractor_weights_path=file.name)
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
        self.sha256, self._network = {networks.INCEPTION: "random"}, networks.Once(networks.on(CPU, network))


class Projection(networks.Inception):
    """As many features and logits, of an image's rows, for nothing."""

    def __init__(self, *_: object) -> None:
        random = torch.Generator().manual_seed(0)
        features, logits = (torch.randn(3 * SIZE[0], n, generator=random) for n in (2048, 1008))

        def network(images: Tensor) -> tuple[Tensor, Tensor]:
            rows = images.float().mean(3).flatten(1) / 255
            return rows @ features, rows @ logits

        self.sha256, self._network = {networks.INCEPTION: "none"}, networks.Once(network)


class RandomLpips(networks.Lpips):
    """LPIPS with random layers."""

    def __init__(self, *_: object) -> None:
        import lpips

        self.sha256 = {networks.ALEXNET: "random"}
        with warnings.catch_warnings(action="ignore"):  # lpips calls torchvision's old interface
            network = lpips.LPIPS(net="alex", pnet_rand=True, pretrained=False, verbose=False)
        self._network = networks.on(CPU, network.requires_grad_(False))


class Networks:
    """Networks that are loaded once for all passes."""

    def __init__(self, *, inception: Callable[[], Any]) -> None:
        self._random, self._loaded = {networks.Inception: inception, networks.Lpips: RandomLpips}, dict[Any, Any]()

    def get(self, load: Callable[..., Any]) -> Any:
        """What `load` loads, or one with random weights."""
        if load not in self._loaded:
            self._loaded[load] = self._random.get(load, load)(None, CPU)
        return self._loaded[load]


class Pass:
    """Pairs of rendered people and real photos, of which no more than a batch is in memory."""

    def __init__(self, pairs: int, real: int, loaded: Networks) -> None:
        self.photos, self.real = Rendered(ITEMS, SIZE), real
        names = self.photos.table["name"]
        self.pairs = pd.DataFrame(
            {"from": np.resize(names, pairs), "to": np.resize(np.roll(names, 1), pairs), OCCLUSION: 0.0}
        )
        self.item_of = dict(zip(names, self.photos.table["item"].astype(str), strict=True))
        self.task = Task(*SIZE, [self.item_of[name] for name in self.pairs["from"]], loaded, self._real)
        self.once = 0.0

    def score(self, metrics: Sequence[str]) -> Spent:
        """Score all pairs by these metrics; what that took, without what does not depend on the number of pairs."""
        once = Spent(0.0, 0.0)

        def distance(*sets: Any) -> float:
            nonlocal once
            begun = Spent(time.process_time(), time.perf_counter())
            found = frechet_distance(*sets)
            once = Spent(
                once.processor + time.process_time() - begun.processor, once.clock + time.perf_counter() - begun.clock
            )
            return found

        processor, clock = time.process_time(), time.perf_counter()
        real_distance, catalogue.frechet_distance = catalogue.frechet_distance, distance
        facts = {"split": "rendered"}
        items = self.photos.table.assign(item=self.photos.table["item"].astype(str))
        test = TestSet(None, items, self.item_of, self.pairs, facts, prepare(metrics, self.task), CPU)
        score(Contestant("another pose", 1, self._images), test)
        catalogue.frechet_distance = real_distance
        self.once = max(self.once, once.processor)
        return Spent(time.process_time() - processor - once.processor, time.perf_counter() - clock - once.clock)

    def _images(self, jobs: Sequence[Job]) -> Iterator[Done]:
        for first in range(0, len(jobs), TARGETS_AT_ONCE):
            some = jobs[first : first + TARGETS_AT_ONCE]
            source, target = (
                self.photos.load(names) for names in ([j.sources[0] for j in some], [j.target for j in some])
            )
            yield Done(some, source.pixels, target.pixels, target.keypoints)

    def _real(self, part: str) -> Iterator[RealPhotos]:
        names = list(np.resize(self.photos.table["name"], self.real if part == "train" else len(self.pairs)))
        for first in range(0, len(names), TARGETS_AT_ONCE):
            some = names[first : first + TARGETS_AT_ONCE]
            yield RealPhotos(to_device(self.photos.load(some).pixels, CPU), [self.item_of[name] for name in some])


def compared(work: Pass, metrics: Sequence[str], rounds: int) -> dict[str, list[Spent]]:
    """What passes of all metrics, and of each alone, took in so many rounds, after a pass that loads the networks."""
    names = {"all": list(metrics)} | {name: [name] for name in metrics}
    real, work.real = work.real, 2  # the fewest of a Fréchet distance
    work.score(metrics)
    work.real = real
    found = [{name: work.score(chosen) for name, chosen in names.items()} for _ in range(rounds)]
    return {name: [round_[name] for round_ in found] for name in names}


def table(found: dict[str, list[Spent]], pairs: int, real: int, threads: int) -> Table:
    """A row per pass, with medians and the ratio to the slowest of a metric alone."""
    drawn = Table(title=f"{pairs} pairs, {real} real photos, {SIZE[0]}x{SIZE[1]}, {threads} threads")
    for name in ("metrics", "processor time, s", "times slowest", "clock, s", "from", "to", "times slowest"):
        drawn.add_column(name, justify="left" if name == "metrics" else "right")
    middle = {name: Spent(*(statistics.median(times) for times in zip(*of, strict=True))) for name, of in found.items()}
    slowest = Spent(*(max(times) for times in zip(*[of for name, of in middle.items() if name != "all"], strict=True)))
    for name, of in middle.items():
        clock = [spent.clock for spent in found[name]]
        drawn.add_row(
            name, f"{of.processor:.2f}", f"{of.processor / slowest.processor:.2f}", f"{of.clock:.2f}",
            f"{min(clock):.2f}", f"{max(clock):.2f}", f"{of.clock / slowest.clock:.2f}",
        )  # fmt: skip
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; with --memory, two peaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--real", type=int, default=90, help="photos that FID and the like compare with")
    parser.add_argument(
        "--metrics", nargs="+", default=METRICS, metavar="NAME", help="as in evaluate.metrics; else all"
    )
    parser.add_argument("--rounds", type=int, default=1, help="that are counted")
    parser.add_argument("--threads", type=int, default=2, help="as evaluate.threads of the demo")
    parser.add_argument("--memory", action="store_true", help="print the peak of passes with 64 and 512 pairs instead")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)  # of this process, in MiB
    asked = parser.parse_args(arguments)
    set_up("cpu", asked.threads, 0)
    if asked.peak:
        Pass(asked.pairs, asked.real, Networks(inception=Projection)).score(asked.metrics)
        print(peak_mebibytes())
    elif asked.memory:
        for pairs in MEMORY_PAIRS:
            command = [sys.executable, "-m", __spec__.name, "--peak", "--threads", str(asked.threads)]
            command += ["--pairs", str(pairs), "--real", str(pairs), "--metrics", *asked.metrics]
            peak = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(f"{pairs} pairs and as many real photos: {float(peak.stdout):,.0f} MiB at the peak")
    else:
        work = Pass(asked.pairs, asked.real, Networks(inception=RandomInception))
        found = compared(work, asked.metrics, asked.rounds)
        Console(width=110).print(table(found, asked.pairs, asked.real, asked.threads))
        print(f"Besides, once for each system: {work.once:.1f} s of processor time for Fréchet distances.")


if __name__ == "__main__":
    main()
