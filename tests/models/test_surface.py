"""The generator of the system surface: its candidates, unused sources, sizes."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from made_up import all_of, poses_of
from mannequins.renderer.body import BONE, BONES
from repose.data.poses import Poses
from repose.data.skeleton import JOINT, MIRROR, K
from repose.models.heads import _POINTS
from repose.models.surface import MIRRORED, PARTS, STRIDE, SurfaceGenerator, SurfaceSettings, _body
from repose.models.surface_image import Code, Seen, _enlarged

pytestmark = pytest.mark.floats
SMALL = SurfaceSettings(widths=(8, 16, 16, 16), features=8, decoder=(16, 16), blocks=1, mirror=False)
ONE_SOURCE = all_of([[0]])


def generator(**settings: Any) -> SurfaceGenerator:
    """A small generator whose refined flow, sight and shares are not the initial zeros."""
    torch.manual_seed(0)
    made = SurfaceGenerator(replace(SMALL, **settings)).eval().requires_grad_(False)
    torch.nn.init.normal_(made.refine[-1].weight, std=0.2)
    return made


def plain(alpha: float = 0.0, **settings: Any) -> SurfaceGenerator:
    """A small generator whose decoder gives 0 everywhere, except half of the logit of alpha."""
    made = generator(**settings)
    torch.nn.init.zeros_(made.out.weight)
    torch.nn.init.zeros_(made.out.bias)
    made.out.bias[20:24] = alpha
    return made


def inputs(photos: int, height: int = 64, width: int = 48) -> tuple[Tensor, Poses]:
    random = torch.Generator().manual_seed(1)
    images = torch.rand(photos, 3, height, width, generator=random) * 2 - 1
    keypoints = torch.rand(photos, K, 2, generator=random) * torch.tensor([width - 1.0, height - 1.0])
    return images, poses_of(keypoints, height, width)


def image(made: SurfaceGenerator, images: Tensor, of: Poses, sources: list[int], used: list[bool]) -> Tensor:
    """The image of the last photo's pose from some sources."""
    code = made.encode(images, of, torch.tensor([sources]), torch.tensor([used]))
    return made.decode(code, of[-1:]).image


def test_mirrored_parts_exchange_left_and_right():
    assert len(MIRRORED) == len(BONES) + 1
    for part, other in enumerate(MIRRORED[:-1]):
        swapped = BONES[part].replace("right", "?").replace("left", "right").replace("?", "left")
        assert BONES[other] == swapped


@pytest.mark.parametrize(("candidate", "signs"), [(0, (1, 1, 1)), (1, (-1, 1, 1)), (2, (1, 1, -1))])
def test_a_place_is_found_in_the_source_on_the_mirrored_and_on_the_other_side(candidate, signs, monkeypatch):
    made, (images, of) = generator(), inputs(1)
    h, w = 64 // STRIDE, 48 // STRIDE
    y, x = torch.meshgrid(torch.linspace(0, 1.5, h), torch.linspace(0.1, 1.5, w), indexing="ij")
    surface = torch.stack([x, y, 0.3 + x * y])[None]  # all on the left and in front
    right, left = BONES.index("right_thigh"), BONES.index("left_thigh")
    shown = F.one_hot(torch.full((1, h, w), left), PARTS).permute(0, 3, 1, 2) * 20.0
    wanted = F.one_hot(torch.full((1, h, w), right if candidate == 1 else left), PARTS).permute(0, 3, 1, 2) * 20.0
    features, fine = torch.zeros(1, 16, h, w), torch.zeros(1, 8, 2 * h, 2 * w)
    turned = surface * torch.tensor(signs)[:, None, None]
    seen, target = Seen(surface, shown, features, fine), Seen(turned, wanted, features, fine)
    code = Code(images, images, seen, *ONE_SOURCE, torch.zeros(1, 8), images, _body(of), of.keypoints)
    monkeypatch.setattr(made, "look", lambda *_: target)
    coarse = made.match(code, of).coarse[0, :3]
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    here = torch.stack([(columns + 0.5) / w, (rows + 0.5) / h]) * 2 - 1
    off = [float(((found - here).abs() * torch.tensor([w, h])[:, None, None] / 2).mean()) for found in coarse]
    assert off[candidate] < 0.5  # places
    assert all(off[other] > 2 for other in range(3) if other != candidate)


def test_the_candidate_by_joints_moves_with_the_person():
    made, (images, _) = generator(), inputs(1)
    joints = torch.full((2, K, 2), torch.nan)
    for name, at in {"neck": (24, 16), "right_shoulder": (16, 18), "left_shoulder": (32, 18), "right_hip": (19, 36),
                     "left_hip": (29, 36), "right_knee": (18, 50), "left_knee": (30, 50)}.items():  # fmt: skip
        joints[:, JOINT[name]] = torch.tensor(at, dtype=torch.float)
    joints[1] += torch.tensor([2.0 * STRIDE, -1.0 * STRIDE])
    source, target = poses_of(joints[:1], 64, 48), poses_of(joints[1:], 64, 48)
    code = made.encode(images, source, *ONE_SOURCE)
    x, y = made._alike(code, target).position[0, 0]
    row, column = 6, 8  # a place of the target's torso
    assert float((x[row, column] + 1) * 12 / 2) == pytest.approx(column - 2 + 0.5, abs=0.5)
    assert float((y[row, column] + 1) * 16 / 2) == pytest.approx(row + 1 + 0.5, abs=0.5)


def face(x: float, y: float) -> Poses:
    """A frontal face with the middle between its ears at a place of an image of 64x48 px."""
    joints = torch.full((1, K, 2), torch.nan)
    for name, (right, up, _) in zip(("nose", "right_eye", "left_eye", "right_ear", "left_ear"), _POINTS, strict=True):
        joints[:, JOINT[name]] = torch.tensor([x + right, y - up])
    joints[:, JOINT["neck"]] = torch.tensor([x, y + 22])
    return poses_of(joints, 64, 48)


ON_FACE = slice(22, 31), slice(20, 29)  # of `face(24, 26)`


def copier(*, mirror: bool = False) -> SurfaceGenerator:
    """Takes every place for the person's head, and does not change the light of a copy."""
    made = plain(mirror=mirror)
    made.of_source.head.bias[BONE["head"] - PARTS] = 20
    return made


@pytest.mark.parametrize("mirror", [False, True])
def test_a_head_that_the_source_shows_from_the_same_side_is_copied(mirror):
    images, of = inputs(1)[0], face(24, 26)
    off = (copier(mirror=mirror).generate(images, of, *ONE_SOURCE, of).image - images).abs().mean(1)[0]
    assert float(off[ON_FACE].mean()) < 0.1 < 0.3 < float(off[54:, :].mean())


def test_the_features_of_a_face_are_painted_on_heads_alone():
    made, images, of = copier(), inputs(1)[0], face(24, 26)
    before = made.generate(images, of, *ONE_SOURCE, of).painted
    made.face += 0.05
    light = (made.generate(images, of, *ONE_SOURCE, of).painted + 1) / (before + 1)
    torch.testing.assert_close(light[0, :, *ON_FACE].mean(), torch.tensor(0.5).exp(), rtol=1e-3, atol=0)
    assert (light[0, :, 50:] == 1).all()


def test_copies_of_finer_photos_are_sharper():
    random = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    finer = F.avg_pool2d(random, 3, 1, 1)
    images, moved = (F.avg_pool2d(of, 2) for of in (finer, finer.roll((1, 1), (2, 3))))
    errors = []
    for photo in (images, finer):
        made = copier().generate(photo, face(24, 26), *ONE_SOURCE, face(24.5, 26.5)).image
        assert made.shape == images.shape
        errors.append(float((made - moved).abs()[0, :, *ON_FACE].mean()))
    assert errors[1] < 0.6 * errors[0]


def test_padded_sources_give_the_image_of_fewer_sources():
    made, (images, of) = generator(), inputs(3)
    padded = image(made, images, of, [0, 1, 2, 2], [True, True, False, False])
    torch.testing.assert_close(padded, image(made, images, of, [0, 1], [True, True]), rtol=0, atol=2e-5)


def test_with_mirror_the_image_of_mirrored_inputs_is_the_mirrored_image():
    images, of = inputs(2)
    turned = poses_of(torch.stack([47 - of.keypoints[..., 0], of.keypoints[..., 1]], 2)[:, MIRROR], 64, 48)
    for mirror in (False, True):
        made = generator(mirror=mirror)
        one = made.generate(images, of, *ONE_SOURCE, of[1:]).image
        other = made.generate(images.flip(3), turned, *ONE_SOURCE, turned[1:]).image
        assert torch.allclose(one, other.flip(3), atol=1e-3) == mirror
        assert torch.equal(one, image(made, images, of, [0], [True])) != mirror


def test_for_photos_unlike_those_of_the_training_more_is_copied():
    images, of = inputs(2)
    learned, more = (plain(9, unlike_training=unlike) for unlike in (False, True))
    results = [made.generate(images, of, *ONE_SOURCE, of[1:]) for made in (learned, more)]
    shares = [((of.image - of.painted) / (of.warped - of.painted)).median() for of in results]
    assert float(shares[0]) < float(shares[1]) <= 1.001
    assert torch.equal(image(learned, images, of, [0], [True]), image(more, images, of, [0], [True]))  # as in training


def test_the_background_gets_lighter_and_darker():
    (images, of), made, levels = inputs(2), plain(-9), []  # no person
    for light in (-0.5, 0.0, 0.5):
        made.out.bias[28:] = light
        levels.append(float(made.generate(images, of, *ONE_SOURCE, of[1:]).image.mean()) + 1)
    assert levels[0] < levels[1] < levels[2]
    assert levels[2] / levels[1] == pytest.approx(math.exp(math.tanh(0.5) / 2), rel=0.01)


def test_reduced_networks_see_the_small_photo_and_the_image_has_the_full_size():
    images, of = inputs(2)
    larger = poses_of((of.keypoints + 0.5) * 2 - 0.5, 128, 96)
    enlarged = F.interpolate(images, scale_factor=2.0)
    small, large = generator(), generator(reduce=2)
    for net in (small, large):  # alpha is the same everywhere, as it decides what of the paint counts
        net.out.weight[20:24], net.out.bias[20:24] = 0, 5
    with torch.no_grad():
        half = small.make(small.encode(images, of, *ONE_SOURCE), of[1:])
        full = large.make(large.encode(enlarged, larger, *ONE_SOURCE), larger[1:])
    torch.testing.assert_close(full.matched.flow, half.matched.flow)
    assert full.image.shape == (1, 3, 128, 96)
    torch.testing.assert_close(full.painted, F.interpolate(half.painted, scale_factor=2.0, mode="bilinear"))
    assert not torch.allclose(full.warped, F.interpolate(half.warped, scale_factor=2.0, mode="bilinear"), atol=0.1)


def test_paint_beside_the_person_and_shadows_behind_it_do_not_reach_over_its_edge():
    alpha = torch.tensor([9.0, 9.0, 0.0, -9.0, -9.0]).expand(1, 1, 5, 5)
    inside = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0]).expand(1, 3, 5, 5)
    out = torch.cat([inside, alpha, alpha, alpha, 9 * inside[:, :1], inside[:, :1]], 1)
    painted, shadow = _enlarged(out, 4)[0, 0, 10], _enlarged(out, 4)[0, 6, 10]
    assert painted[:12].min() > 0.8  # all that the person covers, also in part
    assert shadow[12:].max() < -8
    bilinear = F.interpolate(out, scale_factor=4.0, mode="bilinear")[0, :, 10]
    assert bilinear[0, :12].min() < 0.7
    assert bilinear[6, 12:].max() > -4
