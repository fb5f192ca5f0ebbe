"""What evaluate rejects; earlier results are left as they were."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluating import QUICK, Before, evaluated, with_pairs

from repose.data.photos import Loaded, Photos
from repose.data.records import part_names, read_json, write_json
from repose.errors import ReposeError
from repose.evaluation import contestants
from repose.evaluation.settings import EvaluateSettings
from repose.generate import Done, Job
from repose.stages import posemaps
from repose.storage import atomic
from repose.systems.learning.adversarial import AdversarialSystem
from tiny import Data, files_in, settings

pytestmark = pytest.mark.usefixtures("outside_git")


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
def test_a_run_that_is_missing_or_wrong_is_named(data, runs, tmp_path, before, change, message):
    shutil.copytree(runs, tmp_path / "runs")
    change(tmp_path / "runs" / "paper-m")
    fails(data, tmp_path / "runs", before, message)


@pytest.mark.parametrize(("changes", "maps"), [
    ({"line_width": 3}, r"px, cropped to 16, 0, 240, 256 \(.*\), with limbs of 3 px"),
    ({"crop": None}, "px, with limbs of 2 px"),
])  # fmt: skip
def test_a_run_of_another_size_or_crop_is_named(changes, maps, data, runs, tmp_path, before):
    for part in part_names(data.images):
        posemaps.run(
            images=data.images / part, keypoints=data.keypoints / part, posemaps=tmp_path / "posemaps" / part,
            settings=settings("posemaps", posemaps.PosemapsSettings, **changes),
        )  # fmt: skip
    other = data._replace(posemaps=tmp_path / "posemaps")
    own = r"trained at 64x56 px, cropped to 16, 0, 240, 256 \(.*\), with limbs of 2 px"
    fails(other, runs, before, f"{own}; the pose maps are 64x56 {maps}")


def test_pairs_that_cannot_be_scored_are_named(data, runs, tmp_path, before):
    none = with_pairs(data, tmp_path / "none", lambda pairs: pairs[:0])
    fails(none, runs, before, r"test-pairs\.csv has no pairs to evaluate")
    wrong = with_pairs(data, tmp_path / "wrong", lambda pairs: pairs.assign(occlusion="1.5"))
    fails(wrong, runs, before, r"test-pairs\.csv is damaged \(.*0 to 1")
    for end in ("from", "to"):
        lost = with_pairs(data, tmp_path / end, lambda pairs, end=end: pairs.assign(**{end: "lost.jpg"}))
        fails(lost, runs, before, r"test-pairs\.csv has a pair of lost\.jpg, which is not a test photo in items\.csv")
    nameless = with_pairs(data, tmp_path / "nameless", lambda pairs: pairs)
    write_json(nameless.split / "split.json", {})
    fails(nameless, runs, before, r"split\.json lacks mode: .* Run `dvc repro split` again")
    other = with_pairs(data, tmp_path / "other", lambda pairs: pairs.replace({"\\.jpg$": ".jpeg"}, regex=True))
    items = other.split / "items.csv"
    items.write_text(items.read_text().replace(".jpg", ".jpeg"))
    fails(other, runs, before, "in the split have no image, such as")


def made_by(change: Callable[[Loaded], Done | None]) -> Callable[..., Iterator[Done]]:
    """A generate_jobs of a system that makes of each batch what `change` says, at most 8 pairs at a time."""

    def generate(_: Any, jobs: Sequence[Job], *, photos: Photos, device: Any) -> Iterator[Done]:
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
    (lambda loaded: done_of(loaded, loaded.pixels[:, :-2]),
     r"attend made 8 images of 62x56 px for 8 targets of 64x56 px \(height x width\), \S+ to \S+ and the following"),
    (lambda loaded: done_of(loaded, loaded.pixels) if len(loaded.pixels) == 8 else None,
     r"attend made only 16 images for 20 pairs: none for \S+ to \S+\."),
], ids=["size", "last"])  # fmt: skip
def test_an_image_that_is_missing_or_of_another_size_is_an_error(data, runs, before, monkeypatch, change, message):
    monkeypatch.setattr(contestants, "generate_jobs", made_by(change))
    fails(data, runs, before, message, systems=["attend"], metrics=QUICK["metrics"])


def test_an_image_with_a_nan_is_an_error(data, runs, before, monkeypatch):
    real = AdversarialSystem.generate

    def generate(self: AdversarialSystem, *given: Any) -> torch.Tensor:
        images = real(self, *given)
        images[1, 2, 3, 4] = torch.nan
        return images

    monkeypatch.setattr(AdversarialSystem, "generate", generate)
    message = r"attend made 1 of 16 images with NaNs\. .*`dvc repro train@attend`"
    fails(data, runs, before, message, systems=["attend"], metrics=QUICK["metrics"])


def test_a_network_does_not_judge_what_it_trained(data, runs, tmp_path, before):
    shutil.copytree(runs / "attend", tmp_path / "runs" / "attend")
    record = tmp_path / "runs" / "attend" / "run.json"
    by_itself = {"systems": ["attend"], "metrics": [*QUICK["metrics"], "frechet/figure"], "pairs": 4}
    evaluated(data, tmp_path / "runs", tmp_path, **by_itself)  # trained without a perceptual loss
    assert "frechet/figure" in read_json(tmp_path / "metrics.json")["scores"]["attend"]
    write_json(record, read_json(record) | {"perceptual": "figure"})
    message = r"frechet/figure is computed by the network figure, which also computed the perceptual loss of attend: .* Remove"
    fails(data, tmp_path / "runs", before, message, **by_itself)


def test_what_cannot_be_scored_is_rejected_before_any_image_is_made(data, before, tmp_path, monkeypatch):
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path / "cache"))
    message = r"The weights of alexnet are not in the cache .*Run `repose weights fetch alexnet`"
    fails(data, tmp_path / "no runs", before, message, metrics=["lpips/alex"])


@pytest.mark.parametrize(("changes", "message"), [
    ({"metrics": []}, r"evaluate: metrics is empty\. Give at least one"),
    ({"metrics": ["psnr", "psnr"]}, "evaluate: metrics has duplicates: psnr, psnr"),
    ({"metrics": ["psnr", "ssim/pg3"]}, "evaluate: metrics: There is no ssim protocol 'pg3'"),
    ({"metrics": ["ssim/pg2"]}, r"metrics has SSIM, which barely notices the garment, without torso-ciede2000\. Add "),
    ({"weights": {"alexnets": {"address": "x"}}}, "evaluate: weights has 'alexnets', which no metric uses"),
])  # fmt: skip
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ReposeError, match=message):
        settings("evaluate", EvaluateSettings, **changes)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_leave_the_earlier_results(data, runs, before, monkeypatch, error):
    real = atomic._flush_to_disk

    def flush(file: Path) -> None:
        if file.name == "picture.png":
            raise error
        real(file)

    monkeypatch.setattr(atomic, "_flush_to_disk", flush)
    with pytest.raises((ReposeError, KeyboardInterrupt)):
        evaluated(data, runs, before[0], systems=["attend"])
    assert files_in(before[0]) == before[1]
