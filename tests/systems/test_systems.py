"""The rows of Table 1: their sizes and settings; wrong settings; the learning rate."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from repose import systems
from repose.config import read_params
from repose.data.frame import Frame
from repose.errors import ReposeError
from repose.models.layers import parameter_count
from repose.models.paper import PaperSettings
from repose.systems import Progress, SystemSettings, build, kinds
from repose.systems.learning.adversarial import AdversarialSettings, LossSettings
from repose.systems.learning.optimiser import OptimiserSettings
from repose.systems.paper import PaperSystemSettings
from repose.systems.pg2 import AdamSettings as PG2Adam
from repose.systems.pg2 import PG2Settings
from repose.systems.pix2pix import AdamSettings as Pix2PixAdam
from repose.systems.pix2pix import PatchSettings, UNetSettings
from repose.systems.vunet import AdamSettings as VUNetAdam

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


# Settings that the demo makes small.
OWN_WIDTHS = ("generator", "discriminators", "discriminator", "width", "discriminator_width")


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
    own = {"attend": "attend", "pix2pix": "pix2pix", "pg2": "pg2", "pg2-g1d": "pg2", "vunet": "vunet"}
    assert row.kind == own.get(name, "paper")
    assert (row.max_sources == 1) == (name not in ("paper-m", "g-di", "g-dp", "attend"))
    assert row.needs_source_poses == (name in ("attend", "vunet"))
    if isinstance(row, AdversarialSettings):
        assert (row.losses.adversarial_image > 0) == (name not in ("g-dp", "attend"))
        assert (row.losses.adversarial_pose > 0) == (name not in ("g-di", "attend"))
    if isinstance(row, PG2Settings):
        assert row.stages == ("two" if name == "pg2" else "one")


DEFAULTS: dict[str, dict[str, Any]] = {  # the authors'
    "paper": {
        "items_per_step": 1, "max_photos": 5, "max_sources": 4, "targets": "all",
        "optimiser": OptimiserSettings(1e-4, (0.5, 0.999), 0, 50, 1.0),
        "losses": LossSettings(1.0, 1.0, 0.05, 0.05, 0.0, 0.0, "other", "other"),
    },
    "pix2pix": {
        "items_per_step": 1, "max_photos": 5, "max_sources": 1, "targets": "one", "input": "pose+source", "l1": 100.0,
        "generator": UNetSettings(64, None), "discriminator": PatchSettings(64, 3, "batch"),
        "optimiser": Pix2PixAdam(2e-4, (0.5, 0.999), 0, 0, 0.5),
    },
    "pg2": {
        "items_per_step": 8, "max_photos": 2, "max_sources": 1, "targets": "one", "stages": "two", "skips": "all",
        "masked_l1": 50.0, "optimiser": PG2Adam(2e-5, (0.5, 0.999), 0, 0, 1.0),
    },
    "vunet": {
        "items_per_step": 8, "max_sources": 1, "targets": "one", "width": 32, "box": None, "bottleneck": None,
        "dropout": 0.1, "l1": 637.5, "perceptual": 1.0, "kl": 1.0, "optimiser": VUNetAdam(1e-3, (0.5, 0.9), 0, 0, 0.01),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", list(DEFAULTS))
def test_the_defaults_are_the_authors(kind: str) -> None:
    row = systems.row({"kind": kind, "steps": 7}, "x")
    assert {name: getattr(row, name) for name in DEFAULTS[kind]} == DEFAULTS[kind]
    assert row.perceptual_layers("viton") == {"paper": "viton", "vunet": "vunet"}.get(kind)


@pytest.mark.parametrize("block", [{"kind": "cyclegan", "steps": 1}, {"steps": 1}, None, "paper", {"kind": ["paper"]}])
def test_an_unknown_kind_is_refused(block: Any) -> None:
    with pytest.raises(ReposeError, match=r"systems\.mine\.kind should be one of attend, .*paper.*, not "):
        systems.row(block, "systems.mine")


WRONG: list[tuple[str, dict[str, Any], str]] = [  # kind, changes, message
    ("paper", {"step": 1}, "mine: unknown key 'step'. Did you mean 'steps'?"),
    ("paper", {"steps": 0}, "mine.steps should be more than 0, not 0"),
    ("paper", {"max_photos": 1}, "mine.max_photos should be at least 2, not 1"),
    ("paper", {"generator": {"stride": 4}}, "mine.generator: unknown key 'stride'"),
    ("paper", {"generator": {"blocks": -1}}, "mine.generator.blocks should be at least 0, not -1"),
    ("paper", {"discriminators": {"layers": 0}}, "mine.discriminators.layers should be more than 0, not 0"),
    ("paper", {"optimiser": {"learning_rate": 0}}, "mine.optimiser.learning_rate should be more than 0, not 0"),
    (
        "paper",
        {"optimiser": {"learning_rate": float("nan")}},
        "mine.optimiser.learning_rate should be a finite number, not nan",
    ),
    ("paper", {"optimiser": {"betas": [0.5, 1]}}, r"mine.optimiser.betas\[1\] should be less than 1, not 1"),
    (
        "paper",
        {"optimiser": {"lr_halving_epochs": -5}},
        "mine.optimiser.lr_halving_epochs should be at least 0, not -5",
    ),
    ("paper", {"optimiser": {"lr_decay_start": 1.5}}, "mine.optimiser.lr_decay_start should be at most 1, not 1.5"),
    ("paper", {"losses": {"adversarial_pose": -0.05}}, "mine.losses.adversarial_pose should be at least 0, not -0.05"),
    ("paper", {"losses": {"real_pair": "mine"}}, "mine.losses.real_pair should be one of other, both"),
    (
        "posed",
        {"generator": {"source_pose": False, "align": False}},
        "mine.generator: source_pose and align are both off",
    ),
    ("attend", {"generator": {"spread": [0.1, 0.1, 0.1, 0.1, 0]}}, r"mine.generator.spread\[4\] should be more than 0"),
    ("attend", {"generator": {"stride": 6}}, "mine.generator: stride should be 2, 4, 8 or another power of 2, not 6"),
    ("attend", {"generator": {"channels": 13}}, r"mine.generator: channels should be at least 14 .*, not 13"),
    ("pix2pix", {"max_sources": 2}, "mine.max_sources should be at most 1, not 2"),
    ("pix2pix", {"generator": {"downs": 1}}, "mine.generator.downs should be at least 2, not 1"),
    ("pg2", {"max_sources": 2}, "mine.max_sources should be at most 1, not 2"),
    ("pg2", {"steps": 1}, "mine: steps should be at least 2, one for each stage, not 1"),
    ("pg2", {"stages": "three"}, "mine.stages should be one of two, one, not 'three'"),
    ("vunet", {"max_sources": 2}, "mine.max_sources should be at most 1, not 2"),
    ("vunet", {"bottleneck": 0}, "mine.bottleneck should be more than 0, not 0"),
    ("vunet", {"dropout": 1}, "mine.dropout should be less than 1, not 1"),
    ("vunet", {"kl_from": 0.8}, "mine: kl_from should be less than kl_until, not 0.8 and 0.75"),
]


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("name", ["learning_rate", "betas", "warmup_steps", "lr_halving_epochs", "lr_decay_start"])
def test_every_kind_checks_its_optimiser(kind: str, name: str) -> None:
    wrong = [-1, 0] if name == "betas" else -1
    with pytest.raises(ReposeError, match=rf"mine\.optimiser\.{name}.* should be .*, not -1"):
        systems.row({"kind": kind, "steps": 9, "optimiser": {name: wrong}}, "mine")


@pytest.mark.parametrize(("kind", "changes", "message"), WRONG, ids=str)
def test_wrong_values_are_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        systems.row({"kind": kind, "steps": 9} | changes, "mine")


@pytest.mark.parametrize("kind", ["pix2pix", "pg2", "vunet"])
def test_a_kind_that_needs_the_whole_step_is_not_shared(kind: str) -> None:
    with pytest.raises(
        ReposeError, match=rf"^{kind}.*several processes cannot share a step\. Set train\.processes to 1"
    ):
        build(systems.row({"kind": kind, "steps": 2}, "mine"), Frame(32, 32)).distribute()


HALVED = OptimiserSettings(8.0)


@pytest.mark.parametrize(
    ("settings", "steps", "per_epoch", "expected"),
    [
        (replace(HALVED, lr_halving_epochs=0), 100, 1, [8.0] * 100),
        (HALVED, 1601, 10, [8.0] * 500 + [4.0] * 500 + [2.0] * 500 + [1.0] * 101),
        (OptimiserSettings(1.0, warmup_steps=3), 6, 10, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        (OptimiserSettings(1.0, lr_decay_start=0.5), 8, 10, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        (OptimiserSettings(1.0, lr_decay_start=0.0), 4, 10, [1, 0.75, 0.5, 0.25]),
        (OptimiserSettings(1.0, lr_decay_start=0.5), 1, 10, [1]),
        (
            OptimiserSettings(1.0, warmup_steps=1, lr_halving_epochs=1, lr_decay_start=0.5), 8, 2,
            [0.5, 1, 0.5, 0.5, 0.25, 0.25 * 0.75, 0.125 * 0.5, 0.125 * 0.25],
        ),
        (Pix2PixAdam(1.0), 8, 2, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        (PG2Adam(1.0), 100, 1, [1.0] * 100),
        (VUNetAdam(1.0, lr_decay_start=0.25), 4, 1, [1, 1, 2 / 3, 1 / 3]),
    ],
    ids=["constant", "halved", "warm-up", "decay", "decay from 0", "one step", "all", "pix2pix", "pg2", "vunet"],
)  # fmt: skip
def test_the_learning_rate(settings: OptimiserSettings, steps: int, per_epoch: int, expected: list[float]) -> None:
    found = [settings.rate(Progress(step, steps, per_epoch)) for step in range(steps)]
    assert found == pytest.approx(expected, rel=1e-12)


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
