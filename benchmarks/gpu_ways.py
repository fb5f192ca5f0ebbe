"""For benchmarks.gpu: the ways to train a case, and how they are timed. By itself this prints nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.train import GENERATED, Case, Noise, Work, _wait
from mannequins.renderer import MannequinSettings, render_item
from repose.data.batches import Batch, Packed, Steps, unpack
from repose.data.frame import Frame
from repose.data.images import decode, decode_indices, encode_jpeg, encode_png
from repose.data.photos import Loaded
from repose.data.posemaps import PALETTE, draw
from repose.generate import Framed, Request, generate
from repose.models import body
from repose.training import TrainSettings

FASHION_CROP = (40.0, 0.0, 216.0, 256.0)
WARM_STEPS = 3
POINTS = 10  # of a curve


class Way(NamedTuple):
    """A way to train: a plain loop with changes."""

    name: str
    precision: str
    changes: frozenset[str] = frozenset()
    many: bool = False  # also with several items a step


PLAIN = Way("plain", "bf16", many=True)
PADDED = Way("padded", "bf16", frozenset({"padded"}))  # sources to the most that a target may have, with a mask
GRAPH = Way("graph, padded", "bf16", frozenset({"graph", "padded"}), many=True)
CANDIDATES = (
    Way("plain", "fp32", many=True), PLAIN,
    Way("batches in memory", "bf16", frozenset({"resident"})),  # what unpacking takes
    Way("channels_last", "bf16", frozenset({"channels_last"}), many=True),
    PADDED,
    Way("a graph for each shape", "bf16", frozenset({"graph"})),
    GRAPH,
    Way("graph, padded", "fp32", frozenset({"graph", "padded"})),
    Way("graph, padded, channels_last", "bf16", frozenset({"graph", "padded", "channels_last"}), many=True),
)  # fmt: skip
COMPILED = (
    Way("compile, padded", "bf16", frozenset({"compile", "padded"})),
    Way("compile, graph, padded", "bf16", frozenset({"compile", "graph", "padded"})),
)


class Candidate(Work):
    """A case at work in a way; the changes are made here, so that repose has only those that pay."""

    def __init__(self, case: Case, settings: TrainSettings, device: str, way: Way, steps: int) -> None:
        super().__init__(case, settings, torch.device(device), steps=steps)
        self.changes = way.changes
        if "graph" in self.changes and not torch.cuda.is_available():
            raise RuntimeError("CUDA graphs need a GPU")
        if "channels_last" in self.changes:
            for network in self.system.networks.values():
                network.to(memory_format=torch.channels_last)
        if "graph" in self.changes:
            for optimiser in self.system.optimisers.values():
                optimiser.param_groups[0]["capturable"] = True
        if "compile" in self.changes:
            # Otherwise constants are copied to the GPU in the compiled code, which no CUDA graph can have.
            body._limbs_at_rest = torch.compiler.disable(body._limbs_at_rest)
            compiled: Any = torch.compile(backend="inductor" if device == "cuda" else "aot_eager")
            system: Any = self.system
            system._passes = compiled(system._passes)
            system._d_losses = {name: compiled(loss) for name, loss in system._d_losses.items()}
        self.graphs: dict[tuple[Any, ...], tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]] = {}
        self.pool = torch.cuda.graph_pool_handle() if "graph" in self.changes else None
        self.resident = [self.unpacked(packed) for packed in self.packed] if "resident" in self.changes else None

    def batch(self, number: int) -> Batch:
        """See `Work.batch`."""
        return self.unpacked(self.packed[number]) if self.resident is None else self.resident[number]

    def unpacked(self, packed: Packed) -> Batch:
        """A batch on the device, padded if the way has it."""
        more = self.case.row.max_sources - packed.sources.shape[1]
        if "padded" in self.changes:
            sources, mask = (
                np.pad(packed.sources, ((0, 0), (0, more)), "edge"),
                np.pad(packed.mask, ((0, 0), (0, more))),
            )
            packed = replace(packed, sources=sources, mask=mask)
        return unpack(packed, augment=self.augment, device=self.device)

    def step(self, batch: Batch, number: int) -> int:
        """See `Work.step`; a graph is captured for each shape of batches."""
        if "graph" not in self.changes:
            return super().step(batch, number)
        shapes = tuple(tuple(tensor.shape) for tensor in _tensors(batch))
        if shapes not in self.graphs:
            self.graphs[shapes] = self._captured(deepcopy(batch), number)
        graph, static, self.terms = self.graphs[shapes]
        for there, here in zip(_tensors(static), _tensors(batch), strict=True):
            there.copy_(here)
        graph.replay()
        return len(batch.target)

    def _captured(self, static: Batch, number: int) -> tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]:
        """The step on a batch as a graph, with its learning rate; replaying it trains on what `static` has then."""
        side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        before = {name: deepcopy(network.state_dict()) for name, network in self.system.networks.items()}
        optimisers = {name: deepcopy(optimiser.state_dict()) for name, optimiser in self.system.optimisers.items()}
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_STEPS):
                super().step(static, number)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph, pool=self.pool):
            super().step(static, number)
        self._restore(before, optimisers)
        return graph, static, self.terms

    def _restore(self, networks: dict[str, Any], optimisers: dict[str, Any]) -> None:
        """Undo the steps before a capture, in place: the graph has the addresses of all tensors."""
        for name, network in self.system.networks.items():
            network.load_state_dict(networks[name])
            optimiser = self.system.optimisers[name]
            saved = optimisers[name]["state"]
            for number, parameter in enumerate(optimiser.param_groups[0]["params"]):
                for key, value in optimiser.state[parameter].items():
                    value.copy_(saved[number][key]) if number in saved else value.zero_()


def _tensors(batch: Batch) -> list[Tensor]:
    poses = [tensor for some in (batch.poses, batch.other_pose) for tensor in (some.posemaps, some.keypoints)]
    return [batch.images, batch.target, batch.sources, batch.mask, batch.other_image, *poses]


# ---- photos ----


class Rendered:
    """Photos as `data.photos.Photos` has them, of rendered people, whose files are in memory and decoded at each request."""

    def __init__(self, items: int, size: tuple[int, int]) -> None:
        crop = None if size[0] == size[1] else FASHION_CROP
        self.frame, self.line_width = Frame(*size, crop), max(1.0, size[0] / 64)
        settings = MannequinSettings("fashion", items=items, seed=0, quality=90)
        rendered = [(number, photo) for number in range(items) for photo in render_item(settings, number)]
        self._pixels = [encode_jpeg(photo.pixels, 90) for _, photo in rendered]
        self._keypoints = np.stack([self.frame.keypoints(photo.keypoints, 256, 256) for _, photo in rendered])
        maps = draw(self._keypoints, height=size[0], width=size[1], line_width=self.line_width)
        self._maps = [encode_png(one, PALETTE) for one in maps]
        self.table = pd.DataFrame(
            {"name": [str(row) for row in range(len(rendered))], "item": [number for number, _ in rendered]}
        )

    def load(self, names: list[str]) -> Loaded:
        """The photos of these names, which are numbers."""
        rows = [int(name) for name in names]
        pixels = np.stack([self.frame.image(decode(self._pixels[row])) for row in rows])
        return Loaded(pixels, self._keypoints[rows], np.stack([decode_indices(self._maps[row]) for row in rows]))


def steps_of(work: Work, photos: Any, steps: int, seed: int) -> Steps:
    """The batches of a training on rendered photos."""
    row = work.case.row
    return Steps(
        photos, photos.table, steps=steps, seed=seed, items_per_step=row.items_per_step, max_photos=row.max_photos,
        max_sources=row.max_sources, targets=row.targets, augment=work.augment, others=row.needs_others,
    )  # fmt: skip


# ---- times ----


def seconds(work: Callable[[], object], device: torch.device, warm: int = 0) -> float:
    """How long the device works on it, after so many calls that are not counted."""
    for _ in range(warm):
        work()
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def flops(work: Work) -> float:
    """Operations of products and convolutions for each image trained; a round is trained for that."""
    with FlopCounterMode(display=False) as counter:
        images = sum(Work.step(work, work.batch(number), number) for number in range(len(work.packed)))
    return counter.get_total_flops() / images


def waiting(work: Work, photos: Any, steps: int, workers: int) -> tuple[float, float]:
    """The share of the time in which the loop waits for its loader, and images trained per second."""
    dataset = steps_of(work, photos, WARM_STEPS + steps, 0)
    loader = iter(DataLoader(dataset, batch_size=None, num_workers=workers))
    start, waited, images = time.perf_counter(), 0.0, 0
    for number in range(WARM_STEPS + steps):
        if number == WARM_STEPS:
            _wait(work.device)
            start, waited, images = time.perf_counter(), 0.0, 0
        asked = time.perf_counter()
        packed = next(loader)
        waited += time.perf_counter() - asked
        images += work.step(unpack(packed, augment=work.augment, device=work.device), 0)
    _wait(work.device)
    total = time.perf_counter() - start
    return waited / total, images / total


def generating(work: Work, count: int, calls: int) -> list[float]:
    """Seconds of each call that makes so many images, from a source each; arrays go in and come out."""
    loaded = Noise(work.case.size, work.case.line_width, 2 * GENERATED).load([str(n) for n in range(2 * GENERATED)])
    framed = [Framed(pixels, points, work.case.size) for pixels, points in zip(*loaded[:2], strict=True)]
    requests = [
        Request((framed[n % GENERATED]._replace(),), framed[GENERATED + n % GENERATED].keypoints) for n in range(count)
    ]
    for network in work.system.networks.values():
        network.eval()

    def call() -> None:
        with work.autocast():
            for _ in generate(work.system, requests, work.case.line_width, work.device):
                pass

    for _ in range(WARM_STEPS):
        call()
    return [seconds(call, work.device) for _ in range(calls)]


def curve(work: Candidate, photos: Any, steps: int, seed: int) -> dict[str, list[float]]:
    """Each term of the losses, as means over POINTS equal parts of the training."""
    dataset, terms = steps_of(work, photos, steps, seed), []
    for number in range(steps):
        work.step(work.unpacked(dataset[number]), 0)
        terms.append(torch.stack(list(work.terms.values())).clone())  # a graph writes to the same tensors again
    points = torch.stack(terms).double().unflatten(0, (POINTS, -1)).mean(1)  # (POINTS, terms)
    return dict(zip(work.terms, points.T.tolist(), strict=True))


def at_constant_rate(case: Case) -> Case:
    """The case without a schedule: a graph has the learning rate at which it was captured."""
    row: Any = case.row
    optimiser = replace(row.optimiser, warmup_steps=0, lr_halving_epochs=0, lr_decay_start=1.0)
    return case._replace(row=replace(row, optimiser=optimiser))


def peak_gib(device: str, before: int) -> float | None:
    """The memory that was needed since then."""
    return (torch.cuda.max_memory_allocated() - before) / 2**30 if device == "cuda" else None


# ---- failures ----


@contextmanager
def told(say: Callable[..., None], about: dict[str, Any]) -> Iterator[None]:
    """A block whose failure is only told."""
    try:
        yield
    except Exception as error:
        say(**about, error=reason(error))
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()


def reason(error: Exception) -> str:
    """The first line of an error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
