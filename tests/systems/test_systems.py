"""The rows of Table 1: what they are; their authors' defaults; wrong settings; the learning rate."""

from pathlib import Path
from typing import Any

import pytest
import torch

from repose import systems
from repose.config import read_params
from repose.data.frame import Frame
from repose.errors import ReposeError
from repose.systems import Progress, build
from repose.systems.learning.adversarial import LossSettings
from repose.systems.learning.optimiser import OptimiserSettings
from repose.systems.pg2 import AdamSettings as PG2Adam
from repose.systems.pix2pix import AdamSettings as Pix2PixAdam
from repose.systems.pix2pix import PatchSettings, UNetSettings
from repose.systems.vunet import AdamSettings as VUNetAdam
from tiny_system import FRAME, small_row

PARAMS = Path(__file__).parents[2] / "params.yaml"
ROWS = {  # the kind, whether it takes one source, and its networks
    "surface": ("surface", False, "generator"), "surface-tuned": ("surface", False, "generator"),
    "paper-m": ("paper", False, "generator image pose"), "paper-s": ("paper", True, "generator image pose"),
    "g-di": ("paper", False, "generator image"), "g-dp": ("paper", False, "generator pose"),
    "attend": ("attend", False, "generator"), "pix2pix": ("pix2pix", True, "generator discriminator"),
    "pg2": ("pg2", True, "g1 image g2"), "pg2-g1d": ("pg2", True, "g1 image"), "vunet": ("vunet", True, "vunet"),
}  # fmt: skip


def test_each_row_is_what_its_name_says():
    blocks = read_params(PARAMS)["systems"]
    assert list(blocks) == list(ROWS)
    for name, block in blocks.items():
        row = systems.row(block, name)
        with torch.device("meta"):
            system = build(row, Frame(256, 256))
        assert (row.kind, row.max_sources == 1, " ".join(system.networks)) == ROWS[name]
        assert set(system.optimisers) == set(system.networks)


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
def test_the_defaults_are_the_authors(kind):
    row = systems.row({"kind": kind, "steps": 7}, "x")
    assert {name: getattr(row, name) for name in DEFAULTS[kind]} == DEFAULTS[kind]
    assert row.perceptual_layers("viton") == {"paper": "viton", "vunet": "vunet"}.get(kind)


@pytest.mark.parametrize("block", [{"kind": "cyclegan", "steps": 1}, None])
def test_an_unknown_kind_is_refused(block):
    with pytest.raises(ReposeError, match=r"systems\.mine\.kind should be one of attend, .*paper.*, not "):
        systems.row(block, "systems.mine")


WRONG: list[tuple[str, dict[str, Any], str]] = [  # kind, changes, message
    ("paper", {"step": 1}, "mine: unknown key 'step'. Did you mean 'steps'?"),
    ("posed", {"generator": {"source_pose": False, "align": False}}, "mine.generator: source_pose and align are both off"),
    ("attend", {"generator": {"stride": 6}}, "mine.generator: stride should be 2, 4, 8 or another power of 2, not 6"),
    ("attend", {"generator": {"channels": 13}}, r"mine.generator: channels should be at least 14 .*, not 13"),
    ("pg2", {"steps": 1}, "mine: steps should be at least 2, one for each stage, not 1"),
    ("vunet", {"kl_from": 0.8}, "mine: kl_from should be less than kl_until, not 0.8 and 0.75"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "message"), WRONG, ids=str)
def test_wrong_values_are_refused(kind, changes, message):
    with pytest.raises(ReposeError, match=message):
        systems.row({"kind": kind, "steps": 9} | changes, "mine")


@pytest.mark.parametrize("kind", systems.kinds())
def test_every_kind_takes_a_checkpoint_as_it_is(kind):
    assert systems.row({"kind": kind, "steps": 0, "init": "model.safetensors"}, "mine").steps == 0


WRONG_FRAMES: list[tuple[str, dict[str, Any], tuple[int, int], str]] = [  # kind, changes, height and width, message
    ("paper", {}, (66, 48), r"^paper.* multiples of 4, not 66x48 px\. Change posemaps\.height"),
    ("posed", {}, (64, 42), r"^posed.* multiples of 4, not 64x42 px\."),
    ("attend", {"generator": {"stride": 8}}, (68, 48), r"^attend.* multiples of 8, not 68x48 px\."),
    ("surface", {"generator": {"reduce": 2}}, (68, 48), r"^surface.* multiples of 8, not 68x48 px\."),
    ("pix2pix", {"generator": {"downs": 7}}, (127, 64), "halves its input 7 times.* 127x64 px .* at most 6"),
    ("pg2", {}, (31, 64), r"at least 32 px high, not 31\. Set posemaps.height in params.yaml"),
    *(("vunet", {}, (px, 32), rf"a power of two of at least 32 px, not {px}\. Set posemaps\.height") for px in (16, 96)),
    *(("vunet", {"box": box, "bottleneck": low}, (32, 32), r"a crop.s side is 32 / 2\^\d px and the lowest size 2\^\d px")
      for box, low in ((3, 1), (1, 3))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "size", "message"), WRONG_FRAMES, ids=str)
def test_a_frame_that_does_not_fit_is_refused(kind, changes, size, message):
    with pytest.raises(ReposeError, match=message):
        build(systems.row({"kind": kind, "steps": 2} | changes, "mine"), Frame(*size))


@pytest.mark.parametrize("kind", ["pix2pix", "pg2", "vunet"])
def test_a_kind_that_needs_the_whole_step_is_not_shared(kind):
    with pytest.raises(ReposeError, match=rf"^{kind}.*several processes cannot share a step\. Set .*processes to 1"):
        build(small_row(kind), FRAME).distribute()


@pytest.mark.parametrize(
    ("settings", "steps", "per_epoch", "expected"),
    [
        (OptimiserSettings(8.0), 1601, 10, [8.0] * 500 + [4.0] * 500 + [2.0] * 500 + [1.0] * 101),
        (OptimiserSettings(1.0, lr_halving_epochs=0, lr_decay_start=0.5), 8, 10, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        (
            OptimiserSettings(1.0, warmup_steps=1, lr_halving_epochs=1, lr_decay_start=0.5), 8, 2,
            [0.5, 1, 0.5, 0.5, 0.25, 0.25 * 0.75, 0.125 * 0.5, 0.125 * 0.25],
        ),
    ],
    ids=["halved", "decay", "all"],
)  # fmt: skip
def test_the_learning_rate(settings, steps, per_epoch, expected):
    found = [settings.rate(Progress(step, steps, per_epoch)) for step in range(steps)]
    assert found == pytest.approx(expected, rel=1e-12)
