"""The paper's generator, told in which poses its sources are: what docs/ablations.md compares it with.

The paper's own never sees these poses. Here E_I may see each photo's pose map beside it (`source_pose`), and what its ResNet
read of a photo may be brought into the target's pose before the bidirectional ConvLSTM reads on (`align`): each place takes
the features of that place of the source that lies nearest on the body, by the coordinates that `attend` starts from (`body`).
Nothing of that is learned. All else is the paper's.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from repose.config import settings
from repose.data.poses import Poses
from repose.models.attend import AttendSettings
from repose.models.body import body_fields
from repose.models.generator import Generated
from repose.models.layers import initialise
from repose.models.paper import Decoder, ImageEncoder, PaperSettings, PoseEncoder

_STRIDE = 4  # px between places: E_I's features are a quarter of the photo's size
_COORDINATES = 3  # x and y at rest and the distance from the skeleton; the view is the same all over a photo
_SPREAD = AttendSettings.spread[:_COORDINATES]
_STAY = 1e-3  # how much a place of the image counts beside one of the body: it decides where no body tells places apart


@settings
class PosedSettings(PaperSettings):
    """The paper's settings, and what is done with the poses of the sources."""

    source_pose: bool = True  # E_I sees the photo's pose map beside the photo, 6 channels
    align: bool = True  # features are brought into the target's pose before the ConvLSTM reads them

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.source_pose or self.align):
            raise ValueError(
                "source_pose and align are both off, so the poses of the sources are not used. Turn one on, or take the "
                "kind paper."
            )


class Code(NamedTuple):
    """What is known of the sources of Q targets before their poses are; h = H/4, w = W/4."""

    features: Tensor  # (M,4n,h,w), of the ResNet
    places: Tensor  # (M,hw,5), see `_places`
    sources: Tensor  # (Q,T)
    mask: Tensor  # (Q,T)


class PosedGenerator(nn.Module):
    """Photos of one item with their poses and a target pose map -> the item in that pose."""

    def __init__(self, settings: PosedSettings) -> None:
        super().__init__()
        n, norm = settings.width, settings.norm
        self.source_pose, self.align = settings.source_pose, settings.align
        self.image_encoder = ImageEncoder(settings, 6 if settings.source_pose else 3)
        self.pose_encoder = PoseEncoder(n, norm, settings.pose_encoder)
        self.decoder = Decoder(n, norm, settings.upsampling)
        initialise(self.pose_encoder)
        initialise(self.decoder)

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Code | Tensor:
        """What can be known without the target; every photo goes through the ResNet once.

        Args:
            images: (M,3,H,W) in [-1,1], all photos of the step. H and W are multiples of 4.
            poses: of those photos.
            sources: (Q,T) int64, rows of `images` that are the sources of each target, in the order the bC-LSTM reads.
            mask: (Q,T) bool, which entries of `sources` count; at least one a row.

        Returns:
            What `decode` needs: without `align`, C_I (Q,4n,H/4,W/4).
        """
        seen = torch.cat([images, poses.posemaps], 1) if self.source_pose else images  # (M,6 or 3,H,W)
        features: Tensor = self.image_encoder.resnet(seen)
        if self.align:
            return Code(features, _places(poses), sources, mask)
        return self.image_encoder.read(features, sources, mask)

    def decode(self, code: Code | Tensor, target_pose: Poses) -> Generated:
        """What `encode` gave and Q target poses -> images (Q,3,H,W) in [-1,1]."""
        if isinstance(code, Code):
            aligned = align(code, target_pose)  # (QT,4n,h,w)
            each = torch.arange(len(aligned), device=aligned.device).reshape(code.sources.shape)
            code = self.image_encoder.read(aligned, each, code.mask)
        full, half, quarter = self.pose_encoder(target_pose.posemaps)
        return Generated(self.decoder(code, full, half, quarter))


def align(code: Code, target_pose: Poses) -> Tensor:
    """The features of each source as they lie in its target's pose: (QT,4n,h,w), target after target.

    A source in the target's own pose is left as it is, and so is one of which no limb is known.
    """
    height, width = code.features.shape[2:]
    found = _nearest(_places(target_pose), code.places, code.sources)  # (QT,hw)
    rows = code.features.flatten(2).transpose(1, 2).flatten(0, 1)  # (M hw,4n)
    aligned = rows.index_select(0, (code.sources.reshape(-1, 1) * height * width + found).flatten())
    return aligned.reshape(len(found), height, width, -1).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def _nearest(here: Tensor, there: Tensor, sources: Tensor) -> Tensor:
    """Places (Q,hw,5) of targets, (M,hw,5) of photos -> of each source, which is nearest to each of its target's: (QT,hw)."""
    pairs = [(here[target], there[source]) for target, row in enumerate(sources.tolist()) for source in row]
    return torch.stack([_distance(*pair).argmin(1) for pair in pairs])


def _distance(here: Tensor, there: Tensor) -> Tensor:
    """Of each place of a target (hw,5) to each of a photo (hw,5): (hw,hw). Where either has no body, in the image alone."""
    counts = torch.ones_like(here[0])
    counts[:_COORDINATES] = (here[:, :_COORDINATES].any() & there[:, :_COORDINATES].any()).to(counts)
    exact = "donot_use_mm_for_euclid_dist"  # the faster way rounds so that a place may not be nearest to itself
    distance: Tensor = torch.cdist(here * counts, there * counts, compute_mode=exact)
    return distance


def _places(poses: Poses) -> Tensor:
    """By what the places of B photos are compared: (B,hw,5), in deviations on the body, and where they lie in the image."""
    height, width = poses.posemaps.shape[2:]
    rest = body_fields(poses.keypoints, height, width, _STRIDE).rest[:, :_COORDINATES]  # (B,3,h,w)
    on_body = rest / rest.new_tensor(_SPREAD)[:, None, None]
    y, x = (torch.arange(size, device=rest.device) for size in rest.shape[2:])
    in_image = torch.stack(torch.meshgrid(y, x, indexing="ij")).to(rest).expand(len(rest), -1, -1, -1)  # in places
    return torch.cat([on_body, _STAY * in_image], 1).flatten(2).transpose(1, 2).contiguous()
