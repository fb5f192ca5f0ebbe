"""Every pipeline of this project, as Kubeflow's backend reads it: what it resolves, keeps apart and can hold.

`make demo` and `run-local` use KFP's local runner, which does not show any of this.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from backend import faults, without_run_id
from compiled import edit, text_for
from workflow_size import MIB, sizes

from repose.kubeflow.placing import RUN
from repose.kubeflow.project import read_project

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(ROOT.glob("components/**/component.yaml"))
PIPELINES = [  # and an environment; None: the committed file
    ("dvc.yaml", None), ("table1/dvc.yaml", None), ("table1/dvc.yaml", "production"),
    *(("dvc.yaml", path.stem) for path in sorted((ROOT / "pipelines/environments").glob("*.yaml"))),
]  # fmt: skip


@cache
def pipeline(file: str, environment: str | None) -> str:
    if environment is None:
        return (ROOT / "pipelines" / ("pipeline.yaml" if file == "dvc.yaml" else "table1.yaml")).read_text("utf-8")
    return text_for(read_project(ROOT, file), environment)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The pipeline of the environment staging with 16 parts and 9 systems."""
    folder = tmp_path_factory.mktemp("wide")
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    for path in (ROOT / "dvc.yaml", ROOT / "params.yaml", *ROOT.glob("table1/**/*.yaml")):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    systems = list(yaml.safe_load((folder / "params.yaml").read_text())["systems"])[:9]
    assert len(systems) == 9
    edit(folder / "params.yaml", "  parts: [0, 1] ", f"  parts: {list(range(16))} ")
    demo = "  systems: [surface, surface-tuned, attend, paper-m]  # rows"
    edit(folder / "params.yaml", demo, f"  systems: [{', '.join(systems)}]  # rows")
    return text_for(read_project(folder), "staging")


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_component_has_no_fault_and_its_own_name(path):
    text = path.read_text("utf-8")
    assert faults(text) == []
    spec = yaml.safe_load(text)
    assert spec["pipelineInfo"]["name"] == "-".join(path.relative_to(ROOT / "components").parts[:-1])
    assert spec["root"]["dag"]["tasks"].keys() == {spec["pipelineInfo"]["name"]}


@pytest.mark.parametrize(("file", "environment"), PIPELINES)
def test_a_pipeline_has_no_fault_and_its_run_fits_into_one_kubernetes_object(file, environment):
    """Kubeflow's messages know every field: as strict as the API server."""
    from google.protobuf.json_format import ParseDict
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

    text = pipeline(file, environment)
    assert without_run_id(text, RUN) == []
    check(text)
    spec, platform = yaml.safe_load_all(text)
    assert ParseDict(spec, PipelineSpec()).root.dag.tasks
    assert ParseDict(platform, PlatformSpec()).platforms["kubernetes"].deployment_spec.executors


def test_a_wide_pipeline_fits_as_well(wide):
    check(wide)


def check(text: str) -> None:
    assert faults(text) == []
    found = sizes(text)
    assert found.object < MIB / 2
    assert max(found.driver, found.command) < 60_000


# --- that each check can fail


def equal(spec: dict[str, Any]) -> None:
    spec["deploymentSpec"]["executors"]["exec-evaluate"] = spec["deploymentSpec"]["executors"]["exec-train"]


def renamed(spec: dict[str, Any]) -> None:
    spec["pipelineInfo"]["name"] = "Not_A_Name"


def argument(text: str) -> Any:
    return lambda spec: spec["deploymentSpec"]["executors"]["exec-train"]["container"]["args"].append(text)


def variable(text: str) -> Any:
    added = [{"name": "A", "value": text}]
    return lambda spec: spec["deploymentSpec"]["executors"]["exec-train"]["container"].update(env=added)


STAYS = "exec-train: {}: {} stays as it is"
KNOWN = ("{{$}}", "{{$.inputs.parameters['steps']}}", "{{$.outputs.artifacts['out'].path}}")
UNKNOWN = ("{{$.pipeline_job_uuid}}", "{{$.outputs.output_file}}", "a{{$.no_such}}b", "{{item}}")


@pytest.mark.parametrize(("change", "expected"), [
    *((argument(text), []) for text in KNOWN),
    *((argument(text), [STAYS.format("arguments", text)]) for text in UNKNOWN),  # only the local runner resolves some
    *((variable(text), [STAYS.format("environment", text)]) for text in KNOWN),
    (equal, ["comp-train: has the container of comp-evaluate"]),
    (renamed, ["pipeline name Not_A_Name"]),
])  # fmt: skip
def test_what_kubeflow_and_argo_would_not_resolve_keep_apart_or_take_is_found(text, change, expected):
    spec, *more = yaml.safe_load_all(text)
    change(spec)
    found = faults(yaml.safe_dump_all([spec, *more]))
    assert [one[: len(start)] for one, start in zip(found, expected, strict=True)] == expected
    assert set(without_run_id(text, "OTHER")) >= {"exec-train"}
