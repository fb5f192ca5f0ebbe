"""The perceptual term of Eq. 1, with a fixed network: VGG19 (`vgg`) or the embedded figure network (`figure_maps`)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repose.models.losses import g_perceptual


class PerceptualLoss(nn.Module):
    """sum_k lambda_k mean|Phi_k(target) - Phi_k(generated)| with a fixed network.

    Args:
        phi: images (Q,3,H,W) in [-1,1] -> a list of feature maps.
        factors: lambda_k, one for each map.
    """

    def __init__(self, phi: nn.Module, factors: Sequence[float]) -> None:
        super().__init__()
        self.phi, self.factors = phi.eval().requires_grad_(False), list(factors)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        """Images (Q,3,H,W) in [-1,1], at least 32 px per side -> scalar, computed in float32 even under autocast."""
        with torch.autocast(target.device.type, enabled=False):
            with torch.no_grad():
                expected = self.phi(target.float())
            return g_perceptual(self.phi(generated.float()), expected, self.factors)
