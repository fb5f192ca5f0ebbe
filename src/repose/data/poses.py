"""Poses as input of networks: pose maps, as in the paper, and the keypoints that they were drawn from."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Poses:
    """The poses of B photos."""

    posemaps: Tensor  # (B,3,H,W) float32 in [-1,1]: limbs in OpenPose's colors on black (-1)
    keypoints: Tensor  # (B,K,2) float32: x, y in px of the same H x W frame; NaN for missing

    def __getitem__(self, rows: Any) -> "Poses":
        return Poses(self.posemaps[rows], self.keypoints[rows])

    def to(self, *args: Any, **kwargs: Any) -> "Poses":
        """Apply `Tensor.to` to both tensors."""
        return Poses(self.posemaps.to(*args, **kwargs), self.keypoints.to(*args, **kwargs))
