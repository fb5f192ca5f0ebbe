"""How large the Argo workflow of a compiled pipeline is while it runs: what Kubeflow's compiler and driver and Argo write.

Kubeflow's compiler puts each component, container and needs of a task once into the workflow's arguments, and each task once
into the template of its DAG. The driver of a task gets these as arguments of a process. Argo keeps the inputs and outputs of
every node in the workflow's status, packs the nodes (gzip, base64) if the object exceeds 1 MiB, and stops the run if it still
does.

The constants are from Kubeflow 2.17.0's own code and Argo 4.0.5's: of three pipelines with up to 63 tasks, a model of each
node was within 5 % of what they wrote, and within 20 % of how well it packs. It gave up to 3,550 packed bytes for a task of
this project's pipelines, with the nodes of its driver, its executor and their retries.
"""

import hashlib
import json
from typing import Any, NamedTuple

from backend import Compiled

MIB = 1024 * 1024
TEMPLATES = 13_000  # bytes of the templates that do not grow with the pipeline
OF_TASK = 1_350  # bytes of a task in a DAG's template, besides the task itself
PACKED = 3_600  # bytes of a task's nodes in the packed status


class Sizes(NamedTuple):
    """Bytes."""

    object: int  # the workflow with the packed status, which must not exceed 1 MiB
    driver: int  # the largest argument of a driver
    command: int  # the largest argument of a launcher


def json_of(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def sizes(pipeline: str) -> Sizes:
    """The sizes for the text of a compiled pipeline whose run has succeeded."""
    found = Compiled(pipeline)
    tasks = [task for _, task in found.tasks()]
    given = [found.spec["root"], *found.components.values(), *found.containers.values(), *found.needs.values(), *tasks]
    return Sizes(
        _workflow(found, tasks) + PACKED * len(tasks),
        max(len(json_of(value)) for value in given),
        max(len(json_of(component)) for component in found.stages().values()),
    )


def _workflow(found: Compiled, tasks: list[Any]) -> int:
    """The bytes of the workflow without its status."""
    arguments = {"components-root": found.spec["root"]}
    for name, component in found.components.items():
        key = name
        if label := component.get("executorLabel"):
            key = hashlib.sha256(json_of(found.containers[label]).encode()).hexdigest()
            arguments[f"implementations-{key}"] = found.containers[label]
            arguments[f"kubernetes-{name}"] = found.needs.get(label, {})
        arguments[f"components-{key}"] = component
    listed = [{"name": key, "value": json_of(value)} for key, value in arguments.items()]
    in_dags = sum(len(json.dumps(json_of(t))) + 2 * len(json_of(t.get("dependentTasks", []))) for t in tasks)
    return TEMPLATES + len(json_of(listed)) + in_dags + OF_TASK * len(tasks)
