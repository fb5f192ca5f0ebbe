"""Layers against PyTorch's own, and how weights start."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repose.models.layers import BlockConv2d, InstanceNorm, Norm, conv7, initialise, normalised, residual_block

pytestmark = pytest.mark.floats
NORMS: tuple[Norm, ...] = ("instance", "batch", "none")


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("scale", "shift"), [(4.0, 2.0), (0.5, 10.0), (1e-4, 0.0)])
def test_instance_norm_and_its_gradient_are_pytorchs_and_keep_the_layout(layout, scale, shift):
    x = (torch.randn(3, 5, 8, 6) * scale + shift).to(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    found, expected, gradient = InstanceNorm()(x), F.instance_norm(exact), torch.randn(3, 5, 8, 6)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)
    found.backward(gradient.to(memory_format=layout))
    expected.backward(gradient.double())
    size = exact.grad.abs().max().item()  # the gradient is a difference of its terms
    torch.testing.assert_close(x.grad, exact.grad.float(), atol=1e-5 * size, rtol=1e-4)
    assert found.is_contiguous(memory_format=layout)
    assert x.grad.is_contiguous(memory_format=layout)


def test_instance_norm_of_bfloat16_keeps_its_type():
    x = torch.randn(3, 5, 8, 6).bfloat16()
    assert InstanceNorm()(x).dtype == torch.bfloat16
    torch.testing.assert_close(InstanceNorm()(x).float(), F.instance_norm(x.float()), atol=0.02, rtol=0.02)


def test_only_before_batchnorm_a_convolution_has_no_bias():
    kinds = {norm: [type(layer) for layer in normalised(nn.Conv2d(3, 4, 3), norm)[1:]] for norm in NORMS}
    assert kinds == {"instance": [InstanceNorm], "batch": [nn.BatchNorm2d], "none": []}
    assert [norm for norm in NORMS if normalised(nn.Conv2d(3, 4, 3), norm)[0].bias is None] == ["batch"]


def test_conv7_keeps_the_size_and_reflects():
    layers = nn.Sequential(*conv7(3, 4))
    constant = layers(torch.full((1, 3, 8, 10), 0.5))
    assert constant.shape == (1, 4, 8, 10)
    torch.testing.assert_close(constant, constant[:, :, :1, :1].expand_as(constant))  # zeros around would show


@pytest.mark.parametrize(("kernel", "bias"), [(7, True), (3, False)])
def test_a_convolution_of_blocks_is_the_convolution_and_so_are_its_gradients(kernel, bias):
    conv = BlockConv2d(5, 3, kernel, bias=bias)
    x = torch.randn(2, 5, 14, 18).requires_grad_()
    found, expected = (
        [made, *torch.autograd.grad(made.square().mean(), [x, *conv.parameters()])]
        for made in (conv(x), F.conv2d(x, conv.weight, conv.bias))
    )
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_residual_block_adds_its_input(norm):
    block, x = residual_block(4, norm), torch.randn(2, 4, 8, 6)
    assert not torch.equal(block(x), x)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


def test_weights_start_as_pix2pix_has_them():
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
