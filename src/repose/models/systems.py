"""The systems that repose trains. A row of the paper's Table 1 is a block of data under `systems:` in params.yaml.

`kind` says whose code a row runs: `paper` (Sun et al. 2019: the rows paper-m, paper-s, g-di and g-dp) or `attend` (ours).
What kinds share is a protocol, not a base class: a row, `build(row)`, and a system that makes training steps and images.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from repose.data.batches import Batch
from repose.errors import ReposeError
from repose.models.attend import AttendSettings
from repose.models.layers import Norm
from repose.models.paper import PaperSettings
from repose.models.poses import Poses
from repose.models.vgg import PerceptualLoss
from repose.settings import build as build_settings

Kind = Literal["paper", "attend"]


@dataclass(frozen=True)
class LossSettings:
    """The weights of the generator's loss (Eqs. 1 and 4); a weight of 0 leaves the term out."""

    l1: float = 1.0
    perceptual: float = 1.0  # of the whole second term of Eq. 1; its lambda_k are train.perceptual.layers
    image: float = 0.05  # alpha, of D_I (the paper is silent: docs/paper.md)
    pose: float = 0.05  # beta, of D_P
    copied: float = 0.0  # of the L1 between the target and what `attend` copied
    painted: float = 0.0  # of the L1 between the target and what `attend` painted
    real_pair: Literal["other", "both"] = "other"  # R7: D_P's pairs are of p~ as in Eq. 3, or of p as well
    adversarial_on: Literal["other", "both"] = "other"  # R8: D sees G(x, p~) as in Eq. 2, or G(x, p) as well

    def __post_init__(self) -> None:
        for name in ("l1", "perceptual", "image", "pose", "copied", "painted"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"the weight {name} should not be negative, but it is {getattr(self, name)}.")


@dataclass(frozen=True)
class OptimiserSettings:
    """Adam and how its learning rate moves; one epoch is once through the training items."""

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    warmup_steps: int = 0  # the rate rises linearly over so many steps
    halve_every_epochs: int = 50  # 0: never (R22)
    decay_from: float = 1.0  # from this share of the steps on, the rate falls linearly to 0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate should be above 0, not {self.learning_rate}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas should be from 0 to below 1, not {list(self.betas)}.")
        for name in ("warmup_steps", "halve_every_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} should not be negative, but it is {getattr(self, name)}.")
        if not 0 <= self.decay_from <= 1:
            raise ValueError(f"decay_from should be from 0 to 1, a share of the steps, not {self.decay_from}.")

    def rate(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, from 0."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.halve_every_epochs:
            rate *= 0.5 ** (step // steps_per_epoch // self.halve_every_epochs)
        start = self.decay_from * steps
        return rate * min(1.0, (steps - step) / max(steps - start, 1.0))


@dataclass(frozen=True)
class DiscriminatorSettings:
    """D_I and D_P, alike but for their input (R29); a loss weight of 0 leaves one out."""

    width: int = 64
    layers: int = 3  # 3: 70x70 patches; 2: 34x34; 1: 16x16 (R21)
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")


@dataclass(frozen=True)
class Row:
    """What every kind has; the defaults are the paper's, or our reading of it (docs/paper.md)."""

    needs_source_poses: ClassVar[bool]  # whether images depend on the poses of the sources, or on the target's alone

    kind: Kind
    steps: int
    items_per_step: int = 1  # "batch size of 1 [...] represents one SKU"
    most_photos: int = 5  # of an item in one step: "ranging from 2 to 5"
    most_sources: int = 4  # of a target; 1: the rows -S
    targets: Literal["all", "one"] = "all"  # R9: which photos of an item are targets in a step
    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)

    def __post_init__(self) -> None:
        for name in ("steps", "items_per_step", "most_sources"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if self.most_photos < 2:
            raise ValueError(f"most_photos should be at least 2 (a source and a target), not {self.most_photos}.")


@dataclass(frozen=True)
class PaperRow(Row):
    """A row of the paper's own systems."""

    needs_source_poses = False

    generator: PaperSettings = field(default_factory=PaperSettings)


@dataclass(frozen=True)
class AttendRow(Row):
    """A row of ours."""

    needs_source_poses = True

    generator: AttendSettings = field(default_factory=AttendSettings)


ROWS: Mapping[Kind, type[Row]] = {"paper": PaperRow, "attend": AttendRow}


class System(Protocol):
    """What a kind has to offer: it trains a step at a time and makes images from photos and poses."""

    networks: dict[str, nn.Module]  # all that is trained, by name
    optimisers: dict[str, torch.optim.Optimizer]

    def distribute(self) -> None:
        """From now on share each step with the other processes of torch.distributed's group, which all call this.

        The networks lie on the device that trains. Then `step` gets a part of each batch, and learns from all of it.

        Raises:
            ReposeError: a network's output for a photo depends on the other photos of the step (BatchNorm).
        """

    def step(
        self,
        batch: Batch,
        perceptual: PerceptualLoss | None,
        learning_rate: float,
        autocast: AbstractContextManager[Any],
    ) -> dict[str, Tensor]:
        """Train on one batch, forwards within `autocast`; return each term of the losses, unweighted, as a scalar."""

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """Photos (M,3,H,W), their poses, sources (Q,T) among them with a mask, Q target poses -> images (Q,3,H,W)."""


def row(block: Any, where: str) -> Row:
    """A row from its block of params.yaml or from a checkpoint; `where` opens each message.

    Raises:
        ReposeError: an unknown kind or key, or a wrong value.
    """
    named = block.get("kind") if isinstance(block, Mapping) else None
    for kind, settings in ROWS.items():
        if named == kind:
            return build_settings(settings, block, where)
    raise ReposeError(f"{where}.kind should be one of {', '.join(ROWS)}, not {named!r}.")


def build(settings: Row) -> System:
    """An untrained system; its weights come from torch's current random state."""
    from repose.step import AdversarialSystem

    return AdversarialSystem(settings)
