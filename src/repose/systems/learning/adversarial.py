"""A training step of the paper's systems, posed, attend and surface: discriminators, then the generator (section 3.3).

An item's photos are the targets of a step, each generated from the others. The photos are encoded once and decoded twice: in
the target's own pose for L_G (Eq. 1), and in a pose of another item for the discriminators (Eqs. 2 and 3; R7, R8).

Processes that share a step each see some of its items. DistributedDataParallel averages the gradients of one call of one
module, so all passes of the generator are one call (`_Passes`), and so is a discriminator's loss (`_DiscriminatorLoss`).
A frozen discriminator has no gradients to average and is called directly.
"""

from collections.abc import Sequence
from dataclasses import asdict, field
from typing import Literal, cast

import torch
import torch.distributed as dist
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from repose.config import settings
from repose.data.batches import Batch
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.generator import Generated, Generator
from repose.models.losses import PerceptualLoss, d_adversarial, g_adversarial, g_l1
from repose.models.patchgan import DiscriminatorSettings, PatchGAN
from repose.models.vgg import LayersName
from repose.systems import Autocast, Progress, SystemSettings, Terms
from repose.systems.learning.distributed import shared
from repose.systems.learning.optimiser import OptimiserSettings, update


@settings
class LossSettings:
    """The weights of the generator's loss (Eqs. 1 and 4); a weight of 0 omits the term."""

    l1: NonNegativeFloat = 1.0
    perceptual: NonNegativeFloat = 1.0  # of the second term of Eq. 1; its lambda_k are set by train.perceptual.layers
    adversarial_image: NonNegativeFloat = 0.05  # alpha, of D_I (not given in the paper: docs/paper.md)
    adversarial_pose: NonNegativeFloat = 0.05  # beta, of D_P
    warped: NonNegativeFloat = 0.0  # of L1 between the target and the warped image of attend or surface
    synthesized: NonNegativeFloat = 0.0  # of L1 between the target and their synthesized image
    real_pair: Literal["other", "both"] = "other"  # R7: D_P's real pairs have p~ as in Eq. 3, or also p
    adversarial_on: Literal["other", "both"] = "other"  # R8: D sees G(x, p~) as in Eq. 2, or also G(x, p)


@settings
class AdversarialSettings(SystemSettings):
    """The settings of the adversarial step; the defaults are the paper's, or our reading of it (docs/paper.md)."""

    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)

    @property
    def needs_others(self) -> bool:
        """See `SystemSettings`."""
        return bool(self.losses.adversarial_image or self.losses.adversarial_pose)

    def loss_weights(self) -> dict[str, float]:
        """The weights in `losses` other than 0."""
        weights = asdict(self.losses)
        return {name: weight for name, weight in weights.items() if isinstance(weight, float) and weight}

    def perceptual_layers(self, chosen: LayersName) -> LayersName | None:
        """The chosen layers if the perceptual term has a weight, else None."""
        return chosen if self.losses.perceptual else None


class AdversarialSystem:
    """A `generator` and the discriminators `image` (D_I) and `pose` (D_P) if their losses have weights, with an Adam each."""

    def __init__(self, row: AdversarialSettings, generator: Generator) -> None:
        self.row = row
        self.generator = generator
        self.networks: dict[str, nn.Module] = {"generator": cast(nn.Module, generator)}
        if row.losses.adversarial_image:
            self.networks["image"] = PatchGAN(3, **asdict(row.discriminators))
        if row.losses.adversarial_pose:
            self.networks["pose"] = PatchGAN(6, **asdict(row.discriminators))
        self.optimisers = row.optimiser.of(self.networks)
        self._passes: nn.Module = _Passes(generator)
        self._d_losses: dict[str, nn.Module] = {
            name: _DiscriminatorLoss(network) for name, network in self.networks.items() if name != "generator"
        }
        self._processes = 1

    def distribute(self) -> None:
        """See `systems.System`."""
        for name, network in self.networks.items():
            if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
                raise ReposeError(
                    f"The network {name} has BatchNorm, whose mean and variance are those of all photos of a step, so several "
                    "processes cannot share it. Set train.processes to 1, or norm in the system's block to instance."
                )
        self._passes = shared(self._passes)
        self._d_losses = {name: shared(loss) for name, loss in self._d_losses.items()}
        self._processes = dist.get_world_size()

    def step(self, batch: Batch, perceptual: PerceptualLoss | None, progress: Progress, autocast: Autocast) -> Terms:
        """See `systems.System`. The terms: l1, perceptual, warped, synthesized, and for each discriminator d_ and g_."""
        weights = self.row.losses
        weight = batch.share * self._processes  # makes the mean over processes the mean over all their targets
        rate = self.row.optimiser.rate(progress)
        target_image = batch.images[batch.target]
        with autocast:
            generated, *others = self._passes(batch, others=bool(self._d_losses))
            views = self._views(batch, generated, *others)

        terms: Terms = {}
        for name, (real, fake) in views.items():  # D_I, D_P: raise real photos' scores, lower generated ones'
            with autocast:
                terms[f"d_{name}"] = self._d_losses[name](real, fake.detach())
            update(self.optimisers[name], terms[f"d_{name}"], rate, weight)

        with autocast:
            terms |= _reconstruction(generated, target_image, weights, perceptual)
            for name, (_, fake) in views.items():  # the generator: raise its images' scores
                self.networks[name].requires_grad_(False)
                terms[f"g_{name}"] = g_adversarial(self.networks[name](fake))
        update(self.optimisers["generator"], _weighted(terms, weights), rate, weight)
        for name in views:
            self.networks[name].requires_grad_(True)
        return {name: term.detach() for name, term in terms.items()}

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`."""
        code = self.generator.encode(images, poses, sources, mask)
        return self.generator.decode(code, target_pose).image

    def _views(self, batch: Batch, generated: Generated, *others: Generated) -> dict[str, tuple[Tensor, Tensor]]:
        """The real and fake inputs of each discriminator: images, or images with their pose maps."""
        if not others:
            return {}
        target_image, target_pose = batch.images[batch.target], batch.poses[batch.target]
        losses, own = self.row.losses, (generated.image, target_pose)
        real_pairs = [(batch.other_image, batch.other_pose)]
        fakes = [(others[0].image, batch.other_pose)]
        fake_pairs = list(fakes)
        if losses.adversarial_on == "both":
            fakes.append(own)
        if losses.real_pair == "both":
            real_pairs.append((target_image, target_pose))
        if "both" in (losses.adversarial_on, losses.real_pair):
            fake_pairs.append(own)
        views = {}
        if "image" in self.networks:
            views["image"] = (target_image, torch.cat([image for image, _ in fakes]))
        if "pose" in self.networks:
            views["pose"] = (_on_maps(real_pairs), _on_maps(fake_pairs))
        return views


class _Passes(nn.Module):
    """All passes of the generator in a step."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, batch: Batch, *, others: bool) -> list[Generated]:
        """The Q targets of the batch, in their own poses and, with `others`, in those of other items, from one code."""
        code = self.generator.encode(batch.images, batch.poses, batch.sources, batch.mask)
        own = self.generator.decode(code, batch.poses[batch.target], batch.target)
        return [own, self.generator.decode(code, batch.other_pose)] if others else [own]


class _DiscriminatorLoss(nn.Module):
    """A discriminator and its loss."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Images, or images with their pose maps, (n Q,C,H,W) each -> scalar."""
        return d_adversarial(self.discriminator(real), self.discriminator(fake))


def _on_maps(pairs: Sequence[tuple[Tensor, Poses]]) -> Tensor:
    """The images and pose maps of n pairs: (n Q,6,H,W)."""
    return torch.cat([torch.cat([image, pose.posemaps], 1) for image, pose in pairs])


def _reconstruction(
    generated: Generated, target: Tensor, weights: LossSettings, perceptual: PerceptualLoss | None
) -> dict[str, Tensor]:
    """The terms of L_G (Eq. 1), and the additional ones of attend and surface."""
    terms = {"l1": g_l1(generated.image, target)}
    if perceptual is not None and weights.perceptual:
        terms["perceptual"] = perceptual(generated.image.float(), target)
    for name, part in (("warped", generated.warped), ("synthesized", generated.synthesized)):
        if not getattr(weights, name):
            continue
        if part is None:
            raise ReposeError(
                f"The system's losses.{name} is not 0, but its generator makes no {name} image. Set losses.{name} to 0."
            )
        terms[name] = g_l1(part, target)
    return terms


def _weighted(terms: dict[str, Tensor], weights: LossSettings) -> Tensor:
    """The generator's loss (Eq. 4)."""
    factors = asdict(weights) | {"g_image": weights.adversarial_image, "g_pose": weights.adversarial_pose}
    return torch.stack([factors[name] * term for name, term in terms.items() if name in factors]).sum()
