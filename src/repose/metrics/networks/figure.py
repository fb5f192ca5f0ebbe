"""The figure network, which ships with repose: frechet/figure, recall@1/figure and pckh/figure (docs/figure.md)."""

import torch
from torch import Tensor

import mannequins.figure
from repose.storage.networks import Weights, exact

NAME = "figure"


class Figure:
    """Computes features and joints of images; `sha256` is of its weights."""

    def __init__(self, device: torch.device) -> None:
        self.sha256 = {NAME: mannequins.figure.weights_sha256()}
        self._network = mannequins.figure.load(device)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 of any size -> (B, 64) float32 of length 1."""
        with exact():
            return self._network.features(images)

    def keypoints(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) uint8 of any size -> x and y in px, NaN where not found (B, 18, 2); confidence (B, 18)."""
        with exact():
            return self._network.keypoints(images)


def load(_: Weights, device: torch.device) -> Figure:
    """Return the network on a device; its weights are in the package."""
    return Figure(device)
