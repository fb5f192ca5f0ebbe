"""The demo on few mannequins and with few steps, by `dvc repro` and as the compiled pipeline."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import warm
from project import TINY, Project

pytest.importorskip("kfp")
CHANGES = TINY | {"download.mannequin.items": 24, "split.min_test_pairs": 4, "evaluate.pairs": 6}
OUTPUTS = ("data", "reports", "runs", "results")
pytestmark = pytest.mark.slow


def kfp(folder: Path, *arguments: str) -> str:
    """Standard output of a `repose kfp` command, which must succeed."""
    commands = Path(sys.executable).parent
    environment = warm.environment() | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    command = [commands / "repose", "kfp", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stages_run(output: str) -> list[str]:
    """The stages that `dvc repro` ran."""
    return re.findall("^Running stage '(.*)'", output, re.MULTILINE)


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("dvc"), CHANGES)


@pytest.fixture(scope="module", autouse=True)
def output(by_dvc: Project) -> str:
    """What the first `dvc repro` printed."""
    return by_dvc.dvc("repro")


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def by_kubeflow(tmp_path_factory: pytest.TempPathFactory, remote: Path) -> tuple[Project, str]:
    """Another clone in which the compiled pipeline ran, and the run."""
    project = Project(tmp_path_factory.mktemp("kubeflow"), CHANGES)
    subprocess.run(["git", "init", "--quiet"], cwd=project.folder, check=True)
    return project, kfp(project.folder, "run-local", "--runner", "subprocess", "--remote", str(remote)).strip()


def test_the_pipeline_ends_with_a_table_and_the_path_of_a_picture(by_dvc, output):
    table = output[output.index("Running stage 'evaluate'") :]
    for row in ("copy source", "mean of sources", "paper-m", "paper-m, 1 source", "surface", "surface-tuned, 1 source"):
        assert f" {row} " in table
    assert (by_dvc.folder / "results" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "The report: reports/run/report.html" in table
    assert (by_dvc.folder / "reports" / "run" / "report.html").read_bytes().endswith(b"</html>")


def test_the_compiled_pipeline_leaves_the_same_bytes_and_nothing_to_do(by_dvc, by_kubeflow, remote):
    project, run = by_kubeflow
    assert not (project.folder / "dvc.lock").exists()
    kfp(project.folder, "fetch", run, "--remote", str(remote))
    for name in ("dvc.lock", "metrics.json", "params.yaml"):
        assert (project.folder / name).read_bytes() == (by_dvc.folder / name).read_bytes()
    project.dvc("remote", "add", "--default", "store", str(remote))
    project.dvc("pull")
    assert project.dvc("status", "--json").strip() == "{}"
    assert project.files("runs", "results", "reports") == by_dvc.files("runs", "results", "reports")
    record = json.loads((remote / "kubeflow" / "runs" / run / "record.json").read_text())
    assert {stage["how"] for stage in record["stages"]} == {"run"}


def test_editing_a_system_trains_that_system_only(by_dvc):
    by_dvc.set(**{"systems.surface-tuned.steps": 4})
    trained = json.loads(by_dvc.dvc("status", "--json"))
    assert [stage for stage in trained if stage.startswith("train")] == ["train@surface-tuned"]
    by_dvc.set(**{"systems.surface-tuned.steps": CHANGES["systems.surface-tuned.steps"]})


def test_a_score_beyond_its_limit_ends_the_pipeline_without_a_card(by_dvc):
    by_dvc.set(gates__limits={"surface-tuned": {"ssim/pg2": {"min": 0.99}}})
    output = by_dvc.dvc("repro", code=255)
    assert stages_run(output) == ["report", "gates"]
    assert "is outside its limit: at least 0.99" in output
    assert "**beyond its limit**" in (by_dvc.folder / "reports" / "gates" / "gates.md").read_text()
    by_dvc.set(gates__limits={})
    assert "Stage 'gates' is cached - skipping run" in by_dvc.dvc("repro")
    card = (by_dvc.folder / "reports" / "card" / "surface-tuned" / "card.md").read_text()
    assert "Rendered by repose; Apache-2.0" in card
    assert "Gates: no regression in 4 scores, not compared with earlier ones." in card


def test_parts_are_run_by_themselves_and_a_left_over_is_not_read(by_dvc):
    before = by_dvc.files(*OUTPUTS)
    assert {name.split("/")[2] for name in before if name.startswith("data/keypoints/")} == {"0", "1"}
    shutil.rmtree(by_dvc.folder / "data" / "keypoints" / "1")
    lock = by_dvc.folder / "dvc.lock"
    entries = lock.read_bytes()
    lock.unlink()  # as on another machine: the result is found by its inputs alone
    output = by_dvc.dvc("repro", "--single-item", "keypoints@1")
    assert "Stage 'keypoints@1' is cached - skipping run, checking out outputs" in output
    assert by_dvc.files(*OUTPUTS) == before
    lock.write_bytes(entries)
    by_dvc.set(validate__parts=[0])
    assert stages_run(by_dvc.dvc("repro", "split")) == ["validate", "keypoints@0", "split"]
    after = by_dvc.files(*OUTPUTS)
    assert "data/keypoints/1/keypoints.csv" in after  # left over
    assert all(after[name] == before[name] for name in before if name.startswith("data/split/"))
    by_dvc.set(validate__parts=[0, 1])
    assert stages_run(by_dvc.dvc("repro")) == []
    assert by_dvc.files(*OUTPUTS) == before


def test_dvc_shows_metrics_and_plots(by_dvc):
    metrics = json.loads(by_dvc.dvc("metrics", "show", "--json"))
    scores = metrics[""]["data"]["metrics.json"]["data"]["scores"]
    assert set(scores["surface-tuned"]) >= {"ssim/pg2", "ssim/gaussian11", "torso-ciede2000"}
    by_dvc.dvc("plots", "show", "--out", "plots")
    page = (by_dvc.folder / "plots" / "index.html").read_text()
    assert all(f'"text": "{title}"' in page for title in ("scores", "training"))
    assert list((by_dvc.folder / "plots" / "static").glob("*picture.png"))
