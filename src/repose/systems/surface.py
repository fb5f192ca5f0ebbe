"""surface: the system of the weights that come with repose (docs/surface.md), with the generator of `models.surface`."""

from dataclasses import field, replace
from typing import cast

from torch import Tensor

from repose.config import settings
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import SettingsError
from repose.models.surface import STRIDE, SurfaceGenerator, SurfaceSettings
from repose.systems import check_multiple
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem

MOST = 2048  # px: the largest height of an image


@settings
class SurfaceSystemSettings(AdversarialSettings):
    """The settings of surface."""

    finer_photos = 2

    generator: SurfaceSettings = field(default_factory=SurfaceSettings)

    def at_height(self, frame: Frame, height: int) -> tuple["SurfaceSystemSettings", Frame]:
        """See `SystemSettings.at_height`; the networks see photos of the same size as before."""
        reduce = self.generator.reduce
        small = frame.height // reduce
        if not small <= height <= MOST or height % small:
            raise SettingsError(
                f"The height of the images should be a multiple of {small} px up to {MOST}, not {height}."
            )
        factor = height // small
        larger = replace(frame, height=height, width=frame.width // reduce * factor)
        return replace(self, generator=replace(self.generator, reduce=factor)), larger


SETTINGS = SurfaceSystemSettings


class SurfaceSystem(AdversarialSystem):
    """Trained as the others; images are made by `SurfaceGenerator.generate`."""

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Tensor:
        """See `systems.System`."""
        return cast(SurfaceGenerator, self.generator).generate(images, poses, sources, mask, target_pose).image


def build(row: SurfaceSystemSettings, frame: Frame) -> SurfaceSystem:
    """An untrained system; a ReposeError if the frame's height and width are not multiples of 4 times `reduce`."""
    check_multiple(frame, STRIDE * row.generator.reduce, "surface", otherwise=", or the system's generator.reduce")
    return SurfaceSystem(row, SurfaceGenerator(row.generator))
