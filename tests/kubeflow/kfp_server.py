"""An HTTP stand-in for the pipeline API of Kubeflow 2.17. It is not Kubeflow and runs nothing.

What it takes and gives is checked against the models of kfp-server-api, the API's published client: a body with an unknown
field or a value of another type is refused with 400, and every answer is written from a model. Its refusals have the words and
codes of Kubeflow's API server. Its runs have the nodes that Kubeflow makes of a pipeline (driver, task and executor; root and
exit handler) and go one task further with each look.
"""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as models
import yaml

from serving import serving

NEVER = datetime(1, 1, 1, tzinfo=UTC)  # of a node that has not ended (Go's zero time)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # of a run that has not
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 500: 13}  # of gRPC, by the HTTP status
API = "/apis/v2beta1"


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Request(NamedTuple):
    """A request; `body` is JSON, or the file of an upload."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: Any


class KfpServer(ThreadingHTTPServer):
    """The server and all that it knows.

    Attributes:
        tag: the version that it says, only in version 1 of the API.
        token: what requests have to bear; None: nothing.
        namespaces: of the users; None: there are no users.
        troubles: what the next requests get instead of an answer: status, content type, body, or None for a lost connection.
        fails: the task (by its key) that fails.
        driver_fails: it is the driver of that task which fails.
        hides_failures: a run with a failed task counts as succeeded, as some of Argo's do.
        cancel_after: looks after which a run is cancelled.
        reason: of a run's failure, which Kubeflow gives for few failures.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tag = "2.17.0"
        self.token: str | None = None
        self.namespaces: list[str] | None = None
        self.driver_fails = self.hides_failures = False
        self.troubles: list[tuple[int, str, bytes] | None] = []
        self.fails: str | None = None
        self.cancel_after: int | None = None
        self.reason: str | None = None
        self.experiments: list[Any] = []
        self.runs: dict[str, Any] = {}
        self.schedules: list[Any] = []
        self.pipelines: list[Any] = []
        self.versions: list[Any] = []
        self.looks: dict[str, int] = {}
        self.requests: list[Request] = []
        self.scheme = "http"

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    @property
    def latest(self) -> Any:
        return list(self.runs.values())[-1]

    def answer(self, request: Request) -> Any:
        """A model, or an error."""
        method, path, query, body = request[:4]
        if path == "/apis/v1beta1/healthz":
            return {"commit_sha": "4a3592c", "tag_name": self.tag, "multi_user": self.namespaces is not None}
        known = {
            ("GET", "/healthz"): self.health, ("GET", "/experiments"): self.list_experiments,
            ("POST", "/experiments"): self.create_experiment, ("POST", "/runs"): self.create_run,
            ("POST", "/recurringruns"): self.create_schedule, ("GET", "/pipelines"): self.list_pipelines,
            ("POST", "/pipelines"): self.create_pipeline, ("POST", "/pipelines/upload_version"): self.upload_version,
        }  # fmt: skip
        if do := known.get((method, path.removeprefix(API))):
            return do(query, body)
        if method == "GET" and (found := re.fullmatch(rf"{API}/runs/([^/]+)", path)):
            return self.get_run(found[1])
        if method == "GET" and (found := re.fullmatch(rf"{API}/pipelines/([^/]+)/versions(?:/([^/]+))?", path)):
            return self.get_versions(found[1], found[2], query)
        raise RefusedError(404, "Not Found")

    def health(self, _: dict[str, str], __: None) -> Any:
        return models.V2beta1GetHealthzResponse(multi_user=self.namespaces is not None)

    def list_experiments(self, query: dict[str, str], _: None) -> Any:
        name, namespace = wanted(query), self.checked_namespace(query.get("namespace"), "list experiments")
        found = [e for e in self.experiments if (e.display_name, e.namespace) == (name, namespace)]
        return models.V2beta1ListExperimentsResponse(experiments=found or None, total_size=len(found))

    def create_experiment(self, _: dict[str, str], body: Any) -> Any:
        made = read("V2beta1Experiment", body)
        made.namespace = self.checked_namespace(made.namespace, "create an experiment")
        made.experiment_id, made.storage_state = f"e-{len(self.experiments) + 1}", "AVAILABLE"
        self.experiments.append(made)
        return made

    def checked_namespace(self, namespace: str | None, to: str) -> str:
        if self.namespaces is None:
            return ""  # it is ignored
        if namespace not in self.namespaces:
            raise RefusedError(403, f"Failed to {to}: PermissionDenied: User 'anna' is not authorized in {namespace!r}")
        return str(namespace)

    def create_run(self, _: dict[str, str], body: Any) -> Any:
        run = read("V2beta1Run", body)
        self.check_order(run, "run")
        run.run_id, run.state, run.created_at = f"r-{len(self.runs) + 1}", "PENDING", BEGAN
        self.runs[run.run_id] = run
        return run

    def create_schedule(self, _: dict[str, str], body: Any) -> Any:
        made = read("V2beta1RecurringRun", body)
        self.check_order(made, "recurring run")
        cron = made.trigger.cron_schedule.cron
        if len(cron.split()) not in (5, 6):
            raise RefusedError(400, f"Schedule cron is not a supported format. Error: Expected 5 to 6 fields: {cron}")
        if not 1 <= int(made.max_concurrency) <= 10:
            raise RefusedError(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
        made.recurring_run_id, made.status = f"s-{len(self.schedules) + 1}", "ENABLED"
        self.schedules.append(made)
        return made

    def check_order(self, made: Any, kind: str) -> None:
        if made.experiment_id not in [experiment.experiment_id for experiment in self.experiments]:
            raise RefusedError(404, f"Failed to create a {kind}: Experiment {made.experiment_id} not found")
        if not made.display_name:
            raise RefusedError(400, f"The {kind} name is empty. Please specify a valid name")
        spec = made.pipeline_spec or self.version(made.pipeline_version_reference.pipeline_version_id).pipeline_spec
        parameters = inner(spec)["root"]["inputDefinitions"]["parameters"]
        for name, value in made.runtime_config.parameters.items():
            if name not in parameters:
                raise RefusedError(400, f"parameter {name} is not defined in the pipeline")
            if parameters[name]["parameterType"] == "STRING" and not isinstance(value, str):
                raise RefusedError(400, f"input parameter {name} requires type string, but the parameter value is not")
        given = {name for name, parameter in parameters.items() if parameter.get("isOptional")}
        if lacking := sorted(parameters.keys() - given - made.runtime_config.parameters.keys()):
            raise RefusedError(400, f"parameter {lacking[0]} is not optional, yet has neither default value nor user")

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise RefusedError(404, f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found")
        run, look = self.runs[run_id], self.looks.get(run_id, 0)
        self.looks[run_id] = look + 1
        advance(run, look, self)
        return run

    def list_pipelines(self, query: dict[str, str], _: None) -> Any:
        name, namespace = wanted(query), self.checked_namespace(query.get("namespace"), "list pipelines")
        found = [p for p in self.pipelines if (p.display_name, p.namespace) == (name, namespace)]
        return models.V2beta1ListPipelinesResponse(pipelines=found or None, total_size=len(found))

    def create_pipeline(self, _: dict[str, str], body: Any) -> Any:
        made = read("V2beta1Pipeline", body)
        made.name, made.namespace = made.name or made.display_name, self.checked_namespace(made.namespace, "create")
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,127}", made.name):
            raise RefusedError(400, f"pipeline's name must contain only lowercase alphanumeric characters: {made.name}")
        made.pipeline_id = f"p-{len(self.pipelines) + 1}"
        self.pipelines.append(made)
        return made

    def upload_version(self, query: dict[str, str], body: bytes) -> Any:
        if query["pipelineid"] not in [pipeline.pipeline_id for pipeline in self.pipelines]:
            raise RefusedError(400, "Failed to create a pipeline version")
        spec, *platform = yaml.safe_load_all(body)
        if "root" not in spec:
            raise RefusedError(400, "Invalid input error: unknown template format")
        made = models.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"], pipeline_version_id=f"v-{len(self.versions) + 1}", name=query["name"],
            display_name=query["name"], description=query.get("description"),
            pipeline_spec={"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
        )  # fmt: skip
        self.versions.append(made)
        return made

    def get_versions(self, pipeline: str, version: str | None, query: dict[str, str]) -> Any:
        if version is not None:
            return self.version(version)
        found = [v for v in reversed(self.versions) if v.pipeline_id == pipeline]
        first, size = int(query.get("page_token") or 0), min(int(query.get("page_size") or 10), 200)
        more = str(first + size) if len(found) > first + size else None
        page = found[first : first + size]
        return models.V2beta1ListPipelineVersionsResponse(
            pipeline_versions=page or None, total_size=len(found), next_page_token=more
        )

    def version(self, version: str) -> Any:
        for one in self.versions:
            if one.pipeline_version_id == version:
                return one
        raise RefusedError(404, f"Failed to get a pipeline version: ResourceNotFoundError: {version} not found")


class Handler(BaseHTTPRequestHandler):
    server: KfpServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.handle_one(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"].startswith("multipart/"):
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            (part,) = message_from_bytes(head + body).get_payload()  # type: ignore[misc]
            self.handle_one(part.get_payload(decode=True))  # type: ignore[union-attr]
        else:
            self.handle_one(json.loads(body))

    def handle_one(self, body: Any) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Request(self.command, parts.path, query, body, self.headers)
        self.server.requests.append(request)
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
            found, status = plain(self.server.answer(request)), 200
        except RefusedError as error:
            status = error.status
            found = {"error": error.message, "code": CODES[status], "message": error.message, "details": []}
            if parts.path.endswith("upload_version"):
                found = {"error_message": error.message, "error_details": error.message}
        self.reply(status, "application/json", json.dumps(found).encode())

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
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


def inner(spec: Any) -> Any:
    """A pipeline's spec, which stands beside its platform spec if it has one."""
    return spec.get("pipeline_spec", spec)


def wanted(query: dict[str, str]) -> str:
    """The name that a filter asks for; protojson takes both spellings of a field, and an enum's number."""
    (only,) = json.loads(query["filter"])["predicates"]
    assert (only["operation"], only["key"]) in (("EQUALS", "display_name"), (1, "display_name"))
    return str(only.get("string_value") or only["stringValue"])


def read(kind: str, said: Any) -> Any:
    """A model of a body in which every field is known and of its type."""
    if kind == "object":
        return said
    if kind.startswith("dict("):
        return {key: read(kind[5:-1].split(", ")[1], value) for key, value in checked(said, dict, kind).items()}
    if kind in ("str", "int", "bool"):
        if kind == "str" and type(said) is int:  # protojson takes both for an int64
            return str(said)
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
    reference = run.pipeline_version_reference
    spec = inner(run.pipeline_spec or server.version(reference.pipeline_version_id).pipeline_spec)
    handler = next(key for key in spec["root"]["dag"]["tasks"] if key.startswith("exit-handler"))
    (exit_task,) = set(spec["root"]["dag"]["tasks"]) - {handler}
    body = spec["components"][spec["root"]["dag"]["tasks"][handler]["componentRef"]["name"]]["dag"]["tasks"]
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
        run.state = "CANCELED" if cancelled else "FAILED" if broken and not server.hides_failures else "SUCCEEDED"
        run.finished_at = BEGAN + timedelta(seconds=at * 10)
        run.error = models.GoogleRpcStatus(code=2, message=server.reason) if server.reason else None
    details = models.V2beta1RunDetails(task_details=sorted(nodes, key=lambda n: str(n.display_name))) if nodes else None
    run.run_details = details


def node(name: str, state: str, start: int, end: int | None) -> Any:
    began, ended = BEGAN + timedelta(seconds=start), NEVER if end is None else BEGAN + timedelta(seconds=end)
    return models.V2beta1PipelineTaskDetail(
        run_id="r", task_id=f"t-{name}", display_name=name, create_time=BEGAN, start_time=began, end_time=ended,
        state=state,
    )  # fmt: skip
