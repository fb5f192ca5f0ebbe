"""Faults of a compiled pipeline that Kubeflow's backend would not report, or only in a run (backend.json has the sources).

KFP's local runner resolves more than the backend does, and knows neither Argo nor the cache.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

RULES: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
_TAG = re.compile(r"\{\{.*?\}\}")


class Compiled:
    """A compiled pipeline or component, from its text."""

    def __init__(self, text: str) -> None:
        self.documents = list(yaml.safe_load_all(text))
        self.spec = self.documents[0]
        self.components: dict[str, Any] = self.spec["components"]
        self.containers = {label: one["container"] for label, one in self.spec["deploymentSpec"]["executors"].items()}
        platform = self.documents[1] if len(self.documents) > 1 else {}
        self.needs = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})

    def tasks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for component in [self.spec["root"], *self.components.values()]:
            yield from component.get("dag", {}).get("tasks", {}).items()

    def stages(self) -> dict[str, dict[str, Any]]:
        """The components that run a container."""
        return {name: one for name, one in self.components.items() if "executorLabel" in one}


def faults(text: str) -> list[str]:
    """All faults of a compiled pipeline or component, each as one line."""
    found = Compiled(text)
    return [*_unresolved(found), *_same_container(found), *_names(found)]


def _resolved(text: str, where: str) -> bool:
    """Whether the backend resolves every placeholder of a text in this place."""
    known = {re.sub(r"\['[^']+'\]", "['NAME']", tag) for tag in _TAG.findall(text)}
    return known <= set(RULES[where])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(child)


def _unresolved(found: Compiled) -> Iterator[str]:
    for label, container in found.containers.items():
        program, *arguments = [*container.get("command", []), *container.get("args", [])]
        places = {
            "program": [program], "arguments": arguments, "environment": list(_texts(container.get("env", []))),
            "image": [container["image"], *_texts(container.get("resources", {}))],
        }  # fmt: skip
        for where, texts in places.items():
            yield from (f"{label}: {where}: {text} stays as it is" for text in texts if not _resolved(text, where))
        for text in _texts(found.needs.get(label, {})):
            if _TAG.search(text):
                yield f"{label}: needs: {text} stays as it is"
    for name, task in found.tasks():
        for key, value in task.get("inputs", {}).get("parameters", {}).items():
            text = str(value.get("runtimeValue", {}).get("constant", ""))
            whole = text in RULES["constants"] or "{{$.workspace_path}}" in text
            if _TAG.search(text) and not whole:
                yield f"{name}: {key}: {text} stays as it is"


def _same_container(found: Compiled) -> Iterator[str]:
    """Argo's compiler keeps one component for all with equal containers (argocompiler/argo.go:437)."""
    first: dict[str, str] = {}
    stages = found.stages()
    for name, component in stages.items():
        key = json.dumps(found.containers[component["executorLabel"]], sort_keys=True)
        other = first.setdefault(key, name)
        same = {part: component.get(part) for part in ("inputDefinitions", "outputDefinitions")}
        if any(stages[other].get(part) != value for part, value in same.items()):
            yield f"{name}: has the container of {other} and other inputs or outputs: it would get those of {other}"


def _names(found: Compiled) -> Iterator[str]:
    name = found.spec["pipelineInfo"]["name"]
    (pattern,) = RULES["pipeline name"]
    if not re.fullmatch(pattern, name):
        yield f"pipeline name {name}: is not {pattern}"
    if found.spec["schemaVersion"] != "2.1.0":
        yield f"schema version {found.spec['schemaVersion']}: is not 2.1.0"


def without_run_id(text: str, variable: str) -> list[str]:
    """The executors whose container does not get the run's ID from its pod's label in an environment variable."""
    found = Compiled(text)
    (label,) = RULES["label of the run's ID"]
    expected = {"name": variable, "fieldPath": f"metadata.labels['{label}']"}
    return [name for name in found.containers if expected not in found.needs.get(name, {}).get("fieldPathAsEnv", [])]
