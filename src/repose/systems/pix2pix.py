"""pix2pix (Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks): the row pix2pix.

A U-Net makes the image from a condition, the source and the target's pose map, or the pose map alone; a PatchGAN judges
the image together with that condition. Sizes, loss and course are those of its authors' PyTorch code; the condition is
what the task asks for. The paper's number for this row seems to be one of a pix2pix that sees the pose alone: `pose_only`.

Letters: M photos of a step, Q targets of it, C channels of the condition, H x W the frame, h x w a level of the U-Net.
"""

from contextlib import AbstractContextManager
from dataclasses import field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.layers import Norm, in_float32, initialise
from repose.models.losses import d_adversarial, g_adversarial, g_l1
from repose.models.patchgan import DiscriminatorSettings, PatchGAN
from repose.models.perceptual import PerceptualLoss
from repose.models.vgg import LayersName
from repose.systems import Progress, SystemSettings
from repose.systems.learning.optimiser import OptimiserSettings, update


@settings
class UNetSettings:
    """The generator; at 256x256 the defaults are its authors' `unet_256`."""

    width: int = 64  # channels of the first level; they double up to 8 times as many
    downs: int | None = None  # levels, each half the size of the last; None: as many as the frame's shorter side halves

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width should be at least 1, not {self.width}.")
        if self.downs is not None and self.downs < 2:
            raise ValueError(f"downs should be at least 2, or null for as many as fit the frame, not {self.downs}.")


@settings
class PatchSettings(DiscriminatorSettings):
    """The discriminator; its authors' has BatchNorm."""

    norm: Norm = "batch"


@settings
class AdamSettings(OptimiserSettings):
    """Adam's rate stays for the first half of the steps (of 100 + 100 epochs), then falls linearly to 0, step by step."""

    learning_rate: float = 2e-4
    lr_halving_epochs: int = 0
    lr_decay_start: float = 0.5


@settings
class Pix2PixSettings(SystemSettings):
    """A row of pix2pix; the defaults are its authors'."""

    needs_source_poses = False

    max_sources: int = 1
    targets: Literal["all", "one"] = "one"  # a batch of one image
    input: Literal["pose+source", "pose_only"] = "pose+source"  # the condition
    generator: UNetSettings = field(default_factory=UNetSettings)
    discriminator: PatchSettings = field(default_factory=PatchSettings)
    l1: float = 100.0  # lambda of Eq. 4: the weight of L1 beside the adversarial term's 1
    optimiser: AdamSettings = field(default_factory=AdamSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_sources != 1:
            raise ValueError(f"max_sources should be 1, pix2pix takes one source, not {self.max_sources}.")
        if not self.l1 >= 0:
            raise ValueError(f"the weight l1 should not be negative, but it is {self.l1}.")

    def loss_weights(self) -> dict[str, float]:
        """See `systems.SystemSettings`."""
        return {"l1": self.l1, "adversarial": 1.0}

    def perceptual_layers(self, chosen: LayersName) -> None:
        """See `systems.SystemSettings`: pix2pix has no perceptual term."""
        del chosen


class Pix2Pix:
    """The U-Net and its conditional discriminator, with an Adam each.

    Attributes:
        networks: `generator` and `discriminator`.
        optimisers: under the same names.
    """

    def __init__(self, row: Pix2PixSettings, downs: int) -> None:
        self.row = row
        channels = 6 if row.input == "pose+source" else 3
        d = row.discriminator
        self.networks: dict[str, nn.Module] = {
            "generator": UNet(channels, row.generator.width, downs),
            "discriminator": PatchGAN(channels + 3, width=d.width, layers=d.layers, norm=d.norm),
        }
        self.optimisers = row.optimiser.of(self.networks)

    def distribute(self) -> None:
        """See `systems.System`.

        Raises:
            ReposeError: always.
        """
        raise ReposeError(
            "pix2pix has BatchNorm, whose mean and variance are of all photos of a step, so several processes cannot "
            "share one. Set train.processes to 1."
        )

    def step(
        self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: AbstractContextManager[Any]
    ) -> dict[str, Tensor]:
        """See `systems.System`: first the discriminator, then the generator (Eq. 4).

        The terms: d_adversarial (half of both), g_adversarial, l1.
        """
        del perceptual
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        rate = self.row.optimiser.rate(progress)
        target = batch.images[batch.target]  # (Q,3,H,W)
        condition = self._condition(batch.images, batch.sources, batch.poses[batch.target])  # (Q,C,H,W)
        with autocast:
            generated = generator(condition)  # (Q,3,H,W)
        real, fake = torch.cat([condition, target], 1), torch.cat([condition, generated], 1)  # (Q,C+3,H,W)

        with autocast:
            d_loss = d_adversarial(discriminator(real), discriminator(fake.detach()))
        update(self.optimisers["discriminator"], d_loss, rate)

        discriminator.requires_grad_(False)
        with autocast:
            g_loss = g_adversarial(discriminator(fake))
        l1 = g_l1(generated, target)
        update(self.optimisers["generator"], g_loss + self.row.l1 * l1, rate)
        discriminator.requires_grad_(True)
        return {"d_adversarial": d_loss.detach(), "g_adversarial": g_loss.detach(), "l1": l1.detach()}

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`. Without dropout, and each image with the statistics of its own, in whatever mode."""
        del poses, mask
        generator = self.networks["generator"]
        mode = generator.training
        generated: Tensor = generator.eval()(self._condition(images, sources, target_pose))
        generator.train(mode)
        return generated

    def _condition(self, images: Tensor, sources: Tensor, target_pose: Poses) -> Tensor:
        """What the image is made from: the first source of each target on the target's pose map, or that map alone."""
        if self.row.input == "pose_only":
            return target_pose.posemaps
        return torch.cat([images[sources[:, 0]], target_pose.posemaps], 1)


class UNet(nn.Module):
    """`downs` k4 s2 convolutions down and as many up; a level's features are the skip to the same level on the way up.

    BatchNorm everywhere but at the first and last level down and at the image; LeakyReLU(0.2) before a level down but the
    first, ReLU before a level up; dropout of a half where 8 times the width meets 8 times the width on the way up (but at
    the innermost level), which is the noise z of the paper. Height and width that do not halve so often are padded by
    replication, evenly at both sides, and the image is cropped back.
    """

    def __init__(self, channels_in: int, width: int, downs: int) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(downs)]
        self.down = nn.ModuleList([nn.Conv2d(channels_in, widths[0], 4, 2, 1, bias=False)])
        for i in range(1, downs):
            conv = nn.Conv2d(widths[i - 1], widths[i], 4, 2, 1, bias=False)
            norm = [OwnBatchNorm(widths[i])] if i < downs - 1 else []
            self.down.append(nn.Sequential(nn.LeakyReLU(0.2), conv, *norm))
        self.up = nn.ModuleList()
        for i in range(downs - 1, 0, -1):
            innermost = i == downs - 1
            up_conv = nn.ConvTranspose2d(widths[i] * (1 if innermost else 2), widths[i - 1], 4, 2, 1, bias=False)
            dropout = [nn.Dropout(0.5)] if 4 <= i < downs - 1 else []
            self.up.append(nn.Sequential(nn.ReLU(), up_conv, OwnBatchNorm(widths[i - 1]), *dropout))
        self.out = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * widths[0], 3, 4, 2, 1))
        initialise(self)

    def forward(self, condition: Tensor) -> Tensor:
        """(Q,channels_in,H,W) in [-1,1] -> images (Q,3,H,W) in [-1,1]."""
        height, width = condition.shape[2:]
        top, bottom = self._padding(height)
        left, right = self._padding(width)
        x = F.pad(condition, (left, right, top, bottom), "replicate")  # (Q,channels_in,H',W')
        levels = []
        for down in self.down:
            x = down(x)  # (Q,widths[i],H'/2^(i+1),W'/2^(i+1))
            levels.append(x)
        x = levels.pop()
        for up in self.up:
            x = torch.cat([levels.pop(), up(x)], 1)  # (Q,2 widths[i-1],H'/2^i,W'/2^i)
        image = in_float32(self.out, x).tanh()  # (Q,3,H',W')
        return image[:, :, top : top + height, left : left + width]

    def _padding(self, size: int) -> tuple[int, int]:
        """How much goes before and after `size` px for a multiple of 2^downs."""
        missing = -size % 2 ** len(self.down)
        return missing // 2, missing - missing // 2


class OwnBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the step's images in training; in evaluation mode each image has its own mean and variance.

    The authors' code keeps training mode at test time, with a batch of one image: the same, whatever the batch is here.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """(Q,C,h,w) -> (Q,C,h,w)."""
        if self.training:
            return super().forward(x)
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)


SETTINGS = Pix2PixSettings


def build(row: Pix2PixSettings, frame: Frame) -> Pix2Pix:
    """An untrained system.

    Raises:
        ReposeError: the frame is too small for a patch, or no side of it halves as often as `downs` says.
    """
    height, width, layers = frame.height, frame.width, row.discriminator.layers
    least = 3 * 2**layers  # two k4 s1 convolutions after the strided ones leave one logit of 3x3
    if min(height, width) < least:
        raise ReposeError(
            f"pix2pix's discriminator of {layers} layer(s) takes at least {least}x{least} px, but the frame is "
            f"{height}x{width} (height x width). Lower discriminator.layers, or raise posemaps.height and width."
        )
    most, downs = max(height, width).bit_length() - 1, row.generator.downs
    if downs is not None and downs > most:
        raise ReposeError(
            f"pix2pix's generator halves {downs} times (generator.downs), but a frame of {height}x{width} px (height x "
            f"width) at most {most} times. Lower it, or leave it out."
        )
    return Pix2Pix(row, downs or min(height, width).bit_length() - 1)
