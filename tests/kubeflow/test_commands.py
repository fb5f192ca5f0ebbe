"""`repose kfp submit`, `status` and `fetch` as a user calls them, against a stand-in of Kubeflow's API (kfp_server)."""

from collections.abc import Iterator
from pathlib import Path

import foreign
import pytest
from kfp_server import KfpServer, kfp_server
from typer.testing import CliRunner, Result

from repose.cli import app
from repose.errors import ReposeError


@pytest.fixture
def server(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    monkeypatch.chdir(flowers)
    with kfp_server() as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.address)
        for name in ("KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"):
            monkeypatch.delenv(name, raising=False)
        yield server


def kfp(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["kfp", *arguments], catch_exceptions=True)


def test_a_run_with_params_of_its_own(server: KfpServer) -> None:
    done = kfp(
        "submit", "--remote", "s3://flowers/dvc", "--endpoint", "http://minio:9000", "-P", "scale=5", "-P", "labels=[1]"
    )
    assert done.exit_code == 0, done.output
    assert server.latest.runtime_config.parameters == {
        "scale": "5", "labels": "[1]", "remote": "s3://flowers/dvc", "endpoint": "http://minio:9000",
    }  # fmt: skip
    assert server.latest.run_id in done.stdout.splitlines()
    assert f"{server.address}/#/runs/details/{server.latest.run_id}" in done.stderr


def test_without_kubeflow_s_cache(server: KfpServer) -> None:
    assert kfp("submit", "--remote", "s3://a/b", "--no-cache").exit_code == 0
    spec = server.latest.pipeline_spec
    (inner,) = (component["dag"] for component in spec["components"].values() if "dag" in component)
    assert [task["cachingOptions"] for task in inner["tasks"].values()] == [{}, {}]


def test_the_remote_and_its_endpoint_are_those_of_the_project(server: KfpServer, flowers: Path) -> None:
    foreign.dvc(flowers, "remote", "add", "--local", "--default", "store", "s3://mine/dvc")
    foreign.dvc(flowers, "remote", "modify", "--local", "store", "endpointurl", "http://here:9000")
    for arguments in ([], ["--remote", "store"]):
        assert kfp("submit", *arguments).exit_code == 0
        given = server.latest.runtime_config.parameters
        assert (given["remote"], given["endpoint"]) == ("s3://mine/dvc", "http://here:9000")


def test_an_environment_says_remote_and_service_account(server: KfpServer, flowers: Path) -> None:
    (flowers / "pipelines" / "environments").mkdir(parents=True)
    (flowers / "pipelines" / "environments" / "here.yaml").write_text(
        "remote: s3://here/dvc\nservice_account: gardener\n"
    )
    done = kfp("submit", "-e", "here")
    assert done.exit_code == 0, done.output
    assert server.latest.service_account == "gardener"
    assert server.latest.runtime_config.parameters["remote"] == "s3://here/dvc"


def test_status_shows_the_tasks(server: KfpServer) -> None:
    kfp("submit", "--remote", "s3://a/b")
    shown = kfp("status", server.latest.run_id).stderr
    assert "count" in shown
    assert "judge" in shown


def test_no_remote_at_all(server: KfpServer) -> None:
    error = kfp("submit").exception
    assert isinstance(error, ReposeError)
    assert "Name DVC's remote with --remote" in str(error)
    assert server.runs == {}


def test_fetch_looks_where_the_environment_says(server: KfpServer, flowers: Path) -> None:
    (flowers / "pipelines" / "environments").mkdir(parents=True)
    (flowers / "pipelines" / "environments" / "here.yaml").write_text(f"remote: {flowers.parent}/there\n")
    error = kfp("fetch", "run-1", "-e", "here").exception
    assert f"{flowers.parent}/there has no record of a run 'run-1'" in str(error)
