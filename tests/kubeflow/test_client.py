"""The client of Kubeflow's pipeline API against a stand-in (kfp_server), which is not Kubeflow and may be hostile."""

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from kfp_server import API, BEGAN, KfpServer, certificate, kfp_server
from stand_in import JSON

from repose.errors import ReposeError
from repose.kubeflow import endpoint as module
from repose.kubeflow.client import Order, Pace, schedule, status, submit, upload, wait
from repose.kubeflow.endpoint import Endpoint, UnansweredError, read_endpoint
from repose.kubeflow.run_status import TaskStatus, show_status

QUICK = Pace(first=0.001, growth=1.0, longest=0.001, patience=0.05)
VALUES = {"remote": "s3://a/b", "overrides": "{}"}


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server


@pytest.fixture
def endpoint(server: KfpServer) -> Endpoint:
    return Endpoint(server.address)


@pytest.fixture
def order(text: str) -> Order:
    return Order("tiny", VALUES, text)


@pytest.fixture
def started(endpoint: Endpoint, order: Order) -> str:
    return submit(endpoint, order)


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "repose"):
        yield caplog


# --- the endpoint, from the environment


def test_the_endpoint_comes_from_the_environment(tmp_path):
    (tmp_path / "ca.pem").touch()
    given = {"KFP_ENDPOINT": " https://kfp.org:8443/pipeline/ ", "KFP_NAMESPACE": "anna", "KFP_TOKEN": "s3cret\n"}
    found = read_endpoint(given | {"KFP_CA_CERT": str(tmp_path / "ca.pem")})
    assert found == Endpoint("https://kfp.org:8443/pipeline", "anna", "s3cret", tmp_path / "ca.pem")
    assert found.page("r-1") == "https://kfp.org:8443/pipeline/#/runs/details/r-1"
    assert "s3cret" not in repr(found)
    assert read_endpoint({"KFP_ENDPOINT": "http://localhost:8888"}) == Endpoint("http://localhost:8888")


@pytest.mark.parametrize(("name", "value", "message"), [
    ("KFP_ENDPOINT", "", "Set the environment variable KFP_ENDPOINT to the address"),
    ("KFP_ENDPOINT", "kfp.example.org", "KFP_ENDPOINT should be http"),
    ("KFP_ENDPOINT", "https://anna:s3cret@kfp", "KFP_ENDPOINT should be http"),
    ("KFP_ENDPOINT", "https://kfp/?token=s3cret", "KFP_ENDPOINT should be http"),
    ("KFP_TOKEN", "s3cret\nX-Header: 1", "KFP_TOKEN is not a bearer token"),
    ("KFP_CA_CERT", "/none.pem", r"KFP_CA_CERT should name a file of certificates \(PEM\), not /none\.pem"),
])  # fmt: skip
def test_malformed_variables_are_refused_and_secrets_not_shown(name, value, message):
    with pytest.raises(ReposeError, match=message) as error:
        read_endpoint({"KFP_ENDPOINT": "http://kfp"} | {name: value})
    assert "s3cret" not in str(error.value)


def test_a_token_is_only_sent_by_https_or_to_this_machine():
    for address in ("https://kfp.org", "http://LOCALHOST:8888/x", "http://127.0.0.1:80", "http://[::1]:8888"):
        assert read_endpoint({"KFP_ENDPOINT": address, "KFP_TOKEN": "s3cret"}).token == "s3cret"
    for address in ("http://kfp.org", "http://localhost.evil.com", "http://127.0.0.1.evil.com", "http://[::2]"):
        with pytest.raises(ReposeError, match=r"KFP_TOKEN is not sent to .* without enc") as error:
            read_endpoint({"KFP_ENDPOINT": address, "KFP_TOKEN": "s3cret"})
        assert "s3cret" not in str(error.value)


# --- starting runs


def test_a_run_is_the_compiled_text_with_its_values(server, endpoint, order):
    submit(endpoint, replace(order, experiment="nightly", service_account="sa", name="n"))
    method, path, _, body, _ = server.requests[-1]
    assert (method, path) == ("POST", f"{API}/runs")
    spec, platform = yaml.safe_load_all(order.text)
    assert body["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert body["runtime_config"]["parameters"] == VALUES
    assert (body["service_account"], body["display_name"]) == ("sa", "n")
    assert [e["display_name"] for e in server.experiments] == ["nightly"]


def test_names_that_are_not_given_are_the_pipelines_and_its_experiment_is_made_once(server, endpoint, order, started):
    made = datetime.strptime(server.latest["display_name"], "tiny %Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert datetime.now(UTC) - made < timedelta(minutes=5)
    assert submit(endpoint, order) != started
    assert [e["display_name"] for e in server.experiments] == ["tiny"]
    server.experiments[0]["storage_state"] = "ARCHIVED"
    with pytest.raises(ReposeError, match=r"The experiment 'tiny' at .* is archived: restore it there"):
        submit(endpoint, order)


def test_each_user_has_a_namespace(server, endpoint, order, text):
    server.namespaces = ["anna", "kubeflow"]
    with pytest.raises(ReposeError, match="has users: set KFP_NAMESPACE to your namespace"):
        submit(endpoint, order)
    with pytest.raises(ReposeError, match=r"\(403: .*not authorized in 'ben'\)\. .* or correct KFP_NAMESPACE \(ben\)"):
        submit(replace(endpoint, namespace="ben"), order)
    for name in server.namespaces:
        submit(replace(endpoint, namespace=name), order)
        upload(replace(endpoint, namespace=name), "tiny", text, "one", "")
    for made in (server.experiments, server.pipelines):
        assert [one["namespace"] for one in made] == server.namespaces


def test_a_server_that_is_too_old(server, endpoint, order):
    server.tag = "v2.14.0"
    with pytest.raises(ReposeError, match=r"is Kubeflow Pipelines v2\.14\.0; pipelines of repose need 2\.16 or later"):
        submit(endpoint, order)
    server.tag = "unknown"
    submit(endpoint, order)


def test_an_uploaded_version_is_run_by_its_name(server, endpoint, order, text):
    by_name = replace(order, text="", version="v1")
    with pytest.raises(ReposeError, match=r"There is no version 'v1' of tiny at .*; there are: none\. `repose kfp upl"):
        submit(endpoint, by_name)
    page = upload(endpoint, "tiny", text, "v1", "from a commit")
    assert page == f"{server.address}/#/pipelines/details/p-1/version/v-1"
    assert (server.versions[0]["description"], server.pipelines[0]["display_name"]) == ("from a commit", "tiny")
    with pytest.raises(ReposeError, match="tiny has a version v1 already"):
        upload(endpoint, "tiny", text, "v1", "")
    others = [{"display_name": f"x{number}", "pipeline_version_id": f"x{number}"} for number in range(150)]
    server.versions += [server.versions[0] | other for other in others]  # more than one page
    run = submit(endpoint, by_name)
    body = server.requests[-1].body
    assert body["pipeline_version_reference"] == {"pipeline_id": "p-1", "pipeline_version_id": "v-1"}
    assert "pipeline_spec" not in body
    assert [task.name for task in status(endpoint, run).tasks] == ["train@big", "evaluate", "run-record"]


def test_a_schedule_runs_at_the_times_of_a_cron_expression(server, endpoint, order):
    with pytest.raises(ReposeError, match=r"'0 3 \* \* 1' should have six fields, of which the first is seconds"):
        schedule(endpoint, order, "0 3 * * 1")
    assert schedule(endpoint, replace(order, service_account="sa"), "0 0 3 * * 1") == "r-1"
    (made,) = server.schedules
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == (1, True, "ENABLE")
    assert (made["runtime_config"]["parameters"], made["service_account"]) == (VALUES, "sa")
    assert made["display_name"] == "tiny 0 0 3 * * 1"


# --- the status of a run


def test_the_tasks_are_those_of_the_pipeline_in_its_order(endpoint, started):
    looks = [status(endpoint, started).tasks for _ in range(5)]
    assert [[task.name for task in look] for look in looks] == [["train@big", "evaluate", "run-record"]] * 5
    assert [[task.state for task in look] for look in looks] == [
        ["PENDING", "PENDING", "PENDING"], ["RUNNING", "PENDING", "PENDING"], ["SUCCEEDED", "RUNNING", "PENDING"],
        ["SUCCEEDED", "SUCCEEDED", "RUNNING"], ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"],
    ]  # fmt: skip
    done, running, waiting = looks[2]
    assert (done.start, done.end) == (BEGAN + timedelta(seconds=12), BEGAN + timedelta(seconds=18))
    assert (running.start, running.end) == (BEGAN + timedelta(seconds=22), None)
    assert waiting == TaskStatus("run-record", "PENDING")
    assert [task.seconds(BEGAN) for task in (done, running, waiting)] == [6, 0, None]  # the server's clock is ahead


def test_a_run_is_shown_and_failed_if_the_driver_of_a_task_did(server, endpoint, started, shown, capfd):
    server.fails, server.driver_fails, server.looks[started] = "train", True, 9
    server.reason = "out of\nmemory"
    ended = status(endpoint, started)
    assert (ended.state, ended.ended, ended.failed) == ("FAILED", True, ["train@big"])
    show_status(ended)
    assert shown.messages == [f"{ended.name} (r-1): failed, out of memory", endpoint.page(started)]
    lines = [line for line in capfd.readouterr().err.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert [row[:2] for row in rows] == [["train@big", "failed"], ["evaluate", "skipped"], ["run-record", "succeeded"]]
    show_status(replace(ended, tasks=(TaskStatus("train", "FAILED", message="[no] memory"),)))
    assert "[no] memory" in capfd.readouterr().err


# --- waiting for the end


def test_a_line_for_each_change(endpoint, started, shown):
    waited: list[float] = []
    wait(endpoint, started, pace=Pace(first=1.0, growth=2.0, longest=3.0), sleep=waited.append)
    assert waited == [1.0, 2.0, 3.0, 3.0]
    assert shown.messages == [
        "train@big: running", "train@big: succeeded, 6 s", "evaluate: running", "evaluate: succeeded, 6 s",
        "run-record: running", "run-record: succeeded, 6 s",
    ]  # fmt: skip


@pytest.mark.parametrize(("fails", "ends_as", "message"), [
    ("train", "SUCCEEDED", r"failed in train@big: no more memory"),  # as some runs with a failed task do
    (None, "CANCELED", "was cancelled: no more memory"),
])  # fmt: skip
def test_a_run_that_failed_or_was_cancelled(server, endpoint, started, fails, ends_as, message):
    server.fails, server.ends_as, server.reason, server.looks[started] = fails, ends_as, "no more memory", 9
    with pytest.raises(ReposeError, match=rf"The run .* \(r-1\) {message}\. Its tasks' logs: http"):
        wait(endpoint, started)


def test_interrupted_the_run_goes_on(endpoint, started, shown):
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(endpoint, started, sleep=interrupt)
    assert f"The run continues; see it with `repose kfp status r-1` or at {endpoint.page(started)}" in shown.messages


def test_an_endpoint_that_falters_is_asked_again_until_patience_ends(server, endpoint, started, shown):
    faults = [(502, "text/html", b"<html>\xe9</html>"), None, (503, "text/plain", b"starting")]

    def falter(_: float) -> None:
        server.troubles, faults[:] = faults[:1], faults[1:]

    assert wait(endpoint, started, pace=replace(QUICK, patience=60.0), sleep=falter).state == "SUCCEEDED"
    assert faults == server.troubles == []
    assert "at the moment (GET /apis/v2beta1/runs/r-1: 502). Try again later. Looking again for 60 s" in shown.text
    server.troubles = [(503, "text/plain", b"starting")] * 10_000  # from the first request on
    with pytest.raises(ReposeError, match=r"This lasted 0 s\. The run continues; see it with `repose kfp sta"):
        wait(endpoint, started, pace=QUICK)


def test_only_a_run_that_was_seen_goes_on(server, endpoint, started):
    def expire(_: float) -> None:
        server.token = "a new one"

    with pytest.raises(ReposeError, match=r"get a new token for this endpoint .* The run continues; see it with"):
        wait(replace(endpoint, token="s3cret"), started, sleep=expire)
    server.token = None
    with pytest.raises(ReposeError, match=r"refuses GET .*runs/r-9 \(404: .*Run r-9 not found\)\.$"):
        wait(endpoint, "r-9", pace=QUICK)


# --- endpoints that do not answer as they should


def test_a_token_goes_with_each_request_and_is_not_shown(server, endpoint, order):
    server.token = "s3cret"
    status(replace(endpoint, token="s3cret"), submit(replace(endpoint, token="s3cret"), order))
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer s3cret"}
    server.token = "a new one"
    with pytest.raises(ReposeError, match=r"\(401: .*\(the token\)\)\. .*expired: get a new token") as error:
        submit(replace(endpoint, token="s3cret"), order)
    assert "s3cret" not in str(error.value)  # the server repeats it
    with pytest.raises(ReposeError, match="set KFP_TOKEN to a bearer token"):
        submit(endpoint, order)


PAGE = b"<!doctype html>\n<HTML><title>Sign in \xe9</title></HTML>"
NOT_THE_API = (
    r"does not answer as the pipeline API does \(GET .*: {}\)\. Set KFP_END.* set KFP_TOKEN to a bearer token\.$"
)


@pytest.mark.parametrize(("trouble", "message"), [
    ((403, JSON, b'{"code": 7, "message": "Denied"}'), r"\(403: Denied\)\. The token's owner lacks permission, or"),
    ((200, "text/html", PAGE), NOT_THE_API.format(200)),
    ((404, JSON, b'{"detail": "Not Found"}'), NOT_THE_API.format(404)),
    ((200, JSON, b'{"run_details": {"task_details": 5}}'), "does not answer as the pipeline API does"),
    ((200, JSON, b'{"pipeline_spec": {"root": {"dag": 5}}}'), "does not answer as the pipeline API does"),
    ((400, JSON, b'{"code": 3, "message": "a\\u001b[31m\\nhttps://anna:s3cret@h/x"}'), r"\(400: a \[31m https://h/x\)"),
])  # fmt: skip
def test_an_answer_that_is_not_of_the_api(server, endpoint, trouble, message):
    server.troubles = [*[True] * 3, trouble]  # to the question for the run, after those of the connection
    with pytest.raises(ReposeError, match=message):
        status(endpoint, "r-1")


def test_a_server_s_refusal_is_shown(endpoint, order, text):
    with pytest.raises(ReposeError, match=r"refuses POST .*/runs \(400: parameter remote is not optional"):
        submit(endpoint, replace(order, values={}))
    with pytest.raises(ReposeError, match=r"refuses POST .*/upload_version \(400: .*unknown template format"):
        upload(endpoint, "tiny", "tasks: {}", "v1", "")


def test_no_answer(monkeypatch):
    monkeypatch.setattr(module, "_TIMES", (0.2, 0.2))
    with socket.socket() as silent, socket.socket() as nobody:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        nobody.bind(("127.0.0.1", 0))
        for other, why in ((silent, "timed out"), (nobody, "refused")):
            with pytest.raises(UnansweredError, match=rf"does not answer \(GET .*({why}).*\)\. Is KFP_ENDPOINT"):
                status(Endpoint(f"http://127.0.0.1:{other.getsockname()[1]}"), "r-1")


def test_a_certificate_of_ones_own(server, tmp_path, order):
    with pytest.raises(ReposeError, match=r"no trusted connection to https.*if it speaks plain HTTP, write http://"):
        status(Endpoint(server.address.replace("http://", "https://")), "r-1")
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate())
    with kfp_server(str(file)) as other:
        with pytest.raises(ReposeError, match=r"self.signed certificate.* set KFP_CA_CERT to the file"):
            status(Endpoint(other.address), "r-1")
        known = Endpoint(other.address, ca_cert=file)
        assert status(known, submit(known, order)).state == "PENDING"
