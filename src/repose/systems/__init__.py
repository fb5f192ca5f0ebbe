"""The systems that repose trains: one module for each kind, and the protocol that they share.

A block under `systems:` in params.yaml is one system. Its `kind` names the module here whose code it runs, such as `paper`
(the rows paper-m, paper-s, g-di and g-dp of Table 1). A module has `SETTINGS`, the class of its settings, and `build`, which
returns a `System`. A new kind is a new file (docs/systems.md).
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, cast

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from repose.config import build as build_settings
from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError, SettingsError
from repose.models.losses import PerceptualLoss
from repose.models.vgg import LayersName

Autocast = AbstractContextManager[Any]
Terms = dict[str, Tensor]  # scalars
OneSource = Annotated[int, Field(ge=1, le=1)]
Photos = Annotated[int, Field(ge=2)]  # at least a source and a target
Share = Annotated[float, Field(ge=0, le=1)]


@settings
class SystemSettings(ABC):
    """The settings that all kinds share."""

    needs_source_poses: ClassVar[bool] = True  # False: images depend on the poses of their targets alone
    finer_photos: ClassVar[int] = 1  # `generate` also takes photos of this multiple of the images' height and width
    l1_scale: ClassVar[float] = 1.0  # the weight of L1 for which the terms of the networks figure and lite0 are scaled

    kind: str
    steps: NonNegativeInt  # 0: the checkpoint `init` as it is
    items_per_step: PositiveInt = 1  # "batch size of 1 [...] represents one SKU"
    max_photos: Photos = 5  # of an item in one step: "ranging from 2 to 5"
    max_sources: PositiveInt = 4  # of a target; 1: the rows -S
    targets: Literal["all", "one"] = "all"  # R9: which photos of an item are targets in a step
    # checkpoint of the same kind and sizes to start from: its path, or surface, which comes with repose
    init: str | None = None

    @property
    def needs_others(self) -> bool:
        """Whether training needs `Batch.other_image` and `other_pose`, which take half of the time of loading photos."""
        return True

    def at_height(self, frame: Frame, height: int) -> tuple["SystemSettings", Frame]:
        """The settings and the frame with which the same weights make images of another height in px, of the same shape.

        Raises:
            SettingsError: they cannot.
        """
        raise SettingsError(
            f"A system of the kind {self.kind} only makes images of the height that it was trained at, {frame.height} px, not "
            f"{height}. Leave the height out."
        )

    @abstractmethod
    def loss_weights(self) -> dict[str, float]:
        """The weight of each term of the loss; `perceptual` is that of the network in `train.perceptual`."""

    def perceptual_layers(self, chosen: LayersName) -> LayersName | None:
        """The layers of VGG19 in the loss, such as those chosen in `train.perceptual`; None: no perceptual term."""
        return None


@dataclass(frozen=True)
class Progress:
    """The position of a step in the training."""

    step: int  # from 0
    steps: int  # of the whole training
    steps_per_epoch: int  # an epoch is one pass over the training items


class System(Protocol):
    """A system, which trains one step at a time and generates images from photos and poses."""

    networks: dict[str, nn.Module]  # everything that is trained, by name
    optimisers: Mapping[str, torch.optim.Optimizer]

    def distribute(self) -> None:
        """Share all later steps with the other processes of torch.distributed's group, which all call this.

        The networks are on the training device. From now on `step` gets a part of each batch and learns from the whole batch.

        Raises:
            ReposeError: steps cannot be shared (BatchNorm).
        """

    def step(self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: Autocast) -> Terms:
        """Train on one batch, with forward passes in `autocast`.

        Returns:
            Each term of the losses as an unweighted scalar, under the same names at every step.
        """

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """Photos (M,3,H,W), their poses, sources (Q,T) among them with a mask, Q target poses -> images (Q,3,H,W)."""


def kinds() -> list[str]:
    """The names of all kinds of systems."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def row(block: Any, where: str) -> SystemSettings:
    """The settings of a system from its block of params.yaml or from a checkpoint; `where` opens each message.

    Raises:
        ReposeError: a kind or key is unknown, or a value is invalid.
    """
    named = block.get("kind") if isinstance(block, Mapping) else None
    if named not in kinds():
        raise ReposeError(f"{where}.kind should be one of {', '.join(kinds())}, not {named!r}.")
    return cast(SystemSettings, build_settings(_module(named).SETTINGS, block, where))


def build(settings: SystemSettings, frame: Frame) -> System:
    """An untrained system for images of the frame's size, with weights drawn from torch's current random state.

    Raises:
        ReposeError: the system cannot work at that size.
    """
    return cast(System, _module(settings.kind).build(settings, frame))


def check_multiple(frame: Frame, multiple: int, system: str, *, otherwise: str = "") -> None:
    """Check that the frame's height and width are multiples of `multiple` px; `otherwise` names another remedy.

    Raises:
        ReposeError: they are not.
    """
    if frame.height % multiple or frame.width % multiple:
        raise ReposeError(
            f"{system} needs a height and width that are multiples of {multiple}, not {frame.height}x{frame.width} px. "
            f"Change posemaps.height and posemaps.width in params.yaml{otherwise}."
        )


def _module(kind: str) -> Any:
    return importlib.import_module(f"{__name__}.{kind}")
