"""attend: the project's own system (docs/attend.md), with the generator of `models.attend`."""

from dataclasses import field

from repose.config import settings
from repose.data.frame import Frame
from repose.models.attend import AttendGenerator, AttendSettings
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class AttendSystemSettings(AdversarialSettings):
    """The settings of attend."""

    generator: AttendSettings = field(default_factory=AttendSettings)


SETTINGS = AttendSystemSettings


def build(row: AttendSystemSettings, _: Frame) -> AdversarialSystem:
    """An untrained system; the frame's height and width are multiples of the generator's stride."""
    return AdversarialSystem(row, AttendGenerator(row.generator))
