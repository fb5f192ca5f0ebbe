"""What is committed of the demo: its scores, and what they were made of."""

import json
import subprocess

import yaml

from project import ROOT
from repose.config import block, read_params
from repose.report.gates import GatesSettings
from repose.report.judge import compare
from repose.report.paired import changes_by_pair
from repose.report.scores_file import read_file

OF_PIPELINES = (
    "data", "reports", "runs", "results", "ablations/runs", "ablations/results", "figure/raw", "figure/run", "surface/run",
    "surface/model",
)  # fmt: skip
OUTPUTS = [f"{folder}/x" for folder in OF_PIPELINES]


def test_the_committed_demo_beats_the_baselines_and_carries_the_garment():
    scores = json.loads((ROOT / "metrics.json").read_text())["scores"]
    baselines = {name: scores.pop(name) for name in ("copy source", "mean of sources")}
    torso = {name: of["torso-ciede2000"] for name, of in (scores | baselines).items()}
    for baseline, of in baselines.items():
        for protocol in ("ssim/pg2", "ssim/gaussian11", "ssim/win51"):
            assert all(system[protocol] > of[protocol] for system in scores.values())
        assert min(torso.values()) < torso[baseline]
    assert min(torso.values()) <= 0.7 * torso["paper-m"]


def test_the_committed_demo_passes_its_gates_beside_the_baseline():
    gates = block(read_params(ROOT / "params.yaml"), "gates", GatesSettings, "params.yaml")
    base = read_file(ROOT / "baseline" / "metrics.json")
    found = compare(base, read_file(ROOT / "metrics.json"), gates)
    assert gates.baseline
    assert found.exit_code == 0, found.headline
    side = (base, ROOT / "baseline" / "pairs.csv")
    changes = changes_by_pair(side, side, gates).values()
    assert all(90 <= change.pairs <= 100 for change in changes)  # of 100, those with a torso


def test_the_committed_lock_is_of_the_committed_params():
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, stage in lock.items():
        for key, value in stage["params"]["params.yaml"].items():
            now = params
            for part in key.split("."):
                now = now[part]
            assert value == now, f"{name} was run with another {key}: run `make demo` and commit dvc.lock"


def test_no_yaml_that_a_tool_edits_has_an_alias():
    """`dvc exp run --set-param` of a block that rows share changes all of them."""
    listed = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.lock"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    )
    names = [name for name in listed.stdout.split() if name != "requirements.lock"]
    assert {"params.yaml", "table1/demo/street.yaml", "pipelines/environments/staging.yaml", "dvc.lock"} <= set(names)
    for name in names:
        for event in yaml.parse((ROOT / name).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            assert getattr(event, "anchor", None) is None, f"{name}: {event.start_mark}"


def test_git_ignores_the_outputs_of_the_pipelines_but_the_tables():
    asked = [*OUTPUTS, "ablations/table/x", "table1/table/x"]
    found = subprocess.run(["git", "check-ignore", *asked], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    assert found.stdout.split() == OUTPUTS
    tracked = subprocess.run(
        ["git", "ls-files", *OF_PIPELINES], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    )
    assert tracked.stdout == ""
