"""PSNR, the peak signal-to-noise ratio of 8-bit images, in dB.

10 log10(255^2 / mean squared difference) over all pixels and channels of an image, as in scikit-image. PG2's score.py takes
the mean over the pairs.
"""

import numpy as np
import torch
from torch import Tensor

from repose.metrics.batches import image_pairs

PEAK = 255


def psnr(generated: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Return the PSNR of each generated image with its target: (B,) float64 in dB, at least 0, infinite if they are equal.

    See `ssim` for images. The sums are of whole numbers below 2^53, which float64 adds without rounding on every device.
    """
    images, targets = image_pairs(generated, target)
    squares = (images.float() - targets.float()).square_().sum((1, 2, 3), dtype=torch.float64)
    return 10 * torch.log10(PEAK**2 * images.shape[1:].numel() / squares)
