"""The systems that repose trains: a module here for each kind, and what they share.

A row of the paper's Table 1 is a block of data under `systems:` in params.yaml. Its `kind` is the name of the module here
whose code it runs, such as `paper` (the rows paper-m, paper-s, g-di and g-dp). What kinds share is a protocol, not a base
class: a module has `SETTINGS`, the settings of a row, and `build`, which makes a `System` of them. A new kind is a new file.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from repose.config import build as build_settings
from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.perceptual import PerceptualLoss
from repose.models.vgg import LayersName


@settings
class SystemSettings(ABC):
    """What the rows of every kind have."""

    needs_source_poses: ClassVar[bool]  # whether images depend on the poses of the sources, or on the target's alone
    figure_scale: ClassVar[float] = 1.0  # the weight of L1 beside which the figure network's term is to count

    kind: str
    steps: int
    items_per_step: int = 1  # "batch size of 1 [...] represents one SKU"
    max_photos: int = 5  # of an item in one step: "ranging from 2 to 5"
    max_sources: int = 4  # of a target; 1: the rows -S
    targets: Literal["all", "one"] = "all"  # R9: which photos of an item are targets in a step
    init: str | None = None  # path of a checkpoint of the same kind and sizes whose weights are the first ones

    def __post_init__(self) -> None:
        for name in ("steps", "items_per_step", "max_sources"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if self.max_photos < 2:
            raise ValueError(f"max_photos should be at least 2 (a source and a target), not {self.max_photos}.")

    @abstractmethod
    def loss_weights(self) -> dict[str, float]:
        """The terms of the loss with their weights, for people; `perceptual` is VGG19's."""

    @abstractmethod
    def perceptual_layers(self, chosen: LayersName) -> LayersName | None:
        """Which layers of VGG19 the loss has, where `chosen` are those of train.perceptual; None: no such term."""


@dataclass(frozen=True)
class Progress:
    """Where in the training a step is."""

    step: int  # the one to be done, from 0
    steps: int  # of the whole training
    steps_per_epoch: int  # an epoch is once through the training items


class System(Protocol):
    """What a kind has to offer: it trains a step at a time and makes images from photos and poses."""

    networks: dict[str, nn.Module]  # all that is trained, by name
    optimisers: dict[str, torch.optim.Optimizer]

    def distribute(self) -> None:
        """From now on share each step with the other processes of torch.distributed's group, which all call this.

        The networks lie on the device that trains. Then `step` gets a part of each batch, and learns from all of it.

        Raises:
            ReposeError: what a step learns from a photo depends on the other photos of the step (BatchNorm).
        """

    def step(
        self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: AbstractContextManager[Any]
    ) -> dict[str, Tensor]:
        """Train on one batch, forwards within `autocast`.

        Returns:
            Each term of the losses, unweighted, as a scalar; the same names at every step.
        """

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """Photos (M,3,H,W), their poses, sources (Q,T) among them with a mask, Q target poses -> images (Q,3,H,W)."""


def kinds() -> list[str]:
    """The kinds of systems that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def row(block: Any, where: str) -> SystemSettings:
    """A row from its block of params.yaml or from a checkpoint; `where` opens each message.

    Raises:
        ReposeError: an unknown kind or key, or a wrong value.
    """
    named = block.get("kind") if isinstance(block, Mapping) else None
    if named not in kinds():
        raise ReposeError(f"{where}.kind should be one of {', '.join(kinds())}, not {named!r}.")
    settings: type[SystemSettings] = _module(named).SETTINGS
    return build_settings(settings, block, where)


def build(settings: SystemSettings, frame: Frame) -> System:
    """An untrained system for images of the frame's size; its weights come from torch's current random state.

    Raises:
        ReposeError: the system cannot work at that size.
    """
    system: System = _module(settings.kind).build(settings, frame)
    return system


def _module(kind: str) -> Any:
    return importlib.import_module(f"{__name__}.{kind}")
