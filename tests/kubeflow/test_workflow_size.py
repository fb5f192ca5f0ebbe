"""The model of a workflow's size, compared with what Kubeflow 2.17.0's compiler and driver and Argo 4.0.5 made of the same."""

from typing import Any

import pytest
import yaml
from workflow_size import sizes

STRING = {"parameterType": "STRING"}
DATASET = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}


MEASURED = {  # of `fan`, in bytes
    # parts, systems, retries: workflow, status, packed, with retries everywhere: status, packed, largest arguments
    (4, 2, False): (28_188, 108_100, 8_800, 217_418, 15_020, 2_466, 3_622),
    (16, 9, True): (110_206, 1_155_169, 93_928, 1_790_011, 143_272, 23_633, 12_976),
    (40, 20, False): (325_700, 4_013_094, 459_876, 8_033_202, 928_224, 96_168, 31_723),
}


@pytest.mark.parametrize(("parts", "systems", "retries"), MEASURED)
def test_the_model_is_near_what_kubeflow_and_argo_make(parts: int, systems: int, retries: bool) -> None:
    text = fan(parts, systems, retries=retries)
    once, everywhere = sizes(text), sizes(text, retries_everywhere=True)
    found = (once.workflow, once.status, once.packed, everywhere.status, everywhere.packed, once.driver, once.command)
    measured = MEASURED[parts, systems, retries]
    for index, (ours, theirs) in enumerate(zip(found, measured, strict=True)):
        # how well it packs depends on the texts
        assert ours == pytest.approx(theirs, rel=0.2 if index in (2, 4) else 0.05), index


def fan(parts: int, systems: int, *, retries: bool) -> str:
    """A pipeline in which each of some systems takes the artifacts of all parts."""
    ports = {f"data_part_{number}": DATASET for number in range(parts)}
    common = {"remote": {"componentInputParameter": "pipelinechannel--remote"}}
    policy = {
        "retryPolicy": {
            "maxRetryCount": 2,
            "backoffDuration": "60s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "90000s",
        }
    }
    tasks: dict[str, Any] = {
        f"part-{number}": _task("part", f"part@{number}", common) for number in range(parts)
    } | {
        f"train-{number}": _task("train", f"train@{number}", common) | {"dependentTasks": [f"part-{n}" for n in range(parts)]}
        for number in range(systems)
    }  # fmt: skip
    for name, task in tasks.items():
        if name.startswith("train"):
            sources = {
                port: {"taskOutputArtifact": {"outputArtifactKey": "out", "producerTask": f"part-{number}"}}
                for number, port in enumerate(ports)
            }
            task["inputs"]["artifacts"] = sources
        task |= policy if retries else {}
    inner = {"pipelinechannel--remote": STRING}
    outer = {"remote": {"componentInputParameter": "remote"}}
    exit_handler = _task("exit-handler-1", None, {"pipelinechannel--remote": outer["remote"]})
    record = _task("record", None, outer) | {
        "dependentTasks": ["exit-handler-1"], "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
    }  # fmt: skip
    names = ("part", "train", "record")
    spec = {
        "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.17.0", "pipelineInfo": {"name": "fan"},
        "root": {
            "dag": {"tasks": {"exit-handler-1": exit_handler, "record": record}},
            "inputDefinitions": {"parameters": {"remote": STRING | {"defaultValue": "s3://bucket/folder"}}},
        },
        "components": {
            "comp-exit-handler-1": {"dag": {"tasks": tasks}, "inputDefinitions": {"parameters": inner}},
            "comp-part": _component("part", {}), "comp-train": _component("train", {"artifacts": ports}),
            "comp-record": {"executorLabel": "exec-record", "inputDefinitions": {"parameters": {"remote": STRING}}},
        },
        "deploymentSpec": {"executors": {f"exec-{name}": {"container": _container(name)} for name in names}},
    }  # fmt: skip
    need = {
        "fieldPathAsEnv": [{"name": "RUN", "fieldPath": "metadata.labels['pipeline/runid']"}],
        "podMetadata": {"labels": {"app.kubernetes.io/part-of": "repose"}},
        "securityContext": {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True},
    }
    platform = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {f"exec-{name}": need for name in names}}}}
    }
    return yaml.safe_dump_all([spec, platform])


def _task(component: str, stage: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    own = {} if stage is None else {"stage": {"runtimeValue": {"constant": stage}}}
    return {
        "cachingOptions": {"enableCache": True}, "componentRef": {"name": f"comp-{component}"},
        "inputs": {"parameters": own | parameters}, "taskInfo": {"name": stage or component},
    }  # fmt: skip


def _component(name: str, ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "executorLabel": f"exec-{name}", "inputDefinitions": {"parameters": {"remote": STRING, "stage": STRING}} | ports,
        "outputDefinitions": {"artifacts": {"out": DATASET}},
    }  # fmt: skip


def _container(name: str) -> dict[str, Any]:
    return {
        "image": "registry.example.org/repose:latest", "command": ["python3", "-m", "step"], "args": [name, "{{$}}"],
        "resources": {"cpuRequest": 1.0, "resourceCpuRequest": "1", "memoryRequest": 4.0, "resourceMemoryRequest": "4Gi"},
    }  # fmt: skip
