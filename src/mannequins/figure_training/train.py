"""figure train: train the figure network on rendered photos.

    repose figure train --raw raw/train-fashion --raw raw/train-street --run run

The loss is the cross-entropy of where each joint is, or that it is not in sight, plus that of which training item a photo
shows, by the cosines of its features to one vector per item; those vectors are not kept. The folder `run` then has
figure.safetensors, its SHA-256, and history.csv.

A batch only depends on the seed and the step's number. It has several photos of each of its items, from every set, on canvases
of one size. Photos are moved, scaled, flipped, brightened or darkened, and sometimes blurred.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mannequins.figure.network import DIGEST, FEATURES, HEIGHT, STRIDE, WEIGHTS, FigureNetwork, Seen, log_probabilities
from repose.config import Seed, settings
from repose.data.images import decode, to_tensor
from repose.data.layouts import DISTRACTOR, JUNK, LAYOUTS, is_image
from repose.data.raw import RawFiles
from repose.data.skeleton import MIRROR
from repose.devices import set_up
from repose.errors import ReposeError
from repose.pose import keypoint_files
from repose.storage.atomic import whole_folder, write_text
from repose.storage.processes import end_with_parent
from repose.terminal import TrainingBar

NOBODY = -1  # the item of a photo without an item
Width = Annotated[int, Field(ge=32, multiple_of=8)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


@settings
class ChangeSettings:
    """The augmentation of training photos, as shares and factors."""

    flip: Share  # share of photos that are flipped left to right
    scale: tuple[PositiveFloat, PositiveFloat]  # range of a person's size, relative to the photo
    shift: BelowOne  # maximum shift of a photo's middle, as a share of the canvas, in both directions
    light: BelowOne  # maximum deviation from 1 of the brightness factor
    blur: Share  # share of photos that are shrunk and enlarged again, as generated images are soft

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale should be [smallest, largest], not {list(self.scale)}.")


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
    batches = Batches([RenderedPhotos(folder) for folder in raw], settings)
    network = FigureNetwork().to(device).to(memory_format=torch.channels_last)
    history = _train(network, batches, device)
    content = serialise({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    with whole_folder(run, (WEIGHTS.name, DIGEST.name, "history.csv")) as folder:
        (folder / WEIGHTS.name).write_bytes(content)
        write_text(folder / DIGEST.name, f"{hashlib.sha256(content).hexdigest()}  {WEIGHTS.name}\n")
        write_text(folder / "history.csv", history.to_csv(index=False, lineterminator="\n", float_format="%.4f"))


# ---- photos


class RenderedPhotos:
    """The photos of one set of mannequins, written by `repose figure render`.

    Attributes:
        names: n names of photos.
        keypoints: (n,K,2) float32 px, NaN where the joint is not in sight.
        items: (n,) int64, NOBODY for Market-1501's junk and distractors.

    Raises:
        ReposeError: the folder has no photos with keypoints.
    """

    def __init__(self, folder: Path) -> None:
        self._files = RawFiles(folder)
        layout = LAYOUTS[self._files.layout](self._files, self._files.__getitem__)
        listed = self._files.find("keypoints.csv")
        poses = keypoint_files.read_posegan_csv(self._files[listed], listed)
        found = [(path, photo) for path in self._files if is_image(path) and (photo := layout.photo(path))]
        if not found:
            raise ReposeError(f"{folder} has no photos. Render them again (`dvc repro figure/dvc.yaml`).")
        self._paths = [path for path, _ in found]
        self.names = [photo.name for _, photo in found]
        self.keypoints = keypoint_files.match(poses, self.names).keypoints
        numbers: dict[str, int] = {JUNK: NOBODY, DISTRACTOR: NOBODY}
        for _, photo in found:
            numbers.setdefault(photo.item, len(numbers) - 2)
        self.items = np.array([numbers[photo.item] for _, photo in found])

    def __len__(self) -> int:
        return len(self._paths)

    def pixels(self, row: int) -> np.ndarray:
        """A photo: (H,W,3) uint8."""
        return decode(self._files[self._paths[row]])


@dataclass(frozen=True)
class Batch:
    """One step's photos."""

    pixels: np.ndarray  # (B,HEIGHT,W,3) uint8
    keypoints: np.ndarray  # (B,K,2) float32 px, NaN where not in sight
    items: np.ndarray  # (B,) int64 over all sets, NOBODY where of no item


class Batches(Dataset[Batch]):
    """The batches of a training run, by step number from 0."""

    def __init__(self, sets: Sequence[RenderedPhotos], settings: FigureTrainSettings) -> None:
        self.sets, self.settings = sets, settings
        self._rows = [[np.flatnonzero(s.items == item) for item in range(s.items.max() + 1)] for s in sets]
        few = min(map(len, self._rows))
        if few < settings.items:
            raise ReposeError(
                f"A step needs {settings.items} item(s) of each set, but a set has {few}. Render more, or lower train.items."
            )
        *self._starts, self.item_count = np.cumsum([0, *map(len, self._rows)]).tolist()  # each set's first item

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng([self.settings.seed, step])
        width = self.settings.widths[int(random.integers(len(self.settings.widths)))]
        sets = list(zip(self.sets, self._starts, strict=True))
        chosen = [(*of, row) for number, of in enumerate(sets) for row in self._chosen(number, step, random)]
        photos = [changed(s.pixels(row), s.keypoints[row], width, self.settings.change, random) for s, _, row in chosen]
        items = [NOBODY if s.items[row] == NOBODY else first + s.items[row] for s, first, row in chosen]
        pixels, keypoints = zip(*photos, strict=True)
        return Batch(np.stack(pixels), np.stack(keypoints), np.array(items))

    def _chosen(self, number: int, step: int, random: np.random.Generator) -> list[int]:
        """Rows of a set: some photos of each of the step's items, and some without an item."""
        rows, each, settings = self._rows[number], self.settings.items, self.settings
        epoch, within = divmod(step, len(rows) // each)
        order = np.random.default_rng([settings.seed, number, epoch, 1]).permutation(len(rows))
        of_items = [
            random.choice(rows[item], min(settings.photos, len(rows[item])), replace=False)
            for item in order[within * each : (within + 1) * each]
        ]
        strays = np.flatnonzero(self.sets[number].items == NOBODY)
        some = random.choice(strays, min(settings.nobodies, len(strays)), replace=False)
        return [int(row) for group in (*of_items, some) for row in group]


def changed(
    pixels: np.ndarray, keypoints: np.ndarray, width: int, change: ChangeSettings, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An augmented photo on the canvas (HEIGHT,width,3), and its keypoints (K,2) in px of the canvas."""
    height = pixels.shape[0] / random.uniform(*change.scale)  # of the part of the photo that fills the canvas
    canvas, size = np.array([width, HEIGHT]), np.array([height * width / HEIGHT, height])  # x, y
    middle = np.array(pixels.shape[1::-1]) / 2 + random.uniform(-change.shift, change.shift, 2) * size
    corner = middle - size / 2
    placed = (keypoints - corner + 0.5) * (canvas / size) - 0.5
    inside = ((placed > -0.5) & (placed < canvas - 0.5)).all(1)
    placed = np.where(inside[:, None], placed, np.nan).astype(np.float32)
    image = _cut(pixels, corner, size, width)
    if random.random() < change.blur:
        share = random.uniform(0.35, 1)
        small = round(width * share), round(HEIGHT * share)
        soft = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)
        image = np.asarray(soft.resize((width, HEIGHT), Image.Resampling.BICUBIC))
    if random.random() < change.flip:
        image, placed = image[:, ::-1], placed[MIRROR]
        placed = placed * np.array([-1, 1], np.float32) + np.array([width - 1, 0], np.float32)
    factor = random.uniform(1 - change.light, 1 + change.light)
    return (image * factor).clip(0, 255).round().astype(np.uint8), placed


def _cut(pixels: np.ndarray, corner: np.ndarray, size: np.ndarray, width: int) -> np.ndarray:
    """The part of a photo in a box, as (HEIGHT,width,3); pixels outside the photo repeat the nearest pixel."""
    last = np.array(pixels.shape[1::-1])
    before, after = np.ceil((-corner).clip(0)).astype(int), np.ceil((corner + size - last).clip(0)).astype(int)
    padded = np.pad(pixels, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    left, top = corner + before
    box = (left, top, left + size[0], top + size[1])
    return np.asarray(Image.fromarray(padded).resize((width, HEIGHT), Image.Resampling.BILINEAR, box=box))


# ---- training


def _train(network: FigureNetwork, batches: Batches, device: torch.device) -> pd.DataFrame:
    """Run all steps; return the mean of each loss term over each `log_every` steps."""
    settings = batches.settings
    of_items = nn.Parameter(F.normalize(torch.randn(batches.item_count, FEATURES), dim=1).to(device))
    groups: list[dict[str, Any]] = [{"params": network.parameters()}, {"params": [of_items], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.05, cycle_momentum=False
    )
    loader = DataLoader(
        batches, batch_size=None, num_workers=settings.workers, worker_init_fn=end_with_parent, generator=torch.Generator()
    )  # fmt: skip
    network.train()
    rows, sums = [], torch.zeros(2, device=device)
    latest: dict[str, float] = {}
    with TrainingBar("figure", 0, settings.steps) as bar:
        for step, batch in enumerate(loader, 1):
            images = to_tensor(batch.pixels).to(device, memory_format=torch.channels_last)
            seen = network(images)
            keypoints, of_photos = (torch.from_numpy(known).to(device) for known in (batch.keypoints, batch.items))
            of_joints = joint_loss(seen, keypoints, settings.spread)
            terms = torch.stack([of_joints, item_loss(seen.features, of_items, of_photos, settings.item_scale)])
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
