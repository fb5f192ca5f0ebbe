"""Losses against their closed forms."""

import math

import pytest
import torch
from torch import Tensor

from repose.models.losses import d_adversarial, g_adversarial, g_l1, g_perceptual

pytestmark = pytest.mark.floats


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 5, 3, generator=random) * 3, torch.randn(2, 1, 4, 6, generator=random) * 3


def test_l1_is_the_mean_absolute_difference() -> None:
    one, other = torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), torch.tensor([[1.0, 0.5], [0.5, -0.25]])
    assert g_l1(one, other).item() == (2 + 0 + 0.5 + 0.25) / 4
    assert g_l1(one, one).item() == 0


def test_perceptual_weighs_the_means_of_each_layer() -> None:
    ones, twos = torch.ones(1, 4, 8, 8), torch.full((1, 9, 2, 2), 2.0)
    zeros = [torch.zeros_like(ones), torch.zeros_like(twos)]
    assert g_perceptual([ones, twos], zeros, [0.25, 10.0]).item() == 0.25 * 1 + 10 * 2
    assert g_perceptual([twos], [-twos], [0.5]).item() == 2


def test_the_generators_loss_is_minus_log_d(logits: tuple[Tensor, Tensor]) -> None:
    _, fake = logits
    torch.testing.assert_close(g_adversarial(fake), -fake.sigmoid().log().mean())
    assert g_adversarial(torch.zeros(1, 1, 2, 2)).item() == pytest.approx(math.log(2))


def test_the_discriminators_loss_is_half_its_cross_entropy(logits: tuple[Tensor, Tensor]) -> None:
    real, fake = logits
    cross_entropy = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(d_adversarial(real, fake), cross_entropy / 2)
    assert d_adversarial(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_logits_far_out_stay_finite() -> None:
    far = torch.full((1, 1, 2, 2), 1e4)
    assert g_adversarial(-far).item() == 1e4
    assert d_adversarial(-far, far).item() == 1e4
    assert d_adversarial(far, -far).item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_float32(dtype: torch.dtype) -> None:
    x, y = torch.rand(2, 3, 8, 8).to(dtype), torch.rand(2, 3, 8, 8).to(dtype)
    for loss in (g_l1(x, y), g_perceptual([x], [y], [1.0]), g_adversarial(x), d_adversarial(x, y)):
        assert loss.dtype == torch.float32
        assert loss.shape == ()
    torch.testing.assert_close(g_l1(x, y), (x.float() - y.float()).abs().mean())
