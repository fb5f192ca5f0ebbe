"""SSIM (Wang et al. 2004) under the protocols of published scores.

Scores under different protocols cannot be compared. Each equals scikit-image's score for the call in the comment, up to
rounding. This implementation takes batches on any device.

Papers also cut off or added columns before scoring. Such borders follow a + in a protocol's name and apply in order:
`pg2+crop-176` scores the middle 176 columns; `gaussian11+white-40` adds 40 white columns on each side. PATN scored others'
256x256 images, beside its own of 256x176, as `gaussian11+crop-176+white-40` (it crops to columns 40 to 215;
tool/getMetrics_fashion.py adds the white columns).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import image_pairs, protocol_of


class SsimProtocol(NamedTuple):
    """The choices that SSIM leaves open. K1 = 0.01 and K2 = 0.03 everywhere."""

    window: int  # width and height of the window in px
    sigma: float | None  # of a Gaussian window in px; None: all pixels of the window weigh the same
    sample_covariance: bool  # divide by n - 1 (True) or by n
    data_range: int | None  # range of the pixels; None: the largest minus the smallest level of each generated image


# Each is the mean over the pixels whose window is inside the image, then over the three channels, of 8-bit images.
SSIM_PROTOCOLS = {
    # PG2, score.py: compare_ssim(generated, target, multichannel=True) of uint8
    "pg2": SsimProtocol(window=7, sigma=None, sample_covariance=True, data_range=255),
    # pose-gan, test.py, and PATN: compare_ssim(target, generated, gaussian_weights=True, sigma=1.5,
    # use_sample_covariance=False, multichannel=True, data_range=generated.max() - generated.min())
    "gaussian11": SsimProtocol(window=11, sigma=1.5, sample_covariance=False, data_range=None),
    # GFLA, script/metrics.py, and most after it: compare_ssim(target, generated, data_range=1, win_size=51,
    # multichannel=True) of images in [0, 1], which is range 255 of uint8
    "win51": SsimProtocol(window=51, sigma=None, sample_covariance=True, data_range=255),
}
K1, K2 = 0.01, 0.03

# Pixels of one channel per batch: per CPU thread, to fit a core's cache; on a GPU, to keep it busy.
_PIXELS_AT_ONCE = {"cpu": 2**17, "cuda": 2**24}


def ssim(generated: Tensor | np.ndarray, target: Tensor | np.ndarray, protocol: str) -> Tensor:
    """Return the SSIM of each generated image with its target: (B,) float64, at most 1.

    The images are (B, 3, H, W) uint8 tensors on any device, or (B, H, W, 3) uint8 arrays. `protocol` is a name of
    SSIM_PROTOCOLS, with borders such as pg2+white-40. An image of one level scores 0 if the protocol takes the range from the
    generated image: the formula is 0 / 0 or 0.

    Raises:
        ReposeError: the protocol is unknown, or the images are smaller than its window or its crop.
        ValueError: the images are not uint8, do not have three channels or differ in size.
    """
    base, borders = split_protocol(protocol)
    chosen = protocol_of(SSIM_PROTOCOLS, base, "SSIM")
    images, targets = (_bordered(some, borders, protocol) for some in image_pairs(generated, target))
    count, channels, height, width = images.shape
    if min(height, width) < chosen.window:
        possible = [name for name, other in SSIM_PROTOCOLS.items() if other.window <= min(height, width)]
        raise ReposeError(
            f"SSIM under the protocol {protocol!r} has a window of {chosen.window}x{chosen.window} px, but the images "
            f"are {width}x{height} (width x height). Choose another protocol or a larger working size; possible at this "
            f"size: {', '.join(possible) or 'none'}."
        )
    if chosen.data_range is None:
        levels = images.amax((1, 2, 3)).double() - images.amin((1, 2, 3)).double()  # (B,)
    else:
        levels = torch.full((count,), float(chosen.data_range), dtype=torch.float64, device=images.device)
    scores = _of_planes(images.flatten(0, 1), targets.flatten(0, 1), levels.repeat_interleave(channels), chosen)
    return torch.where(levels > 0, scores.view(count, channels).mean(1), 0.0)


def split_protocol(name: str) -> tuple[str, list[tuple[str, int]]]:
    """Split a name such as pg2+crop-176+white-40 into pg2 and its borders: a kind and a number of columns each.

    Raises:
        ReposeError: a border is unknown.
    """
    protocol, *texts = name.split("+")
    borders = []
    for text in texts:
        found = re.fullmatch(r"(white|crop)-([1-9]\d{0,4})", text)
        if not found:
            raise ReposeError(
                f"The protocol {name!r} has the unknown border {text!r}. Use white-N (N more white columns on each side) "
                "or crop-N (only the middle N columns), such as pg2+white-40 and pg2+crop-176."
            )
        borders.append((found[1], int(found[2])))
    return protocol, borders


def _bordered(images: Tensor, borders: list[tuple[str, int]], name: str) -> Tensor:
    """(B, C, H, W) uint8 -> (B, C, H, new W). A crop of an odd number of columns removes one more on the right."""
    for kind, columns in borders:
        width = images.shape[-1]
        if kind == "white":
            images = F.pad(images, (columns, columns), value=255)
        elif width >= columns:
            images = images.narrow(-1, (width - columns) // 2, columns)
        else:
            raise ReposeError(
                f"The protocol {name!r} scores the middle {columns} columns, but the images only have {width}. Choose a "
                "protocol without the crop, or a larger working size."
            )
    return images


def _of_planes(generated: Tensor, target: Tensor, levels: Tensor, protocol: SsimProtocol) -> Tensor:
    """SSIM of (n, H, W) uint8 planes with their ranges (n,): (n,) float64."""
    height, width = generated.shape[1:]
    pixels = _PIXELS_AT_ONCE.get(generated.device.type, _PIXELS_AT_ONCE["cuda"])
    if generated.device.type == "cpu":
        pixels *= torch.get_num_threads()
    planes = max(1, pixels // (height * width))
    parts = zip(generated.split(planes), target.split(planes), levels[:, None, None].split(planes), strict=True)
    return torch.cat([_of_cached_planes(*part, protocol) for part in parts])


def _of_cached_planes(generated: Tensor, target: Tensor, levels: Tensor, protocol: SsimProtocol) -> Tensor:
    """The formula (Wang et al. 2004, equation 13), in place where possible."""
    whole = protocol.sigma is None  # sums of whole numbers are exact, and below 2**31 for windows up to 128
    x, y = (planes.int() if whole else planes.double() for planes in (generated, target))
    mean = _window_mean(protocol)
    mean_x, mean_y, mean_xy, mean_squares = mean(x), mean(y), mean(x * y), mean(x * x + y * y)
    n = protocol.window**2
    unbiased = n / (n - 1) if protocol.sample_covariance else 1.0
    c1, c2 = (K1 * levels) ** 2, (K2 * levels) ** 2
    product = mean_x * mean_y
    squares = mean_x.square_().add_(mean_y.square_())
    covariance = mean_xy.sub_(product).mul_(unbiased)
    variances = mean_squares.sub_(squares).mul_(unbiased)
    similar = covariance.mul_(2).add_(c2).mul_(product.mul_(2).add_(c1))
    return similar.div_(variances.add_(c2).mul_(squares.add_(c1))).mean((1, 2))


def _window_mean(protocol: SsimProtocol) -> Callable[[Tensor], Tensor]:
    """Return a function for the means over windows as float64, of int32 or, for a Gaussian window, of float64."""
    window, sigma = protocol.window, protocol.sigma
    if sigma is None:
        return lambda numbers: _window_sum(_window_sum(numbers, window, -2), window, -1).double().div_(window**2)
    weights = np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / sigma) ** 2)
    weights /= weights.sum()
    return lambda numbers: _weighted_sum(_weighted_sum(numbers, weights, -1), weights, -2)


def _window_sum(numbers: Tensor, window: int, dim: int) -> Tensor:
    """Sums of `window` neighbors (an odd number), shorter by window - 1.

    The sum of 7 neighbors is that of adjacent groups of 1, 2 and 4, and the sum of each group is that of its two halves.
    """
    size = numbers.shape[dim] - window + 1
    total, done, run, length = numbers.narrow(dim, 0, size).clone(), 1, numbers, 1
    while 2 * length <= window:
        run = run.narrow(dim, 0, run.shape[dim] - length) + run.narrow(dim, length, run.shape[dim] - length)
        length *= 2
        if window & length:
            total.add_(run.narrow(dim, done, size))
            done += length
    return total


def _weighted_sum(numbers: Tensor, weights: np.ndarray, dim: int) -> Tensor:
    """Sums of neighbors times weights, shorter by len(weights) - 1."""
    size = numbers.shape[dim] - len(weights) + 1
    total = numbers.narrow(dim, 0, size) * float(weights[0])
    for offset, weight in enumerate(weights[1:], start=1):
        total.add_(numbers.narrow(dim, offset, size), alpha=float(weight))
    return total
