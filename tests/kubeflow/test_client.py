"""The client of Kubeflow's pipeline API against a stand-in (kfp_server), which is not Kubeflow."""

import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server import BEGAN, KfpServer, RefusedError, kfp_server, read

from repose.errors import ReposeError
from repose.kubeflow.client import Pace, Run, status, submit, wait
from repose.kubeflow.endpoint import Endpoint, UnansweredError, read_endpoint
from repose.kubeflow.run_status import TaskStatus, show_status, tasks_of

QUICK = Pace(first=0.001, growth=1.0, longest=0.001, patience=0.05)
VALUES = {"steps": 7, "rate": 0.25, "on": False, "name": "a b"}
JSON = "application/json"
E_1 = (200, JSON, b'{"experiments": [{"experiment_id": "e-1"}]}')


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
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "repose"):
        yield caplog


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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KFP_ENDPOINT", "", "Set the environment variable KFP_ENDPOINT to the address"),
        *(
            ("KFP_ENDPOINT", value, "KFP_ENDPOINT should be http")
            for value in (
                "kfp.example.org", "ftp://kfp", "https://", "https://anna:s3cret@kfp", "http://kfp:port", "http://[kfp",
                "https://kfp/?token=s3cret", "https://kfp/#/runs", "https://kfp .org",
            )
        ),
        *(
            ("KFP_TOKEN", value, "KFP_TOKEN is not a bearer token")
            for value in ("s3cret two", "s3cret\nX-Header: 1", "s3cretä")
        ),
        ("KFP_CA_CERT", "/none.pem", r"KFP_CA_CERT should name a file of certificates \(PEM\), not /none\.pem"),
    ],
)  # fmt: skip
def test_malformed_variables_are_refused_and_secrets_not_shown(name: str, value: str, message: str) -> None:
    with pytest.raises(ReposeError, match=message) as error:
        read_endpoint({"KFP_ENDPOINT": "http://kfp"} | {name: value})
    assert "s3cret" not in str(error.value)


# --- starting a run


def test_a_run_is_the_compiled_text_with_typed_values(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    run = submit(
        endpoint, text=text, pipeline="tiny", values=VALUES, experiment="nightly", service_account="sa", run_name="n"
    )
    assert run == Run("r-1", f"{server.address}/#/runs/details/r-1")
    method, path, body = server.requests[-1]
    assert (method, path) == ("POST", "/apis/v2beta1/runs")
    spec, platform = yaml.safe_load_all(text)
    assert body["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert json.dumps(body["runtime_config"]["parameters"]) == json.dumps(VALUES)  # 7 is an int, False no string
    assert (body["service_account"], body["display_name"]) == ("sa", "n")
    assert [e.display_name for e in server.experiments] == ["nightly"]
    submit(endpoint, text=yaml.safe_dump(spec), pipeline="tiny", values=VALUES)
    assert server.requests[-1][2]["pipeline_spec"] == spec  # without a platform spec it is sent as it is


def test_names_that_are_not_given_are_the_pipelines_and_its_experiment_is_made_once(
    server: KfpServer, endpoint: Endpoint, text: str, started: Run
) -> None:
    made = datetime.strptime(server.latest.display_name, "tiny %Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert datetime.now(UTC) - made < timedelta(minutes=5)
    assert submit(endpoint, text=text, pipeline="tiny", values=VALUES).id != started.id
    assert [e.display_name for e in server.experiments] == ["tiny"]
    server.experiments[0].storage_state = "ARCHIVED"
    with pytest.raises(ReposeError, match=r"The experiment 'tiny' at .* is archived: restore it there"):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)


def test_each_user_has_a_namespace(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    with pytest.raises(ReposeError, match=r"single-user.* Set KFP_NAMESPACE only where each user has a namespace"):
        submit(replace(endpoint, namespace="anna"), text=text, pipeline="tiny", values=VALUES)
    server.multi_user = True
    with pytest.raises(ReposeError, match=r"refuses to list experiments \(400: .*multi-user.*\)\. Set KFP_NAMESPACE"):
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    for name in ("anna", "ben"):
        submit(replace(endpoint, namespace=name), text=text, pipeline="tiny", values=VALUES)
    assert [e.namespace for e in server.experiments] == ["anna", "ben"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES | {"stepz": "3"}, r"^The pipeline has no parameter 'stepz'\. Did you mean 'steps'\?$"),
        ({"steps": 3}, "The pipeline's parameters name have no default: give a value for each"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_made(
    server: KfpServer, endpoint: Endpoint, text: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReposeError, match=message):
        submit(endpoint, text=text, pipeline="tiny", values=values)
    assert server.requests == []


@pytest.mark.parametrize(
    ("troubles", "message"),
    [
        (
            [E_1, (400, JSON, json.dumps({"message": "Failed to create a run:\n  unknown " + "x" * 999}).encode())],
            r"refuses to start a run of tiny \(400: Failed to create a run: unknown x+\.\.\.\)\.$",
        ),
        ([E_1], r"The experiment is no longer there: try again. \(.*Experiment e-1 not found"),
    ],
)
def test_the_servers_message_is_shown(
    server: KfpServer, endpoint: Endpoint, text: str, troubles: list[Any], message: str
) -> None:
    server.troubles = troubles
    with pytest.raises(ReposeError, match=message) as error:
        submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    assert len(str(error.value)) < 700


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


# --- the status of a run


@pytest.mark.parametrize("by_reference", [False, True])  # True: a run of an uploaded pipeline
def test_the_tasks_are_those_of_the_pipeline_in_its_order(
    server: KfpServer, endpoint: Endpoint, started: Run, by_reference: bool
) -> None:
    server.by_reference = by_reference
    looks = [status(endpoint, started.id).tasks for _ in range(5)]
    assert [[task.name for task in look] for look in looks] == [["train@big", "evaluate", "record"]] * 5
    assert [[task.state for task in look] for look in looks] == [
        ["PENDING", "PENDING", "PENDING"], ["RUNNING", "PENDING", "PENDING"], ["SUCCEEDED", "RUNNING", "PENDING"],
        ["SUCCEEDED", "SUCCEEDED", "RUNNING"], ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"],
    ]  # fmt: skip


def test_times_are_none_until_they_are_known(server: KfpServer, endpoint: Endpoint, started: Run) -> None:
    server.looks[started.id] = 2
    going = status(endpoint, started.id)
    done, running, waiting = going.tasks
    assert (going.state, going.ended) == ("RUNNING", False)
    assert (done.start, done.end) == (BEGAN + timedelta(seconds=12), BEGAN + timedelta(seconds=18))
    assert (running.start, running.end) == (BEGAN + timedelta(seconds=22), None)
    assert waiting == TaskStatus("record", "PENDING")
    assert [task.seconds(BEGAN + timedelta(seconds=60)) for task in going.tasks] == [6, 38, None]
    assert running.seconds(BEGAN) == 0  # the server's clock is ahead


@pytest.mark.parametrize("driver_fails", [False, True])
def test_a_task_has_failed_also_where_its_driver_did(
    server: KfpServer, endpoint: Endpoint, started: Run, driver_fails: bool
) -> None:
    server.fails, server.driver_fails, server.looks[started.id] = "train", driver_fails, 9
    ended = status(endpoint, started.id)
    assert (ended.state, ended.ended, ended.failed) == ("FAILED", True, ["train@big"])
    assert [task.state for task in ended.tasks] == ["FAILED", "SKIPPED", "SUCCEEDED"]


def test_a_run_is_shown(
    server: KfpServer, endpoint: Endpoint, started: Run, shown: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    server.fails, server.reason, server.looks[started.id] = "evaluate", "out of\nmemory", 9
    found = status(endpoint, started.id)
    show_status(found)
    assert shown.messages == [f"{server.latest.display_name} (r-1): failed, out of memory", started.address]
    lines = [line for line in capfd.readouterr().err.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert rows == [["train@big", "succeeded", "6"], ["evaluate", "failed", "6"], ["record", "succeeded", "6"]]
    show_status(replace(found, tasks=(TaskStatus("train", "FAILED", message="[no] memory"),)))
    assert "[no] memory" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:_NoneStep.value")  # DVC's use of pygtrie
def test_a_pipeline_that_repose_compiled_has_a_task_for_each_stage(flowers: Path) -> None:
    from repose.kubeflow.compiler import plan_for
    from repose.kubeflow.components import pipeline_of, text_of
    from repose.kubeflow.project import read_project

    compiled = text_of(pipeline_of(plan_for(read_project(flowers), None)))
    assert list(tasks_of(next(yaml.safe_load_all(compiled))).values()) == ["count", "judge", "run-record"]


# --- waiting for the end


def test_a_line_for_each_change(endpoint: Endpoint, started: Run, shown: pytest.LogCaptureFixture) -> None:
    assert wait(endpoint, started.id, pace=QUICK).state == "SUCCEEDED"
    assert shown.messages == [
        "train@big: running", "train@big: succeeded, 6 s", "evaluate: running", "evaluate: succeeded, 6 s", "record: running",
        "record: succeeded, 6 s",
    ]  # fmt: skip


def test_looks_come_less_often_as_time_goes(endpoint: Endpoint, started: Run) -> None:
    waited: list[float] = []
    wait(endpoint, started.id, pace=Pace(first=1.0, growth=2.0, longest=3.0), sleep=waited.append)
    assert waited == [1.0, 2.0, 3.0, 3.0]


def test_a_run_that_failed_or_was_cancelled(server: KfpServer, endpoint: Endpoint, started: Run, text: str) -> None:
    server.fails, server.reason = "train", "no more memory"
    with pytest.raises(ReposeError) as error:
        wait(endpoint, started.id, pace=QUICK)
    assert str(error.value) == (
        f"The run {server.latest.display_name} (r-1) failed in train@big: no more memory. Its tasks' logs: {started.address}"
    )
    server.fails, server.reason, server.cancel_after = None, None, 2
    other = submit(endpoint, text=text, pipeline="tiny", values=VALUES)
    with pytest.raises(ReposeError, match=r"The run .* \(r-2\) was cancelled\. Its tasks' logs: "):
        wait(endpoint, other.id, pace=QUICK)


def test_interrupted_the_run_goes_on(endpoint: Endpoint, started: Run, shown: pytest.LogCaptureFixture) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(endpoint, started.id, sleep=interrupt)
    assert f"The run continues; see it with `repose kfp status r-1` or at {started.address}" in shown.messages


def test_an_endpoint_that_falters_is_asked_again_until_patience_ends(
    server: KfpServer, endpoint: Endpoint, started: Run, shown: pytest.LogCaptureFixture
) -> None:
    server.troubles = [(502, "text/html", b"<html>\xe9</html>"), None, (503, "text/plain", b"starting")]
    assert wait(endpoint, started.id, pace=replace(QUICK, patience=60.0)).state == "SUCCEEDED"
    (told,) = (line for line in shown.messages if "Looking again for 60 s" in line)
    assert "does not work at the moment (to show the run r-1: 502). Try again later." in told
    assert server.troubles == []
    server.troubles = [(503, "text/plain", b"")] * 10_000
    with pytest.raises(ReposeError, match=r"This lasted 0 s\. The run continues; see it with `repose kfp sta") as error:
        wait(endpoint, started.id, pace=QUICK)
    assert not isinstance(error.value, UnansweredError)


def test_only_a_run_that_was_seen_goes_on(server: KfpServer, endpoint: Endpoint, started: Run) -> None:
    def expire(_: float) -> None:
        server.token = "a new one"

    with pytest.raises(ReposeError, match=r"get a new token for this endpoint .* The run continues; see it with"):
        wait(replace(endpoint, token="s3cret"), started.id, sleep=expire)
    server.token = None
    with pytest.raises(ReposeError, match=r"There is no run r-9: `repose kfp submit` .*Run r-9 not found") as error:
        wait(endpoint, "r-9", pace=QUICK)
    assert "goes on" not in str(error.value)


# --- endpoints that do not answer as they should


def test_a_token_goes_with_each_request_and_is_not_shown(server: KfpServer, endpoint: Endpoint, text: str) -> None:
    server.token = "s3cret"
    known = replace(endpoint, token="s3cret")
    run = submit(known, text=text, pipeline="tiny", values=VALUES)
    status(known, run.id)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer s3cret"}
    server.token = "a new one"
    with pytest.raises(ReposeError, match=r"refuses to list experiments \(401: .*\): get a new token") as error:
        submit(known, text=text, pipeline="tiny", values=VALUES)
    assert "s3cret" not in str(error.value)  # the server repeats it
    with pytest.raises(ReposeError, match="set KFP_TOKEN to a bearer token"):
        status(endpoint, "r-1")


PAGE = b"<!doctype html>\n<HTML><title>Sign in \xe9</title></HTML>"
NOT_THE_API = (
    r"does not answer as the pipeline API does \({}\)\. Set KFP_ENDPOINT .* set KFP_TOKEN to a bearer token\.$"
)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (
            (403, JSON, b'{"message": "PermissionDenied"}'),
            r"\(403: PermissionDenied\)\..*permission, or .*expired: set KFP_TOKEN",
        ),
        ((302, "text/html", b""), r"redirects to https://dex\.example\.org/auth instead of .* set KFP_TOKEN"),
        ((200, "text/html", PAGE), NOT_THE_API.format(200)),
        ((404, "text/html", PAGE), NOT_THE_API.format(404)),
        ((200, JSON, b"ok"), NOT_THE_API.format(200)),
        ((404, JSON, b'{"code": 5, "message": "Not Found", "details": []}'), NOT_THE_API.format(404)),
        ((200, JSON, b'{"hello": "world"}'), "answers, but not as the pipeline API does"),
        ((200, JSON, b'{"run_id": "r-1", "created_at": "yesterday"}'), "cannot be read .*Failed to parse `yesterday`"),
        ((500, JSON, b'{"message": "InternalError: db"}'), r"refuses to show the run r-1 \(500: InternalError: db\)\.$"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_the_run(
    server: KfpServer, endpoint: Endpoint, trouble: tuple[int, str, bytes], message: str
) -> None:
    server.troubles = [trouble]
    with pytest.raises(ReposeError, match=message) as error:
        status(endpoint, "r-1")
    assert not isinstance(error.value, UnansweredError)
    assert "s3cret" not in str(error.value)  # of the redirection
    assert len(server.requests) == 1


def test_an_uploaded_pipeline_that_is_gone(server: KfpServer, endpoint: Endpoint) -> None:
    reference = b'{"run_id": "r", "pipeline_version_reference": {"pipeline_id": "p", "pipeline_version_id": "v"}}'
    server.troubles = [(200, JSON, reference), (404, JSON, b'{"code": 5, "message": "v not found"}')]
    with pytest.raises(ReposeError, match="The pipeline of the run r-9 was deleted, so its tasks are not known"):
        status(endpoint, "r-9")


def test_no_answer(server: KfpServer, endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    server.troubles = [None]
    for address, why in (
        (nobody, "Connection refused"), (endpoint.address, "Remote end closed connection.*"), ("http://kfp.invalid", ".+"),
    ):  # fmt: skip
        with pytest.raises(UnansweredError, match=rf"does not answer \(to show the run r-1: {why}\)\. Is KFP_ENDPOINT"):
            status(Endpoint(address), "r-1")
    assert caplog.text == ""


def test_a_certificate_of_ones_own(server: KfpServer, tmp_path: Path, text: str) -> None:
    with pytest.raises(ReposeError, match=r"no trusted connection to https.*if it speaks plain HTTP, write http://"):
        status(Endpoint(server.address.replace("http://", "https://")), "r-1")
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate())
    with kfp_server(str(file)) as other:
        with pytest.raises(ReposeError, match=r"self.signed certificate.* set KFP_CA_CERT to the file"):
            status(Endpoint(other.address), "r-1")
        known = Endpoint(other.address, ca_cert=file)
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
    number = x509.random_serial_number()
    made = x509.CertificateBuilder(name, name, key.public_key(), number, now, now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([address]), critical=True)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + made.sign(key, hashes.SHA256()).public_bytes(pem)
