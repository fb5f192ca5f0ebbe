"""LPIPS (Zhang et al. 2018) by the package lpips: version 0.1, with linear layers on top of AlexNet's features.

The linear layers are in the package. The package would download AlexNet through torchvision; here AlexNet comes from a local
file whose digest was checked.
"""

import re
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repose.storage.networks import Weights, exact, holding, read_state
from repose.storage.transfer import check

NAME = "alexnet"
LINEAR = "lpips v0.1 alex"  # the linear layers
LEAST = 31  # px per side; AlexNet's second pooling leaves nothing of smaller images


class Lpips:
    """Computes the distance of two images; `sha256` is of AlexNet's file and of the linear layers, `least` is LEAST."""

    least = LEAST

    def __init__(self, network: nn.Module, sha256: dict[str, str]) -> None:
        self.sha256, self._network = sha256, network

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        """Two batches (B, 3, H, W) uint8 -> (B,) float32, at least 0."""
        with exact():
            found: Tensor = self._network(generated.float() / 127.5 - 1, target.float() / 127.5 - 1)
        return found.flatten()


def load(weights: Weights, device: torch.device) -> Lpips:
    """Return the network on a device.

    Raises:
        ReposeError: AlexNet's file is missing, has another digest, or does not hold the network.
    """
    path, sha256 = weights.of(NAME)
    linear = Path(str(files("lpips") / "weights" / "v0.1" / "alex.pth"))
    digest = check(linear, sha256=None, size=None, where=str(linear))
    return Lpips(_network(path, linear).to(device), {NAME: sha256, LINEAR: digest})


def _network(path: Path, linear: Path) -> nn.Module:
    import lpips

    with warnings.catch_warnings(action="ignore"):  # lpips calls torchvision's old interface
        # pnet_rand: random weights, so that AlexNet is not downloaded; the actual weights are loaded below
        network: Any = lpips.LPIPS(net="alex", pnet_rand=True, model_path=str(linear), verbose=False)
    with holding(path, "torchvision's AlexNet", NAME):
        state = {name: value for name, value in read_state(path).items() if name.startswith("features.")}
        slices = {re.sub(r"^slice\d+\.", "features.", name): name for name in network.net.state_dict()}
        network.net.load_state_dict({slices.get(name, name): value for name, value in state.items()})
    loaded: nn.Module = network.requires_grad_(False)
    return loaded
