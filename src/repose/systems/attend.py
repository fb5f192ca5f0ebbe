"""attend: the project's own system (docs/attend.md), with the generator of `models.attend`."""

from dataclasses import field

from repose.config import settings
from repose.data.frame import Frame
from repose.models.attend import AttendGenerator, AttendSettings
from repose.systems import check_multiple
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class AttendSystemSettings(AdversarialSettings):
    """The settings of attend."""

    generator: AttendSettings = field(default_factory=AttendSettings)


SETTINGS = AttendSystemSettings


def build(row: AttendSystemSettings, frame: Frame) -> AdversarialSystem:
    """An untrained system; a ReposeError if the frame's height and width are not multiples of the generator's stride."""
    stride = row.generator.stride
    check_multiple(frame, stride, f"attend with stride {stride}", otherwise=", or the system's generator.stride")
    return AdversarialSystem(row, AttendGenerator(row.generator))
