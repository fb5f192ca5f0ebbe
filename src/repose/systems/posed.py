"""posed: the paper's system, told in which poses its sources are (docs/ablations.md); no row of the paper's.

The generator is `models.posed`, a training step `step`.
"""

from dataclasses import field

from repose.config import settings
from repose.data.frame import Frame
from repose.models.posed import PosedGenerator, PosedSettings
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class PosedSystemSettings(AdversarialSettings):
    """A row of the paper's system with the poses of its sources."""

    needs_source_poses = True

    generator: PosedSettings = field(default_factory=PosedSettings)


SETTINGS = PosedSystemSettings


def build(row: PosedSystemSettings, _: Frame) -> AdversarialSystem:
    """An untrained system; the frame's height and width are multiples of 4."""
    return AdversarialSystem(row, PosedGenerator(row.generator))
