"""train on mannequins of 64x56 px, with networks of width 4 and 8 and five steps."""

import errno
import hashlib
import io
import multiprocessing.synchronize
import os
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from evaluating import photos_of
from killed import POINTS, on_step, steps_of, the_work, train_interrupted, train_until_killed
from PIL import Image
from torchvision.models import vgg19

from repose import checkpoint
from repose.data.batches import Steps
from repose.data.records import ITEMS, PAIRS, read_json, read_table
from repose.errors import DataError, ReposeError
from repose.generate import generate_jobs, jobs_of_pairs
from repose.storage import atomic
from repose.systems.learning.adversarial import AdversarialSystem
from repose.training import TrainSettings
from tiny import HEIGHT, SYSTEMS, WIDTH, Data, files_in, row, settings, train_tiny, unfinished

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("outside_git")


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_run_holds_what_is_promised_and_no_run_is_unfinished(runs, system):
    made = files_in(runs / system)
    curves = {name for name in made if name.startswith("live/plots/metrics/train/")}
    assert set(made) - curves == {
        "model.safetensors", "checkpoints/last.safetensors", "history.csv", "run.json", "live/metrics.json",
        "samples/000004.png", "samples/000005.png",
    }  # fmt: skip
    assert unfinished(runs / "work") == []
    assert steps_of(runs / system / "model.safetensors") == 5
    assert steps_of(runs / system / "checkpoints" / "last.safetensors") == 5


def images_of(data: Data, system: str) -> int:
    """How many images a run of five steps makes, counted batch by batch."""
    chosen, items = row(system), read_table(data.split / "items.csv", ITEMS)
    steps = Steps(
        photos_of(data), items[items["part"] == "train"], steps=5, seed=0, items_per_step=chosen.items_per_step,
        max_photos=chosen.max_photos, max_sources=chosen.max_sources, targets=chosen.targets, augment=None,
    )  # fmt: skip
    return sum(len(steps[step].target) for step in range(5))


def test_the_run_says_how_it_was_trained(data, runs):
    record = read_json(runs / "paper-m" / "run.json")
    system, _ = checkpoint.load(runs / "paper-m" / "model.safetensors", CPU)
    assert record == {
        "system": "paper-m", "steps": 5, "images": images_of(data, "paper-m"), "seed": 0, "device": "cpu",
        "precision": "fp32", "processes": 1, "perceptual": None, "extended": [], "init": None,
        "parameters": {name: sum(p.numel() for p in n.parameters()) for name, n in system.networks.items()},
    }  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_model_makes_images_by_itself(data, runs, tmp_path, system):
    alone = tmp_path / "elsewhere.safetensors"
    alone.write_bytes((runs / system / "model.safetensors").read_bytes())
    loaded, about = checkpoint.load(alone, CPU)
    assert (about.system, about.row, about.frame.height, about.frame.width) == (system, row(system), HEIGHT, WIDTH)

    items, pairs = read_table(data.split / "items.csv", ITEMS), read_table(data.split / "test-pairs.csv", PAIRS)
    (done,) = generate_jobs(loaded, jobs_of_pairs(pairs[:2], items, 4), photos_of(data), CPU)
    assert done.generated.shape == (2, HEIGHT, WIDTH, 3)
    assert done.generated.std() > 0


@pytest.mark.parametrize(("system", "terms"), [
    ("paper-m", {"d_image", "d_pose", "l1", "g_image", "g_pose"}), ("attend", {"l1", "warped", "synthesized"}),
])  # fmt: skip
def test_the_history_has_a_row_at_each_log_and_checkpoint(runs, system, terms):
    history = pd.read_csv(runs / system / "history.csv")
    assert list(history["step"]) == [2, 4, 5]
    assert set(history.columns) == {"step", *terms}
    assert np.isfinite(history.to_numpy()).all()


def test_a_sample_picture_has_a_row_per_pair(runs):
    with Image.open(runs / "attend" / "samples" / "000005.png") as picture:
        assert picture.width >= 4 * WIDTH
        assert 3 * HEIGHT < picture.height < 4 * HEIGHT


def test_a_run_replaces_an_earlier_one_of_another_seed(data, runs, tmp_path):
    run = tmp_path / "another name"
    train_tiny(data, run, seed=1)
    assert (run / "model.safetensors").read_bytes() != (runs / "attend" / "model.safetensors").read_bytes()
    (run / "samples" / "left over").write_text("of the earlier run")
    train_tiny(data, run)
    assert files_in(run) == files_in(runs / "attend")
    assert len(list((tmp_path / "work" / "finished" / "attend").iterdir())) == 1  # the state of the last run


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_started_again_it_ends_with_the_same_bytes(data, runs, tmp_path, point):
    run = tmp_path / "attend"
    train_until_killed(point, data, run, "attend", {})
    train_tiny(data, run)
    assert files_in(run) == files_in(runs / "attend")
    assert unfinished(tmp_path / "work") == []


@pytest.mark.parametrize("term", [
    {"perceptual": {"weights": None, "sha256": None, "layers": "patn", "network": "figure"}},
    {"augment": {"flip": 0.5, "rotation": 10, "crop": 0.9, "fill": "white"}, "keep_every": 2},
], ids=["with a perceptual term", "with every augmentation"])  # fmt: skip
def test_killed_between_two_checkpoints_it_ends_with_the_same_bytes(data, tmp_path, term):
    whole = train_tiny(data, tmp_path / "whole" / "paper-m", "paper-m", **term)
    run = tmp_path / "killed" / "paper-m"
    train_until_killed("between two checkpoints", data, run, "paper-m", term)
    train_tiny(data, run, "paper-m", **term)
    assert files_in(run) == files_in(whole)


def test_interrupted_by_ctrl_c_it_goes_on_and_leaves_what_other_settings_left(data, runs, tmp_path, monkeypatch, capfd):
    run = tmp_path / "attend"
    train_interrupted(monkeypatch, data, run, seed=1)
    left, place = files_in(the_work(run)), the_work(run)
    train_interrupted(monkeypatch, data, run)
    assert not run.exists()
    train_tiny(data, run)
    assert capfd.readouterr().err.count("resuming from step 2 of 5") == 1
    assert files_in(run) == files_in(runs / "attend")
    assert the_work(run) == place
    assert files_in(place) == left


def test_sample_pictures_change_no_weight(data, tmp_path):
    """pix2pix computes otherwise in evaluation mode, in which samples are made."""
    small = {"steps": 3, "generator": {"width": 4}, "discriminator": {"width": 4, "layers": 1}}
    runs = [
        train_tiny(data, tmp_path / str(every) / "run", "pix2pix", sample_every=every, row_changes=small)
        for every in (0, 1)
    ]
    one, other = ((run / "model.safetensors").read_bytes() for run in runs)
    assert one == other


def test_keep_every_keeps_checkpoints_and_sample_every_0_draws_nothing(data, tmp_path):
    run = train_tiny(data, tmp_path / "run", keep_every=2, checkpoint_every=5, sample_every=0)
    kept = {path.name: steps_of(path) for path in (run / "checkpoints").iterdir()}
    assert kept == {"000002.safetensors": 2, "000004.safetensors": 4, "last.safetensors": 5}
    assert not (run / "samples").exists()


def test_workers_and_a_cache_change_nothing(data, runs, tmp_path):
    assert files_in(train_tiny(data, tmp_path / "run", workers=2, cache_megabytes=0)) == files_in(runs / "attend")


def test_workers_that_the_system_refuses_are_a_message(data, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # of a /dev/shm that is mounted read-only

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)
    with pytest.raises(ReposeError, match=r"need space in .dev.shm and .* set train\.workers to 0"):
        train_tiny(data, tmp_path / "run", workers=1)


def test_an_error_in_a_worker_is_told_as_without_one(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "_items_of", mock.Mock(side_effect=DataError("photo.jpg is damaged.")))
    with pytest.raises(DataError, match=r"^photo\.jpg is damaged\.$"):
        train_tiny(data, tmp_path / "run", workers=1)


def test_a_worker_that_is_killed_is_a_message(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "_items_of", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(
        ReposeError, match=r"process that loads photos ended \(DataLoader .*\)\S* .* Lower train\.workers"
    ):
        train_tiny(data, tmp_path / "run", workers=1)


@pytest.mark.floats
def test_bf16_trains(data, runs, tmp_path):
    run = train_tiny(data, tmp_path / "run", "paper-m", precision="bf16")
    low, full = pd.read_csv(run / "history.csv"), pd.read_csv(runs / "paper-m" / "history.csv")
    assert not low.equals(full)
    np.testing.assert_allclose(low["l1"], full["l1"], rtol=0.1)
    assert read_json(run / "run.json")["precision"] == "bf16"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains(data, tmp_path, precision):
    run = train_tiny(data, tmp_path / "run", "paper-m", device="cuda", precision=precision)
    assert read_json(run / "run.json")["device"] == "cuda"
    assert np.isfinite(pd.read_csv(run / "history.csv").to_numpy()).all()


def test_a_loss_that_is_not_finite_stops_the_training(data, tmp_path, monkeypatch):
    on_step(monkeypatch, 3, lambda _, terms: terms.update(synthesized=torch.tensor(torch.nan)))
    with pytest.raises(ReposeError, match="attend stopped: the loss term synthesized became NaN at step 3"):
        train_tiny(data, tmp_path / "run")
    assert steps_of(the_work(tmp_path / "run") / "checkpoints" / "last.safetensors") == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "kept"), [(2, "No checkpoint was written yet"), (4, "The last good checkpoint is")])
def test_weights_that_are_not_finite_are_never_saved(data, tmp_path, monkeypatch, number, kept):
    def overflow(system: AdversarialSystem, _: Any) -> None:
        """As after a gradient that overflowed, though the loss was finite."""
        next(system.networks["generator"].parameters()).data.view(-1)[0] = float("nan")

    on_step(monkeypatch, number, overflow)
    message = f"weights of the network generator are not finite after step {number}. {kept}"
    with pytest.raises(ReposeError, match=message):
        train_tiny(data, tmp_path / "run")
    last = the_work(tmp_path / "run") / "checkpoints" / "last.safetensors"
    assert last.exists() == (number == 4)


def test_a_full_disk_leaves_the_earlier_run_as_it_was(data, runs, tmp_path, monkeypatch):
    run, real = tmp_path / "attend", atomic._flush_to_disk
    shutil.copytree(runs / "paper-m", run)
    before = files_in(run)
    for name in (".last.safetensors.", "model.safetensors", "history.csv"):

        def flush(file: Path, name: str = name) -> None:
            if file.name.startswith(name):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(file)

        with monkeypatch.context() as patched:
            patched.setattr(atomic, "_flush_to_disk", flush)
            with pytest.raises(ReposeError, match="No space left on the disk while writing"):
                train_tiny(data, run)
        assert files_in(run) == before
    train_tiny(data, run)  # the same command again
    assert files_in(run) == files_in(runs / "attend")


def test_data_that_do_not_fit_are_named(data, tmp_path):
    with pytest.raises(ReposeError, match=r"6 training item\(s\)"):
        train_tiny(data, tmp_path / "run", row_changes={"items_per_step": 7})
    split = tmp_path / "split"
    split.mkdir()
    for file in data.split.iterdir():
        (split / file.name).write_text(file.read_text().replace(".jpg", ".jpeg"))
    with pytest.raises(ReposeError, match="in the split have no image"):
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


@pytest.mark.parametrize("name", ["patn", "figure"])
def test_the_history_has_the_perceptual_term_and_the_model_not_its_network(data, runs, tmp_path, vgg, name):
    given = perceptual(*vgg) if name == "patn" else {**perceptual(None, None), "network": "figure"}
    run = train_tiny(data, tmp_path / "run", row_changes={"steps": 2}, perceptual=given)
    assert (pd.read_csv(run / "history.csv")["perceptual"] > 0).all()
    assert read_json(run / "run.json")["perceptual"] == name
    saved = checkpoint._read_tensors(run / "model.safetensors")
    assert saved.keys() == checkpoint._read_tensors(runs / "attend" / "model.safetensors").keys()


def test_without_weights_the_term_is_an_error_unless_nothing_needs_it(data, tmp_path):
    nothing, run = perceptual(None, None), tmp_path / "run"
    with pytest.raises(ReposeError, match=r"perceptual\.weights is null, but .* VGG19\. .* train\.perceptual to none"):
        train_tiny(data, run, row_changes={"steps": 1}, perceptual=nothing)
    assert list(tmp_path.iterdir()) == []
    train_tiny(data, run, row_changes={"steps": 1, "losses": {"perceptual": 0}}, perceptual=nothing)
    assert "perceptual" not in pd.read_csv(run / "history.csv")


@pytest.mark.parametrize(("changes", "message"), [
    ({"processes": 0}, r"train: processes should be at least 1, or gpu, not 0\."),
    ({"perceptual": perceptual(Path("vgg19.pth"), None)}, r"train\.perceptual: sha256 should be given with weights"),
    ({"perceptual": {**perceptual(Path("vgg19.pth"), "0" * 8), "network": "figure"}},
     r"weights is for VGG19, and network is figure: set weights to null"),
])  # fmt: skip
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ReposeError, match=message):
        settings("train", TrainSettings, **changes)
    assert settings("train", TrainSettings, processes="gpu").processes == "gpu"
