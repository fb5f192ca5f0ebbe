"""LPIPS (Zhang et al. 2018) through the package lpips: version 0.1, AlexNet, linear layers on top of its features.

The linear layers are in the package. The weights of AlexNet, which the package would download through torchvision, come from
a file that was located by its digest.
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
LEAST = 31  # px of a side: less is nothing after AlexNet's second pooling


class Lpips:
    """The distance of two images.

    Attributes:
        sha256: of AlexNet's file and of that of the linear layers.
        least: px of the shorter side that an image must have.
    """

    least = LEAST

    def __init__(self, network: nn.Module, sha256: dict[str, str]) -> None:
        self.sha256, self._network = sha256, network

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        """Twice (B, 3, H, W) uint8 -> (B,) float32, at least 0."""
        with exact():
            found: Tensor = self._network(_scaled(generated), _scaled(target))
        return found.flatten()


def load(weights: Weights, device: torch.device) -> Lpips:
    """The network on a device.

    Raises:
        ReposeError: AlexNet's file is not there, is another one, or does not hold the network.
    """
    path, sha256 = weights.of(NAME)
    linear = Path(str(files("lpips") / "weights" / "v0.1" / "alex.pth"))
    digest = check(linear, sha256=None, size=None, where=str(linear))
    return Lpips(_network(path, linear).to(device), {NAME: sha256, LINEAR: digest})


def _network(path: Path, linear: Path) -> nn.Module:
    import lpips

    with warnings.catch_warnings(action="ignore"):  # lpips calls torchvision as it was
        # pnet_rand: torchvision's AlexNet as it is made, so that nothing is downloaded; its weights follow
        network: Any = lpips.LPIPS(net="alex", pnet_rand=True, model_path=str(linear), verbose=False)
    with holding(path, "torchvision's AlexNet", NAME):
        state = read_state(path)
        of_features = {name: value for name, value in state.items() if name.startswith("features.")}
        slices = {re.sub(r"^slice\d+\.", "features.", name): name for name in network.net.state_dict()}
        if set(of_features) != set(slices):
            raise ValueError(f"its layers are {', '.join(sorted(state)[:4])}, ...")
        network.net.load_state_dict({slices[name]: value for name, value in of_features.items()})
    loaded: nn.Module = network.requires_grad_(False)
    return loaded


def _scaled(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
