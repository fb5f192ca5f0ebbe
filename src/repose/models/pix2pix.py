"""The U-Net of pix2pix (Isola et al. 2017), with the sizes of the authors' PyTorch code.

Letters: Q targets, C channels, H x W the frame, h x w a level of the U-Net.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repose.models.layers import in_float32, initialise


class UNet(nn.Module):
    """`downs` k4 s2 convolutions down and as many up, with a skip from each level down to the same level up.

    There is BatchNorm except at the first and last level down and at the image, LeakyReLU(0.2) before each level down except
    the first, and ReLU before each level up. Levels up from 8 to 8 times the width, except the innermost, have dropout of a
    half, which is the paper's noise z. Height and width that cannot be halved that often are padded by replication, evenly on
    both sides, and the image is cropped back.
    """

    def __init__(self, channels_in: int, width: int, downs: int) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(downs)]
        self.down = nn.ModuleList([nn.Conv2d(channels_in, widths[0], 4, 2, 1, bias=False)])
        for i in range(1, downs):
            conv = nn.Conv2d(widths[i - 1], widths[i], 4, 2, 1, bias=False)
            norm = [OwnBatchNorm(widths[i])] if i < downs - 1 else []
            self.down.append(nn.Sequential(nn.LeakyReLU(0.2), conv, *norm))
        self.up = nn.ModuleList()
        for i in range(downs - 1, 0, -1):
            innermost = i == downs - 1
            up_conv = nn.ConvTranspose2d(widths[i] * (1 if innermost else 2), widths[i - 1], 4, 2, 1, bias=False)
            dropout = [nn.Dropout(0.5)] if 4 <= i < downs - 1 else []
            self.up.append(nn.Sequential(nn.ReLU(), up_conv, OwnBatchNorm(widths[i - 1]), *dropout))
        self.out = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * widths[0], 3, 4, 2, 1))
        initialise(self)

    def forward(self, condition: Tensor) -> Tensor:
        """(Q,channels_in,H,W) in [-1,1] -> images (Q,3,H,W) in [-1,1]."""
        height, width = condition.shape[2:]
        missing_y, missing_x = (-size % 2 ** len(self.down) for size in (height, width))
        top, left = missing_y // 2, missing_x // 2
        x = F.pad(condition, (left, missing_x - left, top, missing_y - top), "replicate")  # (Q,channels_in,H',W')
        levels = []
        for down in self.down:
            x = down(x)  # (Q,widths[i],H'/2^(i+1),W'/2^(i+1))
            levels.append(x)
        x = levels.pop()
        for up in self.up:
            x = torch.cat([levels.pop(), up(x)], 1)  # (Q,2 widths[i-1],H'/2^i,W'/2^i)
        image = in_float32(self.out, x).tanh()  # (Q,3,H',W')
        return image[:, :, top : top + height, left : left + width]


class OwnBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the step's images in training; in evaluation mode, each image has its own mean and variance.

    This equals the authors' code at test time, which stays in training mode with batches of one image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """(Q,C,h,w) -> (Q,C,h,w)."""
        if self.training:
            return super().forward(x)
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)
