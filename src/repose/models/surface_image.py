"""The image of the system surface: what it copies, paints and leaves of the background, from what its networks found.

The networks are those of `surface`; h = H / 4 and w = W / 4 here.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from repose.models.heads import Placed, on_face
from repose.models.warping import brighter, larger, warp

# With `unlike_training`, `generate` adds to the logits of the copied share and of shadows, multiplies changes of light and the
# logit of alpha, raises the candidates' shares to a power, and sharpens what is copied from finer photos. docs/surface.md has
# the scores.
_COPYING, _SHADOW, _LIGHT, _EDGE, _DECIDED, SHARPER = 0.3, -2.0, 0.3, 1.1, 2.0, 0.25


class Seen(NamedTuple):
    """What the places of B images show; see the module."""

    surface: Tensor  # (B,3,h,w): x, y, z on the body at rest, in heights of the person
    parts: Tensor  # (B,PARTS,h,w) logits
    features: Tensor  # (B,n,h,w)
    fine: Tensor  # (B,m,2h,2w)


class Code(NamedTuple):
    """The encoded sources of Q targets."""

    images: Tensor  # (M,3,H,W), or finer
    small: Tensor  # (M,3,H / reduce,W / reduce)
    seen: Seen  # of the M photos
    sources: Tensor  # (Q,T)
    mask: Tensor  # (Q,T)
    pooled: Tensor  # (Q,n): what the sources show, over all places
    background: Tensor  # (Q,3,H,W): that of the sources, filled in behind the person
    body: Tensor  # (M,C,h,w): the fields of the photos' bodies
    keypoints: Tensor  # (M,K,2) px of `small`


class Alike(NamedTuple):
    """What the T sources of Q targets show at the places that lie alike relative to the limbs."""

    features: Tensor  # (Q,T,n,h,w)
    surface: Tensor  # (Q,T,3,h,w)
    parts: Tensor  # (Q,T,PARTS,h,w) in [0,1]
    position: Tensor  # (Q,T,2,h,w): where that is, x and y in [-1,1]


class Matched(NamedTuple):
    """Where Q targets lie in K candidates: the T sources, these mirrored, with front and back exchanged, and by joints."""

    target: Seen
    coarse: Tensor  # (Q,K,2,h,w): where the candidate shows the place, x and y in [-1,1]
    features: Tensor  # (Q,K,n,h,w): what it shows there
    flow: Tensor  # (Q,K,2,2h,2w): as `coarse`, refined
    sight: Tensor  # (Q,K,1,2h,2w) logits: the place is in sight there
    share: Tensor  # (Q,K,1,2h,2w) in [0,1]: the weight of the candidate
    sure: Tensor  # (Q,1,2h,2w) in [0,1]: 1 where a head is copied as a whole
    head: Placed  # of the target, at the places 2h,2w


class Made(NamedTuple):
    """Everything that the decoder computes for Q targets; all but `generate`'s image is as fine as the photos."""

    image: Tensor  # (Q,3,H,W) in about [-1,1], as light and paint have no bounds
    matched: Matched
    warped: Tensor  # (Q,3,H,W)
    painted: Tensor  # (Q,3,H,W)
    alpha: Tensor  # (Q,1,H,W) logits


def composed(code: Code, matched: Matched, out: Tensor, face: Tensor, sharper: float = 0.0) -> Made:
    """The copy, made sharper by a share of its detail, the paint and the background by the decoder's output.

    Args:
        code: the sources.
        matched: where the targets lie in them.
        out: the decoder's output (Q,8,H / reduce,W / reduce): paint, the logit of the copied share, the change of light, half
            of alpha's logit, the logit of shadows, and the change of the background's light.
        face: the texture of half a face (1,3,h,w), a tenth of the logarithm of its light.
        sharper: the share of the copy's detail that is added to it.
    """
    warped = copies(code.images, code.sources, matched)
    if sharper:
        around = F.avg_pool2d(F.pad(warped, (2, 2, 2, 2), mode="replicate"), 5, 1)
        warped = warped + sharper * (warped - around)
    factor = warped.shape[2] // out.shape[2]
    if factor > 1:
        out = _enlarged(out, factor)
    painted, copied, gain, alpha, shadow, lighter = out.split([3, 1, 1, 1, 1, 1], 1)
    alpha = 2 * alpha
    painted = brighter(painted, _face_light(face, matched.head, 2 * factor))
    sure = larger(matched.sure, 2 * factor)
    elsewhere = in_sight(matched) * (1 - matched.head.near[:, None])  # heads are copied as rigid bodies, or painted
    copied = (copied + 1).sigmoid() * larger(elsewhere, 2 * factor)
    copied = copied + sure * (1 - copied)
    person = copied * brighter(warped, gain.tanh() / 2) + (1 - copied) * painted
    behind = brighter(code.background, lighter.tanh() / 2 - F.softplus(shadow - 4))
    opaque = (alpha * factor**0.5).sigmoid()  # an edge is sharper in a larger image
    opaque = opaque + sure * (1 - opaque)
    return Made(opaque * person + (1 - opaque) * behind, matched, warped, painted, alpha)


def _face_light(face: Tensor, head: Placed, factor: int) -> Tensor:
    """The logarithm of the light of eyes, brows, nose and lips at all px, (Q,3,H,W); 0 beside heads."""
    points = larger(head.points.movedim(3, 1), factor).movedim(1, 3)
    place = on_face(points)
    light = warp(face.expand(len(place), -1, -1, -1), place) * (place[:, :1] <= 1)
    return 10 * light * larger(head.near[:, None], factor)  # by 10, so that it is learned faster


def in_sight(matched: Matched) -> Tensor:
    """The share of each place that the candidates show: (Q,1,2h,2w) in [0,1]."""
    return (matched.sight.sigmoid() * matched.share).sum(1)


def each(values: Tensor, sources: Tensor, flow: Tensor) -> Tensor:
    """The values (M,C,H,W) of the sources (Q,T) at the positions of each candidate (Q,K,2,h,w): (Q,K,C,h,w)."""
    of_candidates = sources.repeat(1, flow.shape[1] // sources.shape[1])
    return warp(values[of_candidates].flatten(0, 1), flow.flatten(0, 1)).unflatten(0, of_candidates.shape)


def copies(images: Tensor, sources: Tensor, matched: Matched) -> Tensor:
    """The pixels of images (M,3,H,W) at the flow, by the candidates' shares: (Q,3,H,W)."""
    factor, result = images.shape[2] // matched.flow.shape[3], images.new_zeros(())
    of_candidates = sources.repeat(1, matched.flow.shape[1] // sources.shape[1])
    for number, of in enumerate(of_candidates.T):  # one after the other: less memory
        flow, share = larger(matched.flow[:, number], factor), larger(matched.share[:, number], factor)
        result = result + warp(images[of], flow) * share
    return result


def for_photos(out: Tensor, reduce: int) -> Tensor:
    """The decoder's output (Q,8,h,w) with more copied than was learned, its light changed less, and less shadow.

    Silhouettes get sharper, the more so if the output is to be enlarged, by `reduce`: soft edges look blurred there.
    """
    painted, copied, light, alpha, shadow, lighter = out.split([3, 1, 1, 1, 1, 1], 1)
    return torch.cat([painted, copied + _COPYING, _LIGHT * light, _EDGE * reduce * alpha, shadow + _SHADOW, lighter], 1)


def decided(matched: Matched) -> Matched:
    """The match with the most likely candidates weighing more than was learned."""
    share = matched.share.pow(_DECIDED)
    return matched._replace(share=share / share.sum(1, keepdim=True).clamp(min=1e-6))


def _enlarged(out: Tensor, factor: int) -> Tensor:
    """The decoder's output (Q,8,h,w) -> (Q,8,factor * h,factor * w).

    Paint beside the person and the light behind it have no meaning, and hardly count at the edge of the silhouette.
    """
    person = (2 * out[:, 5:6]).sigmoid()
    inside, beside = (share.pow(4) + 1e-4 for share in (person, 1 - person))
    painted = larger(out[:, :3] * inside, factor) / larger(inside, factor)
    behind = larger(out[:, 6:] * beside, factor) / larger(beside, factor)
    return torch.cat([painted, larger(out[:, 3:6], factor), behind], 1)
