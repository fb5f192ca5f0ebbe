"""The figure network: the 18 joints of a person and features of the clothes, from one small backbone.

    network = load(torch.device("cpu"))
    points, confidence, features = network.find(images)  # (B,18,2) px, (B,18), (B,64)

It is a residual network with a feature pyramid (Lin et al. 2017). Each joint has one softmax over all cells of its heat map
and over "not in sight". The features are a mean over the cells near the joints of the body, not of the head: clothes more than
background. The network was only trained on mannequins (docs/figure.md). h, w: the heat maps' size, a quarter of the input's.
"""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from repose.data.skeleton import JOINTS, K
from repose.errors import ReposeError

WEIGHTS = Path(__file__).with_name("figure.safetensors")
DIGEST = Path(__file__).with_name("figure.safetensors.sha256")  # in sha256sum's format

HEIGHT = 128  # px of the network's input, for photos of any height
STRIDE = 4  # px of a cell
FEATURES = 64
THRESHOLD = 0.2  # joints of less confidence are missing; low, as a missing joint counts as wrong (docs/figure.md)
_WINDOW = 5  # cells around the best one that give a joint's position and confidence
_WIDTHS = (32, 40, 56, 80, 80)  # channels at strides 2, 4, 8, 16 and 32
_BLOCKS = (1, 2, 2, 1)  # residual blocks at strides 4 to 32
_DECODER = 48  # channels of the maps behind the heat maps
_HEAD = ("nose", "right_eye", "left_eye", "right_ear", "left_ear")
_BODY = [k for k, joint in enumerate(JOINTS) if joint not in _HEAD]


class Seen(NamedTuple):
    """The network's output."""

    cells: Tensor  # (B,K,h,w) logits that the joint is in this cell
    hidden: Tensor  # (B,K) logits that the joint is not in sight
    features: Tensor  # (B,FEATURES), of length 1


class Found(NamedTuple):
    """Joints and features in photos."""

    points: Tensor  # (B,K,2) float32 x, y in px of the photos, NaN for missing
    confidence: Tensor  # (B,K) float32, 0 to 1: that a joint is in sight and within 10 px of 128 of its point
    features: Tensor  # (B,FEATURES) float32 of length 1, of the clothes


class _Block(nn.Module):
    """Two convolutions with a shortcut (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(channels, channels), nn.ReLU(), *_conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out)]


class FigureNetwork(nn.Module):
    """The figure network; `load` returns the one that ships with repose."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, _WIDTHS[0], 2), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(*_conv(before, width, 2), nn.ReLU(), *[_Block(width) for _ in range(blocks)])
            for before, width, blocks in zip(_WIDTHS, _WIDTHS[1:], _BLOCKS, strict=False)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, _DECODER, 1) for width in _WIDTHS[1:])
        self.smooth = nn.ModuleList(
            nn.Sequential(*_conv(_DECODER, _DECODER), nn.ReLU()) for _ in range(2)
        )  # strides 4, 8
        self.cells = nn.Conv2d(_DECODER, K, 1)
        # Left or right depends on whether the person is seen from the front: features of the whole image scale and shift
        # the channels of the finer maps (FiLM, Perez et al. 2018).
        self.modulate = nn.Linear(2 * _WIDTHS[-1], 4 * _DECODER)
        self.hidden = nn.Linear(2 * _WIDTHS[-1], K)
        self.embed = nn.Linear(sum(_WIDTHS[1:4]), FEATURES)
        for start_at_zero in (self.cells.weight, self.modulate.weight, self.modulate.bias):
            nn.init.zeros_(start_at_zero)
        for block in self.modules():  # each block starts as the identity
            if isinstance(block, _Block):
                nn.init.zeros_(cast(nn.BatchNorm2d, block.body[-1]).weight)

    def forward(self, images: Tensor) -> Seen:
        """The output for images (B,3,H,W) in [-1,1], H about HEIGHT."""
        maps = self.maps(images)
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps[1:], strict=True)]  # strides 4, 8, 16, 32
        whole = torch.cat([maps[4].mean((2, 3)), maps[4].amax((2, 3))], 1)
        gain, shift, fine_gain, fine_shift = self.modulate(whole)[:, :, None, None].chunk(4, 1)
        deep = levels[2] + _up(levels[3], levels[2])
        middle = self.smooth[1]((levels[1] + _up(deep, levels[1])) * (1 + gain) + shift)
        fine = self.smooth[0]((levels[0] + _up(middle, levels[0])) * (1 + fine_gain) + fine_shift)  # (B,_DECODER,h,w)
        cells, hidden = self.cells(fine), self.hidden(whole)
        near = _near_the_body(log_probabilities(cells, hidden)[0].exp().detach(), maps[2])  # (B,1,h/2,w/2)
        worn = [_resized(x, maps[2]).mul(near).sum((2, 3)) for x in maps[1:4]]  # early maps, as decoders lose colors
        return Seen(cells, hidden, F.normalize(self.embed(torch.cat(worn, 1)).float(), dim=1))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps (B,C,h,w) at strides 2, 4, 8, 16 and 32 of images (B,3,H,W) in [-1,1]."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def find(self, images: Tensor, threshold: float = THRESHOLD) -> Found:
        """The joints of a person in each photo, and features that are similar for photos of one item.

        If there are several people, joints may be of different people.

        Args:
            images: (B,3,H,W) uint8 RGB, of any size.
            threshold: joints of less confidence are missing.

        Raises:
            ValueError: the images are not (B,3,H,W) uint8.
        """
        with torch.no_grad():
            seen = self(self._seen(images))
            chances = log_probabilities(seen.cells, seen.hidden)[0].exp()
            cells, confidence = _best(chances)  # (B,K,2) in cells, (B,K)
            height, width = images.shape[2:]
            size = cells.new_tensor([width / chances.shape[3], height / chances.shape[2]])
            points = ((cells + 0.5) * size - 0.5).clamp(min=0)
            points = torch.minimum(points, cells.new_tensor([width - 1, height - 1]))
            missing = confidence < threshold
            return Found(points.masked_fill(missing[..., None], torch.nan), confidence, seen.features)

    def _seen(self, images: Tensor) -> Tensor:
        """The network's input for photos (B,3,H,W) uint8: (B,3,HEIGHT,a multiple of 8) in [-1,1], in its precision."""
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise ValueError(f"images should be (B, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}.")
        height, width = images.shape[2:]
        size = HEIGHT, max(8 * round(HEIGHT * width / height / 8), 32)
        pixels = images.to(self.cells.weight.device).float() / 127.5 - 1
        if size != (height, width):
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        return pixels.to(self.cells.weight.dtype)


def log_probabilities(cells: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (float32) of each cell (B,K,h,w) and of not in sight (B,K), from logits of the same shapes."""
    logits = torch.cat([cells.float().flatten(2), hidden.float()[..., None]], 2).log_softmax(2)
    return logits[..., :-1].unflatten(2, cells.shape[2:]), logits[..., -1]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return x if x.shape[2:] == like.shape[2:] else F.interpolate(x, like.shape[2:], mode="bilinear")


def _up(coarse: Tensor, fine: Tensor) -> Tensor:
    return F.interpolate(coarse, fine.shape[2:], mode="nearest")


def _near_the_body(chances: Tensor, like: Tensor) -> Tensor:
    """Weights (B,1,h/2,w/2) with sum 1 of the cells near the body's joints; nearly equal if none is in sight."""
    body = F.interpolate(chances[:, _BODY].sum(1, keepdim=True), like.shape[2:], mode="area")
    for _ in range(2):
        body = F.avg_pool2d(body, 5, 1, 2)
    body = body + 1e-3
    return (body / body.sum((2, 3), keepdim=True)).to(like.dtype)


def _best(chances: Tensor) -> tuple[Tensor, Tensor]:
    """The mean position x, y around the best cell (B,K,2) of probabilities (B,K,h,w), and their sum there (B,K)."""
    around = F.avg_pool2d(chances, 3, 1, 1, count_include_pad=True) + chances * 1e-3  # ignores isolated peaks
    h, w = chances.shape[2:]
    best = around.flatten(2).argmax(2)  # (B,K)
    rows, columns = torch.arange(h, device=chances.device), torch.arange(w, device=chances.device)
    near_y = (rows - (best // w)[..., None]).abs() <= _WINDOW // 2  # (B,K,h)
    near_x = (columns - (best % w)[..., None]).abs() <= _WINDOW // 2  # (B,K,w)
    window = chances * near_y[..., None] * near_x[..., None, :]
    mass = window.sum((2, 3))
    x, y = (window.sum(2) * columns).sum(2), (window.sum(3) * rows).sum(2)
    return torch.stack([x, y], -1) / mass.clamp(min=1e-12)[..., None], mass.clamp(0, 1)


def load(device: torch.device | str) -> FigureNetwork:
    """The network that ships with repose, in evaluation mode.

    Raises:
        ReposeError: the weights are missing, or have another SHA-256 than the file beside them.
    """
    return read(WEIGHTS, weights_sha256()).to(device)


def for_single_photos(network: FigureNetwork) -> FigureNetwork:
    """The network changed to be a quarter faster for one photo at a time; joints move by up to 0.0001 px, from rounding.

    Each batch norm becomes part of the convolution before it, and maps lie in memory with their channels last.
    """
    for part in network.modules():
        layers = list(part) if isinstance(part, nn.Sequential) else []
        for number, (conv, norm) in enumerate(pairwise(layers)):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                cast(nn.Sequential, part)[number] = fuse_conv_bn_eval(conv, norm)
                cast(nn.Sequential, part)[number + 1] = nn.Identity()
    return network.to(memory_format=torch.channels_last)


def weights_sha256() -> str:
    """The SHA-256 of the weights that `load` reads, recorded with every score that uses them."""
    return DIGEST.read_text("ascii").split()[0]


def read(path: Path, sha256: str) -> FigureNetwork:
    """A network from a safetensors file, on the CPU, in evaluation mode.

    Raises:
        ReposeError: the file is missing, has another SHA-256, or has the tensors of another network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReposeError(
            f"The weights of the figure network, {path}, cannot be read ({error.strerror}). Install repose again."
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ReposeError(
            f"{path} ({len(content):,} bytes) is damaged or was replaced: its SHA-256 is {found}, not {sha256}. "
            "Install repose again (`git checkout` in a clone)."
        )
    network = FigureNetwork()
    try:
        network.load_state_dict(deserialise(content))
    except (SafetensorError, RuntimeError) as error:
        raise ReposeError(f"{path} does not hold this version's figure network ({error}). Train it again.") from None
    return network.eval().requires_grad_(False)
