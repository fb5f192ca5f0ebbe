"""surface: the system of the weights that come with repose (docs/surface.md), with the generator of `models.surface`."""

from dataclasses import field
from typing import cast

from torch import Tensor

from repose.config import settings
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.models.surface import SurfaceGenerator, SurfaceSettings
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class SurfaceSystemSettings(AdversarialSettings):
    """The settings of surface."""

    needs_source_poses = True

    generator: SurfaceSettings = field(default_factory=SurfaceSettings)


SETTINGS = SurfaceSystemSettings


class SurfaceSystem(AdversarialSystem):
    """Trained as the others; images are made by `SurfaceGenerator.generate`."""

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`."""
        return cast(SurfaceGenerator, self.generator).generate(images, poses, sources, mask, target_pose).image


def build(row: SurfaceSystemSettings, _: Frame) -> SurfaceSystem:
    """An untrained system; the frame's height and width are multiples of 4."""
    return SurfaceSystem(row, SurfaceGenerator(row.generator))
