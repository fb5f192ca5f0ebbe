"""What is committed of the demo: its scores, and what they were made of."""

import json
import subprocess

import pytest
import yaml

from project import ROOT

BASELINES = ("copy source", "mean of sources")
OUTPUTS = ("data", "reports", "runs", "results")


def committed() -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = json.loads((ROOT / "metrics.json").read_text())["scores"]
    return scores


@pytest.mark.parametrize("system", ["paper-m", "attend"])
def test_the_committed_demo_beats_the_baselines_on_ssim(system: str) -> None:
    scores = committed()
    for protocol in ("ssim/pg2", "ssim/pose-gan", "ssim/win51"):
        assert all(scores[system][protocol] > scores[baseline][protocol] for baseline in BASELINES)


def test_the_committed_demo_carries_the_garment() -> None:
    scores = committed()
    assert scores["attend"]["garment-de"] <= 0.7 * scores["paper-m"]["garment-de"]
    assert all(scores["attend"]["garment-de"] < scores[baseline]["garment-de"] for baseline in BASELINES)


def test_the_committed_lock_is_of_the_committed_params() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, stage in lock.items():
        for key, value in stage["params"]["params.yaml"].items():
            now = params
            for part in key.split("."):
                now = now[part]
            assert value == now, f"{name} was run with another {key}: run `make demo` and commit dvc.lock"


def test_git_tracks_no_output_of_the_pipeline() -> None:
    tracked = subprocess.run(["git", "ls-files", *OUTPUTS], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    assert tracked.stdout == ""
