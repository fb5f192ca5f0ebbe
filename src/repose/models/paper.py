"""The generator of Sun et al. 2019: image encoder E_I (ResNet, bidirectional ConvLSTM), pose encoder E_P, decoder.

The paper leaves choices open: see R11-R20, R27 and R28 of docs/paper.md. Alternatives that the text allows are settings.
"""

from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.data.poses import Poses
from repose.models.generator import Generated
from repose.models.layers import Blocks, Norm, conv7, in_float32, initialise, normalised, residual_block


@settings
class PaperSettings:
    """The settings of the generator; the defaults are our reading of the paper."""

    width: PositiveInt = 64  # channels after the first convolution; the code C_I has 4 times as many
    blocks: Blocks = 6  # residual blocks of E_I (R17)
    norm: Norm = "instance"  # R20: a batch is 2 to 5 similar photos of one item, so BatchNorm is unsound
    pooling: Literal["mean", "last", "max"] = "mean"  # R11: how the bC-LSTM's outputs are combined to one code
    pose_encoder: Literal["strided", "pooled"] = "strided"  # R14: section 4.2, or section 3.1.2's conv-ReLU-maxpool
    upsampling: Literal["transposed3", "transposed2", "nearest"] = "transposed3"  # R14, R15
    forget_bias: float = 0.0  # initial bias of the ConvLSTM's forget gate; 1 is a common choice


class PaperGenerator(nn.Module):
    """G of the paper: photos of one item and a target pose map -> the item in that pose."""

    def __init__(self, settings: PaperSettings, channels_in: int = 3) -> None:
        super().__init__()
        n, norm = settings.width, settings.norm
        self.image_encoder = ImageEncoder(settings, channels_in)
        self.pose_encoder = PoseEncoder(n, norm, settings.pose_encoder)
        self.decoder = Decoder(n, norm, settings.upsampling)
        initialise(self.pose_encoder)
        initialise(self.decoder)

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Tensor:
        """The code C_I of each target's sources, (Q,4 width,H/4,W/4); the poses are not used. See `Generator.encode`."""
        del poses
        return self.image_encoder.read(self.image_encoder.resnet(images), sources, mask)

    def decode(self, code: Tensor, target_pose: Poses, photo: Tensor | None = None) -> Generated:
        """Codes (Q,4 width,H/4,W/4) and Q target poses -> images (Q,3,H,W) in [-1,1]."""
        del photo  # the photos' poses are not encoded
        full, half, quarter = self.pose_encoder(target_pose.posemaps)
        return Generated(self.decoder(code, full, half, quarter))


class ImageEncoder(nn.Module):
    """E_I: c7s1-n, d2n, d4n, R4n x blocks for each photo, then a bidirectional ConvLSTM over the photos (R11, R17)."""

    def __init__(self, settings: PaperSettings, channels_in: int) -> None:
        super().__init__()
        n, norm = settings.width, settings.norm
        self.resnet = nn.Sequential(*chain(*_strided_encoder(n, norm, channels_in)))
        self.resnet.extend(residual_block(4 * n, norm) for _ in range(settings.blocks))
        self.pooling = settings.pooling
        self.forwards = ConvLSTMCell(4 * n, 2 * n, settings.forget_bias)
        self.backwards = ConvLSTMCell(4 * n, 2 * n, settings.forget_bias)
        initialise(self.resnet)

    def read(self, features: Tensor, index: Tensor, mask: Tensor) -> Tensor:
        """The ResNet's features (M,4n,h,w), read by each target in the order of its index (Q,T) -> C_I (Q,4n,h,w)."""
        ahead = self.forwards(features, index, mask)  # (Q,T,2n,h,w)
        back = self.backwards(features, index.flip(1), mask.flip(1)).flip(1)
        if self.pooling == "last":  # each direction after its last photo; masked steps keep the state
            return torch.cat([ahead[:, -1], back[:, 0]], 1)
        outputs, valid = torch.cat([ahead, back], 2), mask[:, :, None, None, None]
        if self.pooling == "max":
            return outputs.masked_fill(~valid, -torch.inf).amax(1)
        return (outputs * valid).sum(1) / valid.sum(1)


class ConvLSTMCell(nn.Module):
    """A ConvLSTM without peepholes (one convolution of [x, h] gives i, f, o, g; c = f c + i g; h = o tanh(c)).

    The convolution is linear, so its part on a photo's features is computed once for all targets that use the photo. Only the
    part on the state is computed at each step.
    """

    def __init__(self, channels_in: int, channels: int, forget_bias: float = 0.0) -> None:
        super().__init__()
        self.channels_in, self.channels = channels_in, channels
        self.gates = nn.Conv2d(channels_in + channels, 4 * channels, 3, 1, 1)
        if forget_bias:
            with torch.no_grad():
                self.gates.get_parameter("bias")[channels : 2 * channels] += forget_bias

    def forward(self, features: Tensor, index: Tensor, mask: Tensor) -> Tensor:
        """Features (M,channels_in,h,w) read in the order of index (Q,T) -> states h after each step (Q,T,channels,h,w).

        The initial state is zero; a step outside the mask (Q,T) keeps the state.
        """
        weight_x, weight_h = self.gates.weight.split([self.channels_in, self.channels], 1)
        seen = F.conv2d(features, weight_x, self.gates.bias, padding=1).float()  # (M,4 channels,h,w)
        hidden = cell = seen.new_zeros(len(index), self.channels, *features.shape[2:])  # float32, even under autocast
        outputs = []
        for step in range(index.shape[1]):
            gates = seen[index[:, step]]
            if step:  # the initial state is zero, and so is its convolution
                gates = gates + F.conv2d(hidden, weight_h, padding=1)
            i, f, o, g = gates.chunk(4, 1)
            new_cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            new_hidden = o.sigmoid() * new_cell.tanh()
            here = mask[:, step, None, None, None]
            cell, hidden = torch.where(here, new_cell, cell), torch.where(here, new_hidden, hidden)
            outputs.append(hidden)
        return torch.stack(outputs, 1)


class PoseEncoder(nn.Module):
    """E_P: the pose map at full, half and quarter size; the first two are the decoder's skips (R14, R16)."""

    def __init__(self, n: int, norm: Norm, kind: Literal["strided", "pooled"]) -> None:
        super().__init__()
        if kind == "strided":
            self.to_full, self.to_half, self.to_quarter = (nn.Sequential(*of) for of in _strided_encoder(n, norm))
        else:  # as in U-Net (Ronneberger et al. 2015): two conv3-ReLU per level, 2x2 max-pooling between, channels doubled
            self.to_full = _double_conv(3, n)
            self.to_half = nn.Sequential(nn.MaxPool2d(2), _double_conv(n, 2 * n))
            self.to_quarter = nn.Sequential(nn.MaxPool2d(2), _double_conv(2 * n, 4 * n))

    def forward(self, posemap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(Q,3,H,W) -> (Q,n,H,W), (Q,2n,H/2,W/2), (Q,4n,H/4,W/4)."""
        full = self.to_full(posemap)
        half = self.to_half(full)
        return full, half, self.to_quarter(half)


class Decoder(nn.Module):
    """C_I and C_P fused by a conv3, then twice: up-convolution, skip from E_P, conv3; at the end c7s1-3, tanh (R28)."""

    def __init__(self, n: int, norm: Norm, upsampling: Literal["transposed3", "transposed2", "nearest"]) -> None:
        super().__init__()
        self.fuse = nn.Sequential(*normalised(nn.Conv2d(8 * n, 4 * n, 3, 1, 1), norm), nn.ReLU())
        self.up_half = _up(4 * n, 2 * n, norm, upsampling)
        self.at_half = nn.Sequential(*normalised(nn.Conv2d(4 * n, 2 * n, 3, 1, 1), norm), nn.ReLU())
        self.up_full = _up(2 * n, n, norm, upsampling)
        self.at_full = nn.Sequential(*normalised(nn.Conv2d(2 * n, n, 3, 1, 1), norm), nn.ReLU())
        self.out = nn.Sequential(*conv7(n, 3))

    def forward(self, code: Tensor, full: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
        """C_I (Q,4n,H/4,W/4) and the three levels of E_P -> (Q,3,H,W) in [-1,1]."""
        x = self.fuse(torch.cat([code, quarter], 1))  # (Q,4n,H/4,W/4)
        x = self.at_half(torch.cat([self.up_half(x), half], 1))  # (Q,2n,H/2,W/2)
        x = self.at_full(torch.cat([self.up_full(x), full], 1))  # (Q,n,H,W)
        return in_float32(self.out, x).tanh()


def _strided_encoder(n: int, norm: Norm, channels_in: int = 3) -> list[list[nn.Module]]:
    """The layers of c7s1-n, of d2n and of d4n: (B,channels_in,H,W) -> (B,4n,H/4,W/4)."""
    pad, first = conv7(channels_in, n)
    return [
        [pad, *normalised(first, norm), nn.ReLU()],
        [*normalised(nn.Conv2d(n, 2 * n, 3, 2, 1), norm), nn.ReLU()],
        [*normalised(nn.Conv2d(2 * n, 4 * n, 3, 2, 1), norm), nn.ReLU()],
    ]


def _double_conv(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, 1, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU()
    )


def _up(channels_in: int, channels: int, norm: Norm, kind: str) -> nn.Sequential:
    """An up-convolution to twice the size and `channels` channels, in one of three readings (R14, R15)."""
    if kind == "nearest":
        conv: nn.Conv2d | nn.ConvTranspose2d = nn.Conv2d(channels_in, channels, 3, 1, 1)
        return nn.Sequential(nn.Upsample(scale_factor=2), *normalised(conv, norm), nn.ReLU())
    if kind == "transposed2":
        conv = nn.ConvTranspose2d(channels_in, channels, 2, 2)
    else:
        conv = nn.ConvTranspose2d(channels_in, channels, 3, 2, 1, output_padding=1)
    return nn.Sequential(*normalised(conv, norm), nn.ReLU())
