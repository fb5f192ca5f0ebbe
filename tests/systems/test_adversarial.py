"""One training step against the same step written out, and what each network learns from."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fakes import blurred
from repose import systems
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.data.poses import Poses
from repose.errors import ReposeError
from repose.models.generator import Generated
from repose.systems import Progress, build
from repose.systems.learning.adversarial import AdversarialSettings, AdversarialSystem
from repose.systems.learning.optimiser import OptimiserSettings

FRAME = Frame(32, 24)
RATE, START = 0.01, Progress(0, 9, 3)
pytestmark = pytest.mark.floats


def row_of(kind: str, losses: dict[str, Any]) -> Any:
    networks = {"discriminators": {"width": 4, "layers": 1}, "generator": {"width": 4, "blocks": 1}}
    return systems.row({"kind": kind, "steps": 9, "losses": losses} | networks, kind)


def paper(**losses: Any) -> Any:
    return row_of("paper", losses)


def attend(**losses: Any) -> Any:
    return row_of("attend", losses)


BOTH = {"real_pair": "both", "adversarial_on": "both"}
ROWS = {
    "paper": paper(), "g-di": paper(adversarial_pose=0.0), "g-dp": paper(adversarial_image=0.0),
    "real pairs of both": paper(real_pair="both"), "fakes of both": paper(adversarial_on="both"),
    "both of both": paper(**BOTH, adversarial_image=0.3, adversarial_pose=0.7, l1=2.0, perceptual=0.4),
    "attend": attend(warped=0.5, synthesized=0.25),
    "attend alone": attend(adversarial_image=0.0, adversarial_pose=0.0, warped=0.5, synthesized=0.5),
}  # fmt: skip
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))


def system_of(row: AdversarialSettings) -> AdversarialSystem:
    torch.manual_seed(0)
    return build(row, FRAME)


def batch(seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(6, 3, 32, 24, generator=random) * 2 - 1
    maps, keypoints = torch.rand(6, 3, 32, 24, generator=random) * 2 - 1, torch.rand(6, 18, 2, generator=random) * 24
    poses, mask = Poses(maps, keypoints), torch.tensor([[1, 1], [1, 0], [1, 1]]).bool()
    sources = torch.tensor([[1, 2], [0, 0], [1, 0]])
    return Batch(images[:3], poses[:3], torch.arange(3), sources, mask, images[3:], poses[3:])


def step(system: AdversarialSystem, made: Batch, rate: float = RATE, **options: Any) -> dict[str, Tensor]:
    chosen: dict[str, Any] = {"perceptual": blurred, "autocast": nullcontext(), "progress": START} | options
    system.row = replace(system.row, optimiser=replace(system.row.optimiser, learning_rate=rate))
    return system.step(made, **chosen)


def written_out(system: AdversarialSystem, made: Batch) -> dict[str, Tensor]:
    """The step of section 3.3, without sharing: every network's update on its own, with fresh Adams."""
    g, weights = system.networks["generator"], system.row.losses
    adam = {name: torch.optim.Adam(n.parameters(), 1.0, (0.0, 0.0), eps=1.0) for name, n in system.networks.items()}
    y, p, y_other, p_other = made.images[made.target], made.poses[made.target], made.other_image, made.other_pose

    def generated(pose: Poses) -> Generated:
        return g.decode(g.encode(made.images, made.poses, made.sources, made.mask), pose)

    def fakes(name: str) -> list[tuple[Tensor, Tensor]]:
        both = weights.adversarial_on == "both" or (name == "pose" and weights.real_pair == "both")
        return [(generated(pose).image, pose.posemaps) for pose in ([p_other, p] if both else [p_other])]

    def logits(name: str, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        seen = torch.cat([image if name == "image" else torch.cat([image, posemap], 1) for image, posemap in pairs])
        return system.networks[name](seen)

    real_pairs = [(y_other, p_other.posemaps)] + ([(y, p.posemaps)] if weights.real_pair == "both" else [])
    terms = {}
    for name, real in (("image", [(y, p.posemaps)]), ("pose", real_pairs)):
        if name in system.networks:
            with torch.no_grad():
                fake = fakes(name)
            one, zero = logits(name, real), logits(name, fake)
            loss = F.binary_cross_entropy_with_logits(one, torch.ones_like(one)) / 2
            loss = loss + F.binary_cross_entropy_with_logits(zero, torch.zeros_like(zero)) / 2
            adam[name].zero_grad()
            loss.backward()
            adam[name].step()
            terms[f"d_{name}"] = loss

    own = generated(p)
    terms["l1"], terms["perceptual"] = (own.image - y).abs().mean(), blurred(own.image, y)
    total = weights.l1 * terms["l1"] + weights.perceptual * terms["perceptual"]
    if own.warped is not None and own.synthesized is not None:
        terms["warped"], terms["synthesized"] = (own.warped - y).abs().mean(), (own.synthesized - y).abs().mean()
        total = total + weights.warped * terms["warped"] + weights.synthesized * terms["synthesized"]
    for name in ("image", "pose"):
        if name in system.networks:
            seen = logits(name, fakes(name))
            terms[f"g_{name}"] = F.binary_cross_entropy_with_logits(seen, torch.ones_like(seen))
            total = total + getattr(weights, f"adversarial_{name}") * terms[f"g_{name}"]
    adam["generator"].zero_grad()
    total.backward()
    adam["generator"].step()
    return terms


@each_row
def test_the_step_is_the_step_written_out(row):
    # Adam's first step is the gradient's sign, and rounding decides the sign of a tiny one, so epsilon is large here.
    row = replace(row, optimiser=OptimiserSettings(betas=(0.0, 0.0)))
    one, other, made = system_of(row), system_of(row), batch()
    for optimiser in one.optimisers.values():
        optimiser.param_groups[0]["eps"] = 1.0
    terms, expected = step(one, made, rate=1.0), written_out(other, made)
    assert set(terms) == set(expected)
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name].detach(), rtol=1e-4, atol=1e-6, msg=name)
    for name, network in one.networks.items():
        for key, value in network.state_dict().items():
            found = other.networks[name].state_dict()[key]
            torch.testing.assert_close(value, found, rtol=1e-4, atol=2e-6, msg=f"{name} {key}")


def test_a_weight_of_an_image_that_the_generator_does_not_make_is_rejected():
    with pytest.raises(ReposeError, match=r"losses\.warped is not 0, but its generator makes no warped image"):
        step(system_of(paper(warped=0.5)), batch())


@pytest.mark.parametrize("name", ["both of both", "attend"])
def test_bf16_comes_near_to_fp32(name):
    one, other = system_of(ROWS[name]), system_of(ROWS[name])
    expected, terms = step(one, batch()), step(other, batch(), autocast=torch.autocast("cpu", torch.bfloat16))
    assert set(terms) == set(expected)
    for key, term in terms.items():
        assert term.dtype == torch.float32
        assert term == pytest.approx(float(expected[key]), rel=0.05, abs=0.01), key
    for network in other.networks.values():
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
