"""surface train: train the system surface on rendered people.

    repose surface train --run run --work .repose/train

The training has three phases: geometry alone, then painting too, then also an adversarial term. The learning rate is constant
at first and then follows a cosine. Items are rendered when a step needs them; an item depends on the seed and its number only.

The folder `work` keeps the state every `checkpoint_every` steps, and an interrupted training resumes from there: on the same
machine or on another with other threads, workers or device, and on a CPU with the same bytes. The state is a checkpoint that
`repose generate` reads. Its generator is the moving average of the weights, as in the finished `run`: model.safetensors and
history.csv.
"""

import copy
import hashlib
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pandas as pd
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mannequins.surface_training.batches import Batch, Packed, Steps, unpack
from mannequins.surface_training.losses import (
    LossSettings,
    Patches,
    discriminator_loss,
    flow_errors,
    geometry,
    painting,
    sum_of,
)
from repose import checkpoint, systems
from repose.checkpoint import About
from repose.config import Seed, as_dict, nearest, settings
from repose.data.frame import Frame
from repose.devices import set_up
from repose.errors import DataError, ReposeError
from repose.models.lite0 import Lite0
from repose.models.surface import SurfaceGenerator, SurfaceSettings
from repose.storage.atomic import check_replaceable, locked, whole_folder, write_text
from repose.storage.processes import end_with_parent
from repose.systems import System, Terms
from repose.terminal import TrainingBar, say

VERSION = 6  # of all that determines the weights; raise it when a change gives other weights for the same settings
FILES = ("model.safetensors", "history.csv")
CROP = (40.0, 0.0, 216.0, 256.0)  # of DeepFashion's square photos; renderings have the shape of this part
_SHOWN = ("flow_px", "l1", "adversarial")  # in the progress line
_RAMP = 200  # steps in which the adversarial term rises to its weight
_MOST_GRADIENT = 5.0  # the norm to which gradients are clipped
Side = Annotated[int, Field(ge=32, multiple_of=8)]


@settings
class BudgetSettings:
    """The length of a training, and what it runs on."""

    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    precision: Literal["fp32", "bf16"]  # bf16: mixed precision
    threads: PositiveInt  # CPU threads of torch
    workers: NonNegativeInt  # processes that render; 0: the training process renders
    steps: PositiveInt
    items: PositiveInt  # rendered per step
    painting: NonNegativeInt  # the first step with the terms of painting
    decay: NonNegativeInt  # the first step of the cosine
    adversarial: NonNegativeInt  # the first step with the adversarial term

    def __post_init__(self) -> None:
        if self.adversarial < self.painting:
            raise ValueError(f"adversarial ({self.adversarial}) should not be before painting ({self.painting}).")


# These do not change what is learned, so a training can resume with others.
_ANYWHERE = ("device", "precision", "threads", "workers")


@settings
class SurfaceTrainSettings:
    """The block `train` of surface/params.yaml."""

    budget: str  # a name under budgets
    budgets: dict[str, BudgetSettings]
    seed: Seed  # of the items and of the first weights
    init: str | None  # path of a checkpoint of the system surface to go on from, at its step; null: from nothing
    height: Side  # px of the photos
    width: Side  # px of the photos
    views: Annotated[int, Field(ge=2)]  # photos of an item
    learning_rate: PositiveFloat  # rises over the first `warmup` steps
    warmup: PositiveInt  # steps
    last_rate: Annotated[float, Field(gt=0, le=1)]  # share of the learning rate at the cosine's end
    discriminator_rate: PositiveFloat  # learning rate of the discriminator
    average: Annotated[float, Field(ge=0, lt=1)]  # decay of the moving average of the weights
    log_every: PositiveInt  # steps between two rows of the history
    checkpoint_every: PositiveInt  # steps
    losses: LossSettings
    generator: SurfaceSettings  # sizes of the networks

    def __post_init__(self) -> None:
        if self.budget not in self.budgets:
            raise ValueError(f"budgets has no {self.budget!r}{nearest(self.budget, list(self.budgets))}")
        if self.generator.reduce != 1:
            raise ValueError(f"generator.reduce should be 1, not {self.generator.reduce}: export sets it.")

    @property
    def chosen(self) -> BudgetSettings:
        """The budget."""
        return self.budgets[self.budget]


@dataclass(frozen=True)
class Training:
    """A training in progress."""

    settings: SurfaceTrainSettings
    device: torch.device
    system: System  # its networks: generator (the average), trained and discriminator
    about: About  # as at the start
    start: int  # the step after that of `init`
    place: Path  # the folder of the state

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.place / "last.safetensors"


def run(*, run: Path, work: Path, settings: SurfaceTrainSettings) -> None:
    """Train, and write the folder `run`; see the module.

    Raises:
        ReposeError: another process trains in `work`, `init` is of another architecture or has no fewer steps, the packages
            of EfficientNet-Lite0 are missing, or no gradient is finite.
    """
    check_replaceable(run, FILES)
    with locked(work, wait=False):
        training = _begun(work, settings)
        _train(training)
        done = replace(training.about, step=settings.chosen.steps)
        with whole_folder(run, FILES) as folder:
            training.system.networks = {"generator": training.system.networks["generator"]}
            checkpoint.save(folder / FILES[0], training.system, done, to_resume=False)
            shutil.copy(training.place / FILES[1], folder / FILES[1])
    say(f"surface: {run} is ready")


def _begun(work: Path, settings: SurfaceTrainSettings) -> Training:
    budget = settings.chosen
    device = set_up(budget.device, budget.threads, settings.seed)
    row = systems.row(
        {
            "kind": "surface", "steps": budget.steps, "generator": as_dict(settings.generator),
            "losses": {"adversarial_image": 0, "adversarial_pose": 0},
        },
        "train",
    )  # fmt: skip
    frame = Frame(settings.height, settings.width, CROP)
    system, start, digest = systems.build(row, frame), 0, None
    average = system.networks["generator"]
    system.networks |= {"trained": copy.deepcopy(average), "discriminator": Patches()}
    if settings.init:
        path = Path(settings.init).expanduser()
        given, found = checkpoint.load_weights(path, system, row)
        if "trained" not in found:
            system.networks["trained"].load_state_dict(average.state_dict())
        start, digest = given.step, hashlib.sha256(path.read_bytes()).hexdigest()
        if start >= budget.steps:
            raise ReposeError(f"{path} has {start:,} steps. Set the budget's steps, now {budget.steps:,}, to more.")
        say(f"starting from {path}, step {start:,}: {', '.join(found)}")
    average.requires_grad_(False)
    system.optimisers = {}
    for name, rate, first in (
        ("trained", settings.learning_rate, 0.9),
        ("discriminator", settings.discriminator_rate, 0.5),
    ):
        parameters = system.networks[name].to(device).parameters()
        system.optimisers |= {name: torch.optim.Adam(parameters, rate, (first, 0.99), fused=True)}
    average.to(device)
    fingerprint = _fingerprint(settings, digest)
    about = About("surface", row, frame, settings.height / 32, start, fingerprint, (256, 256))
    return Training(settings, device, system, about, start, work / fingerprint[:16])


def _fingerprint(settings: SurfaceTrainSettings, init: str | None) -> str:
    """The hash of all that determines the weights at a given step, but for rounding."""
    budget = {name: value for name, value in as_dict(settings.chosen).items() if name not in _ANYWHERE}
    left_out = ("budget", "budgets", "init", "log_every", "checkpoint_every")
    others = {name: value for name, value in as_dict(settings).items() if name not in left_out}
    return hashlib.sha256(json.dumps([VERSION, budget, others, init], sort_keys=True).encode()).hexdigest()


def _train(training: Training) -> None:
    """Train from the last state to the last step."""
    budget, settings, start = training.settings.chosen, training.settings, training.start
    if training.last.is_file():
        found = checkpoint.read_state(training.last, training.about)
        checkpoint.restore(found, training.system)
        start = found.step
        say(f"surface: resuming from step {start:,} of {budget.steps:,}")
    steps = Steps(settings.seed, budget.items, settings.views, settings.height, settings.width)
    loader: DataLoader[Packed] = DataLoader(
        steps, batch_size=None, sampler=range(start, budget.steps), num_workers=budget.workers,
        worker_init_fn=end_with_parent, generator=torch.Generator(),
    )  # fmt: skip
    learner, history = _Learner(training), _History(training.place / FILES[1], start)
    with TrainingBar("surface", start, budget.steps) as bar:
        for step, packed in enumerate(loader, start):
            terms, finite = learner.step(step, unpack(packed, training.device))
            if finite:
                history.since.append(terms)
            done = step + 1
            due = done == budget.steps or done % settings.checkpoint_every == 0
            if due or done % settings.log_every == 0 or done in (budget.painting, budget.adversarial):
                if not history.since:
                    raise ReposeError(
                        f"No gradient was finite in the steps before step {done:,}. Lower train.learning_rate, or set the "
                        f"budget's precision to fp32. Delete {training.place} to start over."
                    )
                history.log(done)
            if due:
                history.write()
                checkpoint.save(training.last, training.system, replace(training.about, step=done), to_resume=True)
            bar.advance(
                {name: value for name, value in history.latest.items() if name in _SHOWN}, photos=len(packed.pixels)
            )


class _History:
    """The means of the terms of the loss since the last row; a resumed training drops the rows after its state."""

    def __init__(self, file: Path, start: int) -> None:
        self._file, self._rows = file, list[dict[str, float]]()
        self.since: list[Terms] = []
        if file.is_file():
            try:
                table = pd.read_csv(file)
                kept = table[table["step"] <= start].to_dict("records")
            except (KeyError, ValueError) as error:
                raise DataError(f"{file} is damaged ({error}). Delete {file.parent} to start over.") from None
            self._rows = [{str(name): value for name, value in row.items()} for row in kept]

    @property
    def latest(self) -> dict[str, float]:
        """The last row; empty before the first."""
        return self._rows[-1] if self._rows else {}

    def log(self, step: int) -> None:
        """Add a row."""
        means = torch.stack([torch.stack(list(terms.values())).double() for terms in self.since]).mean(0).tolist()
        self._rows.append({"step": step, **dict(zip(self.since[0], means, strict=True))})
        self.since = []

    def write(self) -> None:
        """Write the file atomically."""
        write_text(self._file, pd.DataFrame(self._rows).to_csv(index=False, lineterminator="\n", float_format="%.4f"))


class _Learner:
    """One step at a time."""

    def __init__(self, training: Training) -> None:
        self.settings, self.budget, self.start = training.settings, training.settings.chosen, training.start
        self.device, self.optimisers = training.device, training.system.optimisers
        networks = training.system.networks
        self.network = cast(SurfaceGenerator, networks["trained"])
        self.average, self.discriminator = networks["generator"], networks["discriminator"]
        self.weights: dict[str, Any] = as_dict(training.settings.losses)
        paints = self.budget.painting < self.budget.steps
        self.features = Lite0().to(training.device) if paints else None

    def step(self, step: int, batch: Batch) -> tuple[Terms, bool]:
        """Train on a batch. The terms, unweighted, and whether the gradient was finite; otherwise the step is left out."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.budget.precision == "bf16"):
            terms = self._terms(step, batch)
        weights = self.weights | {"adversarial": self._adversarial_weight(step)}
        loss = sum_of([weights[name] * term for name, term in terms.items() if name in weights])
        optimiser = self.optimisers["trained"]
        for group in optimiser.param_groups:
            group["lr"] = self.rate(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        finite = _clipped(self.network, _MOST_GRADIENT)
        if finite:
            optimiser.step()
        decay = min(self.settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return {name: term.detach().float() for name, term in terms.items()}, finite

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        settings, budget = self.settings, self.budget
        rate = settings.learning_rate * min(1.0, (step + 1 - self.start) / settings.warmup)
        if step < budget.decay:
            return rate
        through = (step - budget.decay) / (budget.steps - budget.decay)
        return rate * (settings.last_rate + (1 - settings.last_rate) * (1 + math.cos(math.pi * through)) / 2)

    def _terms(self, step: int, batch: Batch) -> Terms:
        """The terms of a step's phase, after a step of the discriminator, and the median error of the flow in px."""
        code = self.network.encode(batch.images, batch.poses, batch.sources, batch.mask)
        if self.features is None or step < self.budget.painting:
            matched = self.network.match(code, batch.poses)
            return geometry(batch, code, matched) | {"flow_px": _median(flow_errors(batch, matched))}
        made = self.network.make(code, batch.poses)
        terms = geometry(batch, code, made.matched) | painting(batch, made, self.features)
        if step >= self.budget.adversarial:
            terms |= self._against(batch, made.image.float())
        return terms | {"flow_px": _median(flow_errors(batch, made.matched))}

    def _against(self, batch: Batch, image: Tensor) -> Terms:
        """Train the discriminator; its loss, and the adversarial term."""
        loss = discriminator_loss(self.discriminator, batch, image)
        optimiser = self.optimisers["discriminator"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if _clipped(self.discriminator, math.inf):
            optimiser.step()
        self.discriminator.requires_grad_(False)
        term = -self.discriminator(image, batch.poses.posemaps).mean()
        self.discriminator.requires_grad_(True)
        return {"discriminator": loss, "adversarial": term}

    def _adversarial_weight(self, step: int) -> float:
        rise = (step + 1 - self.budget.adversarial) / _RAMP
        return float(self.weights["adversarial"]) * min(1.0, rise)


def _clipped(network: nn.Module, most: float) -> bool:
    """Clip the norm of a network's gradient; whether it is finite."""
    return bool(nn.utils.clip_grad_norm_(network.parameters(), most).isfinite())


def _median(errors: Tensor) -> Tensor:
    return errors.median() if len(errors) else errors.new_zeros(())
