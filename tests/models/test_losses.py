"""Losses against their closed forms."""

import pytest
import torch
from torch import Tensor, nn

from repose.models.losses import PerceptualLoss, d_adversarial, g_adversarial, g_l1

pytestmark = pytest.mark.floats


class Maps(nn.Module):
    """Feature maps of two sizes: the images, and twice their means."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, 2 * images.mean((2, 3), keepdim=True)]


def test_l1_is_the_mean_absolute_difference():
    one, other = torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), torch.tensor([[1.0, 0.5], [0.5, -0.25]])
    assert g_l1(one, other).item() == (2 + 0 + 0.5 + 0.25) / 4
    assert g_l1(one, one).item() == 0


def test_perceptual_weighs_the_means_of_each_layer():
    ones = torch.ones(1, 3, 8, 8)
    assert PerceptualLoss(Maps(), [0.25, 10.0])(ones, -ones).item() == 0.25 * 2 + 10 * 4


def test_adversarial_losses_are_minus_log_d_and_half_the_cross_entropy():
    real, fake = torch.randn(2, 1, 5, 3) * 3, torch.randn(2, 1, 4, 6) * 3
    torch.testing.assert_close(g_adversarial(fake), -fake.sigmoid().log().mean())
    cross_entropy = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(d_adversarial(real, fake), cross_entropy / 2)
    far = torch.full((1, 1, 2, 2), 1e4)
    assert g_adversarial(-far).item() == 1e4
    assert d_adversarial(-far, far).item() == 1e4
    assert d_adversarial(far, -far).item() == 0


def test_losses_are_float32():
    x, y = torch.rand(2, 3, 8, 8).bfloat16(), torch.rand(2, 3, 8, 8).bfloat16()
    for loss in (g_l1(x, y), PerceptualLoss(Maps(), [1.0, 1.0])(x, y), g_adversarial(x), d_adversarial(x, y)):
        assert loss.dtype == torch.float32
        assert loss.shape == ()
    torch.testing.assert_close(g_l1(x, y), (x.float() - y.float()).abs().mean())
