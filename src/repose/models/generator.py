"""The protocol of generators for the adversarial step."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from repose.data.poses import Poses


class Generated(NamedTuple):
    """A decoder's output for Q targets: the image and, for `attend` and `surface`, its two parts."""

    image: Tensor  # (Q,3,H,W) in [-1,1], for `attend` and `surface` only about
    warped: Tensor | None = None  # (Q,3,H,W) in [-1,1], from the sources
    synthesized: Tensor | None = None  # (Q,3,H,W) in about [-1,1]


class Generator(Protocol):
    """The two halves of a generator; the code may be any pytree of tensors."""

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Any:
        """Encode the photos of a step, each once.

        Args:
            images: (M,3,H,W) in [-1,1], all photos of the step. H and W are those of a frame that `build` accepts.
            poses: the poses of those photos.
            sources: (Q,T) int64, rows of `images` that are the sources of each target, in the order that they are read.
            mask: (Q,T) bool, valid entries of `sources`; at least one per row.
        """

    def decode(self, code: Any, target_pose: Poses, photo: Tensor | None = None) -> Generated:
        """The code and Q target poses -> images (Q,3,H,W).

        Args:
            code: the result of `encode`.
            target_pose: the poses.
            photo: (Q,) int64, if these are the poses of encoded photos: which. What `encode` computed of them is used again.
        """
