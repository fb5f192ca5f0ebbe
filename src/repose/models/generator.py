"""What a generator of ours is: photos and poses in, a code that any number of target poses can share, images out."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from repose.data.poses import Poses


class Generated(NamedTuple):
    """What a decoder gives for Q targets: the image, and for `attend` what it warped from the sources."""

    image: Tensor  # (Q,3,H,W) in [-1,1]
    warped: Tensor | None = None  # (Q,3,H,W) in [-1,1], or None where the generator copies nothing
    synthesized: Tensor | None = None  # (Q,3,H,W) in about [-1,1], likewise


class Generator(Protocol):
    """The two halves that the training step calls; the code may be any pytree of tensors."""

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Any:
        """Photos (M,3,H,W), their poses, and for each target its sources (Q,T) among them with a mask (Q,T) -> code."""

    def decode(self, code: Any, target_pose: Poses) -> Generated:
        """The code and Q target poses -> Q images."""
