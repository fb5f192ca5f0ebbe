"""`repose kfp submit`, `schedule`, `upload`, `status` and `fetch` as a user calls them, against a stand-in of Kubeflow."""

import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import foreign
import pytest
from compiled import edit
from kfp_server import KfpServer, inner, kfp_server
from typer.testing import CliRunner, Result

from project import ROOT
from repose.cli import app
from repose.errors import ReposeError

AT = ("--remote", "s3://a/b")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    with kfp_server() as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.address)
        for name in ("KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"):
            monkeypatch.delenv(name, raising=False)
        yield server


@pytest.fixture
def here(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, which exposes a param, with an environment."""
    monkeypatch.chdir(flowers)
    (flowers / "pipelines" / "environments").mkdir(parents=True)
    (flowers / "pipelines" / "base.yaml").write_text("expose: {scale: null}\n")
    environment = f"remote: {flowers.parent}/there\nservice_account: gardener\n"
    (flowers / "pipelines" / "environments" / "here.yaml").write_text(environment)
    return flowers


def kfp(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["kfp", *arguments], catch_exceptions=True)


def done(*arguments: str) -> Result:
    result = kfp(*arguments)
    assert result.exit_code == 0, result
    return result


def error_of(*arguments: str) -> str:
    error = kfp(*arguments).exception
    assert isinstance(error, ReposeError), error
    return str(error)


def given(server: KfpServer) -> dict[str, Any]:
    return dict(server.latest["runtime_config"]["parameters"])


@pytest.mark.usefixtures("here")
def test_a_run_with_params_of_its_own_without_kubeflow_s_cache_to_its_end(server):
    where = ("--remote", "s3://flowers/dvc", "--endpoint", "http://minio:9000")
    result = done("submit", *where, "-P", "scale=-1e-05", "-P", "labels=[1]", "-P", "precise=true", "--no-cache")
    parameters = given(server)
    assert json.loads(parameters.pop("overrides")) == {"labels": "[1]", "precise": "true"}
    assert parameters == {"scale": "-1e-05", "remote": "s3://flowers/dvc", "endpoint": "http://minio:9000"}
    assert result.stdout.split() == [server.latest["run_id"]]
    assert f"{server.address}/#/runs/details/{server.latest['run_id']}" in result.stderr
    components = inner(server.latest["pipeline_spec"])["components"].values()
    (tasks,) = (component["dag"]["tasks"] for component in components if "dag" in component)
    assert [task["cachingOptions"] for task in tasks.values()] == [{}, {}]
    shown = done("status", server.latest["run_id"]).stderr
    assert all(name in shown for name in ("count", "judge", "run-record"))
    server.fails, server.looks[server.latest["run_id"]] = "count", 9
    assert "Failed: count. The logs: http" in error_of("status", server.latest["run_id"])


@pytest.mark.usefixtures("here")
def test_a_run_that_failed_before_its_first_task_has_failed(server):
    run = done("submit", *AT).stdout.strip()
    server.ends_as = "FAILED"
    assert f"Failed: {server.latest['display_name']}. The logs: http" in error_of("status", run)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("at", "shown"), [
    (("-e", "here"), "-e here"), ((*AT, "--endpoint", "http://m:90"), "--remote s3://a/b --endpoint http://m:90"),
])  # fmt: skip
def test_the_command_that_fetches_a_run_names_its_remote(server, at, shown):
    server.ends_as = "SUCCEEDED"
    result = done("submit", "--wait", *at)
    assert f"`repose kfp fetch {result.stdout.strip()} {shown}` brings its results here." in result.stderr


def test_where_the_remote_is(server, here):
    assert "No remote of DVC is set. Give one with --remote" in error_of("submit")
    assert server.runs == {}
    foreign.dvc(here, "remote", "add", "--local", "--default", "store", "s3://mine/dvc")
    foreign.dvc(here, "remote", "modify", "--local", "store", "endpointurl", "http://here:9000")
    mine, there = ("s3://mine/dvc", "http://here:9000"), (f"{here.parent}/there", "")
    for arguments, expected in (([], mine), (["--remote", "store"], mine), (["-e", "here"], there)):
        done("submit", *arguments)
        assert (given(server)["remote"], given(server)["endpoint"]) == expected
    assert server.latest["service_account"] == "gardener"
    assert f"{here.parent}/there has no record of a run 'run-1'" in error_of("fetch", "run-1", "-e", "here")
    told = error_of("fetch", "run-1", "--remote", "s3://flowers/dvc", "--endpoint", "minio:9000")
    assert told == "The endpoint 'minio:9000' should read like http://host:port."
    told = error_of("fetch", "run-1", "--remote", "stor")
    assert "There is no remote 'stor' in DVC's configuration; there are: store. Name one, or an address" in told


@pytest.mark.parametrize(("param", "message"), [
    ("scal=3", "/params.yaml has no key 'scal'. Did you mean 'scale'?"),
    ("idle=3", "--param idle: no stage of this pipeline uses it, so it would change nothing. They use params of"),
    ("scale", "--param scale: it should be KEY=VALUE, such as train.seed=3."),
    ("scale=many", "--param scale should be a number such as 2, or null, not 'many'."),
])  # fmt: skip
def test_params_that_do_not_fit(server, here, param, message):
    edit(here / "params.yaml", "precise: false", "precise: false\nidle: 1")
    told = error_of("submit", *AT, "-P", param)
    assert message in told
    assert not server.runs


def test_a_param_of_a_command_that_no_stage_lists(server, here):
    edit(here / "params.yaml", "precise: false", "precise: false\nrate: 0.1")
    edit(here / "dvc.yaml", "python3 judge.py", "python3 judge.py ${rate}")
    done("submit", *AT, "-P", "rate=0.5")
    assert json.loads(given(server)["overrides"]) == {"rate": "0.5"}


def test_params_of_several_files_and_those_that_decide(server, fair, monkeypatch):
    edit(fair / "table" / "dvc.yaml", "[marks]", "[marks, ../verdict.txt]")
    monkeypatch.chdir(fair)
    submit = ("submit", "table/dvc.yaml", *AT)
    told = error_of(*submit, "-P", "table/params.yaml:judges=[ann]")
    assert "--param table/params.yaml:judges decides which stages and params exist, so a run cannot" in told
    told = error_of(*submit, "-P", "judge.seed=1", "-P", "judge={seed: 2, strict: true}")
    assert "--param judge.seed and --param judge set the same value. Leave out one of them." in told
    assert not server.runs
    values = ("table/small.yaml:judge.seed=7", "table/small.yaml:judges.ann.steps=8", "judge.seed=9")
    done(*submit, *(option for value in values for option in ("-P", value)))
    assert json.loads(given(server)["overrides"]) == {
        "table/small.yaml:judge.seed": "7", "table/small.yaml:judges.ann.steps": "8", "judge.seed": "9",
    }  # fmt: skip
    assert inner(server.latest["pipeline_spec"])["pipelineInfo"]["name"] == "fair-table"


@pytest.mark.parametrize("arguments", [
    ("submit", *AT, "--version", "v1", "--no-cache"), ("submit", *AT, "--version", "v1", "--image", "a:1"),
    ("compile", "--check", "-e", "here"),
])  # fmt: skip
def test_options_that_exclude_each_other(server, here, arguments):
    assert "Leave out one of" in error_of(*arguments)
    assert not server.runs
    assert not (here / "pipelines" / "pipeline-here.yaml").exists()


def test_a_version_is_named_by_the_commit_and_can_be_scheduled(server, here):
    git = partial(foreign.git, here)
    assert "no git history. Commit, or give a --name" in error_of("upload")
    git("init", "-q", "..")  # of a repository with other folders
    git("add", ".")
    git("commit", "-qm", "x")
    new = here / "new.py"
    new.touch()  # which an image would have
    assert "uncommitted changes" in error_of("upload")
    new.rename(here.parent / "new.py")  # which none would have
    commit = git("rev-parse", "HEAD")
    assert done("upload").stdout.strip() == commit
    assert f"flowers has a version {commit} already" in error_of("upload")
    done("upload", "--name", "two", "--image", "a:1")
    assert [version["display_name"] for version in server.versions] == [commit, "two"]
    assert server.versions[1]["description"] == "a:1, two"
    result = done("schedule", "0 0 3 * * 1", *AT, "--version", "two", "-e", "here", "-P", "scale=9")
    (made,) = server.schedules
    assert result.stdout.strip() == made["recurring_run_id"]
    assert made["pipeline_version_reference"]["pipeline_version_id"] == "v-2"
    assert (made["runtime_config"]["parameters"]["scale"], made["service_account"]) == ("9", "gardener")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("package", "command", "code"), [
    ("dvc.repo", ("compare", "run:x"), 2), ("kfp_server_api", ("kfp", "status", "x"), 1),
])  # fmt: skip
def test_a_package_that_is_not_installed_is_named(monkeypatch, said_by, package, command, code):
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    monkeypatch.setenv("KFP_ENDPOINT", "http://localhost:1")
    monkeypatch.setitem(sys.modules, package, None)
    _, said = said_by(*command, code=code)
    assert f"This needs {package}, which is not installed." in said
    assert "pip install '.[pipeline]'" in said
