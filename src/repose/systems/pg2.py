"""pg2: Pose Guided Person Image Generation (Ma et al. 2017), a row of the paper's Table 1; and G1 + D, its first half.

G1 makes a coarse image of one source and the target's pose, G2 adds what is missing in detail. G1 is trained alone
first; then it stays as it is, and G2 is trained against a discriminator (`stages: two`). With `stages: one` there is no
G2, and G1 itself is trained against the discriminator: the paper's row G1 + D.

Follows the authors' published code where it departs from their text: the discriminator sees one image at a time, and of
those it should refuse, half are sources. Images are in [-1,1]; nothing bounds what the networks make but the clamp in
`generate`. Letters: B images, Q targets, C channels, H height, W width.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.pose_mask import pose_mask
from repose.data.poses import Poses
from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.models.layers import in_float32
from repose.models.losses import g_adversarial
from repose.models.perceptual import PerceptualLoss
from repose.models.vgg import LayersName
from repose.systems import Progress, SystemSettings
from repose.systems.learning.optimiser import OptimiserSettings, update

RADIUS = 4  # px of a disc, at every size of image
CLOSING = 5  # px of the square by which the mask of the loss is closed
MIN_HEIGHT = 32  # px: G2 has two levels fewer than G1, and should have one at least


@settings
class AdamSettings(OptimiserSettings):
    """Adam's rate is constant."""

    learning_rate: float = 2e-5
    lr_halving_epochs: int = 0


@settings
class PG2Settings(SystemSettings):
    """A row pg2 or pg2-g1d; the defaults are the authors' for DeepFashion."""

    needs_source_poses = False

    items_per_step: int = 8  # Market-1501: 16
    max_photos: int = 2  # a step has pairs
    max_sources: int = 1
    targets: Literal["all", "one"] = "one"
    stages: Literal["two", "one"] = "two"  # G1, then G2 and D; or G1 and D
    width: int = 128  # channels of G1 and G2 at full size
    code: int = 64  # values between G1's encoder and its decoder
    skips: Literal["all", "coarse"] = "all"  # G2's, from encoder to decoder; Market-1501: coarse, all but the finest
    discriminator_width: int = 64
    masked_l1: float = 50.0  # lambda, against the adversarial term's 1; Market-1501: 10
    optimiser: AdamSettings = field(default_factory=AdamSettings)
    stage_one_steps: int = 22_000  # of G1 alone
    stage_two_steps: int = 14_000  # where `steps` are fewer than both together, each stage keeps its share of them

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_sources != 1:
            raise ValueError(f"pg2 makes an image of one source, so max_sources should be 1, not {self.max_sources}.")
        for name in ("width", "code", "discriminator_width", "stage_one_steps", "stage_two_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if self.stages == "two" and self.steps < 2:
            raise ValueError(f"steps should be at least 2, one for each stage, not {self.steps}.")
        if not self.masked_l1 >= 0:
            raise ValueError(f"the weight masked_l1 should not be negative, but it is {self.masked_l1}.")

    def loss_weights(self) -> dict[str, float]:
        """See `systems.SystemSettings`."""
        return {"masked_l1": self.masked_l1, "image": 1.0}

    def perceptual_layers(self, _: LayersName) -> LayersName | None:
        """See `systems.SystemSettings`."""
        return None

    def alone(self, steps: int) -> int:
        """How many of a training's steps train G1 alone; at least one is left for G2."""
        if self.stages == "one":
            return 0
        both = self.stage_one_steps + self.stage_two_steps
        share = min(1.0, steps / both)
        return min(max(round(self.stage_one_steps * share), 1), max(steps - 1, 1))


SETTINGS = PG2Settings


def build(row: PG2Settings, frame: Frame) -> "PG2System":
    """An untrained system for images of the frame's size.

    Raises:
        ReposeError: the frame is too low for the networks' levels.
    """
    if frame.height < MIN_HEIGHT:
        raise ReposeError(
            f"pg2 needs images at least {MIN_HEIGHT} px high, not {frame.height}: its networks halve them again and "
            "again. Set posemaps.height in params.yaml."
        )
    return PG2System(row, frame)


class PG2System:
    """G1, G2 and D, or G1 and D.

    Attributes:
        networks: `g1`, `g2` (where there are two stages) and `image`, the discriminator.
        optimisers: under the same names.
    """

    def __init__(self, row: PG2Settings, frame: Frame) -> None:
        self.row = row
        self.g1 = G1(frame.height, frame.width, row.width, row.code)
        self.g2 = G2(frame.height, row.width, row.skips) if row.stages == "two" else None
        self.discriminator = Discriminator(frame.height, frame.width, row.discriminator_width)
        self.networks: dict[str, nn.Module] = {"g1": self.g1, "image": self.discriminator}
        if self.g2 is not None:
            self.networks["g2"] = self.g2
        self.optimisers = row.optimiser.of(self.networks)

    def distribute(self) -> None:
        """See `systems.System`."""
        raise ReposeError(
            "pg2's discriminator has BatchNorm, whose mean and variance are of all photos of a step, but several processes "
            "share a step. Set train.processes to 1."
        )

    def step(
        self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: AbstractContextManager[Any]
    ) -> dict[str, Tensor]:
        """See `systems.System`. The terms: masked L1 of G1 and of G2, d_image and g_image; 0 where not trained."""
        del perceptual
        source, target = batch.images[batch.sources[:, 0]], batch.images[batch.target]  # (Q,3,H,W)
        height, width = target.shape[2:]
        keypoints = batch.poses.keypoints[batch.target]
        pose = discs(keypoints, height, width)
        mask = pose_mask(keypoints, height=height, width=width, radius=RADIUS, closing=CLOSING)  # (Q,H,W)
        terms = {f"{name}_l1": target.new_zeros(()) for name in ("g1", "g2") if name in self.networks}
        terms |= {"d_image": target.new_zeros(()), "g_image": target.new_zeros(())}
        rate = self.row.optimiser.rate(progress)
        if progress.step < self.row.alone(progress.steps):
            with autocast:
                coarse = self.g1(source, pose)
            terms["g1_l1"] = g_masked_l1(coarse, target, mask)
            update(self.optimisers["g1"], terms["g1_l1"], rate)
        else:
            terms |= self._against_discriminator(source, target, pose, mask, rate, autocast)
        return {name: term.detach() for name, term in terms.items()}

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`. While G1 is trained alone, what it makes."""
        del poses, mask
        source = images[sources[:, 0]]  # (Q,3,H,W)
        image: Tensor = self.g1(source, discs(target_pose.keypoints, *source.shape[2:]))
        if self.g2 is not None:
            image = image + self.g2.begun * self.g2(image, source)
        return image.clamp(-1, 1)

    def _against_discriminator(
        self, source: Tensor, target: Tensor, pose: Tensor, mask: Tensor, rate: float,
        autocast: AbstractContextManager[Any],
    ) -> dict[str, Tensor]:  # fmt: skip
        """The discriminator learns, then the network that makes the last image: G2, or G1 where there is no G2."""
        name = "g1" if self.g2 is None else "g2"
        terms = {}
        with autocast:
            generated = self._last_image(source, pose)
            terms["d_image"] = d_triplet(*self._logits(target, generated.detach(), source))
        update(self.optimisers["image"], terms["d_image"], rate)

        self.discriminator.requires_grad_(False)
        with autocast:
            terms["g_image"] = g_adversarial(self._logits(target, generated, source)[1])
        terms[f"{name}_l1"] = g_masked_l1(generated, target, mask)
        update(self.optimisers[name], terms["g_image"] + self.row.masked_l1 * terms[f"{name}_l1"], rate)
        self.discriminator.requires_grad_(True)
        return terms

    def _last_image(self, source: Tensor, pose: Tensor) -> Tensor:
        """What is trained to look real (Q,3,H,W); with two stages, nothing of it leads back into G1."""
        if self.g2 is None:
            return self.g1(source, pose)
        self.g2.begun.fill_(1)
        with torch.no_grad():
            coarse = self.g1(source, pose)
        return coarse + self.g2(coarse, source)

    def _logits(self, *images: Tensor) -> Sequence[Tensor]:
        """Images (Q,3,H,W) -> logits (Q,) of each, from one batch: its BatchNorm has the statistics of all of them."""
        return self.discriminator(torch.cat(images)).chunk(len(images))


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
        self.encoders = nn.ModuleList(_Residual(c) for c in at)
        self.downs = nn.ModuleList(
            nn.Sequential(SameConv2d(fine, coarse, 3, 2), nn.ReLU()) for fine, coarse in pairwise(at)
        )
        self.to_code, self.from_code = nn.Linear(at[-1] * cells, code), nn.Linear(code, channels * cells)
        self.decoders = nn.ModuleList(_Residual(c) for c in joined)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 1), nn.ReLU())
            for fine, coarse in zip(at[:-1], joined[1:], strict=True)
        )
        self.out = SameConv2d(joined[0], 3, 3)
        _glorot(self)

    def forward(self, source: Tensor, pose: Tensor) -> Tensor:
        """Sources (Q,3,H,W) and discs of the target poses (Q,18,H,W), both in [-1,1] -> coarse images (Q,3,H,W)."""
        height, width = source.shape[2:]
        x = self.enter(_padded(torch.cat([source, pose], 1), self.multiple))  # (Q,C,H,W), C = channels, and R levels
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(self.downs[level - 1](x) if level else x)  # (Q,(level+1) C,H/2^level,W/2^level)
            skips.append(x)
        x = self.from_code(self.to_code(x.flatten(1))).unflatten(1, self.lowest)  # (Q,C,H/2^(R-1),W/2^(R-1))
        for level in reversed(range(len(skips))):
            x = self.decoders[level](torch.cat([x, skips[level]], 1))  # (Q,2 (level+1) C,H/2^level,W/2^level)
            if level:
                x = self.ups[level - 1](x)  # (Q,level C,H/2^(level-1),W/2^(level-1))
        return in_float32(self.out, x)[:, :, :height, :width]


class G2(nn.Module):
    """Refinement: a fully convolutional U-Net, two levels shorter than G1, that makes the difference to add to its image.

    Attributes:
        begun: 1 from the first step that trains this network, 0 before.
    """

    begun: Tensor

    def __init__(self, height: int, channels: int, skips: Literal["all", "coarse"]) -> None:
        super().__init__()
        levels = level_count(height) - 2
        self.multiple = 2 ** (levels - 1)
        at = [channels * (level + 1) for level in range(levels)]
        self.skipped = [skips == "all" or level > 0 for level in range(levels)]
        self.enter = nn.Sequential(SameConv2d(6, channels, 3), nn.ReLU())
        self.encoders = nn.ModuleList(_double(before, c) for before, c in zip([channels, *at], at, strict=False))
        self.downs = nn.ModuleList(nn.Sequential(SameConv2d(c, c, 3, 2), nn.ReLU()) for c in at[:-1])
        below = [channels] * (levels - 1) + [
            at[-1]
        ]  # what comes from the level below; at the lowest, the encoder's own
        self.decoders = nn.ModuleList(
            _double(b + c * skipped, channels) for b, c, skipped in zip(below, at, self.skipped, strict=True)
        )
        self.out = SameConv2d(channels, 3, 3)
        self.register_buffer("begun", torch.zeros(()))
        _glorot(self)

    def forward(self, coarse: Tensor, source: Tensor) -> Tensor:
        """G1's images and their sources (Q,3,H,W) -> differences (Q,3,H,W)."""
        height, width = source.shape[2:]
        x = self.enter(_padded(torch.cat([coarse, source], 1), self.multiple))  # (Q,C,H,W)
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(self.downs[level - 1](x) if level else x)  # (Q,(level+1) C,H/2^level,W/2^level)
            skips.append(x)
        for level in reversed(range(len(skips))):
            x = self.decoders[level](torch.cat([x, skips[level]], 1) if self.skipped[level] else x)
            if level:
                x = F.interpolate(x, scale_factor=2)  # (Q,C,H/2^(level-1),W/2^(level-1))
        return in_float32(self.out, x)[:, :, :height, :width]


class Discriminator(nn.Module):
    """DCGAN's: k5 s2 convolutions until about 8 px of height are left, then one fully connected logit.

    Its BatchNorm keeps no running statistics: mean and variance are those of the batch, always.
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
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # a uniform distribution with deviation 0.02
                nn.init.uniform_(module.weight, -0.02 * 3**0.5, 0.02 * 3**0.5)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1,1] -> logits (B,)."""
        logits: Tensor = self.logit(self.body(x).flatten(1))
        return logits.float().squeeze(1)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding SAME: n -> ceil(n / stride), zeros, an odd one of them at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C',ceil(H/stride),ceil(W/stride))."""
        (top, bottom), (left, right) = (
            same_padding(n, k, s) for n, k, s in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left))
        return F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, self.bias, self.stride)


class _Residual(nn.Module):
    """Two convolutions, plus the input; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = _double(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        return x + self.body(x)


def level_count(height: int) -> int:
    """R of G1: at how many sizes it works, from full size to about 8 px of height (6 at 256 px, 5 at 128 px)."""
    return height.bit_length() - 3


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """How many zeros TensorFlow's padding SAME puts before and after `size` values."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def discs(keypoints: Tensor, height: int, width: int) -> Tensor:
    """The pose as G1 sees it: a channel for each joint, 1 at most RADIUS px from it and -1 elsewhere.

    Args:
        keypoints: (B,18,2) in px, NaN for missing.
        height: H in px.
        width: W in px.

    Returns:
        (B,18,H,W) float32.
    """
    count = len(keypoints)
    rows = torch.arange(count * K, device=keypoints.device)
    return _stamped(keypoints.reshape(-1, 2), rows, count * K, height, width).view(count, K, height, width) * 2 - 1


def g_masked_l1(generated: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Pose mask loss, mean |(generated - target) (1 + M)|: images (Q,3,H,W) in [-1,1], M (Q,H,W) bool."""
    return ((generated.float() - target.float()).abs() * (1 + mask[:, None].float())).mean()


def d_triplet(target: Tensor, generated: Tensor, source: Tensor) -> Tensor:
    """-log D(target) / 2 - log(1 - D(generated)) / 4 - log(1 - D(source)) / 4, of logits (Q,) each."""
    real, fake = F.softplus(-target.float()).mean(), F.softplus(generated.float()).mean()
    return 0.5 * real + 0.25 * fake + 0.25 * F.softplus(source.float()).mean()


def _stamped(points: Tensor, rows: Tensor, count: int, height: int, width: int) -> Tensor:
    """Discs around points (n,2), each in its row of (count,height,width): 1 in them, 0 elsewhere.

    Only the few pixels around a point are looked at, so it takes as long at any size of image.
    """
    reach = torch.arange(-RADIUS, RADIUS + 1, device=points.device)
    near = points.round()
    x, y = near[:, :1] + reach, near[:, 1:] + reach  # (n,9)
    inside = ((x - points[:, :1]) ** 2)[:, None] + ((y - points[:, 1:]) ** 2)[:, :, None] <= RADIUS**2  # (n,9,9)
    inside &= ((x >= 0) & (x < width))[:, None] & ((y >= 0) & (y < height))[:, :, None]  # NaN is not
    point, row, column = inside.nonzero(as_tuple=True)
    canvas = points.new_zeros(count * height * width)
    canvas[(rows[point] * height + y[point, row].long()) * width + x[point, column].long()] = 1
    return canvas.view(count, height, width)


def _double(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(SameConv2d(channels_in, channels, 3), nn.ReLU(), SameConv2d(channels, channels, 3), nn.ReLU())


def _padded(x: Tensor, multiple: int) -> Tensor:
    """(B,C,H,W) -> height and width multiples of `multiple`, by repeating the last row and the last column."""
    return F.pad(x, (0, -x.shape[3] % multiple, 0, -x.shape[2] % multiple), mode="replicate")


def _glorot(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
