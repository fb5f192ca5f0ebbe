"""evaluate: all systems beside the baselines. They have had five steps, which is enough to be measured."""

import hashlib
import math
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluating import COUNT, FACTS, QUICK, SCORES, alone, evaluated, jobs_of, pairs_of, photos_of
from PIL import Image

from fakes import Means
from repose import __version__
from repose.data.images import decode
from repose.data.photos import Loaded
from repose.data.records import ITEMS, PAIRS, part_names, read_json, read_keypoints, read_table, write_keypoints
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.data.skeleton import TORSO
from repose.evaluation.facts import loss_in_words
from repose.evaluation.results import COPY, MEAN, PROTOCOL, read_result
from repose.metrics.frechet import FeatureStatistics, frechet_distance
from repose.metrics.mask_ssim import mask_ssim
from repose.metrics.psnr import psnr
from repose.metrics.ssim import ssim
from repose.metrics.torso_ciede2000 import torso_ciede2000
from tiny import HEIGHT, SYSTEMS, WIDTH, files_in
from tiny import row as row_of

pytestmark = pytest.mark.usefixtures("outside_git")


def scored(generated: np.ndarray, target: np.ndarray, keypoints: np.ndarray) -> dict[str, float]:
    """The scores of one image (H,W,3) uint8."""
    pair = generated[None], target[None]
    scores = {f"ssim/{protocol}": ssim(*pair, protocol) for protocol in ("pg2", "gaussian11", "win51")}
    scores |= {"mask-ssim/pg2": mask_ssim(*pair, keypoints[None], "pg2"), "psnr": psnr(*pair)}
    scores["torso-ciede2000"] = torso_ciede2000(*pair, keypoints[None])
    return {name: float(score[0]) for name, score in scores.items()}


def test_the_results_are_what_is_promised(data, done):
    generated = {f"generated/{system}/{file}" for system in SYSTEMS for file in ("00000.tar", "generated.csv")}
    assert set(files_in(done / "results")) == generated | {"table.md", "table.csv", "pairs.csv", "picture.png"}
    assert {path.name for path in done.iterdir()} == {"results", "metrics.json"}
    rows = [COPY, MEAN, "paper-m", "paper-m, 1 source", "attend", "attend, 1 source"]
    table = pd.read_csv(done / "results" / "table.csv")
    assert list(table["system"]) == list(read_json(done / "metrics.json")["scores"]) == rows
    assert list(table.columns) == ["system", *SCORES, "mask-ssim/pg2 pairs", "psnr pairs", "torso-ciede2000 pairs"]
    with Image.open(done / "results" / "picture.png") as picture:
        # a test garment has at most three sources beside a target
        assert picture.width == 4 + (3 + 2 + len(SYSTEMS)) * (2 * WIDTH + 4)
        assert 3 * 2 * HEIGHT < picture.height < 4 * 2 * HEIGHT
    split = pd.read_csv(data.split / "test-pairs.csv")
    assert split["occlusion"].nunique() > 5
    assert pairs_of(done, "attend, 1 source")[["from", "to", "occlusion"]].equals(split)


def test_single_source_off_leaves_those_rows_out_and_a_system_of_one_source_has_one_row(data, runs, tmp_path, capfd):
    evaluated(data, runs, tmp_path, systems=["attend", "paper-s"], single_source=False)
    assert (tmp_path / "results" / "table.md").read_text().partition("\n\n")[0] in capfd.readouterr().err
    assert list(pd.read_csv(tmp_path / "results" / "table.csv")["system"]) == [COPY, MEAN, "attend", "paper-s"]
    assert (pairs_of(tmp_path, "paper-s")["sources"] == 1).all()
    rows = read_result(alone(data, runs, tmp_path / "paper-s", "paper-s", systems=["attend"])).pairs["system"]
    assert list(rows.unique()) == ["paper-s"]  # with single_source, and though evaluate.systems does not name it


def assert_scored(row: "pd.Series[Any]", image: np.ndarray, target: Loaded) -> None:
    expected = scored(image, target.pixels[0], target.keypoints[0])
    np.testing.assert_allclose(row[SCORES].astype(float), [expected[n] for n in SCORES], rtol=1e-6, atol=1e-9)


def test_the_scores_are_those_of_the_images_in_the_shards(data, done):
    table, photos = pairs_of(done, "attend"), photos_of(data)
    folder = done / "results" / "generated" / "attend"
    index = read_table(folder / "generated.csv", INDEX_COLUMNS)
    images = ShardReader(folder, index)
    assert list(index["name"]) == [f"{job.sources[0]}--{job.target}.png" for job in jobs_of(data, 4)]
    assert len(table) == len(index) == COUNT
    for _, row in table.iterrows():
        assert_scored(row, decode(images[f"{row['from']}--{row['to']}.png"]), photos.load([row["to"]]))


@pytest.mark.parametrize(("name", "most"), [(COPY, 1), (MEAN, 4)])
def test_the_baselines_are_what_their_names_say(data, done, name, most):
    photos = photos_of(data)
    for (_, row), job in zip(pairs_of(done, name).iterrows(), jobs_of(data, most), strict=True):
        sources = photos.load(job.sources).pixels.astype(np.float64)
        made = (sources[0] if name == COPY else sources.mean(0)).round().astype(np.uint8)
        assert (row["from"], row["to"], row["sources"]) == (job.sources[0], job.target, len(job.sources))
        assert_scored(row, made, photos.load([job.target]))


def test_the_means_are_the_same_everywhere(done):
    pairs, table = pd.read_csv(done / "results" / "pairs.csv"), pd.read_csv(done / "results" / "table.csv")
    record = read_json(done / "metrics.json")
    markdown = (done / "results" / "table.md").read_text()
    for system, group in pairs.groupby("system"):
        for name in SCORES:
            mean = group[name].mean()
            assert record["scores"][system][name] == pytest.approx(mean, rel=1e-8)
            assert table.set_index("system").loc[system, name] == pytest.approx(mean, abs=1e-6)
            digits = 2 if name in ("torso-ciede2000", "psnr") else 3
            assert f"{mean:.{digits}f}" in next(x for x in markdown.splitlines() if x.startswith(f"| {system} |"))


def test_the_table_says_what_its_numbers_are_of(done, runs):
    text, record = (done / "results" / "table.md").read_text(), read_json(done / "metrics.json")
    assert f"Split pg2-like, {COUNT} test pairs, 64x56 px (height x width), cropped to 16, 0, 240, 256 (left" in text
    assert "0 pairs without a whole torso" in text
    for system in SYSTEMS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"- {system}: "))
        parameters = read_json(runs / system / "run.json")["parameters"]
        assert f"5 steps of 1 item(s), seed 0, cpu, fp32; parameters: generator {parameters['generator']:,}" in line
        assert line.endswith("(the perceptual term is left out).")
    assert list(record) == ["schema", "protocol", "metrics", "provenance", "scores"]
    assert record["protocol"].items() >= FACTS.items()
    assert set(record["protocol"]) == set(PROTOCOL)
    assert record["metrics"] == {
        name: {"better": "lower" if name == "torso-ciede2000" else "higher"} for name in SCORES
    }
    pairs, photos, keypoints = (record["protocol"][name] for name in PROTOCOL[-3:])
    assert f"Tested on (SHA-256): pairs {pairs}, photos {photos}. Keypoints: {keypoints}." in text
    assert keypoints.startswith("SHA-256 ")
    models = {name: hashlib.sha256((runs / name / "model.safetensors").read_bytes()).hexdigest() for name in SYSTEMS}
    assert record["provenance"] == {
        "repose": __version__, "seed": 0,
        "systems": {name: {"sha256": digest, "seed": 0, "steps": 5} for name, digest in models.items()},
    }  # fmt: skip


def test_the_loss_names_what_its_perceptual_term_is_of():
    words = "l1 1, warped 0.5, synthesized 0.5, perceptual (viton) 0.3"
    assert loss_in_words(row_of("attend").loss_weights(), "viton") == words


def test_two_evaluations_have_the_same_bytes(data, runs, done, tmp_path):
    again = evaluated(data, runs, tmp_path)
    assert files_in(again) == files_in(done)


def test_pairs_without_a_whole_torso_are_left_out_and_counted(data, runs, tmp_path):
    first = read_table(data.split / "test-pairs.csv", PAIRS).loc[0, "to"]
    shutil.copytree(data.keypoints, tmp_path / "keypoints")
    for part in part_names(data.images):
        names, joints, confidence = read_keypoints(data.keypoints / part / "keypoints.csv")
        joints[[name == first for name in names], TORSO[0]] = np.nan
        write_keypoints(tmp_path / "keypoints" / part / "keypoints.csv", names, joints, confidence)
    evaluated(data._replace(keypoints=tmp_path / "keypoints"), runs, tmp_path, systems=["attend"])
    table, scores = pairs_of(tmp_path, "attend"), read_json(tmp_path / "metrics.json")["scores"]["attend"]
    left_out = table["torso-ciede2000"].isna()
    assert (left_out == (table["to"] == first)).all()
    assert scores["torso-ciede2000 pairs"] == COUNT - left_out.sum()
    assert math.isfinite(scores["torso-ciede2000"])
    assert f"; {left_out.sum()} pairs without a whole torso" in (tmp_path / "results" / "table.md").read_text()


OF_NETWORKS = ["is/tf-2015", "frechet/means+test", "recall@1/means"]


def test_scores_of_all_images_together_are_one_number_of_each_row(data, runs, tmp_path, means):
    evaluated(data, runs, tmp_path, systems=["paper-s"], metrics=[*QUICK["metrics"], *OF_NETWORKS])
    record, table = read_json(tmp_path / "metrics.json"), pd.read_csv(tmp_path / "results" / "table.csv")
    photos = photos_of(data)
    tested = list(read_table(data.split / "items.csv", ITEMS).query("part == 'test'")["name"])
    copied = [job.sources[0] for job in jobs_of(data, 1)]
    sets = FeatureStatistics("copies"), FeatureStatistics("real")
    for statistics, names in zip(sets, (copied, tested), strict=True):
        statistics.update(Means().features(torch.from_numpy(photos.load(names).pixels).movedim(-1, 1)))
    own = record["scores"][COPY]
    assert own["frechet/means+test"] == pytest.approx(frechet_distance(*sets), rel=1e-6)
    assert own["is/tf-2015"] > 1
    assert own["recall@1/means"] == 1  # the copied photo is one of the real ones
    assert list(pairs_of(tmp_path, COPY)) == [
        "system", "from", "to", "occlusion", "sources", *QUICK["metrics"], "recall@1/means", "split",
    ]  # fmt: skip
    assert list(table.columns) == [
        "system", *QUICK["metrics"], *OF_NETWORKS, "is/tf-2015 deviation", "torso-ciede2000 pairs",
    ]  # fmt: skip
    chance = record["metrics"]["recall@1/means"]["chance"]
    text = (tmp_path / "results" / "table.md").read_text()
    assert f"means, SHA-256 {'f' * 64}; {len(tested)} real photos of the part test; chance {chance:g}." in text
