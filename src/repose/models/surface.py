"""surface: a generator that finds each spot of the target's body in the sources, copies it, and paints what no source shows.

docs/surface.md describes the model and its training. Two encoders predict what each place of a picture shows: its coordinates
on the body at rest, and its part (a bone of the mannequins, or the background). Each place of the target attends to places of
each source with similar coordinates and the same part, also of the mirrored body and with front and back exchanged, which look
alike on most clothes. A second network refines these flows at half of the image's size and weights all candidates.

The decoder predicts an alpha, a painted person, and the share and brightness of the copy.
"""

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from repose.config import settings
from repose.data.posemaps import colour, draw
from repose.data.poses import Poses
from repose.data.skeleton import MIRROR
from repose.models.attend import conv, positions, residual, rows
from repose.models.body import LIMB_CHANNELS, REST_CHANNELS, body_fields
from repose.models.generator import Generated
from repose.models.heads import moved_heads, placed_heads
from repose.models.layers import Blocks, in_float32
from repose.models.surface_image import (
    SHARPER,
    Alike,
    Code,
    Made,
    Matched,
    Seen,
    composed,
    copies,
    decided,
    each,
    for_photos,
    in_sight,
)  # fmt: skip
from repose.models.warping import filled, larger, smoothed

_FACE = 64, 32  # rows and columns of the texture of a face
_LIMB = 1 / 32  # width of a drawn limb, in heights of the image
STRIDE = 4  # px between the places at which sources and target are matched
# The parts: pelvis, chest, neck, head, then arm and leg of the right and of the left side (`mannequins.renderer.body.BONES`).
MIRRORED = (0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 4, 5, 6, 7, 8, 9, 16)
PARTS = len(MIRRORED)  # the last is the background
_NECK_AND_HEAD = slice(2, 4)


@settings
class SurfaceSettings:
    """The sizes and initialization of the generator."""

    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (24, 64, 96, 128)  # at strides 2, 4, 8, 16
    features: PositiveInt = 48  # of a place, that are attended to
    keys: PositiveInt = 8  # learned channels of a query or key, beside coordinates and parts
    decoder: tuple[PositiveInt, PositiveInt] = (96, 48)  # its widths at strides 4 and 2
    blocks: Blocks = 3  # its residual blocks at stride 4
    spread: PositiveFloat = 0.02  # initial standard deviation of the match, in heights of the person
    reduce: PositiveInt = 1  # the networks see images of 1/reduce the size; flow, paint and alpha are then enlarged
    mirror: bool = True  # `generate` makes each image twice, also from the mirrored photos; training does not
    unlike_training: bool = False  # `generate` copies more: for photos, with weights that only saw renderings


# Candidates for a place of the body: the place itself, the mirrored one, and the one with front and back exchanged. Each has
# signs of x, y and z at rest, whether left and right parts are exchanged, and a penalty (of a logit).
_ALIKE = (((1, 1, 1), False, 0.0), ((-1, 1, 1), True, 1.0), ((1, 1, -1), False, 2.0))
_BY_JOINTS = 2.0  # the penalty of the last candidate: the place that lies alike relative to the limbs
_KINDS = len(_ALIKE) + 1
_VIEW = slice(3, 5)  # the channels of `_body` that say from where the body is seen
_VIEW_REACH = 0.1  # torso lengths at which the match by joints sees a frontal and a side view apart


class SurfaceGenerator(nn.Module):
    """Photos of one item with their poses and a target pose -> the item in that pose."""

    def __init__(self, settings: SurfaceSettings) -> None:
        super().__init__()
        fine, near = settings.widths[:2]
        n = settings.features
        body = REST_CHANNELS + LIMB_CHANNELS + 2
        self.of_source = _Encoder(24, body, settings.widths)
        self.of_target = _Encoder(12, body + n + n + PARTS, settings.widths)
        self.feature = nn.Conv2d(near, n, 1)
        self.pool = nn.Sequential(nn.Conv2d(near, n, 1), nn.SiLU(), nn.Conv2d(n, n, 1))
        self.query, self.key = nn.Conv2d(near, settings.keys, 1), nn.Conv2d(near, settings.keys, 1)
        self.log_spread = nn.Parameter(torch.tensor(settings.spread).log())
        self.same_part = nn.Parameter(torch.tensor(3.0))
        self.log_reach = nn.Parameter(torch.tensor(0.08).log())  # of the match by joints, torso lengths
        self.reduce, self.mirror, self.unlike_training = settings.reduce, settings.mirror, settings.unlike_training
        self.refine = nn.Sequential(conv(2 * fine + 1 + _KINDS, 32), residual(32), nn.Conv2d(32, 4, 3, 1, 1))
        self.decode_near = nn.Sequential(
            conv(near + n + 3 + PARTS + 1 + 48, settings.decoder[0]),
            *[residual(settings.decoder[0]) for _ in range(settings.blocks)],
            nn.Conv2d(settings.decoder[0], 4 * settings.decoder[1], 1), nn.PixelShuffle(2),
        )  # fmt: skip
        self.decode_fine = nn.Sequential(
            conv(settings.decoder[1] + 2 * fine + 24 + 1 + 5, settings.decoder[1]),
            residual(settings.decoder[1]), residual(settings.decoder[1]),
        )  # fmt: skip
        self.out = nn.Conv2d(settings.decoder[1], 4 * 8, 3, 1, 1)
        self.face = nn.Parameter(torch.zeros(1, 3, *_FACE))  # the light of an average face, half of it
        for parameter in self.refine[-1].parameters():
            nn.init.zeros_(parameter)

    def encode(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor) -> Code:
        """See `Generator.encode`. The photos may have a multiple of the height and width of the poses' maps."""
        small = F.avg_pool2d(images, self.reduce * (images.shape[2] // poses.posemaps.shape[2]))
        poses = self._drawn(poses)
        body = _body(poses)
        seen = self.of_source(F.pixel_unshuffle(torch.cat([small, poses.posemaps], 1), 2), body)
        valid = mask[..., None].to(images.dtype) / mask.sum(1)[:, None, None]
        pooled = (self.pool(seen.features).mean((2, 3))[sources] * valid).sum(1)
        person = 1 - seen.parts.float().softmax(1)[:, -1:]
        background = (filled(images, person)[sources] * valid[..., None, None]).sum(1)
        return Code(images, small, seen, sources, mask, pooled, background, body, poses.keypoints)

    def decode(self, code: Code, target_pose: Poses, photo: Tensor | None = None) -> Generated:  # noqa: ARG002
        """Images (Q,3,H,W) in about [-1,1], with their warped and painted parts; `photo` is not used."""
        made = self.make(code, target_pose)
        return Generated(made.image, made.warped, made.painted)

    def look(self, code: Code, target_pose: Poses, alike: Alike) -> Seen:
        """What the places of the Q targets show."""
        body = _body(target_pose)
        pooled = code.pooled[:, :, None, None].expand(-1, -1, *body.shape[2:])
        turned = (body[:, None, _VIEW] - code.body[code.sources][:, :, _VIEW]).square().sum(2, keepdim=True)
        share = (-4 * turned).masked_fill(~code.mask[:, :, None, None, None], -1e4).softmax(1)
        guide = [(share * of).sum(1) for of in (alike.features, alike.parts)]
        seen: Seen = self.of_target(F.pixel_unshuffle(target_pose.posemaps, 2), torch.cat([body, pooled, *guide], 1))
        return seen

    def match(self, code: Code, target_pose: Poses) -> Matched:
        """Find the places of the targets in the sources; `target_pose` is drawn at the networks' size."""
        alike = self._alike(code, target_pose)
        target = self.look(code, target_pose, alike)
        coarse, features, near = self._match(code, target, alike)
        flow, sight, weight = self._refine(code, target, coarse, near)
        head = placed_heads(target_pose.keypoints, code.small.shape[2:], STRIDE // 2)
        matched = Matched(target, coarse, features, flow, sight, weight.softmax(1), flow.new_zeros(()), head)
        return self._with_heads(code, matched)

    def make(self, code: Code, target_pose: Poses) -> Made:
        """Match, warp and paint."""
        return composed(code, *self._decoded(code, target_pose), self.face)

    def generate(self, images: Tensor, poses: Poses, sources: Tensor, mask: Tensor, target_pose: Poses) -> Made:
        """Encode and make; with `mirror`, from the photos and from the mirrored ones. See `encode` for the arguments.

        The decoder's output and the image are the means of both; matches, `warped` and `painted` are those of the photos.
        The image has the size of the poses' maps. Finer photos make it sharper.
        """
        (height, width), code = poses.posemaps.shape[2:], self.encode(images, poses, sources, mask)
        matched, out = self._decoded(code, target_pose)
        if self.mirror:
            mirrored = self.encode(images.flip(3), _mirrored(poses, width), sources, mask)
            of_mirrored, other = self._decoded(mirrored, _mirrored(target_pose, width))
            out = (out + other.flip(3)) / 2
        if self.unlike_training:
            out, matched = for_photos(out, self.reduce), decided(matched)
        sharper = SHARPER if self.unlike_training and images.shape[2] > height else 0.0
        made = composed(code, matched, out, self.face, sharper)
        image = made.image
        if self.mirror:
            of_mirrored = decided(of_mirrored) if self.unlike_training else of_mirrored
            image = (image + composed(mirrored, of_mirrored, out.flip(3), self.face, sharper).image.flip(3)) / 2
        if images.shape[2] > height:  # by the filter of `Frame.image`
            image = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
        return made._replace(image=image)

    def _decoded(self, code: Code, target_pose: Poses) -> tuple[Matched, Tensor]:
        """The match, and the decoder's output (Q,8,H / reduce,W / reduce)."""
        target_pose = self._drawn(target_pose)
        matched = self.match(code, target_pose)
        target, share = matched.target, matched.share
        warped = copies(code.small, code.sources, matched)
        fine = each(code.seen.fine, code.sources, matched.flow)
        sight = in_sight(matched)
        coarse_share = F.avg_pool2d(share.flatten(0, 1), 2).unflatten(0, share.shape[:2])
        x = torch.cat([
            target.features, (matched.features * coarse_share).sum(1), target.surface, target.parts.softmax(1),
            F.avg_pool2d(sight, 2), F.pixel_unshuffle(warped, 4),
        ], 1)  # fmt: skip
        drawn = F.pixel_unshuffle(target_pose.posemaps, 2)
        near, sure = matched.head.near[:, None], matched.sure
        head = torch.cat([near * matched.head.points.movedim(3, 1) / 10, near, sure], 1)
        x = torch.cat(
            [self.decode_near(x), target.fine, (fine * share).sum(1), F.pixel_unshuffle(warped, 2), sight, drawn, head],
            1,
        )
        return matched, smoothed(F.pixel_shuffle(in_float32(self.out, self.decode_fine(x)), 2))

    def _drawn(self, poses: Poses) -> Poses:
        """The poses at the networks' size; their maps are drawn again, as limbs there have one width."""
        height, width = (side // self.reduce for side in poses.posemaps.shape[2:])
        keypoints = (poses.keypoints + 0.5) / self.reduce - 0.5
        maps = draw(keypoints, height=height, width=width, line_width=max(1.0, height * _LIMB))
        return Poses(colour(maps), keypoints)

    def _alike(self, code: Code, target_pose: Poses) -> Alike:
        """The places of the sources with the coordinates that each place of the targets has, both from joints alone."""
        seen = code.seen
        source, target = (
            torch.cat([body[:, :2], _VIEW_REACH * body[:, _VIEW]], 1).float() * torch.exp(-self.log_reach)
            for body in (code.body, _body(target_pose))
        )  # fmt: skip
        keys = torch.cat([source, -source.square().sum(1, keepdim=True) / 2], 1)
        queries = torch.cat([target, torch.ones_like(target[:, :1])], 1)
        values = [self.feature(seen.features), seen.surface, seen.parts.softmax(1), positions(seen.surface)]
        found = _attended(queries, rows(keys)[code.sources], rows(torch.cat(values, 1))[code.sources])
        return Alike(*found.split([found.shape[2] - 5 - PARTS, 3, PARTS, 2], 2))

    def _with_heads(self, code: Code, matched: Matched) -> Matched:
        """Heads are copied as rigid bodies, from the place itself and, where it is hidden, from the mirrored one."""
        used, parts = code.sources.shape[1], code.seen.parts.float().softmax(1)
        # A shoulder or collar may lie where the average head has its chin.
        shown = (3 * parts[:, _NECK_AND_HEAD].sum(1, keepdim=True)).clamp(max=1) * (1 - parts[:, -1:])
        direct, mirrored = moved_heads(
            matched.head, code.keypoints, code.sources, code.mask, shown, code.small.shape[2:]
        )
        sure = (direct.share + mirrored.share).sum(1)
        flow, share = (list(of.split(used, 1)) for of in (matched.flow, matched.share * (1 - sure[:, None])))
        for kind, head in ((-1, direct), (1, mirrored)):
            flow[kind] = torch.where(head.share > 0, head.position, flow[kind])
            share[kind] = share[kind] + head.share
        return matched._replace(flow=torch.cat(flow, 1), share=torch.cat(share, 1), sure=sure)

    def _match(self, code: Code, target: Seen, alike: Alike) -> tuple[Tensor, Tensor, Tensor]:
        """For each candidate: positions (Q,K,2,h,w), features (Q,K,n,h,w), nearness on the body (Q,K,1,h,w) in (0,1]."""
        seen, features, keys, values = code.seen, self.feature(code.seen.features), [], []
        learned, scale = self.key(seen.features), torch.exp(-self.log_spread)
        for signs, mirrored, _ in _ALIKE:
            parts, surface = seen.parts.softmax(1), seen.surface * seen.surface.new_tensor(signs)[:, None, None]
            if mirrored:
                parts = parts[:, list(MIRRORED)]
            known = torch.log(1 - parts[:, -1:] + 1e-3)
            scaled = surface * scale
            keys.append(
                torch.cat([scaled, known - scaled.square().sum(1, keepdim=True) / 2, parts[:, :-1], learned], 1)
            )
            values.append(torch.cat([features, surface, positions(surface)], 1))
        queries = torch.cat([
            target.surface * scale, torch.ones_like(target.surface[:, :1]),
            target.parts.softmax(1)[:, :-1] * self.same_part, self.query(target.features),
        ], 1)  # fmt: skip
        found = _attended(queries, *(torch.cat([rows(x)[code.sources] for x in of], 1) for of in (keys, values)))
        by_surface = found.split([found.shape[2] - 5, 3, 2], 2)
        by_joints = alike.features, alike.surface, alike.position
        features, surface, position = (torch.cat(of, 1) for of in zip(by_surface, by_joints, strict=True))
        distance = (surface - target.surface[:, None]).square().sum(2, keepdim=True)
        return position, features, torch.exp(-distance / 0.005)

    def _refine(self, code: Code, target: Seen, coarse: Tensor, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The flow at half the image's size, and logits of being in sight and of the share of each candidate."""
        flow = larger(coarse.flatten(0, 1)).unflatten(0, coarse.shape[:2])
        fine = each(code.seen.fine, code.sources, flow)
        of_target = target.fine[:, None].expand(-1, flow.shape[1], -1, -1, -1)
        which = torch.eye(_KINDS, device=flow.device)[1:].repeat_interleave(code.sources.shape[1], 1)  # (n,K)
        which = which.T[None, :, :, None, None].expand(len(flow), -1, -1, *flow.shape[3:])
        near = larger(near.flatten(0, 1)).unflatten(0, near.shape[:2])
        flat = flow.flatten(0, 1)
        spread = (flat - F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)).abs().sum(1, keepdim=True)
        spread = (10 * spread).clamp(max=2).unflatten(0, flow.shape[:2])
        x = torch.cat([of_target, fine, near, which, spread], 2)
        move, sight, weight = in_float32(self.refine, x.flatten(0, 1)).unflatten(0, flow.shape[:2]).split([2, 1, 1], 2)
        penalties = torch.tensor([*(penalty for *_, penalty in _ALIKE), _BY_JOINTS], device=flow.device)
        unlikely = penalties.repeat_interleave(code.sources.shape[1])
        prior = torch.log(near + 1e-3) - unlikely[:, None, None, None]
        unused = ~code.mask.repeat(1, _KINDS)[:, :, None, None, None]
        return flow + 0.1 * move.tanh(), sight, (weight + sight + prior).masked_fill(unused, -1e4)


class _Encoder(nn.Module):
    """A U-Net from stride 2 to 16 and back to 4, which predicts what each place shows."""

    def __init__(self, channels_in: int, extra: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        fine, near, mid, far = widths
        self.fine = nn.Sequential(conv(channels_in, fine), residual(fine))
        self.down = conv(fine, near, stride=2)
        self.near = nn.Sequential(conv(near + extra, near), residual(near))
        self.mid = nn.Sequential(conv(near, mid, stride=2), residual(mid))
        self.far = nn.Sequential(conv(mid, far, stride=2), residual(far), residual(far))
        self.up_mid = nn.Sequential(conv(far + mid, mid), residual(mid))
        self.up_near = nn.Sequential(conv(mid + near, near), residual(near))
        self.up_fine = conv(near + fine, fine)
        self.head = nn.Conv2d(near + extra, 3 + PARTS, 1)  # the fields of the body nearly say it

    def forward(self, x: Tensor, extra: Tensor) -> Seen:
        """(B,channels_in,H/2,W/2), (B,extra,h,w) -> what is seen."""
        fine = self.fine(x)
        near = self.near(torch.cat([self.down(fine), extra], 1))
        mid = self.mid(near)
        mid = self.up_mid(torch.cat([F.interpolate(self.far(mid), size=mid.shape[2:]), mid], 1))
        near = self.up_near(torch.cat([F.interpolate(mid, size=near.shape[2:]), near], 1))
        fine = self.up_fine(torch.cat([F.interpolate(near, size=fine.shape[2:]), fine], 1))
        surface, parts = in_float32(self.head, torch.cat([near, extra], 1)).split([3, PARTS], 1)
        return Seen(surface + surface.new_tensor([0, 0.6, 0])[:, None, None], parts, near, fine)


def _body(poses: Poses) -> Tensor:
    """The fields of the body, and each place's position: (B,C,h,w)."""
    height, width = poses.posemaps.shape[2:]
    rest, limbs = body_fields(poses.keypoints, height, width, STRIDE)
    return torch.cat([rest.clamp(-3, 3), limbs, positions(rest)], 1)


def _attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What queries (Q,C,h,w) find among keys (Q,K,hw,C) with values (Q,K,hw,C'), in float32: (Q,K,C',h,w)."""
    with torch.autocast(queries.device.type, enabled=False):
        query = rows(queries.float())[:, None].expand(-1, keys.shape[1], -1, -1)
        found = F.scaled_dot_product_attention(query, keys.float(), values.float(), scale=1.0)
    return found.transpose(2, 3).unflatten(3, queries.shape[2:])


def _mirrored(poses: Poses, width: int) -> Poses:
    """The poses in mirrored photos of `width` px."""
    x, y = poses.keypoints[:, MIRROR].unbind(2)
    return Poses(poses.posemaps.flip(3), torch.stack([width - 1 - x, y], 2))
