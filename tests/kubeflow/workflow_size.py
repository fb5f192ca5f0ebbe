"""How large the Argo workflow of a compiled pipeline is while it runs: what Kubeflow's compiler and driver and Argo write.

Kubeflow's compiler puts each component, container and needs of a task once into the workflow's arguments, and each task once
into the template of its DAG. The driver of a task gets these as arguments of a process and returns a patch of the pod: its
inputs and outputs (the executor input), the component and the arguments, as JSON in JSON. Argo keeps the inputs and outputs of
every node in the workflow's status: the patch stands in the driver's outputs and in the inputs of the executor, its
implementation and, with retries, the node between them. The controller's settings in Kubeflow 2.17's manifests give every
template retries, and so every node another one.

Argo packs the nodes (gzip, base64) if the object exceeds 1 MiB, and stops the run if it still does.

The model was compared with Kubeflow 2.17.0's own code and Argo 4.0.5's: the test of this module has the numbers.
"""

import base64
import gzip
import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, NamedTuple

import yaml

MIB = 1024 * 1024
TEMPLATES = 10_000  # bytes of the templates that do not grow with the pipeline
RETRIED = 3_000  # bytes of those for tasks with retries
FLAGS = 620  # bytes of the launcher's flags and of the pod's fields that have no input or need
ABOUT_PODS = ("hostNodeName", "ip-10-0-123-45.eu-central-1.compute.internal"), ("taskResultSynced", True)
STORE = {"Provider": "minio", "Params": {
    "accessKeyKey": "accesskey", "disableSSL": "true", "endpoint": "seaweedfs.kubeflow:9000", "fromEnv": "false",
    "maxRetries": "5", "region": "us-east-1", "secretKeyKey": "secretkey", "secretName": "mlpipeline-minio-artifact",
}}  # fmt: skip


class Sizes(NamedTuple):
    """Bytes."""

    workflow: int
    status: int
    packed: int  # the status as Argo packs it
    driver: int  # the largest argument of a driver
    command: int  # the largest argument of a launcher or of the command that it starts

    @property
    def object(self) -> int:
        """The workflow with the packed status, which must not exceed 1 MiB."""
        return self.workflow + self.packed


def sizes(pipeline: str, *, retries_everywhere: bool = False) -> Sizes:
    """The sizes for the text of a compiled pipeline whose run has succeeded."""
    run = _Run(pipeline, retries_everywhere=retries_everywhere)
    run.start()
    status = json_of(run.nodes)
    packed = base64.b64encode(gzip.compress(status.encode(), 6, mtime=0))
    return Sizes(run.workflow(), len(status), len(packed), run.driver, run.command)


def json_of(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


class _Run:
    """A run in which every task succeeds at once."""

    def __init__(self, pipeline: str, *, retries_everywhere: bool) -> None:
        self.spec, *platform = yaml.safe_load_all(pipeline)
        self.needs = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
        self.name = self.spec["pipelineInfo"]["name"]
        self.retries_everywhere = retries_everywhere
        self.nodes: dict[str, Any] = {}
        self.numbers, self.random = count(1), random.Random(0)
        self.driver = self.command = 0
        self.made: dict[str, dict[str, Any]] = {}  # outputs by task

    def component(self, task: Mapping[str, Any]) -> dict[str, Any]:
        return self.spec["components"][task["componentRef"]["name"]]

    def container(self, component: Mapping[str, Any]) -> dict[str, Any] | None:
        label = component.get("executorLabel")
        return None if label is None else self.spec["deploymentSpec"]["executors"][label]["container"]

    def workflow(self) -> int:
        """The bytes of the workflow without its status."""
        arguments = {"components-root": self.spec["root"]}
        per_task = 0
        for name, component in self.spec["components"].items():
            key = name
            if container := self.container(component):
                key = hashlib.sha256(json_of(container).encode()).hexdigest()
                arguments[f"implementations-{key}"] = container
                if needs := self.needs.get(component["executorLabel"]):
                    arguments[f"kubernetes-{name}"] = needs
            arguments[f"components-{key}"] = component
        retried = False
        for task in self.tasks():
            per_task += len(json.dumps(json_of(task))) + 2 * len(json_of(task.get("dependentTasks", []))) + 1150
            if "retryPolicy" in task:
                per_task, retried = per_task + 200, True
        listed = [{"name": key, "value": json_of(value)} for key, value in arguments.items()]
        return TEMPLATES + RETRIED * retried + len(json_of(listed)) + per_task

    def tasks(self) -> Iterable[dict[str, Any]]:
        for component in [self.spec["root"], *self.spec["components"].values()]:
            yield from component.get("dag", {}).get("tasks", {}).values()

    def start(self) -> None:
        values = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = {key: str(value.get("defaultValue", "s3://bucket/folder")) for key, value in values.items()}
        config = json_of({"parameterValues": values})
        inputs = {"component": json_of(self.spec["root"]), "runtime-config": config, "driver-type": "ROOT_DAG"}
        self._node("root-driver", inputs, {"execution-id": "1"})
        self._dag(self.spec["root"], values)

    def _dag(self, component: Mapping[str, Any], given: Mapping[str, str]) -> None:
        self._node("dag", {"parent-dag-id": "1"})
        tasks = dict(component["dag"]["tasks"])
        while tasks:
            ready = [name for name, task in tasks.items() if not set(task.get("dependentTasks", ())) & set(tasks)]
            for name in ready:
                self._task(name, tasks[name], given)
            tasks = {name: task for name, task in tasks.items() if name not in ready}

    def _task(self, name: str, task: Mapping[str, Any], given: Mapping[str, str]) -> None:
        component = self.component(task)
        inputs = {"component": json_of(component), "task": json_of(task), "task-name": name, "parent-dag-id": "1"}
        values = {key: self._value(value, given) for key, value in task.get("inputs", {}).get("parameters", {}).items()}
        container = self.container(component)
        if container is None:
            self._node(f"{name}-driver", inputs, {"execution-id": "1"})
            self._dag(component, values)
            return
        needs = self.needs.get(component["executorLabel"], {})
        inputs |= {"container": json_of(container), "kubernetes-config": json_of(needs) if needs else ""}
        patch = self._patch(name, task, component, container, values)
        self._node(f"{name}-driver", inputs, {"pod-spec-patch": patch, "cached-decision": "false", "condition": "true"})
        passed = {"pod-spec-patch": patch} | {
            f"pod-metadata-label-key-{key}": key for key in needs.get("podMetadata", {})
        }
        passed |= {f"retry-{key}": str(value) for key, value in task.get("retryPolicy", {}).items()}
        self._node(name, passed)
        self._node(f"{name}.executor", passed, {}, retried="retryPolicy" in task)

    def _value(self, spec: Mapping[str, Any], given: Mapping[str, str]) -> str:
        if "runtimeValue" in spec:
            return str(spec["runtimeValue"]["constant"])
        return self._hash() if "taskOutputParameter" in spec else given[spec["componentInputParameter"]]

    def _patch(self, name: str, task: Any, component: Any, container: Any, values: Mapping[str, str]) -> str:
        """What the driver returns: the launcher's command, with the executor input."""
        outputs = component.get("outputDefinitions", {})
        folder = f"minio://mlpipeline/v2/artifacts/{self.name}/{self._uuid()}/{name}/{self._uuid()}"
        self.made[name] = {
            key: {"name": key, "type": {"schemaTitle": out["artifactType"]["schemaTitle"], "schemaVersion": "0.0.1"},
                  "uri": f"{folder}/{key}"}
            for key, out in outputs.get("artifacts", {}).items()
        }  # fmt: skip
        executor_input = json_of({
            "inputs": {"parameterValues": values, "artifacts": self._inputs(task)},
            "outputs": {
                "artifacts": {key: {"artifacts": [one]} for key, one in self.made[name].items()},
                "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in outputs.get("parameters", {})},  # noqa: S108
                "outputFile": f"{folder}/output_metadata.json",
            },
        })  # fmt: skip
        self.command = max(self.command, len(executor_input), len(json_of(component)))
        command = [FLAGS * "-", executor_input, json_of(component)]
        needs = self.needs.get(component["executorLabel"], {})
        return json_of(
            {"containers": [{"command": command, "args": [*container["command"], *container["args"]]}], **needs}
        )

    def _inputs(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The input artifacts of a task, with what a step says about each and Kubeflow adds."""
        found = {}
        for key, spec in task.get("inputs", {}).get("artifacts", {}).items():
            source = spec["taskOutputArtifact"]
            one = dict(self.made[source["producerTask"]][source["outputArtifactKey"]])
            about = {
                "display_name": one["name"], "store_session_info": json_of(STORE), "path": f"data/{one['name']}",
                "md5": f"{self._hash()}.dir", "size": self.random.randrange(10**9), "nfiles": 1234, "entry": self._hash(),
                "remote": "s3://bucket/folder", "stage": source["producerTask"],
            }  # fmt: skip
            if one["type"]["schemaTitle"] == "system.Metrics":
                about |= {f"systems.system.protocol.metric-{n}": self.random.random() for n in range(60)}
            found[key] = {"artifacts": [one | {"name": str(100000 + next(self.numbers)), "metadata": about}]}
        return found

    def _node(
        self, name: str, inputs: Mapping[str, str], outputs: Mapping[str, str] | None = None, *, retried: bool = False
    ) -> None:
        """Add a node of the status; `outputs`: of a pod, else None. Retries add a node around it."""
        if name.endswith("-driver"):
            self.driver = max(self.driver, *(len(value) for value in inputs.values()))
        for _ in range(1 + (retried or self.retries_everywhere)):
            number, before, after = (f"{self.name}-abcde-{self.random.randrange(10**10)}" for _ in range(3))
            node: dict[str, Any] = {
                "id": number, "name": f"{self.name}-abcde.root.exit-handler-1.{name}", "displayName": name, "type": "Pod",
                "templateName": "system-container-driver", "templateScope": f"local/{self.name}-abcde",
                "phase": "Succeeded", "boundaryID": before, "startedAt": "2026-01-01T01:02:03Z", "progress": "1/1",
                "finishedAt": "2026-01-01T01:02:03Z", "resourcesDuration": {"cpu": 1, "memory": 12}, "children": [after],
                "inputs": {"parameters": [{"name": key, "value": value} for key, value in inputs.items()]},
            }  # fmt: skip
            if outputs is not None:
                listed = [
                    {"name": key, "value": value, "valueFrom": {"path": f"/tmp/outputs/{key}", "default": ""}}  # noqa: S108
                    for key, value in outputs.items()
                ]
                logs = {"name": "main-logs", "s3": {"key": f"private-artifacts/team/{number}/2026/01/01/{number}"}}
                node |= dict(ABOUT_PODS) | {"outputs": {"parameters": listed, "artifacts": [logs], "exitCode": "0"}}
            self.nodes[number] = node

    def _hash(self) -> str:
        return f"{self.random.getrandbits(128):032x}"

    def _uuid(self) -> str:
        text = self._hash()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
