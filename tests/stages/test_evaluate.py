"""evaluate on two test garments of 64x56 px; the systems have had five steps, which is enough to be measured."""

import errno
import hashlib
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fakes import Means, load_means
from repose import __version__
from repose.data.images import decode
from repose.data.photos import Loaded, Photos
from repose.data.posemaps import PALETTE
from repose.data.records import (
    ITEMS,
    PAIRS,
    part_names,
    read_json,
    read_keypoints,
    read_table,
    write_json,
    write_keypoints,
)
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.data.skeleton import TORSO
from repose.errors import ReposeError
from repose.evaluation import contestants
from repose.evaluation.examples import read_examples
from repose.evaluation.facts import loss_in_words, optimisers_in_words
from repose.evaluation.results import BASELINES, COPY, MEAN, PROTOCOL, REAL, read_result
from repose.evaluation.settings import EvaluateSettings
from repose.generate import Done, Job, jobs_of_pairs
from repose.metrics import catalogue
from repose.metrics.frechet import FeatureStatistics, frechet_distance
from repose.metrics.mask_ssim import pose_mask
from repose.metrics.torso_ciede2000 import torso_ciede2000
from repose.stages import evaluate, posemaps
from repose.storage import atomic
from repose.systems.learning.adversarial import AdversarialSystem
from tiny import HEIGHT, SYSTEMS, WIDTH, Data, files_in, settings, train_tiny
from tiny import row as row_of

pytestmark = pytest.mark.usefixtures("outside_git")
QUICK: dict[str, Any] = {"metrics": ["ssim/pg2", "torso-ciede2000"], "pairs": 2, "picture_pairs": 1}
COUNT = 20  # test pairs
FACTS = {
    "split": "pg2-like",
    "pairs": COUNT,
    "size": "64x56",
    "crop": [16, 0, 240, 256],
    "format": "8-bit RGB; kept as PNG",
}
Before = tuple[Path, dict[str, bytes]]  # a folder with earlier results, and their bytes
SCORES = ["ssim/pg2", "ssim/gaussian11", "ssim/win51", "mask-ssim/pg2", "psnr", "torso-ciede2000"]
ONE_SOURCE = {"steps": 1, "generator": {"width": 4, "blocks": 1}, "discriminators": {"width": 4, "layers": 1}}


@pytest.fixture(scope="module")
def runs(data: Data, outside_git: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for system in SYSTEMS:
        train_tiny(data, folder / system, system, sample_every=0)
    train_tiny(data, folder / "paper-s", "paper-s", row_changes=ONE_SOURCE, sample_every=0)
    return folder


@pytest.fixture(scope="module")
def done(data: Data, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with results and metrics.json of both systems."""
    return evaluated(data, runs, tmp_path_factory.mktemp("done"))


def evaluated(data: Data, runs: Path, folder: Path, **changes: Any) -> Path:
    evaluate.run(
        folders=data.to_evaluate(runs), results=folder / "results", metrics=folder / "metrics.json",
        settings=settings("evaluate", EvaluateSettings, **changes),
    )  # fmt: skip
    return folder


def pairs_of(done: Path, system: str) -> pd.DataFrame:
    table = pd.read_csv(done / "results" / "pairs.csv")
    return table[table["system"] == system].reset_index(drop=True)


def photos_of(data: Data) -> Photos:
    return Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)


def jobs_of(data: Data, max_sources: int) -> list[Job]:
    items, pairs = read_table(data.split / "items.csv", ITEMS), read_table(data.split / "test-pairs.csv", PAIRS)
    return jobs_of_pairs(pairs, items[items["part"] == "test"], max_sources)


def scored(generated: np.ndarray, target: np.ndarray, keypoints: np.ndarray) -> dict[str, float]:
    """The scores of one image (H,W,3) uint8, SSIM and PSNR by scikit-image."""
    levels = int(generated.max()) - int(generated.min())
    figure = pose_mask(keypoints[None], height=HEIGHT, width=WIDTH, protocol="pg2")[0].numpy()[..., None]
    return {
        "ssim/pg2": structural_similarity(target, generated, channel_axis=2, data_range=255),
        "ssim/gaussian11": structural_similarity(
            target, generated, channel_axis=2, data_range=levels, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        ),
        "ssim/win51": structural_similarity(target, generated, channel_axis=2, data_range=255, win_size=51),
        "mask-ssim/pg2": structural_similarity(target * figure, generated * figure, channel_axis=2, data_range=255),
        "psnr": peak_signal_noise_ratio(target, generated),
        "torso-ciede2000": float(torso_ciede2000(generated[None], target[None], keypoints[None])[0]),
    }  # fmt: skip


def test_the_results_are_what_is_promised(done: Path) -> None:
    generated = {f"generated/{system}/{file}" for system in SYSTEMS for file in ("00000.tar", "generated.csv")}
    assert set(files_in(done / "results")) == generated | {"table.md", "table.csv", "pairs.csv", "picture.png"}
    assert {path.name for path in done.iterdir()} == {"results", "metrics.json"}
    rows = [COPY, MEAN, "paper-m", "paper-m, 1 source", "attend", "attend, 1 source"]
    table = pd.read_csv(done / "results" / "table.csv")
    assert list(table["system"]) == list(read_json(done / "metrics.json")["scores"]) == rows
    assert list(table.columns) == ["system", *SCORES, "mask-ssim/pg2 pairs", "psnr pairs", "torso-ciede2000 pairs"]


def test_single_source_off_leaves_those_rows_out_and_a_system_of_one_source_has_one_row(
    data: Data, runs: Path, tmp_path: Path
) -> None:
    evaluated(data, runs, tmp_path, systems=["attend", "paper-s"], single_source=False)
    assert list(pd.read_csv(tmp_path / "results" / "table.csv")["system"]) == [COPY, MEAN, "attend", "paper-s"]
    assert (pairs_of(tmp_path, "paper-s")["sources"] == 1).all()
    rows = read_result(alone(data, runs, tmp_path / "paper-s", "paper-s", systems=["attend"])).pairs["system"]
    assert list(rows.unique()) == ["paper-s"]  # with single_source, and though evaluate.systems does not name it


def test_every_row_has_the_occlusion_of_the_split(data: Data, done: Path) -> None:
    split = pd.read_csv(data.split / "test-pairs.csv")
    assert split["occlusion"].nunique() > 5
    for system in (COPY, "attend, 1 source"):
        assert pairs_of(done, system)[["from", "to", "occlusion"]].equals(split)


def with_pairs(data: Data, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Data:
    """The data with other test pairs."""
    shutil.copytree(data.split, folder / "split")
    file = folder / "split" / "test-pairs.csv"
    change(pd.read_csv(file)).to_csv(file, index=False)
    return data._replace(split=folder / "split")


def test_what_nobody_knows_stays_empty(data: Data, runs: Path, tmp_path: Path) -> None:
    unknown = with_pairs(data, tmp_path, lambda p: p.assign(occlusion=p["occlusion"].where(p.index % 3 != 0)))
    own = read_result(alone(unknown, runs, tmp_path / BASELINES, BASELINES, pairs=7)).pairs
    assert own["occlusion"].isna().tolist() == [number % 3 == 0 for number in chosen(COUNT, 7)] * 3


def chosen(number: int, most: int) -> list[int]:
    """At most so many of a number of pairs, evenly spread."""
    return [round(place * (number - 1) / (most - 1)) for place in range(most)]


def assert_scored(row: "pd.Series[Any]", image: np.ndarray, target: Loaded) -> None:
    expected = scored(image, target.pixels[0], target.keypoints[0])
    np.testing.assert_allclose(row[SCORES].astype(float), [expected[n] for n in SCORES], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_scores_are_those_of_the_images_in_the_shards(data: Data, done: Path, system: str) -> None:
    table, photos = pairs_of(done, system), photos_of(data)
    folder = done / "results" / "generated" / system
    index = read_table(folder / "generated.csv", INDEX_COLUMNS)
    images = ShardReader(folder, index)
    assert list(index["name"]) == [f"{job.sources[0]}--{job.target}.png" for job in jobs_of(data, 4)]
    assert len(table) == len(index) == COUNT
    for _, row in table.iterrows():
        assert_scored(row, decode(images[f"{row['from']}--{row['to']}.png"]), photos.load([row["to"]]))


@pytest.mark.parametrize(("name", "most"), [(COPY, 1), (MEAN, 4)])
def test_the_baselines_are_what_their_names_say(data: Data, done: Path, name: str, most: int) -> None:
    photos = photos_of(data)
    for (_, row), job in zip(pairs_of(done, name).iterrows(), jobs_of(data, most), strict=True):
        sources = photos.load(job.sources).pixels.astype(np.float64)
        made = (sources[0] if name == COPY else sources.mean(0)).round().astype(np.uint8)
        assert (row["from"], row["to"], row["sources"]) == (job.sources[0], job.target, len(job.sources))
        assert_scored(row, made, photos.load([job.target]))


def test_the_means_are_the_same_everywhere(done: Path) -> None:
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


def test_the_table_says_what_its_numbers_are_of(data: Data, done: Path, runs: Path) -> None:
    text = (done / "results" / "table.md").read_text()
    assert (
        f"Split pg2-like, {COUNT} test pairs, 64x56 px (height x width), cropped to 16, 0, 240, 256 (left, top" in text
    )
    assert "of the photo), 8-bit RGB; kept as PNG; a metric's protocol stands after the slash." in text
    assert "0 pairs without a whole torso" in text
    for system in SYSTEMS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"- {system}: "))
        parameters = read_json(runs / system / "run.json")["parameters"]
        assert f"5 steps of 1 item(s), seed 0, cpu, fp32; parameters: generator {parameters['generator']:,}" in line
        assert "loss: l1 1" in line
        assert line.endswith("(the perceptual term is left out).")
        assert "perceptual 1" not in line
    record = read_json(done / "metrics.json")
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
    assert f"Made by repose {__version__}, seed 0." in text


def digests(data: Data, results: Path) -> dict[str, str]:
    """What the record says of what was tested on: pairs, photos, keypoints."""
    facts = read_json(alone(data, results / "no runs", results / BASELINES, BASELINES, **QUICK) / "facts.json")
    return {name.split()[0]: facts[name] for name in PROTOCOL[-3:]}


@pytest.fixture(scope="module")
def quick_digests(data: Data, outside_git: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(data, tmp_path_factory.mktemp("digests"))


@pytest.mark.parametrize("what", ["photos", "keypoints", "pairs", "nothing"])
def test_the_digests_tell_which_data_differ(
    data: Data, quick_digests: dict[str, str], tmp_path: Path, what: str
) -> None:
    """Each alone; what is not tested on changes none."""
    for kind in ("images", "keypoints", "split"):
        shutil.copytree(getattr(data, kind), tmp_path / kind)
    changed = data._replace(**{kind: tmp_path / kind for kind in ("images", "keypoints", "split")})
    part, tested = (
        part_names(data.images)[0],
        read_table(data.split / "items.csv", ITEMS).query("part == 'test'")["name"],
    )
    images, points = changed.images / part / "images.csv", changed.keypoints / part / "keypoints.csv"
    table = pd.read_csv(images, dtype=str, keep_default_na=False)
    of_test = table["name"].isin(tested)
    assert 0 < of_test.sum() < len(table)
    names, joints, confidence = read_keypoints(points)
    if what == "pairs":
        pairs = changed.split / "test-pairs.csv"
        pd.read_csv(pairs)[::-1].to_csv(pairs, index=False)
    if what in ("photos", "nothing"):
        table.loc[of_test if what == "photos" else ~of_test, "sha256"] = "0" * 64
        table.to_csv(images, index=False)
    if what in ("keypoints", "nothing"):
        joints[of_test if what == "keypoints" else ~of_test] += 0.25
        write_keypoints(points, names, joints, confidence)
    after = digests(changed, tmp_path / "results")
    assert {name for name in after if quick_digests[name] != after[name]} == {what} - {"nothing"}


@pytest.mark.parametrize(("perceptual", "words"), [
    ("viton", "l1 1, warped 0.5, synthesized 0.5, perceptual (viton) 0.3"),
    (None, "l1 1, warped 0.5, synthesized 0.5 (the perceptual term is left out)"),
])  # fmt: skip
def test_the_loss_names_what_its_perceptual_term_is_of(perceptual: str | None, words: str) -> None:
    assert loss_in_words(row_of("attend").loss_weights(), perceptual) == words


def test_the_picture_shows_sources_pose_target_and_each_system(data: Data, done: Path) -> None:
    picture = np.asarray(Image.open(done / "results" / "picture.png").convert("RGB"))
    chosen = jobs_of(data, 4)[0]  # the first row of the picture is the first pair
    photos = photos_of(data)
    target = photos.load([chosen.target])
    shown = [*photos.load(chosen.sources).pixels, PALETTE[target.maps[0]], target.pixels[0]]
    for system in SYSTEMS:
        folder = done / "results" / "generated" / system
        images = ShardReader(folder, read_table(folder / "generated.csv", INDEX_COLUMNS))
        shown.append(decode(images[f"{chosen.sources[0]}--{chosen.target}.png"]))
    height, width = 2 * HEIGHT, 2 * WIDTH  # so that a title fits
    columns = (picture.shape[1] - 4) // (width + 4)
    assert columns == 3 + 2 + len(SYSTEMS)  # three sources are the most that a test garment has beside a target
    top = picture.shape[0] % (height + 4)  # below the titles
    places = [picture[top : top + height : 2, 4 + n * (width + 4) :][:, :width:2] for n in range(columns)]
    for number, image in enumerate(shown):
        at = number if number < len(chosen.sources) else number + 3 - len(chosen.sources)
        np.testing.assert_array_equal(places[at], image)


def test_two_evaluations_have_the_same_bytes(data: Data, runs: Path, done: Path, tmp_path: Path) -> None:
    again = evaluated(data, runs, tmp_path)
    assert files_in(again) == files_in(done)


def test_fewer_pairs_are_spread_over_the_split(data: Data, runs: Path, tmp_path: Path) -> None:
    evaluated(data, runs, tmp_path, systems=["attend"], pairs=4)
    pairs = read_table(data.split / "test-pairs.csv", PAIRS)
    found = pairs_of(tmp_path, "attend")
    assert list(zip(found["from"], found["to"], strict=True)) == [
        tuple(pairs.loc[row, ["from", "to"]]) for row in chosen(COUNT, 4)
    ]
    assert ", 4 test pairs, " in (tmp_path / "results" / "table.md").read_text()


def test_a_perfect_system_has_perfect_scores(
    data: Data, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perfect(system: Any, jobs: Sequence[Job], photos: Photos, device: Any) -> Iterator[Done]:
        loaded = photos.load([job.target for job in jobs])
        yield Done(jobs, loaded.pixels, loaded.pixels, loaded.keypoints)

    monkeypatch.setattr(contestants, "generate_jobs", perfect)
    evaluated(data, runs, tmp_path, systems=["attend"])
    scores = read_json(tmp_path / "metrics.json")["scores"]["attend"]
    found = {name: scores[name] for name in SCORES if name != "psnr"}
    assert list(found.values()) == pytest.approx([1, 1, 1, 1, 0], abs=1e-9)
    assert scores["torso-ciede2000 pairs"] == COUNT
    assert (scores["psnr"], scores["psnr pairs"]) == (None, 0)  # infinite for equal images
    text = (tmp_path / "results" / "table.md").read_text()
    assert (
        f"PSNR: in dB, higher is better; at most {COUNT} pairs that are equal to their target are left out of it."
        in text
    )
    assert re.search(r"\| attend \| 1\.000 \|.* \|  \| 0\.00 \|", text)
    assert pairs_of(tmp_path, "attend")["psnr"].isna().all()


def test_pairs_without_a_whole_torso_are_left_out_and_counted(data: Data, runs: Path, tmp_path: Path) -> None:
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


@pytest.fixture
def before(data: Data, done: Path, tmp_path: Path) -> Before:
    folder = tmp_path / "earlier"
    shutil.copytree(done, folder)
    return folder, files_in(folder)


def fails(data: Data, runs: Path, before: Before, message: str, **changes: Any) -> None:
    with pytest.raises(ReposeError, match=message):
        evaluated(data, runs, before[0], **changes)
    assert files_in(before[0]) == before[1]


def without_images(run: Path) -> None:
    write_json(run / "run.json", {k: v for k, v in read_json(run / "run.json").items() if k != "images"})


def of_another_system(run: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(run.with_name("attend"), run)


@pytest.mark.parametrize(("change", "message"), [
    (shutil.rmtree, r"There is no checkpoint .*paper-m/model\.safetensors"),
    (of_another_system, "is a model of the system attend, not of paper-m. Run `dvc repro train@paper-m`"),
    (without_images, r"run\.json lacks images: .* Train paper-m again\."),
])  # fmt: skip
def test_a_run_that_is_missing_or_wrong_is_named(
    data: Data, runs: Path, tmp_path: Path, before: Before, change: Callable[[Path], object], message: str
) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    change(tmp_path / "runs" / "paper-m")
    fails(data, tmp_path / "runs", before, message)


def test_a_run_of_another_size_is_named(data: Data, runs: Path, tmp_path: Path, before: Before) -> None:
    for part in part_names(data.images):
        posemaps.run(
            images=data.images / part, keypoints=data.keypoints / part, posemaps=tmp_path / "posemaps" / part,
            settings=settings("posemaps", posemaps.PosemapsSettings, line_width=3),
        )  # fmt: skip
    other = data._replace(posemaps=tmp_path / "posemaps")
    fails(other, runs, before, r"trained at 64x56 px .* limbs of 2 px, the pose maps are 64x56 px with 3 px")


def test_pairs_that_cannot_be_scored_are_named(data: Data, runs: Path, tmp_path: Path, before: Before) -> None:
    none = with_pairs(data, tmp_path / "none", lambda pairs: pairs[:0])
    fails(none, runs, before, r"test-pairs\.csv has no pair, so there is nothing to evaluate")
    wrong = with_pairs(data, tmp_path / "wrong", lambda pairs: pairs.assign(occlusion="1.5"))
    fails(wrong, runs, before, r"test-pairs\.csv is damaged \(.*0 to 1")
    other = with_pairs(data, tmp_path / "other", lambda pairs: pairs.replace({"\\.jpg$": ".jpeg"}, regex=True))
    items = other.split / "items.csv"
    items.write_text(items.read_text().replace(".jpg", ".jpeg"))
    fails(other, runs, before, "that the split names have no image or no pose map")


def made_by(change: Callable[[Loaded], Done | None]) -> Callable[..., Iterator[Done]]:
    """A generate_jobs of a system that makes of each batch what `change` says, at most 8 pairs at a time."""

    def generate(_: Any, jobs: Sequence[Job], photos: Photos, __: Any) -> Iterator[Done]:
        for first in range(0, len(jobs), 8):
            some = jobs[first : first + 8]
            loaded = photos.load([job.target for job in some])
            made = change(loaded)
            if made is not None:
                yield made._replace(jobs=some)

    return generate


def done_of(loaded: Loaded, generated: np.ndarray) -> Done:
    return Done((), generated, loaded.pixels, loaded.keypoints)


@pytest.mark.parametrize(("change", "message"), [
    (lambda loaded: done_of(loaded, loaded.pixels[:-1]), r"attend made 7 images for 8 pairs, \S+ to \S+ and those after it\."),
    (lambda loaded: done_of(loaded, loaded.pixels[:, :-2]),
     r"attend made images of 62x56 px for targets of 64x56 px \(height x width\), \S+ to \S+ and those after it\."),
    (lambda loaded: done_of(loaded, loaded.pixels) if len(loaded.pixels) == 8 else None,
     r"attend made 16 images for 20 pairs: none for \S+ to \S+\."),
], ids=["missing", "size", "last"])  # fmt: skip
def test_an_image_that_is_missing_or_of_another_size_is_an_error(
    data: Data, runs: Path, before: Before, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:  # fmt: skip
    monkeypatch.setattr(contestants, "generate_jobs", made_by(change))
    fails(data, runs, before, message, systems=["attend"], metrics=QUICK["metrics"])


def test_an_image_with_a_nan_is_an_error(
    data: Data, runs: Path, before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = AdversarialSystem.generate

    def generate(self: AdversarialSystem, *given: Any) -> torch.Tensor:
        images = real(self, *given)
        images[1, 2, 3, 4] = torch.nan
        return images

    monkeypatch.setattr(AdversarialSystem, "generate", generate)
    message = r"attend made 1 of 16 images with a NaN in them\. .*`dvc repro train@attend`"
    fails(data, runs, before, message, systems=["attend"], metrics=QUICK["metrics"])


# Metrics of networks, by one that is plugged in; the real ones are in tests/networks.


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.FEATURES, "means", load_means)
    monkeypatch.setattr(catalogue, "CLASSIFIER", load_means)


OF_NETWORKS = ["is/tf-2015", "frechet/means+test", "recall@1/means"]


def test_scores_of_all_images_together_are_one_number_of_each_row(
    data: Data, runs: Path, tmp_path: Path, means: None
) -> None:
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


def test_one_system_alone_keeps_the_scores_of_all_images_in_its_facts(
    data: Data, runs: Path, tmp_path: Path, means: None
) -> None:
    asked = {"metrics": [*QUICK["metrics"], "frechet/means"], "pairs": 4}
    facts = read_json(alone(data, runs, tmp_path / "attend", "attend", **asked) / "facts.json")
    assert facts["scores"].keys() == {"attend", "attend, 1 source"}
    assert all(scores.keys() == {"frechet/means"} for scores in facts["scores"].values())
    assert facts["provenance"]["systems"].keys() == {"attend"}


def test_a_network_does_not_judge_what_it_trained(data: Data, runs: Path, tmp_path: Path, before: Before) -> None:
    shutil.copytree(runs / "attend", tmp_path / "runs" / "attend")
    record = tmp_path / "runs" / "attend" / "run.json"
    by_itself = {"systems": ["attend"], "metrics": [*QUICK["metrics"], "frechet/figure"], "pairs": 4}
    evaluated(data, tmp_path / "runs", tmp_path, **by_itself)  # trained without a perceptual loss
    assert "frechet/figure" in read_json(tmp_path / "metrics.json")["scores"]["attend"]
    write_json(record, read_json(record) | {"perceptual": "figure"})
    message = r"frechet/figure is computed by the network figure, which also computed the perceptual loss of attend: .* Remove"
    fails(data, tmp_path / "runs", before, message, **by_itself)


def test_what_cannot_be_scored_is_rejected_before_any_image_is_made(
    data: Data, before: Before, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path / "cache"))
    message = r"The weights of alexnet are not in the cache .*Run `repose weights fetch alexnet`"
    fails(data, tmp_path / "no runs", before, message, metrics=["lpips/alex"])


@pytest.mark.parametrize(("changes", "message"), [
    ({"metrics": []}, r"evaluate: metrics is empty\. Name at least one"),
    ({"metrics": ["psnr", "psnr"]}, "evaluate: metrics names one twice: psnr, psnr"),
    ({"metrics": ["psnr", "ssim/pg3"]}, "evaluate: metrics: There is no ssim protocol 'pg3'"),
    ({"metrics": ["ssim/pg2"]}, r"metrics has SSIM, which sees no garment, and not torso-ciede2000\. Add torso-ciede2000\."),
    ({"weights": {"alexnets": {"address": "x"}}}, "evaluate: weights names 'alexnets', which is no network"),
    ({"pairs": 0}, r"params.yaml: evaluate\.pairs should be more than 0, not 0\."),
])  # fmt: skip
def test_settings_that_make_no_sense(changes: Any, message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        settings("evaluate", EvaluateSettings, **changes)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_leave_the_earlier_results(
    data: Data, runs: Path, before: Before, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    real = atomic._flush_to_disk

    def flush(file: Path) -> None:
        if file.name == "picture.png":
            raise error
        real(file)

    monkeypatch.setattr(atomic, "_flush_to_disk", flush)
    with pytest.raises((ReposeError, KeyboardInterrupt)):
        evaluated(data, runs, before[0], systems=["attend"])
    assert files_in(before[0]) == before[1]


def test_the_terminal_shows_the_table(
    data: Data, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluated(data, runs, tmp_path, systems=["attend"], pairs=2)
    said = capfd.readouterr()
    table, notes = (tmp_path / "results" / "table.md").read_text().split("\n\n")
    assert table in said.err
    assert notes not in said.err
    assert said.out == ""


# One system, or the baselines, alone: what the stage table lays side by side.


def alone(data: Data, runs: Path, results: Path, system: str, **changes: Any) -> Path:
    evaluate.run(
        folders=data.to_evaluate(runs), results=results, system=system,
        settings=settings("evaluate", EvaluateSettings, **changes),
    )  # fmt: skip
    return results


def test_one_system_alone_has_the_scores_and_images_that_it_has_among_others(
    data: Data, runs: Path, done: Path, tmp_path: Path
) -> None:
    made = files_in(alone(data, runs, tmp_path / "attend", "attend"))
    images = {f"generated/attend/{name}" for name in ("00000.tar", "generated.csv")}
    assert set(made) == {"pairs.csv", "facts.json"} | images
    assert all(made[name] == (done / "results" / name).read_bytes() for name in images)
    lines = (done / "results" / "pairs.csv").read_text().splitlines()
    expected = [lines[0], *(line for line in lines if line.startswith(("attend,", '"attend, 1 source"')))]
    assert made["pairs.csv"].decode().splitlines() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["attend"]


def test_the_facts_say_how_the_system_was_trained(data: Data, runs: Path, tmp_path: Path) -> None:
    facts = read_json(alone(data, runs, tmp_path / "paper-m", "paper-m") / "facts.json")
    record = read_json(runs / "paper-m" / "run.json")
    same = ("steps", "images", "seed", "device", "precision", "perceptual", "parameters")
    assert {name: facts[name] for name in same} == {name: record[name] for name in same}
    assert facts.items() >= (FACTS | {"system": "paper-m", "kind": "paper"}).items()
    assert (facts["items_per_step"], facts["max_sources"]) == (1, 4)
    assert facts["optimiser"] == "Adam, learning rate 0.002, betas 0.9 and 0.99"
    assert facts["loss"] == "l1 1, adversarial_image 0.001, adversarial_pose 0.001 (the perceptual term is left out)"


def test_optimisers_that_differ_name_their_networks() -> None:
    weights = [torch.zeros(1)]
    words = optimisers_in_words({
        "generator": torch.optim.Adam(weights, 2e-5, (0.5, 0.999)), "d": torch.optim.Adam(weights, 2e-5, (0.5, 0.999)),
        "other": torch.optim.RMSprop(weights, 0.001),
    })  # fmt: skip
    assert (
        words == "Adam, learning rate 2e-05, betas 0.5 and 0.999 (generator, d); RMSprop, learning rate 0.001 (other)"
    )


def test_the_baselines_alone_bring_the_real_photos(data: Data, runs: Path, done: Path, tmp_path: Path) -> None:
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


def test_the_examples_show_sources_pose_and_target_of_a_few_pairs(data: Data, runs: Path, tmp_path: Path) -> None:
    folder = alone(data, runs, tmp_path / BASELINES, BASELINES, picture_pairs=3) / "examples"
    photos, jobs = photos_of(data), [jobs_of(data, 4)[n] for n in chosen(COUNT, 3)]
    for example, job in zip(read_examples(folder), jobs, strict=True):
        target = photos.load([job.target])
        shown = {f"source {n}": pixels for n, pixels in enumerate(photos.load(job.sources).pixels, 1)}
        shown |= {"target pose": PALETTE[target.maps[0]], "target": target.pixels[0]}
        assert (example.source, example.target) == (job.sources[0], job.target)
        assert list(example.shown) == list(shown)
        for title, pixels in shown.items():
            np.testing.assert_array_equal(example.shown[title], pixels)
