"""Layers that several networks share, and their initialization.

Letters: B batch, T sources of one target, Q targets of one step, C channels, H height, W width.
"""

from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

Norm = Literal["instance", "batch", "none"]
Blocks = Annotated[int, Field(ge=0, le=256)]  # number of residual blocks


class InstanceNorm(nn.Module):
    """InstanceNorm without affine parameters or running statistics.

    A group norm with one group per channel has the same mean and variance, and keeps a channels_last layout (instance_norm
    copies to NCHW and back: PyTorch #72341). On a CPU, its channels_last kernels take 4 to 9 times as long as these sums.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        if x.device.type == "cpu" and x.dtype != torch.bfloat16:
            return cast(Tensor, _NormalisedBySums.apply(x))
        return F.group_norm(x, x.shape[1])


class _NormalisedBySums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x - _means(x)
        scale = (_means(y * y) + 1e-5).rsqrt()
        y *= scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """(g - mean g - y mean(g y)) / standard deviation."""
        y, scale = ctx.saved_tensors
        return torch.addcmul(gradient, y, -_means(gradient * y)).sub_(_means(gradient)).mul_(scale)


def _means(x: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,C,1,1); `mean` and `var` of these dimensions take 10 times as long."""
    return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


def normalised(conv: nn.Conv2d | nn.ConvTranspose2d, norm: Norm) -> list[nn.Module]:
    """A convolution and its norm. As in pix2pix, the convolution has a bias unless the norm is BatchNorm."""
    if norm == "batch":
        conv.bias = None
        return [conv, nn.BatchNorm2d(conv.out_channels)]
    return [conv, InstanceNorm()] if norm == "instance" else [conv]


def conv7(channels_in: int, channels_out: int) -> tuple[nn.ReflectionPad2d, nn.Conv2d]:
    """Reflection padding and a 7x7 convolution (the first and last layer of Johnson et al. 2016)."""
    conv = BlockConv2d if channels_out <= 4 else nn.Conv2d
    return nn.ReflectionPad2d(3), conv(channels_in, channels_out, 7)


class BlockConv2d(nn.Conv2d):
    """A convolution to few channels with an odd kernel, without padding, which a CPU computes for 2x2 pixels at once.

    A CPU computes 16 output channels at a time, so an image's three leave most of its lanes idle. As channels, the pixels of
    a block are 12; their kernel is the given one at four places.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W), H and W even -> (B,C',H-k+1,W-k+1)."""
        if x.device.type != "cpu":
            return super().forward(x)
        at_each = torch.cat([F.pad(self.weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)])
        bias = None if self.bias is None else self.bias.repeat(4)
        found = F.conv2d(_blocks(x), _blocks(at_each), bias).permute(0, 2, 3, 1)  # (B,h/2,w/2,4C')
        rows, columns = found.shape[1:3]
        pixels = found.unflatten(3, (2, 2, -1)).transpose(2, 3)  # (B,h/2,2,w/2,2,C')
        return pixels.reshape(len(x), 2 * rows, 2 * columns, -1).permute(0, 3, 1, 2)


def _blocks(x: Tensor) -> Tensor:
    """The 2x2 blocks of (B,C,H,W) as channels, (B,4C,H/2,W/2), pixel by pixel: `pixel_unshuffle` in another order."""
    b, c, h, w = x.shape
    pairs = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2 * c).transpose(2, 3)
    return pairs.reshape(b, h // 2, w // 2, 4 * c).permute(0, 3, 1, 2)


class Shortcut(nn.Module):
    """Layers that keep the shape, plus their input (He et al. 2016); nothing follows the sum."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        return x + self.body(x)


def residual_block(channels: int, norm: Norm) -> Shortcut:
    """Johnson et al.'s block as in CycleGAN: pad, conv3, norm, ReLU, pad, conv3, norm, plus the input."""
    first, second = (normalised(nn.Conv2d(channels, channels, 3), norm) for _ in range(2))
    return Shortcut(nn.ReflectionPad2d(1), *first, nn.ReLU(), nn.ReflectionPad2d(1), *second)


def in_float32(layers: nn.Module, x: Tensor) -> Tensor:
    """The output of a generator's last layers, computed in float32 even under autocast.

    bfloat16 has 8 significant bits, so near 1 its steps are as large as the levels of a pixel.
    """
    with torch.autocast(x.device.type, enabled=False):
        image: Tensor = layers(x.float())
    return image


def initialise(network: nn.Module) -> None:
    """Initialise as pix2pix does: convolutions N(0, 0.02) with bias 0, BatchNorm's scale N(1, 0.02)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def parameter_count(network: nn.Module) -> int:
    """The number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
