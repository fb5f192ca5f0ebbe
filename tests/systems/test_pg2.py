"""pg2 and pg2-g1d: first weights, discs and masks, padding, the two stages, an adversarial step written out."""

import math
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from made_up import made, pairs, people
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.skeleton import JOINT
from repose.metrics.mask_ssim import pose_mask
from repose.models.pg2 import G1, Discriminator, SameConv2d, discs, same_padding
from repose.systems import Progress
from repose.systems.pg2 import AdamSettings, PG2Settings, PG2System, build

pytestmark = pytest.mark.floats

NAN = float("nan")
TINY = PG2Settings("pg2", steps=4, width=4, code=8, discriminator_width=4, optimiser=AdamSettings(0.01))
G1D = replace(TINY, stages="one")
STAGE_ONE, STAGE_TWO = Progress(0, 4, 1), Progress(3, 4, 1)


def tiny(row: PG2Settings = TINY, height: int = 32, width: int = 24) -> PG2System:
    return build(row, Frame(height, width))


def do(system: PG2System, batch: Batch, progress: Progress) -> dict[str, float]:
    return {name: term.item() for name, term in system.step(batch, None, progress, nullcontext()).items()}


def values(network: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def trained_by(system: PG2System, batch: Batch, progress: Progress) -> tuple[set[str], dict[str, float]]:
    """The networks that a step changes, and its terms."""
    before = {name: values(network) for name, network in system.networks.items()}
    terms = do(system, batch, progress)
    pairs_of = {name: zip(values(network), before[name], strict=True) for name, network in system.networks.items()}
    return {name for name, both in pairs_of.items() if any(not torch.equal(*pair) for pair in both)}, terms


def test_the_first_weights():
    system = tiny(replace(TINY, width=32))
    for weight in (system.g1.to_code.weight, system.networks["g2"].get_parameter("encoders.0.2.weight")):
        fan = weight.shape[0] * weight[0, 0].numel() + weight[0].numel()
        bound = math.sqrt(6 / fan)  # Glorot and Bengio 2010
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    kernel = system.discriminator.body[2].weight
    assert kernel.abs().max() <= 0.02 * math.sqrt(3)
    assert kernel.std().item() == pytest.approx(0.02, rel=0.05)
    assert not any(p.any() for name, p in system.g1.named_parameters() if name.endswith("bias"))


def some_people() -> Tensor:
    """Two people of 48x40 px: one without a knee, the other half outside."""
    keypoints = people(2, 48, 40, seed=3)
    keypoints[0, JOINT["left_knee"]] = NAN
    keypoints[1] += torch.tensor([17.3, -9.6])
    keypoints[1, 0] = torch.tensor([-3e15, 1e12])
    return keypoints


def test_a_disc_has_the_pixels_that_are_at_most_4_px_from_its_joint():
    keypoints = some_people()
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(40.0), indexing="ij")
    distance = (x - keypoints[..., 0, None, None]) ** 2 + (y - keypoints[..., 1, None, None]) ** 2
    assert torch.equal(discs(keypoints, 48, 40), torch.where(distance <= 16, 1.0, -1.0))


@pytest.mark.parametrize(("size", "kernel", "stride", "expected"), [
    (8, 3, 2, (0, 1)), (11, 3, 2, (1, 1)), (64, 5, 2, (1, 2)), (1, 5, 2, (2, 2)),
])  # fmt: skip
def test_padding_is_tensorflows(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected
    convolution = SameConv2d(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(convolution.weight)
    image = torch.rand(1, 1, size, size)
    padded = F.pad(image, expected * 2)  # alike at left and top, and at right and bottom
    found = convolution(image)
    assert found.shape[2:] == (math.ceil(size / stride),) * 2
    torch.testing.assert_close(found, F.avg_pool2d(padded, kernel, stride) * kernel**2)


def test_a_frame_of_any_size_is_padded_with_its_edge():
    odd, whole = G1(40, 26, 4, 8), G1(40, 28, 4, 8)
    whole.load_state_dict(odd.state_dict())
    source, pose = torch.randn(2, 3, 40, 26), torch.randn(2, 18, 40, 26)
    wider = [torch.cat([x, x[..., -1:], x[..., -1:]], 3) for x in (source, pose)]
    assert torch.allclose(odd(source, pose), whole(*wider)[..., :26], atol=1e-6)


def test_a_frame_of_odd_size_trains_and_generates():
    system, batch = tiny(replace(TINY, width=2, skips="coarse"), 70, 33), pairs(2, 70, 33)
    assert all(math.isfinite(term) for term in do(system, batch, STAGE_TWO).values())
    assert made(system, batch).shape == (2, 3, 70, 33)


@pytest.mark.parametrize(("steps", "alone"), [(80_000, 22_000), (18_000, 11_000), (2, 1)])
def test_how_long_g1_is_trained_alone(steps, alone):
    row = PG2Settings("pg2", steps=2)
    assert row.alone(steps) == alone
    assert replace(row, stages="one").alone(steps) == 0
    assert replace(row, stage_one_steps=30_000, stage_two_steps=20_000).alone(50_000) == 30_000
    assert replace(row, stage_two_steps=1).alone(steps) < steps


def test_stage_one_trains_g1_alone_and_stage_two_the_others():
    system, batch = tiny(), pairs(2, 32, 24)
    changed, terms = trained_by(system, batch, STAGE_ONE)
    assert changed == {"g1"}
    assert terms["g1_l1"] > 0
    assert terms["g2_l1"] == terms["d_image"] == terms["g_image"] == 0
    system.g1.zero_grad(set_to_none=True)
    changed, terms = trained_by(system, batch, STAGE_TWO)
    assert changed == {"g2", "image"}
    assert all(parameter.grad is None for parameter in system.g1.parameters())
    assert terms["g1_l1"] == 0
    assert min(terms["g2_l1"], terms["d_image"], terms["g_image"]) > 0


def test_until_stage_two_begins_images_are_g1s():
    system, batch = tiny(), pairs(2, 32, 24)
    torch.nn.init.constant_(system.g1.get_parameter("out.bias"), 0.95)
    source, pose = batch.images[batch.sources[:, 0]], discs(batch.poses.keypoints[batch.target], 32, 24)
    do(system, batch, STAGE_ONE)
    coarse = system.g1(source, pose)
    assert coarse.max() > 1
    assert torch.equal(made(system, batch), coarse.clamp(-1, 1))
    do(system, batch, STAGE_TWO)
    assert torch.equal(made(system, batch), (coarse + system.g2(coarse, source)).clamp(-1, 1))
    assert not torch.equal(made(system, batch), coarse.clamp(-1, 1))


def logits_of(d: Discriminator, x: Tensor) -> Tensor:
    """The discriminator of a frame 32 px high, written out; the mean and variance of BatchNorm are of all of x."""
    first, second, norm = d.body[0], d.body[2], d.body[3]
    x = F.leaky_relu(F.conv2d(F.pad(x, (1, 2, 1, 2)), first.weight, first.bias, 2), 0.2)
    x = F.conv2d(F.pad(x, (1, 2, 1, 2)), second.weight, second.bias, 2)
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    x = (x - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    return d.logit(F.leaky_relu(x, 0.2).flatten(1))[:, 0]


def bce(logits: Tensor, real: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))


@pytest.mark.parametrize("row", [TINY, G1D], ids=["two", "one"])
def test_an_adversarial_step_written_out(row):
    system, batch = tiny(replace(row, discriminator_width=16, optimiser=AdamSettings(0.1))), pairs(2, 32, 24)
    system.optimisers = {  # Adam's first step is of one length, however small the gradient
        name: torch.optim.SGD(network.parameters(), 0.1) for name, network in system.networks.items()
    }
    before, twin = {name: values(network) for name, network in system.networks.items()}, deepcopy(system)
    terms = do(system, batch, STAGE_TWO)

    keypoints = batch.poses.keypoints[batch.target]
    source, target, pose = batch.images[batch.sources[:, 0]], batch.images[batch.target], discs(keypoints, 32, 24)
    coarse, d = twin.g1(source, pose), twin.discriminator
    fake = coarse if twin.g2 is None else coarse.detach() + twin.g2(coarse.detach(), source)
    real, down, also_down = logits_of(d, torch.cat([target, fake.detach(), source])).chunk(3)
    d_loss = 0.5 * bce(real, 1) + 0.25 * bce(down, 0) + 0.25 * bce(also_down, 0)
    assert terms["d_image"] == pytest.approx(d_loss.item(), rel=1e-5)
    twin.optimisers["image"].zero_grad()
    d_loss.backward()
    twin.optimisers["image"].step()

    g_loss = bce(logits_of(d, torch.cat([target, fake, source])).chunk(3)[1], 1)
    assert terms["g_image"] == pytest.approx(g_loss.item(), rel=1e-4)
    error = (fake - target).abs()  # twice on the body, by the mask that scores too
    l1 = error.mean() + (error * pose_mask(keypoints, height=32, width=24, protocol="pg2")[:, None]).mean()
    name = "g1" if twin.g2 is None else "g2"
    assert terms[f"{name}_l1"] == pytest.approx(l1.item(), rel=1e-5)
    twin.optimisers[name].zero_grad()
    (g_loss + row.masked_l1 * l1).backward()
    twin.optimisers[name].step()
    for part in (name, "image"):
        written = values(twin.networks[part])
        for mine, theirs, old in zip(values(system.networks[part]), written, before[part], strict=True):
            assert torch.allclose(mine - old, theirs - old, rtol=1e-3, atol=1e-5)
        assert max(abs(a - b).max() for a, b in zip(written, before[part], strict=True)) > 1e-3
