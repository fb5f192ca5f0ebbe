"""The paper's generator: its size, its ConvLSTM against a naive one, its sources, its skips, its settings."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from made_up import people, photos_of, poses_of
from repose.data.poses import Poses
from repose.models.layers import parameter_count
from repose.models.paper import ConvLSTMCell, PaperGenerator, PaperSettings

pytestmark = pytest.mark.floats

SIZE = (32, 24)


def generator(**settings: Any) -> PaperGenerator:
    return PaperGenerator(PaperSettings(**{"width": 4, "blocks": 1} | settings))


def photos(count: int = 5, height: int = SIZE[0], width: int = SIZE[1]) -> tuple[Tensor, Poses]:
    keypoints = people(count, height, width)
    return photos_of(keypoints, list(range(count)), height, width), poses_of(keypoints, height, width)


def all_of(sources: list[list[int]]) -> tuple[Tensor, Tensor]:
    index = torch.tensor(sources)
    return index, torch.ones_like(index, dtype=torch.bool)


def test_parameters_at_the_papers_width() -> None:
    with torch.device("meta"):
        network = PaperGenerator(PaperSettings())
    encoder = network.image_encoder
    assert parameter_count(network) == 13_304_899
    assert parameter_count(encoder.resnet) == 7_459_456
    assert parameter_count(encoder.forwards) + parameter_count(encoder.backwards) == 3_539_968
    assert parameter_count(network.pose_encoder) == 378_496
    assert parameter_count(network.decoder) == 1_926_979


SETTINGS: list[dict[str, Any]] = [
    {},
    {"pooling": "last"},
    {"pooling": "max"},
    {"pose_encoder": "pooled"},
    {"upsampling": "transposed2"},
    {"upsampling": "nearest"},
    {"norm": "batch"},
    {"norm": "none"},
    {"norm": "none", "pose_encoder": "pooled", "upsampling": "nearest", "pooling": "max"},
    {"forget_bias": 1.0},
    {"blocks": 0},
]


@pytest.mark.parametrize("size", [(128, 88), (128, 64), (64, 32)])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_gives_images_of_the_inputs_size(settings: dict[str, Any], size: tuple[int, int]) -> None:
    network, (images, poses) = generator(**settings), photos(3, *size)
    with torch.no_grad():
        code = network.encode(images, poses, *all_of([[0, 1], [1, 2]]))
        generated = network.decode(code, poses[:2])
    assert code.shape == (2, 16, size[0] // 4, size[1] // 4)
    assert generated.image.shape == (2, 3, *size)
    assert generated.image.abs().max() <= 1
    assert generated.image.std() > 0
    assert generated.warped is None
    assert generated.synthesized is None


@pytest.mark.parametrize(("width", "blocks"), [(0, 6), (64, -1)])
def test_sizes_that_make_no_network_are_refused(width: int, blocks: int) -> None:
    with pytest.raises(ValueError, match=f"width .* at least 1 and blocks at least 0, not {width} and {blocks}"):
        PaperSettings(width=width, blocks=blocks)


@pytest.mark.parametrize("size", [(256, 256), (256, 176)])
def test_at_deepfashions_size(size: tuple[int, int]) -> None:
    network, (images, poses) = generator(), photos(2, *size)
    with torch.no_grad():
        image = network.decode(network.encode(images, poses, *all_of([[0, 1]])), poses[:1]).image
    assert image.shape == (1, 3, *size)
    assert image.abs().max() <= 1


def test_the_output_is_a_tanh_and_so_stays_in_range() -> None:
    network, (images, poses) = generator(norm="none"), photos()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(50)
        image = network.decode(network.encode(images, poses, *all_of([[0, 1]])), poses[:1]).image
    assert image.abs().max() == 1


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gradients_reach_all_parameters(settings: dict[str, Any]) -> None:
    network, (images, poses) = generator(**settings), photos()
    code = network.encode(images, poses, *all_of([[0, 1, 2], [3, 4, 0]]))
    (network.decode(code, poses[:2]).image - images[:2]).abs().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        before_a_norm = name.endswith("bias") and settings.get("norm") != "none"  # which takes the mean away again
        assert before_a_norm or parameter.grad.abs().max() > 0, name


def naive_states(cell: ConvLSTMCell, sequence: list[Tensor]) -> list[Tensor]:
    """The textbook's ConvLSTM over (channels_in,h,w) each: one convolution of [x, h] a step."""
    hidden = cell_state = torch.zeros(cell.channels, *sequence[0].shape[1:])
    states = []
    for x in sequence:
        gates = cell.gates(torch.cat([x, hidden])[None])[0]
        n = cell.channels
        i, f, o = (torch.sigmoid(gates[k * n : (k + 1) * n]) for k in range(3))
        cell_state = f * cell_state + i * torch.tanh(gates[3 * n :])
        hidden = o * torch.tanh(cell_state)
        states.append(hidden)
    return states


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_the_convlstm_is_the_textbooks(steps: int) -> None:
    cell, features = ConvLSTMCell(6, 4), torch.randn(5, 6, 7, 5)
    index = torch.stack([torch.randperm(5)[:steps] for _ in range(3)])
    states = cell(features, index, torch.ones_like(index, dtype=torch.bool))
    assert states.shape == (3, steps, 4, 7, 5)
    for row, found in zip(index.tolist(), states, strict=True):
        expected = naive_states(cell, [features[photo] for photo in row])
        torch.testing.assert_close(found, torch.stack(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mask", [[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1]])
def test_steps_left_out_keep_the_state(mask: list[int]) -> None:
    cell, features = ConvLSTMCell(6, 4), torch.randn(4, 6, 7, 5)
    states = cell(features, torch.arange(4)[None], torch.tensor([mask]).bool())[0]
    expected = naive_states(cell, [features[i] for i in range(4) if mask[i]])
    torch.testing.assert_close(states[torch.tensor(mask).bool()], torch.stack(expected), atol=1e-6, rtol=1e-5)
    for step in range(4):
        if not mask[step]:
            before = states[step - 1] if step else torch.zeros_like(states[0])
            assert torch.equal(states[step], before)


def naive_code(network: PaperGenerator, features: Tensor, sources: list[int], pooling: str) -> Tensor:
    encoder, sequence = network.image_encoder, [features[source] for source in sources]
    ahead = naive_states(encoder.forwards, sequence)
    back = naive_states(encoder.backwards, sequence[::-1])[::-1]
    if pooling == "last":
        return torch.cat([ahead[-1], back[0]])
    outputs = torch.stack([torch.cat(both) for both in zip(ahead, back, strict=True)])
    return outputs.mean(0) if pooling == "mean" else outputs.amax(0)


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_the_code_is_both_directions_pooled(pooling: str) -> None:
    network, (images, poses) = generator(pooling=pooling), photos()
    sources = torch.tensor([[0, 1, 2, 3], [4, 2, 4, 4], [3, 3, 3, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    with torch.no_grad():
        code, features = network.encode(images, poses, sources, mask), network.image_encoder.resnet(images)
        for found, row in zip(code, [[0, 1, 2, 3], [4, 2], [3]], strict=True):
            torch.testing.assert_close(found, naive_code(network, features, row, pooling), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_what_is_masked_has_no_influence(pooling: str) -> None:
    network, (images, poses) = generator(pooling=pooling), photos()
    mask = torch.tensor([[True, False, True, False]])
    with torch.no_grad():
        one = network.encode(images, poses, torch.tensor([[0, 1, 2, 3]]), mask)
        other = network.encode(images, poses, torch.tensor([[0, 4, 2, 1]]), mask)
    assert torch.equal(one, other)


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_padding_changes_nothing(pooling: str, count: int) -> None:
    network, (images, poses) = generator(pooling=pooling), photos()
    index, mask = all_of([list(range(count))])
    with torch.no_grad():
        short = network.encode(images, poses, index, mask)
        padded = network.encode(images, poses, F.pad(index, (0, 2), value=count - 1), F.pad(mask, (0, 2)))
    torch.testing.assert_close(padded, short, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_the_picture_depends_on_every_source_and_on_their_order(pooling: str) -> None:
    network, (images, poses) = generator(pooling=pooling), photos()

    def made(*sources: int) -> Tensor:
        with torch.no_grad():
            return network.decode(network.encode(images, poses, *all_of([list(sources)])), poses[:1]).image

    for others in [(4, 1, 2), (0, 4, 2), (0, 1, 4), (2, 1, 0)]:
        assert (made(0, 1, 2) - made(*others)).abs().max() > 1e-5, others


def test_targets_do_not_see_each_other() -> None:
    network, (images, poses) = generator(), photos()
    with torch.no_grad():
        together = network.decode(network.encode(images, poses, *all_of([[0, 1], [2, 3]])), poses[:2]).image
        alone = network.decode(network.encode(images[:2], poses[:2], *all_of([[0, 1]])), poses[:1]).image
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_the_poses_of_the_sources_are_not_seen() -> None:
    network, (images, poses) = generator(), photos()
    index, mask = all_of([[0, 1]])
    with torch.no_grad():
        one = network.encode(images, poses, index, mask)
        other = network.encode(images, Poses(-poses.posemaps, poses.keypoints + 3), index, mask)
    assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["strided", "pooled"])
def test_skips_come_from_the_pose_encoder_alone(kind: str) -> None:
    network, (images, poses) = generator(pose_encoder=kind), photos()
    seen: list[tuple[Tensor, ...]] = []
    network.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        for sources in ([[0, 1]], [[2, 3]]):
            network.decode(network.encode(images, poses, *all_of(sources)), poses[:1])
        of_pose = network.pose_encoder(poses.posemaps[:1])
        for code, *skips in seen:
            assert code.shape[2:] == (SIZE[0] // 4, SIZE[1] // 4)
            assert all(torch.equal(skip, level) for skip, level in zip(skips, of_pose, strict=True))
        assert not torch.equal(seen[0][0], seen[1][0])
        picture = network.decoder(*seen[0])
        for level in range(4):  # the code and every level count
            without = [torch.zeros_like(part) if k == level else part for k, part in enumerate(seen[0])]
            assert (network.decoder(*without) - picture).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["strided", "pooled"])
def test_the_pose_encoders_levels(kind: str) -> None:
    _, poses = photos(2)
    levels = generator(pose_encoder=kind).pose_encoder(poses.posemaps)
    assert [tuple(level.shape) for level in levels] == [(2, 4, 32, 24), (2, 8, 16, 12), (2, 16, 8, 6)]
    assert all(level.min() >= 0 for level in levels)  # after a ReLU


def test_the_forget_bias_is_added_at_the_start() -> None:
    torch.manual_seed(1)
    zero = generator(forget_bias=0.0).image_encoder
    torch.manual_seed(1)
    one = generator(forget_bias=1.5).image_encoder
    for direction in ("forwards", "backwards"):
        with_bias, without = getattr(one, direction).gates.bias, getattr(zero, direction).gates.bias
        n = len(without) // 4
        torch.testing.assert_close(with_bias - without, torch.tensor([0.0, 1.5, 0.0, 0.0]).repeat_interleave(n))


def test_batchnorm_sees_the_step_and_keeps_statistics() -> None:
    network, (images, poses) = generator(norm="batch"), photos()
    index, mask = all_of([[0, 1]])
    network.encode(images, poses, index, mask)
    network.eval()
    with torch.no_grad():
        one = network.encode(images, poses, index, mask)
        alone = network.encode(images[:2], poses[:2], index, mask)
    torch.testing.assert_close(one, alone, atol=1e-5, rtol=1e-4)


def test_in_autocast_state_and_image_stay_float32() -> None:
    network, (images, poses) = generator(), photos()
    index, mask = all_of([[0, 1, 2]])
    with torch.no_grad():
        expected = network.decode(network.encode(images, poses, index, mask), poses[:1]).image
        with torch.autocast("cpu", torch.bfloat16):
            code = network.encode(images, poses, index, mask)
            image = network.decode(code, poses[:1]).image
    assert code.dtype == image.dtype == torch.float32
    assert (image - expected).abs().mean() < 0.02
