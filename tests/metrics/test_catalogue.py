"""The metrics by name: in batches they compute what their functions give of all images at once; and what they refuse."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fakes import Means, load_means
from repose.errors import ReposeError
from repose.metrics import catalogue
from repose.metrics.catalogue import Batch, Metric, OfPairs, RealPhotos, Task, parsed, prepare
from repose.metrics.mask_ssim import mask_ssim, pose_mask
from repose.metrics.psnr import psnr
from repose.metrics.retrieval import nearest
from repose.metrics.ssim import ssim
from repose.metrics.torso_ciede2000 import torso_ciede2000
from repose.storage.networks import Networks, Weights
from together import distance, inception_score

COUNT, HEIGHT, WIDTH = 23, 60, 52
RANDOM = np.random.default_rng(4)
TARGET = torch.from_numpy(RANDOM.integers(0, 256, (COUNT, 3, HEIGHT, WIDTH), np.uint8))
GENERATED = (TARGET.float() + torch.from_numpy(RANDOM.normal(0, 60, TARGET.shape))).clamp(0, 255).to(torch.uint8)
KEYPOINTS = RANDOM.uniform(-5, 65, (COUNT, 18, 2)).astype(np.float32)
ITEMS = [f"item {number % 5}" for number in range(COUNT)]
REAL = {"train": TARGET.flip(0).roll(3, 1)[:17], "test": TARGET[:19]}


class Lightness:
    """A distance network: how far the mean levels are apart."""

    def __init__(self, *_: Any) -> None:
        self.sha256, self.least = {"lightness": "e" * 64}, 10

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        return (generated.float().mean((1, 2, 3)) - target.float().mean((1, 2, 3))).abs()


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks without weights, as one of one's own is plugged in."""
    monkeypatch.setitem(catalogue.FEATURES, "means", load_means)
    monkeypatch.setitem(catalogue.DISTANCES, "alex", Lightness)
    monkeypatch.setattr(catalogue, "CLASSIFIER", load_means)


def real(part: str) -> Iterator[RealPhotos]:
    for first in range(0, len(REAL[part]), 4):
        some = REAL[part][first : first + 4]
        yield RealPhotos(some, ITEMS[first : first + len(some)])


def task(**changes: Any) -> Task:
    given: dict[str, Any] = {
        "height": HEIGHT, "width": WIDTH, "items": ITEMS, "networks": Networks(Weights({}), torch.device("cpu")), "real": real,
    }  # fmt: skip
    return Task(**given | changes)


def batches(size: int) -> Iterator[Batch]:
    for first in range(0, COUNT, size):
        part = slice(first, first + size)
        yield Batch(GENERATED[part], TARGET[part], KEYPOINTS[part], ITEMS[part])


def scored(name: str, size: int = 5) -> tuple[Any, Metric]:
    """Of a metric of pairs (COUNT,); of one of all images a dict."""
    (metric,) = prepare([name], task())
    if isinstance(metric.how, OfPairs):
        return np.concatenate([metric.how.score(batch) for batch in batches(size)]), metric
    growing = metric.how.start()
    for batch in batches(size):
        growing.update(batch)
    return growing.scores(), metric


@pytest.mark.parametrize(("name", "expected"), [
    ("ssim/pg2", lambda: ssim(GENERATED, TARGET, "pg2")),
    ("ssim/gaussian11+crop-40+white-40", lambda: ssim(GENERATED, TARGET, "gaussian11+crop-40+white-40")),
    ("mask-ssim/pg2", lambda: mask_ssim(GENERATED, TARGET, KEYPOINTS, "pg2")),
    ("psnr", lambda: psnr(GENERATED, TARGET)),
    ("torso-ciede2000", lambda: torch.from_numpy(torso_ciede2000(GENERATED, TARGET, KEYPOINTS))),
    ("lpips/alex", lambda: Lightness().distance(GENERATED, TARGET)),
])  # fmt: skip
def test_a_metric_of_pairs_is_its_function_of_any_batch(name, expected):
    found, metric = scored(name)
    np.testing.assert_array_equal(found, expected().double().numpy())
    assert found.dtype == np.float64
    assert (metric.name, metric.better) == (name, "lower" if name in ("lpips/alex", "torso-ciede2000") else "higher")


def test_equal_images_have_no_psnr():
    (metric,) = prepare(["psnr"], task())
    both = torch.stack([TARGET[0], TARGET[1]])
    found = metric.how.score(Batch(both, torch.stack([TARGET[0], TARGET[2]]), KEYPOINTS[:2], ITEMS[:2]))
    assert np.isnan(found).tolist() == [True, False]
    assert metric.left_out == "that are equal to their target"


def test_the_inception_score_is_that_of_all_images_at_once():
    found, metric = scored("is/tf-2015")
    mean, deviation = inception_score(Means().logits(GENERATED))
    assert found == pytest.approx({"": mean, " deviation": deviation}, rel=1e-12)
    assert metric.record == {"better": "higher", "networks": {"means": "f" * 64}}
    shuffled, _ = scored("is/torch-fidelity")
    assert shuffled[""] != found[""]


def test_mask_is_sees_the_targets_figure_alone():
    found, metric = scored("mask-is/tf-2015")
    masks = pose_mask(KEYPOINTS, height=HEIGHT, width=WIDTH, protocol="pg2")
    assert 0 < masks.float().mean() < 1
    mean, deviation = inception_score(Means().logits(GENERATED * masks[:, None]))
    assert found == pytest.approx({"": mean, " deviation": deviation}, rel=1e-12)
    assert metric.record["mask"] == "pg2"


@pytest.mark.parametrize(("name", "part", "photos"), [
    ("frechet/means", "train", 17), ("frechet/means+train", "train", 17), ("frechet/means+test", "test", 19),
])  # fmt: skip
def test_the_distance_is_to_the_part_of_the_split_that_it_names(name, part, photos):
    found, metric = scored(name)
    expected = distance(Means().features(GENERATED), Means().features(REAL[part]))
    assert found == pytest.approx({"": expected}, rel=1e-9)
    assert metric.record == {"better": "lower", "networks": {"means": "f" * 64}, "real": part, "photos": photos}


def test_retrieval_is_of_the_real_photos_of_the_test_part_with_chance_beside_it():
    found, metric = scored("recall@1/means")
    photos = nearest(Means().features(GENERATED), Means().features(REAL["test"]))
    np.testing.assert_array_equal(
        found, [float(ITEMS[photo] == item) for photo, item in zip(photos, ITEMS, strict=True)]
    )
    assert 0.2 < found.mean() < 1
    # of the 23 images 5, 5, 5, 4, 4 are of items 0 to 4, and of the 19 photos 4, 4, 4, 4, 3
    chance = (19 * 4 + 4 * 3) / 23 / 19
    assert metric.record == {
        "better": "higher", "networks": {"means": "f" * 64}, "real": "test", "photos": 19,
        "chance": pytest.approx(chance, rel=1e-5),
    }  # fmt: skip


def test_a_score_of_all_images_starts_anew_with_each_system():
    (metric,), found = prepare(["is/tf-2015"], task()), []
    for growing in (metric.how.start(), metric.how.start()):
        for batch in batches(4):
            growing.update(batch)
        found.append(growing.scores())
    assert found[0] == found[1]


def test_a_network_is_loaded_once_for_all_metrics_and_draws_nothing_of_the_systems(monkeypatch):
    loads = []

    def load(*_: Any) -> Means:
        loads.append(torch.rand(1))
        return Means()

    monkeypatch.setitem(catalogue.FEATURES, "means", load)
    monkeypatch.setattr(catalogue, "CLASSIFIER", load)
    before = torch.get_rng_state()
    prepare(["is/tf-2015", "frechet/means", "recall@1/means"], task())
    assert len(loads) == 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "message"), [
    ("sim/pg2", r"There is no metric 'sim'\. Did you mean 'ssim'\?"),
    ("fid", r"There is no fid protocol ''; known: inception-tf-2015\."),
    ("ssim/pg2+black-4", r"unknown border 'black-4'"),
    ("mask-ssim/pg2+white-40", r"The protocol 'pg2\+white-40' has a part after \+, but only ssim .* fid .* take"),
    ("psnr/pg2", r"psnr has only one protocol: write psnr, not psnr/pg2\."),
    ("frechet/means+valid", r"'means\+valid' has the unknown part 'valid': the real photos are of train or test\."),
])  # fmt: skip
def test_an_unknown_metric_is_rejected(name, message):
    with pytest.raises(ReposeError, match=message):
        parsed(name)


@pytest.mark.parametrize(("name", "changes", "message"), [
    ("ssim/win51", {"width": 48}, r"window of 51x51 px, but the images are 48x60 .* at this size: pg2, gaussian11\."),
    ("lpips/alex", {"height": 9}, r"lpips/alex needs images of at least 10 px per side, not 52x9 "),
    ("mask-is/tf-2015", {"items": ITEMS[:9]}, "of 10 splits needs at least as many images, but there are 9"),
    ("frechet/means", {"items": ITEMS[:1]}, "distance needs at least two generated images, but there is 1"),
])  # fmt: skip
def test_what_cannot_be_scored_is_rejected_before_an_image_is_made(name, changes, message):
    with pytest.raises(ReposeError, match=message):
        prepare([name], task(**changes))


def test_a_distance_takes_two_real_photos():
    with pytest.raises(ReposeError, match=r"of the real photos \(train\) there are 1"):
        prepare(["frechet/means"], task(real=lambda _: [RealPhotos(TARGET[:1], ITEMS[:1])]))
