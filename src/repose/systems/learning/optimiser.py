"""Adam for all systems: settings, the learning rate at each step, and one update."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from repose.config import settings
from repose.systems import Progress, Share

Beta = Annotated[float, Field(ge=0, lt=1)]


@settings
class OptimiserSettings:
    """Adam and its learning-rate schedule; an epoch is one pass over the training items."""

    learning_rate: PositiveFloat = 1e-4
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    warmup_steps: NonNegativeInt = 0  # number of steps in which the rate rises linearly
    lr_halving_epochs: NonNegativeInt = 50  # 0: never (R22)
    lr_decay_start: Share = 1.0  # share of the steps after which the rate falls linearly to 0

    def rate(self, progress: Progress) -> float:
        """The learning rate of a step."""
        step, steps = progress.step, progress.steps
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.lr_halving_epochs:
            rate *= 0.5 ** (step // progress.steps_per_epoch // self.lr_halving_epochs)
        start = self.lr_decay_start * steps
        return rate * min(1.0, (steps - step) / max(steps - start, 1.0))

    def of(self, networks: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        """An Adam for each network, by the network's name."""
        return _Adams(self, networks)


class _Adams(Mapping[str, torch.optim.Optimizer]):
    """Optimizers that are made when first used. torch imports its compiler for them, which generation need not wait for."""

    def __init__(self, settings: OptimiserSettings, networks: Mapping[str, nn.Module]) -> None:
        self._settings, self._networks = settings, networks
        self._made: dict[str, torch.optim.Optimizer] = {}

    def __getitem__(self, name: str) -> torch.optim.Optimizer:
        if name not in self._made:
            settings, parameters = self._settings, self._networks[name].parameters()
            self._made[name] = torch.optim.Adam(parameters, settings.learning_rate, settings.betas, fused=True)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._networks)

    def __len__(self) -> int:
        return len(self._networks)


def update(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, weight: float = 1.0) -> None:
    """Take one step at a learning rate, with only the gradients of `weight` times a scalar loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward(torch.full_like(loss, weight))
    optimiser.step()
