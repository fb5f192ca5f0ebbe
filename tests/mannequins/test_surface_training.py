"""How the weights that come with repose are made, on a few small people and in a few steps."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from skimage.metrics import structural_similarity

from mannequins.renderer.body import BONES
from mannequins.surface_training import export, losses, renders, score, train
from mannequins.surface_training.batches import Batch, Steps, pack, unpack
from mannequins.surface_training.renders import BACKGROUND, Item, render_item
from mannequins.surface_training.score import SurfaceScoreSettings
from mannequins.surface_training.train import SurfaceTrainSettings
from repose import checkpoint
from repose.config import build
from repose.data.frame import Frame
from repose.data.records import read_json
from repose.data.skeleton import present
from repose.errors import ReposeError
from repose.models.heads import placed_heads
from repose.models.lite0 import Lite0
from repose.models.surface import PARTS
from repose.models.surface_image import Code, Matched, Seen
from tiny_system import save_system

ROOT = Path(__file__).parents[2]
PARAMS = yaml.safe_load((ROOT / "surface" / "params.yaml").read_text())
pytestmark = pytest.mark.floats
CPU = torch.device("cpu")
HEIGHT, WIDTH = 64, 48
TINY = {
    "device": "cpu", "precision": "fp32", "threads": 1, "workers": 0, "steps": 5, "items": 1, "painting": 1, "decay": 3,
    "adversarial": 2,
}  # fmt: skip
SIZES = {"widths": [8, 16, 16, 16], "features": 8, "decoder": [16, 16], "blocks": 1}


def tiny(shorter: dict[str, Any] | None = None, /, **changes: Any) -> SurfaceTrainSettings:
    small = {"height": HEIGHT, "width": WIDTH, "views": 2, "generator": SIZES, "log_every": 1, "checkpoint_every": 3}
    of = {"budget": "tiny", "budgets": {"tiny": TINY | (shorter or {})}, "warmup": 2}
    return build(SurfaceTrainSettings, PARAMS["train"] | small | of | changes, "train")


@pytest.fixture(scope="module")
def item() -> Item:
    return render_item(3, 2, 3, 128, 88, plain=True)


@pytest.fixture(scope="module")
def batch(item: Item) -> Batch:
    return unpack(pack([item], [[[1, 2], [2, 0], [0, 1]]]), CPU)


# ---- items and batches


def test_an_item_depends_on_seed_and_number_alone():
    steps = Steps(5, 2, 2, HEIGHT, WIDTH)
    alone = render_item(5, 5, 2, HEIGHT, WIDTH).views
    np.testing.assert_array_equal(steps[2].pixels[2:], np.stack([view.pixels for view in alone]))
    assert not np.array_equal(steps[2].pixels[:2], steps[2].pixels[2:])


def test_places_that_correspond_have_the_same_coordinates_and_part(item):
    source, target = item.views[:2]
    flow, sight = item.flow(0, 1)
    x, y = np.rint((flow[:, sight] - 0.5) / 2).astype(int)
    inside = (x >= 0) & (x < source.parts.shape[1]) & (y >= 0) & (y < source.parts.shape[0])
    x, y = x[inside], y[inside]
    assert len(x) > 100
    apart = np.linalg.norm(source.surface[:, y, x] - target.surface[:, sight][:, inside], axis=0)
    assert np.median(apart) < 0.01  # heights
    found, wanted = source.parts[y, x], target.parts[sight][inside]
    assert (found == BACKGROUND).mean() < 0.15  # the nearest place may lie just outside
    assert (found == wanted)[found != BACKGROUND].mean() > 0.9


def test_alpha_parts_coordinates_and_joints_agree(item):
    for view in item.views:
        covered = view.parts != BACKGROUND
        share = view.alpha.reshape(64, 2, 44, 2).mean((1, 3)) / 255
        assert share[covered].mean() > 0.9
        assert share[~covered].mean() < 0.05
        assert np.all(view.surface[:, ~covered] == 0)
        heights = [np.median(view.surface[1][view.parts == BONES.index(bone)]) for bone in ("head", "chest")]
        assert heights[0] > heights[1] + 0.1
        x, y = np.rint(view.keypoints[present(view.keypoints)]).astype(int).T
        assert len(x) > 4
        assert (view.alpha[y, x] > 127).mean() > 0.8


def test_a_batch_has_two_sources_in_some_steps_and_never_the_target():
    counts = set()
    for step in range(4):
        packed = Steps(8, 1, 3, HEIGHT, WIDTH)[step]
        assert not (packed.sources == np.arange(3)[:, None]).any()
        counts.add(packed.sources.shape[1])
    assert counts == {1, 2}


def test_a_batch_has_the_flow_of_each_target_into_the_sources_of_its_item(item):
    packed = pack([item, item], [[[1], [2], [0]]] * 2)
    assert packed.sources.ravel().tolist() == [1, 2, 0, 4, 5, 3]
    for target, source in enumerate((1, 2, 0)):
        flow, sight = item.flow(source, target)
        np.testing.assert_array_equal(packed.flow[3 + target, 0], flow)
        np.testing.assert_array_equal(packed.sight[3 + target, 0], sight)


# ---- losses


def truth(batch: Batch) -> tuple[Code, Matched]:
    """What a network that knows everything would say."""
    covered = (batch.parts != BACKGROUND).float()[:, None]
    surface = F.avg_pool2d(batch.surface * covered, 2) / F.avg_pool2d(covered, 2).clamp(min=0.1)
    parts = (F.avg_pool2d(F.one_hot(batch.parts, PARTS).movedim(3, 1).float(), 2) + 1e-9).log()
    seen = Seen(surface, parts, surface, surface)
    size = torch.tensor([88.0, 128.0])[:, None, None]
    sight = batch.sight.float()[:, :, None]
    near = F.avg_pool2d(sight.flatten(0, 1), 2).clamp(min=0.2)
    coarse = (F.avg_pool2d((batch.flow * sight).flatten(0, 1), 2) / near).unflatten(0, batch.sources.shape)
    fine, coarse = ((flow + 0.5) / size * 2 - 1 for flow in (batch.flow, coarse))
    code = Code(
        batch.images, batch.images, seen, batch.sources, batch.mask, surface, batch.images, surface,
        batch.poses.keypoints,
    )  # fmt: skip
    head = placed_heads(batch.poses.keypoints, (128, 88), 2)
    return code, Matched(seen, coarse, coarse, fine, (sight - 0.5) * 200, sight, sight[:, 0], head)


def test_the_truth_has_no_geometry_loss_and_an_error_of_8_px_counts_1(batch):
    code, matched = truth(batch)
    terms = losses.geometry(batch, code, matched)
    parts = code.seen.parts  # the places at the edges of parts show several
    assert float(terms.pop("parts")) == pytest.approx(-2 * float((parts.exp() * parts).sum(1).mean()), rel=1e-3)
    assert all(float(term) < 1e-3 for term in terms.values())
    assert losses.flow_errors(batch, matched).max() < 1e-3
    moved = matched._replace(flow=matched.flow + torch.tensor([8 / 88 * 2, 0])[:, None, None])
    assert float(losses.geometry(batch, code, moved)["flow"]) == pytest.approx(1, abs=0.01)
    far = matched._replace(flow=matched.flow + torch.tensor([0, 16 / 128 * 2])[:, None, None])
    assert float(losses.geometry(batch, code, far)["flow"]) == pytest.approx(1.25, abs=0.01)
    turned = code._replace(seen=code.seen._replace(surface=code.seen.surface + 0.1))
    assert float(losses.geometry(batch, turned, matched)["surface"]) == pytest.approx(0.1, abs=0.01)


def test_ssim_is_that_of_scikit_image(batch):
    images = batch.images.clamp(-1, 1)
    noisy = (images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    expected = [
        structural_similarity(
            *(((of + 1) / 2).permute(1, 2, 0).double().numpy() for of in pair), channel_axis=2, gaussian_weights=True,
            sigma=1.5, use_sample_covariance=False, data_range=1,
        )
        for pair in zip(noisy, images, strict=True)
    ]  # fmt: skip
    assert float(losses.ssim(noisy, images)) == pytest.approx(np.mean(expected), abs=1e-4)
    assert float(losses.ssim(images, images)) == pytest.approx(1, abs=1e-5)


def test_features_tell_a_blurred_photo_and_another_texture(batch):
    lite = Lite0()
    expected = lite(batch.images)
    soft, softer = (lite(F.avg_pool2d(batch.images, n, 1, n // 2)) for n in (3, 7))
    for measure in (losses.distance, losses.gram_distance):
        assert (
            0 == float(measure(expected, expected)) < float(measure(soft, expected)) < float(measure(softer, expected))
        )


def test_a_missing_package_of_the_features_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ReposeError, match=r"needs the package efficientnet_lite_pytorch: pip"):
        Lite0()


# ---- training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and its work folder."""
    folder = tmp_path_factory.mktemp("trained")
    train.run(run=folder / "run", work=folder / "work", settings=tiny())
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    """The model of the run."""
    export.run(run=trained / "run", model=trained / "model", height=HEIGHT)
    return trained / "model"


def test_geometry_is_learned(tmp_path):
    settings = tiny({"steps": 16, "painting": 16, "decay": 16, "adversarial": 16}, learning_rate=0.003, log_every=4)
    train.run(run=tmp_path / "run", work=tmp_path / "work", settings=settings)
    rows = [line.split(",") for line in (tmp_path / "run" / "history.csv").read_text().splitlines()]
    assert rows[0] == ["step", "surface", "parts", "coarse", "flow", "sight", "flow_px"]
    first, last = (dict(zip(rows[0][1:], map(float, row[1:]), strict=True)) for row in (rows[1], rows[-1]))
    assert last["surface"] < 0.7 * first["surface"]
    assert last["parts"] < 0.95 * first["parts"]


def test_a_stopped_training_resumes_to_the_same_bytes(trained, tmp_path, monkeypatch):
    given = iter(range(4))

    def stopping(*arguments: Any) -> Batch:
        if next(given) == 3:
            raise KeyboardInterrupt
        return unpack(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train, "unpack", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.run(run=tmp_path / "run", work=tmp_path / "work", settings=tiny())
    assert not (tmp_path / "run").exists()
    kept = next((tmp_path / "work").glob("*/last.safetensors"))
    assert checkpoint.load(kept, CPU)[1].step == 3  # its state makes images too
    train.run(run=tmp_path / "run", work=tmp_path / "work", settings=tiny({"workers": 1}))
    for file in ("model.safetensors", "history.csv"):
        assert (tmp_path / "run" / file).read_bytes() == (trained / "run" / file).read_bytes()


def test_the_history_has_the_terms_of_each_phase(trained):
    lines = [line.split(",") for line in (trained / "run" / "history.csv").read_text().splitlines()]
    assert [[name for name, value in zip(lines[0], row, strict=True) if not value] for row in lines[1:]] == [
        ["l1", "ssim", "alpha", "alpha_l1", "painted", "features", "gram", "head", "discriminator", "adversarial"],
        ["discriminator", "adversarial"], [], [], [],
    ]  # fmt: skip
    assert [row[0] for row in lines[1:]] == list("12345")


def test_other_settings_have_a_state_of_their_own_and_another_machine_goes_on_with_the_same(tmp_path):
    places = [
        train._begun(tmp_path, settings).place
        for settings in (tiny(), tiny({"threads": 2, "workers": 3}, log_every=7), tiny({"steps": 6}), tiny(seed=8))
    ]
    assert places[0] == places[1]
    assert len(set(places)) == 3


def test_training_goes_on_from_shipped_weights_at_their_step(trained, exported, tmp_path):
    shipped = str(exported / "surface.safetensors")
    begun = train._begun(tmp_path, tiny({"steps": 6}, init=shipped))
    assert begun.start == 5
    finished = checkpoint.load(trained / "run" / "model.safetensors", CPU)[0].networks["generator"].state_dict()
    for network in ("generator", "trained"):
        for name, value in begun.system.networks[network].state_dict().items():
            assert torch.equal(value, finished[name].half().float())
    with pytest.raises(ReposeError, match=r"has 5 steps. Set the budget's steps, now 5, to more"):
        train._begun(tmp_path, tiny(init=shipped))


def test_a_gradient_that_is_never_finite_ends_the_training(tmp_path):
    settings = tiny(losses=PARAMS["train"]["losses"] | {"surface": 1e38, "flow": 1e38})
    with pytest.raises(
        ReposeError, match=r"No gradient was finite in the steps before step 1. Lower train.learning_rate"
    ):
        train.run(run=tmp_path / "run", work=tmp_path / "work", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_step_without_a_finite_gradient_is_left_out_of_all_networks(tmp_path, monkeypatch):
    taken = iter(range(5))

    def damaged(*arguments: Any) -> Batch:
        batch = unpack(*arguments)
        return batch._replace(images=batch.images * torch.nan) if next(taken) == 3 else batch

    monkeypatch.setattr(train, "unpack", damaged)
    train.run(run=tmp_path / "run", work=tmp_path / "work", settings=tiny(log_every=5, checkpoint_every=5))
    kept = next((tmp_path / "work").glob("*/last.safetensors"))
    assert [name for name, value in load_file(kept).items() if not value.isfinite().all()] == []


@pytest.mark.parametrize(("changes", "expected"), [
    ({"budget": "tinny"}, "budgets has no 'tinny'. Did you mean 'tiny'"),
    ({"generator": {"reduce": 2}}, "generator.reduce should be 1, not 2: export sets it"),
    ({"height": 100}, "train.height should be a multiple of 8, not 100"),
])  # fmt: skip
def test_settings_that_cannot_be_trained_are_refused(changes, expected):
    with pytest.raises(ReposeError, match=expected):
        tiny(**changes)
    with pytest.raises(ReposeError, match=r"adversarial \(0\) should not be before painting \(1\)"):
        tiny({"adversarial": 0})


# ---- export and scores


def test_exported_weights_are_read_by_repose_and_make_images_of_both_sizes(trained, tmp_path):
    for height in (HEIGHT, 2 * HEIGHT):
        export.run(run=trained / "run", model=tmp_path, height=height)
        system, about = checkpoint.load(tmp_path / "surface.safetensors", CPU)
        generator = system.networks["generator"]
        assert (about.frame.height, about.frame.width, generator.reduce) == (height, height * 3 // 4, height // HEIGHT)
        assert about.line_width == height / 32
        assert generator.unlike_training
    with pytest.raises(ReposeError, match="height of the images should be a multiple of 64 px up to 2048, not 100"):
        export.run(run=trained / "run", model=tmp_path, height=100)


def test_scores_say_what_they_are_of(exported, tmp_path, capsys):
    settings = SurfaceScoreSettings(seed=990, items=2, device="cpu", threads=1)
    score.run(model=exported, metrics=tmp_path / "metrics.json", settings=settings)
    record = read_json(tmp_path / "metrics.json")
    digest = (exported / "surface.safetensors.sha256").read_text().split()[0]
    assert record["protocol"]["sha256"] == digest
    assert record["protocol"]["size"] == [HEIGHT, WIDTH]
    turns = [of["pairs"] for name, of in record["flow"].items() if name != "all"]
    assert sum(turns) == record["flow"]["all"]["pairs"] == record["image"]["images"] == 6
    assert sum(of["images"] for of in record["skin"].values()) == 6
    assert score.tables(record) in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["attend", "vunet"])
def test_a_system_of_another_kind_is_refused(tmp_path, kind):
    for name in ("model.safetensors", "surface.safetensors"):
        save_system(tmp_path / name, kind, max_sources=1, frame=Frame(64, 64))
    settings = SurfaceScoreSettings(seed=990, items=1, device="cpu", threads=1)
    with pytest.raises(ReposeError, match=r"of the kind \w+, not surface. Give a folder of `surface export`"):
        score.run(model=tmp_path, metrics=tmp_path / "metrics.json", settings=settings)
    with pytest.raises(ReposeError, match=r"of the kind \w+, not surface. Give a folder of `surface train`"):
        export.run(run=tmp_path, model=tmp_path / "model", height=128)


def test_a_speck_is_a_region_away_from_the_person():
    photo, true = np.full((64, 48, 3), 200, np.uint8), np.zeros((64, 48), bool)
    true[20:60, 16:32] = True
    made, guess = photo.copy(), true.copy()
    assert score.specks(made, photo, guess, true) == []
    made[2:5, 2:5] = (200, 40, 40)  # a red spot
    guess[4:6, 40:44] = True  # alpha
    made[10:13, 20:24] += 3  # too faint
    made[30, 44] = 0  # too small
    guess[:, 13:35] = True  # a halo within the margin, and a column above
    assert sorted(score.specks(made, photo, guess, true)) == [8, 9, 14 * 22]


def test_tones_are_groups_of_the_typology_angle():
    skins = ((244, 212, 188), (210, 160, 124), (124, 82, 58), (60, 40, 30))
    assert [score.tone_of(skin) for skin in skins] == ["very light", "intermediate", "brown", "dark"]


def test_a_summary_takes_medians_by_turn_and_means_by_group():
    one = score.Pair(10, np.array([1.0, 3]), 0.9, [5], 0.5, 10.0, "tan", "Dresses")
    two = replace(one, turn=180.0, errors=np.array([5.0]), iou=0.7, specks=[], ssim=0.7, torso=np.nan, category="Pants")
    found = score.summary([one, two])
    assert found["flow"]["0-30"] == {"pairs": 1, "median": 2.0, "within_2": 0.5, "within_4": 1.0}
    assert [found["flow"][turn].get("median") for turn in ("30-75", "120-180", "all")] == [None, 5, 3]
    assert found["silhouette_iou"] == 0.8
    assert found["specks"] == {"per_image": 0.5, "mean_area": 5.0, "images_without": 0.5}
    assert found["skin"] == {"tan": {"images": 2, "torso-ciede2000": 10.0, "ssim": 0.6}}
    assert found["category"]["Pants"]["torso-ciede2000"] is None


def test_only_the_items_of_a_training_have_its_variety(monkeypatch):
    used, names = set(), ("with_hair", "as_sold", "with_grain", "at_ease")
    for name in names:
        real = getattr(renders, name)
        monkeypatch.setattr(renders, name, lambda *given, name=name, real=real: used.add(name) or real(*given))
    render_item(3, 1, 1, HEIGHT, WIDTH, plain=True)
    assert not used
    render_item(3, 1, 1, HEIGHT, WIDTH)
    assert used == set(names)
