"""The stage card: every figure on the page is one that a stage wrote."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from repose.config import block
from repose.data.frame import Frame
from repose.errors import ReposeError
from repose.stages.card import CardSettings, Folders, run
from repose.stages.download import TERMS
from tiny_system import save_system

SETTINGS = CardSettings("Trying it.", ("It guesses.", "It blurs."))
SOURCE = {
    "source": "deepfashion", "layout": "deepfashion", "terms": TERMS["deepfashion"], "version": None, "files": 1282,
    "bytes": 13155708, "origins": [{"address": "s3://fashion/deepfashion/"}],
}  # fmt: skip
SPLIT = {
    "mode": "pg2-like", "departures": ["tested on 51 of 281"], "seed": 3, "train": {"items": 268, "pairs": 2696},
    "test": {"items": 51, "pairs": 528},
}  # fmt: skip
RUN = {
    "system": "tiny", "steps": 0, "images": 5367, "seed": 7, "device": "cpu", "precision": "fp32", "processes": 1,
    "perceptual": None, "parameters": {"generator": 621031}, "extended": [], "init": None,
}  # fmt: skip
METRICS = {
    "schema": 2,
    "metrics": {},
    "protocol": {"split": "pg2-like", "pairs": 160, "size": "32x24", "crop": [0.0, 1.0, 2.0, 3.0]},
    "scores": {
        "copy source": {"ssim/pg2": 0.4411108126, "torso-ciede2000 pairs": 160.0},
        "tiny": {"ssim/pg2": 0.6723540464, "torso-ciede2000 pairs": 159.0},
        "tiny, 1 source": {"ssim/pg2": None, "torso-ciede2000 pairs": 159.0},
        "other": {"ssim/pg2": 0.123},
    },
}
GATES = {"outcome": "no regression", "base": "baseline/metrics.json", "scores": [1, 2, 3]}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    made = Folders(Path("lists"), Path("split"), Path("run"), Path("metrics.json"), Path("gates"))
    for folder in (made.lists, made.split, made.run, made.gates):
        folder.mkdir()
    save_system(made.run / "model.safetensors", "attend", photo_size=(256, 176))
    for path, content in (
        (made.lists / "source.json", SOURCE), (made.split / "split.json", SPLIT), (made.run / "run.json", RUN),
        (made.metrics, METRICS), (made.gates / "gates.json", GATES),
    ):  # fmt: skip
        path.write_text(json.dumps(content))
    return made


def page(files: Folders) -> str:
    model = (files.run / "model.safetensors").read_bytes()
    change(files.metrics, provenance={"systems": {"tiny": {"sha256": hashlib.sha256(model).hexdigest()}}})
    run(system="tiny", folders=files, card=Path("card"), settings=SETTINGS)
    return Path("card/card.md").read_text()


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_it_says_what_the_stages_wrote(files):
    card = page(files)
    model = (files.run / "model.safetensors").read_bytes()
    for fact in (
        "# tiny\n", "of the kind `attend`. From 1 to 4 photos",
        f"{len(model):,} bytes, SHA-256 `{hashlib.sha256(model).hexdigest()}`",
        "trained on photos of 256x176 px, and generates images of 32x24 px (height x width)", "Trying it.\n",
        "--model tiny@VERSION -o new.png", "target pose and of each photo",
        "deepfashion (layout deepfashion), 1,282 files, 13,155,708 bytes, from s3://fashion/deepfashion/.",
        "for non-commercial research and educational purposes only",
        "Split: pg2-like, seed 3; tested on 51 of 281. Train: 268 items, 2,696 pairs. Test: 51 items, 528 pairs.",
        "0 steps of 1 item(s), 5,367 images, seed 7, on cpu in fp32", "generator 621,031",
        "(trained without the perceptual term)",
        "| system | ssim/pg2 | torso-ciede2000 pairs |", "| copy source | 0.4411 | 160 |", "| tiny | 0.6724 | 159 |",
        "| tiny, 1 source | none | 159 |", "Protocol: split pg2-like, pairs 160, size 32x24, crop 0, 1, 2, 3.",
        "Gates: no regression in 3 scores, compared with baseline/metrics.json.", "- It guesses.\n- It blurs.\n",
    ):  # fmt: skip
        assert fact in card, fact
    for other in ("| other |", "mannequin", "Started from", "Extended"):
        assert other not in card


def test_its_images_have_one_size_unless_it_is_a_surface(files):
    assert "- It only generates images of 32x24 px.\n" in page(files)
    save_system(files.run / "model.safetensors", "surface")
    card = page(files)
    assert "only generates" not in card
    assert "- Its scores are those of images of 32x24 px. `--height` makes images of other heights, which were" in card


def test_without_earlier_scores_it_says_so(files):
    change(files.gates / "gates.json", base="nothing")
    assert "Gates: no regression in 3 scores, not compared with earlier ones.\n" in page(files)


def test_of_mannequins_it_says_that_it_is_of_no_people(files):
    change(files.lists / "source.json", source="mannequin", origins=[])
    card = page(files)
    assert "generates mannequins. Its scores say nothing about photos of people." in card
    assert "13,155,708 bytes.\n" in card
    save_system(files.run / "model.safetensors", "surface")  # copies from photos, also of people
    assert "- It was trained on rendered mannequins. Its scores say nothing about photos of people." in page(files)


def test_a_checkpoint_that_was_not_trained_here_is_not_said_to_be(files):
    change(files.run / "run.json", images=0)
    change(files.lists / "source.json", source="mannequin", origins=[])
    card = page(files)
    assert "It was trained" not in card
    assert "not trained here: its weights are those of another checkpoint. It is for photos of 256x176 px, and" in card
    assert "\n- Its scores say nothing about photos of people.\n" in card


def test_a_kind_that_needs_no_pose_of_its_photos_says_so(files):
    save_system(files.run / "model.safetensors", "pix2pix", max_sources=1)
    card = page(files)
    for fact in ("target pose, but not those of the photos", "photos of several sizes", "one photo of a garment"):
        assert fact in card
    frame = Frame(32, 24, "person")  # for which each photo's joints are needed
    save_system(files.run / "model.safetensors", "pix2pix", max_sources=1, frame=frame)
    assert "target pose and of each photo" in page(files)


def test_it_says_where_the_weights_started_and_that_the_run_was_extended(files):
    init = {"sha256": "ab" * 32, "system": "paper-m", "step": 1500, "networks": ["generator", "judge"]}
    change(files.run / "run.json", init=init, extended=[{"step": 1200, "planned": 2400}])
    assert (
        "- Started from the weights of generator, judge in a checkpoint of paper-m at step 1,500 (SHA-256 "
        f"{'ab' * 32}). Extended after step 1,200 of 2,400 planned.\n" in page(files)
    )


def test_what_the_gates_refused_has_no_card(files):
    change(files.gates / "gates.json", outcome="regression")
    with pytest.raises(ReposeError, match=r"The outcome of the gates is: regression \(gates\)"):
        page(files)
    assert not Path("card").exists()


def test_files_of_another_system_or_version_are_refused(files):
    with pytest.raises(ReposeError, match=r"run/model\.safetensors belongs to the system tiny, not big"):
        run(system="big", folders=files, card=Path("card"), settings=SETTINGS)
    change(files.run / "run.json", system="big")
    with pytest.raises(
        ReposeError, match=r"run/run\.json belongs to the system big, not tiny\. Run `dvc repro train@tiny`"
    ):
        page(files)
    change(files.run / "run.json", system="tiny")
    save_system(files.run / "model.safetensors", "surface")  # which nobody scored
    with pytest.raises(
        ReposeError, match=r"in metrics\.json are not of this run/model\.safetensors.* `dvc repro evaluate`"
    ):
        run(system="tiny", folders=files, card=Path("card"), settings=SETTINGS)
    files.metrics.write_text(json.dumps(METRICS | {"scores": {"copy source": {}}}))
    with pytest.raises(ReposeError, match=r"metrics\.json has no scores of tiny"):
        page(files)
    (files.split / "split.json").write_text('{"mode": "pg2"}')
    with pytest.raises(ReposeError, match=r"split\.json lacks departures, seed, train, test: another version"):
        page(files)


def test_a_card_without_use_or_limits_is_refused():
    for said in ({"use": " ", "limits": ["x"]}, {"use": "x", "limits": []}, {"use": "x", "limits": [""]}):
        with pytest.raises(ReposeError, match=r"card: use and limits should not be empty"):
            block({"card": said}, "card", CardSettings, "params.yaml")
