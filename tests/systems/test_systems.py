"""The table's rows: none is missing, their sizes, their settings; and each kind learns four pairs by heart."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from made_up import pairs
from repose import systems
from repose.config import read_params
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.images import to_uint8
from repose.errors import ReposeError
from repose.models.layers import parameter_count
from repose.models.paper import PaperSettings
from repose.systems import Progress, System, SystemSettings, build, kinds
from repose.systems.attend import AttendSystemSettings
from repose.systems.learning.adversarial import AdversarialSettings, LossSettings
from repose.systems.learning.optimiser import OptimiserSettings
from repose.systems.paper import PaperSystemSettings
from repose.systems.pg2 import PG2Settings
from repose.systems.pix2pix import Pix2PixSettings
from repose.systems.vunet import VUNetSettings

PARAMS = Path(__file__).parents[2] / "params.yaml"
G, D_I, D_P = {"generator": 13_304_899}, {"image": 2_764_737}, {"pose": 2_767_809}
PARAMETERS = {  # at the paper's own width, and for attend at its defaults
    "paper-m": G | D_I | D_P,
    "paper-s": G | D_I | D_P,
    "g-di": G | D_I,
    "g-dp": G | D_P,
    "attend": {"generator": 621_031},
    "pix2pix": {"generator": 54_417_027, "discriminator": 2_771_777},
    "pg2": {"g1": 122_103_235, "g2": 12_696_067, "image": 10_896_257},
    "pg2-g1d": {"g1": 122_103_235, "image": 10_896_257},
    "vunet": {"vunet": 47_272_966},
}
OWN_WIDTHS = (
    "generator",
    "discriminators",
    "discriminator",
    "width",
    "discriminator_width",
)  # what the demo makes small


def rows() -> dict[str, SystemSettings]:
    return {name: systems.row(block, f"systems.{name}") for name, block in read_params(PARAMS)["systems"].items()}


def test_no_row_is_missing_here() -> None:
    assert set(rows()) == set(PARAMETERS)
    assert {row.kind for row in rows().values()} == set(kinds()) - {"posed"}  # which has rows in ablations/ alone


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_parameters_of_each_row_at_full_size(name: str) -> None:
    block = read_params(PARAMS)["systems"][name]
    full = systems.row({key: value for key, value in block.items() if key not in OWN_WIDTHS}, name)
    with torch.device("meta"):
        system = build(full, Frame(256, 256))
    assert {part: parameter_count(network) for part, network in system.networks.items()} == PARAMETERS[name]
    assert set(system.optimisers) == set(system.networks)


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_each_row_is_what_its_name_says(name: str) -> None:
    row: Any = rows()[name]
    assert type(row) is {
        "attend": AttendSystemSettings,
        "pix2pix": Pix2PixSettings,
        "pg2": PG2Settings,
        "pg2-g1d": PG2Settings,
        "vunet": VUNetSettings,
    }.get(name, PaperSystemSettings)
    assert (row.max_sources == 1) == (name not in ("paper-m", "g-di", "g-dp", "attend"))
    assert row.needs_source_poses == (name in ("attend", "vunet"))
    if isinstance(row, AdversarialSettings):
        assert (row.losses.adversarial_image > 0) == (name not in ("g-dp", "attend"))
        assert (row.losses.adversarial_pose > 0) == (name not in ("g-di", "attend"))
    if isinstance(row, PG2Settings):
        assert row.stages == ("two" if name == "pg2" else "one")


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_each_row_trains_and_makes_images(name: str) -> None:
    row, batch = rows()[name], pairs(2, 64, 32)
    system = build(row, Frame(64, 32))
    for step in (0, row.steps - 1):
        terms = system.step(batch, None, Progress(step, row.steps, 1), nullcontext())
        assert all(term.isfinite() for term in terms.values())
    assert made(system, batch).shape == (2, 64, 32, 3)


def test_the_defaults_are_the_papers() -> None:
    row = systems.row({"kind": "paper", "steps": 7}, "x")
    assert row == PaperSystemSettings("paper", steps=7)
    assert (row.items_per_step, row.max_photos, row.max_sources, row.targets) == (1, 5, 4, "all")
    assert row.optimiser == OptimiserSettings(1e-4, (0.5, 0.999), 0, 50, 1.0)
    assert row.losses == LossSettings(1.0, 1.0, 0.05, 0.05, 0.0, 0.0, "other", "other")


@pytest.mark.parametrize(
    "block", [{"kind": "cyclegan", "steps": 1}, {"steps": 1}, {}, None, "paper", {"kind": ["paper"]}]
)
def test_an_unknown_kind_is_refused(block: Any) -> None:
    with pytest.raises(ReposeError, match=r"systems\.mine\.kind should be one of attend, .*paper.*, not "):
        systems.row(block, "systems.mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 1}, "mine: unknown key 'step'. Did you mean 'steps'?"),
        ({"steps": 0}, "mine: steps should be at least 1, not 0"),
        ({"items_per_step": 0}, "mine: items_per_step should be at least 1, not 0"),
        ({"max_sources": 0}, "mine: max_sources should be at least 1, not 0"),
        ({"max_photos": 1}, r"mine: max_photos should be at least 2 \(a source and a target\), not 1"),
        ({"generator": {"stride": 4}}, "mine.generator: unknown key 'stride'"),
        ({"generator": {"width": 0}}, "mine.generator: width should be at least 1"),
        ({"discriminators": {"width": 0}}, "mine.discriminators: width should be at least 1, not 0"),
        ({"discriminators": {"layers": 0}}, "mine.discriminators: layers should be at least 1, not 0"),
        ({"optimiser": {"learning_rate": 0}}, "mine.optimiser: learning_rate should be above 0, not 0"),
        ({"optimiser": {"learning_rate": float("nan")}}, "mine.optimiser.learning_rate should be a number, not nan"),
        ({"optimiser": {"betas": [0.5, 1]}}, r"mine.optimiser: betas should be from 0 to below 1, not \[0.5, 1.0\]"),
        ({"optimiser": {"betas": [-0.1, 0]}}, "mine.optimiser: betas should be from 0 to below 1"),
        ({"optimiser": {"warmup_steps": -1}}, "warmup_steps should not be negative, but it is -1"),
        ({"optimiser": {"lr_halving_epochs": -5}}, "lr_halving_epochs should not be negative, but it is -5"),
        ({"optimiser": {"lr_decay_start": 1.5}}, "lr_decay_start should be from 0 to 1, a share of the steps, not 1.5"),
        ({"optimiser": {"lr_decay_start": -0.5}}, "lr_decay_start should be from 0 to 1"),
        ({"losses": {"l1": -1}}, "mine.losses: the weight l1 should not be negative, but it is -1"),
        (
            {"losses": {"adversarial_pose": -0.05}},
            "mine.losses: the weight adversarial_pose should not be negative, but it is -0.05",
        ),
        ({"losses": {"real_pair": "mine"}}, "mine.losses.real_pair should be one of other, both"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        systems.row({"kind": "paper", "steps": 1} | changes, "mine")


def rates(settings: OptimiserSettings, steps: int, steps_per_epoch: int = 10) -> list[float]:
    return [settings.rate(Progress(step, steps, steps_per_epoch)) for step in range(steps)]


def test_the_rate_stays_unless_told() -> None:
    assert rates(OptimiserSettings(0.5, lr_halving_epochs=0), 100, 1) == [0.5] * 100


def test_the_rate_halves_every_50_epochs() -> None:
    found = rates(OptimiserSettings(8.0), 1601)
    assert found[:500] == [8.0] * 500
    assert found[500:1000] == [4.0] * 500
    assert found[1000:1500] == [2.0] * 500
    assert found[1500:] == [1.0] * 101


def test_the_rate_warms_up() -> None:
    assert rates(OptimiserSettings(1.0, warmup_steps=3), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_rate_falls_to_nothing() -> None:
    found = rates(OptimiserSettings(1.0, lr_decay_start=0.5), 8)
    assert found == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates(OptimiserSettings(1.0, lr_decay_start=0.0), 4) == [1, 0.75, 0.5, 0.25]
    assert rates(OptimiserSettings(1.0, lr_decay_start=0.5), 1) == [1]


def test_warmup_halving_and_decay_multiply() -> None:
    settings = OptimiserSettings(1.0, warmup_steps=1, lr_halving_epochs=1, lr_decay_start=0.5)
    assert rates(settings, 8, 2) == [0.5, 1, 0.5, 0.5, 0.25, 0.25 * 0.75, 0.125 * 0.5, 0.125 * 0.25]


def test_the_first_weights_come_from_the_random_state() -> None:
    row = PaperSystemSettings("paper", steps=1, generator=PaperSettings(width=4, blocks=1))
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(
            torch.cat([p.detach().flatten() for p in build(row, Frame(32, 24)).networks["generator"].parameters()])
        )
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def made(system: System, batch: Batch) -> torch.Tensor:
    """(Q,H,W,3) uint8"""
    with torch.no_grad():
        images = system.generate(batch.images, batch.poses, batch.sources, batch.mask, batch.poses[batch.target])
    return torch.from_numpy(to_uint8(images))
