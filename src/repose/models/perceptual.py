"""The perceptual term of Eq. 1, with one of two networks that are not trained: VGG19 (models.vgg), or what repose ships.

The figure network (docs/figure.md) was trained to tell where joints are and which garment is worn, so its early maps are of
clothes and limbs. It needs no download, and knows mannequins alone: for photos of people take VGG19.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repose import figure
from repose.losses import g_perceptual

# lambda_k of the figure network's maps at strides 2, 4, 8 and 16, chosen as CRN chose VGG19's: each layer counts about as
# much as the others, and all together as much as L1 does, between two photos of unlike garments (tests/models has the check).
FIGURE_FACTORS = (0.27, 0.43, 0.35, 0.35)


class PerceptualLoss(nn.Module):
    """sum_k lambda_k mean|Phi_k(target) - Phi_k(generated)| with a network that is not trained.

    Args:
        phi: images (Q,3,H,W) in [-1,1] -> a list of feature maps.
        factors: lambda_k, one for each map.
    """

    def __init__(self, phi: nn.Module, factors: Sequence[float]) -> None:
        super().__init__()
        self.phi, self.factors = phi.eval().requires_grad_(False), list(factors)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        """Images (Q,3,H,W) in [-1,1], at least 32 px a side -> scalar."""
        with torch.no_grad():
            expected = self.phi(target)
        return g_perceptual(self.phi(generated), expected, self.factors)


class FigureMaps(nn.Module):
    """The maps of the embedded figure network at strides 2, 4, 8 and 16, of images at the size that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.network = figure.load("cpu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (Q,3,H,W) in [-1,1] -> four feature maps."""
        return self.network.maps(images)[: len(FIGURE_FACTORS)]


def figure_loss() -> PerceptualLoss:
    """The perceptual term by the figure network.

    Raises:
        ReposeError: its weights are not as they came with repose.
    """
    return PerceptualLoss(FigureMaps(), FIGURE_FACTORS)
