"""vunet: its first weights, its prior, one step written out, and what a step and an image depend on."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from made_up import made, pairs
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.data.skeleton import JOINT
from repose.errors import ReposeError
from repose.models.vunet import Inputs, Prior, WeightNormConv2d, merge_groups, split_groups
from repose.models.vunet_inputs import in_square, part_crops, resized, stickman
from repose.systems import Progress, build
from repose.systems.vunet import VUNetSettings, VUNetSystem, kl_divergence

HEIGHT, WIDTH = 32, 24
SMALL = VUNetSettings("vunet", 100, width=4)
START = Progress(0, 100, 4)


def system_of(row: VUNetSettings = SMALL) -> VUNetSystem:
    torch.manual_seed(0)
    return build(row, Frame(HEIGHT, WIDTH))


def step(
    system: VUNetSystem, batch: Batch, progress: Progress = START, perceptual: Any = None, seed: int = 1
) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return system.step(batch, perceptual, progress, nullcontext())


def begun(system: VUNetSystem) -> VUNetSystem:
    step(system, pairs(4, HEIGHT, WIDTH))
    return system


def with_joints_missing(batch: Batch, photos: list[int], joint: str | None = None) -> Batch:
    keypoints = batch.poses.keypoints.clone()
    keypoints[photos, JOINT[joint] if joint else slice(None)] = torch.nan
    return replace(batch, poses=Poses(batch.poses.posemaps, keypoints))


def weights(system: VUNetSystem) -> Tensor:
    return torch.cat([value.detach().flatten() for value in system.vunet.state_dict().values()])


def test_kl_counts_as_the_authors_schedule_says():
    found = {s: VUNetSettings("vunet", 100_000).kl_weight(Progress(s, 100_000, 9)) for s in range(0, 100_000, 6_250)}
    assert [found[s] for s in range(0, 50_001, 6_250)] == [1e-6] * 9
    assert [found[s] for s in (56_250, 62_500, 68_750)] == pytest.approx([0.25, 0.5, 0.75], abs=1e-5)
    assert [found[s] for s in range(75_000, 100_000, 6_250)] == [1.0] * 4


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2)])
def test_a_convolution_is_weight_normalised(kernel, stride):
    layer, x = WeightNormConv2d(5, 7, kernel, stride), torch.randn(2, 5, 8, 6)
    with torch.no_grad():
        layer.g.uniform_(0.5, 2)
        layer.b.uniform_(-1, 1)
    plain = nn.utils.parametrizations.weight_norm(nn.Conv2d(5, 7, kernel, stride))
    with torch.no_grad():
        plain.parametrizations.weight.original0.copy_(layer.g[:, None, None, None])
        plain.parametrizations.weight.original1.copy_(layer.V)
        plain.bias.copy_(layer.b)
    around = (0, 1, 0, 1) if stride == 2 else (kernel // 2,) * 4  # TensorFlow's SAME
    torch.testing.assert_close(layer(x), plain(F.pad(x, around)))
    assert list(layer.state_dict()) == ["V", "g", "b"]


@pytest.mark.floats
def test_the_first_photos_set_each_layer_to_mean_0_and_variance_1():
    system, batch = system_of(), pairs(6, HEIGHT, WIDTH)
    given = system._inputs(*own(batch))
    found: dict[str, Tensor] = {}
    for name, module in system.vunet.named_modules():
        if isinstance(module, WeightNormConv2d):
            module.register_forward_hook(lambda _, __, output, name=name: found.update({name: output}))
    torch.manual_seed(3)
    system.vunet.begin(given)
    torch.manual_seed(3)  # the same dropout, the same latents
    system.vunet(Inputs(*(torch.cat([each] * 6) for each in given)))  # 32 photos or more
    computed = len([m for m in system.vunet.modules() if isinstance(m, WeightNormConv2d)])
    assert len(found) == computed - 5  # all but the way on from the latents
    for name, output in found.items():
        variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0, msg=name)
        torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-2, rtol=0, msg=name)


def test_a_channel_that_is_the_same_everywhere_keeps_its_scale():
    layer = WeightNormConv2d(3, 4, 1)
    layer.beginning = True
    with torch.no_grad():
        output = layer(torch.full((2, 3, 4, 4), 0.7))
    assert torch.equal(layer.g, torch.ones(4))
    torch.testing.assert_close(output, torch.zeros_like(output), atol=1e-6, rtol=0)


def own(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    keypoints = batch.poses.keypoints[batch.target]
    return batch.images[batch.target], keypoints, keypoints


@pytest.mark.floats
def test_latents_are_drawn_with_variance_1_and_those_of_the_next_size_depend_on_them():
    appearance = begun(system_of(replace(SMALL, dropout=0.0))).vunet.appearance
    parts = torch.rand(64, 24, 16, 16) * 2 - 1
    with torch.no_grad():
        (means, latents), (again, _), fixed = (appearance(parts, sample=sample) for sample in (True, True, False))
    for mean, latent in zip(means, latents, strict=True):
        assert (latent - mean).std().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(means[0], again[0])
    assert not torch.equal(means[1], again[1])
    assert fixed[0] == fixed[1]


def test_the_prior_of_a_group_knows_only_the_groups_before():
    prior = Prior(4, 0.0)
    h, latent = torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        before = split_groups(prior(h, latent))
        for group in range(4):
            other = split_groups(latent)
            other[group] = other[group] + 1
            after = split_groups(prior(h, merge_groups(other)))
            same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
            assert same == [number <= group for number in range(4)]


def test_kl_is_summed_over_a_photos_latents_and_averaged_over_photos():
    q = [torch.zeros(2, 1, 2, 2), torch.zeros(2, 3, 1, 1)]
    p = [torch.full((2, 1, 2, 2), 2.0), torch.stack([torch.ones(3, 1, 1), torch.zeros(3, 1, 1)])]
    assert kl_divergence(q, p).item() == ((4 * 4 + 3) / 2 + 4 * 4 / 2) / 2


class Fake(nn.Module):
    """In VGG19's place."""

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        assert generated.shape == target.shape == (3, 3, HEIGHT, HEIGHT)
        return (generated - target).square().mean()


@pytest.mark.floats
def test_a_step_is_the_step_written_out():
    system, batch, progress = begun(system_of()), pairs(3, HEIGHT, WIDTH), Progress(60, 100, 4)
    images, keypoints, _ = own(batch)
    square, large = resized(images, HEIGHT, HEIGHT), in_square(keypoints, HEIGHT, WIDTH, HEIGHT)
    system.vunet.zero_grad()
    torch.manual_seed(1)
    generated, posterior, prior = system.vunet(Inputs(part_crops(square, large, 16), stickman(large, HEIGHT)))
    l1, kl, perceptual = (generated - square).abs().mean(), kl_divergence(posterior, prior), Fake()(generated, square)
    (5 * 127.5 * l1 + (1e-6 + 0.4 * (1 - 1e-6)) * kl + perceptual).backward()
    gradients = {name: p.grad for name, p in system.vunet.named_parameters()}
    before = {name: p.detach().clone() for name, p in system.vunet.named_parameters()}
    terms = step(system, batch, progress, Fake())
    torch.testing.assert_close(terms, {"l1": l1.detach(), "kl": kl.detach(), "perceptual": perceptual.detach()})
    for name, parameter in system.vunet.named_parameters():
        if gradients[name] is not None:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-3)
            assert not torch.equal(parameter, before[name])


def test_photos_without_a_whole_torso_are_left_out():
    batch = pairs(3, HEIGHT, WIDTH)
    cut = with_joints_missing(batch, [int(batch.target[1])], "left_hip")
    rest = replace(batch, target=batch.target[[0, 2]])
    one, other = system_of(), system_of()
    assert step(one, cut) == step(other, rest)
    assert torch.equal(weights(one), weights(other))


def test_where_no_photo_is_left_nothing_is_trained():
    system, batch = system_of(), pairs(2, HEIGHT, WIDTH)
    cut = with_joints_missing(batch, batch.target.tolist(), "right_shoulder")
    before = weights(system)
    terms = step(system, cut, perceptual=Fake())
    assert {name: term.item() for name, term in terms.items()} == {"l1": 0, "kl": 0, "perceptual": 0}
    assert torch.equal(weights(system), before)
    with pytest.raises(ReposeError, match="vunet was not trained: no training photo had both shoulders"):
        step(system, cut, Progress(99, 100, 4))
    step(system, batch, Progress(1, 100, 4))  # the first step that has photos is the one that begins
    assert system.vunet.begun
    step(system, cut, Progress(99, 100, 4))


def test_training_draws_latents_and_dropout():
    row, batch = replace(SMALL, dropout=0.0), pairs(2, HEIGHT, WIDTH)
    one, other = begun(system_of(row)), begun(system_of(row))
    assert step(one, batch, seed=5)["l1"] != step(other, batch, seed=6)["l1"]
    network = system_of().vunet.train()
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.1}
    block, h = network.shape.down.blocks[0], torch.randn(1, 4, 8, 8)
    assert not torch.equal(block(h), block(h))


def test_a_source_without_keypoints_makes_an_image_all_the_same():
    system, batch = begun(system_of()), pairs(2, HEIGHT, WIDTH)
    blind = with_joints_missing(batch, batch.sources[:, 0].tolist())
    images = made(system, blind)
    assert images.isfinite().all()
    dark = replace(blind, images=torch.zeros_like(batch.images))
    assert torch.equal(made(system, dark), images)  # all crops are 0, whatever the photo shows
