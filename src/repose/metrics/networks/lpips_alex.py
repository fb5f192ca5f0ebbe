"""LPIPS (Zhang et al. 2018) by the package lpips: version 0.1, linear layers on top of AlexNet's features.

The linear layers are in the package. It would download AlexNet through torchvision; here AlexNet comes from a file that was
located by its digest.
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
LEAST = 31  # px of a side: nothing is left of fewer after AlexNet's second pooling


class Lpips:
    """The distance of two images; `sha256` is of AlexNet's file and that of the linear layers, `least` as LEAST."""

    least = LEAST

    def __init__(self, network: nn.Module, sha256: dict[str, str]) -> None:
        self.sha256, self._network = sha256, network

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        """Twice (B, 3, H, W) uint8 -> (B,) float32, at least 0."""
        with exact():
            found: Tensor = self._network(generated.float() / 127.5 - 1, target.float() / 127.5 - 1)
        return found.flatten()


def load(weights: Weights, device: torch.device) -> Lpips:
    """Return the network on a device.

    Raises:
        ReposeError: AlexNet's file is missing, is another one, or does not hold the network.
    """
    path, sha256 = weights.of(NAME)
    linear = Path(str(files("lpips") / "weights" / "v0.1" / "alex.pth"))
    digest = check(linear, sha256=None, size=None, where=str(linear))
    return Lpips(_network(path, linear).to(device), {NAME: sha256, LINEAR: digest})


def _network(path: Path, linear: Path) -> nn.Module:
    import lpips

    with warnings.catch_warnings(action="ignore"):  # lpips calls torchvision as it was
        # pnet_rand: AlexNet with random weights, so that nothing is downloaded; its weights follow
        network: Any = lpips.LPIPS(net="alex", pnet_rand=True, model_path=str(linear), verbose=False)
    with holding(path, "torchvision's AlexNet", NAME):
        state = {name: value for name, value in read_state(path).items() if name.startswith("features.")}
        slices = {re.sub(r"^slice\d+\.", "features.", name): name for name in network.net.state_dict()}
        network.net.load_state_dict({slices.get(name, name): value for name, value in state.items()})
    loaded: nn.Module = network.requires_grad_(False)
    return loaded
