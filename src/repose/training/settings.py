"""The block `train` of params.yaml."""

from typing import Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from mannequins import figure
from repose.config import Seed, as_dict, settings
from repose.data.augment import AugmentSettings
from repose.errors import ReposeError
from repose.models import lite0
from repose.models.vgg import LayersName
from repose.storage.transfer import Sha256
from repose.systems import SystemSettings
from repose.systems.learning import distributed

# Settings that do not affect the weights, so that a run resumes after a change. `perceptual` is handled separately.
_NOT_DECIDING = (
    "device", "workers", "cache_megabytes", "log_every", "checkpoint_every", "keep_every", "sample_every", "sample_pairs",
    "perceptual",
)  # fmt: skip


@settings
class PerceptualSettings:
    """The network for the second term of Eq. 1."""

    weights: str | None  # path, s3:// or https:// of torchvision's VGG19; vgg19 needs it, the others have their own
    sha256: Sha256 | None  # of that file, at least its first 8 digits
    layers: LayersName  # which layers of VGG19 count how much
    endpoint: str | None = None  # for s3://: a server other than Amazon's
    # figure: the embedded network, only for mannequins; lite0: EfficientNet-Lite0, of the extra `model`
    network: Literal["vgg19", "figure", "lite0"] = "vgg19"

    def __post_init__(self) -> None:
        if self.weights and self.network != "vgg19":
            raise ValueError(
                f"weights is for VGG19, and network is {self.network}: set weights to null, or network to vgg19."
            )
        if self.weights and not self.sha256:
            raise ValueError(
                "sha256 should be given with weights (torchvision's file name ends in its first 8 digits)."
            )


@settings
class TrainSettings:
    """The settings that all systems share; each system's own settings are in its row."""

    seed: Seed  # of the first weights, the order of items, sources, augmentation
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    precision: Literal["fp32", "bf16"]  # bf16: autocast; losses, the ConvLSTM's state and the last layer stay fp32
    processes: distributed.Wanted  # of DistributedDataParallel, which share the items of a step; gpu: one for each GPU
    threads: PositiveInt  # CPU threads of torch; the bytes of a result depend on it
    workers: NonNegativeInt  # processes that load photos, per training process; 0: it loads them itself
    cache_megabytes: NonNegativeFloat  # MiB of decoded photos kept in memory, per worker
    log_every: PositiveInt  # steps between two rows of the history
    checkpoint_every: PositiveInt  # steps between two checkpoints; only the last is kept
    keep_every: NonNegativeInt  # steps between two checkpoints that are kept; 0: only the last is kept
    sample_every: NonNegativeInt  # steps between two sample pictures; 0: none
    sample_pairs: PositiveInt  # test pairs in a sample picture
    augment: AugmentSettings | None  # crop, flip and rotation; null: none
    perceptual: Literal["none"] | PerceptualSettings  # none: the losses have no perceptual term

    def __post_init__(self) -> None:
        if self.processes != "gpu" and self.processes < 1:
            raise ValueError(f"processes should be at least 1, or gpu, not {self.processes}.")

    def perceptual_of(self, row: SystemSettings) -> Literal["figure", "lite0"] | LayersName | None:
        """Return the network of a row's perceptual term, or layers of VGG19; None if there is no such term.

        Raises:
            ReposeError: it is VGG19, and its weights are not given.
        """
        chosen = self.perceptual
        if chosen == "none" or (layers := row.perceptual_layers(chosen.layers)) is None:
            return None
        if chosen.network != "vgg19":
            return chosen.network
        if chosen.weights is None:
            raise ReposeError(
                "train.perceptual.weights is null, but the loss has a perceptual term by VGG19. Set it to the path, s3:// or "
                "https:// of torchvision's vgg19-dcbb9e9d.pth; or train.perceptual to none to train without the term; or "
                "train.perceptual.network to lite0, or on mannequins to figure."
            )
        return layers

    def deciding(self, row: SystemSettings) -> dict[str, Any]:
        """Return the settings that affect the weights of a row, as plain data."""
        found = {name: value for name, value in as_dict(self).items() if name not in _NOT_DECIDING}
        term = self.perceptual_of(row)
        if self.perceptual == "none" or term is None:
            return found | {"perceptual": None}
        own = {"figure": figure.weights_sha256(), "lite0": lite0.SHA256}
        sha256 = own.get(term, self.perceptual.sha256 or "")
        return found | {"perceptual": term, "perceptual weights": sha256[:8].lower()}


def process_count(system: str, row: SystemSettings, settings: TrainSettings) -> int:
    """Return the number of processes that train the row called `system`.

    Raises:
        ReposeError: there are too few GPUs for `settings.processes`, or a step's items cannot be shared evenly.
    """
    count = distributed.count(settings.processes, settings.device)
    if row.items_per_step % count:
        raise ReposeError(
            f"{count} processes cannot share the {row.items_per_step} item(s) of a step of {system} evenly. Set "
            f"systems.{system}.items_per_step to a multiple of {count} (which changes the training), or train.processes "
            "to a number that divides it."
        )
    return count
