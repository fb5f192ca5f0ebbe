"""vunet: A Variational U-Net for Conditional Appearance and Shape Generation (Esser et al. 2018), a row of Table 1.

One encoder reads the appearance from crops of body parts and gives latents at the two lowest sizes; a U-Net reads the pose
from a stickman and makes the image with those latents. Training rebuilds a photo from its own parts and its own pose, so
pairs are not needed: a batch's sources play no role. A prior guesses the latents from the pose; what it cannot guess is
appearance. An image of another pose is made from the source's parts and the target's stickman, without sampling.

Sizes, loss and course are those of the authors' published code. Ours: first weights are set by the first step's photos,
each looked at several times with other samples and other dropout (theirs: by four batches); at generation the encoder's
own feedback is the mean as well (theirs: a sample); schedules are shares of the training's steps, which are theirs at
100,000; their second round of training, with a loss of Gram matrices, is not here. Images are squares of S px, S being the
frame's height: a narrower frame is stretched, as they do with Market-1501, and what is made is shrunk back.

Letters: Q photos, C channels, S px a side of the square, s px a side of a part's crop, h x w a level of a network.
"""

from contextlib import AbstractContextManager
from dataclasses import field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.layers import in_float32
from repose.models.losses import g_l1
from repose.models.perceptual import PerceptualLoss
from repose.models.vgg import LayersName
from repose.models.vunet_inputs import PARTS, in_square, part_crops, resized, stickman, whole_torso
from repose.systems import Progress, SystemSettings
from repose.systems.learning.optimiser import OptimiserSettings, update

LATENTS = 2  # sizes at which there are latents, from the lowest up
MIN_SIZE = 32  # px
MIN_KL = 1e-6  # the share of KL's weight from the first step on
L1 = 5 * 127.5  # the authors' weight of L1: their 5 is for levels from 0 to 255, ours are from -1 to 1
TO_BEGIN = 32  # photos to set the first weights by: the authors' four batches of 8


@settings
class AdamSettings(OptimiserSettings):
    """Adam's rate falls linearly to 0 from the first hundredth of the steps on."""

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.9)
    lr_halving_epochs: int = 0
    lr_decay_start: float = 0.01


@settings
class VUNetSettings(SystemSettings):
    """A row of vunet; the defaults are the authors' for DeepFashion."""

    needs_source_poses = True
    figure_scale = L1

    items_per_step: int = 8  # Market-1501: 16
    max_photos: int = 2  # only targets are trained on
    max_sources: int = 1
    targets: Literal["all", "one"] = "one"
    width: int = 32  # channels at full size; they double from level to level up to 4 times as many
    box: int | None = None  # a crop is S / 2^box px a side; None: 2 at 256 px, 1 at 128 px and below
    bottleneck: int | None = None  # the lowest size is 2^bottleneck px; None: 2 at 256 px, 1 at 128 px and below
    dropout: float = 0.1
    l1: float = L1
    perceptual: float = 1.0  # of VGG19's layers `vunet`, which have the authors' 5 in them; or of figure_scale
    kl: float = 1.0
    kl_from: float = 0.5  # until this share of the steps KL counts MIN_KL of its weight; from there on it rises
    kl_until: float = 0.75  # from here on it counts in full
    optimiser: AdamSettings = field(default_factory=AdamSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_sources != 1:
            raise ValueError(f"vunet makes an image of one source, so max_sources should be 1, not {self.max_sources}.")
        if self.width < 1:
            raise ValueError(f"width should be at least 1, not {self.width}.")
        for name, least in (("box", 0), ("bottleneck", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} should be at least {least}, or null for what fits the frame, not {value}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout should be from 0 to below 1, not {self.dropout}.")
        for name in ("l1", "perceptual", "kl"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"the weight {name} should not be negative, but it is {getattr(self, name)}.")
        if not 0 <= self.kl_from < self.kl_until <= 1:
            raise ValueError(
                f"kl_from and kl_until should be shares of the steps, the first the smaller, not {self.kl_from} and "
                f"{self.kl_until}."
            )

    def loss_weights(self) -> dict[str, float]:
        """See `systems.SystemSettings`; KL's is the one at the end."""
        return {"l1": self.l1, "perceptual": self.perceptual, "kl": self.kl}

    def perceptual_layers(self, _: LayersName) -> LayersName | None:
        """See `systems.SystemSettings`."""
        return "vunet" if self.perceptual else None

    def kl_weight(self, progress: Progress) -> float:
        """The weight of KL in a step: linear between the two shares."""
        share = (progress.step / progress.steps - self.kl_from) / (self.kl_until - self.kl_from)
        return self.kl * min(max(MIN_KL + (1 - MIN_KL) * share, MIN_KL), 1.0)


SETTINGS = VUNetSettings


def build(row: VUNetSettings, frame: Frame) -> "VUNetSystem":
    """An untrained system for images of the frame's size.

    Raises:
        ReposeError: the frame's height is no power of two from 32 on, or the crops or levels do not fit it.
    """
    size = frame.height
    if size < MIN_SIZE or size & (size - 1):
        raise ReposeError(
            f"vunet's images are squares of the frame's height, which should be a power of two of at least {MIN_SIZE} "
            f"px, not {size}. Set posemaps.height in params.yaml to 64, 128 or 256."
        )
    halvings = size.bit_length() - 1
    box, bottleneck = (max(1, halvings - 6) if n is None else n for n in (row.box, row.bottleneck))
    levels = 1 + halvings - bottleneck
    if levels - box <= LATENTS:
        raise ReposeError(
            f"vunet needs {LATENTS + 1} sizes from a part's crop to the lowest, but a crop is {size} / 2^{box} px a side and "
            f"the lowest size 2^{bottleneck} px. Lower box or bottleneck in the system's block, or leave them out."
        )
    return VUNetSystem(row, size, levels, box)


class Inputs(NamedTuple):
    """What the network sees of Q photos and poses."""

    parts: Tensor  # (Q,24,s,s) in [-1,1]
    pose: Tensor  # (Q,3,S,S) in [-1,1]


class VUNetSystem:
    """The network and its Adam.

    Attributes:
        networks: `vunet`.
        optimisers: likewise.
    """

    def __init__(self, row: VUNetSettings, size: int, levels: int, box: int) -> None:
        self.row, self.size, self.crop = row, size, size >> box
        self.vunet = VUNet(row.width, levels, box, row.dropout)
        self.networks: dict[str, nn.Module] = {"vunet": self.vunet}
        self.optimisers = row.optimiser.of(self.networks)

    def distribute(self) -> None:
        """See `systems.System`.

        Raises:
            ReposeError: always.
        """
        raise ReposeError(
            "vunet's first weights are set by all photos of its first step, and photos without shoulders or hips are left "
            "out of a step, so several processes cannot share one. Set train.processes to 1."
        )

    def step(
        self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: AbstractContextManager[Any]
    ) -> dict[str, Tensor]:
        """See `systems.System`. The terms: l1, kl, and perceptual where its network is given.

        A target without both shoulders and both hips is left out, as by the authors. Where none is left, nothing is
        trained and the terms are 0.

        Raises:
            ReposeError: this is the last step, and no photo had them.
        """
        photos, pose = self._trained_on(batch)
        target = resized(photos, self.size, self.size)  # (Q,3,S,S)
        terms = {"l1": target.new_zeros(()), "kl": target.new_zeros(())}
        if perceptual is not None and self.row.perceptual:
            terms["perceptual"] = target.new_zeros(())
        if len(target) == 0:
            self._check_trained(progress)
            return terms
        given = self._inputs(photos, pose, pose)
        if not self.vunet.begun:
            self.vunet.begin(given)
        with autocast:
            generated, posterior, prior = self.vunet(given)
        terms["l1"], terms["kl"] = g_l1(generated, target), kl_divergence(posterior, prior)
        if perceptual is not None and self.row.perceptual:
            terms["perceptual"] = perceptual(generated, target)
        weights = self.row.loss_weights() | {"kl": self.row.kl_weight(progress)}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        update(self.optimisers["vunet"], loss, self.row.optimiser.rate(progress))
        return {name: term.detach() for name, term in terms.items()}

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`. Without dropout and without a sample, in whatever mode; a part not seen is 0."""
        del mask
        source = sources[:, 0]
        given = self._inputs(images[source], poses.keypoints[source], target_pose.keypoints)
        mode = self.vunet.training
        generated = self.vunet.eval().transfer(given)  # (Q,3,S,S)
        self.vunet.train(mode)
        return resized(generated, *images.shape[2:]).clamp(-1, 1)

    def _trained_on(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The photos (Q',3,H,W) and keypoints (Q',18,2) of the targets that show a whole torso."""
        keypoints = batch.poses.keypoints[batch.target]
        whole = whole_torso(self._placed(keypoints, batch.images))
        return batch.images[batch.target[whole]], keypoints[whole]

    def _inputs(self, photos: Tensor, keypoints: Tensor, target: Tensor) -> Inputs:
        """Photos (Q,3,H,W) with their keypoints, and the keypoints (Q,18,2) of the pose to be shown, in px of the frame."""
        square = resized(photos, self.size, self.size)
        crops = part_crops(square, self._placed(keypoints, photos), self.crop)
        return Inputs(crops, stickman(self._placed(target, photos), self.size))

    def _placed(self, keypoints: Tensor, photos: Tensor) -> Tensor:
        """Keypoints (Q,18,2) in px of photos (.,3,H,W) -> in px of the square."""
        height, width = photos.shape[2:]
        return in_square(keypoints, height, width, self.size)

    def _check_trained(self, progress: Progress) -> None:
        if progress.step == progress.steps - 1 and not self.vunet.begun:
            raise ReposeError(
                "vunet learned nothing: no photo of its training had both shoulders and both hips among its keypoints, and "
                "others are left out. Train on photos that show the torso (split), or check the keypoints."
            )


class VUNet(nn.Module):
    """Latents of the appearance, and a U-Net from the stickman to the image.

    Attributes:
        begun: 1 once photos have set the first weights, 0 before.
    """

    begun: Tensor

    def __init__(self, width: int, levels: int, box: int, dropout: float) -> None:
        super().__init__()
        channels = [min(width * 2**level, 4 * width) for level in range(levels)]  # from full size down
        self.appearance = Appearance(channels[box:], dropout)
        self.shape = Shape(channels, dropout)
        self.register_buffer("begun", torch.zeros(()))

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
        """Set each layer's g and b such that what it makes of these photos has mean 0 and variance 1 in each channel.

        A layer of the lowest size has few values of a photo, so photos are repeated, up to TO_BEGIN or more.
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

    The authors also build the way on to a third size, of which no latent comes; it is here, so that the network has their
    number of parameters (1,230,848 of 47 million at full width), but it is not computed.
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
    """The U-Net: from the stickman down, then up to the image, with the latents at the two lowest sizes."""

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
        """(Q,3,S,S) and latents (Q,C,h,w), lowest first -> images (Q,3,S,S), and the means of the prior where asked for."""
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
    """Guesses a latent from the pose, a quarter of its pixels at a time; the next from the pose and the quarters before."""

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
        """(Q,channels_in,h,w) -> what each block gives, two (Q,C,h,w) of each size."""
        features = []
        h = self.enter(x)
        for number, block in enumerate(self.blocks):
            if number and number % 2 == 0:
                h = self.downs[number // 2 - 1](h)  # (Q,C',h/2,w/2)
            h = block(h)
            features.append(h)
        return features


class Residual(nn.Module):
    """One convolution of ELU and dropout, plus the input; what stands beside it comes in through a 1x1 convolution."""

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
    """Twice the size by a convolution to four times the channels."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(channels_in, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(Q,channels_in,h,w) -> (Q,channels,2h,2w)."""
        return F.pixel_shuffle(self.conv(x), 2)


class WeightNormConv2d(nn.Module):
    """g * conv(x, V / |V|) + b (Salimans and Kingma 2016), |V| of each output channel; zeros around as TensorFlow's SAME."""

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
        """Data-dependent initialisation; a channel that is the same everywhere keeps its scale."""
        variance, mean = torch.var_mean(made, (0, 2, 3), correction=0)
        self.g.copy_(torch.where(variance > 1e-8, variance.rsqrt(), 1.0))
        self.b.copy_(-mean * self.g)


def split_groups(x: Tensor) -> list[Tensor]:
    """(B,C,h,w) -> four times (B,C,h/2,w/2): of each 2x2 pixels the upper left, upper right, lower left, lower right."""
    return [x[:, :, group // 2 :: 2, group % 2 :: 2] for group in range(4)]


def merge_groups(groups: list[Tensor]) -> Tensor:
    """`split_groups` undone."""
    return F.pixel_shuffle(torch.stack(groups, 2).flatten(1, 2), 2)


def kl_divergence(posterior: list[Tensor], prior: list[Tensor]) -> Tensor:
    """Of Gaussians with variance 1: half the squared distance of means (Q,C,h,w), summed over latents, mean over photos."""
    each = [(q.float() - p.float()).square().sum((1, 2, 3)) / 2 for q, p in zip(posterior, prior, strict=True)]
    return torch.stack(each).sum(0).mean()
