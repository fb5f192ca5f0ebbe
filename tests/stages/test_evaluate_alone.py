"""One system, or the baselines, alone: what the stage table lays side by side."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from evaluating import COUNT, FACTS, QUICK, SCORES, alone, jobs_of, pairs_of, photos_of, with_pairs

from repose.data.posemaps import PALETTE
from repose.data.records import ITEMS, read_json, read_keypoints, read_table, write_keypoints
from repose.evaluation.examples import read_examples
from repose.evaluation.facts import optimisers_in_words
from repose.evaluation.results import BASELINES, COPY, MEAN, PROTOCOL, REAL, read_result, spread
from tiny import Data, files_in

pytestmark = pytest.mark.usefixtures("outside_git")


def test_one_system_alone_has_the_scores_and_images_that_it_has_among_others(data, runs, done, tmp_path):
    made = files_in(alone(data, runs, tmp_path / "attend", "attend"))
    images = {f"generated/attend/{name}" for name in ("00000.tar", "generated.csv")}
    assert set(made) == {"pairs.csv", "facts.json"} | images
    assert all(made[name] == (done / "results" / name).read_bytes() for name in images)
    lines = (done / "results" / "pairs.csv").read_text().splitlines()
    expected = [lines[0], *(line for line in lines if line.startswith(("attend,", '"attend, 1 source"')))]
    assert made["pairs.csv"].decode().splitlines() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["attend"]


def test_the_facts_say_how_the_system_was_trained_and_have_the_scores_of_all_images_together(
    data, runs, tmp_path, means
):
    asked = {"metrics": [*QUICK["metrics"], "frechet/means"]}
    facts = read_json(alone(data, runs, tmp_path / "paper-m", "paper-m", **asked) / "facts.json")
    assert {row: list(scores) for row, scores in facts["scores"].items()} == {
        "paper-m": ["frechet/means"], "paper-m, 1 source": ["frechet/means"],
    }  # fmt: skip
    assert facts["provenance"]["systems"].keys() == {"paper-m"}
    record = read_json(runs / "paper-m" / "run.json")
    same = ("steps", "images", "seed", "device", "precision", "perceptual", "parameters")
    assert {name: facts[name] for name in same} == {name: record[name] for name in same}
    assert facts.items() >= (FACTS | {"system": "paper-m", "kind": "paper"}).items()
    assert (facts["items_per_step"], facts["max_sources"]) == (1, 4)
    assert facts["optimiser"] == "Adam, learning rate 0.002, betas 0.9 and 0.99"
    assert facts["loss"] == "l1 1, adversarial_image 0.001, adversarial_pose 0.001 (the perceptual term is left out)"


def test_optimisers_that_differ_name_their_networks():
    weights = [torch.zeros(1)]
    words = optimisers_in_words({
        "generator": torch.optim.Adam(weights, 2e-5, (0.5, 0.999)), "d": torch.optim.Adam(weights, 2e-5, (0.5, 0.999)),
        "other": torch.optim.RMSprop(weights, 0.001),
    })  # fmt: skip
    assert (
        words == "Adam, learning rate 2e-05, betas 0.5 and 0.999 (generator, d); RMSprop, learning rate 0.001 (other)"
    )


def test_the_baselines_alone_bring_the_real_photos(data, runs, done, tmp_path):
    folder = alone(data, tmp_path / "no runs", tmp_path / BASELINES, BASELINES)
    assert set(files_in(folder)) == {"pairs.csv", "facts.json", "examples/00000.tar", "examples/examples.csv"}
    pairs = read_result(folder).pairs
    assert list(pairs["system"].unique()) == [REAL, COPY, MEAN]
    real = pairs[pairs["system"] == REAL]
    np.testing.assert_array_equal(real[SCORES].to_numpy(), np.tile([1.0, 1.0, 1.0, 1.0, np.nan, 0.0], (COUNT, 1)))
    for name in (COPY, MEAN):
        own = pairs[pairs["system"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(own.astype({"sources": int}), pairs_of(done, name))
    facts, record = read_json(folder / "facts.json"), read_json(done / "metrics.json")
    assert set(facts) == {"schema", "system", *PROTOCOL, "metrics", "provenance", "scores"}
    assert {name: facts[name] for name in PROTOCOL} == record["protocol"]
    assert (facts["schema"], facts["system"], facts["metrics"]) == (2, BASELINES, record["metrics"])
    assert facts["provenance"] == record["provenance"] | {"systems": {}}


def test_what_nobody_knows_stays_empty(data, runs, tmp_path):
    unknown = with_pairs(data, tmp_path, lambda p: p.assign(occlusion=p["occlusion"].where(p.index % 3 != 0)))
    own = read_result(alone(unknown, runs, tmp_path / BASELINES, BASELINES, pairs=7)).pairs
    assert own["occlusion"].isna().tolist() == [number % 3 == 0 for number in spread(COUNT, 7)] * 3


def digests(data: Data, results: Path) -> dict[str, str]:
    """What the record says of what was tested on: pairs, photos, keypoints."""
    facts = read_json(alone(data, results / "no runs", results / BASELINES, BASELINES, **QUICK) / "facts.json")
    return {name.split()[0]: facts[name] for name in PROTOCOL[-3:]}


@pytest.fixture(scope="module")
def quick_digests(data: Data, outside_git: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(data, tmp_path_factory.mktemp("digests"))


@pytest.mark.parametrize("what", ["photos", "keypoints", "pairs", "nothing"])
def test_the_digests_tell_which_data_differ(data, quick_digests, tmp_path, what):
    """Each alone; what is not tested on changes none."""
    changed = data._replace(**{
        kind: shutil.copytree(getattr(data, kind), tmp_path / kind) for kind in ("images", "keypoints", "split")
    })  # fmt: skip
    tested = read_table(data.split / "items.csv", ITEMS).query("part == 'test'")["name"]
    images, points, pairs = (
        changed.images / "0" / "images.csv", changed.keypoints / "0" / "keypoints.csv", changed.split / "test-pairs.csv"
    )  # fmt: skip
    table, (names, joints, confidence) = pd.read_csv(images, dtype=str, keep_default_na=False), read_keypoints(points)
    of_test = table["name"].isin(tested)
    assert 0 < of_test.sum() < len(table)
    if what == "pairs":
        pd.read_csv(pairs)[::-1].to_csv(pairs, index=False)
    if what in ("photos", "nothing"):
        table.loc[of_test if what == "photos" else ~of_test, "sha256"] = "0" * 64
        table.to_csv(images, index=False)
    if what in ("keypoints", "nothing"):
        joints[of_test if what == "keypoints" else ~of_test] += 0.25
        write_keypoints(points, names, joints, confidence)
    after = digests(changed, tmp_path / "results")
    assert {name for name in after if quick_digests[name] != after[name]} == {what} - {"nothing"}


def test_the_examples_show_sources_pose_and_target_of_a_few_pairs(data, runs, tmp_path):
    folder = alone(data, runs, tmp_path / BASELINES, BASELINES, picture_pairs=3) / "examples"
    photos, jobs = photos_of(data), [jobs_of(data, 4)[n] for n in spread(COUNT, 3)]
    for example, job in zip(read_examples(folder), jobs, strict=True):
        target = photos.load([job.target])
        shown = {f"source {n}": pixels for n, pixels in enumerate(photos.load(job.sources).pixels, 1)}
        shown |= {"target pose": PALETTE[target.maps[0]], "target": target.pixels[0]}
        assert (example.source, example.target) == (job.sources[0], job.target)
        assert list(example.shown) == list(shown)
        for title, pixels in shown.items():
            np.testing.assert_array_equal(example.shown[title], pixels)
