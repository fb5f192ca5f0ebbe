"""The embedded figure network (docs/figure.md) for the perceptual term of Eq. 1; for photos of people use VGG19.

It was trained to find joints and to classify garments, so its early maps respond to clothes and limbs.
"""

from torch import Tensor, nn

from mannequins import figure
from repose.models.losses import PerceptualLoss

# lambda_k of the figure network's maps at strides 2, 4, 8 and 16, chosen as CRN's for VGG19: between photos of two different
# garments, all layers contribute about the same, and together as much as L1 (tests/models/test_perceptual.py).
FIGURE_FACTORS = (0.29, 0.61, 0.52, 0.61)


class FigureMaps(nn.Module):
    """The maps of the embedded figure network at strides 2, 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.network = figure.load("cpu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (Q,3,H,W) in [-1,1] -> four feature maps."""
        return self.network.maps(images)[: len(FIGURE_FACTORS)]


def figure_loss(scale: float = 1.0) -> PerceptualLoss:
    """The perceptual term of the figure network; `scale` is the weight of the L1 term that it should equal."""
    return PerceptualLoss(FigureMaps(), [scale * factor for factor in FIGURE_FACTORS])
