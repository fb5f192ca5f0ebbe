"""`repose kfp submit`, `status` and `fetch` as a user calls them, against a stand-in of Kubeflow's API (kfp_server)."""

from collections.abc import Iterator
from pathlib import Path

import foreign
import pytest
from compiled import edit
from kfp_server import KfpServer, kfp_server
from typer.testing import CliRunner, Result

from repose.cli import app
from repose.errors import ReposeError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    with kfp_server() as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.address)
        for name in ("KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"):
            monkeypatch.delenv(name, raising=False)
        yield server


@pytest.fixture
def here(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, with an environment."""
    monkeypatch.chdir(flowers)
    (flowers / "pipelines" / "environments").mkdir(parents=True)
    environment = f"remote: {flowers.parent}/there\nservice_account: gardener\n"
    (flowers / "pipelines" / "environments" / "here.yaml").write_text(environment)
    return flowers


def kfp(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["kfp", *arguments], catch_exceptions=True)


def error_of(*arguments: str) -> str:
    error = kfp(*arguments).exception
    assert isinstance(error, ReposeError)
    return str(error)


@pytest.mark.usefixtures("here")
def test_a_run_with_params_of_its_own_and_without_kubeflow_s_cache(server: KfpServer) -> None:
    where = ("--remote", "s3://flowers/dvc", "--endpoint", "http://minio:9000")
    done = kfp("submit", *where, "-P", "scale=-1e-05", "-P", "labels=[1]", "--no-cache")
    assert done.exit_code == 0, done.output
    assert server.latest.runtime_config.parameters == {
        "scale": "-1e-05", "labels": "[1]", "remote": "s3://flowers/dvc", "endpoint": "http://minio:9000",
    }  # fmt: skip
    assert server.latest.run_id in done.stdout.splitlines()
    assert f"{server.address}/#/runs/details/{server.latest.run_id}" in done.stderr
    components = server.latest.pipeline_spec["components"].values()
    (inner,) = (component["dag"] for component in components if "dag" in component)
    assert [task["cachingOptions"] for task in inner["tasks"].values()] == [{}, {}]
    shown = kfp("status", server.latest.run_id).stderr
    assert "count" in shown
    assert "judge" in shown


def test_where_the_remote_is(server: KfpServer, here: Path) -> None:
    assert "No remote of DVC is set. Give one with --remote" in error_of("submit")
    assert server.runs == {}
    foreign.dvc(here, "remote", "add", "--local", "--default", "store", "s3://mine/dvc")
    foreign.dvc(here, "remote", "modify", "--local", "store", "endpointurl", "http://here:9000")
    mine, there = ("s3://mine/dvc", "http://here:9000"), (f"{here.parent}/there", "")
    for arguments, expected in (([], mine), (["--remote", "store"], mine), (["-e", "here"], there)):
        assert kfp("submit", *arguments).exit_code == 0
        given = server.latest.runtime_config.parameters
        assert (given["remote"], given["endpoint"]) == expected
    assert server.latest.service_account == "gardener"
    assert f"{here.parent}/there has no record of a run 'run-1'" in error_of("fetch", "run-1", "-e", "here")
    for command in (["run-local", "--runner", "subprocess"], ["fetch", "run-1"]):
        told = error_of(*command, "--remote", "stor")
        assert "There is no remote 'stor' in DVC's configuration; there are: store. Name one, or an address" in told


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("scal=3", "it should be KEY=VALUE with the key of a single value of the params .* Did you mean 'scale'"),
        ("scale", "it should be KEY=VALUE"),
        ("scale=many", "--param scale should be a number such as 2, or null, not"),
    ],
)
def test_params_that_do_not_fit(server: KfpServer, param: str, message: str) -> None:
    told = error_of("submit", "--remote", "s3://a/b", "-P", param)
    assert all(part in told for part in message.split(" .* "))


def test_params_of_several_files_and_those_that_decide(
    server: KfpServer, fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(fair / "table" / "dvc.yaml", "[marks]", "[marks, ../verdict.txt]")
    monkeypatch.chdir(fair)
    submit = ("submit", "table/dvc.yaml", "--remote", "s3://a/b")
    told = error_of(*submit, "-P", "judge.seed=7")
    assert "judge.seed is in several files: write params.yaml:judge.seed or table/small.yaml:judge.seed." in told
    for key in ("judges", "table/params.yaml:judges"):
        told = error_of(*submit, "-P", f"{key}=[ann]")
        assert f"--param {key} decides which stages and params exist: set it in table/params.yaml and" in told
    assert not server.runs
    values = ("table/small.yaml:judge.seed=7", "judges.ann.steps=8", "params.yaml:judge.seed=9")
    assert kfp(*submit, *(option for value in values for option in ("-P", value))).exit_code == 0
    assert server.latest.runtime_config.parameters == {
        "remote": "s3://a/b", "endpoint": "", "table_small_judge_seed": "7", "table_small_judges_ann_steps": "8",
        "judge_seed": "9",
    }  # fmt: skip
    assert server.latest.pipeline_spec["pipelineInfo"]["name"] == "fair-table"


@pytest.mark.usefixtures("here")
def test_submit_and_status_need_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    for arguments in (["submit", "--remote", "s3://a/b"], ["status", "run"]):
        assert "KFP_ENDPOINT" in error_of(*arguments)
