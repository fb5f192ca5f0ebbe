"""The networks that metrics ask, by what they do, and how each is loaded: once, when the first metric asks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.storage.weight_files import Located, WeightsFile, located

T = TypeVar("T")


class Network(Protocol):
    """Any network that scores are made with."""

    @property
    def sha256(self) -> Mapping[str, str]:
        """The SHA-256 of each file of its weights by name, the provenance of a score."""


class FeatureNetwork(Network, Protocol):
    """Describes an image by numbers: for Fréchet distances and garment retrieval."""

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 on the network's device -> (B, D), of any floating kind."""


class Classifier(Network, Protocol):
    """Tells classes apart: for the Inception Score."""

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 on the network's device -> (B, classes), of any floating kind."""


class DistanceNetwork(Network, Protocol):
    """Measures how unlike two images are: for LPIPS."""

    @property
    def least(self) -> int:
        """px that the shorter side of an image must have."""

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        """Twice (B, 3, H, W) uint8 on the network's device -> (B,), 0 for equal images."""


class KeypointNetwork(Network, Protocol):
    """Finds the 18 joints of the person in an image: for PCKh."""

    def keypoints(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) uint8 on the network's device -> x and y in px, NaN where not found (B, K, 2); confidence (B, K)."""


class Weights:
    """The files of networks: those of `evaluate.weights`, else those of the cache."""

    def __init__(self, files: Mapping[str, WeightsFile]) -> None:
        self._files = files

    def of(self, name: str) -> Located:
        """The file of a network of `weight_files.KNOWN`; raises as `located`."""
        return located(name, self._files)


Load = Callable[[Weights, torch.device], T]


class Networks:
    """Networks on one device, each loaded once, when it is first asked for.

    Loading does not change torch's random state: what a system draws does not depend on the metrics.
    """

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.device = device
        self._weights, self._loaded = weights, dict[Any, Any]()

    def get(self, load: Load[T]) -> T:
        """The network that `load` loads.

        Raises:
            ReposeError: its file is missing, or is another one.
        """
        if load not in self._loaded:
            with torch.random.fork_rng(devices=[]):
                self._loaded[load] = load(self._weights, self.device)
        network: T = self._loaded[load]
        return network


@contextmanager
def exact() -> Iterator[None]:
    """No gradients, and float32 convolutions on a GPU that are not rounded to TF32."""
    cudnn = torch.backends.cudnn
    with (
        torch.no_grad(),
        cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False, fp32_precision="ieee"),
    ):
        yield


@contextmanager
def holding(path: Path, what: str, name: str) -> Iterator[None]:
    """Turn any error in the block into a ReposeError: the file does not hold the weights of the network.

    Args:
        path: the file that the block reads.
        what: the network, for people.
        name: of its file in `weight_files.KNOWN`.
    """
    try:
        yield
    except Exception as error:  # each library has its own errors for a file that is not what it should be
        reason = " ".join(str(error).split())[:200]
        raise ReposeError(
            f"{path} does not hold the weights of {what} ({type(error).__name__}: {reason}). Get the file again: "
            f"`repose weights fetch {name}`."
        ) from None


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from a .pth that cannot run code (weights_only).

    Raises:
        Exception: of the library that reads it, if the file is cut or of another kind.
    """
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, "cpu", weights_only=True)
    return state
