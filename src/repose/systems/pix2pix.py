"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola et al. 2017), a row of Table 1.

A U-Net makes the image from a condition: the source and the target's pose map, or the pose map alone. A PatchGAN judges the
image together with that condition. Sizes, loss and schedule are those of the authors' PyTorch code. The paper's number for
this row seems to be of a pix2pix that only sees the pose: `pose_only`.

Letters: Q targets of a step, C channels of the condition, H x W the frame.
"""

from dataclasses import asdict, field
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.layers import Norm
from repose.models.losses import PerceptualLoss, d_adversarial, g_adversarial, g_l1
from repose.models.patchgan import DiscriminatorSettings, PatchGAN
from repose.models.pix2pix import UNet
from repose.systems import Autocast, OneSource, Progress, Share, SystemSettings, Terms
from repose.systems.learning.optimiser import OptimiserSettings, update


@settings
class UNetSettings:
    """The settings of the generator; at 256x256 the defaults are the authors' `unet_256`."""

    width: PositiveInt = 64  # channels of the first level; they double up to 8 times as many
    downs: Annotated[int, Field(ge=2)] | None = None  # levels, each half the previous size; None: until a side is 1 px


@settings
class PatchSettings(DiscriminatorSettings):
    """The settings of the discriminator; the authors' has BatchNorm."""

    norm: Norm = "batch"


@settings
class AdamSettings(OptimiserSettings):
    """Adam with a learning rate that is constant for half of the steps (100 of 200 epochs), then falls linearly to 0."""

    learning_rate: PositiveFloat = 2e-4
    lr_halving_epochs: NonNegativeInt = 0
    lr_decay_start: Share = 0.5


@settings
class Pix2PixSettings(SystemSettings):
    """The settings of pix2pix; the defaults are the authors'."""

    needs_source_poses = needs_others = False

    max_sources: OneSource = 1
    targets: Literal["all", "one"] = "one"  # a batch of one image
    input: Literal["pose+source", "pose_only"] = "pose+source"  # the condition
    generator: UNetSettings = field(default_factory=UNetSettings)
    discriminator: PatchSettings = field(default_factory=PatchSettings)
    l1: NonNegativeFloat = 100.0  # lambda of Eq. 4: the weight of L1 beside the adversarial term's 1
    optimiser: AdamSettings = field(default_factory=AdamSettings)

    def loss_weights(self) -> dict[str, float]:
        """The weights of Eq. 4's two terms."""
        return {"l1": self.l1, "adversarial": 1.0}


class Pix2Pix:
    """The U-Net `generator` and its conditional `discriminator`, with an Adam each."""

    def __init__(self, row: Pix2PixSettings, downs: int) -> None:
        self.row = row
        channels = 6 if row.input == "pose+source" else 3
        self.networks: dict[str, nn.Module] = {
            "generator": UNet(channels, row.generator.width, downs),
            "discriminator": PatchGAN(channels + 3, **asdict(row.discriminator)),
        }
        self.optimisers = row.optimiser.of(self.networks)

    def distribute(self) -> None:
        """Reject several processes."""
        raise ReposeError("pix2pix has BatchNorm, so several processes cannot share a step. Set train.processes to 1.")

    def step(self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: Autocast) -> Terms:
        """See `systems.System`: first the discriminator, then the generator (Eq. 4).

        The terms: d_adversarial (half of both), g_adversarial, l1.
        """
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
        """See `systems.System`. In any mode, there is no dropout and each image has its own statistics."""
        generator = self.networks["generator"]
        mode = generator.training
        generated: Tensor = generator.eval()(self._condition(images, sources, target_pose))
        generator.train(mode)
        return generated

    def _condition(self, images: Tensor, sources: Tensor, target_pose: Poses) -> Tensor:
        """The first source of each target and the target's pose map, or only that map: (Q,C,H,W)."""
        if self.row.input == "pose_only":
            return target_pose.posemaps
        return torch.cat([images[sources[:, 0]], target_pose.posemaps], 1)


SETTINGS = Pix2PixSettings


def build(row: Pix2PixSettings, frame: Frame) -> Pix2Pix:
    """An untrained system; a ReposeError if the frame cannot be halved `downs` times."""
    height, width = frame.height, frame.width
    most, downs = max(height, width).bit_length() - 1, row.generator.downs
    if downs is not None and downs > most:
        raise ReposeError(
            f"pix2pix's generator halves its input {downs} times (generator.downs), but a frame of {height}x{width} px "
            f"(height x width) can be halved at most {most} times. Lower generator.downs, or remove it."
        )
    return Pix2Pix(row, downs or min(height, width).bit_length() - 1)
