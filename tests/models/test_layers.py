"""Layers against PyTorch's own, and how weights start."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repose.models.layers import BlockConv2d, InstanceNorm, conv7, residual_block

pytestmark = pytest.mark.floats


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


def test_a_residual_block_adds_its_input():
    block, x = residual_block(4, "none"), torch.randn(2, 4, 8, 6)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)
