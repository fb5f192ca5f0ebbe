"""The demo's pipeline on two processors, as far as their kernels differ: it ends well on both, and its scores are compared."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernels import LEVELS
from project import TINY, Project

CHANGES = TINY | {
    "download.mannequin.items": 16, "validate.parts": [0], "split.min_train_pairs": 20, "split.min_test_pairs": 4,
    "evaluate.pairs": 6, "train.sample_every": 0,
}  # fmt: skip
COMPARED = {"gates.baseline": True, "gates.metrics": {"ssim/pg2": {"better": "higher", "tolerance": 0.01}}}


def repro(folder: Path, monkeypatch: pytest.MonkeyPatch, level: dict[str, str], changes: dict[str, Any]) -> Project:
    project = Project(folder, changes, cold=True)
    with monkeypatch.context() as environment:
        for name, value in level.items():
            environment.setenv(name, value)
        project.dvc("repro")
    return project


@pytest.mark.slow
def test_the_scores_of_one_processor_are_a_baseline_for_another(tmp_path, monkeypatch):
    one = repro(tmp_path / "one", monkeypatch, LEVELS["avx2"], CHANGES)
    baseline = tmp_path / "baseline"
    baseline.mkdir()
    for path in ("metrics.json", "results/pairs.csv"):
        shutil.copy(one.folder / path, baseline)
    monkeypatch.setattr("project.BASELINE", baseline)
    other = repro(tmp_path / "other", monkeypatch, LEVELS["lowest"], CHANGES | COMPARED)
    assert other.files("data/raw", "data/images") == one.files("data/raw", "data/images")
    gates = json.loads((other.folder / "reports" / "gates" / "gates.json").read_text())
    assert (gates["outcome"], gates["uncompared"]) == ("no regression", None)
    assert {score["verdict"] for score in gates["scores"]} <= {"same", "better", "noise"}
    assert (one.folder / "runs/surface-tuned/model.safetensors").read_bytes() != (
        other.folder / "runs/surface-tuned/model.safetensors"
    ).read_bytes(), "the levels compute the same, so that this test says nothing"
