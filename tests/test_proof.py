"""The proof: the compiled pipeline leaves what `dvc repro` leaves, byte for byte, training included."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import warm
from project import TINY, Project

pytest.importorskip("kfp")
CHANGES = TINY | {"download.mannequin.items": 24, "split.min_test_pairs": 4, "evaluate.pairs": 6}
MORE = CHANGES | {"download.mannequin.items": 40}  # more photos, as many shards


def repose(folder: Path, *arguments: str, code: int = 0) -> str:
    """What a repose command printed to standard output; it must end with the exit code."""
    commands = Path(sys.executable).parent
    environment = warm.environment() | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [commands / "repose", *arguments], cwd=folder, env=environment, check=False, text=True, capture_output=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def run_local(project: Project, *arguments: str) -> str:
    """The name of a run of the compiled pipeline on this machine."""
    return repose(project.folder, "kfp", "run-local", "--runner", "subprocess", *arguments).strip()


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone in which `dvc repro` ran, each program by itself; those of the other runs start warm."""
    project = Project(tmp_path_factory.mktemp("dvc"), CHANGES, cold=True)
    project.dvc("repro")
    return project


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def by_kubeflow(tmp_path_factory: pytest.TempPathFactory, remote: Path) -> tuple[Project, str]:
    """Another clone in which the compiled pipeline ran, and the run."""
    project = Project(tmp_path_factory.mktemp("kubeflow"), CHANGES)
    return project, run_local(project, "--remote", str(remote))


def moved(remote: Path, run: str) -> dict[str, dict[str, int]]:
    record = json.loads((remote / "kubeflow" / "runs" / run / "record.json").read_text())
    return {stage["stage"]: stage["moved"] for stage in record["stages"]}


@pytest.mark.slow
def test_the_two_locks_are_the_same_bytes_and_nothing_is_left_to_do(
    by_dvc: Project, by_kubeflow: tuple[Project, str], remote: Path
) -> None:
    project, run = by_kubeflow
    assert not (project.folder / "dvc.lock").exists()
    repose(project.folder, "kfp", "fetch", run, "--remote", str(remote))
    for name in ("dvc.lock", "metrics.json", "params.yaml"):
        assert (project.folder / name).read_bytes() == (by_dvc.folder / name).read_bytes()
    project.dvc("remote", "add", "--default", "store", str(remote))
    project.dvc("pull")
    assert project.dvc("status", "--json").strip() == "{}"
    assert "Running stage" not in project.dvc("repro")
    assert project.files("runs", "results", "reports") == by_dvc.files("runs", "results", "reports")


@pytest.mark.slow
def test_a_second_run_finds_all_its_work(by_kubeflow: tuple[Project, str], remote: Path) -> None:
    project, first = by_kubeflow
    second = run_local(project, "--remote", str(remote))
    records = [json.loads((remote / "kubeflow" / "runs" / run / "record.json").read_text()) for run in (first, second)]
    assert {stage["how"] for stage in records[0]["stages"]} == {"run"}
    assert {stage["how"] for stage in records[1]["stages"]} == {"found in the run-cache"}
    assert records[0]["locks"] == records[1]["locks"]


@pytest.mark.slow
def test_the_same_over_s3_and_more_photos_are_no_more_objects(
    tmp_path: Path, endpoint: str, by_kubeflow: tuple[Project, str], remote: Path
) -> None:
    import boto3

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="repose")
    project, fresh = Project(tmp_path / "kubeflow", MORE), Project(tmp_path / "dvc", MORE)
    at = ("--remote", "s3://repose/dvc", "--endpoint", endpoint)
    run = run_local(project, *at)
    repose(project.folder, "kfp", "fetch", run, *at)
    fresh.dvc("repro")
    assert (project.folder / "dvc.lock").read_bytes() == (fresh.folder / "dvc.lock").read_bytes()
    body = boto3.client("s3", endpoint_url=endpoint).get_object(
        Bucket="repose", Key=f"dvc/kubeflow/runs/{run}/record.json"
    )
    over_s3: dict[str, Any] = {stage["stage"]: stage["moved"] for stage in json.loads(body["Body"].read())["stages"]}
    before = moved(remote, by_kubeflow[1])
    for stage, now in over_s3.items():  # two files of the same bytes are one object, so one more or less is chance
        assert abs(now["fetched"] - before[stage]["fetched"]) <= 1, stage
        assert abs(now["pushed"] - before[stage]["pushed"]) <= 1, stage
    assert over_s3["validate"]["fetched_bytes"] > 1.4 * before["validate"]["fetched_bytes"]


@pytest.mark.slow
def test_a_param_of_the_run(by_kubeflow: tuple[Project, str], remote: Path) -> None:
    project, _ = by_kubeflow
    run = run_local(project, "--remote", str(remote), "--param", "systems.attend.steps=2")
    record = json.loads((remote / "kubeflow" / "runs" / run / "record.json").read_text())
    ran = [stage["stage"] for stage in record["stages"] if stage["how"] == "run"]
    # what Kubeflow does again is what `dvc repro` does again
    assert ran == ["train@attend", "evaluate", "report", "gates", "card@paper-m", "card@attend"]
    assert yaml.safe_load(record["params"]["params.yaml"])["systems"]["attend"]["steps"] == 2
