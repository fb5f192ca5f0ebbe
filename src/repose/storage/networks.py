"""Protocols of the networks behind metrics. Each network is loaded once, when the first metric needs it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from repose.errors import ReposeError, without_secrets
from repose.storage.weight_files import Located, WeightsFile, located

T = TypeVar("T")


class Network(Protocol):
    """A network that a score is computed with."""

    @property
    def sha256(self) -> Mapping[str, str]:
        """The SHA-256 of each file of its weights, by name, for the provenance of a score."""


class FeatureNetwork(Network, Protocol):
    """Computes features of images, for Fréchet distances and garment retrieval."""

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 on the network's device -> (B, D), of any floating kind."""


class Classifier(Network, Protocol):
    """Classifies images, for the Inception Score."""

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 on the network's device -> (B, classes), of any floating kind."""


class DistanceNetwork(Network, Protocol):
    """Computes the perceptual distance of two images, for LPIPS."""

    @property
    def least(self) -> int:
        """Minimum px of the shorter side of an image."""

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        """Two batches (B, 3, H, W) uint8 on the network's device -> (B,), 0 for equal images."""


class Weights:
    """The weights files of networks: those of `evaluate.weights`, else those of the cache."""

    def __init__(self, files: Mapping[str, WeightsFile]) -> None:
        self._files = files

    def of(self, name: str) -> Located:
        """The file of a network in `weight_files.KNOWN`. Raises as `located`."""
        return located(name, self._files)


Load = Callable[[Weights, torch.device], T]


class Networks:
    """Networks on one device, each loaded once, when it is first needed.

    Loading does not change torch's random state, so a system's random draws do not depend on the metrics.
    """

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.device = device
        self._weights, self._loaded = weights, dict[Any, Any]()

    def get(self, load: Load[T]) -> T:
        """The network that `load` loads.

        Raises:
            ReposeError: its file is missing or has another digest.
        """
        if load not in self._loaded:
            with torch.random.fork_rng(devices=[]):
                self._loaded[load] = load(self._weights, self.device)
        network: T = self._loaded[load]
        return network


@contextmanager
def exact() -> Iterator[None]:
    """Disable gradients, and the rounding of float32 convolutions to TF32 on a GPU."""
    cudnn = torch.backends.cudnn
    with (
        torch.no_grad(),
        cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False, fp32_precision="ieee"),
    ):
        yield


@contextmanager
def holding(path: Path, what: str, name: str) -> Iterator[None]:
    """Turn any error in reading `path` into a ReposeError: it does not hold the weights of `what` (`name` in `KNOWN`)."""
    try:
        yield
    except Exception as error:  # each library has its own errors for an unusable file
        reason = without_secrets(" ".join(str(error).split()))[:200]
        raise ReposeError(
            f"{path} does not hold the weights of {what} ({type(error).__name__}: {reason}). Get the file again: "
            f"`repose weights fetch {name}`."
        ) from None


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from a .pth that cannot run code (weights_only).

    Raises:
        Exception: the library's own error, if the file is truncated or of another format.
    """
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, "cpu", weights_only=True)
    return state
