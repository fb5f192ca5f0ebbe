"""An HTTP stand-in for the pipeline API of Kubeflow, version v2beta1. It is not Kubeflow and runs nothing.

What it takes and gives is checked against the models of kfp-server-api, the API's published client: a body with an unknown
field or a value of another type is refused with 400, and every answer is written from a model. Its runs have the nodes that
Kubeflow 2.17 makes of a pipeline (driver, task and executor; root and exit handler) and go one task further with each look.
"""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as models

from serving import serving

NEVER = datetime(1, 1, 1, tzinfo=UTC)  # of a node that has not ended (Go's zero time)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # of a run that has not
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 500: 13}  # of gRPC, by the HTTP status


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class KfpServer(ThreadingHTTPServer):
    """The server and all that it knows.

    Attributes:
        token: what requests have to bear; None: nothing.
        multi_user: whether each user has a namespace.
        troubles: what the next requests get instead of an answer: status, content type, body, or None for a lost connection.
        fails: the task (by its key) that fails.
        driver_fails: it is the driver of that task which fails.
        cancel_after: looks after which a run is cancelled.
        reason: of a run's failure, which Kubeflow gives for few failures.
        by_reference: runs say which version of a pipeline they run, and no spec.
        requests: method, path and body of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token: str | None = None
        self.multi_user = self.driver_fails = self.by_reference = False
        self.troubles: list[tuple[int, str, bytes] | None] = []
        self.fails: str | None = None
        self.cancel_after: int | None = None
        self.reason: str | None = None
        self.experiments: list[Any] = []
        self.runs: dict[str, Any] = {}
        self.looks: dict[str, int] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: list[Any] = []
        self.scheme = "http"

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """A model, or an error."""
        if (method, path) == ("GET", "/apis/v2beta1/experiments"):
            return self.list_experiments(query)
        if (method, path) == ("POST", "/apis/v2beta1/experiments"):
            return self.create_experiment(read("V2beta1Experiment", body))
        if (method, path) == ("POST", "/apis/v2beta1/runs"):
            return self.create_run(read("V2beta1Run", body))
        if method == "GET" and (found := re.fullmatch(r"/apis/v2beta1/runs/([^/]+)", path)):
            return self.get_run(found[1])
        if method == "GET" and path == "/apis/v2beta1/pipelines/p-1/versions/v-1":
            if not self.runs:
                raise RefusedError(404, "Failed to get a pipeline version: ResourceNotFoundError: v-1 not found")
            return models.V2beta1PipelineVersion(pipeline_version_id="v-1", pipeline_spec=self.latest.pipeline_spec)
        raise RefusedError(404, "Not Found")

    @property
    def latest(self) -> Any:
        return list(self.runs.values())[-1]

    def list_experiments(self, query: dict[str, str]) -> Any:
        namespace = query.get("namespace")
        self.check_namespace(namespace)
        (only,) = read("V2beta1Filter", json.loads(query["filter"])).predicates
        assert (only.operation, only.key) == ("EQUALS", "display_name")
        found = [e for e in self.experiments if (e.display_name, e.namespace) == (only.string_value, namespace)]
        return models.V2beta1ListExperimentsResponse(experiments=found or None, total_size=len(found))

    def create_experiment(self, experiment: Any) -> Any:
        self.check_namespace(experiment.namespace)
        experiment.experiment_id, experiment.storage_state = f"e-{len(self.experiments) + 1}", "AVAILABLE"
        self.experiments.append(experiment)
        return experiment

    def check_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise RefusedError(400, "Invalid input error: In multi-user mode, experiments have a namespace")
        if namespace and not self.multi_user:
            raise RefusedError(400, "Invalid input error: In single-user mode, experiments cannot have a namespace")

    def create_run(self, run: Any) -> Any:
        if run.experiment_id not in [experiment.experiment_id for experiment in self.experiments]:
            raise RefusedError(404, f"Experiment {run.experiment_id} not found")
        if not run.display_name:
            raise RefusedError(400, "The run name is empty. Please specify a valid name")
        run.run_id, run.state, run.created_at = f"r-{len(self.runs) + 1}", "PENDING", BEGAN
        self.runs[run.run_id] = run
        return run

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise RefusedError(404, f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found")
        run, look = self.runs[run_id], self.looks.get(run_id, 0)
        self.looks[run_id] = look + 1
        advance(run, look, self)
        if not self.by_reference:
            return run
        shown = models.V2beta1Run(**{name: getattr(run, name) for name in run.openapi_types})
        shown.pipeline_spec = None
        shown.pipeline_version_reference = models.V2beta1PipelineVersionReference("p-1", "v-1")
        return shown


class Handler(BaseHTTPRequestHandler):
    server: KfpServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.handle_one(None)

    def do_POST(self) -> None:
        self.handle_one(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def handle_one(self, body: Any) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append((self.command, parts.path, body))
        self.server.headers.append(self.headers)
        if self.server.troubles:
            trouble = self.server.troubles.pop(0)
            if trouble is None:
                self.close_connection = True
                return
            self.reply(*trouble)
            return
        try:
            if self.server.token and self.headers["authorization"] != f"Bearer {self.server.token}":
                raise RefusedError(401, f"Request header error: invalid bearer token {self.headers['authorization']}")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            found, status = plain(self.server.answer(self.command, parts.path, query, body)), 200
        except RefusedError as error:
            status = error.status
            found = {"error": error.message, "code": CODES[status], "message": error.message, "details": []}
        self.reply(status, "application/json", json.dumps(found).encode())

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("Location", "https://dex.example.org/auth?state=s3cret#top")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Be silent."""


@contextmanager
def kfp_server(certificate: str | None = None) -> Iterator[KfpServer]:
    """The stand-in in a thread; with a certificate (PEM, with its key) it speaks TLS."""
    server = KfpServer()
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket, server.scheme = context.wrap_socket(server.socket, server_side=True), "https"
    with serving(server):
        yield server


def read(kind: str, said: Any) -> Any:
    """A model of a body in which every field is known and of its type."""
    if kind == "object":
        return said
    if kind.startswith("list["):
        return [read(kind[5:-1], entry) for entry in checked(said, list, kind)]
    if kind.startswith("dict("):
        return {key: read(kind[5:-1].split(", ")[1], value) for key, value in checked(said, dict, kind).items()}
    if kind == "datetime":
        return datetime.fromisoformat(checked(said, str, kind))
    if kind in ("str", "int", "bool"):
        return checked(said, {"str": str, "int": int, "bool": bool}[kind], kind)
    model = getattr(models, kind)
    if hasattr(model, "allowable_values"):
        if said not in model.allowable_values:
            raise RefusedError(400, f"invalid value for enum {kind}: {said}")
        return said
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    for name in checked(said, dict, kind):
        if name not in names:
            raise RefusedError(400, f"{kind}: unknown field {name!r}")
    return model(**{names[name]: read(model.openapi_types[names[name]], value) for name, value in said.items()})


def checked(said: Any, kind: type, name: str) -> Any:
    if type(said) is not kind:
        raise RefusedError(400, f"invalid value for {name}: {said!r}")
    return said


def plain(model: Any) -> Any:
    return models.ApiClient().sanitize_for_serialization(model)


def advance(run: Any, look: int, server: KfpServer) -> None:
    """The state of a run at a look (0: nothing has begun), as the nodes of its workflow tell."""
    spec = run.pipeline_spec.get("pipeline_spec", run.pipeline_spec)
    handler = spec["root"]["dag"]["tasks"]["exit-handler-1"]["componentRef"]["name"]
    body, exit_task = spec["components"][handler]["dag"]["tasks"], "record"
    order = sorted(body, key=lambda key: len(body[key].get("dependentTasks", [])))
    nodes: list[Any] = []
    if look:
        nodes += [node(name, "SUCCEEDED", 0, 1) for name in ("root-driver", "exit-handler-1-driver")]
        nodes += [node(name, "RUNNING", 0, None) for name in ("tiny-x7k2p", "root", "exit-handler-1")]
    at, broken = 1, False
    for key in [*order, exit_task]:
        if at > look:
            break
        state, ended = ("RUNNING", None) if at == look else ("SUCCEEDED", at * 10 + 8)
        if broken and key != exit_task:
            nodes.append(node(key, "RUNTIME_STATE_UNSPECIFIED", at * 10, at * 10))  # Argo: omitted
            continue
        if key == server.fails and at < look:
            state, broken = "FAILED", True
        if broken and server.driver_fails and key == server.fails:
            nodes += [node(f"{key}-driver", "FAILED", at * 10, at * 10 + 1)]
            nodes += [node(key, "RUNTIME_STATE_UNSPECIFIED", at * 10, at * 10)]
        else:
            nodes += [node(f"{key}-driver", "SUCCEEDED", at * 10, at * 10 + 1)]
            nodes += [node(key, state, at * 10 + 2, ended), node("executor", state, at * 10 + 2, ended)]
        at += 1
    run.state, run.finished_at = ("RUNNING" if look else "PENDING"), EPOCH
    cancelled = server.cancel_after is not None and look >= server.cancel_after
    if cancelled or (nodes and any(n.display_name == exit_task and n.state == "SUCCEEDED" for n in nodes)):
        run.state = "CANCELED" if cancelled else "FAILED" if broken else "SUCCEEDED"
        run.finished_at = BEGAN + timedelta(seconds=at * 10)
        run.error = models.GoogleRpcStatus(code=2, message=server.reason) if server.reason else None
    details = models.V2beta1RunDetails(task_details=sorted(nodes, key=lambda n: str(n.display_name))) if nodes else None
    run.run_details = details


def node(name: str, state: str, start: int, end: int | None) -> Any:
    began, ended = BEGAN + timedelta(seconds=start), NEVER if end is None else BEGAN + timedelta(seconds=end)
    return models.V2beta1PipelineTaskDetail(
        run_id="r",
        task_id=f"t-{name}",
        display_name=name,
        create_time=BEGAN,
        start_time=began,
        end_time=ended,
        state=state,
    )
