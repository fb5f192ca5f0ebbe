"""train on mannequins of 64x56 px, with networks of width 4 and 8 and five steps."""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from killed import POINTS, train_until_killed
from PIL import Image
from torchvision.models import vgg19

import repose
from repose import checkpoint
from repose.data.batches import Steps
from repose.data.photos import Photos
from repose.data.records import IMAGES, ITEMS, PAIRS, read_json, read_table
from repose.errors import ReposeError
from repose.generate import generate_jobs, jobs_of_pairs
from repose.pose import keypoint_cache
from repose.pose.keypoint_cache import Search
from repose.storage import atomic
from repose.systems.learning.adversarial import AdversarialSystem
from repose.training import PerceptualSettings, TrainSettings, state
from tiny import HEIGHT, SYSTEMS, WIDTH, Data, files_in, make, row, settings, train_tiny, unfinished

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("outside_git")


@pytest.fixture(scope="module")
def runs(data: Data, outside_git: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each system, never interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    for system in SYSTEMS:
        train_tiny(data, folder / system, system)
    return folder


def on_step(monkeypatch: pytest.MonkeyPatch, number: int, doing: Callable[[dict[str, Any]], None]) -> None:
    """After step so-and-so (counted from 1 in this process), change the terms that it returns."""
    real, calls = AdversarialSystem.step, []

    def step(self: AdversarialSystem, *arguments: Any) -> dict[str, torch.Tensor]:
        terms = real(self, *arguments)
        calls.append(None)
        if len(calls) == number:
            doing(terms)
        return terms

    monkeypatch.setattr(AdversarialSystem, "step", step)


def train_interrupted(monkeypatch: pytest.MonkeyPatch, data: Data, run: Path, **changes: Any) -> None:
    """Ctrl-C in the third step."""
    with monkeypatch.context() as patched:
        on_step(patched, 3, lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train_tiny(data, run, **changes)


def on_flush(monkeypatch: pytest.MonkeyPatch, name: str, number: int, error: OSError) -> None:
    """The n-th time that a file of that name is brought to the disk, the disk has an error."""
    real, seen = atomic._flush_to_disk, []

    def flush(file: Path) -> None:
        if file.name == name:
            seen.append(file)
            if len(seen) == number:
                raise error
        real(file)

    monkeypatch.setattr(atomic, "_flush_to_disk", flush)


def the_work(run: Path) -> Path:
    (place,) = unfinished(run.parent / "work")
    return place


def steps_of(file: Path) -> int:
    return checkpoint.read_about(file).step


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_run_holds_what_is_promised_and_no_run_is_unfinished(runs: Path, system: str) -> None:
    made = set(files_in(runs / system))
    assert made >= {
        "model.safetensors", "checkpoints/last.safetensors", "history.csv", "run.json", "live/metrics.json",
        "live/plots/metrics/train/l1.tsv", "samples/000004.png", "samples/000005.png",
    }  # fmt: skip
    assert not [name for name in made if "/." in name or name.startswith(".")]
    assert unfinished(runs / "work") == []
    assert steps_of(runs / system / "model.safetensors") == 5
    assert steps_of(runs / system / "checkpoints" / "last.safetensors") == 5


def images_of(data: Data, system: str) -> int:
    """How many images a run of five steps makes, counted batch by batch."""
    chosen, photos = row(system), Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)
    items = read_table(data.split / "items.csv", ITEMS)
    steps = Steps(
        photos, items[items["part"] == "train"], steps=5, seed=0, items_per_step=chosen.items_per_step,
        max_photos=chosen.max_photos, max_sources=chosen.max_sources, targets=chosen.targets, augment=None,
    )  # fmt: skip
    return sum(len(steps[step].target) for step in range(5))


def test_the_run_says_how_it_was_trained(data: Data, runs: Path) -> None:
    record = read_json(runs / "paper-m" / "run.json")
    system, _ = checkpoint.load(runs / "paper-m" / "model.safetensors", CPU)
    assert record == {
        "system": "paper-m", "steps": 5, "images": images_of(data, "paper-m"), "seed": 0, "device": "cpu",
        "precision": "fp32", "processes": 1,
        "perceptual": None,
        "parameters": {name: sum(p.numel() for p in n.parameters()) for name, n in system.networks.items()},
        "extended": [], "init": None,
    }  # fmt: skip
    assert set(record["parameters"]) == {"generator", "image", "pose"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_model_makes_images_by_itself(data: Data, runs: Path, tmp_path: Path, system: str) -> None:
    alone = tmp_path / "elsewhere.safetensors"
    alone.write_bytes((runs / system / "model.safetensors").read_bytes())
    loaded, about = checkpoint.load(alone, CPU)
    assert (about.system, about.row, about.frame.height, about.frame.width) == (system, row(system), HEIGHT, WIDTH)

    photos = Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)
    items, pairs = read_table(data.split / "items.csv", ITEMS), read_table(data.split / "test-pairs.csv", PAIRS)
    (done,) = generate_jobs(loaded, jobs_of_pairs(pairs[:2], items, 4), photos, CPU)
    assert done.generated.shape == (2, HEIGHT, WIDTH, 3)
    assert done.generated.dtype == np.uint8
    assert done.generated.std() > 0


def test_the_model_is_that_of_the_last_checkpoint(runs: Path) -> None:
    model, _ = checkpoint.load(runs / "attend" / "model.safetensors", CPU)
    last, _ = checkpoint.load(runs / "attend" / "checkpoints" / "last.safetensors", CPU)
    for name, weights in model.networks["generator"].state_dict().items():
        assert torch.equal(weights, last.networks["generator"].state_dict()[name]), name


@pytest.mark.parametrize(("system", "terms"), [
    ("paper-m", {"d_image", "d_pose", "l1", "g_image", "g_pose"}), ("attend", {"l1", "warped", "synthesized"}),
])  # fmt: skip
def test_the_history_has_a_row_at_each_log_and_checkpoint(runs: Path, system: str, terms: set[str]) -> None:
    history = pd.read_csv(runs / system / "history.csv")
    assert list(history["step"]) == [2, 4, 5]
    assert set(history.columns) == {"step", *terms}
    assert np.isfinite(history.to_numpy()).all()
    curve = pd.read_csv(runs / system / "live" / "plots" / "metrics" / "train" / "l1.tsv", sep="\t")
    np.testing.assert_allclose(curve["l1"], history["l1"])
    assert json.loads((runs / system / "live" / "metrics.json").read_text())["step"] == 5


def test_a_row_of_the_history_is_the_mean_since_the_last(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3, 4, 5):
        on_step(monkeypatch, number, lambda terms, number=number: terms.update(l1=torch.tensor(float(number))))
    history = pd.read_csv(train_tiny(data, tmp_path / "run", log_every=3, checkpoint_every=100) / "history.csv")
    assert list(history["step"]) == [3, 5]
    assert list(history["l1"]) == [2, 4.5]


def test_a_sample_picture_has_a_row_per_pair(runs: Path) -> None:
    with Image.open(runs / "attend" / "samples" / "000005.png") as picture:
        assert picture.width >= 4 * WIDTH
        assert 3 * HEIGHT < picture.height < 4 * HEIGHT


def test_a_run_replaces_an_earlier_one_of_another_seed(data: Data, runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "another name"
    train_tiny(data, run, seed=1)
    assert (run / "model.safetensors").read_bytes() != (runs / "attend" / "model.safetensors").read_bytes()
    (run / "left over").write_text("of the earlier run")
    train_tiny(data, run)
    assert files_in(run) == files_in(runs / "attend")


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_started_again_it_ends_with_the_same_bytes(
    data: Data, runs: Path, tmp_path: Path, point: str
) -> None:
    run = tmp_path / "attend"
    train_until_killed(point, data, run, "attend", {})
    train_tiny(data, run)
    assert files_in(run) == files_in(runs / "attend")
    assert unfinished(tmp_path / "work") == []


def test_killed_with_every_augmentation_it_ends_with_the_same_bytes(data: Data, tmp_path: Path) -> None:
    augment = {"augment": {"flip": 0.5, "rotation": 10, "crop": 0.9, "fill": "white"}, "keep_every": 2}
    whole = train_tiny(data, tmp_path / "whole" / "paper-m", "paper-m", **augment)
    run = tmp_path / "killed" / "paper-m"
    train_until_killed("between two checkpoints", data, run, "paper-m", augment)
    train_tiny(data, run, "paper-m", **augment)
    assert files_in(run) == files_in(whole)


def test_killed_twice_it_goes_on_from_the_last_checkpoint(
    data: Data, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "attend"
    for point in (
        "between two checkpoints",
        "before the first checkpoint",
    ):  # after steps 3 and, gone on from 2, 3 again
        train_until_killed(point, data, run, "attend", {})
        assert steps_of(the_work(run) / "checkpoints" / "last.safetensors") == 2
    train_tiny(data, run)
    assert "train attend: going on from step 2 of 5" in capfd.readouterr().err
    assert files_in(run) == files_in(runs / "attend")


def test_interrupted_by_ctrl_c_it_goes_on_and_leaves_what_other_settings_left(
    data: Data, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "attend"
    train_interrupted(monkeypatch, data, run, seed=1)
    left, place = files_in(the_work(run)), the_work(run)
    train_interrupted(monkeypatch, data, run)
    assert not run.exists()
    train_tiny(data, run)
    assert capfd.readouterr().err.count("going on from step 2 of 5") == 1
    assert files_in(run) == files_in(runs / "attend")
    assert the_work(run) == place
    assert files_in(place) == left


def test_keep_every_keeps_checkpoints_and_sample_every_0_draws_nothing(data: Data, tmp_path: Path) -> None:
    run = train_tiny(data, tmp_path / "run", keep_every=2, checkpoint_every=5, sample_every=0)
    kept = {path.name: steps_of(path) for path in (run / "checkpoints").iterdir()}
    assert kept == {"000002.safetensors": 2, "000004.safetensors": 4, "last.safetensors": 5}
    assert not (run / "samples").exists()


def test_workers_and_a_cache_change_nothing(data: Data, runs: Path, tmp_path: Path) -> None:
    assert files_in(train_tiny(data, tmp_path / "run", workers=2, cache_megabytes=0)) == files_in(runs / "attend")


def test_threads_are_set(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    on_step(monkeypatch, 1, lambda _: seen.append(torch.get_num_threads()))
    train_tiny(data, tmp_path / "run", row_changes={"steps": 1}, threads=2)
    assert seen == [2]
    train_tiny(data, tmp_path / "run", row_changes={"steps": 1}, threads=1)
    assert torch.get_num_threads() == 1


@pytest.mark.floats
@pytest.mark.parametrize("system", SYSTEMS)
def test_bf16_trains(data: Data, runs: Path, tmp_path: Path, system: str) -> None:
    run = train_tiny(data, tmp_path / "run", system, precision="bf16")
    low, full = pd.read_csv(run / "history.csv"), pd.read_csv(runs / system / "history.csv")
    assert not low.equals(full)
    np.testing.assert_allclose(low["l1"], full["l1"], rtol=0.1)
    assert read_json(run / "run.json")["precision"] == "bf16"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains(data: Data, tmp_path: Path, precision: str) -> None:
    run = train_tiny(data, tmp_path / "run", "paper-m", device="cuda", precision=precision)
    assert read_json(run / "run.json")["device"] == "cuda"
    assert np.isfinite(pd.read_csv(run / "history.csv").to_numpy()).all()


@pytest.mark.parametrize(("value", "word"), [("nan", "NaN"), ("inf", "infinite")])
def test_a_loss_that_is_not_finite_stops_with_step_and_term(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, word: str
) -> None:
    on_step(monkeypatch, 3, lambda terms: terms.update(synthesized=torch.tensor(float(value))))
    with pytest.raises(
        ReposeError, match=f"attend stopped: the loss term synthesized became {word} at step 3"
    ) as caught:
        train_tiny(data, tmp_path / "run")
    last = the_work(tmp_path / "run") / "checkpoints" / "last.safetensors"
    assert f"The last good checkpoint is kept: {last}" in str(caught.value)
    assert steps_of(last) == 2
    assert not (tmp_path / "run").exists()


def test_a_lower_learning_rate_trains_after_a_higher_one_failed(data: Data, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ReposeError, match=r"Training paper-m stopped: .* Lower the learning rate"):
        train_tiny(data, run, "paper-m", row_changes={"optimiser": {"learning_rate": 1e30}})
    train_tiny(data, run, "paper-m", row_changes={"optimiser": {"learning_rate": 1e-3}, "steps": 2})
    assert steps_of(run / "model.safetensors") == 2


@pytest.mark.parametrize(("number", "kept"), [(2, "No checkpoint was written yet"), (4, "The last good checkpoint is")])
def test_weights_that_are_not_finite_are_never_saved(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kept: str
) -> None:
    real, calls = AdversarialSystem.step, []

    def step(self: AdversarialSystem, *arguments: Any) -> dict[str, torch.Tensor]:
        terms = real(self, *arguments)
        calls.append(None)
        if len(calls) == number:  # as after a gradient that overflowed, though the loss was finite
            next(self.networks["generator"].parameters()).data.view(-1)[0] = float("nan")
        return terms

    monkeypatch.setattr(AdversarialSystem, "step", step)
    message = f"weights of the network generator are not finite after step {number}. {kept}"
    with pytest.raises(ReposeError, match=message):
        train_tiny(data, tmp_path / "run")
    last = the_work(tmp_path / "run") / "checkpoints" / "last.safetensors"
    assert last.exists() == (number == 4)
    if number == 4:
        assert steps_of(last) == 2


def test_a_full_disk_leaves_the_earlier_run_as_it_was(
    data: Data, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "attend"
    shutil.copytree(runs / "paper-m", run)
    before = files_in(run)
    for name in (".last.safetensors.partial", "model.safetensors", "history.csv"):
        with monkeypatch.context() as patched:
            on_flush(patched, name, 1, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            with pytest.raises(ReposeError, match="No space left on the disk while writing"):
                train_tiny(data, run)
        assert files_in(run) == before
    train_tiny(data, run)  # the same command again
    assert files_in(run) == files_in(runs / "attend")


def test_a_cut_checkpoint_in_the_work_says_what_to_delete(
    data: Data, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "attend"
    shutil.copytree(runs / "paper-m", run)
    before = files_in(run)
    train_interrupted(monkeypatch, data, run)
    last = the_work(run) / "checkpoints" / "last.safetensors"
    os.truncate(last, last.stat().st_size // 2)
    with pytest.raises(ReposeError, match=r"is not a whole checkpoint .* delete it and train again") as caught:
        train_tiny(data, run)
    assert str(last) in str(caught.value)
    assert files_in(run) == before
    last.unlink()
    train_tiny(data, run)
    assert files_in(run) == files_in(runs / "attend")


def test_too_few_training_items_are_counted(data: Data, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"only 6 training item\(s\)"):
        train_tiny(data, tmp_path / "run", row_changes={"items_per_step": 7})


def test_a_split_of_other_photos_is_named(data: Data, tmp_path: Path) -> None:
    split = tmp_path / "split"
    split.mkdir()
    for file in data.split.iterdir():
        (split / file.name).write_text(file.read_text().replace(".jpg", ".jpeg"))
    with pytest.raises(ReposeError, match="that the split names have no image"):
        train_tiny(data._replace(split=split), tmp_path / "run")


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A VGG19 of random weights and its SHA-256; its classifier, which nothing reads, is left out."""
    torch.manual_seed(0)
    content = io.BytesIO()
    torch.save({f"features.{k}": v for k, v in vgg19(weights=None).features.state_dict().items()}, content)
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    path.write_bytes(content.getvalue())
    return path, hashlib.sha256(content.getvalue()).hexdigest()


def perceptual(weights: Path | None, sha256: str | None, layers: str = "patn") -> dict[str, Any]:
    return {"weights": weights and str(weights), "sha256": sha256, "layers": layers}


def test_with_weights_the_history_has_the_perceptual_term(data: Data, tmp_path: Path, vgg: tuple[Path, str]) -> None:
    run = train_tiny(data, tmp_path / "run", row_changes={"steps": 2}, perceptual=perceptual(*vgg))
    history = pd.read_csv(run / "history.csv")
    assert (history["perceptual"] > 0).all()
    assert read_json(run / "run.json")["perceptual"] == "patn"
    assert not any("vgg" in key or "features" in key for key in checkpoint._read_tensors(run / "model.safetensors"))


def test_the_embedded_network_makes_the_term_too(data: Data, runs: Path, tmp_path: Path) -> None:
    embedded = {**perceptual(None, None), "network": "figure"}
    run = train_tiny(data, tmp_path / "run", row_changes={"steps": 2}, perceptual=embedded)
    history, without = (pd.read_csv(folder / "history.csv") for folder in (run, runs / "attend"))
    assert (history["perceptual"] > 0).all()
    assert "perceptual" not in without
    assert read_json(run / "run.json")["perceptual"] == "figure"
    saved = checkpoint._read_tensors(run / "model.safetensors")
    assert saved.keys() == checkpoint._read_tensors(runs / "attend" / "model.safetensors").keys()


def test_a_row_without_the_term_needs_no_weights(data: Data, tmp_path: Path) -> None:
    nowhere = perceptual(tmp_path / "nowhere.pth", "0" * 8)
    run = train_tiny(data, tmp_path / "run", row_changes={"steps": 1, "losses": {"perceptual": 0}}, perceptual=nowhere)
    assert "perceptual" not in pd.read_csv(run / "history.csv")
    assert read_json(run / "run.json")["perceptual"] is None


def test_without_weights_the_term_has_to_be_given_up_in_words(data: Data, tmp_path: Path) -> None:
    nothing, run = perceptual(None, None), tmp_path / "run"
    with pytest.raises(
        ReposeError, match=r"perceptual\.weights is null, but .* VGG19\. .* or train\.perceptual to none"
    ):
        train_tiny(data, run, row_changes={"steps": 1}, perceptual=nothing)
    assert list(tmp_path.iterdir()) == []
    train_tiny(data, run, row_changes={"steps": 1, "losses": {"perceptual": 0}}, perceptual=nothing)
    train_tiny(data, run, row_changes={"steps": 1}, perceptual="none")
    assert read_json(run / "run.json")["perceptual"] is None


def test_weights_that_are_not_there_are_named(data: Data, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"There are no weights at .*nowhere\.pth"):
        train_tiny(data, tmp_path / "run", perceptual=perceptual(tmp_path / "nowhere.pth", "0" * 64))


def test_weights_of_another_digest_are_refused(data: Data, tmp_path: Path, vgg: tuple[Path, str]) -> None:
    with pytest.raises(ReposeError, match="its SHA-256 should be 00000000, it is"):
        train_tiny(data, tmp_path / "run", perceptual=perceptual(vgg[0], "0" * 8))


def test_weights_of_another_network_are_refused(data: Data, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    with pytest.raises(ReposeError, match=r"other\.pth does not hold the weights of torchvision's VGG19"):
        train_tiny(data, tmp_path / "run", perceptual=perceptual(other, digest))


@pytest.mark.parametrize("name", ["threads", "log_every", "checkpoint_every", "sample_pairs"])
def test_settings_that_should_be_at_least_1(name: str) -> None:
    with pytest.raises(ReposeError, match=rf"params.yaml: train: {name} should be at least 1, not 0\."):
        settings("train", TrainSettings, **{name: 0})


@pytest.mark.parametrize("number", [0, -1])
def test_processes_should_be_at_least_1(number: int) -> None:
    with pytest.raises(ReposeError, match=rf"train: processes should be at least 1, or gpu, not {number}\."):
        settings("train", TrainSettings, processes=number)
    assert settings("train", TrainSettings, processes="gpu").processes == "gpu"


@pytest.mark.parametrize("name", ["workers", "cache_megabytes", "keep_every", "sample_every"])
def test_settings_that_should_not_be_negative(name: str) -> None:
    with pytest.raises(ReposeError, match=f"{name} should not be negative, but it is -1"):
        settings("train", TrainSettings, **{name: -1})


def test_weights_without_a_digest_are_refused() -> None:
    with pytest.raises(ReposeError, match=r"train\.perceptual: sha256 should be given with weights"):
        settings("train", TrainSettings, perceptual=perceptual(Path("vgg19.pth"), None))


def test_the_embedded_network_takes_no_weights(tmp_path: Path) -> None:
    both = {**perceptual(tmp_path / "vgg19.pth", "0" * 8), "network": "figure"}
    with pytest.raises(
        ReposeError, match=r"weights are VGG19's, and the figure network has its own: set weights to null"
    ):
        settings("train", TrainSettings, perceptual=both)


def test_no_weights_need_no_digest() -> None:
    assert PerceptualSettings(None, None, "viton").weights is None


def fingerprint(data: Data, row_changes: Any = None, **changes: Any) -> str:
    return state.fingerprint(
        "attend", row("attend", **row_changes or {}), settings("train", TrainSettings, **changes),
        data.to_train().tables(), CPU, None,
    )  # fmt: skip


VGG19 = perceptual(Path("here.pth"), "0" * 8)


@pytest.mark.parametrize(("change", "decides"), [
    ({"threads": 2}, True), ({"processes": 2}, True), ({"precision": "bf16"}, True), ({"augment": None}, True),
    ({"seed": 1}, True), ({"row_changes": {"items_per_step": 2}}, True), ({"perceptual": VGG19}, True),
    ({"workers": 2}, False), ({"cache_megabytes": 0}, False), ({"device": "auto"}, False), ({"log_every": 3}, False),
    ({"checkpoint_every": 3}, False), ({"keep_every": 1}, False), ({"sample_every": 1}, False),
    ({"sample_pairs": 1}, False), ({"row_changes": {"steps": 9}}, False),
])  # fmt: skip
def test_a_run_resumes_unless_what_decides_its_weights_changed(
    data: Data, change: dict[str, Any], decides: bool
) -> None:
    assert (fingerprint(data) != fingerprint(data, **change)) == decides


def test_of_vgg19_its_digest_and_layers_decide_and_not_where_it_lies(data: Data) -> None:
    there = fingerprint(data, perceptual=VGG19 | {"weights": "s3://there/vgg19.pth", "endpoint": "http://s3"})
    assert there == fingerprint(data, perceptual=VGG19)
    assert fingerprint(data, perceptual=VGG19 | {"sha256": "1" * 8}) != there
    assert fingerprint(data, perceptual=VGG19 | {"layers": "crn"}) != there


def place_of_search(data: Data) -> Path:
    """Where a search for joints in the first part keeps what it found."""
    images = data.images / "0"
    return Search(images, read_table(images / "images.csv", IMAGES), Path("work"), {})._place


def test_an_edit_of_the_code_that_does_not_raise_a_version_decides_nothing(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = shutil.copytree(Path(repose.__file__).parent, tmp_path / "repose")
    for name in ("report/page.py", "training/loop.py", "data/found.py"):
        with (package / name).open("a") as file:
            file.write("# an edit\n")
    (package / "new.py").write_text("")
    script = """if True:
        import sys, repose, test_train
        data = test_train.Data(*map(test_train.Path, sys.argv[1:]))
        print(repose.__file__, test_train.fingerprint(data), test_train.place_of_search(data))
    """
    folders = [tmp_path, Path(__file__).parent, Path(__file__).parents[1]]
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, data)], check=True, text=True, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
    )  # fmt: skip
    before = fingerprint(data), place_of_search(data)
    assert ran.stdout.split() == [str(package / "__init__.py"), *map(str, before)]
    for module, now in ((state, lambda: fingerprint(data)), (keypoint_cache, lambda: place_of_search(data))):
        monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
        assert now() not in before


def test_every_table_of_every_part_decides(data: Data, tmp_path: Path) -> None:
    copies = Data(*(shutil.copytree(folder, tmp_path / folder.name) for folder in data))
    for name in ("images/1/images.csv", "keypoints/1/keypoints.csv", "posemaps/1/posemaps.json", "split/items.csv"):
        before = fingerprint(copies)
        with (tmp_path / name).open("a") as table:
            table.write("\n")
        assert fingerprint(copies) != before, name


def test_the_parts_change_no_weight_and_no_sample(data: Data, runs: Path, tmp_path: Path) -> None:
    """The checkpoints hold the fingerprint of the tables, in which shards are named: their bytes differ by that alone."""
    other = make(tmp_path / "data", [0, 1, 2])
    assert files_in(other.split) == files_in(data.split)
    made, expected = files_in(train_tiny(other, tmp_path / "runs" / "attend")), files_in(runs / "attend")
    assert made.keys() == expected.keys()
    for name in made:
        if not name.endswith(".safetensors"):
            assert made[name] == expected[name], name
            continue
        tensors, same = safetensors.torch.load(made[name]), safetensors.torch.load(expected[name])
        assert tensors.keys() == same.keys()
        assert all(torch.equal(tensors[key], same[key]) for key in tensors), name


# ---- more steps ----

STEADY = {"optimiser": {"learning_rate": 0.002, "lr_halving_epochs": 0}}  # a rate that does not depend on the steps


def test_more_steps_extend_a_finished_run(data: Data, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = train_tiny(data, tmp_path / "run", row_changes=STEADY | {"steps": 2})
    shutil.rmtree(run)  # as DVC does with the outputs of a stage that it runs
    train_tiny(data, run, row_changes=STEADY | {"steps": 4}, extend=True)
    assert "train attend: going on from step 2 of 4" in capfd.readouterr().err
    assert read_json(run / "run.json")["extended"] == [{"step": 2, "planned": 2}]
    assert steps_of(run / "model.safetensors") == 4
    whole = train_tiny(data, tmp_path / "whole" / "run", row_changes=STEADY | {"steps": 4})
    assert read_json(whole / "run.json")["extended"] == []
    made, expected = files_in(run), files_in(whole)
    assert {name for name in expected if made[name] != expected[name]} == {"run.json"}
    assert unfinished(tmp_path / "work") == []


def test_an_interrupted_run_can_be_extended_and_interrupted_again(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train_interrupted(monkeypatch, data, run)
    for _ in range(2):
        train_interrupted(monkeypatch, data, run, row_changes={"steps": 8}, extend=True)
    train_tiny(data, run, row_changes={"steps": 8}, extend=True)
    assert read_json(run / "run.json")["extended"] == [{"step": 2, "planned": 5}]
    assert steps_of(run / "model.safetensors") == 8


@pytest.mark.parametrize("steps", [5, 3])
def test_a_finished_run_with_as_many_steps_or_more_is_trained_from_the_start(
    data: Data, tmp_path: Path, capfd: pytest.CaptureFixture[str], steps: int
) -> None:
    run = train_tiny(data, tmp_path / "run")
    train_tiny(data, run, row_changes={"steps": steps}, extend=True)
    assert "going on" not in capfd.readouterr().err
    again = train_tiny(data, tmp_path / "other" / "run", row_changes={"steps": steps})
    assert files_in(run) == files_in(again)


def test_without_extend_another_number_of_steps_starts_over(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal inputs give equal bytes, whatever was trained here before."""
    run = tmp_path / "run"
    train_tiny(data, run, row_changes={"steps": 2})
    train_interrupted(monkeypatch, data, run)
    train_tiny(data, run, row_changes={"steps": 8})
    again = train_tiny(data, tmp_path / "other" / "run", row_changes={"steps": 8})
    assert files_in(run) == files_in(again)


def test_an_unfinished_run_that_is_too_long_is_trained_from_the_start(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train_interrupted(monkeypatch, data, run)
    for steps in (2, 1):
        train_tiny(data, run, row_changes={"steps": steps})
        again = train_tiny(data, tmp_path / f"other {steps}" / "run", row_changes={"steps": steps})
        assert files_in(run) == files_in(again)


def test_of_each_system_the_state_of_one_finished_run_is_kept(data: Data, tmp_path: Path) -> None:
    for seed in (0, 1):
        train_tiny(data, tmp_path / "run", row_changes={"steps": 1}, seed=seed)
    assert len(list((tmp_path / "work" / "finished" / "attend").iterdir())) == 1


# ---- first weights from a checkpoint ----


def test_a_run_can_start_from_the_weights_of_a_checkpoint(data: Data, runs: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.safetensors"
    shutil.copy(runs / "attend" / "model.safetensors", given)
    still = {"steps": 1, "init": str(given), "optimiser": {"learning_rate": 1e-12}}
    run = train_tiny(data, tmp_path / "run", row_changes=still)
    assert read_json(run / "run.json")["init"] == {
        "sha256": hashlib.sha256(given.read_bytes()).hexdigest(), "system": "attend", "step": 5, "networks": ["generator"],
    }  # fmt: skip
    assert str(given).encode() not in (run / "model.safetensors").read_bytes()
    found, expected = (checkpoint._read_tensors(file) for file in (run / "model.safetensors", given))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9, msg=name)


def test_another_content_at_the_same_path_is_another_run(data: Data, runs: Path, tmp_path: Path) -> None:
    """The path decides nothing, so a moved file does not either."""
    names = []
    for folder, source in (
        ("a", "model.safetensors"),
        ("b", "model.safetensors"),
        ("b", "checkpoints/last.safetensors"),
    ):
        given = tmp_path / folder / "given.safetensors"
        given.parent.mkdir(exist_ok=True)
        shutil.copy(runs / "attend" / source, given)
        run = train_tiny(data, tmp_path / "run", row_changes={"steps": 1, "init": str(given)})
        names.append(checkpoint.read_about(run / "model.safetensors").fingerprint)
    assert names[0] == names[1] != names[2]


def test_networks_that_the_checkpoint_lacks_start_as_ever(data: Data, tmp_path: Path) -> None:
    alone = {"steps": 1, "losses": {"adversarial_image": 0.001, "adversarial_pose": 0, "perceptual": 0}}
    given = train_tiny(data, tmp_path / "given", "paper-m", row_changes=alone) / "model.safetensors"
    run = train_tiny(data, tmp_path / "run", "paper-m", row_changes={"steps": 1, "init": str(given)})
    assert read_json(run / "run.json")["init"]["networks"] == ["generator", "image"]


@pytest.mark.parametrize(("system", "changes", "message"), [
    ("paper-m", {}, "is of the kind attend, not paper. Name one of that kind"),
    ("attend", {"generator": {"width": 12, "blocks": 1}}, r"another architecture: \d+ tensor\(s\) of its network 'generator'"),
    ("attend", {"init": "nowhere.safetensors"}, "There is no checkpoint nowhere.safetensors"),
])  # fmt: skip
def test_a_checkpoint_to_start_from_that_does_not_fit(
    data: Data, runs: Path, tmp_path: Path, system: str, changes: dict[str, Any], message: str
) -> None:
    changes = {"init": str(runs / "attend" / "model.safetensors")} | changes
    with pytest.raises(ReposeError, match=message):
        train_tiny(data, tmp_path / "run", system, row_changes=changes)
