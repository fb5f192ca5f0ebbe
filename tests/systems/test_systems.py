"""The table's rows: none is missing, their sizes, their settings; and each kind learns four pairs by heart."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from made_up import pairs
from repose import systems
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.images import to_uint8
from repose.errors import ReposeError
from repose.models.attend import AttendSettings
from repose.models.layers import parameter_count
from repose.models.paper import PaperSettings
from repose.settings import read_params
from repose.step import DiscriminatorSettings, LossSettings, OptimiserSettings
from repose.systems import Progress, Row, System, build, kinds
from repose.systems.attend import AttendRow
from repose.systems.paper import PaperRow

PARAMS = Path(__file__).parents[2] / "params.yaml"
G, D_I, D_P = {"generator": 13_304_899}, {"image": 2_764_737}, {"pose": 2_767_809}
PARAMETERS = {  # at the paper's own width, and for attend at its defaults
    "paper-m": G | D_I | D_P,
    "paper-s": G | D_I | D_P,
    "g-di": G | D_I,
    "g-dp": G | D_P,
    "attend": {"generator": 621_031},
}


def rows() -> dict[str, Row]:
    return {name: systems.row(block, f"systems.{name}") for name, block in read_params(PARAMS)["systems"].items()}


def test_no_row_is_missing_here() -> None:
    assert set(rows()) == set(PARAMETERS)
    assert {row.kind for row in rows().values()} == set(kinds())


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_parameters_of_each_row_at_full_size(name: str) -> None:
    row: Any = rows()[name]
    full = replace(row, generator=type(row.generator)(), discriminators=DiscriminatorSettings())
    with torch.device("meta"):
        system = build(full, Frame(256, 256))
    assert {part: parameter_count(network) for part, network in system.networks.items()} == PARAMETERS[name]
    assert set(system.optimisers) == set(system.networks)


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_each_row_is_what_its_name_says(name: str) -> None:
    row = rows()[name]
    assert isinstance(row, AttendRow if name == "attend" else PaperRow)
    assert (row.most_sources == 1) == (name == "paper-s")
    assert row.needs_source_poses == (name == "attend")
    assert (row.losses.image > 0) == (name not in ("g-dp", "attend"))
    assert (row.losses.pose > 0) == (name not in ("g-di", "attend"))


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_each_row_trains_and_makes_images(name: str) -> None:
    row: Any = rows()[name]
    small = PaperSettings(width=4, blocks=1) if isinstance(row, PaperRow) else AttendSettings(width=4, blocks=1)
    row = replace(row, generator=small, discriminators=DiscriminatorSettings(width=4, layers=1))
    system, batch = build(row, Frame(32, 24)), pairs(2, 32, 24)
    terms = system.step(batch, None, Progress(0, 1, 1), nullcontext())
    assert all(term.isfinite() for term in terms.values())
    assert made(system, batch).shape == (2, 32, 24, 3)


def test_the_defaults_are_the_papers() -> None:
    row = systems.row({"kind": "paper", "steps": 7}, "x")
    assert row == PaperRow("paper", steps=7)
    assert (row.items_per_step, row.most_photos, row.most_sources, row.targets) == (1, 5, 4, "all")
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
        ({"most_sources": 0}, "mine: most_sources should be at least 1, not 0"),
        ({"most_photos": 1}, r"mine: most_photos should be at least 2 \(a source and a target\), not 1"),
        ({"generator": {"stride": 4}}, "mine.generator: unknown key 'stride'"),
        ({"generator": {"width": 0}}, "mine.generator: width should be at least 1"),
        ({"discriminators": {"width": 0}}, "mine.discriminators: width should be at least 1, not 0"),
        ({"discriminators": {"layers": 0}}, "mine.discriminators: layers should be at least 1, not 0"),
        ({"optimiser": {"learning_rate": 0}}, "mine.optimiser: learning_rate should be above 0, not 0"),
        ({"optimiser": {"learning_rate": float("nan")}}, "mine.optimiser.learning_rate should be a number, not nan"),
        ({"optimiser": {"betas": [0.5, 1]}}, r"mine.optimiser: betas should be from 0 to below 1, not \[0.5, 1.0\]"),
        ({"optimiser": {"betas": [-0.1, 0]}}, "mine.optimiser: betas should be from 0 to below 1"),
        ({"optimiser": {"warmup_steps": -1}}, "warmup_steps should not be negative, but it is -1"),
        ({"optimiser": {"halve_every_epochs": -5}}, "halve_every_epochs should not be negative, but it is -5"),
        ({"optimiser": {"decay_from": 1.5}}, "decay_from should be from 0 to 1, a share of the steps, not 1.5"),
        ({"optimiser": {"decay_from": -0.5}}, "decay_from should be from 0 to 1"),
        ({"losses": {"l1": -1}}, "mine.losses: the weight l1 should not be negative, but it is -1"),
        ({"losses": {"pose": -0.05}}, "mine.losses: the weight pose should not be negative, but it is -0.05"),
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
    assert rates(OptimiserSettings(0.5, halve_every_epochs=0), 100, 1) == [0.5] * 100


def test_the_rate_halves_every_50_epochs() -> None:
    found = rates(OptimiserSettings(8.0), 1601)
    assert found[:500] == [8.0] * 500
    assert found[500:1000] == [4.0] * 500
    assert found[1000:1500] == [2.0] * 500
    assert found[1500:] == [1.0] * 101


def test_the_rate_warms_up() -> None:
    assert rates(OptimiserSettings(1.0, warmup_steps=3), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_rate_falls_to_nothing() -> None:
    found = rates(OptimiserSettings(1.0, decay_from=0.5), 8)
    assert found == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates(OptimiserSettings(1.0, decay_from=0.0), 4) == [1, 0.75, 0.5, 0.25]
    assert rates(OptimiserSettings(1.0, decay_from=0.5), 1) == [1]


def test_warmup_halving_and_decay_multiply() -> None:
    settings = OptimiserSettings(1.0, warmup_steps=1, halve_every_epochs=1, decay_from=0.5)
    assert rates(settings, 8, 2) == [0.5, 1, 0.5, 0.5, 0.25, 0.25 * 0.75, 0.125 * 0.5, 0.125 * 0.25]


def test_the_first_weights_come_from_the_random_state() -> None:
    row = PaperRow("paper", steps=1, generator=PaperSettings(width=4, blocks=1))
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
