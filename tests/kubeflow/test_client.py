"""The client of Kubeflow's pipeline API against a stand-in (kfp_server), which is not Kubeflow."""

import io
import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server import BEGAN, KfpServer, RefusedError, kfp_server, read
from rich.console import Console

from repose import terminal
from repose.errors import ReposeError
from repose.kubeflow.client import Pace, Run, status, submit, wait
from repose.kubeflow.endpoint import Endpoint, UnansweredError, read_endpoint
from repose.kubeflow.run_status import TaskStatus, show_status, tasks_of

QUICK = Pace(first=0.001, growth=1.0, longest=0.001, patience=0.05)
VALUES = {"steps": 7, "rate": 0.25, "on": False, "name": "a b"}


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server


@pytest.fixture
def endpoint(server: KfpServer) -> Endpoint:
    return Endpoint(server.address)


@pytest.fixture
def started(endpoint: Endpoint, text: str) -> Run:
    return submit(endpoint, text=text, pipeline="tiny", values=VALUES)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], io.StringIO]:
    def make(is_terminal: bool) -> io.StringIO:
        shown = io.StringIO()
        console = Console(
            file=shown, force_terminal=is_terminal, width=100, highlight=False, soft_wrap=True, color_system=None
        )
        monkeypatch.setattr(terminal, "_console", console)
        return shown

    return make


def states(endpoint: Endpoint, run: Run) -> dict[str, str]:
    return {task.name: task.state for task in status(endpoint, run.id).tasks}


# --- the endpoint, from the environment


def test_the_endpoint_comes_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    given = {
        "KFP_ENDPOINT": " https://kfp.example.org:8443/pipeline/ ",
        "KFP_NAMESPACE": "anna",
        "KFP_TOKEN": "s3cret\n",
    }
    found = read_endpoint(given | {"KFP_CA_CERT": str(tmp_path / "ca.pem")})
    assert found == Endpoint("https://kfp.example.org:8443/pipeline", "anna", "s3cret", tmp_path / "ca.pem")
    assert found.page("r-1") == "https://kfp.example.org:8443/pipeline/#/runs/details/r-1"
    assert "s3cret" not in repr(found)
    assert read_endpoint({"KFP_ENDPOINT": "http://localhost:8888"}) == Endpoint("http://localhost:8888")


def test_without_an_endpoint_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    with pytest.raises(ReposeError, match="Set the environment variable KFP_ENDPOINT to its address"):
        read_endpoint()


@pytest.mark.parametrize(
    "text",
    [
        "kfp.example.org", "ftp://kfp.example.org", "https://", "https://anna:s3cret@kfp.example.org", "http://kfp:port",
        "https://kfp.example.org/?token=s3cret", "https://kfp.example.org/#/runs", "https://kfp.example .org", "http://[kfp",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ReposeError, match="KFP_ENDPOINT should be http") as error:
        read_endpoint({"KFP_ENDPOINT": text})
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("token", ["s3cret two", "s3cret\nX-Header: 1", "s3crét"])
def test_a_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ReposeError, match="KFP_TOKEN is no bearer token") as error:
        read_endpoint({"KFP_ENDPOINT": "http://kfp", "KFP_TOKEN": token})
    assert "s3cr" not in str(error.value)


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"KFP_CA_CERT names no file: .*none\.pem"):
        read_endpoint({"KFP_ENDPOINT": "http://kfp", "KFP_CA_CERT": str(tmp_path / "none.pem")})


# --- starting a run


def test_a_run_is_the_compiled_text_with_typed_values(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    run = submit(
        endpoint, text=text, pipeline="tiny", values=VALUES, experiment="nightly", service_account="sa", run_name="n"
    )
    assert run == Run("r-1", "n", f"{server.address}/#/runs/details/r-1", "PENDING")
    method, path, body = server.requests[-1]
    assert (method, path) == ("POST", "/apis/v2beta1/runs")
    spec, platform = yaml.safe_load_all(text)
    assert body["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert json.dumps(body["runtime_config"]["parameters"]) == json.dumps(VALUES)  # 7 is an int, False no string
    assert body["service_account"] == "sa"
    assert [e.display_name for e in server.experiments] == ["nightly"]
    assert body["experiment_id"] == server.experiments[0].experiment_id


def test_a_text_without_a_platform_spec_is_sent_as_it_is(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    spec, _ = yaml.safe_load_all(text)
    submit(endpoint, text=yaml.safe_dump(spec), pipeline="tiny", values=VALUES)
    assert server.requests[-1][2]["pipeline_spec"] == spec


def test_names_that_are_not_given_are_the_pipelines(
    server: KfpServer, endpoint: Endpoint, text: str, started: Run
) -> None:
    assert server.experiments[0].display_name == "tiny"
    made = datetime.strptime(started.name, "tiny %Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert datetime.now(UTC) - made < timedelta(minutes=5)
    assert "service_account" not in server.requests[-1][2]


def test_an_experiment_is_made_once(server: KfpServer, endpoint: Endpoint, text: str, started: Run) -> None:
    again = submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    assert again.id != started.id
    assert len(server.experiments) == 1
    other = submit(endpoint, text=text, pipeline="tiny", values=VALUES, experiment="tiny, too")
    assert server.runs[other.id].experiment_id == "e-2"


def test_an_archived_experiment_takes_no_run(server: KfpServer, endpoint: Endpoint, text: str, started: Run) -> None:
    server.experiments[0].storage_state = "ARCHIVED"
    with pytest.raises(
        ReposeError, match=r"The experiment 'tiny' at .* is archived: restore it there, or name another"
    ):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)


def test_each_user_has_a_namespace(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    server.multi_user = True
    with pytest.raises(
        ReposeError, match=r"refuses to list experiments \(400: .*multi-user.*\)\. Set KFP_NAMESPACE to your"
    ):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    submit(replace(endpoint, namespace="anna"), text=text, pipeline="tiny", values=VALUES)
    submit(replace(endpoint, namespace="ben"), text=text, pipeline="tiny", values=VALUES)
    assert [e.namespace for e in server.experiments] == ["anna", "ben"]


def test_a_namespace_where_there_are_none(endpoint: Endpoint, text: str) -> None:
    with pytest.raises(ReposeError, match=r"single-user.* Set KFP_NAMESPACE .*, and nowhere else"):
        submit(replace(endpoint, namespace="anna"), text=text, pipeline="tiny", values=VALUES)


def test_a_parameter_that_is_not_there_is_refused_before_anything_is_made(
    server: KfpServer, endpoint: Endpoint, text: str
) -> None:
    with pytest.raises(ReposeError, match=r"^The pipeline has no parameter 'stepz'\. Did you mean 'steps'\?$"):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES | {"stepz": "3"})
    assert server.requests == []


def test_a_value_that_has_no_default_is_asked_for(endpoint: Endpoint, text: str) -> None:
    with pytest.raises(ReposeError, match="The pipeline's parameters name have no default: give a value for each"):
        submit(endpoint, text=text, pipeline="tiny", values={"steps": 3})


def test_what_the_server_says_of_a_pipeline_is_shown(
    server: KfpServer, endpoint: Endpoint, text: str, started: Run
) -> None:
    said = {
        "error": "x",
        "code": 3,
        "message": "Failed to create a run:\n  InvalidInputError: unknown template format " + "x" * 999,
    }
    server.troubles = [(200, "application/json", b'{"experiments": [{"experiment_id": "e-1"}]}')]
    server.troubles += [(400, "application/json", json.dumps(said).encode())]
    with pytest.raises(
        ReposeError, match=r"refuses to start a run of tiny \(400: .* run: InvalidInputError: unknown"
    ) as error:
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    assert len(str(error.value)) < 700


def test_an_experiment_that_went_away(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    server.troubles = [(200, "application/json", b'{"experiments": [{"experiment_id": "gone"}]}')]
    with pytest.raises(
        ReposeError, match=r"The experiment is no longer there: try again. \(.*Experiment gone not found"
    ):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)


def test_the_stand_in_refuses_what_the_models_do_not_know() -> None:
    for body in ({"name": "x"}, {"display_name": 3}, {"runtime_config": {"parameter": {}}}, {"state": "DONE"}, []):
        with pytest.raises(RefusedError):
            read("V2beta1Run", body)
    assert read("V2beta1Run", {"display_name": "x"}).display_name == "x"


def test_nothing_is_printed_read_or_logged(
    endpoint: Endpoint, text: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://elsewhere.invalid")
    with caplog.at_level(logging.INFO):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
    assert list(tmp_path.iterdir()) == []


# --- how a run goes


def test_the_tasks_are_those_of_the_pipeline_in_its_order(server: KfpServer, endpoint: Endpoint, started: Run) -> None:
    looks = [states(endpoint, started) for _ in range(5)]
    assert [list(look) for look in looks] == [["train@big", "evaluate", "record"]] * 5
    assert [list(look.values()) for look in looks] == [
        ["PENDING", "PENDING", "PENDING"], ["RUNNING", "PENDING", "PENDING"], ["SUCCEEDED", "RUNNING", "PENDING"],
        ["SUCCEEDED", "SUCCEEDED", "RUNNING"], ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"],
    ]  # fmt: skip


def test_times_are_none_until_they_are_known(server: KfpServer, endpoint: Endpoint, started: Run) -> None:
    server.looks[started.id] = 2
    going = status(endpoint, started.id)
    done, running, waiting = going.tasks
    assert (going.state, going.ended, going.created, going.finished) == ("RUNNING", False, BEGAN, None)
    assert (done.start, done.end) == (BEGAN + timedelta(seconds=12), BEGAN + timedelta(seconds=18))
    assert (running.start, running.end) == (BEGAN + timedelta(seconds=22), None)
    assert waiting == TaskStatus("record", "PENDING")
    now = BEGAN + timedelta(seconds=60)
    assert [task.seconds(now) for task in going.tasks] == [6, 38, None]
    assert running.seconds(BEGAN) == 0  # the server's clock is ahead
    server.looks[started.id] = 4
    ended = status(endpoint, started.id)
    assert (ended.state, ended.ended, ended.finished) == ("SUCCEEDED", True, BEGAN + timedelta(seconds=40))


@pytest.mark.parametrize("driver_fails", [False, True])
def test_a_task_has_failed_also_where_its_driver_did(
    server: KfpServer, endpoint: Endpoint, started: Run, driver_fails: bool
) -> None:
    server.fails, server.driver_fails, server.looks[started.id] = "train", driver_fails, 9
    ended = status(endpoint, started.id)
    assert ended.state == "FAILED"
    assert ended.failed == ["train@big"]
    assert [task.state for task in ended.tasks] == ["FAILED", "SKIPPED", "SUCCEEDED"]


def test_a_run_of_an_uploaded_pipeline_has_its_tasks_too(server: KfpServer, endpoint: Endpoint, started: Run) -> None:
    server.by_reference = True
    assert list(states(endpoint, started)) == ["train@big", "evaluate", "record"]


def test_an_uploaded_pipeline_that_is_gone(server: KfpServer, endpoint: Endpoint) -> None:
    server.troubles = [
        (
            200,
            "application/json",
            b'{"run_id": "r", "pipeline_version_reference": {"pipeline_id": "p", "pipeline_version_id": "v"}}',
        ),
        (404, "application/json", b'{"code": 5, "message": "ResourceNotFoundError: v not found"}'),
    ]
    with pytest.raises(ReposeError, match="The pipeline of the run r-9 was deleted, so its tasks are not known"):
        status(endpoint, "r-9")


def test_a_run_is_shown(
    server: KfpServer, endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    shown = screen(False)
    server.fails, server.reason, server.looks[started.id] = "evaluate", "out of\nmemory", 9
    show_status(status(endpoint, started.id))
    lines = shown.getvalue().splitlines()
    assert lines[:2] == [f"{started.name} (r-1): failed, out of memory", started.address]
    rows = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines if "│" in line]
    assert rows == [["train@big", "succeeded", "6"], ["evaluate", "failed", "6"], ["record", "succeeded", "6"]]


def test_a_tasks_message_is_shown(endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]) -> None:
    found = status(endpoint, started.id)
    shown = screen(False)
    show_status(replace(found, tasks=(TaskStatus("train", "FAILED", message="[no] memory"),)))
    assert "[no] memory" in shown.getvalue()


def test_a_run_that_is_not_there_is_named(endpoint: Endpoint) -> None:
    with pytest.raises(ReposeError, match=r"There is no run r-9: `repose kfp submit` prints .*Run r-9 not found"):
        status(endpoint, "r-9")


@pytest.mark.filterwarnings("ignore:_NoneStep.value")  # DVC's use of pygtrie
def test_a_pipeline_that_repose_compiled_has_a_task_for_each_stage(tmp_path: Path) -> None:
    from dvc.repo import Repo

    from repose.kubeflow.compiler import pipeline_of, plan_for, text_of
    from repose.kubeflow.project import read_project

    Repo.init(str(tmp_path), no_scm=True)
    one = {"cmd": "true ${item}", "deps": ["data"], "outs": ["models/${item}"], "meta": typed("models/${item}")}
    stages = {
        "prepare": {"cmd": "true", "outs": ["data"], "meta": typed("data")},
        "fit": {"foreach": ["a", "b"], "do": one},
        "all": {"cmd": "true", "deps": ["models/a", "models/b"], "outs": ["result"], "meta": typed("result")},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    compiled = text_of(pipeline_of(plan_for(read_project(tmp_path), None)))
    spec = next(yaml.safe_load_all(compiled))
    assert list(tasks_of(spec).values()) == ["prepare", "fit@a", "fit@b", "all", "run-record"]


def typed(out: str) -> dict[str, Any]:
    """What a stage's meta says of the type of its output."""
    return {"kfp": {"outs": {out: "Dataset"}}}


# --- waiting for the end


def test_a_line_for_each_change_where_nobody_watches(
    endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    shown = screen(False)
    assert wait(endpoint, started.id, pace=QUICK).state == "SUCCEEDED"
    assert shown.getvalue().splitlines() == [
        "train@big: running", "train@big: succeeded, 6 s", "evaluate: running", "evaluate: succeeded, 6 s", "record: running",
        "record: succeeded, 6 s",
    ]  # fmt: skip


def test_a_live_table_on_a_terminal(endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]) -> None:
    shown = screen(True)
    wait(endpoint, started.id, pace=QUICK)
    last = shown.getvalue().split("seconds")[-1]
    assert last.count("succeeded") == 3
    assert "train@big: running" not in shown.getvalue()


def test_looks_come_less_often_as_time_goes(
    endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    waited: list[float] = []
    wait(endpoint, started.id, pace=Pace(first=1.0, growth=2.0, longest=3.0), sleep=waited.append)
    assert waited == [1.0, 2.0, 3.0, 3.0]


def test_a_run_that_failed_ends_with_the_tasks_that_did(
    server: KfpServer, endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    server.fails, server.reason = "train", "no more memory"
    with pytest.raises(ReposeError) as error:
        wait(endpoint, started.id, pace=QUICK)
    assert str(error.value) == (
        f"The run {started.name} (r-1) failed in train@big: no more memory. Its tasks' logs: {started.address}"
    )


def test_a_run_that_was_cancelled(
    server: KfpServer, endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    server.cancel_after = 2
    with pytest.raises(ReposeError, match=r"The run .* \(r-1\) was cancelled\. Its tasks' logs: "):
        wait(endpoint, started.id, pace=QUICK)


def test_the_time_is_up(endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]) -> None:
    screen(False)
    with pytest.raises(
        ReposeError, match=r"not ended within 0 s\. The run goes on; see it with `repose kfp status r-1` or"
    ):
        wait(endpoint, started.id, timeout=0.0, pace=QUICK)


def test_the_last_wait_is_no_longer_than_the_time_that_is_left(
    endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    waited: list[float] = []
    wait(endpoint, started.id, timeout=60.0, pace=Pace(first=1e6, longest=1e6), sleep=waited.append)
    assert all(0 < seconds <= 60 for seconds in waited)


def test_interrupted_the_run_goes_on(endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    shown = screen(False)
    with pytest.raises(KeyboardInterrupt):
        wait(endpoint, started.id, sleep=interrupt)
    assert f"The run goes on; see it with `repose kfp status r-1` or at {started.address}" in shown.getvalue()


def test_an_endpoint_that_falters_is_asked_again(
    server: KfpServer, endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    shown = screen(False)
    server.troubles = [(502, "text/html", b"<html>\xe9</html>"), None, (503, "text/plain", b"starting")]
    assert wait(endpoint, started.id, pace=replace(QUICK, patience=60.0)).state == "SUCCEEDED"
    said = [line for line in shown.getvalue().splitlines() if "Looking again for 60 s" in line]
    assert len(said) == 1
    assert "does not work at the moment (to show the run r-1: 502). Try again later." in said[0]
    assert server.troubles == []


def test_patience_ends(
    server: KfpServer, endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    server.troubles = [(503, "text/plain", b"")] * 10_000
    with pytest.raises(
        ReposeError, match=r"It was so for 0 s\. The run goes on; see it with `repose kfp status r-1`"
    ) as error:
        wait(endpoint, started.id, pace=QUICK)
    assert not isinstance(error.value, UnansweredError)


def test_a_token_that_expires_while_waiting(
    server: KfpServer, endpoint: Endpoint, started: Run, screen: Callable[[bool], io.StringIO]
) -> None:
    def expire(_: float) -> None:
        server.token = "a new one"

    screen(False)
    with pytest.raises(ReposeError, match=r"the token in KFP_TOKEN has expired .* The run goes on; see it with"):
        wait(replace(endpoint, token="s3cret"), started.id, sleep=expire)


def test_a_run_that_is_not_there_does_not_go_on(endpoint: Endpoint) -> None:
    with pytest.raises(ReposeError, match="There is no run r-9") as error:
        wait(endpoint, "r-9", pace=QUICK)
    assert "goes on" not in str(error.value)


# --- endpoints that do not answer as they should


def test_a_token_goes_with_each_request(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    server.token = "s3cret"
    known = replace(endpoint, token="s3cret")
    run = submit(known, text=text, pipeline="tiny", values=VALUES)
    status(known, run.id)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer s3cret"}


def test_an_expired_token(server: KfpServer, endpoint: Endpoint, text: str, caplog: pytest.LogCaptureFixture) -> None:
    server.token = "a new one"
    with pytest.raises(
        ReposeError, match=r"refuses to list experiments \(401: .*\): the token in KFP_TOKEN has expired"
    ) as error:
        submit(replace(endpoint, token="s3cret"), text=text, pipeline="tiny", values=VALUES)
    assert "s3cret" not in str(error.value) + caplog.text  # the server repeats it
    assert "get a new one" in str(error.value)
    with pytest.raises(ReposeError, match="set KFP_TOKEN to a bearer token"):
        status(endpoint, "r-1")


@pytest.mark.parametrize("namespace", [None, "anna"])
def test_a_token_without_the_right(server: KfpServer, endpoint: Endpoint, namespace: str | None) -> None:
    server.troubles = [(403, "application/json", b'{"code": 7, "message": "PermissionDenied"}')]
    where = " in the namespace anna" if namespace else ""
    with pytest.raises(
        ReposeError, match=rf"\(403: PermissionDenied\)\. .* may not do this{where}, or the token has expired"
    ):
        status(replace(endpoint, namespace=namespace), "r-1")


@pytest.mark.parametrize(("code", "kind"), [(200, "text/html"), (404, "text/html"), (200, "application/json")])
def test_an_endpoint_that_answers_html(server: KfpServer, endpoint: Endpoint, code: int, kind: str) -> None:
    server.troubles = [(code, kind, b"<!doctype html>\n<HTML><title>Sign in \xe9</title></HTML>")]
    with pytest.raises(ReposeError) as error:
        status(endpoint, "r-1")
    assert str(error.value) == (
        f"{server.address} is not the pipeline API: it answers with a web page, such as a login ({code}). Set KFP_ENDPOINT to "
        "the address of Kubeflow Pipelines, so that KFP_ENDPOINT/apis/v2beta1/healthz answers with JSON. If it wants a login "
        "first: set KFP_TOKEN to a bearer token."
    )


def test_an_endpoint_that_redirects_to_a_login(server: KfpServer, endpoint: Endpoint) -> None:
    server.troubles = [(302, "text/html", b"")]
    with pytest.raises(
        ReposeError, match=r"redirects to https://dex\.example\.org/auth instead of .*: set KFP_TOKEN"
    ) as error:
        status(endpoint, "r-1")
    assert "s3cret" not in str(error.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "body"),
    [(404, b'{"code": 5, "message": "Not Found", "details": []}'), (404, b"404 page not found"), (200, b"ok")],
)
def test_an_address_without_the_api(server: KfpServer, endpoint: Endpoint, code: int, body: bytes) -> None:
    server.troubles = [(code, "application/json", body)]
    with pytest.raises(
        ReposeError, match=rf"is not the pipeline API: it answers with something else \({code}\)\. Set KFP_EN"
    ):
        status(endpoint, "r-1")


def test_another_server_that_speaks_json(server: KfpServer, endpoint: Endpoint) -> None:
    server.troubles = [(200, "application/json", b'{"hello": "world"}')]
    with pytest.raises(ReposeError, match="answers, but not as the pipeline API does"):
        status(endpoint, "r-1")


def test_an_answer_that_is_no_run(server: KfpServer, endpoint: Endpoint) -> None:
    server.troubles = [(200, "application/json", b'{"run_id": "r-1", "created_at": "yesterday"}')]
    with pytest.raises(
        ReposeError, match=r"answer of .* cannot be read \(to show the run r-1: Failed to parse `yesterday`"
    ):
        status(endpoint, "r-1")


def test_an_error_within_the_server(server: KfpServer, endpoint: Endpoint) -> None:
    server.troubles = [(500, "application/json", b'{"code": 13, "message": "InternalServerError: database"}')]
    with pytest.raises(ReposeError, match=r"refuses to show the run r-1 \(500: InternalServerError: database\)\."):
        status(endpoint, "r-1")


def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(
        UnansweredError, match=r"does not answer \(to show the run r-1: Connection refused\)\. Is KFP_ENDPOINT"
    ):
        status(Endpoint(address), "r-1")
    assert caplog.text == ""


def test_a_lost_connection(server: KfpServer, endpoint: Endpoint) -> None:
    server.troubles = [None]
    with pytest.raises(UnansweredError, match=r"does not answer \(to show the run r-1: Remote end closed connection"):
        status(endpoint, "r-1")


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(UnansweredError, match=r"The host kfp\.invalid is not known here \(.+\)\. Correct KFP_ENDPOINT"):
        status(Endpoint("http://kfp.invalid"), "r-1")


def test_plain_http_behind_https(server: KfpServer) -> None:
    with pytest.raises(ReposeError, match=r"no trusted connection to https.*if it speaks plain HTTP, write http://"):
        status(Endpoint(server.address.replace("http://", "https://")), "r-1")


def test_a_certificate_of_ones_own(tmp_path: Path, text: str) -> None:
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate())
    with kfp_server(str(file)) as server:
        with pytest.raises(
            ReposeError, match=r"no trusted connection .*self.signed certificate.* set KFP_CA_CERT to the file"
        ):
            status(Endpoint(server.address), "r-1")
        known = Endpoint(server.address, ca_cert=file)
        run = submit(known, text=text, pipeline="tiny", values=VALUES)
        assert status(known, run.id).state == "PENDING"


def certificate() -> bytes:
    """A certificate for 127.0.0.1 that signs itself, with its key (PEM)."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, address = datetime.now(UTC), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    )
    made = made.add_extension(x509.SubjectAlternativeName([address]), critical=True)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
