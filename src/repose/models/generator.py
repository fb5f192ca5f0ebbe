"""The protocol of generators for the adversarial step: encode photos, then decode the code and target poses to images."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from repose.data.poses import Poses


class Generated(NamedTuple):
    """A decoder's output for Q targets: the image and, for `attend`, its two parts."""

    image: Tensor  # (Q,3,H,W) in [-1,1]
    warped: Tensor | None = None  # (Q,3,H,W) in [-1,1], from the sources
    synthesized: Tensor | None = None  # (Q,3,H,W) in about [-1,1]


class Generator(Protocol):
    """The two halves of a generator; the code may be any pytree of tensors."""

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Any:
        """Photos (M,3,H,W), their poses, and each target's sources (Q,T) among them with a mask (Q,T) -> code."""

    def decode(self, code: Any, target_pose: Poses) -> Generated:
        """The code and Q target poses -> Q images."""
