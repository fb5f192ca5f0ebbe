"""What is compiled of our own dvc.yaml and committed."""

import sys
from pathlib import Path

import pytest
import yaml

from project import ROOT

pytest.importorskip("kfp")
sys.path.insert(0, str(Path(__file__).parent / "kubeflow"))

import compiled

from repose.kubeflow import compiler
from repose.kubeflow.params import from_pipeline, leaves_of
from repose.kubeflow.project import Project, read_project, read_projects

STAGES = {"download", "validate", "keypoints", "posemaps", "split", "train", "evaluate", "report", "gates", "card"}
TEXT = (ROOT / "pipelines" / "pipeline.yaml").read_text()


@pytest.fixture(scope="module")
def project() -> Project:
    return read_project(ROOT)


@pytest.fixture(scope="module")
def table1() -> Project:
    return read_projects(ROOT, ["table1/dvc.yaml"])[0]


def test_what_is_committed_is_current(project: Project, table1: Project) -> None:
    for pipeline in (project, table1):
        assert compiler.not_current(pipeline) == [], "run `make compile` and commit what it writes"


def test_the_systems_of_table_1_are_branches_side_by_side(table1: Project) -> None:
    rows = yaml.safe_load((ROOT / "table1" / "params.yaml").read_text())["table"]["systems"]
    shared = {"download", "validate", "keypoints", "posemaps", "split"}
    upstream = {stage.address.removeprefix("table1/dvc.yaml:"): stage.upstream for stage in table1.stages}
    for row in rows:
        assert {name.partition("@")[0] for name in upstream[f"train@{row}"]} == shared - {"download"}
        assert upstream[f"train-street@{row}"] == ("table1/dvc.yaml:street",)
        assert f"table1/dvc.yaml:train@{row}" in upstream[f"evaluate@{row}"]
    assert len(upstream["table"]) == 2 * len(rows) + 2
    text = (ROOT / "pipelines" / "table1.yaml").read_text()
    assert set(compiled.read(text).tasks) == {stage.address for stage in table1.stages}


def test_the_graph_is_that_of_dvc_and_a_stage_has_one_name_everywhere(project: Project) -> None:
    assert compiled.edges(TEXT) == compiled.edges_of_dvc(project)
    assert {path.parent.name for path in (ROOT / "components").glob("*/component.yaml")} == STAGES
    assert {stage.group for stage in project.stages} == STAGES
    assert {address.partition("@")[0] for address in compiled.read(TEXT).tasks} == STAGES


def test_keypoints_and_posemaps_scale_out_over_the_parts_of_the_images(project: Project) -> None:
    edges = compiled.edges(TEXT)
    for part in (0, 1):
        assert {upstream for stage, upstream in edges if stage == f"posemaps@{part}"} == {
            "validate",
            f"keypoints@{part}",
        }
        assert {upstream for stage, upstream in edges if stage == f"keypoints@{part}"} == {"download", "validate"}


def test_each_param_of_a_stage_is_a_parameter_with_its_comment(project: Project) -> None:
    said = compiled.read(TEXT).spec["root"]["inputDefinitions"]["parameters"]
    leaves = {leaf.pipeline_name: leaf for stage in project.stages for leaf in leaves_of(stage, project.params_files)}
    assert set(said) == set(leaves) | {"remote", "endpoint"}
    for name, leaf in leaves.items():
        if not name.startswith("systems_"):  # the comment of a row's key holds for all rows
            assert said[name]["description"] == leaf.comment, name
        assert from_pipeline(said[name]["defaultValue"], leaf.value, name) == leaf.value


def test_what_people_look_at_is_html_and_scores_are_metrics(project: Project) -> None:
    plan = compiler.plan_for(project, None)
    kinds = {(task.stage.group, name): kind for task in plan.tasks for name, kind in task.outputs.items()}
    assert kinds["validate", "reports_validate"] == "HTML"
    assert kinds["evaluate", "picture_page"] == "HTML"
    assert kinds["train", "curves_page"] == "HTML"
    assert kinds["evaluate", "metrics_json"] == "Metrics"
    assert kinds["train", "runs"] == "Model"


@pytest.mark.parametrize("environment", ["laptop", "staging", "production"])
def test_every_environment_compiles(project: Project, environment: str) -> None:
    made = compiled.read(compiled.text_for(project, environment))
    assert all(asked["secretAsEnv"][0]["secretName"] == "repose-s3" for asked in made.platform.values())
    assert all(asked["securityContext"]["runAsNonRoot"] for asked in made.platform.values())
    on_gpu = {
        stage.partition("@")[0]
        for stage, container in made.executors.items()
        if "accelerator" in container["resources"]
    }
    assert on_gpu == (set() if environment == "laptop" else {"train", "evaluate"})


def test_no_value_of_a_secret_is_in_what_is_committed() -> None:
    for path in [*(ROOT / "pipelines").rglob("*.yaml"), *(ROOT / "components").rglob("*.yaml")]:
        assert "password" not in path.read_text().replace("password_variable", "")
