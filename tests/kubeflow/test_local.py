"""The compiled pipeline of foreign projects on this machine, and `repose kfp` as a user has it."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import boto3
import foreign
import pytest
from docker.errors import ImageNotFound

import warm
from repose.errors import ReposeError
from repose.kubeflow import local
from repose.kubeflow.compiler import plan_for
from repose.kubeflow.project import read_project


def kfp(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What a `repose kfp` command printed to standard output and error; it must end with the exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "repose.cli", "kfp", *arguments], cwd=folder, check=False, text=True, capture_output=True,
        env={name: value for name, value in warm.environment().items() if not name.startswith("KFP_")},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_pipeline_ends_as_dvc_repro_of_its_file_would_end_it(fair):
    file, remote = "table/dvc.yaml", fair.parent / "remote"
    foreign.dvc(fair, "remote", "add", "--default", "store", str(remote))
    foreign.git(fair, "init", "-q")
    run = kfp(fair, "run-local", "--runner", "subprocess", "--remote", str(remote), file)[0].strip()
    assert not list(fair.rglob("dvc.lock"))
    foreign.dvc(fair, "repro", file)
    by_dvc = {path: path.read_bytes() for path in fair.rglob("dvc.lock")}
    assert set(by_dvc) == {fair / "dvc.lock", fair / "table" / "dvc.lock"}
    for path in by_dvc:
        path.unlink()
    kfp(fair, "fetch", run)
    assert {path: path.read_bytes() for path in fair.rglob("dvc.lock")} == by_dvc


@pytest.mark.slow
def test_a_run_over_s3_with_a_param_of_its_own_is_fetched(flowers, endpoint):
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="repose")
    at = ("--remote", "s3://repose/dvc", "--endpoint", endpoint)
    foreign.dvc(flowers, "remote", "add", "--default", "store", "s3://repose/dvc")
    foreign.dvc(flowers, "remote", "modify", "store", "endpointurl", endpoint)
    foreign.dvc(flowers, "push", "--quiet")
    foreign.git(flowers, "init", "-q")
    run = kfp(flowers, "run-local", "--runner", "subprocess", *at, "-P", "scale=3")[0].strip()
    kfp(flowers, "fetch", run, *at, "--force")
    assert "scale: 3" in (flowers / "params.yaml").read_text()
    assert json.loads((flowers / "score.json").read_text())["score"]["petals"] == 18


@pytest.mark.slow
@pytest.mark.usefixtures("remote")
def test_a_run_that_fails_says_where(flowers):
    (flowers / "judge.py").write_text("print('no flowers'); raise SystemExit(2)\n")
    foreign.git(flowers, "init", "-q")
    told = kfp(flowers, "run-local", "--runner", "subprocess", code=1)[1]
    assert "no flowers" in told
    assert "1 of 2 stages are not finished, first judge: Stage judge failed" in told


def test_docker_without_an_engine(flowers, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{flowers}/none.sock")
    assert not local.engine_answers()
    plan = plan_for(read_project(flowers), None)
    with pytest.raises(ReposeError, match="Docker is not running"):
        local.run_local(plan, remote=str(flowers), endpoint="", docker=True, values={})


@pytest.mark.parametrize(("uid", "user"), [(0, None), (1234, "1234:56")])
def test_containers_may_write_to_the_artifacts_and_the_remote_alone(tmp_path, monkeypatch, uid, user):
    monkeypatch.setattr(local, "engine_answers", lambda: True)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(os, "getgid", lambda: 56)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    remote = tmp_path / "remote"
    arguments = local._docker_runner(tmp_path, str(remote), "run-1").container_run_args
    assert arguments["user"] == user
    assert (arguments["read_only"], arguments["cap_drop"]) == (True, ["ALL"])
    assert [(mount["Source"], mount["Target"]) for mount in arguments["mounts"]] == [(str(remote), str(remote))]
    assert remote.is_dir()
    assert arguments["environment"]["AWS_ACCESS_KEY_ID"] == "made-up"
    assert arguments["environment"]["REPOSE_RUN"] == "run-1"
    assert local._docker_runner(tmp_path, "s3://bucket/repose", "run-1").container_run_args["mounts"] == []


def test_the_exit_code_of_a_container_is_never_lost_and_it_is_removed(capsys):
    client = mock.Mock()
    container = client.containers.run.return_value
    container.wait.return_value = {"StatusCode": 3}
    container.logs.return_value = [b"half a line, ", b"the rest\n"]
    assert local.run_container(client, "repose", ["true"], {"a": "b"}, read_only=True) == 3
    client.containers.run.assert_called_once_with("repose", ["true"], detach=True, volumes={"a": "b"}, read_only=True)
    assert capsys.readouterr().out == "half a line, the rest\n"
    assert container.mock_calls == [mock.call.logs(stream=True), mock.call.wait(), mock.call.remove(force=True)]


def test_an_image_that_docker_does_not_have():
    client = mock.Mock()
    client.containers.run.side_effect = ImageNotFound("pull access denied for flowers")
    with pytest.raises(ReposeError, match=r"cannot run the image flowers:latest: pull access denied .* --runner sub"):
        local.run_container(client, "flowers:latest", ["true"], {})


def test_kfp_runs_its_containers_by_that_name():
    from kfp.local.docker_task_handler import run_docker_container

    theirs, ours = (inspect.signature(f).parameters for f in (run_docker_container, local.run_container))
    assert [p for p in theirs if p != "container_run_args"] == [p for p in ours if p != "options"]


def test_sources_are_what_git_would_track(flowers):
    copy = flowers.parent / "copy"
    with pytest.raises(ReposeError, match="flowers is not a git repository: run `git init`"):
        local.copy_sources(flowers, copy)
    (flowers / "made").mkdir()
    (flowers / "made" / "petals.json").write_text("{}")
    (flowers / "secret").write_text("x")
    foreign.git(flowers, "init", "-q")
    (flowers / ".gitignore").write_text("/made\n/petals.csv\n/secret\n")
    (flowers / "alias").symlink_to(".dvc")
    local.copy_sources(flowers, copy)
    assert (copy / "alias" / "config").is_file()
    copied = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert {"dvc.yaml", "params.yaml", "count.py", "petals.csv.dvc", ".dvc/config"} <= copied
    assert not {"secret", "made/petals.json", "petals.csv"} & copied


def test_sources_in_a_submodule(flowers):
    """An image, whose Dockerfile copies the project's folder, has them too."""
    copy, library = flowers.parent / "copy", flowers.parent / "library"
    library.mkdir()
    (library / "shared.py").write_text("x")
    for folder in (flowers, library):
        foreign.git(folder, "init", "-q")
    foreign.git(library, "add", ".")
    foreign.git(library, "commit", "-qm", "x")
    foreign.git(flowers, "submodule", "--quiet", "add", str(library), "vendor")
    local.copy_sources(flowers, copy)
    assert (copy / "vendor" / "shared.py").read_text() == "x"
    assert (copy / "dvc.yaml").is_file()
    assert not (copy / "vendor" / ".git").exists()
