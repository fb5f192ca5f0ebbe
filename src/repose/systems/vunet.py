"""vunet: A Variational U-Net for Conditional Appearance and Shape Generation (Esser et al. 2018), a row of Table 1.

The network is `models.vunet`. Training rebuilds a photo from its own parts and its own pose and does not use a batch's
sources. An image of another pose is made from the source's parts and the target's stickman, without sampling.

Sizes, loss and schedules are those of the authors' published code, with these differences:
- The photos of the first step set the initial weights, each seen several times with other samples and dropout (theirs: four
  batches).
- In generation, the encoder's own feedback is the mean too (theirs: a sample).
- Schedules are shares of the training's steps, and equal to theirs at 100,000 steps.
- Their second round of training, with a loss of Gram matrices, is omitted.

Images are squares of the frame's height S: a narrower frame is stretched, as theirs for Market-1501, and generated images are
shrunk back.

Letters: Q photos, H x W the frame, S the side of the square in px.
"""

from dataclasses import field
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.losses import PerceptualLoss, g_l1
from repose.models.vgg import LayersName
from repose.models.vunet import LATENTS, Inputs, VUNet
from repose.models.vunet_inputs import in_square, part_crops, resized, stickman, whole_torso
from repose.systems import Autocast, OneSource, Photos, Progress, Share, SystemSettings, Terms
from repose.systems.learning.optimiser import Beta, OptimiserSettings, update

MIN_SIZE = 32  # px
MIN_KL = 1e-6  # initial share of KL's weight
L1 = 5 * 127.5  # the authors' weight of L1; their 5 is for levels from 0 to 255, ours are from -1 to 1


@settings
class AdamSettings(OptimiserSettings):
    """Adam with a learning rate that falls linearly to 0 after the first hundredth of the steps."""

    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Beta, Beta] = (0.5, 0.9)
    lr_halving_epochs: NonNegativeInt = 0
    lr_decay_start: Share = 0.01


@settings
class VUNetSettings(SystemSettings):
    """The settings of vunet; the defaults are the authors' for DeepFashion."""

    needs_others = False
    l1_scale = L1

    items_per_step: PositiveInt = 8  # Market-1501: 16
    max_photos: Photos = 2  # only targets are used for training
    max_sources: OneSource = 1
    targets: Literal["all", "one"] = "one"
    width: PositiveInt = 32  # channels at full size; they double from level to level up to 4 times as many
    box: NonNegativeInt | None = None  # a crop's side is S / 2^box px; None: 2 at 256 px, 1 at 128 px and below
    bottleneck: PositiveInt | None = None  # the lowest size is 2^bottleneck px; None: the same numbers as for box
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    l1: NonNegativeFloat = L1
    perceptual: NonNegativeFloat = 1.0  # of VGG19's layers `vunet`, which include the authors' factor 5; or of l1_scale
    kl: NonNegativeFloat = 1.0
    kl_from: Share = 0.5  # share of the steps during which KL has MIN_KL of its weight, before it rises
    kl_until: Share = 0.75  # share of the steps after which KL has its full weight
    optimiser: AdamSettings = field(default_factory=AdamSettings)

    def __post_init__(self) -> None:
        if self.kl_from >= self.kl_until:
            raise ValueError(f"kl_from should be less than kl_until, not {self.kl_from} and {self.kl_until}.")

    def loss_weights(self) -> dict[str, float]:
        """The weights of the three terms; KL's final one."""
        return {"l1": self.l1, "perceptual": self.perceptual, "kl": self.kl}

    def perceptual_layers(self, _: object) -> LayersName | None:
        """The authors' layers, regardless of train.perceptual."""
        return "vunet" if self.perceptual else None

    def kl_weight(self, progress: Progress) -> float:
        """The weight of KL at a step, linear between the two shares."""
        share = (progress.step / progress.steps - self.kl_from) / (self.kl_until - self.kl_from)
        return self.kl * min(max(MIN_KL + (1 - MIN_KL) * share, MIN_KL), 1.0)


SETTINGS = VUNetSettings


def build(row: VUNetSettings, frame: Frame) -> "VUNetSystem":
    """An untrained system; a ReposeError if the frame's height is no power of two from 32 on, or the crops do not fit."""
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
            f"vunet needs {LATENTS + 1} sizes from a part's crop to the lowest, but a crop's side is {size} / 2^{box} px and "
            f"the lowest size 2^{bottleneck} px. Lower box or bottleneck in the system's block, or remove them."
        )
    return VUNetSystem(row, size, levels, box)


class VUNetSystem:
    """The network `vunet` and its Adam."""

    def __init__(self, row: VUNetSettings, size: int, levels: int, box: int) -> None:
        self.row, self.size, self.crop = row, size, size >> box
        self.vunet = VUNet(row.width, levels, box, row.dropout)
        self.networks: dict[str, nn.Module] = {"vunet": self.vunet}
        self.optimisers = row.optimiser.of(self.networks)

    def distribute(self) -> None:
        """Reject several processes."""
        raise ReposeError(
            "vunet's initial weights are set by all photos of its first step, so several processes cannot share a step. "
            "Set train.processes to 1."
        )

    def step(self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: Autocast) -> Terms:
        """See `systems.System`. The terms: l1, kl, and perceptual if its network is given.

        Targets without both shoulders and both hips are skipped, as by the authors. If none is left, nothing is trained and
        the terms are 0.

        Raises:
            ReposeError: this is the last step, and no photo of the training had both.
        """
        photos, pose = self._with_whole_torso(batch)
        target = resized(photos, self.size, self.size)  # (Q,3,S,S)
        names = ["l1", "kl"] + ["perceptual"] * (perceptual is not None and self.row.perceptual > 0)
        terms = {name: target.new_zeros(()) for name in names}
        if len(target) == 0:
            if progress.step == progress.steps - 1 and not self.vunet.begun:
                raise ReposeError(
                    "vunet was not trained: no training photo had both shoulders and both hips among its keypoints. Train "
                    "on photos that show the torso (split), or check the keypoints."
                )
            return terms
        given = self._inputs(photos, pose, pose)
        if not self.vunet.begun:
            self.vunet.begin(given)
        with autocast:
            generated, posterior, prior = self.vunet(given)
        terms["l1"], terms["kl"] = g_l1(generated, target), kl_divergence(posterior, prior)
        if perceptual is not None and "perceptual" in terms:
            terms["perceptual"] = perceptual(generated, target)
        weights = self.row.loss_weights() | {"kl": self.row.kl_weight(progress)}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        update(self.optimisers["vunet"], loss, self.row.optimiser.rate(progress))
        return {name: term.detach() for name, term in terms.items()}

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`. In any mode, there is no dropout and no sampling; unseen parts are 0."""
        source = sources[:, 0]
        given = self._inputs(images[source], poses.keypoints[source], target_pose.keypoints)
        mode = self.vunet.training
        generated = self.vunet.eval().transfer(given)  # (Q,3,S,S)
        self.vunet.train(mode)
        return resized(generated, *images.shape[2:]).clamp(-1, 1)

    def _with_whole_torso(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The photos (Q',3,H,W) and keypoints (Q',18,2) of the targets that show a whole torso."""
        keypoints = batch.poses.keypoints[batch.target]
        whole = whole_torso(self._placed(keypoints, batch.images))
        return batch.images[batch.target[whole]], keypoints[whole]

    def _inputs(self, photos: Tensor, keypoints: Tensor, target: Tensor) -> Inputs:
        """The network's inputs from photos (Q,3,H,W), their keypoints and the target's (Q,18,2), in px of the frame."""
        square = resized(photos, self.size, self.size)
        crops = part_crops(square, self._placed(keypoints, photos), self.crop)
        return Inputs(crops, stickman(self._placed(target, photos), self.size))

    def _placed(self, keypoints: Tensor, photos: Tensor) -> Tensor:
        """Keypoints (Q,18,2) in px of photos (.,3,H,W) -> in px of the square."""
        height, width = photos.shape[2:]
        return in_square(keypoints, height, width, self.size)


def kl_divergence(posterior: list[Tensor], prior: list[Tensor]) -> Tensor:
    """KL divergence for variance 1: half the squared distance of means (Q,C,h,w), summed over latents, mean over photos."""
    each = [(q.float() - p.float()).square().sum((1, 2, 3)) / 2 for q, p in zip(posterior, prior, strict=True)]
    return torch.stack(each).sum(0).mean()
