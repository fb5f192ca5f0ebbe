"""The network of the Variational U-Net (Esser et al. 2018), with the sizes of the authors' published code.

An encoder reads the appearance from crops of body parts and gives latents at the two lowest sizes. A U-Net reads the pose
from a stickman and makes the image with those latents. A prior predicts the latents from the pose; the rest is appearance.

Letters: Q photos, C channels, S the side of the square in px, s the side of a part's crop in px, h x w a level of a network.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repose.models.layers import in_float32
from repose.models.vunet_inputs import PARTS

LATENTS = 2  # number of sizes with latents, from the lowest up
TO_BEGIN = 32  # photos for the initial weights: the authors' four batches of 8


class Inputs(NamedTuple):
    """The network's inputs for Q photos and poses."""

    parts: Tensor  # (Q,24,s,s) in [-1,1]
    pose: Tensor  # (Q,3,S,S) in [-1,1]


class VUNet(nn.Module):
    """Latents of the appearance, and a U-Net from the stickman to the image.

    Attributes:
        begun: 1 once photos have set the initial weights, 0 before.
    """

    def __init__(self, width: int, levels: int, box: int, dropout: float) -> None:
        super().__init__()
        channels = [min(width * 2**level, 4 * width) for level in range(levels)]  # from full size down
        self.appearance = Appearance(channels[box:], dropout)
        self.shape = Shape(channels, dropout)
        self.begun = nn.Buffer(torch.zeros(()))

    def forward(self, given: Inputs) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Images (Q,3,S,S), and the means of posterior and prior, (Q,C,h,w) of each latent, the lowest first."""
        means, latents = self.appearance(given.parts, sample=True)
        generated, prior = self.shape(given.pose, latents, guess=True)
        return generated, means, prior

    def transfer(self, given: Inputs) -> Tensor:
        """Images (Q,3,S,S) with the posterior's means as latents."""
        _, latents = self.appearance(given.parts, sample=False)
        generated: Tensor = self.shape(given.pose, latents, guess=False)[0]
        return generated

    @torch.no_grad()
    def begin(self, given: Inputs) -> None:
        """Set each layer's g and b so that its output for these photos has mean 0 and variance 1 in each channel.

        A layer of the lowest size has few values per photo, so the photos are repeated, up to at least TO_BEGIN.
        """
        times = -(-TO_BEGIN // len(given.pose))
        layers = [module for module in self.modules() if isinstance(module, WeightNormConv2d)]
        for layer in layers:
            layer.beginning = True
        self(Inputs(*(each.repeat(times, 1, 1, 1) for each in given)))
        for layer in layers:
            layer.beginning = False
        self.begun.fill_(1)


class Appearance(nn.Module):
    """The encoder: from the parts' crops down, then up again over the two sizes with latents.

    The authors also create layers for a third size without latents (1,230,848 of 47 million parameters at full width). This
    network has them, to match the authors' number of parameters, but does not compute them.
    """

    def __init__(self, channels: list[int], dropout: float) -> None:
        super().__init__()
        self.down = Ladder(3 * PARTS, channels, dropout)
        low = channels[::-1][: LATENTS + 1]
        self.enter = WeightNormConv2d(low[0], low[0], 1)
        self.before = nn.ModuleList(Residual(c, c, dropout) for c in low)
        self.means = nn.ModuleList(WeightNormConv2d(c, c) for c in low[:LATENTS])
        self.after = nn.ModuleList(Residual(c, 2 * c, dropout) for c in low[:LATENTS])
        self.ups = nn.ModuleList(Up(coarse, fine) for coarse, fine in pairwise(low))

    def forward(self, parts: Tensor, *, sample: bool) -> tuple[list[Tensor], list[Tensor]]:
        """(Q,24,s,s) -> means of the posterior, and latents: drawn with variance 1, or the means; (Q,C,h,w), lowest first."""
        features = self.down(parts)
        means: list[Tensor] = []
        latents: list[Tensor] = []
        h = self.enter(features[-1])  # (Q,C,h,w)
        for level in range(LATENTS):
            h = self.before[level](h, features.pop())
            means.append(self.means[level](h))
            latents.append(means[-1] + torch.randn_like(means[-1]) if sample else means[-1])
            if level < LATENTS - 1:
                h = self.after[level](h, torch.cat([features.pop(), latents[-1]], 1))
                h = self.ups[level](h)  # (Q,C',2h,2w)
        return means, latents


class Shape(nn.Module):
    """The U-Net: down from the stickman, then up to the image, with the latents at the two lowest sizes."""

    def __init__(self, channels: list[int], dropout: float) -> None:
        super().__init__()
        self.down = Ladder(3, channels, dropout)
        levels = channels[::-1]
        self.enter = WeightNormConv2d(levels[0], levels[0], 1)
        self.before = nn.ModuleList(Residual(c, c, dropout) for c in levels)
        self.priors = nn.ModuleList(Prior(c, dropout) for c in levels[:LATENTS])
        self.join = nn.ModuleList(WeightNormConv2d(2 * c, c, 1) for c in levels[:LATENTS])
        self.after = nn.ModuleList(Residual(c, c, dropout) for c in levels)
        self.ups = nn.ModuleList(Up(coarse, fine) for coarse, fine in pairwise(levels))
        self.out = WeightNormConv2d(levels[-1], 3)

    def forward(self, pose: Tensor, latents: list[Tensor], *, guess: bool) -> tuple[Tensor, list[Tensor]]:
        """(Q,3,S,S) and latents (Q,C,h,w), lowest first -> images (Q,3,S,S), and the means of the prior if requested."""
        features = self.down(pose)
        prior = []
        h = self.enter(features[-1])  # (Q,C,h,w)
        for level, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            h = self.ups[level - 1](h) if level else h  # (Q,C',2h,2w)
            h = before(h, features.pop())
            if level < LATENTS:
                if guess:
                    prior.append(self.priors[level](h, latents[level]))
                h = self.join[level](torch.cat([h, latents[level]], 1))
            h = after(h, features.pop())
        return in_float32(self.out, h), prior


class Prior(nn.Module):
    """Predicts a latent from the pose, a quarter of its pixels at a time, each from the pose and the previous quarters."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.enter = Residual(channels, 0, dropout)
        self.means = nn.ModuleList(WeightNormConv2d(4 * channels, channels) for _ in range(4))
        self.learn = nn.ModuleList(Residual(4 * channels, channels, dropout) for _ in range(3))

    def forward(self, h: Tensor, latent: Tensor) -> Tensor:
        """Features and the posterior's latent (Q,C,h,w) -> means (Q,C,h,w)."""
        features = F.pixel_unshuffle(self.enter(h), 2)  # (Q,4C,h/2,w/2)
        known = split_groups(latent)
        means = []
        for group, mean in enumerate(self.means):
            if group:
                features = self.learn[group - 1](features, known[group - 1])
            means.append(mean(features))  # (Q,C,h/2,w/2)
        return merge_groups(means)


class Ladder(nn.Module):
    """Two residual blocks at each size, from the finest down."""

    def __init__(self, channels_in: int, channels: list[int], dropout: float) -> None:
        super().__init__()
        self.enter = WeightNormConv2d(channels_in, channels[0], 1)
        self.blocks = nn.ModuleList(Residual(c, 0, dropout) for c in channels for _ in range(2))
        self.downs = nn.ModuleList(WeightNormConv2d(fine, coarse, 3, 2) for fine, coarse in pairwise(channels))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(Q,channels_in,h,w) -> the output of each block, two (Q,C,h,w) of each size."""
        features = []
        h = self.enter(x)
        for number, block in enumerate(self.blocks):
            if number and number % 2 == 0:
                h = self.downs[number // 2 - 1](h)  # (Q,C',h/2,w/2)
            h = block(h)
            features.append(h)
        return features


class Residual(nn.Module):
    """ELU, dropout and a convolution, plus the input; further features are added through a 1x1 convolution."""

    def __init__(self, channels: int, channels_beside: int, dropout: float) -> None:
        super().__init__()
        self.beside = WeightNormConv2d(channels_beside, channels, 1) if channels_beside else None
        self.dropout = nn.Dropout(dropout)
        self.conv = WeightNormConv2d(2 * channels if channels_beside else channels, channels)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """(Q,C,h,w), (Q,channels_beside,h,w) -> (Q,C,h,w)."""
        h = x
        if self.beside is not None and beside is not None:
            h = torch.cat([x, self.beside(F.elu(beside))], 1)  # (Q,2C,h,w)
        residual: Tensor = self.conv(self.dropout(F.elu(h)))
        return x + residual


class Up(nn.Module):
    """A convolution to four times the channels, then to twice the size."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(channels_in, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(Q,channels_in,h,w) -> (Q,channels,2h,2w)."""
        return F.pixel_shuffle(self.conv(x), 2)


class WeightNormConv2d(nn.Module):
    """g * conv(x, V / |V|) + b (Salimans and Kingma 2016), |V| of each output channel, with TensorFlow's padding SAME."""

    def __init__(self, channels_in: int, channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.kernel = stride, kernel
        self.beginning = False
        self.V = nn.Parameter(torch.empty(channels, channels_in, kernel, kernel).normal_(0, 0.05))
        self.g = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B,channels_in,h,w) -> (B,channels,h/stride,w/stride); h and w are multiples of the stride."""
        direction = F.normalize(self.V.flatten(1), dim=1).view_as(self.V)
        if self.stride == 2:
            x, around = F.pad(x, (0, 1, 0, 1)), 0
        else:
            around = self.kernel // 2
        if self.beginning:
            self._begin(F.conv2d(x, direction, None, self.stride, around))
        return F.conv2d(x, self.g[:, None, None, None] * direction, self.b, self.stride, around)

    def _begin(self, made: Tensor) -> None:
        """Data-dependent initialization; a constant channel keeps its scale."""
        variance, mean = torch.var_mean(made, (0, 2, 3), correction=0)
        self.g.copy_(torch.where(variance > 1e-8, variance.rsqrt(), 1.0))
        self.b.copy_(-mean * self.g)


def split_groups(x: Tensor) -> list[Tensor]:
    """(B,C,h,w) -> four times (B,C,h/2,w/2): of each 2x2 pixels the upper left, upper right, lower left, lower right."""
    return [x[:, :, group // 2 :: 2, group % 2 :: 2] for group in range(4)]


def merge_groups(groups: list[Tensor]) -> Tensor:
    """The inverse of `split_groups`."""
    return F.pixel_shuffle(torch.stack(groups, 2).flatten(1, 2), 2)
