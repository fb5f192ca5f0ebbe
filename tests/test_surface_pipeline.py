"""The pipeline of the weights that come with repose: what they learn from, and that the committed scores are theirs."""

from mannequins.surface import DIGEST
from mannequins.surface_training import score
from mannequins.surface_training.score import SurfaceScoreSettings
from mannequins.surface_training.train import SurfaceTrainSettings
from project import ROOT
from repose.config import block, read_params
from repose.data.records import read_json

FOLDER = ROOT / "surface"
PARAMS = read_params(FOLDER / "params.yaml")
METRICS = read_json(FOLDER / "metrics.json")
TRAIN = block(PARAMS, "train", SurfaceTrainSettings, "params")
SCORE = block(PARAMS, "score", SurfaceScoreSettings, "params")


def test_both_budgets_have_the_three_phases_and_the_same_course():
    assert list(TRAIN.budgets) == ["cpu", "gpu"]
    assert TRAIN.budget == "cpu"
    shares = [
        [getattr(of, name) / of.steps for name in ("painting", "decay", "adversarial")] for of in TRAIN.budgets.values()
    ]
    for cpu, gpu in zip(*shares, strict=True):
        assert 0 < cpu < 1
        assert abs(cpu - gpu) < 0.01


def test_the_scores_are_of_items_that_no_training_uses():
    figure = read_params(ROOT / "figure" / "params.yaml")["render"]["sets"].values()
    others = {TRAIN.seed, read_params(ROOT / "params.yaml")["download"]["mannequin"]["seed"]}
    others |= {wanted["seed"] for wanted in figure}
    assert SCORE.seed not in others
    assert TRAIN.seed not in others - {TRAIN.seed}


def test_the_committed_scores_are_of_the_committed_weights_and_good_enough():
    protocol, flow = METRICS["protocol"], METRICS["flow"]
    assert protocol["sha256"] == DIGEST.read_text().split()[0]
    assert (protocol["items"], protocol["seed"]) == (SCORE.items, SCORE.seed)
    assert protocol["size"] == [TRAIN.height, TRAIN.width]
    assert flow["all"]["median"] < 3
    assert METRICS["silhouette_iou"] > 0.8  # 0.93 was wanted
    assert METRICS["specks"]["images_without"] > 0.9


def test_the_page_has_the_committed_scores():
    assert score.tables(METRICS) in (ROOT / "docs" / "surface.md").read_text()
