"""Every pipeline of this project, as Kubeflow's backend reads it: what it resolves, keeps apart and can hold.

`make demo` and `run-local` use KFP's local runner, which does not show any of this.
"""

from pathlib import Path

import pytest
import yaml
from backend import faults, without_run_id
from compiled import edit, text_for
from foreign import write
from workflow_size import MIB, sizes

from repose.kubeflow.placing import RUN
from repose.kubeflow.project import read_project

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(ROOT.glob("components/**/component.yaml"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with 16 parts and 9 systems, without code and data."""
    patterns = ("dvc.yaml", "params.yaml", "pipelines/**/*.yaml", "table1/**/*.yaml")
    paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
    folder = write(tmp_path_factory.mktemp("wide"), {str(path.relative_to(ROOT)): path.read_text() for path in paths})
    edit(folder / "params.yaml", "  parts: [0, 1] ", f"  parts: {list(range(16))} ")
    systems = list(yaml.safe_load((folder / "params.yaml").read_text())["systems"])[:9]
    demo = "  systems: [surface, surface-tuned, attend, paper-m]  # rows"
    edit(folder / "params.yaml", demo, f"  systems: [{', '.join(systems)}]  # rows")
    return folder


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_component_has_no_fault_and_its_own_name(path):
    text = path.read_text("utf-8")
    assert faults(text) == []
    spec = yaml.safe_load(text)
    assert spec["pipelineInfo"]["name"] == "-".join(path.relative_to(ROOT / "components").parts[:-1])
    assert spec["root"]["dag"]["tasks"].keys() == {spec["pipelineInfo"]["name"]}


@pytest.mark.parametrize(("file", "environment"), [
    ("pipelines/pipeline.yaml", None), ("pipelines/table1.yaml", None), ("dvc.yaml", "production"),
    ("table1/dvc.yaml", "production"),
])  # fmt: skip
def test_a_pipeline_has_no_fault_and_only_fields_that_kubeflow_knows(file, environment):
    """Kubeflow's messages know every field: as strict as the API server."""
    from google.protobuf.json_format import ParseDict
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

    text = text_for(read_project(ROOT, file), environment) if environment else (ROOT / file).read_text("utf-8")
    assert faults(text) == without_run_id(text, RUN) == []
    spec, platform = yaml.safe_load_all(text)
    assert ParseDict(spec, PipelineSpec()).root.dag.tasks
    assert ParseDict(platform, PlatformSpec()).platforms["kubernetes"].deployment_spec.executors


def test_the_run_of_a_wide_pipeline_fits_into_one_kubernetes_object(wide):
    found = sizes(text_for(read_project(wide), "staging"))
    assert found.object < MIB / 2
    assert max(found.driver, found.command) < 60_000


def test_each_of_these_checks_can_fail(text):
    spec, *more = yaml.safe_load_all(text)
    executors = spec["deploymentSpec"]["executors"]
    container = executors["exec-train"]["container"]
    container["args"] += ["{{$.inputs.parameters['steps']}}", "{{$.pipeline_job_uuid}}"]  # the latter: locally alone
    container["env"] = [{"name": "A", "value": "{{$}}"}]
    spec["pipelineInfo"]["name"] = "Not_A_Name"
    first, second, third = faults(yaml.safe_dump_all([spec, *more]))
    assert first == "exec-train: arguments: {{$.pipeline_job_uuid}} stays as it is"
    assert second == "exec-train: environment: {{$}} stays as it is"
    assert third.startswith("pipeline name Not_A_Name: is not")
    executors["exec-evaluate"] = executors["exec-train"]
    assert any(
        "comp-train: has the container of comp-evaluate" in one for one in faults(yaml.safe_dump_all([spec, *more]))
    )
    assert "exec-train" in without_run_id(text, "OTHER")
