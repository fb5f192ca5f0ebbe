"""What varies in the items of the surface training, and the window of its SSIM."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mannequins.renderer.body import draw_person, standing
from mannequins.renderer.garments import dressed
from mannequins.renderer.posed_person import posed
from mannequins.renderer.render import Camera, render
from mannequins.renderer.scenes import STUDIO_LIGHT
from mannequins.renderer.wardrobe import Chance, outfit
from mannequins.surface_training import losses
from mannequins.surface_training.renders import _Detector, as_sold
from repose.data.skeleton import K

pytestmark = pytest.mark.floats
CPU = torch.device("cpu")


def test_clothes_as_sold_are_the_same_garments_half_of_them_wider_and_mostly_of_one_fabric():
    rng = np.random.default_rng(0)
    same, wider, lower = [], [], []
    for _ in range(100):
        worn = outfit("Cardigans", True, Chance(rng, rng))
        sold = as_sold(worn, rng)
        assert (sold.shoes, sold.bag) == (worn.shoes, worn.bag)
        for before, after in ((worn.upper, sold.upper), (worn.outer, sold.outer)):
            assert before is not None
            assert after is not None
            assert (after.hem, after.sleeve, after.front.pattern) == (before.hem, before.sleeve, before.front.pattern)
            assert 0 <= after.fit.ease - before.fit.ease <= 0.01
            assert 0 <= after.sleeve_room - before.sleeve_room <= 0.012
            assert after.neckline in (before.neckline, "scoop", "v")
            wider.append(after.fit.ease > before.fit.ease)
            lower.append(after.neckline != before.neckline)
            assert all(10 <= level <= 250 for level in (*after.front.ground, *after.sleeves.second))
            same.append(after.back == after.front)
        assert wider[-1] == wider[-2]  # what is worn over it as well
    assert 0.35 < np.mean(wider) < 0.65
    assert 0.1 < np.mean(lower) < 0.45
    assert 0.75 < np.mean(same) < 0.97  # some have one fabric from the beginning


def test_hair_with_volume_covers_more_than_flat_hair():
    shape, look = draw_person(np.random.default_rng(1), True)
    worn = outfit("Tees_Tanks", True, Chance(np.random.default_rng(1), np.random.default_rng(1)))
    camera, covered = Camera(128, 88, 110.0, 44.0, 64.0, 0.5, 6.0, 0.0), []
    for volume in (0.0, 1.0):
        full = replace(look, style="long_front", length=0.7, volume=volume)
        person = dressed(shape, full, worn, 1.0, np.random.default_rng(1))
        pose = standing(np.random.default_rng(1), shape, 0.0, False)
        picture = render(person, posed(person, pose), camera, STUDIO_LIGHT)
        covered.append(float(picture.coverage[:40].sum()))
    assert covered[1] > 1.1 * covered[0]


def test_detectors_differ_err_by_some_thousandths_of_the_height_and_miss_a_few_joints():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 500, (K, 2)).astype(np.float32)
    true[5] = np.nan  # the left shoulder
    detectors = [_Detector(rng) for _ in range(100)]
    found = np.stack([[of.found(true, 500.0, rng) for _ in range(10)] for of in detectors])
    assert np.isnan(found[:, :, 5]).all()
    known = np.delete(found, 5, 2)
    assert 0.015 < np.isnan(known[..., 0]).mean() < 0.025
    errors = np.abs(found - true) / 500
    face, body = [0, 14, 15, 16, 17], [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    assert 0.003 < np.nanmedian(errors[:, :, body, 0]) < 0.008
    assert np.nanmedian(errors[:, :, face, 0]) < 0.003
    for joints, low, high in ((body, 0.004, 0.016), (face, 0.002, 0.007)):  # each has its own idea of where a joint is
        own = np.nanmean((found - true)[:, :, joints, 1] / 500, 1).std(0)
        assert low < own.min() < own.max() < high


def test_means_by_a_matrix_are_those_of_a_convolution_and_so_are_their_gradients():
    planes = torch.rand(4, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    window = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (window / window.sum())[None, None, None]
    found = []
    for means in (
        lambda x: losses._window_means(20, CPU).double() @ x @ losses._window_means(30, CPU).double().T,
        lambda x: F.conv2d(F.conv2d(x[:, None], window), window.mT)[:, 0],
    ):
        given = planes.clone().requires_grad_(True)
        out = means(given)
        (out * torch.arange(20.0)).sum().backward()
        found.append((out.detach(), given.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
