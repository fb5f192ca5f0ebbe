"""surface: the system of the weights that come with repose (docs/surface.md), with the generator of `models.surface`."""

from dataclasses import field

from repose.config import settings
from repose.data.frame import Frame
from repose.models.surface import SurfaceGenerator, SurfaceSettings
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class SurfaceSystemSettings(AdversarialSettings):
    """The settings of surface."""

    needs_source_poses = True

    generator: SurfaceSettings = field(default_factory=SurfaceSettings)


SETTINGS = SurfaceSystemSettings


def build(row: SurfaceSystemSettings, _: Frame) -> AdversarialSystem:
    """An untrained system; the frame's height and width are multiples of 4."""
    return AdversarialSystem(row, SurfaceGenerator(row.generator))
