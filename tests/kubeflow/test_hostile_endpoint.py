"""Addresses that must not get a token, and answers of a pipeline API that are no such thing."""

from collections.abc import Iterator
from typing import Any

import pytest
from kfp_server import KfpServer, kfp_server

from repose.errors import ReposeError
from repose.kubeflow.client import Order, status, submit
from repose.kubeflow.endpoint import Endpoint, read_endpoint


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server


@pytest.fixture
def order(text: str) -> Order:
    return Order("tiny", {"remote": "s3://b/dvc"}, text)


@pytest.mark.parametrize(("address", "sent"), [
    ("https://kfp.org", True), ("http://localhost:8888", True), ("http://LOCALHOST/x", True), ("http://127.1.2.3:80", True),
    ("http://[::1]:8888", True), ("http://[::ffff:127.0.0.1]", True), ("http://kfp.org", False),
    ("http://localhost.evil.com", False),
    ("http://127.0.0.1.evil.com", False), ("http://128.0.0.1", False), ("http://[::2]", False), ("http://2130706433", False),
    ("http://[::ffff:128.0.0.1]", False), ("http://ml-pipeline.kubeflow:8888", False), ("http://\uff4cocalhost", False),
    ("http://localhost\\.evil.com", False), ("http://localhost@evil.com", False), ("http://local\thost", False),
    ("http://evil.com\\@localhost", False),
])  # fmt: skip
def test_a_token_is_only_sent_by_https_or_to_this_machine(address: str, sent: bool) -> None:
    given = {"KFP_ENDPOINT": address, "KFP_TOKEN": "s3cret"}
    if sent:
        assert read_endpoint(given).token == "s3cret"
        return
    with pytest.raises(
        ReposeError, match=r"KFP_TOKEN is not sent to .* without encryption|KFP_ENDPOINT should be"
    ) as error:
        read_endpoint(given)
    assert "s3cret" not in str(error.value)


ODD_RUNS = [
    '{"utf": 16}',
    '{"run_details": {"task_details": 5}}', '{"created_at": 5}', '{"pipeline_spec": 5}',
    '{"pipeline_spec": {"root": {"dag": 5}}}',
    '{"pipeline_spec": {"root": {"dag": {"tasks": {"a": {"componentRef": {"name": "x"}}}}}}}',
    '{"pipeline_spec": {"root": {"dag": {"tasks": {"a": {"dependentTasks": ["a"]}}}}}}',
]  # fmt: skip


@pytest.mark.parametrize("run", ODD_RUNS)
def test_a_run_that_cannot_be_read_is_an_error(
    server: KfpServer, order: Order, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    from kfp_server_api.rest import RESTClientObject

    endpoint = Endpoint(server.address)
    started, real = submit(endpoint, order), RESTClientObject.request

    def request(client: Any, method: str, url: str, **how: Any) -> Any:
        answer = real(client, method, url, **how)
        answer.data = run.encode("utf-16" if "16" in run else "utf-8") if url.endswith(started) else answer.data
        return answer

    monkeypatch.setattr(RESTClientObject, "request", request)
    with pytest.raises(ReposeError, match="does not answer as the pipeline API does"):
        status(endpoint, started)
