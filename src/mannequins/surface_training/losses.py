"""The terms of the loss: geometry against the renderer's truth, painting against the photo, and the adversarial term.

Letters: see `batches`.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from mannequins.renderer.body import BONE
from mannequins.surface_training.batches import Batch
from mannequins.surface_training.renders import BACKGROUND
from repose.config import settings
from repose.models.lite0 import LAYERS, Lite0
from repose.models.surface import PARTS
from repose.models.surface_image import Code, Made, Matched
from repose.systems import Terms

_FAR = 8.0  # px: beyond this error, flow counts a quarter, so that hopeless places do not rule
_HEAD = 48  # px: the side of a head cut out
_HEAD_LAYERS = 3  # of the features, for so small an image


@settings
class LossSettings:
    """The weight of each term."""

    surface: NonNegativeFloat  # L1 of the coordinates on the body, of sources and targets
    parts: NonNegativeFloat  # cross-entropy of the part, of sources and targets
    coarse: NonNegativeFloat  # error of the flow at stride 4, per 8 px
    flow: NonNegativeFloat  # error of the refined flow, per 8 px
    sight: NonNegativeFloat  # cross-entropy of whether a place is in sight in the source
    l1: NonNegativeFloat  # of the image
    ssim: NonNegativeFloat  # 1 - SSIM of the image
    alpha: NonNegativeFloat  # cross-entropy of the silhouette
    alpha_l1: NonNegativeFloat  # L1 of the silhouette, which makes its edge sharp
    painted: NonNegativeFloat  # L1 of the painted person, where the person is
    features: NonNegativeFloat  # of EfficientNet-Lite0
    gram: NonNegativeFloat  # of the features' Gram matrices
    head: NonNegativeFloat  # L1 and features of the head, cut out and enlarged: that of the image, and the painted one
    adversarial: NonNegativeFloat  # minus the discriminator's score


def geometry(batch: Batch, code: Code, matched: Matched) -> Terms:
    """The terms surface, parts, coarse, flow and sight."""
    covered = (batch.parts != BACKGROUND).float()[:, None]
    share = F.avg_pool2d(covered, 2)  # of a place at stride 4
    surface = F.avg_pool2d(batch.surface * covered, 2) / share.clamp(min=0.1)
    parts = F.avg_pool2d(F.one_hot(batch.parts, PARTS).movedim(3, 1).float(), 2)  # shares of the parts in a place
    both = code.seen, matched.target
    sight, used = batch.sight.float()[:, :, None], batch.sources.shape[1]  # mirrored candidates have no truth
    seen = F.avg_pool2d(sight.flatten(0, 1), 2)
    coarse = F.avg_pool2d((batch.flow * sight).flatten(0, 1), 2) / seen.clamp(min=0.2)
    found_coarse, found = (in_px(flow[:, :used], batch) for flow in (matched.coarse, matched.flow))
    return {
        "surface": sum_of([_mean_where((of.surface - surface).abs(), (share > 0.7).float()) for of in both]),
        "parts": sum_of([F.cross_entropy(of.parts, parts) for of in both]),
        "coarse": _mean_where(_flow_error(found_coarse.flatten(0, 1), coarse), (seen > 0.9).float()),
        "flow": _mean_where(_flow_error(found, batch.flow), sight),
        "sight": F.binary_cross_entropy_with_logits(matched.sight[:, :used], sight),
    }


def in_px(flow: Tensor, batch: Batch) -> Tensor:
    """Positions (...,2,h,w) in [-1,1] -> px of the photos."""
    height, width = batch.images.shape[2:]
    return (flow + 1) * flow.new_tensor([width, height])[:, None, None] / 2 - 0.5


def flow_errors(batch: Batch, matched: Matched) -> Tensor:
    """The distance between the refined flow and the truth at all places in sight: (n,) px."""
    found = in_px(matched.flow[:, : batch.sources.shape[1]].detach(), batch)
    return (found - batch.flow).square().sum(2).sqrt()[batch.sight]


def _flow_error(found: Tensor, truth: Tensor) -> Tensor:
    """(...,2,h,w) px -> (...,1,h,w): |x| + |y| per _FAR px, a quarter of it beyond."""
    error = (found - truth).abs().sum(-3, keepdim=True) / _FAR
    return torch.where(error < 1, error, 1 + 0.25 * (error - 1))


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """The mean of (...,C,h,w) where (...,1,h,w) is 1; towards 0 if that is almost nowhere."""
    return (values * where).sum() / (values.shape[-3] * where.sum() + 1)


def sum_of(terms: list[Tensor]) -> Tensor:
    """The sum of scalars."""
    return torch.stack(terms).sum()


def painting(batch: Batch, made: Made, features: Lite0) -> Terms:
    """The terms l1, ssim, alpha, alpha_l1, painted, features, gram and head."""
    with torch.no_grad():
        expected = features(batch.images)
    found, alpha = features(made.image), batch.alpha
    painted = ((made.painted - batch.images).abs() * alpha).sum() / (3 * alpha.sum())
    without_copy = alpha * made.painted + (1 - alpha) * batch.images
    return {
        "l1": F.l1_loss(made.image, batch.images),
        "ssim": 1 - ssim(made.image, batch.images),
        "alpha": F.binary_cross_entropy_with_logits(made.alpha, alpha),
        "alpha_l1": F.l1_loss(made.alpha.sigmoid(), alpha),
        "painted": painted,
        "features": distance(found, expected),
        "gram": gram_distance(found, expected),
        "head": _head(batch, [made.image, without_copy], features),
    }


def distance(made: list[Tensor], expected: list[Tensor]) -> Tensor:
    """The squared distance of features, as in LPIPS without its learned weights; a sum over layers, over four. A scalar."""
    terms = [(a - b).square().sum(1).mean() for a, b in zip(made, expected, strict=True)]
    return torch.stack(terms).sum() / LAYERS


def gram_distance(made: list[Tensor], expected: list[Tensor]) -> Tensor:
    """The L1 distance of the features' Gram matrices, which compares textures wherever they are. A scalar."""
    terms = [(_gram(a) - _gram(b)).abs().sum((1, 2)).mean() for a, b in zip(made, expected, strict=True)]
    return torch.stack(terms).mean()


def _gram(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,C)."""
    return torch.einsum("bcx,bdx->bcd", x.flatten(2), x.flatten(2)) / x[0, 0].numel()


def ssim(made: Tensor, target: Tensor) -> Tensor:
    """The mean SSIM of images (B,3,H,W) in [-1,1], with a Gaussian window of 11 px; float32 even under autocast. A scalar."""
    with torch.autocast(made.device.type, enabled=False):
        a, b = ((image.float().flatten(0, 1) + 1) / 2 for image in (made, target))
        x = torch.cat([a, b, a * a, b * b, a * b])
        down, across = (_window_means(size, a.device) for size in x.shape[1:])
        mean_a, mean_b, aa, bb, ab = (down @ x @ across.T).chunk(5)
        product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
        similar = (2 * product + 1e-4) * (2 * (ab - product) + 9e-4)
        return (similar / ((squares + 1e-4) * (aa + bb - squares + 9e-4))).mean()


def _window_means(size: int, device: torch.device) -> Tensor:
    """The means over Gaussian windows of 11 values, as a matrix (size - 10,size): a convolution takes 20 times as long."""
    offset = torch.arange(size, device=device) - torch.arange(5, size - 5, device=device)[:, None]
    weights = torch.exp(-(offset**2) / (2 * 1.5**2)) * (offset.abs() <= 5)
    return weights / weights.sum(1, keepdim=True)


def _head(batch: Batch, images: list[Tensor], features: Lite0) -> Tensor:
    """The sum over images (M,3,H,W) of the photos."""
    places, there = _head_places(batch.parts)
    if not there.any():
        return sum_of([image.sum() * 0 for image in images])
    grid = F.affine_grid(places[there], [int(there.sum()), 3, _HEAD, _HEAD], align_corners=False)
    target, *made = (
        F.grid_sample(of[there].float(), grid, padding_mode="border", align_corners=False)
        for of in (batch.images, *images)
    )
    with torch.no_grad():
        expected = features(target, _HEAD_LAYERS)
    return sum_of([F.l1_loss(of, target) + distance(features(of, _HEAD_LAYERS), expected) for of in made])


def _head_places(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Squares around the heads of (M,h,w): affine matrices (M,2,3), and which photos show a head (M,)."""
    head = (parts == BONE["head"]).float()
    h, w = head.shape[1:]
    count = head.sum((1, 2))
    rows, columns = (torch.arange(n, device=head.device) + 0.5 for n in (h, w))
    y, x = (head.sum(2) * rows).sum(1) / (count + 1e-6), (head.sum(1) * columns).sum(1) / (count + 1e-6)
    reach, zero = (count / 3.14).sqrt() * 1.6 + 1, torch.zeros_like(count)
    places = [reach / w * 2, zero, x / w * 2 - 1, zero, reach / h * 2, y / h * 2 - 1]
    return torch.stack(places, 1).view(-1, 2, 3), count > 6


class Patches(nn.Module):
    """A PatchGAN with spectral norm (Miyato et al. 2018) on images and pose maps, for the hinge loss."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (6, width, 2 * width, 4 * width, 4 * width)
        for number, (few, many) in enumerate(pairwise(widths)):
            conv = nn.Conv2d(few, many, 4, 2, 1) if number < 3 else nn.Conv2d(few, many, 3, 1, 1)
            layers += [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, image: Tensor, posemaps: Tensor) -> Tensor:
        """(B,3,H,W) in [-1,1] each -> scores (B,1,H/8,W/8): positive for real photos."""
        scores: Tensor = self.body(torch.cat([image, posemaps], 1))
        return scores


def discriminator_loss(discriminator: nn.Module, batch: Batch, made: Tensor) -> Tensor:
    """The hinge loss of photos and of made images (M,3,H,W). A scalar."""
    maps = batch.poses.posemaps
    real, fake = discriminator(batch.images, maps).float(), discriminator(made.detach(), maps).float()
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
