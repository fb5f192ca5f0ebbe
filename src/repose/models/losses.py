"""The losses of the paper; each returns a scalar. d_ trains a discriminator, g_ a generator.

As printed, Eqs. 2 and 3 have E[1 - log D(fake)]. For the generator that is -log D up to a constant, the non-saturating loss.
For the discriminator it is unbounded, so the standard log(1 - D) is used instead (R5). D outputs logits, for autocast.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def g_l1(generated: Tensor, target: Tensor) -> Tensor:
    """The first term of Eq. 1 as a mean: images (Q,3,H,W) in [-1,1]."""
    return F.l1_loss(generated.float(), target.float())


class PerceptualLoss(nn.Module):
    """The second term of Eq. 1: sum_k lambda_k mean|Phi_k(y) - Phi_k(G(x,p))| with a fixed network.

    Args:
        phi: images (Q,3,H,W) in [-1,1] -> a list of feature maps, such as `vgg.VGG19Maps` or `figure_maps.FigureMaps`.
        factors: lambda_k, one for each map.
    """

    def __init__(self, phi: nn.Module, factors: Sequence[float]) -> None:
        super().__init__()
        self.phi, self.factors = phi.eval().requires_grad_(False), list(factors)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        """Images (Q,3,H,W) in [-1,1], at least 16 px per side -> scalar, computed in float32 even under autocast."""
        with torch.autocast(target.device.type, enabled=False):
            with torch.no_grad():
                expected = self.phi(target.float())
            found = self.phi(generated.float())
            terms = [w * F.l1_loss(g, t) for w, g, t in zip(self.factors, found, expected, strict=True)]
            return sum(terms[1:], terms[0])


def g_adversarial(fake: Tensor) -> Tensor:
    """-log D(fake), averaged over the patches' logits (Q,1,h,w) (Eqs. 2 and 3 for G; R5, R21)."""
    return F.softplus(-fake.float()).mean()


def d_adversarial(real: Tensor, fake: Tensor) -> Tensor:
    """Half of -log D(real) - log(1 - D(fake)), averaged over the patches' logits (Eqs. 2 and 3 for D; R5, R21, R29)."""
    return 0.5 * (F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean())
