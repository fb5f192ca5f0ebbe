"""The same dvc.yaml on real photos, by changed params only: DeepFashion's, where they lie beside the project."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import mannequins.figure
from project import ROOT, TINY, Project
from repose.data.images import decode
from repose.data.layouts import DeepFashion, NameFinder
from repose.data.skeleton import present
from repose.metrics.ssim import ssim
from repose.pose import blazepose
from repose.pose.agreement import agreement
from repose.pose.keypoint_files import known_points, match, read_posegan_csv
from repose.storage.networks import Weights
from repose.storage.weight_files import cached

SAMPLE = (ROOT / ".." / "shared" / "data" / "deepfashion-sample").resolve()
CHANGES = {
    "download.source": "deepfashion", "download.origins": [{"address": str(SAMPLE)}], "keypoints.extractor": "posegan-csv",
    "split.mode": "patn", "split.pairs": "pairs.csv", "split.test_share": 0.25, "train.augment.fill": "white",
    "evaluate.pairs": None,
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason="there is no ../shared/data/deepfashion-sample beside the project"
)


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray]:
    """The sample's photos by their names, (256, 256, 3) uint8 each."""
    grammar = DeepFashion([], lambda _: b"")
    paths = {path: grammar.photo(str(path.relative_to(SAMPLE))) for path in sorted(SAMPLE.rglob("*.jpg"))}
    return {photo.name: decode(path.read_bytes()) for path, photo in paths.items() if photo}


def test_copying_the_source_scores_as_it_does_elsewhere(photos):
    """Of 100 pairs: pg2 0.667, pose-gan 0.670, win51 0.381; .64 to .67 is known of pose-gan's protocol on DeepFashion."""
    finder, pairs = NameFinder(list(photos)), pd.read_csv(SAMPLE / "pairs.csv")
    source, target = (np.stack([photos[str(finder.find(name))] for name in pairs[end]]) for end in ("from", "to"))
    scores = [float(ssim(source, target, protocol).mean()) for protocol in ("pg2", "gaussian11", "win51")]
    np.testing.assert_allclose(scores, (0.6670, 0.6702, 0.3805), atol=5e-5)


def test_the_figure_network_is_worse_on_people(photos):
    network, names = mannequins.figure.load("cpu"), list(photos)
    images = torch.from_numpy(np.stack([photos[name] for name in names])).movedim(3, 1)
    found = np.concatenate([network.find(some).points.numpy() for some in images.split(32)])
    truth = match(read_posegan_csv((SAMPLE / "keypoints.csv").read_bytes(), "keypoints.csv"), names)
    record = agreement(found, truth.keypoints)
    print(record)  # docs/figure.md has the number
    assert record["photos"] == len(names)
    assert 0.6 < record["pck@0.1"] < 0.9


def test_blazepose_finds_the_joints_of_people_and_leaves_out_those_out_of_sight(photos):
    if not cached("blazepose").is_file():
        pytest.skip("BlazePose's weights are not in the cache: run `repose weights fetch blazepose`")
    names, network = list(photos), blazepose.load(Weights({}), min_person=0.5)
    people = network.people(torch.from_numpy(np.stack([photos[name] for name in names])).movedim(3, 1))
    assert [len(of) for of in people] == [1] * len(names)
    truth = match(read_posegan_csv((SAMPLE / "keypoints.csv").read_bytes(), "keypoints.csv"), names).keypoints
    found = known_points(np.concatenate(people))
    record = agreement(found, truth)
    print(record)  # docs/data.md has the numbers
    assert record["pck@0.1_of_torso"] >= 0.905
    known, seen = present(truth), present(found)
    assert (known & seen).sum() >= 0.97 * max(known.sum(), seen.sum())
    assert min(record["precision_by_joint"].values()) >= 0.85
    assert min(record["recall_by_joint"].values()) >= 0.8


@pytest.mark.slow
def test_the_stages_up_to_split_on_real_photos(tmp_path):
    project = Project(tmp_path, TINY | CHANGES)
    output = project.dvc("repro", "split")
    assert "non-commercial research" in output  # the terms of the owner
    tables = [(tmp_path / "data" / "images" / part / "images.csv").read_text() for part in ("0", "1")]
    assert [table.count("\n") - 1 for table in tables] == [95, 94]
    record = yaml.safe_load((tmp_path / "data" / "split" / "split.json").read_text())
    assert (record["train"]["items"], record["test"]["items"], record["test"]["pairs"]) == (68, 23, 25)
    assert record["mode"] == "patn-like"
    assert not (tmp_path / "reports" / "validate" / "set-aside.csv").read_text().splitlines()[1:]
