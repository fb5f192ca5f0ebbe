"""What a compiled pipeline says, read back from its text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml


class Pipeline(NamedTuple):
    """A compiled pipeline."""

    spec: dict[str, Any]
    tasks: dict[str, dict[str, Any]]  # of the stages, by address
    executors: dict[str, dict[str, Any]]  # of each stage's task: its container
    platform: dict[str, dict[str, Any]]  # of each stage's task: what Kubernetes is asked for


def read(text: str) -> Pipeline:
    """A compiled pipeline by its stages' addresses."""
    spec, *more = yaml.safe_load_all(text)
    kubernetes = more[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if more else {}
    (inner,) = (component["dag"] for component in spec["components"].values() if "dag" in component)
    tasks = {address_of(task): task for task in inner["tasks"].values()}
    labels = {
        address: spec["components"][task["componentRef"]["name"]]["executorLabel"] for address, task in tasks.items()
    }
    return Pipeline(
        spec, tasks,
        {address: spec["deploymentSpec"]["executors"][label]["container"] for address, label in labels.items()},
        {address: kubernetes.get(label, {}) for address, label in labels.items()},
    )  # fmt: skip


def address_of(task: Mapping[str, Any]) -> str:
    """The stage of a task."""
    return str(task["inputs"]["parameters"]["stage"]["runtimeValue"]["constant"])


def edges(text: str) -> set[tuple[str, str]]:
    """Stage and the stage whose artifact it takes, for every artifact that goes from task to task."""
    spec = yaml.safe_load_all(text)
    (inner,) = (component["dag"] for component in next(spec)["components"].values() if "dag" in component)
    names = {name: address_of(task) for name, task in inner["tasks"].items()}
    return {
        (names[name], names[artifact["taskOutputArtifact"]["producerTask"]])
        for name, task in inner["tasks"].items()
        for artifact in task["inputs"].get("artifacts", {}).values()
    }
