"""A training step shared by processes of gloo on the CPU, against the same step in one process."""

import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

import forked
from fakes import blurred
from repose.data.augment import AugmentSettings
from repose.data.batches import Batch, Steps, unpack
from repose.data.photos import Photos
from repose.data.records import ITEMS, read_table
from repose.systems import Progress, SystemSettings, build
from repose.systems.learning.distributed import weighted_mean
from tiny import Data, row

STEPS = 3  # DistributedDataParallel lays its buckets out anew after the first
_BOTH = {"real_pair": "both", "adversarial_on": "both"}


_LOSSES = {"adversarial_image": 0.3, "adversarial_pose": 0.7}
ROWS: dict[str, SystemSettings] = {
    "paper-m": row("paper-m", items_per_step=2, losses=_LOSSES),
    "paper-m, both": row("paper-m", items_per_step=2, losses=_LOSSES | _BOTH),
    "paper-m, one target": row("paper-m", items_per_step=2, targets="one"),
    "attend": row(
        "attend", items_per_step=2, losses={"warped": 0.5, "synthesized": 0.5}, discriminators={"width": 4, "layers": 1}
    ),
    "attend alone": row("attend", items_per_step=2),
}


class Stepped(NamedTuple):
    """What a row's steps came to, from its first weights."""

    gradients: list[dict[str, Tensor]]  # of each step, by network and parameter
    terms: list[dict[str, float]]
    shares: list[float]


def steps_of(name: str, data: Data, rank: int = 0, processes: int = 1) -> Stepped:
    """Some steps of a row; at the training's end, where the rate is 0, so that rounding does not grow from step to step."""
    chosen, augment = ROWS[name], AugmentSettings(flip=0.5, rotation=10, crop=0.9, fill="edge")
    torch.manual_seed(rank)  # the weights of the first process have to become those of all
    photos = Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)
    table = read_table(data.split / "items.csv", ITEMS)
    steps = Steps(
        photos, table[table["part"] == "train"], steps=STEPS, seed=0, items_per_step=2, max_photos=5, max_sources=4,
        targets=chosen.targets, augment=augment, rank=rank, processes=processes,
    )  # fmt: skip
    system = build(chosen, photos.frame)
    for network in system.networks.values():
        network.to(dtype=torch.float64, memory_format=torch.channels_last)
    if processes > 1:
        system.distribute()
    found = Stepped([], [], [])
    for number in range(STEPS):
        batch = unpack(steps[number], augment=augment, device=torch.device("cpu"))
        batch = _in_float64(batch)  # L1's gradient is a sign, which the rounding of float32 can turn
        with mock.patch.object(Tensor, "float", Tensor.double):  # which models widen half precision by
            terms = system.step(batch, blurred, Progress(STEPS, STEPS, STEPS), nullcontext())
        terms = weighted_mean(terms, batch.share)
        found.gradients.append({
            f"{network}.{key}": parameter.grad.clone()
            for network, module in system.networks.items() for key, parameter in module.named_parameters()
        })  # fmt: skip
        found.terms.append({key: float(term) for key, term in terms.items()})
        found.shares.append(batch.share)
    return found


def _in_float64(batch: Batch) -> Batch:
    inputs = {name: getattr(batch, name).to(torch.float64) for name in ("images", "poses", "other_image", "other_pose")}
    return replace(batch, **inputs)


def shared_by_two(data: Data, folder: Path) -> dict[str, list[Stepped]]:
    """Of each row, what two processes with an item each came to."""
    children = [forked.start(_child, data, folder, rank) for rank in range(2)]
    for child in children:
        child.join()
        assert child.exitcode == 0
    found: list[dict[str, Any]] = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    return {name: [Stepped(*of_rank[name]) for of_rank in found] for name in ROWS}


def _child(data: Data, folder: Path, rank: int) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save({name: tuple(steps_of(name, data, rank, 2)) for name in ROWS}, folder / f"{rank}.pt")
    dist.destroy_process_group()
