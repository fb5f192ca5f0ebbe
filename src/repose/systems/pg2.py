"""pg2: Pose Guided Person Image Generation (Ma et al. 2017): the rows pg2 and pg2-g1d of Table 1.

G1 generates a coarse image from one source and the target's pose; G2 adds detail. G1 is trained alone first, then frozen,
and G2 is trained against a discriminator (`stages: two`). With `stages: one` there is no G2, and G1 itself is trained
against the discriminator: the paper's row G1 + D.

This follows the authors' published code where it departs from their text: the discriminator sees one image at a time, and
half of its fakes are sources. The networks' output is unbounded; `generate` clamps it. Letters: Q targets, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import field
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.pose_mask import pose_mask
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.losses import PerceptualLoss, g_adversarial
from repose.models.pg2 import G1, G2, RADIUS, Discriminator, discs
from repose.systems import Autocast, OneSource, Photos, Progress, SystemSettings, Terms
from repose.systems.learning.optimiser import OptimiserSettings, update

CLOSING = 5  # px of the square by which the mask of the loss is closed
MIN_HEIGHT = 32  # px; G2 has two levels fewer than G1, and needs at least one


@settings
class AdamSettings(OptimiserSettings):
    """Adam with a constant learning rate."""

    learning_rate: PositiveFloat = 2e-5
    lr_halving_epochs: NonNegativeInt = 0


@settings
class PG2Settings(SystemSettings):
    """The settings of pg2; the defaults are the authors' for DeepFashion, except the two stages' steps."""

    needs_source_poses = needs_others = False

    items_per_step: PositiveInt = 8  # Market-1501: 16
    max_photos: Photos = 2  # a step has pairs
    max_sources: OneSource = 1
    targets: Literal["all", "one"] = "one"
    stages: Literal["two", "one"] = "two"  # G1, then G2 and D; or G1 and D
    width: PositiveInt = 128  # channels of G1 and G2 at full size
    code: PositiveInt = 64  # values between G1's encoder and its decoder
    skips: Literal["all", "coarse"] = "all"  # G2's, from encoder to decoder; Market-1501: coarse, all but the finest
    discriminator_width: PositiveInt = 64
    masked_l1: NonNegativeFloat = 50.0  # lambda, against the adversarial term's 1; Market-1501: 10
    optimiser: AdamSettings = field(default_factory=AdamSettings)
    stage_one_steps: PositiveInt = 22_000  # of G1 alone; these two are for Market-1501 (DeepFashion: 30,000 and 20,000)
    stage_two_steps: PositiveInt = 14_000  # if `steps` is less than their sum, each stage keeps its share

    def __post_init__(self) -> None:
        if self.stages == "two" and self.steps == 1:  # 0: `init` as it is
            raise ValueError(f"steps should be at least 2, one for each stage, not {self.steps}.")

    def loss_weights(self) -> dict[str, float]:
        """The weights of the masked L1 and the adversarial term."""
        return {"masked_l1": self.masked_l1, "image": 1.0}

    def alone(self, steps: int) -> int:
        """The number of steps that train only G1; leaves at least one for G2."""
        if self.stages == "one":
            return 0
        share = min(1.0, steps / (self.stage_one_steps + self.stage_two_steps))
        return min(max(round(self.stage_one_steps * share), 1), max(steps - 1, 1))


SETTINGS = PG2Settings


def build(row: PG2Settings, frame: Frame) -> "PG2System":
    """An untrained system; a ReposeError if the frame's height is too small for the networks' levels."""
    if frame.height < MIN_HEIGHT:
        raise ReposeError(
            f"pg2 needs images at least {MIN_HEIGHT} px high, not {frame.height}. Set posemaps.height in params.yaml."
        )
    return PG2System(row, frame)


class PG2System:
    """The networks `g1`, `g2` (with two stages) and `image`, the discriminator, with an Adam each."""

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
        """Reject several processes."""
        raise ReposeError("pg2 has BatchNorm, so several processes cannot share a step. Set train.processes to 1.")

    def step(self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: Autocast) -> Terms:
        """See `systems.System`. The terms: masked L1 of G1 and of G2, d_image and g_image; 0 where not trained."""
        source, target = batch.images[batch.sources[:, 0]], batch.images[batch.target]  # (Q,3,H,W)
        height, width = target.shape[2:]
        keypoints = batch.poses.keypoints[batch.target]
        pose = discs(keypoints, height, width)
        mask = pose_mask(keypoints, height=height, width=width, radius=RADIUS, closing=CLOSING)  # (Q,H,W)
        names = [f"{name}_l1" for name in ("g1", "g2") if name in self.networks]
        terms = {name: target.new_zeros(()) for name in (*names, "d_image", "g_image")}
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
        """See `systems.System`. Before the first step of stage two, the images are G1's."""
        source = images[sources[:, 0]]  # (Q,3,H,W)
        image: Tensor = self.g1(source, discs(target_pose.keypoints, *source.shape[2:]))
        if self.g2 is not None:
            image = image + self.g2.begun * self.g2(image, source)
        return image.clamp(-1, 1)

    def _against_discriminator(
        self, source: Tensor, target: Tensor, pose: Tensor, mask: Tensor, rate: float, autocast: Autocast
    ) -> Terms:
        """Train the discriminator, then the network that makes the final image: G2, or G1 if there is no G2."""
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
        """The final images (Q,3,H,W); with two stages, without a gradient for G1."""
        if self.g2 is None:
            return self.g1(source, pose)
        self.g2.begun.fill_(1)
        with torch.no_grad():
            coarse = self.g1(source, pose)
        return coarse + self.g2(coarse, source)

    def _logits(self, *images: Tensor) -> Sequence[Tensor]:
        """The logits (Q,) of each of several batches (Q,3,H,W), computed as one batch for BatchNorm's statistics."""
        return self.discriminator(torch.cat(images)).chunk(len(images))


def g_masked_l1(generated: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Pose mask loss, mean |(generated - target) (1 + M)|: images (Q,3,H,W) in [-1,1], M (Q,H,W) bool."""
    return ((generated.float() - target.float()).abs() * (1 + mask[:, None].float())).mean()


def d_triplet(target: Tensor, generated: Tensor, source: Tensor) -> Tensor:
    """-log D(target) / 2 - log(1 - D(generated)) / 4 - log(1 - D(source)) / 4, from logits (Q,) each."""
    real, fake = F.softplus(-target.float()).mean(), F.softplus(generated.float()).mean()
    return 0.5 * real + 0.25 * fake + 0.25 * F.softplus(source.float()).mean()
