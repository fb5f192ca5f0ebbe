"""Layers against PyTorch's own, and how weights start."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repose.models.layers import InstanceNorm, Norm, ResidualBlock, conv7, initialise, normalised

pytestmark = pytest.mark.floats
NORMS: tuple[Norm, ...] = ("instance", "batch", "none")


def test_instance_norm_is_pytorchs_and_keeps_the_layout() -> None:
    x = (torch.randn(3, 5, 8, 6) * 4 + 2).to(memory_format=torch.channels_last)
    torch.testing.assert_close(InstanceNorm()(x), F.instance_norm(x), atol=1e-5, rtol=1e-5)
    assert InstanceNorm()(x).is_contiguous(memory_format=torch.channels_last)


def test_only_before_batchnorm_a_convolution_has_no_bias() -> None:
    kinds = {norm: [type(layer) for layer in normalised(nn.Conv2d(3, 4, 3), norm)[1:]] for norm in NORMS}
    assert kinds == {"instance": [InstanceNorm], "batch": [nn.BatchNorm2d], "none": []}
    assert [norm for norm in NORMS if normalised(nn.Conv2d(3, 4, 3), norm)[0].bias is None] == ["batch"]


def test_conv7_keeps_the_size_and_reflects() -> None:
    layers = nn.Sequential(*conv7(3, 4))
    constant = layers(torch.full((1, 3, 8, 10), 0.5))
    assert constant.shape == (1, 4, 8, 10)
    torch.testing.assert_close(constant, constant[:, :, :1, :1].expand_as(constant))  # zeros around would show


@pytest.mark.parametrize("norm", NORMS)
def test_a_residual_block_adds_its_input(norm: Norm) -> None:
    block, x = ResidualBlock(4, norm), torch.randn(2, 4, 8, 6)
    assert not torch.equal(block(x), x)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


def test_weights_start_as_pix2pix_has_them() -> None:
    network = nn.Sequential(
        nn.Conv2d(32, 64, 3), nn.ConvTranspose2d(64, 32, 3), nn.Linear(200, 100), nn.BatchNorm2d(999)
    )
    initialise(network)
    for layer in network[:3]:
        assert layer.weight.mean().abs() < 0.001
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert layer.bias.count_nonzero() == 0
    assert network[3].weight.mean().item() == pytest.approx(1, abs=0.003)
    assert network[3].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network[3].bias.count_nonzero() == 0
