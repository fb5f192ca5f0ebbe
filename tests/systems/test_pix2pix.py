"""pix2pix: the U-Net and a training step against both written out, padding, dropout and the frames that fit."""

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
from repose.models.pix2pix import UNet
from repose.systems import Progress, build
from repose.systems.pix2pix import AdamSettings, PatchSettings, Pix2Pix, Pix2PixSettings, UNetSettings

pytestmark = pytest.mark.floats

HEIGHT, WIDTH = 64, 32
START = Progress(0, 9, 3)
SMALL = Pix2PixSettings("pix2pix", 9, generator=UNetSettings(4), discriminator=PatchSettings(4, 2))
NOISY = replace(SMALL, generator=UNetSettings(4, downs=6))  # six levels: one has dropout, and 32 px are padded to 64


def system_of(row: Pix2PixSettings, frame: Frame | None = None) -> Pix2Pix:
    torch.manual_seed(0)
    return build(row, frame or Frame(HEIGHT, WIDTH))


def step(system: Pix2Pix, made: Batch, progress: Progress = START, autocast: Any = None) -> dict[str, Tensor]:
    return system.step(made, None, progress, autocast or nullcontext())


def test_dropout_is_where_the_authors_have_it():
    with torch.device("meta"):
        up = UNet(6, 64, 8).up
    dropped = [i for i, block in enumerate(up) if any(isinstance(layer, nn.Dropout) for layer in block)]
    assert dropped == [1, 2, 3]  # not the innermost, then 512 to 512 three times
    assert [block[1].out_channels for block in up] == [512, 512, 512, 512, 256, 128, 64]
    assert [block[1].in_channels for block in up] == [512, 1024, 1024, 1024, 1024, 512, 256]
    assert all(layer.p == 0.5 for block in up for layer in block if isinstance(layer, nn.Dropout))
    assert UNet(6, 32, 5).down[3][1].weight.std().item() == pytest.approx(0.02, rel=0.03)  # weights start likewise
    assert UNet(6, 64, 4).down[2][2].weight.std().item() == pytest.approx(0.02, rel=0.15)  # of BatchNorm


def test_the_generator_is_the_u_net_written_out():
    net, x = UNet(6, 2, 3).train(), torch.rand(2, 6, 16, 24) * 2 - 1
    first, second, third = net.down[0], net.down[1][1], net.down[2][1]
    up3, up2, last = net.up[0][1], net.up[1][1], net.out[1]

    def normalised(features: Tensor, norm: nn.Module) -> Tensor:
        return F.batch_norm(features, None, None, norm.weight, norm.bias, training=True)

    def conv(features: Tensor, layer: nn.Module) -> Tensor:
        return F.conv2d(features, layer.weight, stride=2, padding=1)

    def up(features: Tensor, layer: nn.Module) -> Tensor:
        return F.conv_transpose2d(features.relu(), layer.weight, layer.bias, stride=2, padding=1)

    with torch.no_grad():
        one = conv(x, first)
        two = normalised(conv(F.leaky_relu(one, 0.2), second), net.down[1][2])
        three = conv(F.leaky_relu(two, 0.2), third)
        from_three = normalised(up(three, up3), net.up[0][2])
        from_two = normalised(up(torch.cat([two, from_three], 1), up2), net.up[1][2])
        expected = up(torch.cat([one, from_two], 1), last).tanh()
        torch.testing.assert_close(net(x), expected)


def test_a_frame_that_does_not_halve_is_padded_by_replication_and_cropped_back():
    system = system_of(SMALL, Frame(32, 22))  # four levels, so 32x32
    net = system.networks["generator"].eval()
    condition = torch.rand(2, 6, 32, 22) * 2 - 1
    padded = torch.cat([condition[..., :1].repeat(1, 1, 1, 5), condition, condition[..., -1:].repeat(1, 1, 1, 5)], 3)
    with torch.no_grad():
        image = net(condition)
        assert image.shape == (2, 3, 32, 22)
        assert torch.equal(image, net(padded)[..., 5:27])


def written_out(system: Pix2Pix, batch: Batch, adam: dict[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """D's update, then G's, each on its own: BCE of logits on (condition, image), D's halved, and 100 times L1."""
    g, d = system.networks["generator"], system.networks["discriminator"]
    y, condition = batch.images[batch.target], batch.poses.posemaps[batch.target]
    if system.row.input == "pose+source":
        condition = torch.cat([batch.images[batch.sources[:, 0]], condition], 1)

    def generated() -> Tensor:
        torch.manual_seed(5)  # dropout draws the same each time
        return g(condition)

    def entropy(image: Tensor, label: float) -> Tensor:
        logits = d(torch.cat([condition, image], 1))
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    with torch.no_grad():
        fake = generated()
    d_loss = (entropy(y, 1.0) + entropy(fake, 0.0)) / 2
    adam["discriminator"].zero_grad()
    d_loss.backward()
    adam["discriminator"].step()

    image = generated()
    l1, g_loss = (image - y).abs().mean(), entropy(image, 1.0)
    adam["generator"].zero_grad()
    (g_loss + system.row.l1 * l1).backward()
    adam["generator"].step()
    return {"d_adversarial": d_loss, "g_adversarial": g_loss, "l1": l1}


@pytest.mark.parametrize("row", [NOISY, replace(SMALL, input="pose_only", l1=7.0)], ids=["noisy", "pose"])
def test_the_step_is_the_step_written_out(row):
    # a large epsilon: Adam's first step is else the gradient's sign, and rounding decides over that of a tiny one
    row = replace(row, optimiser=AdamSettings(1.0, (0.0, 0.0)))
    one, other, batch = system_of(row), system_of(row), pairs(3, HEIGHT, WIDTH)
    adam = {n: torch.optim.Adam(net.parameters(), 1.0, (0.0, 0.0), eps=1.0) for n, net in other.networks.items()}
    for optimiser in one.optimisers.values():
        optimiser.param_groups[0]["eps"] = 1.0
    before = {name: [p.clone() for p in network.parameters()] for name, network in one.networks.items()}
    torch.manual_seed(5)
    terms, expected = step(one, batch), written_out(other, batch, adam)
    assert set(terms) == set(expected)
    for name, term in terms.items():
        assert not term.requires_grad
        torch.testing.assert_close(term, expected[name].detach(), rtol=1e-4, atol=1e-6, msg=name)
    for name, network in one.networks.items():
        for key, value in network.state_dict().items():
            found = other.networks[name].state_dict()[key]
            torch.testing.assert_close(value, found, rtol=1e-4, atol=1e-5, msg=f"{name} {key}")
        assert not any(torch.equal(p, was) for p, was in zip(network.parameters(), before[name], strict=True)), name


def test_generation_is_the_authors_test_time_without_its_dropout():
    system, batch = system_of(SMALL), pairs(2, HEIGHT, WIDTH)
    net = system.networks["generator"].train()  # five levels: no dropout
    one = torch.cat([batch.images[batch.sources[:1, 0]], batch.poses.posemaps[batch.target[:1]]], 1)
    with torch.no_grad():
        torch.testing.assert_close(made(system, batch)[:1], net(one), rtol=1e-4, atol=1e-5)
