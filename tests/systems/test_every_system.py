"""What every system has to do: learn, resume exactly, generate each image by itself."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from made_up import made, pairs
from repose import checkpoint, systems
from repose.checkpoint import About
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.images import to_uint8
from repose.data.skeleton import JOINT
from repose.metrics.ssim import ssim
from repose.models.layers import parameter_count
from repose.models.vunet import WeightNormConv2d
from repose.systems import Progress, System, SystemSettings
from tiny_system import small_row

DOCS = Path(__file__).parents[2] / "docs" / "systems.md"
DEEPFASHION, MARKET, SMALL = Frame(256, 256), Frame(128, 64), Frame(32, 24)
PG2 = {"width": 16, "code": 64, "discriminator_width": 4, "optimiser": {"learning_rate": 0.002}}
FAST = {"learning_rate": 0.004, "lr_halving_epochs": 0}
PAPER = {
    "steps": 20, "generator": {"width": 12, "blocks": 2}, "optimiser": FAST, "discriminators": {"width": 8, "layers": 2},
    "losses": {"adversarial_image": 0.01, "adversarial_pose": 0.01},
}  # fmt: skip
DISCRIMINATORS = 2_764_737 + 2_767_809  # parameters


class Learner(NamedTuple):
    """A system small enough to learn in seconds."""

    block: dict[str, Any]
    terms: tuple[str, ...]  # of the loss, whose sum falls
    parameters: tuple[int, int]  # of all its networks by its own defaults, at 256x256 and at 128x64
    at_market: Mapping[str, Any] = MappingProxyType({})  # what its authors set otherwise for Market-1501
    frame: Frame = SMALL  # of the photos that it learns by heart

    @property
    def row(self) -> SystemSettings:
        return systems.row(self.block, "test")


LEARNERS = {
    "attend": Learner(
        {
            "kind": "attend", "steps": 30, "generator": {"width": 16, "blocks": 1}, "optimiser": FAST,
            "losses": {"adversarial_image": 0, "adversarial_pose": 0, "warped": 0.5, "synthesized": 0.5},
        }, ("l1",), (621_031 + DISCRIMINATORS,) * 2,
    ),
    "paper": Learner({"kind": "paper"} | PAPER, ("l1",), (13_304_899 + DISCRIMINATORS,) * 2),
    "posed": Learner({"kind": "posed"} | PAPER, ("l1",), (13_314_307 + DISCRIMINATORS,) * 2),
    "pg2": Learner({"kind": "pg2", "steps": 80} | PG2, ("g1_l1", "g2_l1"), (145_695_559, 81_178_695), {"skips": "coarse"}),
    "vunet": Learner(
        {
            "kind": "vunet", "steps": 50, "width": 8, "dropout": 0, "kl_from": 0.9, "kl_until": 1,
            "optimiser": {"learning_rate": 0.003},
        }, ("l1",), (47_272_966, 47_419_270),
    ),
    "pix2pix": Learner(
        {
            "kind": "pix2pix", "steps": 60, "generator": {"width": 16}, "discriminator": {"width": 8, "layers": 2},
            "optimiser": {"learning_rate": 0.002},
        }, ("l1",), (54_417_027 + 2_771_777, 29_247_107 + 2_771_777),
    ),
    "surface": Learner(
        {
            "kind": "surface", "steps": 40, "optimiser": FAST | {"learning_rate": 0.002},
            "losses": {"adversarial_image": 0, "adversarial_pose": 0, "warped": 0.5, "synthesized": 1},
            "generator": {
                "widths": [16, 32, 32, 32], "features": 16, "decoder": [32, 32], "blocks": 1, "spread": 0.1,
            },
        }, ("l1",), (4_233_155 + DISCRIMINATORS,) * 2,
    ),
}  # fmt: skip
each_system = pytest.mark.parametrize("name", list(LEARNERS))


def test_no_kind_is_missing_here():
    assert {learner.row.kind for learner in LEARNERS.values()} == set(systems.kinds())


@each_system
def test_parameters_at_the_sizes_of_both_data_sets(name):
    small = LEARNERS[name].block
    own = {key: small[key] for key in ("kind", "steps")}
    found = _parameters(own, DEEPFASHION), _parameters(own | LEARNERS[name].at_market, MARKET)
    assert found == LEARNERS[name].parameters


@pytest.mark.floats
@each_system
def test_a_system_learns_four_pairs_by_heart(name):
    """Its loss falls to less than half, its images beat the source itself by 0.05 of SSIM, and all its weights learn."""
    learner = LEARNERS[name]
    row, batch = learner.row, pairs(4, learner.frame.height, learner.frame.width)
    system = systems.build(row, learner.frame)
    target = _on_bytes(batch.images[batch.target])
    of_copying = ssim(_on_bytes(batch.images[batch.sources[:, 0]]), target, "pg2").mean().item()
    before = _weights(system)
    steps = _train(system, row, batch, range(row.steps))
    first, last = (sum(float(terms[name]) for name in learner.terms) for terms in (steps[0], steps[-1]))
    learned = ssim(_on_bytes(made(_evaluating(system), batch)), target, "pg2").mean().item()
    assert last < 0.5 * first
    assert learned > of_copying + 0.05
    idle = [key for key, value in _weights(system).items() if torch.equal(value, before[key])]
    assert idle == [] or name == "vunet"  # which has layers of its authors' that it does not compute


@each_system
def test_a_step_is_taken_at_the_rate_of_its_schedule(name):
    learner = LEARNERS[name]
    row: Any = replace(learner.row, steps=4)
    row = replace(row, optimiser=replace(row.optimiser, lr_decay_start=0.0))
    system, batch = systems.build(row, learner.frame), pairs(2, learner.frame.height, learner.frame.width)
    system.step(batch, None, Progress(3, 4, 4), nullcontext())
    rates = {optimiser.param_groups[0]["lr"] for optimiser in system.optimisers.values() if optimiser.state}
    assert rates == {row.optimiser.learning_rate / 4}


@each_system
def test_a_resumed_training_gives_the_same_bytes(name, tmp_path):
    learner, batch = LEARNERS[name], pairs(2, 32, 24)
    batch.poses.keypoints[0] = torch.nan  # of a source; NaN weights would equal nothing
    batch.poses.keypoints[1, JOINT["left_wrist"]] = torch.nan
    row = replace(learner.row, steps=6)
    torch.manual_seed(3)
    straight = systems.build(row, SMALL)
    names = [list(terms) for terms in _train(straight, row, batch, range(6))]
    assert names == [names[0]] * 6
    torch.manual_seed(3)
    first = systems.build(row, SMALL)
    _train(first, row, batch, range(3))
    about = About("test", row, SMALL, 1.0, 3, "f" * 64)
    checkpoint.save(tmp_path / "a", first, about, to_resume=True)
    torch.manual_seed(7)
    second = systems.build(row, SMALL)
    state = checkpoint.read_state(tmp_path / "a", about)
    assert state.step == 3
    checkpoint.restore(state, second)
    _train(second, row, batch, range(3, 6))
    resumed = _weights(second)
    assert [key for key, value in _weights(straight).items() if not torch.equal(value, resumed[key])] == []
    checkpoint.save(tmp_path / "b", second, replace(about, step=6), to_resume=False)
    loaded, _ = checkpoint.load(tmp_path / "b", torch.device("cpu"))
    assert torch.equal(made(loaded, batch), made(_evaluating(straight), batch))


@pytest.mark.floats
@each_system
def test_an_image_depends_on_nothing_but_its_sources_and_pose(name):
    system, batch = _evaluating(systems.build(LEARNERS[name].row, SMALL)), pairs(3, 32, 24)
    with torch.no_grad():
        for network in system.networks.values():
            for weights in network.parameters():  # so that no last layer is 0
                weights.add_(0.02 * torch.randn_like(weights))
    together, random = made(system, batch), torch.get_rng_state()
    for training in (True, False):
        for network in system.networks.values():
            network.train(training)
        assert torch.equal(made(system, batch), together)
        assert all(network.training == training for network in system.networks.values())
    assert torch.equal(torch.get_rng_state(), random)
    for other in (batch.images.neg(), batch.images.roll(2, 0)):
        assert not torch.equal(made(system, replace(batch, images=other)), together)
    assert not torch.equal(made(system, replace(batch, target=batch.target.roll(1))), together)
    unseen = batch.images.index_fill(0, batch.target, torch.nan)
    torch.testing.assert_close(made(system, replace(batch, images=unseen)), together)
    for number in range(3):
        alone = replace(batch, target=batch.target[number : number + 1], sources=batch.sources[number : number + 1],
                        mask=batch.mask[number : number + 1])  # fmt: skip
        torch.testing.assert_close(made(system, alone)[0], together[number], rtol=1e-4, atol=1e-4)


@pytest.mark.floats
@each_system
def test_in_bf16_the_last_layer_computes_in_float32(name):
    system, batch, computed = _evaluating(systems.build(LEARNERS[name].row, SMALL)), pairs(2, 32, 24), []
    for network in system.networks.values():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | WeightNormConv2d):
                module.register_forward_hook(lambda _, inputs, output: computed.append((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        made(system, batch)
    assert torch.bfloat16 in [output for _, output in computed]
    assert computed[-1] == (torch.float32, torch.float32)


@pytest.fixture
def blend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Learner]:
    """The worked example of docs/systems.md."""
    text = DOCS.read_text()
    code, row = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) < 60
    (tmp_path / "blend.py").write_text(code)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    yield eval(f"{{{row}}}", {"Learner": Learner, "Frame": Frame})["blend"]  # noqa: S307 (of our own page)
    sys.modules.pop("repose.systems.blend", None)


def test_a_new_system_is_one_file_one_block_and_one_row(blend, tmp_path, monkeypatch):
    assert "blend" in systems.kinds()
    monkeypatch.setitem(LEARNERS, "blend", blend)
    test_parameters_at_the_sizes_of_both_data_sets("blend")
    test_a_system_learns_four_pairs_by_heart("blend")
    test_a_resumed_training_gives_the_same_bytes("blend", tmp_path)
    test_an_image_depends_on_nothing_but_its_sources_and_pose("blend")
    test_in_bf16_the_last_layer_computes_in_float32("blend")
    assert small_row("blend").kind == "blend"  # for the tests of other files that take every kind


def _train(system: System, row: SystemSettings, batch: Batch, steps: range) -> list[dict[str, Tensor]]:
    return [system.step(batch, None, Progress(step, row.steps, 4), nullcontext()) for step in steps]


def _evaluating(system: System) -> System:
    for network in system.networks.values():
        network.eval()
    return system


def _weights(system: System) -> dict[str, Tensor]:
    networks = system.networks.items()
    return {f"{n}.{key}": value.detach().clone() for n, net in networks for key, value in net.named_parameters()}


def _on_bytes(images: Tensor) -> Tensor:
    """As a file has them, (Q,3,H,W) uint8."""
    return torch.from_numpy(to_uint8(images)).movedim(-1, 1)


def _parameters(block: dict[str, Any], frame: Frame) -> int:
    with torch.device("meta"):
        system = systems.build(systems.row(block, "test"), frame)
    return sum(parameter_count(network) for network in system.networks.values())
