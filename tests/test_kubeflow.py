"""What is compiled of our own dvc.yaml files and committed."""

import sys
from pathlib import Path

import pytest

from project import ROOT

pytest.importorskip("kfp")
sys.path.insert(0, str(Path(__file__).parent / "kubeflow"))

import compiled

from repose.kubeflow import compiler
from repose.kubeflow.params import ParamsFile, from_text
from repose.kubeflow.project import Project, read_project, read_projects

STAGES = {"download", "validate", "keypoints", "posemaps", "split", "train", "evaluate", "report", "gates", "card"}
TEXT = (ROOT / "pipelines" / "pipeline.yaml").read_text()


@pytest.fixture(scope="module")
def project() -> Project:
    return read_project(ROOT)


def test_what_is_committed_is_current(project):
    for pipeline in (project, *read_projects(ROOT, ["table1/dvc.yaml"])):
        assert compiler.not_current(pipeline) == [], "run `make compile` and commit what it writes"


@pytest.mark.parametrize("name", ["ablations", "figure", "surface"])
def test_the_other_pipelines_compile_too(name):
    (pipeline,) = read_projects(ROOT, [f"{name}/dvc.yaml"])
    assert pipeline.stages
    assert len(compiler.not_current(pipeline)) > 1  # what they compile to is not committed


def test_the_graph_is_that_of_dvc_and_a_stage_has_one_name_everywhere(project):
    made = compiled.read(TEXT)
    assert made.edges == compiled.reduced(compiled.edges_of_dvc(project))
    assert {path.parent.name for path in (ROOT / "components").glob("*/component.yaml")} == STAGES
    assert {address.partition("@")[0] for address in made.tasks} == STAGES | {compiled.RECORD}
    for part in (0, 1):  # side by side over the parts of the images
        assert {upstream for stage, upstream in made.edges if stage == f"posemaps@{part}"} == {f"keypoints@{part}"}


def test_the_run_form_is_short_and_each_default_is_the_committed_param(project):
    plan, form = compiler.plan_for(project, None), compiled.read(TEXT).parameters
    assert set(form) == {"remote", "endpoint", "overrides", *(exposed.name for exposed in plan.exposed)}
    assert 5 <= len(form) <= 20
    for exposed in plan.exposed:
        value = ParamsFile.read(ROOT / exposed.file)[exposed.key]
        assert from_text(form[exposed.name]["defaultValue"], value, exposed.name) == value
        assert form[exposed.name]["description"].endswith(f"({exposed.key})")


def test_what_people_look_at_is_html_and_scores_are_metrics(project):
    plan = compiler.plan_for(project, None)
    kinds = {(task.stage.group, out.name): out for task in plan.tasks for out in task.outputs}
    assert (kinds["validate", "reports_validate"].type, kinds["validate", "reports_validate"].page) == (
        "HTML", "validation.html",
    )  # fmt: skip
    assert kinds["evaluate", "metrics_json"].type == "Metrics"
    assert (kinds["train", "runs"].type, kinds["train", "runs"].export) == ("Model", True)


@pytest.mark.parametrize("environment", ["laptop", "staging", "production"])
def test_every_environment_compiles(project, environment):
    made = compiled.read(compiled.text_for(project, environment))
    assert all(asked["secretAsEnv"][0]["secretName"] == "repose-s3" for asked in made.platform.values())
    assert all(asked["securityContext"]["runAsNonRoot"] for asked in made.platform.values())
    on_gpu = {
        stage.partition("@")[0]
        for stage, container in made.containers.items()
        if "accelerator" in container["resources"]
    }
    assert on_gpu == (set() if environment == "laptop" else {"train", "evaluate"})


def test_no_value_of_a_secret_is_in_what_is_committed():
    for path in [*(ROOT / "pipelines").rglob("*.yaml"), *(ROOT / "components").rglob("*.yaml")]:
        assert "password" not in path.read_text().replace("password_variable", "")
