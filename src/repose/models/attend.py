"""attend: our own generator, in which every place of the target attends to every place of all sources.

docs/attend.md describes it. Attention compares places by their position on the body (`body`), before training by a Gaussian
alone. It gives a position in each source, whose pixels are sampled there at full size. The decoder synthesizes regions that
no source shows, and predicts the share of the warped sources for each pixel.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.data.poses import Poses
from repose.models.body import LIMB_CHANNELS, REST_CHANNELS, body_fields
from repose.models.generator import Generated
from repose.models.layers import Blocks, Shortcut, in_float32

Spread = tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]


@settings
class AttendSettings:
    """The sizes and initialization of the generator."""

    stride: int = 4  # px between places: 4 up to 128x128, 8 at 256x256; a power of 2
    width: PositiveInt = 32  # channels of a place's features; the decoder has twice as many
    channels: int = 32  # of a query, key or value
    blocks: Blocks = 3  # residual blocks of the decoder
    free: NonNegativeInt = 3  # coordinates beyond those of the body, which start at 0
    # initial standard deviations of the Gaussian: x, y at rest and distance from the skeleton (torso lengths), the view's two
    spread: Spread = (0.05, 0.05, 0.07, 0.6, 0.6)
    copy: bool = True  # warp the sources' pixels; otherwise the decoder synthesizes everything from their features
    attention: Literal["learned", "fixed"] = "learned"  # fixed: not trained

    def __post_init__(self) -> None:
        if self.stride < 2 or self.stride & (self.stride - 1):
            raise ValueError(f"stride should be 2, 4, 8 or another power of 2, not {self.stride}.")
        least = REST_CHANNELS + self.free + 6
        if self.channels < least:
            raise ValueError(
                f"channels should be at least {least} (coordinates, color, position), not {self.channels}."
            )


class Code(NamedTuple):
    """The encoded sources of Q targets; h = H / stride, w = W / stride."""

    images: Tensor  # (M,3,H,W)
    keys: Tensor  # (M,hw,C)
    values: Tensor  # (M,hw,C): features, mean color, body coordinates, position in [-1,1]
    sources: Tensor  # (Q,T)
    mask: Tensor  # (Q,T)
    pose_features: Tensor  # (M,n,h,w)
    place: Tensor  # (M,5+free,h,w): coordinates by the pose alone


class _Attended(NamedTuple):
    """The result of attention for Q targets over their T sources."""

    features: Tensor  # (Q,C',h,w): attended values, over all sources
    warped: Tensor  # (Q,3,H,W)
    whole: Tensor  # (Q,1,H,W) in [0,1]: 0 where neighbors look at places far apart
    nearness: Tensor  # (Q,1,h,w): nearness on the body of the best source


class AttendGenerator(nn.Module):
    """Photos of one item with their poses and a target pose -> the item in that pose."""

    def __init__(self, settings: AttendSettings) -> None:
        super().__init__()
        n, stride, free = settings.width, settings.stride, settings.free
        self.stride, self.free, self.copy = stride, free, settings.copy
        coordinates = REST_CHANNELS + free
        learned_keys, features = settings.channels - coordinates - 1, settings.channels - coordinates - 5
        pixels = 3 * stride * stride
        self.image_encoder = nn.Sequential(conv(pixels, n), residual(n), residual(n))
        self.pose_encoder = _PoseEncoder(pixels + REST_CHANNELS + LIMB_CHANNELS + 2, n)
        self.log_spread = nn.Parameter(torch.tensor(settings.spread).log())
        self.move_by_pose = _zero(nn.Conv2d(n, coordinates, 1))
        self.move_by_image = _zero(nn.Conv2d(2 * n, coordinates, 1))
        self.query = _zero(nn.Conv2d(n, learned_keys, 1))  # so that only the Gaussian decides at first
        self.key = nn.Conv2d(2 * n, learned_keys, 1)
        self.value = nn.Conv2d(n, features, 1)
        self.weigh = nn.Sequential(nn.Conv2d(n + features + 3, n, 1), nn.SiLU(), _zero(nn.Conv2d(n, 1, 1)))
        self.decoder = _Decoder(n + features + 3 + 1, 2 * n, n, stride, settings.blocks)
        if settings.attention == "fixed":
            self.log_spread.requires_grad_(False)
            for part in (self.move_by_pose, self.move_by_image, self.query, self.key, self.weigh):
                part.requires_grad_(False)

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Code:
        """See `Generator.encode`."""
        image_features = self.image_encoder(F.pixel_unshuffle(images, self.stride))  # (M,n,h,w)
        pose_features, pose_place = self._places(poses)
        both = torch.cat([pose_features, image_features], 1)
        place = pose_place + self.move_by_image(both)
        keys = torch.cat([self.key(both), place, -place.square().sum(1, keepdim=True) / 2], 1)
        colour = F.avg_pool2d(images, self.stride)
        values = torch.cat([self.value(image_features), colour, place, positions(keys)], 1)
        return Code(images, rows(keys), rows(values), sources, mask, pose_features, pose_place)

    def decode(self, code: Code, target_pose: Poses, photo: Tensor | None = None) -> Generated:
        """Images (Q,3,H,W) in about [-1,1], with their warped (unless `copy` is off) and synthesized parts."""
        if photo is None:
            pose_features, place = self._places(target_pose)
        else:
            pose_features, place = code.pose_features[photo], code.place[photo]
        seen = self._look(code, pose_features, place)
        synthesized, share = self.decoder(
            torch.cat([pose_features, seen.features, seen.nearness], 1), target_pose.posemaps, seen.warped, seen.whole
        )
        if not self.copy:
            return Generated(synthesized, None, synthesized)
        return Generated(share * seen.warped + (1 - share) * synthesized, seen.warped, synthesized)

    def _places(self, poses: Poses) -> tuple[Tensor, Tensor]:
        """The features (B,n,h,w) of B poses, and the coordinates (B,5+free,h,w) of their places."""
        height, width = poses.posemaps.shape[2:]
        rest, limbs = body_fields(poses.keypoints, height, width, self.stride)
        drawn = F.pixel_unshuffle(poses.posemaps, self.stride)
        features = self.pose_encoder(torch.cat([drawn, rest.clamp(-3, 3), limbs, positions(rest)], 1))
        spread = self.log_spread.exp()[:, None, None]
        place = F.pad(rest / spread, (0, 0, 0, 0, 0, self.free)) + self.move_by_pose(features)
        return features, place

    def _look(self, code: Code, pose_features: Tensor, place: Tensor) -> _Attended:
        """Attend within each source, then weight the sources."""
        (targets, sources), (h, w) = code.sources.shape, place.shape[2:]
        queries = rows(torch.cat([self.query(pose_features), place, torch.ones_like(place[:, :1])], 1))
        channels = queries.shape[-1]
        with torch.autocast(queries.device.type, enabled=False):  # positions need more precision than bf16
            found = F.scaled_dot_product_attention(
                (queries.float() * channels**0.5)[:, None].expand(-1, sources, -1, -1),
                code.keys.float()[code.sources],
                code.values.float()[code.sources],
            )  # (Q,T,hw,C)
        found = found.transpose(2, 3).reshape(targets, sources, channels, h, w)
        features, found_place, position = found.split([channels - place.shape[1] - 2, place.shape[1], 2], 2)
        distance = (found_place - place[:, None]).square().sum(2, keepdim=True) / 2
        opinion = self.weigh(
            torch.cat([pose_features[:, None].expand(-1, sources, -1, -1, -1), features], 2).flatten(0, 1)
        )
        unused = ~code.mask[:, :, None, None, None]
        score = (opinion.reshape(targets, sources, 1, h, w) - distance).masked_fill(unused, -torch.inf)
        share = score.softmax(1)  # (Q,T,1,h,w)
        warped, whole = _copy(code, position, share, self.stride)
        if not self.copy:
            warped, whole = torch.zeros_like(warped), torch.zeros_like(whole)
        return _Attended((share * features).sum(1), warped, whole, score.amax(1).clamp(-10, 5) / 5)


def _copy(code: Code, position: Tensor, share: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The sources' pixels (Q,3,H,W) at positions (Q,T,2,h,w) in [-1,1], weighted by shares (Q,T,1,h,w), and a mask (Q,1,H,W).

    Between two neighbors with attended positions far apart, interpolation crosses unrelated parts of the source. Such pixels
    get little weight in the mask, which the decoder sees.
    """
    targets, sources = code.sources.shape
    height, width = code.images.shape[2:]
    flow = F.interpolate(position.flatten(0, 1), scale_factor=stride, mode="bilinear").permute(0, 2, 3, 1)  # (QT,H,W,2)
    right, down = (
        (x * (width / 2)).abs() + (y * (height / 2)).abs()  # px of the source between neighbors
        for x, y in (step.unbind(-1) for step in (flow[:, :, 1:] - flow[:, :, :-1], flow[:, 1:] - flow[:, :-1]))
    )
    apart = torch.maximum(F.pad(right, (0, 1)), F.pad(down, (0, 0, 0, 1)))
    whole = torch.exp(-F.relu(apart - 2.5) / 2).reshape(targets, sources, 1, height, width)
    # If a run diverges: grid_sample reads outside the image at NaN. The loss still becomes NaN.
    flow = flow.nan_to_num()
    images = F.grid_sample(
        code.images.float()[code.sources].flatten(0, 1), flow, padding_mode="border", align_corners=False
    ).reshape(targets, sources, 3, height, width)
    share = F.interpolate(share.flatten(0, 1), scale_factor=stride, mode="bilinear").reshape_as(whole)
    weight = share * (whole + 1e-3)
    return (images * weight).sum(1) / weight.sum(1), (share * whole).sum(1)


class _PoseEncoder(nn.Module):
    """Computes features of each place of a pose and, at half the size, of its surroundings."""

    def __init__(self, channels_in: int, n: int) -> None:
        super().__init__()
        self.near = nn.Sequential(conv(channels_in, n), residual(n))
        self.far = nn.Sequential(conv(n, 2 * n, stride=2), residual(2 * n), residual(2 * n))
        self.back = conv(2 * n, n)

    def forward(self, x: Tensor) -> Tensor:
        """(B,channels_in,h,w) -> (B,n,h,w)."""
        near = self.near(x)
        features: Tensor = near + self.back(F.interpolate(self.far(near), size=near.shape[2:]))
        return features


class _Decoder(nn.Module):
    """Synthesizes an image: residual blocks at the places' size, then half the image's size, then full size."""

    def __init__(self, channels_in: int, channels: int, n: int, stride: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels_in + 3 * stride * stride, channels), *[residual(channels) for _ in range(blocks)]
        )
        ups: list[nn.Module] = []
        while stride > 2:
            ups += [nn.Conv2d(channels, 4 * n, 1), nn.PixelShuffle(2)]
            channels, stride = n, stride // 2
        self.up = nn.Sequential(*ups)
        self.out = nn.Sequential(
            nn.Conv2d(channels + 4 * 7, n, 3, 1, 1), nn.SiLU(), residual(n, norm=False), nn.Conv2d(n, 16, 3, 1, 1)
        )

    def forward(self, features: Tensor, posemap: Tensor, warped: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """(Q,channels_in,h,w), (Q,3,H,W), (Q,3,H,W), (Q,1,H,W) -> synthesized (Q,3,H,W), share of the copy (Q,1,H,W)."""
        stride = warped.shape[2] // features.shape[2]
        x = self.up(self.body(torch.cat([features, F.pixel_unshuffle(warped, stride)], 1)))  # half the image's size
        seen = F.pixel_unshuffle(torch.cat([posemap, warped, whole], 1), 2)
        synthesized = F.pixel_shuffle(in_float32(self.out[-1], self.out[:-1](torch.cat([x, seen], 1))), 2)
        return synthesized[:, :3], (synthesized[:, 3:] - 1).sigmoid()  # initially the copy's share is a quarter


def residual(channels: int, *, norm: bool = True) -> Shortcut:
    """Two 3x3 convolutions, a norm and SiLU between them, plus the input."""
    first, last = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))
    return Shortcut(first, *([_norm(channels)] if norm else []), nn.SiLU(), last)


def conv(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution with a norm and SiLU."""
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, stride, 1), _norm(channels), nn.SiLU())


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)  # groups of 8 channels if divisible


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


def positions(like: Tensor) -> Tensor:
    """x, y of the places of (B,C,h,w) in grid_sample's [-1,1]: (B,2,h,w)."""
    y, x = ((torch.arange(size, device=like.device) + 0.5) / size * 2 - 1 for size in like.shape[2:])
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(len(like), -1, -1, -1)


def rows(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,hw,C), contiguous, as the fused attention kernels need it."""
    return x.flatten(2).transpose(1, 2).contiguous()
