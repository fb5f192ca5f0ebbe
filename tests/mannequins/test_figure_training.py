"""How the figure network is made, on a few mannequins and in a few steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mannequins.figure.network import STRIDE, Seen
from mannequins.figure_training import render, score, train
from mannequins.figure_training.render import RenderSettings
from mannequins.figure_training.score import ScoreSettings, View
from mannequins.figure_training.train import NOBODY, Batches, ChangeSettings, FigureTrainSettings, RenderedPhotos
from repose.config import build
from repose.data.records import read_json
from repose.data.skeleton import MIRROR, K, present
from repose.errors import ReposeError

ROOT = Path(__file__).parents[2]
PARAMS = yaml.safe_load((ROOT / "figure" / "params.yaml").read_text())
STILL = ChangeSettings(flip=0, scale=(1, 1), shift=0, light=0, blur=0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small sets of mannequins."""
    folder = tmp_path_factory.mktemp("sets")
    small = {flavour: {"flavour": flavour, "items": 2, "seed": 3, "quality": 90} for flavour in ("fashion", "street")}
    settings = build(RenderSettings, PARAMS["render"] | {"sets": small, "workers": 1}, "render")
    for name in small:
        render.run(name=name, raw=folder / name, settings=settings)
    return folder


def tiny(**changes: Any) -> FigureTrainSettings:
    few = {"steps": 2, "items": 1, "photos": 2, "widths": [64], "log_every": 1, "device": "cpu"}
    return build(FigureTrainSettings, PARAMS["train"] | few | changes, "train")


def batches(sets: Path, **changes: Any) -> Batches:
    settings = tiny(**({"items": 2, "photos": 3, "nobodies": 1, "widths": [128]} | changes))
    return Batches([RenderedPhotos(sets / name) for name in ("fashion", "street")], settings)


def test_a_batch_holds_photos_of_each_item_and_of_nobody(sets):
    of = batches(sets)
    batch, again = of[1], batches(sets)[1]
    np.testing.assert_array_equal(batch.pixels, again.pixels)
    np.testing.assert_array_equal(batch.keypoints, again.keypoints)
    assert not np.array_equal(batch.pixels, of[2].pixels[: len(batch.pixels)])
    assert batch.pixels.shape == (len(batch.items), 128, 128, 3)
    assert sorted(set(batch.items)) == [NOBODY, 0, 1, 2, 3]
    assert all(1 < (batch.items == item).sum() <= 3 for item in range(of.item_count))


def test_an_unchanged_photo_fills_the_canvas_and_a_flip_mirrors_the_pixels_and_the_joints_names(sets):
    photos = RenderedPhotos(sets / "street")
    pixels, keypoints = photos.pixels(0), photos.keypoints[0]
    plain = train.changed(pixels, keypoints, 64, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(plain[0], pixels)
    np.testing.assert_allclose(plain[1], keypoints, atol=1e-4)
    mirrored = train.changed(pixels, keypoints, 64, replace(STILL, flip=1), np.random.default_rng(0))
    np.testing.assert_array_equal(mirrored[0], pixels[:, ::-1])
    np.testing.assert_allclose(mirrored[1][..., 0], 63 - keypoints[MIRROR, 0], atol=1e-4)


def test_a_joint_beyond_the_canvas_is_not_in_sight(sets):
    photos, near = RenderedPhotos(sets / "fashion"), replace(STILL, scale=(2, 2), shift=0.1, blur=1, light=0.1)
    _, keypoints = train.changed(photos.pixels(0), photos.keypoints[0], 64, near, np.random.default_rng(1))
    known = keypoints[present(keypoints)]
    assert 0 < len(known) < present(photos.keypoints[0]).sum()
    assert ((known > -0.5) & (known < (63.5, 127.5))).all()


def test_sets_without_enough_photos_and_wrong_settings_are_rejected(sets):
    with pytest.raises(ReposeError, match=r"A step needs 3 item\(s\) of each set, but a set has 2"):
        batches(sets, items=3)
    with pytest.raises(ReposeError, match=r"train.widths\[0\] should be a multiple of 8, not 60"):
        tiny(widths=[60])


def test_the_joints_loss_is_least_where_the_joint_is_and_of_even_odds_that_of_a_guess():
    keypoints, no_features = torch.full((1, K, 2), torch.nan), torch.zeros(1, 1)
    even = train.joint_loss(Seen(torch.zeros(1, K, 4, 3), torch.zeros(1, K), no_features), keypoints, spread=1.0)
    torch.testing.assert_close(even, torch.tensor(13.0).log())
    keypoints[0, 0] = torch.tensor([5 * STRIDE + 1.5, 2 * STRIDE + 1.5])  # the middle of the cell 5, 2
    hidden = torch.full((1, K), 20.0)
    gone = train.joint_loss(Seen(torch.zeros(1, K, 8, 8), hidden.clone(), no_features), keypoints, spread=0.5)
    hidden[0, 0] = 0
    losses = []
    for x, y in ((5, 2), (4, 2), (2, 5)):
        cells = torch.zeros(1, K, 8, 8)
        cells[0, 0, y, x] = 3
        losses.append(float(train.joint_loss(Seen(cells, hidden, no_features), keypoints, spread=0.5)))
    assert losses[0] < losses[1] < losses[2] < gone


def test_photos_of_no_item_do_not_count_in_the_items_loss():
    features, of_items = torch.eye(3)[:2], 5 * torch.eye(3)
    both = train.item_loss(features, of_items, torch.tensor([0, NOBODY]), 1.0)
    torch.testing.assert_close(both, -torch.tensor([1.0, 0, 0]).log_softmax(0)[0])


@pytest.fixture(scope="module")
def trained(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    train.run(raw=[sets / "fashion", sets / "street"], run=run, settings=tiny())
    return run


def test_training_again_gives_the_same_bytes(sets, trained, tmp_path):
    train.run(raw=[sets / "fashion", sets / "street"], run=tmp_path / "run", settings=tiny())
    for path in trained.iterdir():
        assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()
    assert (trained / "history.csv").read_text().splitlines()[0] == "step,joints,items"


def test_a_loss_that_is_not_finite_stops(sets, tmp_path):
    with pytest.raises(ReposeError, match=r"not finite at step 2. Lower train.learning_rate"):
        train.run(raw=[sets / "street"], run=tmp_path / "run", settings=tiny(learning_rate=1e30, weight_decay=1.0))
    assert not (tmp_path / "run").exists()


def test_scores_say_what_they_are_of(sets, trained, tmp_path):
    views = {"street": View("street", 128, 64, None), "cut": View("fashion", 64, 44, (40, 0, 216, 256))}
    settings = ScoreSettings(views, batch=16, device="cpu", threads=1)
    metrics, speed = tmp_path / "metrics.json", tmp_path / "speed.json"
    score.run(run=trained, sets=sets, metrics=metrics, speed=speed, settings=settings)
    record = read_json(metrics)
    assert record["protocol"]["sha256"] == (trained / "figure.safetensors.sha256").read_text().split()[0]
    photos = RenderedPhotos(sets / "street")
    assert record["scores"]["street"]["photos"] == (photos.items != NOBODY).sum()
    assert record["scores"]["street"]["joints"] == present(photos.keypoints[photos.items != NOBODY]).sum()
    assert all(entry["images_per_second"] > 0 for entry in read_json(speed).values())
    assert set(record["scores"]) == set(read_json(speed)) == {"street", "cut"}


def test_retrieval_is_the_share_of_nearest_others_of_the_same_item():
    features = torch.tensor([[0.0, 0], [0, 1], [5, 0], [0, 2], [9, 9]])
    right, chance = score.retrieval(features, np.array([0, 0, 1, 1, 2]))
    assert right == 0.5  # both of item 0; those of item 1 are nearer to them
    assert chance == 0.25
    with pytest.raises(ReposeError, match="No item has two photos"):
        score.retrieval(features, np.arange(5))
