"""paper: the systems of Sun et al. 2019 (the rows paper-m, paper-s, g-di and g-dp), with the generator of `models.paper`.

-M takes several sources and -S one (`max_sources`). A discriminator whose loss has weight 0 is omitted: G + D_I, G + D_P.
"""

from dataclasses import field

from repose.config import settings
from repose.data.frame import Frame
from repose.models.paper import PaperGenerator, PaperSettings
from repose.systems import check_multiple
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem


@settings
class PaperSystemSettings(AdversarialSettings):
    """The settings of the paper's systems."""

    needs_source_poses = False

    generator: PaperSettings = field(default_factory=PaperSettings)


SETTINGS = PaperSystemSettings


def build(row: PaperSystemSettings, frame: Frame) -> AdversarialSystem:
    """An untrained system; a ReposeError if the frame's height and width are not multiples of 4."""
    check_multiple(frame, 4, "paper")
    return AdversarialSystem(row, PaperGenerator(row.generator))
