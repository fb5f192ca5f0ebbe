"""vunet: its authors' sizes, its inputs against slow drawing, one step written out, and what it looks at and what not."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from made_up import pairs, people, person, photos_of
from repose import systems
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.posemaps import FARTHEST
from repose.data.poses import Poses
from repose.data.skeleton import JOINT
from repose.errors import ReposeError
from repose.models.layers import parameter_count
from repose.models.vunet_inputs import HALF, in_square, part_crops, resized, stickman, whole_torso
from repose.systems import Progress, build
from repose.systems.vunet import (
    AdamSettings,
    Inputs,
    Prior,
    VUNetSettings,
    VUNetSystem,
    WeightNormConv2d,
    kl_divergence,
    merge_groups,
    split_groups,
)

HEIGHT, WIDTH = 32, 24
SMALL = VUNetSettings("vunet", 100, width=4)
START = Progress(0, 100, 4)


def system_of(row: VUNetSettings = SMALL, frame: Frame | None = None) -> VUNetSystem:
    torch.manual_seed(0)
    system = build(row, frame or Frame(HEIGHT, WIDTH))
    assert isinstance(system, VUNetSystem)
    return system


def step(
    system: VUNetSystem, batch: Batch, progress: Progress = START, perceptual: Any = None, seed: int = 1
) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return system.step(batch, perceptual, progress, nullcontext())


def begun(system: VUNetSystem, count: int = 4) -> VUNetSystem:
    step(system, pairs(count, HEIGHT, WIDTH))
    return system


@torch.no_grad()
def made(system: VUNetSystem, batch: Batch, sources: Tensor | None = None, rows: slice = slice(None)) -> Tensor:
    target_pose = batch.poses[batch.target[rows]]
    chosen = batch.sources if sources is None else sources
    return system.generate(batch.images, batch.poses, chosen[rows], batch.mask[rows], target_pose)


def with_joints_missing(batch: Batch, photos: list[int], joint: str) -> Batch:
    keypoints = batch.poses.keypoints.clone()
    keypoints[photos, JOINT[joint]] = torch.nan
    return replace(batch, poses=Poses(batch.poses.posemaps, keypoints))


def weights(system: VUNetSystem) -> Tensor:
    return torch.cat([value.detach().flatten() for value in system.vunet.state_dict().values()])


# Sizes.


@pytest.mark.parametrize(
    ("frame", "total", "appearance", "shape"),
    [  # published: 47.27 and 47.42 million
        (Frame(256, 256), 47_272_966, 2_071_296 + 3_085_568, 2_253_216 + 39_862_016 + 870),
        (Frame(128, 64), 47_419_270, 2_217_600 + 3_085_568, 2_253_216 + 39_862_016 + 870),
    ],
)
def test_parameters_at_the_authors_width(frame: Frame, total: int, appearance: int, shape: int) -> None:
    with torch.device("meta"):
        system = build(VUNetSettings("vunet", 1), frame)
    assert parameter_count(system.vunet) == total
    assert parameter_count(system.vunet.appearance) == appearance
    assert parameter_count(system.vunet.shape) == shape
    assert set(system.optimisers) == set(system.networks) == {"vunet"}


def test_the_way_on_from_the_latents_is_built_but_not_reached() -> None:
    with torch.device("meta"):
        appearance = build(VUNetSettings("vunet", 1), Frame(256, 256)).vunet.appearance
    idle = [appearance.after[1], appearance.ups[1], appearance.before[2]]
    assert sum(parameter_count(part) for part in idle) == 1_230_848
    system = begun(system_of())
    appearance = system.vunet.appearance
    idle = [appearance.after[1], appearance.ups[1], appearance.before[2]]
    without = {name for name, p in system.vunet.named_parameters() if p.grad is None}
    expected = {id(p) for part in idle for p in part.parameters()}
    assert {id(p) for name, p in system.vunet.named_parameters() if name in without} == expected


@pytest.mark.parametrize(
    ("height", "crop", "levels"), [(32, 16, 5), (64, 32, 6), (128, 64, 7), (256, 64, 7), (512, 64, 7)]
)
def test_the_frames_height_decides_crops_and_levels(height: int, crop: int, levels: int) -> None:
    with torch.device("meta"):
        system = build(SMALL, Frame(height, height // 2))
    assert (system.size, system.crop, len(system.vunet.shape.before)) == (height, crop, levels)


@pytest.mark.parametrize(("box", "bottleneck", "lowest"), [(0, 1, 2), (1, 2, 4), (2, 1, 2)])
def test_box_and_bottleneck_decide_the_latents(box: int, bottleneck: int, lowest: int) -> None:
    system = system_of(replace(SMALL, box=box, bottleneck=bottleneck))
    given = system._inputs(*photos_and_pose())
    assert given.parts.shape == (2, 24, HEIGHT >> box, HEIGHT >> box)
    generated, posterior, prior = system.vunet(given)
    assert generated.shape == (2, 3, HEIGHT, HEIGHT)
    shapes = [(2, 16, lowest, lowest), (2, 16, 2 * lowest, 2 * lowest)]
    assert [tuple(q.shape) for q in posterior] == [tuple(p.shape) for p in prior] == shapes


def photos_and_pose() -> tuple[Tensor, Tensor, Tensor]:
    keypoints = people(2, HEIGHT, WIDTH)
    return photos_of(keypoints, [0, 1], HEIGHT, WIDTH), keypoints, keypoints


# Settings.


def test_the_defaults_are_the_authors() -> None:
    row = systems.row({"kind": "vunet", "steps": 7}, "x")
    assert row == VUNetSettings("vunet", steps=7)
    assert (row.items_per_step, row.max_sources, row.targets) == (8, 1, "one")
    assert (row.width, row.box, row.bottleneck, row.dropout) == (32, None, None, 0.1)
    assert row.optimiser == AdamSettings(1e-3, (0.5, 0.9), 0, 0, 0.01)
    assert row.loss_weights() == {"l1": 637.5, "perceptual": 1.0, "kl": 1.0}
    assert row.perceptual_layers("viton") == "vunet"
    assert replace(row, perceptual=0.0).perceptual_layers("viton") is None
    assert row.needs_source_poses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_sources": 2}, "mine: vunet makes an image of one source, so max_sources should be 1, not 2"),
        ({"width": 0}, "mine: width should be at least 1, not 0"),
        ({"box": -1}, "mine: box should be at least 0, or null for what fits the frame, not -1"),
        ({"bottleneck": 0}, "mine: bottleneck should be at least 1, or null for what fits the frame, not 0"),
        ({"dropout": 1}, "mine: dropout should be from 0 to below 1, not 1.0"),
        ({"dropout": -0.1}, "mine: dropout should be from 0 to below 1, not -0.1"),
        ({"l1": -1}, "mine: the weight l1 should not be negative, but it is -1"),
        ({"perceptual": -1}, "mine: the weight perceptual should not be negative, but it is -1"),
        ({"kl": -1}, "mine: the weight kl should not be negative, but it is -1"),
        ({"kl_from": 0.8}, "mine: kl_from and kl_until should be shares of the steps.*not 0.8 and 0.75"),
        ({"kl_from": -0.1}, "kl_from and kl_until should be shares"),
        ({"kl_until": 1.1}, "kl_from and kl_until should be shares"),
        ({"kl_until": 0.5}, "kl_from and kl_until should be shares"),
        ({"optimiser": {"learning_rate": 0}}, "mine.optimiser: learning_rate should be above 0"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        systems.row({"kind": "vunet", "steps": 1} | changes, "mine")


@pytest.mark.parametrize("height", [16, 31, 33, 96, 250])
def test_a_height_that_is_no_power_of_two_from_32_on_is_refused(height: int) -> None:
    with pytest.raises(ReposeError, match=rf"a power of two of at least 32 px, not {height}\. Set posemaps\.height"):
        build(SMALL, Frame(height, 32))


@pytest.mark.parametrize(("box", "bottleneck"), [(3, 1), (1, 3), (9, 1), (None, 9)])
def test_crops_that_are_too_small_for_the_latents_are_refused(box: int | None, bottleneck: int | None) -> None:
    with pytest.raises(ReposeError, match=r"a crop is 32 / 2\^\d px a side and the lowest size 2\^\d px"):
        build(replace(SMALL, box=box, bottleneck=bottleneck), Frame(32, 32))
    if box == 3:
        with torch.device("meta"):
            assert build(replace(SMALL, box=2, bottleneck=bottleneck), Frame(32, 32)).crop == 8


def test_several_processes_are_refused() -> None:
    with pytest.raises(ReposeError, match=r"several processes cannot share one\. Set train\.processes to 1"):
        system_of().distribute()


def test_kl_counts_as_the_authors_schedule_says() -> None:
    found = {s: VUNetSettings("vunet", 100_000).kl_weight(Progress(s, 100_000, 9)) for s in range(0, 100_000, 6_250)}
    assert [found[s] for s in range(0, 50_001, 6_250)] == [1e-6] * 9
    assert [found[s] for s in (56_250, 62_500, 68_750)] == pytest.approx([0.25, 0.5, 0.75], abs=1e-5)
    assert [found[s] for s in range(75_000, 100_000, 6_250)] == [1.0] * 4


def test_kl_keeps_its_shares_of_a_shorter_training() -> None:
    row = VUNetSettings("vunet", 8, kl=3.0)
    assert [row.kl_weight(Progress(s, 8, 9)) for s in range(8)] == pytest.approx([3e-6] * 5 + [1.5, 3, 3], abs=2e-6)


def test_the_rate_falls_as_the_authors_does() -> None:
    rates = [AdamSettings().rate(Progress(s, 100_000, 9)) for s in (0, 500, 1_000, 50_500, 90_100, 99_999)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 1e-4, 1e-3 / 99_000])


# What it sees, against drawing pixel by pixel.


def poses_to_draw() -> dict[str, Tensor]:
    standing = person(32, 32, arms=(0.5, 1.2), legs=(0.2, 0.4))
    poses = {"standing": standing, "from behind": person(32, 32, arms=(0.1, 1.5), back=True)}
    for joint in ("nose", "left_eye", "right_shoulder", "left_hip", "left_knee", "right_knee", "left_elbow"):
        poses[f"no {joint}"] = standing.clone()
        poses[f"no {joint}"][JOINT[joint]] = torch.nan
    poses["partly outside"] = standing + torch.tensor([10.0, -9.0])
    poses["turned"] = torch.stack([31 - standing[:, 1], standing[:, 0]], 1)
    poses["nothing"] = torch.full_like(standing, torch.nan)
    return poses


each_pose = pytest.mark.parametrize("keypoints", poses_to_draw().values(), ids=poses_to_draw().keys())


@each_pose
@pytest.mark.parametrize(("size", "line_width"), [(32, 1), (128, 3)])
def test_the_stickman_is_drawn_as_written(keypoints: Tensor, size: int, line_width: int) -> None:
    off = torch.linspace(-0.1, 0.1, 36).reshape(18, 2)  # so that no pixel's middle lies on a rim
    large = in_square(keypoints[None] + off, 32, 32, size)
    drawn = stickman(large, size)[0]
    assert drawn.shape == (3, size, size)
    expected = slow_stickman(large[0].double().numpy(), size, line_width)
    np.testing.assert_allclose(drawn.numpy(), expected, atol=1e-6)


def slow_stickman(keypoints: np.ndarray, size: int, line_width: int) -> np.ndarray:
    at = {name: keypoints[index] for name, index in JOINT.items()}
    neck, canvas = (at["left_shoulder"] + at["right_shoulder"]) / 2, np.full((3, size, size), -1.0)
    y, x = np.mgrid[:size, :size]
    for channel, side in enumerate(("right", "left")):
        chain = [at[f"{side}_{name}"] for name in ("ankle", "knee", "hip", "shoulder", "elbow", "wrist")]
        lines = [(a, b, 1.0) for a, b in pairwise(chain)] + [(neck, at["nose"], HALF)]
        if not np.isnan([at["left_eye"], at["right_eye"]]).any():
            lines.append((at["nose"], at[f"{side}_eye"], 1.0))
        for start, end, value in lines:
            canvas[channel][distance(x, y, start, end) <= line_width / 2] = value
    corners = [at[n] for n in ("left_hip", "left_shoulder", "right_shoulder", "right_hip")]
    if not np.isnan(corners).any():
        edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
        sides = np.stack([(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in edges])
        inside = (sides > 0).all(0) | (sides < 0).all(0)  # these torsos are convex
        outline = np.any([distance(x, y, a, b) <= 0.5 for a, b in edges], 0)
        canvas[2][inside | outline] = 1
    return canvas


def distance(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Of pixels to a line, from its ends where they lie beyond them; NaN of one that is missing."""
    to_start, to_end = np.hypot(x - start[0], y - start[1]), np.hypot(x - end[0], y - end[1])
    (dx, dy), length = end - start, np.hypot(*(end - start))
    across = np.abs((x - start[0]) * dy - (y - start[1]) * dx) / length
    beyond = (to_start**2 > to_end**2 + length**2) | (to_end**2 > to_start**2 + length**2)
    return np.where(beyond, np.minimum(to_start, to_end), across)


def test_a_torso_seen_from_the_side_crosses_itself() -> None:
    keypoints = torch.full((1, 18, 2), torch.nan)
    for name, place in {
        "left_shoulder": (4, 4),
        "right_shoulder": (27, 4),
        "left_hip": (27, 27),
        "right_hip": (4, 27),
    }.items():
        keypoints[0, JOINT[name]] = torch.tensor(place, dtype=torch.float32)
    torso = stickman(keypoints, 32)[0, 2]
    assert torso[8, 15] == torso[24, 15] == 1  # above and below the crossing
    assert torso[15, 6] == torso[15, 25] == -1  # beside it
    assert torso[2, 15] == torso[30, 15] == -1


def test_right_and_left_have_channels_of_their_own() -> None:
    keypoints = person(32, 32, arms=(1.2, 1.2))[None]
    right, left, _ = stickman(keypoints, 32)[0]
    x, y = keypoints[0, JOINT["right_elbow"]].round().long()
    assert (right[y, x], left[y, x]) == (1, -1)
    x, y = keypoints[0, JOINT["left_elbow"]].round().long()
    assert (right[y, x], left[y, x]) == (-1, 1)


@each_pose
def test_the_parts_are_cropped_as_written(keypoints: Tensor) -> None:
    image = photos_of(keypoints[None].nan_to_num(5), [0], 32, 32)
    image = (image + 0.3 * torch.randn_like(image)).clamp(-1, 1)
    crops = part_crops(image, keypoints[None], 16)[0].numpy()
    expected = slow_crops(image[0].double().numpy(), keypoints.double().numpy(), 16)
    np.testing.assert_allclose(crops, expected, atol=2e-3)


def slow_crops(image: np.ndarray, keypoints: np.ndarray, size: int) -> np.ndarray:
    """Each homography by its eight equations, each pixel by hand."""
    crops = np.zeros((8, 3, size, size))
    for crop, corners in zip(crops, slow_corners(keypoints, image.shape[-1]), strict=True):
        if np.isnan(corners).any():
            continue
        rows, wanted = [], []
        for (u, v), (x, y) in zip(((0, 0), (0, 1), (1, 1), (1, 0)), corners, strict=True):
            rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
            wanted += [x, y]
        matrix = np.append(np.linalg.solve(np.array(rows, float), np.array(wanted)), 1).reshape(3, 3)
        for row in range(size):
            for column in range(size):
                x, y, w = matrix @ [(column + 0.5) / size, (row + 0.5) / size, 1]
                crop[:, row, column] = bilinear(image, x / w, y / w)
    return crops.reshape(24, size, size)


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    last = image.shape[-1] - 1
    x, y = min(max(x, 0), last), min(max(y, 0), last)
    left, top = min(int(x), last - 1), min(int(y), last - 1)
    (a, b), (c, d) = image[:, top : top + 2, left : left + 2].transpose(1, 2, 0)
    found: np.ndarray = (a * (left + 1 - x) + b * (x - left)) * (top + 1 - y) + (
        c * (left + 1 - x) + d * (x - left)
    ) * (y - top)
    return found


def slow_corners(keypoints: np.ndarray, side: int) -> list[np.ndarray]:
    at = {name: keypoints[index] for name, index in JOINT.items()}
    right, left, nose = at["right_shoulder"], at["left_shoulder"], at["nose"]
    neck = (right + left) / 2
    if np.isnan(nose).any():  # the square above the shoulders
        up = np.array([left[1] - right[1], right[0] - left[0]])
        up = up if up[1] <= 0 else -up
        head = [left + up, left, right, right + up]
    else:
        top, half = 2 * nose - neck, np.array([neck[1] - (2 * nose - neck)[1], (2 * nose - neck)[0] - neck[0]]) / 2
        head = [top + half, neck + half, neck - half, top - half]
    quads = [[left, at["left_hip"], at["right_hip"], right], head]
    for first, second in (
        ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"), ("left_hip", "left_knee"), ("right_hip", "right_knee"),
    ):  # fmt: skip
        a, b = at[first], at[second]
        if second.endswith("knee") and np.isnan(b).any():
            b = np.array([a[0], side - 1])
        quarter = np.array([b[1] - a[1], a[0] - b[0]]) / 4
        quads.append([a - quarter, a + quarter, b + quarter, b - quarter])
    return [np.array(quad) for quad in quads]


def test_a_limbs_crop_is_the_same_however_it_points() -> None:
    """An upright thigh in a photo, and the photo turned by a quarter: one crop, the hip at its left, the knee at its right."""
    image, keypoints = torch.rand(1, 3, 32, 32), torch.full((1, 18, 2), torch.nan)
    keypoints[0, JOINT["left_hip"]], keypoints[0, JOINT["left_knee"]] = torch.tensor([[15.5, 7.5], [15.5, 23.5]])
    turned = torch.stack([31 - keypoints[..., 1], keypoints[..., 0]], -1)
    upright = part_crops(image, keypoints, 8)
    torch.testing.assert_close(part_crops(image.rot90(-1, (2, 3)), turned, 8), upright, atol=1e-5, rtol=0)
    expected = F.avg_pool2d(image[:, :, 8:24, 12:20], (2, 1)).transpose(2, 3)  # 16 x 8 px
    torch.testing.assert_close(upright[:, 18:21], expected, atol=1e-5, rtol=0)
    assert not upright[:, :18].any()
    assert not upright[:, 21:].any()


def test_a_part_without_an_area_is_0() -> None:
    keypoints = person(32, 32)[None]
    keypoints[0, JOINT["left_wrist"]] = keypoints[0, JOINT["left_elbow"]]
    for index in (2, 5, 8, 11):  # shoulders and hips on one line
        keypoints[0, index, 0] = 16
    crops = part_crops(torch.rand(1, 3, 32, 32) + 0.1, keypoints, 8).unflatten(1, (8, 3))[0]
    assert [bool(crop.any()) for crop in crops] == [False, True, True, False, True, True, True, True]


def test_no_keypoint_gives_a_value_that_is_not_finite() -> None:
    keypoints = torch.randn(200, 18, 2) * 30 + 16
    keypoints[torch.rand(200, 18) < 0.1] = torch.nan
    crops = part_crops(torch.rand(1, 3, 32, 32).expand(200, -1, -1, -1), keypoints, 8)
    assert crops.isfinite().all()
    assert crops.min() >= 0
    assert crops.max() <= 1


def test_keypoints_go_where_the_stretched_photo_has_them() -> None:
    image = torch.zeros(1, 1, 32, 16)
    image[0, 0, 20, 6] = 1
    place = in_square(torch.tensor([[[6.0, 20.0]]]).expand(1, 18, 2), 32, 16, 32)[0, 0]
    assert place.tolist() == [12.5, 20.0]
    square = resized(image, 32, 32)[0, 0]
    middle = (square.sum(0) * torch.arange(32)).sum() / square.sum()
    assert middle.item() == pytest.approx(12.5)
    far = torch.full((1, 18, 2), 5.0)
    far[0, 3, 1] = FARTHEST + 1.0
    assert in_square(far, 32, 32, 32)[0].isnan().any(1).tolist() == [index == 3 for index in range(18)]


def test_photos_of_a_square_frame_stay_as_they_are() -> None:
    images = torch.rand(2, 3, 32, 32)
    assert resized(images, 32, 32) is images


@pytest.mark.parametrize(
    ("joint", "whole"), [("nose", True), ("left_knee", True), ("left_hip", False), ("right_shoulder", False)]
)
def test_a_torso_is_whole_with_both_shoulders_and_both_hips(joint: str, whole: bool) -> None:
    keypoints = person(32, 32)[None]
    assert whole_torso(keypoints).item()
    keypoints[0, JOINT[joint]] = torch.nan
    assert whole_torso(keypoints).item() == whole


# Its layers.


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_a_convolution_is_weight_normalised(kernel: int, stride: int) -> None:
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
    assert {name for name, _ in layer.named_parameters()} == {"V", "g", "b"}
    assert list(layer.state_dict()) == ["V", "g", "b"]


@pytest.mark.floats
def test_the_first_photos_set_each_layer_to_mean_0_and_variance_1() -> None:
    system, batch = system_of(), pairs(6, HEIGHT, WIDTH)
    keypoints = batch.poses.keypoints[batch.target]
    given = system._inputs(batch.images[batch.target], keypoints, keypoints)
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


def test_a_channel_that_is_the_same_everywhere_keeps_its_scale() -> None:
    layer = WeightNormConv2d(3, 4, 1)
    layer.beginning = True
    with torch.no_grad():
        output = layer(torch.full((2, 3, 4, 4), 0.7))
    assert torch.equal(layer.g, torch.ones(4))
    torch.testing.assert_close(output, torch.zeros_like(output), atol=1e-6, rtol=0)


def test_one_photo_is_enough_to_begin() -> None:
    system = system_of()
    for number in range(3):
        terms = step(system, pairs(1, HEIGHT, WIDTH), Progress(number, 100, 4))
        assert terms["l1"] < 2
        assert terms["kl"] < 10_000


def test_only_the_first_step_sets_the_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = system_of(), pairs(2, HEIGHT, WIDTH)
    calls: list[Inputs] = []
    begin = system.vunet.begin
    monkeypatch.setattr(system.vunet, "begin", lambda given: (calls.append(given), begin(given)))
    for number in range(3):
        step(system, batch, Progress(number, 100, 4))
    assert len(calls) == 1
    torch.testing.assert_close(calls[0].pose, system._inputs(*own(batch)).pose)
    torch.testing.assert_close(calls[0].parts, system._inputs(*own(batch)).parts)
    assert system.vunet.state_dict()["begun"] == 1


def own(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    keypoints = batch.poses.keypoints[batch.target]
    return batch.images[batch.target], keypoints, keypoints


def test_groups_are_the_four_pixels_of_each_square() -> None:
    x = torch.randn(2, 3, 6, 4)
    groups = split_groups(x)
    assert [tuple(group.shape) for group in groups] == [(2, 3, 3, 2)] * 4
    assert torch.equal(torch.stack([g[1, 2, 2, 1] for g in groups]), x[1, 2, 4:, 2:].flatten())
    assert torch.equal(merge_groups(groups), x)


def test_the_prior_of_a_group_knows_only_the_groups_before() -> None:
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


def test_kl_is_summed_over_a_photos_latents_and_averaged_over_photos() -> None:
    q = [torch.zeros(2, 1, 2, 2), torch.zeros(2, 3, 1, 1)]
    p = [torch.full((2, 1, 2, 2), 2.0), torch.stack([torch.ones(3, 1, 1), torch.zeros(3, 1, 1)])]
    assert kl_divergence(q, p).item() == ((4 * 4 + 3) / 2 + 4 * 4 / 2) / 2


# A step.


class Fake(nn.Module):
    """In VGG19's place."""

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        assert generated.shape == target.shape == (3, 3, HEIGHT, HEIGHT)
        return (generated - target).square().mean()


@pytest.mark.floats
@pytest.mark.parametrize("perceptual", [None, Fake()], ids=["pixels alone", "with features"])
def test_a_step_is_the_step_written_out(perceptual: nn.Module | None) -> None:
    system, batch, progress = begun(system_of()), pairs(3, HEIGHT, WIDTH), Progress(60, 100, 4)
    images, keypoints, _ = own(batch)
    square, large = resized(images, HEIGHT, HEIGHT), in_square(keypoints, HEIGHT, WIDTH, HEIGHT)
    system.vunet.zero_grad()
    torch.manual_seed(1)
    generated, posterior, prior = system.vunet(Inputs(part_crops(square, large, 16), stickman(large, HEIGHT)))
    l1, kl = (generated - square).abs().mean(), kl_divergence(posterior, prior)
    loss = 5 * 127.5 * l1 + (1e-6 + 0.4 * (1 - 1e-6)) * kl
    if perceptual is not None:
        loss = loss + perceptual(generated, square)
    loss.backward()
    expected = {name: p.grad for name, p in system.vunet.named_parameters()}
    before = {name: p.detach().clone() for name, p in system.vunet.named_parameters()}
    terms = step(system, batch, progress, perceptual)
    assert list(terms) == ["l1", "kl"] + (["perceptual"] if perceptual is not None else [])
    assert terms["l1"].item() == pytest.approx(l1.item(), rel=1e-5)
    assert terms["kl"].item() == pytest.approx(kl.item(), rel=1e-5)
    for name, parameter in system.vunet.named_parameters():
        if expected[name] is not None:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-3)
            assert not torch.equal(parameter, before[name])
    assert system.optimisers["vunet"].param_groups[0]["lr"] == AdamSettings().rate(progress)


def test_a_weight_of_0_leaves_the_features_out() -> None:
    assert list(step(system_of(replace(SMALL, perceptual=0.0)), pairs(3, HEIGHT, WIDTH), perceptual=Fake())) == [
        "l1",
        "kl",
    ]


def test_a_step_rebuilds_targets_and_never_looks_at_sources() -> None:
    batch = pairs(2, HEIGHT, WIDTH)
    images, keypoints = batch.images.clone(), batch.poses.keypoints.clone()
    images[batch.sources[:, 0]] = torch.nan
    keypoints[batch.sources[:, 0]] = torch.nan
    blind = replace(
        batch, images=images, poses=Poses(torch.full_like(batch.poses.posemaps, torch.nan), keypoints),
        other_image=batch.other_image * torch.nan,
    )  # fmt: skip
    one, other = system_of(), system_of()
    assert step(one, batch) == step(other, blind)
    assert torch.equal(weights(one), weights(other))


def test_photos_without_a_whole_torso_are_left_out() -> None:
    batch = pairs(3, HEIGHT, WIDTH)
    cut = with_joints_missing(batch, [int(batch.target[1])], "left_hip")
    rest = replace(batch, target=batch.target[[0, 2]])
    one, other = system_of(), system_of()
    assert step(one, cut) == step(other, rest)
    assert torch.equal(weights(one), weights(other))


def test_where_no_photo_is_left_nothing_is_trained() -> None:
    system, batch = system_of(), pairs(2, HEIGHT, WIDTH)
    cut = with_joints_missing(batch, batch.target.tolist(), "right_shoulder")
    before, random = weights(system), torch.get_rng_state()
    terms = system.step(cut, Fake(), START, nullcontext())
    assert {name: term.item() for name, term in terms.items()} == {"l1": 0, "kl": 0, "perceptual": 0}
    assert torch.equal(weights(system), before)
    assert torch.equal(torch.get_rng_state(), random)
    step(system, batch, Progress(1, 100, 4))  # the first step that has photos is the one that begins
    assert system.vunet.begun
    step(system, cut, Progress(99, 100, 4))


def test_a_training_without_any_whole_torso_is_refused() -> None:
    batch = pairs(2, HEIGHT, WIDTH)
    cut = with_joints_missing(batch, batch.target.tolist(), "right_hip")
    system = system_of()
    step(system, cut, Progress(98, 100, 4))
    with pytest.raises(
        ReposeError, match="vunet learned nothing: no photo of its training had both shoulders and both"
    ):
        step(system, cut, Progress(99, 100, 4))


def test_a_step_in_bfloat16() -> None:
    system, batch = system_of(), pairs(2, HEIGHT, WIDTH)
    for number in range(2):
        terms = system.step(batch, None, Progress(number, 100, 4), torch.autocast("cpu", torch.bfloat16))
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


def test_training_draws_latents_and_dropout() -> None:
    for row in (replace(SMALL, dropout=0.0), SMALL):
        one, other = begun(system_of(row)), begun(system_of(row))
        batch = pairs(2, HEIGHT, WIDTH)
        assert step(one, batch, seed=5)["l1"] != step(other, batch, seed=6)["l1"]
    system = system_of()
    dropped = [module.p for module in system.vunet.modules() if isinstance(module, nn.Dropout)]
    assert set(dropped) == {0.1}
    system.vunet.train()
    block, h = system.vunet.shape.down.blocks[0], torch.randn(1, 4, 8, 8)
    assert not torch.equal(block(h), block(h))
    block.eval()
    assert torch.equal(block(h), block(h))


# Images of another pose.


@pytest.mark.parametrize("training", [True, False])
def test_what_is_made_is_not_drawn_from_chance(training: bool) -> None:
    system, batch = begun(system_of()), pairs(3, HEIGHT, WIDTH)
    system.vunet.train(training)
    random = torch.get_rng_state()
    first = made(system, batch)
    assert torch.equal(made(system, batch), first)
    assert torch.equal(torch.get_rng_state(), random)
    assert system.vunet.training == training
    assert first.shape == (3, 3, HEIGHT, WIDTH)
    assert first.abs().max() <= 1


@pytest.mark.floats
def test_what_is_made_does_not_depend_on_what_else_is_made() -> None:
    system, batch = begun(system_of()), pairs(3, HEIGHT, WIDTH)
    together = made(system, batch)
    for number in range(3):
        alone = made(system, batch, rows=slice(number, number + 1))
        torch.testing.assert_close(alone[0], together[number], atol=1e-5, rtol=0)
    images = batch.images.clone()
    images[batch.target] = torch.nan  # of the target, the pose alone
    torch.testing.assert_close(made(system, replace(batch, images=images)), together)


def test_a_source_without_keypoints_makes_an_image_all_the_same() -> None:
    system, batch = begun(system_of()), pairs(2, HEIGHT, WIDTH)
    keypoints = batch.poses.keypoints.clone()
    keypoints[batch.sources[:, 0]] = torch.nan
    blind = replace(batch, poses=Poses(batch.poses.posemaps, keypoints))
    images = made(system, blind)
    assert images.isfinite().all()
    dark = replace(blind, images=torch.zeros_like(batch.images))
    assert torch.equal(made(system, dark), images)  # all crops are 0, whatever the photo shows


@pytest.fixture(scope="module")
def trained() -> tuple[VUNetSystem, Batch]:
    """Three people, each in colours of their own, learned in a few steps."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batch = pairs(3, HEIGHT, HEIGHT)
    row = replace(SMALL, width=6, steps=60, dropout=0.0, kl_from=0.9, kl_until=1.0, optimiser=AdamSettings(4e-3))
    system = system_of(row, Frame(HEIGHT, HEIGHT))
    for number in range(row.steps):
        step(system, batch, Progress(number, row.steps, 4), seed=number)
    torch.set_num_threads(threads)
    return system, batch


def error(images: Tensor, batch: Batch) -> float:
    return (images - batch.images[batch.target]).abs().mean().item()


@pytest.mark.floats
def test_another_source_gives_another_picture(trained: tuple[VUNetSystem, Batch]) -> None:
    system, batch = trained
    own_source, other_source = made(system, batch), made(system, batch, batch.sources.roll(1, 0))
    assert (own_source - other_source).abs().mean() > 0.01
    assert error(own_source, batch) < error(other_source, batch)


@pytest.mark.floats
def test_another_pose_gives_another_picture(trained: tuple[VUNetSystem, Batch]) -> None:
    system, batch = trained
    elsewhere = replace(batch, target=batch.target.roll(1))
    assert (made(system, batch) - made(system, elsewhere)).abs().mean() > 0.05


@pytest.mark.floats
def test_a_photo_is_rebuilt_from_itself(trained: tuple[VUNetSystem, Batch]) -> None:
    system, batch = trained
    plain = batch.images[batch.target].mean((0, 2, 3), keepdim=True)
    assert error(made(system, batch, batch.target[:, None]), batch) < 0.7 * error(plain, batch)
