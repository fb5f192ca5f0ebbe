"""Which state a run resumes from, extended runs, and first weights from a checkpoint."""

import hashlib
import shutil
from typing import Any

import pytest
import torch
from killed import steps_of, the_work, train_interrupted

from mannequins import surface
from repose import checkpoint, systems
from repose.data.frame import Frame
from repose.data.records import read_json
from repose.errors import ReposeError
from repose.report.records import read_training
from repose.systems.learning.distributed import Rank
from repose.training import TrainSettings, loop, state
from tiny import HEIGHT, WIDTH, Data, files_in, make, row, settings, train_tiny, unfinished

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("outside_git")


def fingerprint(data: Data, row_changes: Any = None, **changes: Any) -> str:
    return state.fingerprint(
        "attend", row("attend", **row_changes or {}), settings("train", TrainSettings, **changes),
        data.to_train().tables(), CPU, None,
    )  # fmt: skip


VGG19 = {"weights": "here.pth", "sha256": "0" * 8, "layers": "patn"}


@pytest.mark.parametrize(("change", "decides"), [
    ({"threads": 2}, True), ({"processes": 2}, True), ({"precision": "bf16"}, True), ({"augment": None}, True),
    ({"seed": 1}, True), ({"row_changes": {"items_per_step": 2}}, True), ({"perceptual": VGG19}, True),
    ({"workers": 2}, False), ({"cache_megabytes": 0}, False), ({"device": "auto"}, False), ({"log_every": 3}, False),
    ({"checkpoint_every": 3}, False), ({"keep_every": 1}, False), ({"sample_every": 1}, False),
    ({"sample_pairs": 1}, False), ({"row_changes": {"steps": 9}}, False),
])  # fmt: skip
def test_a_run_resumes_unless_what_decides_its_weights_changed(data, change, decides):
    assert (fingerprint(data) != fingerprint(data, **change)) == decides


def test_of_vgg19_its_digest_and_layers_decide_and_not_where_it_lies(data):
    there = fingerprint(data, perceptual=VGG19 | {"weights": "s3://there/vgg19.pth", "endpoint": "http://s3"})
    assert there == fingerprint(data, perceptual=VGG19)
    assert fingerprint(data, perceptual=VGG19 | {"sha256": "1" * 8}) != there
    assert fingerprint(data, perceptual=VGG19 | {"layers": "crn"}) != there


def test_a_higher_version_of_the_code_is_another_run(data, monkeypatch):
    before = fingerprint(data)
    monkeypatch.setattr(state, "VERSION", state.VERSION + 1)
    assert fingerprint(data) != before


def test_every_table_of_every_part_decides(data, tmp_path):
    copies = Data(*(shutil.copytree(folder, tmp_path / folder.name) for folder in data))
    for name in ("images/1/images.csv", "keypoints/1/keypoints.csv", "posemaps/1/posemaps.json", "split/items.csv"):
        before = fingerprint(copies)
        with (tmp_path / name).open("a") as table:
            table.write("\n")
        assert fingerprint(copies) != before, name


def test_the_parts_change_no_weight_and_no_sample(data, runs, tmp_path):
    """The checkpoints hold the fingerprint of the tables, in which shards are named: their bytes differ by that alone."""
    other = make(tmp_path / "data", [0, 1, 2])
    made, expected = train_tiny(other, tmp_path / "runs" / "attend"), runs / "attend"
    differ = {name for name, content in files_in(made).items() if content != files_in(expected)[name]}
    assert differ == {"model.safetensors", "checkpoints/last.safetensors"}
    for name in differ:
        tensors, same = (checkpoint._read_tensors(run / name) for run in (made, expected))
        assert all(torch.equal(tensors[key], same[key]) for key in tensors | same), name


# ---- more steps ----

STEADY = {"optimiser": {"learning_rate": 0.002, "lr_halving_epochs": 0}}  # a rate that does not depend on the steps


def test_more_steps_extend_a_finished_run(data, tmp_path, capfd):
    run = train_tiny(data, tmp_path / "run", row_changes=STEADY | {"steps": 2})
    shutil.rmtree(run)  # as DVC does with the outputs of a stage that it runs
    train_tiny(data, run, row_changes=STEADY | {"steps": 4}, extend=True)
    assert "train attend: resuming from step 2 of 4" in capfd.readouterr().err
    assert read_json(run / "run.json")["extended"] == [{"step": 2, "planned": 2}]
    assert steps_of(run / "model.safetensors") == 4
    whole = train_tiny(data, tmp_path / "whole" / "run", row_changes=STEADY | {"steps": 4})
    assert read_json(whole / "run.json")["extended"] == []
    made, expected = files_in(run), files_in(whole)
    assert {name for name in expected if made[name] != expected[name]} == {"run.json"}
    assert unfinished(tmp_path / "work") == []


def test_an_interrupted_run_can_be_extended_and_interrupted_again(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train_interrupted(monkeypatch, data, run)
    for _ in range(2):
        train_interrupted(monkeypatch, data, run, row_changes={"steps": 8}, extend=True)
    train_tiny(data, run, row_changes={"steps": 8}, extend=True)
    assert read_json(run / "run.json")["extended"] == [{"step": 2, "planned": 5}]
    assert steps_of(run / "model.safetensors") == 8


def test_an_extension_that_was_given_up_leaves_nothing(data, tmp_path, monkeypatch):
    every = {"sample_every": 1, "keep_every": 1, "checkpoint_every": 9}
    run = train_tiny(data, tmp_path / "run", row_changes={"steps": 2}, **every)
    before = files_in(run)
    train_interrupted(monkeypatch, data, run, row_changes={"steps": 8}, extend=True, **every)
    train_tiny(data, run, row_changes={"steps": 2}, **every)
    assert files_in(run) == before


def test_files_that_a_user_put_beside_the_samples_do_not_keep_a_run_from_resuming(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train_interrupted(monkeypatch, data, run, sample_every=1, checkpoint_every=1)
    (the_work(run) / "samples" / "000002 copy.png").touch()
    train_tiny(data, run, sample_every=1, checkpoint_every=1)
    assert (run / "samples" / "000002 copy.png").is_file()


@pytest.mark.parametrize("steps", [5, 3])
def test_a_finished_run_with_as_many_steps_or_more_is_trained_from_the_start(data, tmp_path, capfd, steps):
    run = train_tiny(data, tmp_path / "run")
    train_tiny(data, run, row_changes={"steps": steps}, extend=True)
    assert "resuming" not in capfd.readouterr().err
    again = train_tiny(data, tmp_path / "other" / "run", row_changes={"steps": steps})
    assert files_in(run) == files_in(again)


def test_without_extend_another_number_of_steps_starts_over(data, tmp_path, monkeypatch):
    """Equal inputs give equal bytes, whatever was trained here before."""
    run = tmp_path / "run"
    train_tiny(data, run, row_changes={"steps": 2})
    train_interrupted(monkeypatch, data, run)
    train_tiny(data, run, row_changes={"steps": 8})
    again = train_tiny(data, tmp_path / "other" / "run", row_changes={"steps": 8})
    assert files_in(run) == files_in(again)


def test_an_unfinished_run_that_is_too_long_is_trained_from_the_start(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train_interrupted(monkeypatch, data, run)
    train_tiny(data, run, row_changes={"steps": 2}, extend=True)
    again = train_tiny(data, tmp_path / "other" / "run", row_changes={"steps": 2})
    assert files_in(run) == files_in(again)


# ---- first weights from a checkpoint ----


def test_a_run_can_start_from_the_weights_of_a_checkpoint(data, runs, tmp_path):
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


def test_a_run_of_no_steps_is_the_model_that_comes_with_repose(data, tmp_path):
    run = train_tiny(data, tmp_path / "run", "surface")
    record = read_json(run / "run.json")
    assert record["init"]["sha256"] == hashlib.sha256(surface.weights().read_bytes()).hexdigest()
    assert (record["steps"], record["images"]) == (0, 0)
    found, expected = (checkpoint._read_tensors(file) for file in (run / "model.safetensors", surface.weights()))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value.float()) for name, value in expected.items())
    training = read_training(run)
    assert training.curves == []


def test_the_model_that_comes_with_repose_trains_further(data, tmp_path):
    run = train_tiny(data, tmp_path / "run", "surface-tuned", row_changes={"steps": 2})
    found, expected = (checkpoint._read_tensors(file) for file in (run / "model.safetensors", surface.weights()))
    moved = max(float((found[name] - value.float()).abs().max()) for name, value in expected.items())
    assert 0 < moved < 0.01


def test_the_content_of_the_first_weights_decides_and_not_their_path(data, runs, tmp_path):
    names = []
    for folder, source in (("a", "model"), ("b", "model"), ("b", "checkpoints/last")):
        given = tmp_path / folder / "given.safetensors"
        given.parent.mkdir(exist_ok=True)
        shutil.copy(runs / "attend" / f"{source}.safetensors", given)
        run = train_tiny(data, tmp_path / "run", row_changes={"steps": 1, "init": str(given)})
        names.append(checkpoint.read_about(run / "model.safetensors").fingerprint)
    assert names[0] == names[1] != names[2]


def test_networks_that_the_checkpoint_lacks_start_as_ever(data, tmp_path):
    alone = {"steps": 1, "losses": {"adversarial_image": 0.001, "adversarial_pose": 0, "perceptual": 0}}
    given = train_tiny(data, tmp_path / "given", "paper-m", row_changes=alone) / "model.safetensors"
    run = train_tiny(data, tmp_path / "run", "paper-m", row_changes={"steps": 1, "init": str(given)})
    assert read_json(run / "run.json")["init"]["networks"] == ["generator", "image"]


def test_of_several_processes_the_first_says_what_it_starts_from(runs, capfd):
    chosen = row("attend", init=str(runs / "attend" / "model.safetensors"))
    for number in range(2):
        loop._load_init(systems.build(chosen, Frame(HEIGHT, WIDTH)), chosen, Rank(number, 2))
    assert capfd.readouterr().err.count("starting from") == 1


@pytest.mark.parametrize(("system", "changes", "message"), [
    ("paper-m", {}, "is of the kind attend, not paper. Give one of that kind"),
    ("attend", {"generator": {"width": 12, "blocks": 1}}, r"another architecture: \d+ tensor\(s\) of its network 'generator'"),
    ("attend", {"init": "~no-such-user/model"}, "There is no checkpoint ~no-such-user/model"),
    ("surface", {"init": None}, r"systems\.surface: steps is 0, and there is no init"),
])  # fmt: skip
def test_a_checkpoint_to_start_from_that_is_missing_or_does_not_fit(data, runs, tmp_path, system, changes, message):
    changes = {"init": str(runs / "attend" / "model.safetensors")} | changes
    with pytest.raises(ReposeError, match=message):
        train_tiny(data, tmp_path / "run", system, row_changes=changes)
