"""A stand-in for the pipeline API of Kubeflow 2.17. It is not Kubeflow and runs nothing.

Its refusals have the words and codes of Kubeflow's API server. Its runs have the nodes that Kubeflow makes of a pipeline
(driver, task and executor; root and exit handler) and go one task further with each look.
"""

import ipaddress
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from stand_in import Request, StandIn

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NEVER = datetime(1, 1, 1, tzinfo=UTC)  # of a node that has not ended (Go's zero time)
EPOCH = "1970-01-01T00:00:00Z"  # of a run that has not
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 500: 13}  # of gRPC, by the HTTP status
API = "/apis/v2beta1"


class RefusedError(Exception):
    """A request that is answered with an error: its status and message."""


class KfpServer(StandIn):
    """The server and all that it knows.

    Attributes:
        tag: the version that it says, only in version 1 of the API.
        token: what requests have to bear; None: nothing.
        namespaces: of the users; None: there are no users.
        fails: the task (by its key) that fails.
        driver_fails: it is the driver of that task which fails.
        ends_as: the state that each run has, whatever its tasks do; None: that of its tasks.
        reason: of a run's end, which Kubeflow gives for few failures.
        looks: how often each run was looked at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tag, self.token, self.namespaces = "2.17.0", None, None
        self.fails, self.driver_fails, self.ends_as, self.reason = None, False, None, None
        self.experiments, self.schedules, self.pipelines, self.versions = [], [], [], []
        self.runs: dict[str, Any] = {}
        self.looks: dict[str, int] = {}

    @property
    def latest(self) -> Any:
        return list(self.runs.values())[-1]

    def answer(self, request: Request) -> tuple[int, Any]:
        try:
            if self.token and request.headers["authorization"] != f"Bearer {self.token}":
                raise RefusedError(401, f"invalid bearer token {request.headers['authorization']}")
            return 200, self.found(*request[:4])
        except RefusedError as error:
            status, message = error.args
            if request.path.endswith("upload_version"):
                return status, {"error_message": message, "error_details": message}
            return status, {"error": message, "code": CODES[status], "message": message, "details": []}

    def found(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if path == "/apis/v1beta1/healthz":
            return {"commit_sha": "4a3592c", "tag_name": self.tag, "multi_user": self.namespaces is not None}
        what = method, *path.removeprefix(f"{API}/").split("/")
        match what:
            case "GET", "healthz":
                return {"multi_user": self.namespaces is not None}
            case "GET", ("experiments" | "pipelines") as kind:
                wanted = (self.name_in(query), self.checked_namespace(query.get("namespace")))
                all_of_kind = self.experiments if kind == "experiments" else self.pipelines
                return {kind: [one for one in all_of_kind if (one["display_name"], one["namespace"]) == wanted]}
            case "POST", "experiments":
                namespace = self.checked_namespace(body.get("namespace"))
                return self.add(self.experiments, body, "experiment_id", namespace=namespace, storage_state="AVAILABLE")
            case "POST", "pipelines":
                return self.create_pipeline(body)
            case "POST", "pipelines", "upload_version":
                return self.upload_version(query, body)
            case "POST", "runs":
                self.check_order(body)
                run = body | {"run_id": f"r-{len(self.runs) + 1}", "state": "PENDING", "created_at": str(BEGAN)}
                return self.runs.setdefault(run["run_id"], run)
            case "POST", "recurringruns":
                self.check_order(body)
                return self.add(self.schedules, body, "recurring_run_id")
            case "GET", "runs", run_id:
                return self.get_run(run_id)
            case "GET", "pipelines", pipeline, "versions":
                return self.list_versions(pipeline, query)
            case "GET", "pipelines", _, "versions", version:
                return self.version(version)
        raise RefusedError(404, "Not Found")

    def add(self, to: list[Any], body: Any, key: str, **more: Any) -> Any:
        to.append(body | {key: f"{key[0]}-{len(to) + 1}"} | more)
        return to[-1]

    def name_in(self, query: dict[str, str]) -> str:
        """The name that a filter asks for; protojson takes both spellings of a field."""
        (only,) = json.loads(query["filter"])["predicates"]
        return str(only.get("string_value") or only["stringValue"])

    def checked_namespace(self, namespace: str | None) -> str:
        if self.namespaces is None:
            return ""  # it is ignored
        if namespace not in self.namespaces:
            raise RefusedError(403, f"PermissionDenied: User 'anna' is not authorized in {namespace!r}")
        return str(namespace)

    def check_order(self, made: Any) -> None:
        if made["experiment_id"] not in [experiment["experiment_id"] for experiment in self.experiments]:
            raise RefusedError(404, f"Failed to create a run: Experiment {made['experiment_id']} not found")
        parameters = self.spec_of(made)["root"]["inputDefinitions"]["parameters"]
        given = made["runtime_config"]["parameters"]
        for name, value in given.items():
            if name not in parameters or not isinstance(value, str):
                raise RefusedError(400, f"parameter {name} is not defined in the pipeline, or its value is no string")
        optional = {name for name, parameter in parameters.items() if parameter.get("isOptional")}
        if lacking := sorted(parameters.keys() - optional - given.keys()):
            raise RefusedError(400, f"parameter {lacking[0]} is not optional, yet has neither default value nor user")

    def spec_of(self, made: Any) -> Any:
        """The pipeline's spec of a run or schedule, which is in a version if it has none of its own."""
        if "pipeline_spec" in made:
            return inner(made["pipeline_spec"])
        return inner(self.version(made["pipeline_version_reference"]["pipeline_version_id"])["pipeline_spec"])

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise RefusedError(404, f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found")
        run, look = self.runs[run_id], self.looks.get(run_id, 0)
        self.looks[run_id] = look + 1
        advance(run, look, self)
        return run

    def create_pipeline(self, body: Any) -> Any:
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,127}", body["display_name"]):
            raise RefusedError(400, f"pipeline's name must contain only lowercase alphanumeric: {body['display_name']}")
        return self.add(self.pipelines, body, "pipeline_id", namespace=self.checked_namespace(body.get("namespace")))

    def upload_version(self, query: dict[str, str], body: bytes) -> Any:
        spec, *platform = yaml.safe_load_all(body)
        if "root" not in spec:
            raise RefusedError(400, "Invalid input error: unknown template format")
        made = {
            "pipeline_id": query["pipelineid"], "pipeline_version_id": f"v-{len(self.versions) + 1}",
            "display_name": query["name"], "description": query.get("description"),
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
        }  # fmt: skip
        self.versions.append(made)
        return made

    def list_versions(self, pipeline: str, query: dict[str, str]) -> Any:
        found = [version for version in reversed(self.versions) if version["pipeline_id"] == pipeline]
        first, size = int(query.get("page_token") or 0), min(int(query.get("page_size") or 10), 200)
        more = {"next_page_token": str(first + size)} if len(found) > first + size else {}
        return {"pipeline_versions": found[first : first + size]} | more

    def version(self, version: str) -> Any:
        for one in self.versions:
            if one["pipeline_version_id"] == version:
                return one
        raise RefusedError(404, f"Failed to get a pipeline version: ResourceNotFoundError: {version} not found")


@contextmanager
def kfp_server(certificate: str | None = None) -> Iterator[KfpServer]:
    """The stand-in in a thread; with a certificate (PEM, with its key) it speaks TLS."""
    server = KfpServer()
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket, server.scheme = context.wrap_socket(server.socket, server_side=True), "https"
    with server.running():
        yield server


def certificate() -> bytes:
    """A certificate for 127.0.0.1 that signs itself, with its key (PEM)."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, address = datetime.now(UTC), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    number = x509.random_serial_number()
    made = x509.CertificateBuilder(name, name, key.public_key(), number, now, now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([address]), critical=True)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + made.sign(key, hashes.SHA256()).public_bytes(pem)


def inner(spec: Any) -> Any:
    """A pipeline's spec, which stands beside its platform spec if it has one."""
    return spec.get("pipeline_spec", spec)


def advance(run: Any, look: int, server: KfpServer) -> None:
    """The state of a run at a look (0: nothing has begun), as the nodes of its workflow tell."""
    spec = server.spec_of(run)
    handler = next(key for key in spec["root"]["dag"]["tasks"] if key.startswith("exit-handler"))
    (exit_task,) = set(spec["root"]["dag"]["tasks"]) - {handler}
    body = spec["components"][spec["root"]["dag"]["tasks"][handler]["componentRef"]["name"]]["dag"]["tasks"]
    order = sorted(body, key=lambda key: len(body[key].get("dependentTasks", [])))
    nodes: list[Any] = []
    if look:
        nodes += [node(name, "SUCCEEDED", 0, 1) for name in ("root-driver", "exit-handler-1-driver")]
        nodes += [node(name, "RUNNING", 0, None) for name in ("tiny-x7k2p", "root", "exit-handler-1")]
    at, broken = 1, False
    for key in [*order, exit_task][:look]:
        began, state, ended = at * 10, "RUNNING", None
        if at < look:
            state, ended = "FAILED" if key == server.fails else "SUCCEEDED", began + 8
        if broken and key != exit_task:
            nodes.append(node(key, "RUNTIME_STATE_UNSPECIFIED", began, began))  # Argo: omitted
            continue
        broken = broken or state == "FAILED"
        if state == "FAILED" and server.driver_fails:
            nodes.append(node(f"{key}-driver", "FAILED", began, began + 1))
            nodes.append(node(key, "RUNTIME_STATE_UNSPECIFIED", began, began))
        else:
            nodes.append(node(f"{key}-driver", "SUCCEEDED", began, began + 1))
            nodes += [node(name, state, began + 2, ended) for name in (key, "executor")]
        at += 1
    ended = any((one["display_name"], one["state"]) == (exit_task, "SUCCEEDED") for one in nodes)
    of_tasks = "PENDING" if not look else "RUNNING" if not ended else "FAILED" if broken else "SUCCEEDED"
    run |= {"state": server.ends_as or of_tasks, "finished_at": EPOCH}
    run |= {"error": {"code": 2, "message": server.reason}} if server.reason else {}
    run |= {"run_details": {"task_details": sorted(nodes, key=lambda one: one["display_name"])}} if nodes else {}


def node(name: str, state: str, start: int, end: int | None) -> Any:
    began, ended = BEGAN + timedelta(seconds=start), NEVER if end is None else BEGAN + timedelta(seconds=end)
    times = {"start_time": began.isoformat(), "end_time": ended.isoformat()}
    return {"run_id": "r", "task_id": f"t-{name}", "display_name": name, "state": state} | times
