"""attend: it copies from the right place before it is trained, from any number of sources, in any order."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from made_up import all_of, people, person, photos, photos_of, poses_of
from repose.data.poses import Poses
from repose.models.attend import AttendGenerator, AttendSettings, Code, _copy
from repose.models.body import body_fields
from repose.models.generator import Generated

pytestmark = pytest.mark.floats

HEIGHT, WIDTH = 64, 48
STRIPES = torch.where(torch.arange(HEIGHT) // 2 % 2 == 0, -1.0, 1.0)[:, None].expand(3, HEIGHT, WIDTH)[None]  # of 2 px


def generator(**settings: Any) -> AttendGenerator:
    return AttendGenerator(AttendSettings(**{"width": 8, "blocks": 1} | settings))


def taught(network: AttendGenerator) -> AttendGenerator:
    """Move all weights a little, so that no layer gives 0."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


@torch.no_grad()
def made(network: AttendGenerator, images: Tensor, poses: Poses, sources: Sequence[int], target: Poses) -> Generated:
    return network.decode(network.encode(images, poses, *all_of([sources])), target)


@pytest.mark.parametrize("stride", [2, 8])
def test_every_stride_gives_images_of_the_inputs_size_also_without_a_body(stride):
    images, poses = photos(3, 128, 88)
    poses.keypoints[2] = torch.nan
    network = taught(generator(stride=stride, channels=32 if stride < 8 else 40))
    with torch.no_grad():
        generated = network.decode(network.encode(images, poses, *all_of([[0, 1], [2, 2]])), poses[1:])
    for part in generated:
        assert part.shape == (2, 3, 128, 88)
        assert part.isfinite().all()


def test_the_order_of_the_sources_does_not_matter():
    images, poses = photos(6)
    network, sources = taught(generator()), [0, 1, 2, 3, 4]
    one = made(network, images, poses, sources, poses[5:])
    other = made(network, images, poses, sources[::-1], poses[5:])
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_what_is_masked_has_no_influence_however_far_the_sources_are():
    """A small person as the target: on the body, a source without any joint is thousands of deviations away."""
    target = poses_of(person(HEIGHT, WIDTH, torso=0.06, at=(0.1, 0.1))[None], HEIGHT, WIDTH)
    images, poses = photos()
    poses.keypoints[0] = torch.nan
    network, sources = taught(generator()), torch.tensor([[0, 1]])
    with torch.no_grad():
        one = network.decode(network.encode(images, poses, sources, torch.tensor([[True, False]])), target)
    for a, b in zip(one, made(network, images, poses, [0], target), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def body(keypoints: Tensor) -> Tensor:
    """Where the person is: (H,W) bool."""
    return photos_of(keypoints[None], [0], HEIGHT, WIDTH)[0, 0] != 0.9


def test_before_training_a_place_looks_where_the_gaussian_says():
    stride = 4
    own, target = people(2, HEIGHT, WIDTH, seed=1)
    x, y = ((torch.arange(size) + 0.5) / size * 2 - 1 for size in (WIDTH, HEIGHT))  # grid_sample's, in red and green
    images = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.zeros(HEIGHT, WIDTH)])[None]
    source_pose, target_pose = (poses_of(keypoints[None], HEIGHT, WIDTH) for keypoints in (own, target))
    warped = made(generator(stride=stride), images, source_pose, [0], target_pose).warped
    spread = torch.tensor([0.05, 0.05, 0.07, 0.6, 0.6]).double()
    there, here = (
        body_fields(keypoints[None], HEIGHT, WIDTH, stride).rest[0].flatten(1).T.double() / spread
        for keypoints in (own, target)
    )
    share = (-torch.cdist(here, there).square() / 2).softmax(1)  # (hw of the target, hw of the source)
    position = F.avg_pool2d(images[:, :2], stride)[0].flatten(1).T.double()  # the middle of each place
    looked_at = (share @ position).T.unflatten(1, (HEIGHT // stride, WIDTH // stride))[None].float()
    expected = F.interpolate(looked_at, scale_factor=stride, mode="bilinear")[0]
    torch.testing.assert_close(warped[0, :2], expected, atol=1e-4, rtol=0)


def test_before_training_the_side_that_is_asked_for_is_looked_for():
    keypoints = torch.stack([person(HEIGHT, WIDTH), person(HEIGHT, WIDTH, back=True)])
    images = torch.stack([torch.full((3, HEIGHT, WIDTH), -1.0), torch.full((3, HEIGHT, WIDTH), 1.0)])
    target = person(HEIGHT, WIDTH, arms=(0.9, 0.4), back=True)
    source_poses, target_pose = poses_of(keypoints, HEIGHT, WIDTH), poses_of(target[None], HEIGHT, WIDTH)
    warped = made(generator(), images, source_poses, [0, 1], target_pose).warped
    assert warped[0][:, body(target)].mean() > 0.9


def test_copied_pixels_are_taken_at_full_size():
    """Stripes finer than a place: what is warped has their two colours, not their mean."""
    keypoints = person(HEIGHT, WIDTH)[None]
    poses = poses_of(keypoints, HEIGHT, WIDTH)
    warped = made(generator(stride=4), STRIPES, poses, [0], poses).warped
    assert warped[0][:, body(keypoints[0])].abs().mean() > 0.5
    assert F.avg_pool2d(STRIPES, 4).abs().max() == 0


def test_where_one_source_is_torn_the_other_counts():
    """Neighbours that look at places far apart: between them, the other source's pixels are taken."""
    images = torch.stack([torch.full((3, 16, 32), -1.0), torch.full((3, 16, 32), 1.0)])
    x, y = torch.meshgrid((torch.arange(8) + 0.5) / 4 - 1, (torch.arange(4) + 0.5) / 2 - 1, indexing="xy")
    position = torch.stack([torch.stack([x, y])] * 2)[None]  # (1,2,2,4,8): each looks at its own place
    position[0, 0, 0, :, 4:] = -0.9  # but in the first source, the right half looks at the left edge
    code = Code(images, images, images, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), images, images)
    warped, whole = _copy(code, position, torch.full((1, 2, 1, 4, 8), 0.5), 4)
    torch.testing.assert_close(warped[..., :13], torch.zeros(1, 3, 16, 13))  # both alike
    assert warped[..., 14:17].min() > 0.1
    torch.testing.assert_close(whole[..., :13], torch.ones(1, 1, 16, 13))
    assert whole[..., 14:17].max() < 0.9


def test_in_autocast_positions_stay_float32():
    images, poses = photos()
    network, index = generator(), all_of([[0, 1]])
    with torch.no_grad():
        expected = network.decode(network.encode(images, poses, *index), poses[2:3]).warped
        with torch.autocast("cpu", torch.bfloat16):
            image, warped, synthesized = network.decode(network.encode(images, poses, *index), poses[2:3])
    assert image.dtype == warped.dtype == synthesized.dtype == torch.float32
    assert (warped - expected).abs().mean() < 0.02


def test_without_copying_the_decoder_gets_no_pixels():
    """Stripes have the mean of a grey photo, and an image encoder that sees nothing else cannot tell them apart."""
    poses = poses_of(person(HEIGHT, WIDTH)[None], HEIGHT, WIDTH)
    for copy in (True, False):
        network = taught(generator(copy=copy))
        torch.nn.init.zeros_(network.image_encoder[0][0].weight)
        images = [made(network, photo, poses, [0], poses).image for photo in (STRIPES, torch.zeros_like(STRIPES))]
        assert torch.allclose(*images, atol=1e-6) != copy


def test_fixed_attention_stays_as_it_starts():
    network = generator(attention="fixed")
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    fixed = {"log_spread", "move_by_pose", "move_by_image", "query", "key", "weigh"}
    assert trained == {name.split(".")[0] for name, _ in network.named_parameters()} - fixed
    assert set(network.state_dict()) == set(generator().state_dict())
