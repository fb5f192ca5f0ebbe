"""figure train: train the figure network on rendered photos.

    repose figure train --raw raw/train-fashion --raw raw/train-street --run run

The loss is the cross-entropy of where each joint is, or that it is not in sight, plus that of which training item a photo
shows, by the cosines of its features to one vector per item; those vectors are not kept. The folder `run` then has
figure.safetensors, its SHA-256, and history.csv.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mannequins.figure.network import DIGEST, FEATURES, STRIDE, WEIGHTS, FigureNetwork, Seen, log_probabilities
from mannequins.figure_training.photos import NOBODY, Batch, Batches, ChangeSettings, RenderedPhotos
from repose.config import Seed, settings
from repose.data.images import to_tensor
from repose.devices import set_up
from repose.errors import ReposeError
from repose.storage.atomic import whole_folder, write_text
from repose.terminal import TrainingBar

HISTORY = "history.csv"
Width = Annotated[int, Field(ge=32, multiple_of=8)]


@settings
class FigureTrainSettings:
    """The block `train` of figure/params.yaml."""

    seed: Seed  # of the first weights, the order of items, the changes
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    threads: PositiveInt  # CPU threads of torch
    workers: NonNegativeInt  # processes that load photos; 0: the training process loads them
    steps: PositiveInt
    items: PositiveInt  # of each set per step
    photos: PositiveInt  # of an item in a step, at most
    nobodies: NonNegativeInt  # of each set in a step, photos of no item: strangers, and boxes with nobody in them
    widths: Annotated[tuple[Width, ...], Field(min_length=1)]  # px: a step draws one for its photos, 128 px high
    learning_rate: PositiveFloat  # rises over the first twentieth of the steps, then follows a cosine to 0
    weight_decay: NonNegativeFloat
    spread: PositiveFloat  # cells: standard deviation of the target around a joint
    item_weight: NonNegativeFloat  # of the second term of the loss
    item_scale: PositiveFloat  # of the cosines before their softmax
    log_every: PositiveInt  # steps between two rows of the history
    change: ChangeSettings


def run(*, raw: Sequence[Path], run: Path, settings: FigureTrainSettings) -> None:
    """Train on the photos in the folders `raw` and write the folder `run`.

    Raises:
        ReposeError: a folder has no rendered photos or too few items, or the loss is not finite.
    """
    device = set_up(settings.device, settings.threads, settings.seed)
    batches = Batches(
        [RenderedPhotos(folder) for folder in raw], steps=settings.steps, seed=settings.seed, items=settings.items,
        photos=settings.photos, nobodies=settings.nobodies, widths=settings.widths, change=settings.change,
    )  # fmt: skip
    network = FigureNetwork().to(device).to(memory_format=torch.channels_last)
    history = _train(network, batches, settings, device)
    content = serialise({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    with whole_folder(run) as folder:
        (folder / WEIGHTS.name).write_bytes(content)
        write_text(folder / DIGEST.name, f"{hashlib.sha256(content).hexdigest()}  {WEIGHTS.name}\n")
        write_text(folder / HISTORY, history.to_csv(index=False, lineterminator="\n", float_format="%.4f"))


def _train(
    network: FigureNetwork, batches: Batches, settings: FigureTrainSettings, device: torch.device
) -> pd.DataFrame:
    """Run all steps; return the mean of each loss term over each `log_every` steps."""
    of_items = nn.Parameter(F.normalize(torch.randn(batches.item_count, FEATURES), dim=1).to(device))
    groups: list[dict[str, Any]] = [{"params": network.parameters()}, {"params": [of_items], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.05, cycle_momentum=False
    )
    loader: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, num_workers=settings.workers, generator=torch.Generator()
    )
    network.train()
    rows, sums = [], torch.zeros(2, device=device)
    latest: dict[str, float] = {}
    with TrainingBar("figure", 0, settings.steps) as bar:
        for step, batch in enumerate(loader, 1):
            images = to_tensor(batch.pixels).to(device, memory_format=torch.channels_last)
            seen = network(images)
            terms = torch.stack(
                [
                    joint_loss(seen, torch.from_numpy(batch.keypoints).to(device), settings.spread),
                    item_loss(seen.features, of_items, torch.from_numpy(batch.items).to(device), settings.item_scale),
                ]
            )
            optimiser.zero_grad(set_to_none=True)
            (terms[0] + settings.item_weight * terms[1]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            sums += terms.detach()
            if step % settings.log_every == 0 or step == settings.steps:
                joints, items = (sums / ((step - 1) % settings.log_every + 1)).tolist()
                if not math.isfinite(joints + items):
                    raise ReposeError(
                        f"The loss of the figure network is not finite at step {step}. Lower train.learning_rate."
                    )
                latest = {"joints": joints, "items": items}
                rows.append({"step": step, **latest})
                sums.zero_()
            bar.advance(latest, photos=len(batch.items))
    return pd.DataFrame(rows)


def joint_loss(seen: Seen, keypoints: Tensor, spread: float) -> Tensor:
    """Cross-entropy of each joint's place, a Gaussian around it, or of not in sight; the mean over (B,K). A scalar.

    Args:
        seen: the network's output for B images.
        keypoints: (B,K,2) px of these images, NaN where not in sight.
        spread: the Gaussian's standard deviation in cells.
    """
    in_cells, nowhere = log_probabilities(seen.cells, seen.hidden)
    h, w = in_cells.shape[2:]
    known = ~keypoints.isnan().any(2)
    places = (keypoints.nan_to_num() + 0.5) / STRIDE - 0.5  # in cells
    rows, columns = torch.arange(h, device=places.device), torch.arange(w, device=places.device)
    over_y = torch.softmax(-((rows - places[..., 1:]) ** 2) / (2 * spread**2), 2)  # (B,K,h)
    over_x = torch.softmax(-((columns - places[..., :1]) ** 2) / (2 * spread**2), 2)  # (B,K,w)
    placed = torch.einsum("bkhw,bkh,bkw->bk", in_cells, over_y, over_x)
    return -torch.where(known, placed, nowhere).mean()


def item_loss(features: Tensor, of_items: Tensor, items: Tensor, scale: float) -> Tensor:
    """Cross-entropy of which item a photo shows, by the cosines of its features to one vector per item. A scalar.

    Args:
        features: (B,D) of length 1.
        of_items: (items,D), one vector for each training item.
        items: (B,) int64, the item of each photo; NOBODY for photos that do not count. At least one counts.
        scale: factor of the cosines.
    """
    logits = scale * features @ F.normalize(of_items, dim=1).T
    return F.cross_entropy(logits, items, ignore_index=NOBODY)
