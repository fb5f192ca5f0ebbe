"""The compiled pipeline of foreign projects on this machine, and `repose kfp` as a user has it."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import boto3
import foreign
import pytest

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


def run_local(folder: Path, remote: Path, *arguments: str) -> str:
    output, _ = kfp(folder, "run-local", "--runner", "subprocess", "--remote", str(remote), *arguments)
    return output.strip()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), [("garden", "kitchen/dvc.yaml"), ("fair", "table/dvc.yaml")])
def test_a_pipeline_ends_as_dvc_repro_of_its_file_would_end_it(
    project: Callable[[str], Path], name: str, file: str
) -> None:
    folder = project(name)
    remote = folder.parent / "remote"
    foreign.dvc(folder, "remote", "add", "--default", "store", str(remote))
    foreign.dvc(folder, "push", "--quiet")
    run = run_local(folder, remote, file)
    assert not list(folder.rglob("dvc.lock"))
    foreign.dvc(folder, "repro", file)
    by_dvc = {path: path.read_bytes() for path in folder.rglob("dvc.lock")}
    assert set(by_dvc) == {folder / "dvc.lock", (folder / file).with_name("dvc.lock")}
    for path in by_dvc:
        path.unlink()
    kfp(folder, "fetch", run)
    assert {path: path.read_bytes() for path in folder.rglob("dvc.lock")} == by_dvc
    assert foreign.dvc(folder, "status", "--json", file).strip() == "{}"


@pytest.mark.slow
def test_over_s3_a_second_run_does_what_its_param_changes_as_dvc_repro_does(flowers: Path, endpoint: str) -> None:
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="repose")
    foreign.dvc(flowers, "remote", "add", "--default", "store", "s3://repose/dvc")
    foreign.dvc(flowers, "remote", "modify", "store", "endpointurl", endpoint)
    foreign.dvc(flowers, "push", "--quiet")
    at, how = ("--remote", "s3://repose/dvc", "--endpoint", endpoint), []
    for param in ((), ("-P", "precise=true")):
        run = kfp(flowers, "run-local", "--runner", "subprocess", *at, *param)[0].strip()
        body = client.get_object(Bucket="repose", Key=f"dvc/kubeflow/runs/{run}/record.json")["Body"]
        record = json.loads(body.read())
        how.append([stage["how"] for stage in record["stages"]])
    assert how == [["run"] * 2, ["run", "found in the run-cache"]]  # what count makes is the same
    foreign.dvc(flowers, "repro", "--quiet")
    (flowers / "params.yaml").write_text(record["params"]["params.yaml"])
    assert "precise: true" in record["params"]["params.yaml"]
    told = foreign.dvc(flowers, "repro")
    assert "Running stage 'count'" in told
    assert "Stage 'judge' didn't change" in told
    by_dvc = (flowers / "dvc.lock").read_bytes()
    (flowers / "dvc.lock").unlink()
    kfp(flowers, "fetch", run, *at, "--force")
    assert (flowers / "dvc.lock").read_bytes() == by_dvc


@pytest.mark.slow
@pytest.mark.usefixtures("remote")
def test_a_run_that_fails_says_where_and_leaves_its_record(flowers: Path) -> None:
    (flowers / "judge.py").write_text("print('no flowers'); raise SystemExit(2)\n")
    output, told = kfp(flowers, "run-local", "--runner", "subprocess", code=1)
    assert "no flowers" in told
    assert "1 of 2 stages are not finished, first judge: Stage judge failed" in told
    run = output.strip()
    record = json.loads((flowers.parent / f"remote/kubeflow/runs/{run}/record.json").read_text())
    assert [stage["state"] for stage in record["stages"]] == ["finished", "failed"]


def test_without_a_remote(flowers: Path) -> None:
    _, told = kfp(flowers, "run-local", code=1)
    assert "repose: Name DVC's remote with --remote" in told


def test_compile_and_check(flowers: Path) -> None:
    _, told = kfp(flowers, "compile", "--check", code=1)
    assert (
        "Not current: components/count/component.yaml, components/judge/component.yaml, pipelines/pipeline.yaml."
        in told
    )
    _, told = kfp(flowers, "compile")
    assert "Written: components/count/component.yaml" in told
    assert "are current" in kfp(flowers, "compile", "--check")[1]
    (flowers / "pipelines" / "environments").mkdir()
    (flowers / "pipelines" / "environments" / "here.yaml").write_text("image: a:1\n")
    assert "Written: pipelines/pipeline-here.yaml" in kfp(flowers, "compile", "-e", "here")[1]


@pytest.mark.parametrize(
    ("param", "message"),
    [
        (
            "scal=3",
            "--param scal=3: it should be KEY=VALUE with the key of a single value of the params that a stage lists; to set "
            "anything else, change the params file and compile again. Did you mean 'scale'",
        ),
        ("scale", "it should be KEY=VALUE"),
        ("scale=many", "--param scale should be a number such as 2, or null, not"),
    ],
)
def test_params_that_do_not_fit(flowers: Path, param: str, message: str) -> None:
    assert message in kfp(flowers, "run-local", "--remote", "./r", "--runner", "subprocess", "-P", param, code=1)[1]


def test_a_param_that_decides_which_stages_there_are(garden: Path) -> None:
    (garden / "dvc.yaml").write_text((garden / "dvc.yaml").read_text().replace("[spade,", "[kinds, spade,"))
    _, told = kfp(garden, "run-local", "--remote", "./r", "--runner", "subprocess", "-P", "kinds=[rose]", code=1)
    assert "--param kinds decides which stages and params there are: set it in tools.json and compile again." in told


def test_submit_and_status_need_an_endpoint(flowers: Path) -> None:
    for arguments in (["submit", "--remote", "s3://a/b"], ["status", "run"]):
        assert "KFP_ENDPOINT" in kfp(flowers, *arguments, code=1)[1]


def test_docker_without_an_engine(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{flowers}/none.sock")
    assert local.default_runner() is local.Runner.SUBPROCESS
    plan = plan_for(read_project(flowers), None)
    with pytest.raises(ReposeError, match="no Docker engine that answers"):
        local.run_local(plan, remote=str(flowers), endpoint="", runner=local.Runner.DOCKER, values={})


@pytest.mark.parametrize(("uid", "user"), [(0, None), (1234, "1234:56")])
def test_containers_may_write_to_the_artifacts_and_the_remote_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, user: str | None
) -> None:
    monkeypatch.setattr(local, "_engine_answers", lambda: True)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(os, "getgid", lambda: 56)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    remote = tmp_path / "remote"
    remote.mkdir()
    remote.chmod(0o1777)
    arguments = local._docker_runner(tmp_path, str(remote)).container_run_args
    assert arguments["user"] == user
    assert (arguments["read_only"], arguments["cap_drop"]) == (True, ["ALL"])
    assert [(mount["Source"], mount["Target"]) for mount in arguments["mounts"]] == [(str(remote), str(remote))]
    assert arguments["environment"]["AWS_ACCESS_KEY_ID"] == "made-up"
    assert local._docker_runner(tmp_path, "s3://bucket/repose").container_run_args["mounts"] == []


class Container:
    """One that ends before it is asked how, as docker-py shows it; a test sees whether it was removed."""

    def __init__(self, broken: bool) -> None:
        self.broken, self.removed = broken, False

    def logs(self, stream: bool) -> Iterator[bytes]:
        assert stream
        yield b"half a line, "
        if self.broken:
            raise ConnectionError("gone")
        yield b"the rest\n"

    def wait(self) -> dict[str, int]:
        assert not self.removed
        return {"StatusCode": 3}

    def remove(self, force: bool) -> None:
        self.removed = force


@pytest.mark.parametrize("broken", [False, True])
def test_the_exit_code_of_a_container_is_never_lost(capsys: pytest.CaptureFixture[str], broken: bool) -> None:
    container, asked = Container(broken), {}
    client = SimpleNamespace(
        containers=SimpleNamespace(run=lambda *what, **how: asked.update(how, what=what) or container)
    )
    given = (client, "repose", ["true"], {"a": "b"})
    if broken:
        with pytest.raises(ConnectionError):
            local.run_container(*given, read_only=True)
    else:
        assert local.run_container(*given, read_only=True) == 3
        assert capsys.readouterr().out == "half a line, the rest\n"
    assert container.removed
    assert asked == {"what": ("repose", ["true"]), "detach": True, "volumes": {"a": "b"}, "read_only": True}


def test_kfp_runs_its_containers_by_that_name() -> None:
    from kfp.local import docker_task_handler

    theirs, ours = (
        inspect.signature(f).parameters for f in (docker_task_handler.run_docker_container, local.run_container)
    )
    assert [p for p in theirs if p != "container_run_args"] == [p for p in ours if p != "options"]


def test_a_remote_that_only_root_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_engine_answers", lambda: True)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    of_root = os.stat_result((0o40755, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda *_, **__: of_root)
        with pytest.raises(ReposeError, match=r"The remote .*/remote is root's alone.*chown"):
            local._let_write(tmp_path / "remote")
    assert (tmp_path / "remote").is_dir()  # there to be given to somebody


def copied_sources(folder: Path) -> set[str]:
    """The files that an image of the project would hold."""
    copy = folder.parent / "copy"
    local.copy_sources(folder, copy)
    return {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}


def test_sources_are_what_git_would_track(flowers: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=flowers, check=True)
    (flowers / ".gitignore").write_text("/made\n/petals.csv\n/secret\n")
    (flowers / "secret").write_text("x")
    copied = copied_sources(flowers)
    assert {"dvc.yaml", "params.yaml", "count.py", "petals.csv.dvc", ".dvc/config"} <= copied
    assert not {"secret", "petals.csv"} & copied


def test_sources_without_git_are_all_but_outputs_and_what_dvc_ignores(flowers: Path) -> None:
    (flowers / "made").mkdir()
    (flowers / "made" / "petals.json").write_text("{}")
    (flowers / ".dvcignore").write_text("ignored\n")
    (flowers / "ignored").write_text("x")
    copied = copied_sources(flowers)
    assert {"dvc.yaml", "count.py", ".dvc/config"} <= copied
    assert not {"ignored", "made/petals.json", "petals.csv"} & copied


def test_a_remote_that_is_neither_name_nor_address(flowers: Path) -> None:
    for command in (["run-local", "--runner", "subprocess"], ["fetch", "run-1"]):
        _, told = kfp(flowers, *command, "--remote", "store", code=1)
        assert "There is no remote 'store' in DVC's configuration; there are: none. Name one, or an address" in told
