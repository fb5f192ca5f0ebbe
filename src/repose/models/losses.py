"""The losses of the paper as functions of tensors; each returns a scalar. d_ trains a discriminator, g_ a generator.

As printed, Eqs. 2 and 3 have E[1 - log D(fake)]. For the generator that is -log D up to a constant, the non-saturating loss.
For the discriminator it is unbounded, so the standard log(1 - D) is used instead (R5). D outputs logits, for autocast.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def g_l1(generated: Tensor, target: Tensor) -> Tensor:
    """The first term of Eq. 1 as a mean: images (Q,3,H,W) in [-1,1]."""
    return F.l1_loss(generated.float(), target.float())


def g_perceptual(generated: Sequence[Tensor], target: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The second term of Eq. 1: sum_k lambda_k mean|Phi_k(y) - Phi_k(G(x,p))| over feature maps (Q,C_k,H_k,W_k)."""
    terms = [w * F.l1_loss(g.float(), t.float()) for w, g, t in zip(weights, generated, target, strict=True)]
    return sum(terms[1:], terms[0])


def g_adversarial(fake: Tensor) -> Tensor:
    """-log D(fake), averaged over the patches' logits (Q,1,h,w) (Eqs. 2 and 3 for G; R5, R21)."""
    return F.softplus(-fake.float()).mean()


def d_adversarial(real: Tensor, fake: Tensor) -> Tensor:
    """Half of -log D(real) - log(1 - D(fake)), averaged over the patches' logits (Eqs. 2 and 3 for D; R5, R21, R29)."""
    return 0.5 * (F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean())
