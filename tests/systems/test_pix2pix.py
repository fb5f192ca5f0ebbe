"""pix2pix: its authors' sizes, one training step against the step written out, what it looks at and what not."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from made_up import pairs
from repose import checkpoint, systems
from repose.checkpoint import About
from repose.config import as_dict
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.layers import parameter_count
from repose.systems import Progress, build
from repose.systems.pix2pix import AdamSettings, PatchSettings, Pix2Pix, Pix2PixSettings, UNet, UNetSettings

pytestmark = pytest.mark.floats

HEIGHT, WIDTH = 64, 32
START = Progress(0, 9, 3)
SMALL = Pix2PixSettings("pix2pix", 9, generator=UNetSettings(4), discriminator=PatchSettings(4, 2))
NOISY = replace(SMALL, generator=UNetSettings(4, downs=6))  # six levels: one has dropout, and 32 px are padded to 64


def system_of(row: Pix2PixSettings, frame: Frame | None = None) -> Pix2Pix:
    torch.manual_seed(0)
    system = build(row, frame or Frame(HEIGHT, WIDTH))
    assert isinstance(system, Pix2Pix)
    return system


def step(system: Pix2Pix, made: Batch, progress: Progress = START, autocast: Any = None) -> dict[str, Tensor]:
    return system.step(made, None, progress, autocast or nullcontext())


@torch.no_grad()
def made(system: Pix2Pix, batch: Batch, rows: slice = slice(None)) -> Tensor:
    target_pose = batch.poses[batch.target[rows]]
    return system.generate(batch.images, batch.poses, batch.sources[rows], batch.mask[rows], target_pose)


@pytest.mark.parametrize(
    ("frame", "given", "generator", "discriminator"),
    [
        (Frame(256, 256), "pose+source", 54_417_027, 2_771_777),  # unet_256
        (Frame(256, 256), "pose_only", 54_413_955, 2_768_705),  # unet_256 as published: 54.414 million
        (Frame(128, 64), "pose+source", 29_247_107, 2_771_777),  # 6 levels
        (Frame(128, 64), "pose_only", 29_244_035, 2_768_705),
    ],
)
def test_parameters_at_the_authors_width(frame: Frame, given: Any, generator: int, discriminator: int) -> None:
    with torch.device("meta"):
        system = build(Pix2PixSettings("pix2pix", 1, input=given), frame)
    counts = {name: parameter_count(network) for name, network in system.networks.items()}
    assert counts == {"generator": generator, "discriminator": discriminator}
    assert set(system.optimisers) == set(system.networks)


@pytest.mark.parametrize(("downs", "count"), [(8, 54_432_387), (6, 29_262_467)])
def test_parameters_with_18_maps_of_keypoints(downs: int, count: int) -> None:
    with torch.device("meta"):
        assert parameter_count(UNet(21, 64, downs)) == count


def test_the_defaults_are_the_authors() -> None:
    row = systems.row({"kind": "pix2pix", "steps": 7}, "x")
    assert row == Pix2PixSettings("pix2pix", steps=7)
    assert (row.items_per_step, row.max_photos, row.max_sources, row.targets) == (1, 5, 1, "one")
    assert (row.input, row.l1, row.generator, row.discriminator) == (
        "pose+source", 100.0, UNetSettings(64, None), PatchSettings(64, 3),
    )  # fmt: skip
    assert row.optimiser == AdamSettings(2e-4, (0.5, 0.999), 0, 0, 0.5)
    assert row.loss_weights() == {"l1": 100.0, "adversarial": 1.0}
    assert row.perceptual_layers("viton") is None
    assert not row.needs_source_poses


@pytest.mark.parametrize(
    ("height", "width", "downs"),
    [(256, 256, 8), (256, 176, 7), (128, 64, 6), (128, 88, 6), (64, 32, 5), (32, 24, 4)],
)
def test_the_frame_decides_the_levels(height: int, width: int, downs: int) -> None:
    with torch.device("meta"):
        system = build(replace(SMALL, discriminator=PatchSettings(4, 3)), Frame(height, width))
    assert len(system.networks["generator"].down) == downs


def test_dropout_is_where_the_authors_have_it() -> None:
    with torch.device("meta"):
        up = UNet(6, 64, 8).up
    dropped = [i for i, block in enumerate(up) if any(isinstance(layer, nn.Dropout) for layer in block)]
    assert dropped == [1, 2, 3]  # not the innermost, then 512 to 512 three times
    assert [block[1].out_channels for block in up] == [512, 512, 512, 512, 256, 128, 64]
    assert [block[1].in_channels for block in up] == [512, 1024, 1024, 1024, 1024, 512, 256]
    assert all(layer.p == 0.5 for block in up for layer in block if isinstance(layer, nn.Dropout))


def test_the_generator_is_the_u_net_written_out() -> None:
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


def test_a_frame_that_does_not_halve_is_padded_by_replication_and_cropped_back() -> None:
    system = system_of(SMALL, Frame(32, 22))  # four levels, so 32x32
    net = system.networks["generator"].eval()
    condition = torch.rand(2, 6, 32, 22) * 2 - 1
    padded = torch.cat([condition[..., :1].repeat(1, 1, 1, 5), condition, condition[..., -1:].repeat(1, 1, 1, 5)], 3)
    with torch.no_grad():
        image = net(condition)
        assert image.shape == (2, 3, 32, 22)
        assert torch.equal(image, net(padded)[..., 5:27])


def test_weights_start_as_pix2pix_has_them() -> None:
    net = UNet(6, 32, 5)
    assert net.down[3][1].weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert net.up[0][2].weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert net.up[0][2].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not net.out[1].bias.any()


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


@pytest.mark.parametrize(
    "row", [SMALL, NOISY, replace(NOISY, input="pose_only", l1=7.0)], ids=["plain", "noisy", "pose"]
)
def test_the_step_is_the_step_written_out(row: Pix2PixSettings) -> None:
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


def test_no_network_learns_from_anothers_loss() -> None:
    system, order = system_of(SMALL), []
    for name, optimiser in system.optimisers.items():

        def look(*_: Any, name: str = name) -> None:
            order.append(
                (name, [n for n, net in system.networks.items() if all(p.grad is not None for p in net.parameters())])
            )
            for network in system.networks.values():
                network.zero_grad(set_to_none=True)

        optimiser.register_step_post_hook(look)
    step(system, pairs(2, HEIGHT, WIDTH))
    assert order == [("discriminator", ["discriminator"]), ("generator", ["generator"])]
    assert all(p.requires_grad for network in system.networks.values() for p in network.parameters())


def seen_by_discriminator(system: Pix2Pix, batch: Batch) -> list[Tensor]:
    seen: list[Tensor] = []
    system.networks["discriminator"].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].detach().clone())
    )
    step(system, batch)
    return seen


@pytest.mark.parametrize("given", ["pose+source", "pose_only"])
def test_the_discriminator_sees_the_condition(given: Any) -> None:
    system, batch = system_of(replace(SMALL, input=given)), pairs(3, HEIGHT, WIDTH)
    real, fake, again = seen_by_discriminator(system, batch)
    y, p, x = batch.images[batch.target], batch.poses.posemaps[batch.target], batch.images[batch.sources[:, 0]]
    condition = torch.cat([x, p], 1) if given == "pose+source" else p
    assert torch.equal(real, torch.cat([condition, y], 1))
    assert torch.equal(fake[:, :-3], condition)
    assert torch.equal(fake, again)
    network = system.networks["discriminator"]
    with torch.no_grad():
        logits = network(real)
        for channels in (slice(start, start + 3) for start in range(0, condition.shape[1], 3)):
            changed = real.clone()
            changed[:, channels] = changed[:, channels].roll(1, 0)  # the condition of another target
            assert (network(changed) - logits).abs().max() > 1e-3


def other_sources(batch: Batch) -> Batch:
    """The same targets and poses, but the photos of the sources are others."""
    images = batch.images.clone()
    images[batch.sources[:, 0]] = -images[batch.sources[:, 0]]
    return replace(batch, images=images)


def test_pose_only_ignores_the_source() -> None:
    batch = pairs(3, HEIGHT, WIDTH)
    blind, seeing = system_of(replace(SMALL, input="pose_only")), system_of(SMALL)
    assert torch.equal(made(blind, batch), made(blind, other_sources(batch)))
    assert (made(seeing, batch) - made(seeing, other_sources(batch))).abs().max() > 1e-3
    terms, again = step(blind, batch), step(system_of(blind.row), other_sources(batch))
    assert terms == again
    assert step(seeing, batch) != step(system_of(SMALL), other_sources(batch))


@pytest.mark.parametrize("given", ["pose+source", "pose_only"])
def test_images_follow_the_target_pose_and_not_the_sources_poses(given: Any) -> None:
    system, batch = system_of(replace(SMALL, input=given)), pairs(3, HEIGHT, WIDTH)
    poses = batch.poses
    turned = Poses(poses.posemaps.roll(1, 0), poses.keypoints.roll(1, 0))
    with torch.no_grad():
        image = system.generate(batch.images, poses, batch.sources, batch.mask, poses[batch.target])
        same = system.generate(batch.images, turned, batch.sources, batch.mask, poses[batch.target])
        other = system.generate(batch.images, poses, batch.sources, batch.mask, turned[batch.target])
    assert torch.equal(image, same)
    assert (image - other).abs().max() > 1e-3


def test_sources_beyond_the_first_are_not_looked_at() -> None:
    system, batch = system_of(SMALL), pairs(3, HEIGHT, WIDTH)
    more = replace(batch, sources=torch.cat([batch.sources, batch.sources.roll(1, 0)], 1), mask=batch.mask.repeat(1, 2))
    assert torch.equal(made(system, batch), made(system, more))


@pytest.mark.parametrize("row", [SMALL, NOISY], ids=["plain", "noisy"])
@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_an_image_depends_on_no_other_of_the_call(row: Pix2PixSettings, mode: bool) -> None:
    system, batch = system_of(row), pairs(4, HEIGHT, WIDTH)
    for _ in range(3):
        step(system, batch)
    for network in system.networks.values():
        network.train(mode)
    together, random = made(system, batch), torch.get_rng_state()
    assert together.shape == (4, 3, HEIGHT, WIDTH)
    assert together.abs().max() <= 1
    for i in range(4):
        torch.testing.assert_close(made(system, batch, slice(i, i + 1)), together[i : i + 1], rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), random)  # nothing is drawn
    assert all(network.training == mode for network in system.networks.values())


def test_generation_is_the_authors_test_time_without_its_dropout() -> None:
    system, batch = system_of(SMALL), pairs(2, HEIGHT, WIDTH)
    net = system.networks["generator"].train()  # five levels: no dropout
    one = torch.cat([batch.images[batch.sources[:1, 0]], batch.poses.posemaps[batch.target[:1]]], 1)
    with torch.no_grad():
        torch.testing.assert_close(made(system, batch, slice(1)), net(one), rtol=1e-4, atol=1e-5)


def test_in_training_there_is_dropout() -> None:
    net, condition = system_of(NOISY).networks["generator"], torch.rand(1, 6, HEIGHT, WIDTH)
    with torch.no_grad():
        assert not torch.equal(net.train()(condition), net(condition))
        assert torch.equal(net.eval()(condition), net(condition))


def test_the_rate_stays_for_half_of_the_steps_and_falls_to_0() -> None:
    found = [AdamSettings().rate(Progress(step, 8, 2)) for step in range(8)]
    assert found == pytest.approx([2e-4] * 5 + [1.5e-4, 1e-4, 0.5e-4])
    assert AdamSettings(1.0).rate(Progress(999, 1000, 3)) == pytest.approx(1 / 500)


def test_both_networks_learn_at_the_steps_rate() -> None:
    system, batch = system_of(SMALL), pairs(2, HEIGHT, WIDTH)
    for number, rate in ((0, 2e-4), (6, 1e-4), (7, 0.5e-4)):
        step(system, batch, Progress(number, 8, 2))
        assert [o.param_groups[0]["lr"] for o in system.optimisers.values()] == pytest.approx([rate] * 2)
    before = [p.clone() for network in system.networks.values() for p in network.parameters()]
    step(system, batch, Progress(8, 8, 2))  # where the rate has come down to 0
    after = [p for network in system.networks.values() for p in network.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_sources": 2}, "mine: max_sources should be 1, pix2pix takes one source, not 2"),
        ({"steps": 0}, "mine: steps should be at least 1, not 0"),
        ({"l1": -1}, "mine: the weight l1 should not be negative, but it is -1"),
        ({"input": "source"}, "mine.input should be one of pose.source, pose_only, not 'source'"),
        ({"generator": {"width": 0}}, "mine.generator: width should be at least 1, not 0"),
        ({"generator": {"downs": 1}}, "mine.generator: downs should be at least 2, or null .*, not 1"),
        ({"discriminator": {"width": 0}}, "mine.discriminator: width should be at least 1, not 0"),
        ({"discriminator": {"layers": 0}}, "mine.discriminator: layers should be at least 1, not 0"),
        ({"optimiser": {"learning_rate": 0}}, "mine.optimiser: learning_rate should be above 0, not 0"),
        ({"losses": {"l1": 1}}, "mine: unknown key 'losses'"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        systems.row({"kind": "pix2pix", "steps": 1} | changes, "mine")


def test_settings_come_back_from_a_checkpoints_data() -> None:
    row = replace(NOISY, input="pose_only", l1=3.0, optimiser=AdamSettings(0.1, warmup_steps=2))
    assert systems.row(as_dict(row), "x") == row
    assert systems.row({"kind": "pix2pix", "steps": 1, "optimiser": {"learning_rate": 1e-3}}, "x").optimiser == (
        AdamSettings(1e-3, (0.5, 0.999), 0, 0, 0.5)
    )


@pytest.mark.parametrize(
    ("row", "frame", "message"),
    [
        (replace(SMALL, discriminator=PatchSettings(4, 3)), Frame(64, 23), "3 layer.* at least 24x24 px.* is 64x23"),
        (SMALL, Frame(11, 64), "2 layer.* at least 12x12 px.* frame is 11x64"),
        (replace(SMALL, generator=UNetSettings(4, 7)), Frame(127, 64), "halves 7 times.* 127x64 px .* at most 6 times"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(row: Pix2PixSettings, frame: Frame, message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        build(row, frame)


@pytest.mark.parametrize(
    ("row", "height", "width"),
    [
        (replace(SMALL, discriminator=PatchSettings(4, 3)), 24, 24),
        (replace(SMALL, discriminator=PatchSettings(4, 1)), 6, 7),
        (replace(SMALL, generator=UNetSettings(4, 2)), 13, 12),
        (replace(SMALL, generator=UNetSettings(4, 6)), 64, 12),
    ],
)  # fmt: skip
def test_the_smallest_frames_train_on_one_image(row: Pix2PixSettings, height: int, width: int) -> None:
    system, random = system_of(row, Frame(height, width)), torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, height, width, generator=random) * 2 - 1
    poses = Poses(images.flip(3), torch.zeros(2, 18, 2))
    one, first = torch.tensor([[True]]), torch.tensor([0])
    batch = Batch(images, poses, first, torch.tensor([[1]]), one, images[1:], poses[1:])
    assert all(term.isfinite() for term in step(system, batch).values())
    assert made(system, batch).shape == (1, 3, height, width)


def test_it_cannot_be_shared_by_processes() -> None:
    with pytest.raises(ReposeError, match=r"pix2pix has BatchNorm.* Set train\.processes to 1"):
        system_of(SMALL).distribute()


def test_autocast_changes_little() -> None:
    batch = pairs(3, HEIGHT, WIDTH)
    expected, terms = (
        step(system_of(SMALL), batch),
        step(system_of(SMALL), batch, START, torch.autocast("cpu", torch.bfloat16)),
    )
    for name, term in terms.items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(expected[name].item(), rel=0.02), name


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    batch = pairs(2, HEIGHT, WIDTH)
    whole, file = system_of(NOISY), tmp_path / "last.safetensors"
    about = About("mine", NOISY, Frame(HEIGHT, WIDTH), 1.0, 2, "f")
    for number in range(4):
        if number == 2:
            checkpoint.save(file, whole, about, to_resume=True)
        step(whole, batch, Progress(number, 4, 1))
    again = system_of(NOISY)
    assert checkpoint.resume(file, again, about) == 2
    for number in (2, 3):
        step(again, batch, Progress(number, 4, 1))
    for name, network in whole.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, again.networks[name].state_dict()[key]), f"{name} {key}"
    checkpoint.save(file, whole, about, to_resume=False)
    loaded, _ = checkpoint.load(file, torch.device("cpu"))
    assert isinstance(loaded, Pix2Pix)
    assert torch.equal(made(loaded, batch), made(whole, batch))
