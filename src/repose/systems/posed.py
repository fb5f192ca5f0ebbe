"""posed: the paper's system with the poses of its sources (docs/ablations.md), by the generator of `models.posed`."""

from dataclasses import field

from repose.config import settings
from repose.data.frame import Frame
from repose.models.posed import PosedGenerator, PosedSettings
from repose.systems import check_multiple
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class PosedSystemSettings(AdversarialSettings):
    """The settings of posed."""

    generator: PosedSettings = field(default_factory=PosedSettings)


SETTINGS = PosedSystemSettings


def build(row: PosedSystemSettings, frame: Frame) -> AdversarialSystem:
    """An untrained system; a ReposeError if the frame's height and width are not multiples of 4."""
    check_multiple(frame, 4, "posed")
    return AdversarialSystem(row, PosedGenerator(row.generator))
