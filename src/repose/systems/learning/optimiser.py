"""Adam as the systems use it: its settings, how its learning rate moves, and one update."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from repose.config import settings
from repose.systems import Progress


@settings
class OptimiserSettings:
    """Adam and how its learning rate moves; one epoch is once through the training items."""

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    warmup_steps: int = 0  # the rate rises linearly over so many steps
    lr_halving_epochs: int = 50  # 0: never (R22)
    lr_decay_start: float = 1.0  # from this share of the steps on, the rate falls linearly to 0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate should be above 0, not {self.learning_rate}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas should be from 0 to below 1, not {list(self.betas)}.")
        for name in ("warmup_steps", "lr_halving_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} should not be negative, but it is {getattr(self, name)}.")
        if not 0 <= self.lr_decay_start <= 1:
            raise ValueError(f"lr_decay_start should be from 0 to 1, a share of the steps, not {self.lr_decay_start}.")

    def rate(self, progress: Progress) -> float:
        """The learning rate of a step."""
        step, steps = progress.step, progress.steps
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.lr_halving_epochs:
            rate *= 0.5 ** (step // progress.steps_per_epoch // self.lr_halving_epochs)
        start = self.lr_decay_start * steps
        return rate * min(1.0, (steps - step) / max(steps - start, 1.0))

    def of(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """An Adam for each network, under its name."""
        return {
            name: torch.optim.Adam(network.parameters(), self.learning_rate, self.betas)
            for name, network in networks.items()
        }


def update(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, weight: float = 1.0) -> None:
    """One step of an optimiser at a learning rate, with the gradients of `weight` times a loss, a scalar, and no others."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward(torch.full_like(loss, weight))
    optimiser.step()
