"""Layers against PyTorch's own, and how weights start."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repose.models.layers import InstanceNorm, Norm, ResidualBlock, conv7, initialise, normalised

pytestmark = pytest.mark.floats


def test_instance_norm_is_pytorchs() -> None:
    x = torch.randn(3, 5, 8, 6) * 4 + 2
    torch.testing.assert_close(InstanceNorm()(x), F.instance_norm(x), atol=1e-5, rtol=1e-5)
    assert not list(InstanceNorm().parameters())
    assert not list(InstanceNorm().buffers())


def test_instance_norm_keeps_the_layout() -> None:
    x = torch.randn(2, 4, 8, 6).to(memory_format=torch.channels_last)
    assert InstanceNorm()(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("norm", "follows", "bias"), [("instance", InstanceNorm, True), ("batch", nn.BatchNorm2d, False)]
)
def test_a_norm_follows_its_convolution(norm: Norm, follows: type[nn.Module], bias: bool) -> None:
    conv, after = normalised(nn.Conv2d(3, 4, 3), norm)
    assert isinstance(conv, nn.Conv2d)
    assert (conv.bias is not None) == bias
    assert isinstance(after, follows)


def test_conv7_keeps_the_size_and_reflects() -> None:
    layers = nn.Sequential(*conv7(3, 4))
    constant = layers(torch.full((1, 3, 8, 10), 0.5))
    assert constant.shape == (1, 4, 8, 10)
    torch.testing.assert_close(constant, constant[:, :, :1, :1].expand_as(constant))  # zeros around would show


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_residual_block_adds_its_input(norm: Norm) -> None:
    block, x = ResidualBlock(4, norm), torch.randn(2, 4, 8, 6)
    assert block(x).shape == x.shape
    assert not torch.equal(block(x), x)
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    assert torch.equal(block(x), x)


def test_weights_start_as_pix2pix_has_them() -> None:
    network = nn.Sequential(
        nn.Conv2d(32, 64, 3),
        nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, 32, 3),
        nn.Linear(200, 100),
        nn.BatchNorm2d(999),
    )
    initialise(network)
    for layer in (network[0], network[2], network[3]):
        assert layer.weight.mean().abs() < 0.001
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert layer.bias.count_nonzero() == 0
    assert network[4].weight.mean().item() == pytest.approx(1, abs=0.003)
    assert network[4].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network[4].bias.count_nonzero() == 0
