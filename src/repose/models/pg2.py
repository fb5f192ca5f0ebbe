"""The networks of PG2 (Ma et al. 2017), with the sizes and the padding of the authors' TensorFlow code.

Letters: B images, Q targets, C channels, H height, W width.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repose.data.skeleton import K
from repose.models.layers import Shortcut, in_float32

RADIUS = 4  # px of a disc, for any size of image


class G1(nn.Module):
    """Pose integration: a U-Net of residual blocks with a fully connected code in the middle, without any norm."""

    def __init__(self, height: int, width: int, channels: int, code: int) -> None:
        super().__init__()
        levels = level_count(height)
        self.multiple = 2 ** (levels - 1)
        at = [channels * (level + 1) for level in range(levels)]  # channels at each size, from full size down
        joined = [2 * c for c in at[:-1]] + [channels + at[-1]]
        self.lowest = channels, -(-height // self.multiple), -(-width // self.multiple)
        cells = self.lowest[1] * self.lowest[2]
        self.enter = nn.Sequential(SameConv2d(3 + K, channels, 3), nn.ReLU())
        self.encoders = nn.ModuleList(Shortcut(*_double(c, c)) for c in at)
        self.downs = nn.ModuleList(
            nn.Sequential(SameConv2d(fine, coarse, 3, 2), nn.ReLU()) for fine, coarse in pairwise(at)
        )
        self.to_code, self.from_code = nn.Linear(at[-1] * cells, code), nn.Linear(code, channels * cells)
        self.decoders = nn.ModuleList(Shortcut(*_double(c, c)) for c in joined)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 1), nn.ReLU())
            for fine, coarse in zip(at[:-1], joined[1:], strict=True)
        )
        self.out = SameConv2d(joined[0], 3, 3)
        _initialise(self, nn.init.xavier_uniform_)

    def forward(self, source: Tensor, pose: Tensor) -> Tensor:
        """Sources (Q,3,H,W) and discs of the target poses (Q,18,H,W), both in [-1,1] -> coarse images (Q,3,H,W)."""
        height, width = source.shape[2:]
        x = self.enter(_padded(torch.cat([source, pose], 1), self.multiple))  # (Q,C,H,W), C = channels, and R levels
        skips = _encoded(x, self.encoders, self.downs)
        x = self.from_code(self.to_code(skips[-1].flatten(1))).unflatten(1, self.lowest)  # (Q,C,H/2^(R-1),W/2^(R-1))
        for level in reversed(range(len(skips))):
            x = self.decoders[level](torch.cat([x, skips[level]], 1))  # (Q,2 (level+1) C,H/2^level,W/2^level)
            if level:
                x = self.ups[level - 1](x)  # (Q,level C,H/2^(level-1),W/2^(level-1))
        return in_float32(self.out, x)[:, :, :height, :width]


class G2(nn.Module):
    """Refinement: a fully convolutional U-Net with two levels fewer than G1, which computes a difference to add to its image.

    Attributes:
        begun: 1 from the first step that trains this network, 0 before.
    """

    def __init__(self, height: int, channels: int, skips: Literal["all", "coarse"]) -> None:
        super().__init__()
        levels = level_count(height) - 2
        self.multiple = 2 ** (levels - 1)
        at = [channels * (level + 1) for level in range(levels)]
        self.skipped = [skips == "all" or level > 0 for level in range(levels)]
        self.enter = nn.Sequential(SameConv2d(6, channels, 3), nn.ReLU())
        self.encoders = nn.ModuleList(_double(before, c) for before, c in zip([channels, *at], at, strict=False))
        self.downs = nn.ModuleList(nn.Sequential(SameConv2d(c, c, 3, 2), nn.ReLU()) for c in at[:-1])
        below = [channels] * (levels - 1) + [at[-1]]  # from the level below; at the lowest, from the encoder
        self.decoders = nn.ModuleList(
            _double(b + c * skipped, channels) for b, c, skipped in zip(below, at, self.skipped, strict=True)
        )
        self.out = SameConv2d(channels, 3, 3)
        self.begun = nn.Buffer(torch.zeros(()))
        _initialise(self, nn.init.xavier_uniform_)

    def forward(self, coarse: Tensor, source: Tensor) -> Tensor:
        """G1's images and their sources (Q,3,H,W) -> differences (Q,3,H,W)."""
        height, width = source.shape[2:]
        x = self.enter(_padded(torch.cat([coarse, source], 1), self.multiple))  # (Q,C,H,W)
        skips = _encoded(x, self.encoders, self.downs)
        x = skips[-1]
        for level in reversed(range(len(skips))):
            x = self.decoders[level](torch.cat([x, skips[level]], 1) if self.skipped[level] else x)
            if level:
                x = F.interpolate(x, scale_factor=2)  # (Q,C,H/2^(level-1),W/2^(level-1))
        return in_float32(self.out, x)[:, :, :height, :width]


class Discriminator(nn.Module):
    """DCGAN's: k5 s2 convolutions until about 8 px of height are left, then one fully connected logit.

    Its BatchNorm keeps no running statistics: it always uses the mean and variance of the batch.
    """

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        layers = level_count(height) - 1
        widths = [3] + [channels * min(2**i, 8) for i in range(layers)]
        body: list[nn.Module] = []
        for i in range(layers):
            body.append(SameConv2d(widths[i], widths[i + 1], 5, 2))
            body += [nn.BatchNorm2d(widths[i + 1], track_running_stats=False)] if i else []
            body.append(nn.LeakyReLU(0.2))
        self.body = nn.Sequential(*body)
        self.logit = nn.Linear(widths[-1] * -(-height // 2**layers) * -(-width // 2**layers), 1)
        _initialise(self, lambda weight: nn.init.uniform_(weight, -0.02 * 3**0.5, 0.02 * 3**0.5))  # deviation 0.02

    def forward(self, x: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1,1] -> logits (B,)."""
        logits: Tensor = self.logit(self.body(x).flatten(1))
        return logits.float().squeeze(1)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding SAME: n -> ceil(n / stride), padded by zeros, an odd one at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C',ceil(H/stride),ceil(W/stride))."""
        (top, bottom), (left, right) = (
            same_padding(n, k, s) for n, k, s in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left))
        return F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, self.bias, self.stride)


def level_count(height: int) -> int:
    """The number R of sizes in G1, from full size to about 8 px of height (6 at 256 px, 5 at 128 px)."""
    return height.bit_length() - 3


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The zeros that TensorFlow's padding SAME puts before and after `size` values."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def discs(keypoints: Tensor, height: int, width: int) -> Tensor:
    """The pose as G1's input: a channel per joint, 1 up to RADIUS px from it and -1 elsewhere.

    Keypoints (B,18,2) in px, NaN for missing -> (B,18,H,W) float32. Only the pixels around a joint are computed, so the time
    does not depend on the size of the image.
    """
    points = keypoints.reshape(-1, 2)  # (n,2), n = 18 B
    reach = torch.arange(-RADIUS, RADIUS + 1, device=points.device)
    near = points.round()
    x, y = near[:, :1] + reach, near[:, 1:] + reach  # (n,9)
    inside = ((x - points[:, :1]) ** 2)[:, None] + ((y - points[:, 1:]) ** 2)[:, :, None] <= RADIUS**2  # (n,9,9)
    inside &= ((x >= 0) & (x < width))[:, None] & ((y >= 0) & (y < height))[:, :, None]  # NaN is not
    point, row, column = inside.nonzero(as_tuple=True)
    canvas = points.new_full((len(keypoints), K, height, width), -1.0)
    canvas.view(len(points), height, width)[point, y[point, row].long(), x[point, column].long()] = 1
    return canvas


def _double(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(SameConv2d(channels_in, channels, 3), nn.ReLU(), SameConv2d(channels, channels, 3), nn.ReLU())


def _encoded(x: Tensor, encoders: nn.ModuleList, downs: nn.ModuleList) -> list[Tensor]:
    """(Q,C,H,W) -> the features of each level, (Q,(level+1) C,H/2^level,W/2^level)."""
    levels = []
    for level, encoder in enumerate(encoders):
        x = encoder(downs[level - 1](x) if level else x)
        levels.append(x)
    return levels


def _padded(x: Tensor, multiple: int) -> Tensor:
    """(B,C,H,W) -> height and width multiples of `multiple`, by repeating the last row and the last column."""
    return F.pad(x, (0, -x.shape[3] % multiple, 0, -x.shape[2] % multiple), mode="replicate")


def _initialise(network: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    """Fill the weights of all layers; their biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fill(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
