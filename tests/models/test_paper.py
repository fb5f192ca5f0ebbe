"""The paper's generator: its size, its ConvLSTM against a naive one, its sources, its skips, its settings."""

from typing import Any

import pytest
import torch
from torch import Tensor

from made_up import all_of, photos
from repose.models.paper import ConvLSTMCell, PaperGenerator, PaperSettings

pytestmark = pytest.mark.floats

SIZE = (32, 24)


def generator(**settings: Any) -> PaperGenerator:
    return PaperGenerator(PaperSettings(**{"width": 4, "blocks": 1} | settings))


@pytest.mark.parametrize("settings", [
    {"norm": "batch"}, {"norm": "none", "upsampling": "transposed2"},
    {"pose_encoder": "pooled", "upsampling": "nearest", "blocks": 0},
], ids=str)  # fmt: skip
def test_every_setting_gives_images_and_gradients_for_all_parameters(settings):
    network, (images, poses) = generator(**settings), photos(5, *SIZE)
    generated = network.decode(network.encode(images, poses, *all_of([[0, 1, 2], [3, 4, 0]])), poses[:2])
    assert generated.image.shape == (2, 3, *SIZE)
    (generated.image - images[:2]).abs().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert name.endswith("bias") or parameter.grad.abs().max() > 0, name


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


@pytest.mark.parametrize("mask", [[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 1]])
def test_the_convlstm_is_the_textbooks_and_steps_left_out_keep_the_state(mask):
    cell, features = ConvLSTMCell(6, 4), torch.randn(4, 6, 7, 5)
    order = torch.randperm(4)
    states = cell(features, order[None], torch.tensor([mask]).bool())[0]
    expected = naive_states(cell, [features[order[i]] for i in range(4) if mask[i]])
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
def test_the_code_is_both_directions_pooled(pooling):
    network, (images, poses) = generator(pooling=pooling), photos(5, *SIZE)
    sources = torch.tensor([[0, 1, 2, 3], [4, 2, 4, 4], [3, 3, 3, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    with torch.no_grad():
        code, features = network.encode(images, poses, sources, mask), network.image_encoder.resnet(images)
        for found, row in zip(code, [[0, 1, 2, 3], [4, 2], [3]], strict=True):
            torch.testing.assert_close(found, naive_code(network, features, row, pooling), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["strided", "pooled"])
def test_skips_come_from_the_pose_encoder_alone(kind):
    network, (images, poses) = generator(pose_encoder=kind), photos(5, *SIZE)
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


def test_weights_start_as_pix2pix_has_them_and_in_the_convlstm_as_pytorch_has_them():
    network = generator(width=16)
    for name, layer in network.named_modules():
        if not isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            continue
        weight, bias = layer.weight.detach(), layer.bias.detach()
        bound = weight[0].numel() ** -0.5
        in_lstm = name.endswith("gates")
        assert weight.std().item() == pytest.approx(bound / 3**0.5 if in_lstm else 0.02, rel=0.06), name
        assert (bias.abs().max() <= bound and bias.any()) if in_lstm else not bias.any(), name


def test_the_forget_bias_is_added_at_the_start():
    torch.manual_seed(1)
    zero = generator(forget_bias=0.0).image_encoder
    torch.manual_seed(1)
    one = generator(forget_bias=1.5).image_encoder
    for direction in ("forwards", "backwards"):
        with_bias, without = getattr(one, direction).gates.bias, getattr(zero, direction).gates.bias
        n = len(without) // 4
        torch.testing.assert_close(with_bias - without, torch.tensor([0.0, 1.5, 0.0, 0.0]).repeat_interleave(n))
