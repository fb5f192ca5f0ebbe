"""PatchGAN, the discriminator of pix2pix (Isola et al. 2017): one logit per 70x70 patch.

D_I sees an image (3 channels), D_P an image and its pose map (6 channels). Both have the same layers (R29).
"""

from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.errors import ReposeError
from repose.models.layers import Norm, initialise, normalised


@settings
class DiscriminatorSettings:
    """The settings of a discriminator, shared by D_I and D_P (R29)."""

    width: PositiveInt = 64
    layers: Annotated[int, Field(ge=1, le=16)] = 3  # 3: 70x70 patches; 2: 34x34; 1: 16x16 (R21)
    norm: Norm = "instance"


class PatchGAN(nn.Module):
    """k4 convolutions: width s2 (no norm), 2 width s2, 4 width s2, 8 width s1, 1 s1; LeakyReLU(0.2) between."""

    def __init__(self, channels_in: int, *, width: int = 64, layers: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        body: list[nn.Module] = [nn.Conv2d(channels_in, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            body += [*normalised(nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1), norm), nn.LeakyReLU(0.2)]
        self.least = 3 * 2**layers  # px per side: two k4 s1 convolutions after the strided ones turn 3x3 into one logit
        self.body = nn.Sequential(*body, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B,channels_in,H,W) in [-1,1] -> logits (B,1,h,w): 30x30 at 256x256, 14x6 at 128x64; or a ReposeError."""
        height, width = x.shape[2:]
        if min(height, width) < self.least:
            raise ReposeError(
                f"The discriminator needs images of at least {self.least}x{self.least} px, not {height}x{width} (height x "
                "width). Lower its `layers` in the system's block, or raise posemaps.height and width in params.yaml."
            )
        logits: Tensor = self.body(x)
        return logits
