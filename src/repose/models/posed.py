"""The paper's generator with the poses of its sources, for the comparison in docs/ablations.md.

The paper's generator never sees these poses. Here E_I can see each photo's pose map (`source_pose`), and the ResNet's features
can be moved into the target's pose before the bidirectional ConvLSTM reads them (`align`): each place takes the features of
the source's place that is nearest on the body, by `attend`'s initial coordinates (`body`). The alignment is not learned.
Everything else is as in the paper.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from repose.config import settings
from repose.data.poses import Poses
from repose.models.attend import AttendSettings, rows
from repose.models.body import body_fields
from repose.models.generator import Generated
from repose.models.paper import PaperGenerator, PaperSettings

_STRIDE = 4  # px between places: E_I's features are a quarter of the photo's size
_COORDINATES = 3  # x and y at rest and the distance from the skeleton; the view is constant in a photo
_SPREAD = AttendSettings.spread[:_COORDINATES]
_STAY = 1e-3  # weight of image coordinates beside body coordinates, to decide between places equal on the body


@settings
class PosedSettings(PaperSettings):
    """The paper's settings, and the use of the sources' poses."""

    source_pose: bool = True  # E_I sees the photo and its pose map, 6 channels
    align: bool = True  # features are moved into the target's pose before the ConvLSTM reads them

    def __post_init__(self) -> None:
        if not (self.source_pose or self.align):
            raise ValueError("source_pose and align are both off. Turn one on, or use the kind paper.")


class Code(NamedTuple):
    """The encoded sources of Q targets; h = H/4, w = W/4."""

    features: Tensor  # (M,4n,h,w), of the ResNet
    places: Tensor  # (M,hw,5), see `_places`
    sources: Tensor  # (Q,T)
    mask: Tensor  # (Q,T)


class PosedGenerator(PaperGenerator):
    """Photos of one item with their poses and a target pose map -> the item in that pose."""

    def __init__(self, settings: PosedSettings) -> None:
        super().__init__(settings, 6 if settings.source_pose else 3)
        self.source_pose, self.align = settings.source_pose, settings.align

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Any:  # Code | Tensor
        """Encode the sources as `PaperGenerator.encode` does; with `align`, up to the ResNet's features."""
        seen = torch.cat([images, poses.posemaps], 1) if self.source_pose else images  # (M,6 or 3,H,W)
        features: Tensor = self.image_encoder.resnet(seen)
        if self.align:
            return Code(features, _places(poses), sources, mask)
        return self.image_encoder.read(features, sources, mask)

    def decode(self, code: Code | Tensor, target_pose: Poses, photo: Tensor | None = None) -> Generated:
        """The result of `encode` and Q target poses -> images (Q,3,H,W) in [-1,1]."""
        if isinstance(code, Code):
            aligned = align(code, target_pose)  # (QT,4n,h,w)
            each = torch.arange(len(aligned), device=aligned.device).reshape(code.sources.shape)
            code = self.image_encoder.read(aligned, each, code.mask)
        return super().decode(code, target_pose, photo)


def align(code: Code, target_pose: Poses) -> Tensor:
    """The features of each source moved into its target's pose: (QT,4n,h,w), target by target.

    A source in the target's own pose is unchanged, and so is one without a known limb.
    """
    height, width = code.features.shape[2:]
    found = _nearest(_places(target_pose), code.places, code.sources)  # (QT,hw)
    features = rows(code.features).flatten(0, 1)  # (M hw,4n)
    aligned = features.index_select(0, (code.sources.reshape(-1, 1) * height * width + found).flatten())
    return aligned.reshape(len(found), height, width, -1).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def _nearest(here: Tensor, there: Tensor, sources: Tensor) -> Tensor:
    """Places (Q,hw,5) of targets, (M,hw,5) of photos -> each source's place nearest to each of its target's: (QT,hw)."""
    pairs = [(here[target], there[source]) for target, row in enumerate(sources.tolist()) for source in row]
    return torch.stack([_distance(*pair).argmin(1) for pair in pairs])


def _distance(here: Tensor, there: Tensor) -> Tensor:
    """Distances of a target's places (hw,5) to a photo's (hw,5): (hw,hw). Without a body in either, those in the image."""
    counts = torch.ones_like(here[0])
    counts[:_COORDINATES] = (here[:, :_COORDINATES].any() & there[:, :_COORDINATES].any()).to(counts)
    exact = "donot_use_mm_for_euclid_dist"  # the faster algorithm's rounding may make another place nearest
    return torch.cdist(here * counts, there * counts, compute_mode=exact)


def _places(poses: Poses) -> Tensor:
    """Coordinates of the places of B photos: (B,hw,5), on the body (in standard deviations) and in the image."""
    height, width = poses.posemaps.shape[2:]
    rest = body_fields(poses.keypoints, height, width, _STRIDE).rest[:, :_COORDINATES]  # (B,3,h,w)
    on_body = rest / rest.new_tensor(_SPREAD)[:, None, None]
    y, x = (torch.arange(size, device=rest.device) for size in rest.shape[2:])
    in_image = torch.stack(torch.meshgrid(y, x, indexing="ij")).to(rest).expand(len(rest), -1, -1, -1)  # in places
    return rows(torch.cat([on_body, _STAY * in_image], 1))
