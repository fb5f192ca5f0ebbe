"""The Variational U-Net: what it sees, what it is made of, how its training goes, and what decides its images."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from made_up import pairs, people
from repose import systems
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.skeleton import JOINT
from repose.errors import ReposeError
from repose.models.layers import parameter_count
from repose.models.vunet_inputs import homographies, parts, quadrilaterals, stickman, whole
from repose.systems import Progress
from repose.systems.vunet import NormConv, VUNet, VUNetRow, VUNetSystem, build, kl_weight, mean_only_kl, merge, split

SMALL = Frame(32, 24)
TINY = VUNetRow("vunet", steps=40, width=4, bottleneck=1, box=1, learning_rate=0.003)


def system_of(row: VUNetRow = TINY, frame: Frame = SMALL) -> VUNetSystem:
    torch.manual_seed(0)
    return build(row, frame)


def made(system: VUNetSystem, batch: Batch) -> Tensor:
    with torch.no_grad():
        return system.generate(batch.images, batch.poses, batch.sources, batch.mask, batch.poses[batch.target])


def do(system: VUNetSystem, batch: Batch, step: int = 1, **options: Any) -> dict[str, Tensor]:
    chosen = {"perceptual": None, "progress": Progress(step, system.row.steps, 4), "autocast": nullcontext()} | options
    return system.step(batch, **chosen)


@pytest.mark.parametrize(("size", "used", "built"), [(256, 46_042_118, 47_272_966), (128, 46_188_422, 47_419_270)])
def test_parameters_are_the_authors_without_those_that_they_do_not_use(size: int, used: int, built: int) -> None:
    """Published are 47.27M and 47.42M: they also build half a third scale of the posterior, to which nothing listens."""
    with torch.device("meta"):
        network = build(VUNetRow("vunet", steps=1), Frame(size, size // 2)).vunet
    c = 128
    after, third = (c * 2 * c + 2 * c) + (9 * 2 * c * c + 2 * c), (c * c + 2 * c) + (9 * 2 * c * c + 2 * c)
    unused = after + (9 * c * 4 * c + 2 * 4 * c) + third
    assert parameter_count(network) == used
    assert used + unused == built


def test_the_stickman_is_that_of_a_slow_drawing() -> None:
    keypoints, size = people(2, 64, 64, seed=3), 64
    keypoints[1, JOINT["left_elbow"]] = torch.nan
    found = stickman(keypoints, size)
    joint = {name: keypoints[:, index].double().numpy() for name, index in JOINT.items()}
    for person in range(2):
        at = {name: places[person] for name, places in joint.items()}
        neck = (at["right_shoulder"] + at["left_shoulder"]) / 2
        expected = np.zeros((3, size, size))
        for y in range(size):
            for x in range(size):
                for channel, side in enumerate(("right", "left")):
                    chain = [at[f"{side}_{name}"] for name in ("ankle", "knee", "hip", "shoulder", "elbow", "wrist")]
                    if _distance(neck, at["nose"], x, y) <= 0.75:
                        expected[channel, y, x] = 127
                    if any(_distance(a, b, x, y) <= 0.75 for a, b in pairwise(chain)):
                        expected[channel, y, x] = 255
                corners = [at[n] for n in ("right_shoulder", "left_shoulder", "left_hip", "right_hip")]
                expected[2, y, x] = 255 * _in_convex(corners, x, y)
        differ = (np.abs((found[person].numpy() + 1) * 127.5 - expected) > 1).mean()
        assert differ < 0.001  # a pixel on the very edge may fall either way


def _distance(a: np.ndarray, b: np.ndarray, x: int, y: int) -> float:
    p, along = np.array([x, y], float), b - a
    share = np.clip((p - a) @ along / (along @ along), 0, 1)
    return float(np.linalg.norm(p - a - share * along))


def _in_convex(corners: list[np.ndarray], x: int, y: int) -> bool:
    sides = [
        (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return all(side > 0 for side in sides) or all(side < 0 for side in sides)


def test_homographies_take_corners_to_corners() -> None:
    corners = torch.tensor([[[3.0, 2], [20, 5], [18, 30], [1, 25]]])
    square = torch.tensor([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
    there = torch.einsum("ij,cj->ci", homographies(corners)[0], square)
    torch.testing.assert_close(there[:, :2] / there[:, 2:], corners[0], rtol=0, atol=1e-3)


def test_the_crop_of_an_upright_rectangle_is_that_rectangle() -> None:
    keypoints = torch.full((1, 18, 2), torch.nan)
    for name, place in {"right_shoulder": (7.5, 3.5), "left_shoulder": (23.5, 3.5), "left_hip": (23.5, 19.5),
                        "right_hip": (7.5, 19.5)}.items():  # fmt: skip
        keypoints[0, JOINT[name]] = torch.tensor(place)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    found = parts(image, keypoints, 16)[0].unflatten(0, (8, 3))
    torch.testing.assert_close(found[0], image[0, :, 4:20, 8:24], rtol=0, atol=1e-4)
    assert not found[1:].any()  # every other part has a joint missing


def test_a_part_is_missing_where_a_joint_is_or_its_corners_cross() -> None:
    keypoints, image = people(1, 64, 64), torch.ones(1, 3, 64, 64)
    keypoints[0, JOINT["left_wrist"]] = torch.nan
    there = parts(image, keypoints, 8).unflatten(1, (8, 3)).flatten(2).any(2)[0]
    assert there.tolist() == [True, True, True, False, True, True, True, True]
    crossed = keypoints.clone()
    crossed[0, [JOINT["left_hip"], JOINT["right_hip"]]] = keypoints[0, [JOINT["right_hip"], JOINT["left_hip"]]]
    assert not parts(image, crossed, 8)[0, :3].any()
    assert quadrilaterals(keypoints).shape == (1, 8, 4, 2)


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 1e-6), (49_999, 1e-6), (50_000, 1e-6), (62_500, 0.5), (75_000, 1.0), (99_999, 1.0)]
)
def test_the_kl_term_rises_from_half_of_the_training_on(step: int, weight: float) -> None:
    assert kl_weight(Progress(step, 100_000, 10)) == pytest.approx(weight, abs=1e-6)


def test_the_rate_is_constant_for_1000_of_100000_steps_then_falls_to_0() -> None:
    row = VUNetRow("vunet", steps=100_000)
    rates = [row.rate(Progress(step, 100_000, 10)) for step in (0, 1000, 50_500, 100_000)]
    assert rates == pytest.approx([1e-3, 1e-3, 0.5e-3, 0.0])


def test_kl_of_means_alone() -> None:
    q, p = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert mean_only_kl(q, p) == 0.5 * 3 * 16
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(q, 1.0), normal(p, 1.0)).sum((1, 2, 3)).mean()
    assert mean_only_kl(q, p) == expected


def test_split_and_merge_undo_each_other() -> None:
    x = torch.randn(2, 3, 6, 4)
    groups = split(x)
    assert torch.equal(merge(groups), x)
    assert torch.equal(groups[1], x[:, :, 0::2, 1::2])


def test_the_prior_of_a_group_knows_the_groups_before_it_and_no_other() -> None:
    network, x, value = system_of().vunet.eval(), torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4)
    prior = network.decoder.priors[0]
    with torch.no_grad():
        before = split(prior(x, value))
        for group, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            changed = value.clone()
            changed[:, :, row::2, column::2] += 1
            moved = [not torch.equal(a, b) for a, b in zip(before, split(prior(x, changed)), strict=True)]
            assert moved == [later > group for later in range(4)]


def test_weights_start_so_that_activations_have_mean_0_and_variance_1() -> None:
    network, found = system_of(replace(TINY, dropout=0.0)).vunet, []
    crops, sticks = torch.randn(8, 24, 16, 16), torch.randn(8, 3, 32, 32)
    network.start(crops, sticks)
    fine = [
        network.shape.enter,
        network.shape.blocks[0].conv,
        network.shape.downs[0],
        network.appearance.blocks[1].conv,
    ]
    hooks = [module.register_forward_hook(lambda _, __, out: found.append(out)) for module in fine]
    network.transfer(crops, sticks)
    for out in found:
        torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(out.shape[1]), rtol=0, atol=1e-3)
        torch.testing.assert_close(out.var((0, 2, 3)), torch.ones(out.shape[1]), rtol=0, atol=1e-2)
    assert len(found) == len(hooks)
    assert not any(module.starting for module in network.modules() if isinstance(module, NormConv))


def test_weights_start_in_the_first_step_alone() -> None:
    batch = pairs(3, 32, 24)
    first, later = system_of(), system_of()
    scale = first.vunet.shape.enter.conv.parametrizations.weight.original0
    do(first, batch, 0, progress=Progress(0, 10**9, 1))
    assert (scale.detach() - 1).abs().max() > 0.05  # Adam alone moves it by its rate
    do(later, batch, 1)
    moved = later.vunet.shape.enter.conv.parametrizations.weight.original0.detach() - 1
    assert moved.abs().max() < 0.01


def test_training_is_self_reconstruction() -> None:
    batch, one, other = pairs(3, 32, 24), system_of(), system_of()
    images = batch.images.clone()
    images[batch.sources[:, 0]] *= -1
    torch.manual_seed(5)
    terms = do(one, batch)
    torch.manual_seed(5)
    assert do(other, replace(batch, images=images)) == terms
    torch.manual_seed(5)
    changed = batch.images.clone()
    changed[batch.target] *= -1
    assert do(system_of(), replace(batch, images=changed)) != terms


def test_photos_without_shoulders_and_hips_are_left_out() -> None:
    batch = pairs(3, 32, 24)
    batch.poses.keypoints[batch.target[0], JOINT["right_hip"]] = torch.nan
    assert whole(batch.poses.keypoints[batch.target]).tolist() == [False, True, True]
    rest = replace(batch, target=batch.target[1:], sources=batch.sources[1:], mask=batch.mask[1:])
    torch.manual_seed(5)
    terms = do(system_of(), batch)
    torch.manual_seed(5)
    assert do(system_of(), rest) == terms
    batch.poses.keypoints[:, JOINT["left_shoulder"]] = torch.nan
    system = system_of()
    before = [weights.clone() for weights in system.vunet.parameters()]
    assert [float(term) for term in do(system, batch).values()] == [0.0, 0.0]
    assert all(torch.equal(a, b) for a, b in zip(before, system.vunet.parameters(), strict=True))


def test_the_loss_written_out() -> None:
    batch, system, seen = pairs(3, 32, 24), system_of(replace(TINY, dropout=0.0)), {}
    system._update = lambda loss, rate: seen.update(loss=loss, rate=rate)  # type: ignore[method-assign]

    def perceptual(generated: Tensor, target: Tensor) -> Tensor:
        return (generated - target).pow(2).mean()

    terms = do(system, batch, 25, perceptual=perceptual)
    expected = 5 * 127.5 * terms["l1"] + kl_weight(Progress(25, 40, 4)) * terms["kl"] + terms["perceptual"]
    torch.testing.assert_close(seen["loss"].detach(), expected)
    assert list(terms) == ["l1", "kl", "perceptual"]
    assert seen["rate"] == TINY.rate(Progress(25, 40, 4))
    assert list(do(system, batch, 25)) == ["l1", "kl"]


def test_a_transfer_draws_nothing_and_takes_its_appearance_from_the_source() -> None:
    batch, system = pairs(3, 32, 24), system_of()
    for step in range(15):
        do(system, batch, step)
    system.vunet.eval()
    one = made(system, batch)
    assert torch.equal(one, made(system, batch))
    assert one.shape == (3, 3, 32, 24)
    assert one.abs().max() <= 1
    other = batch.sources[:, 0].roll(1)[:, None]
    assert (made(system, replace(batch, sources=other)) - one).abs().mean() > 1e-3
    batch.poses.keypoints[batch.sources[0, 0]] = torch.nan  # a source of which nothing is known
    assert made(system, batch).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"most_sources": 2}, "mine: vunet takes the appearance of one source, so most_sources is 1, not 2"),
        ({"width": 0}, "mine: width should be at least 1, not 0"),
        ({"box": -1}, "mine: box should not be negative, but it is -1"),
        ({"bottleneck": -1}, "mine: bottleneck should not be negative"),
        ({"dropout": 1.0}, "mine: dropout should be from 0 to below 1, not 1.0"),
        ({"reconstruction": 0}, "mine: reconstruction and learning_rate should be above 0"),
        ({"learning_rate": 0}, "mine: reconstruction and learning_rate should be above 0"),
        ({"betas": [0.5, 1]}, r"mine: betas should be from 0 to below 1, not \[0.5, 1.0\]"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        systems.row({"kind": "vunet", "steps": 9} | changes, "mine")


@pytest.mark.parametrize(
    ("frame", "changes"), [(Frame(96, 64), {}), (Frame(4, 4), {}), (SMALL, {"box": 4}), (SMALL, {"bottleneck": 0})]
)
def test_a_frame_that_cannot_be_halved_is_refused(frame: Frame, changes: dict[str, int]) -> None:
    with pytest.raises(ReposeError, match=rf"here {frame.height} px, .* Set posemaps.height"):
        build(replace(TINY, **({"box": None, "bottleneck": None} | changes)), frame)


def test_several_processes_are_refused() -> None:
    with pytest.raises(ReposeError, match=r"Set train\.processes to 1"):
        system_of().distribute()


def test_every_weight_learns() -> None:
    system = system_of()
    before = {name: weights.detach().clone() for name, weights in system.vunet.named_parameters()}
    for step in (20, 35):
        do(system, pairs(3, 32, 24), step)
    network: VUNet = system.vunet
    assert [name for name, weights in network.named_parameters() if torch.equal(weights, before[name])] == []
