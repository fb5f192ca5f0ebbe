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
def test_a_component_has_no_fault_and_its_own_name(path: Path) -> None:
    text = path.read_text("utf-8")
    assert faults(text) == []
    spec = yaml.safe_load(text)
    assert spec["pipelineInfo"]["name"] == "-".join(path.relative_to(ROOT / "components").parts[:-1])
    assert spec["root"]["dag"]["tasks"].keys() == {spec["pipelineInfo"]["name"]}


@pytest.mark.parametrize(("file", "environment"), PIPELINES)
def test_a_pipeline_has_no_fault_and_every_task_knows_its_run(file: str, environment: str | None) -> None:
    text = pipeline(file, environment)
    assert faults(text) == []
    assert without_run_id(text, RUN) == []


@pytest.mark.parametrize(("file", "environment"), PIPELINES)
def test_kubeflow_s_messages_know_every_field(file: str, environment: str | None) -> None:
    """As strict as the API server."""
    from google.protobuf.json_format import ParseDict
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

    spec, platform = yaml.safe_load_all(pipeline(file, environment))
    assert ParseDict(spec, PipelineSpec()).root.dag.tasks
    assert ParseDict(platform, PlatformSpec()).platforms["kubernetes"].deployment_spec.executors


@pytest.mark.parametrize(("file", "environment"), PIPELINES)
def test_the_run_of_a_pipeline_fits_into_one_kubernetes_object(file: str, environment: str | None) -> None:
    found = sizes(pipeline(file, environment), retries_everywhere=True)
    assert found.object < MIB / 2
    assert max(found.driver, found.command) < 60_000


def test_a_wide_pipeline_fits_as_well(wide: str) -> None:
    assert faults(wide) == []
    found = sizes(wide, retries_everywhere=True)
    assert found.object < MIB / 2
    assert max(found.driver, found.command) < 60_000


# --- that each check can fail


def broken(text: str, change: Any) -> list[str]:
    """The faults of a compiled pipeline of which the first task's container, or the whole, was changed."""
    spec, *more = yaml.safe_load_all(text)
    change(spec)
    return faults(yaml.safe_dump_all([spec, *more]))


def _first(spec: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    return container


@pytest.mark.parametrize(
    "argument", ["{{$.pipeline_job_uuid}}", "{{$.outputs.output_file}}", "a{{$.no_such}}b", "{{item}}"]
)
def test_a_placeholder_that_only_the_local_runner_resolves_is_found(text: str, argument: str) -> None:
    assert faults(text) == []
    (found,) = broken(text, lambda spec: _first(spec)["args"].append(argument))
    assert found == f"exec-train: arguments: {argument} stays as it is"


@pytest.mark.parametrize(
    "argument", ["{{$}}", "{{$.inputs.parameters['steps']}}", "{{$.outputs.artifacts['out'].path}}"]
)
def test_the_environment_of_a_container_has_no_placeholders(text: str, argument: str) -> None:
    assert broken(text, lambda spec: _first(spec)["args"].append(argument)) == []
    (found,) = broken(text, lambda spec: _first(spec).update(env=[{"name": "A", "value": argument}]))
    assert found.startswith("exec-train: environment: ")


def test_equal_containers_of_different_components_are_found(text: str) -> None:
    def equal(spec: dict[str, Any]) -> None:
        executors = spec["deploymentSpec"]["executors"]
        executors["exec-evaluate"] = executors["exec-train"]

    (found,) = broken(text, equal)
    assert "comp-evaluate" in found
    assert "comp-train" in found


def test_what_argo_and_the_server_would_refuse_is_found(text: str) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["pipelineInfo"]["name"] = "Not_A_Name"
        next(iter(spec["root"]["dag"]["tasks"].values()))["retryPolicy"] = {"maxRetryCount": 2, "backoffFactor": 1.5}
        given = '{"IfPresent": {"InputName": "model", "Then": ["--model"]}}'
        spec["deploymentSpec"]["executors"]["exec-evaluate"]["container"]["args"].append(given)

    assert [found.split(":")[0].split(" ")[0] for found in broken(text, change)][:1] == ["pipeline"]
    assert len(broken(text, change)) == 3


def test_a_task_without_its_run_is_found(text: str) -> None:
    assert set(without_run_id(text, RUN)) >= {"exec-train"}
