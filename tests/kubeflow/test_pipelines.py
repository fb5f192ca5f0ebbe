"""Several pipelines in one project: each dvc.yaml with all that it needs from others, and nothing else of them."""

import shutil
from pathlib import Path

import foreign
import pytest
import steps
import yaml
from compiled import RECORD, compile_, edit, environment, read
from test_local import kfp
from typer.testing import CliRunner

from repose.cli import app
from repose.errors import ReposeError
from repose.kubeflow import compiler, fetch
from repose.kubeflow.project import Project, open_repo, read_project, read_projects

TABLE = "table/dvc.yaml"
OURS = [
    f"{TABLE}:{name}" for name in ("judge@ann", "judge@bob", "judge-south@ann", "judge-south@bob", "street", "table")
]


def both(folder: Path) -> list[Project]:
    return read_projects(folder, ["dvc.yaml", TABLE])


def files(folder: Path) -> dict[str, bytes]:
    """What is compiled."""
    found = [*folder.glob("components/**/*.yaml"), *folder.glob("pipelines/*.yaml")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_pipeline_is_the_stages_of_its_file_and_all_that_they_need(fair):
    root, table = both(fair)
    assert {stage.address for stage in root.stages} == {"grow@a", "grow@b", "weigh", "judge"}
    assert {stage.address for stage in table.stages} == {"grow@a", "grow@b", *OURS}
    plans = [compiler.plan_for(project, None) for project in (root, table)]
    assert [(plan.name, plan.image) for plan in plans] == [("fair", "fair:latest"), ("fair-table", "fair:latest")]


def test_each_file_has_components_and_a_pipeline_of_its_own(fair):
    compiler.write_all(read_project(fair))
    of_root = files(fair)
    compiler.write_all(read_project(fair, TABLE))
    written = files(fair)
    assert set(written) == {
        *(f"components/{name}/component.yaml" for name in ("grow", "weigh", "judge")),
        *(f"components/table/{name}/component.yaml" for name in ("judge", "judge-south", "street", "table")),
        "pipelines/pipeline.yaml", "pipelines/table.yaml",
    }  # fmt: skip
    component = next(yaml.safe_load_all(written["components/table/judge-south/component.yaml"]))
    assert component["pipelineInfo"]["name"] == "table-judge-south"
    head = written["pipelines/table.yaml"].decode().splitlines()[0]
    assert head.startswith("# Compiled from table/dvc.yaml by `repose kfp compile table/dvc.yaml`.")
    edit(fair / "dvc.yaml", "  weigh:", "  scale:")
    changed = compiler.write_all(read_project(fair))  # stale components go with their own file alone
    assert {path.parent.name for path in changed} == {"weigh", "scale", "pipelines"}
    edit(fair / "dvc.yaml", "  scale:", "  weigh:")
    compiler.write_all(read_project(fair))
    shutil.rmtree(fair / "table")  # the root's files do not depend on it
    assert compiler.write_all(read_project(fair)) == []
    assert {name: files(fair)[name] for name in of_root} == of_root


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_pipeline_of_few_stages_among_many_is_the_same_in_other_processes(fair, monkeypatch, seed):
    """DVC runs the two grown stages in one order under one of these seeds, in the other under the other."""
    compiler.write_all(read_project(fair))
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    assert "are up to date" in kfp(fair, "compile", "--check")[1]


def test_an_environment_is_for_all_pipelines(fair):
    environment(
        fair, f"stages: {{weigh: {{cpu: '2'}}, '{TABLE}:judge': {{cpu: '3'}}, '{TABLE}:judge@bob': {{cpu: '4'}}}}\n"
    )
    root, table = both(fair)
    assert compiler.write_pipeline(root, "show") == fair / "pipelines" / "pipeline-show.yaml"
    path = compiler.write_pipeline(table, "show")
    assert path == fair / "pipelines" / "table-show.yaml"
    containers = read(path.read_text()).containers
    asked = {stage: containers[stage].get("resources", {}).get("resourceCpuLimit") for stage in containers}
    assert asked == dict.fromkeys(asked) | {f"{TABLE}:judge@ann": "3", f"{TABLE}:judge@bob": "4"}


def test_exposed_params_of_several_files_have_names_of_their_own(fair):
    """A stage of each file is called judge, and so is a block of the params of each."""
    exposed = ["judge.seed", "grow.seed", "table/small.yaml:judge.seed", "table/small.yaml:judges.ann.steps"]
    environment(fair, f"expose: {dict.fromkeys(exposed, 'Seeds.')}\n")
    made = compile_(fair, "show", TABLE)
    assert {name: parameter.get("defaultValue") for name, parameter in made.parameters.items()} == {
        "remote": None, "endpoint": "", "overrides": "{}", "grow_seed": "1", "table_small_judge_seed": "3",
        "table_small_judges_ann_steps": "1",
    }  # fmt: skip
    for address, task in made.tasks.items():
        given = {name for name in task["inputs"]["parameters"] if name.startswith("table_")}
        own = {"table_small_judge_seed"} if address.startswith(f"{TABLE}:judge") else set()
        if address != RECORD:
            assert given == own | ({"table_small_judges_ann_steps"} if address.endswith("@ann") else set())
    assert set(compile_(fair, "show").parameters) == {"remote", "endpoint", "overrides", "grow_seed", "judge_seed"}


def test_a_stage_that_only_another_pipeline_has_may_be_what_kubeflow_refuses(fair):
    edit(fair / TABLE, "outs: [table/street.txt]", "outs: [table/street.txt: {push: false}]")
    read_project(fair)
    with pytest.raises(ReposeError, match=r"table/dvc\.yaml:street: the output table/street.txt has push: false"):
        read_project(fair, TABLE)


@pytest.mark.parametrize(("file", "message"), [
    ("none/dvc.yaml", r"none/dvc\.yaml has no stages to run: .*Files with stages: dvc\.yaml, table/dvc\.yaml\."),
    ("params.yaml", r"params\.yaml has no stages to run: the file is missing or empty"),
    ("../dvc.yaml", r"\.\./dvc\.yaml lies outside the project in .*fair: name a dvc\.yaml of the project"),
])  # fmt: skip
def test_a_file_that_is_no_pipeline(fair, file, message):
    with pytest.raises(ReposeError, match=message):
        read_project(fair, file)


def test_spellings_of_a_path_and_a_folder_below_the_project_s(fair):
    spellings = [TABLE, f"./{TABLE}", f"{fair}/{TABLE}", "table/../table/dvc.yaml"]
    assert [project.file for project in read_projects(fair, spellings)] == [TABLE]
    with pytest.raises(ReposeError, match=r"/table is not the folder of the DVC project, which is .*/fair: go there"):
        open_repo(fair / "table")


@pytest.mark.parametrize("folder", ["base", "pipeline-show", "Table"])
def test_a_file_that_was_not_compiled_from_the_same_dvc_yaml_is_not_overwritten(fair, folder):
    environment(fair, "image: a\n")
    (fair / "pipelines" / "base.yaml").write_text("name: ours\n")
    for project in both(fair):
        compiler.write_all(project)
        compiler.write_pipeline(project, "show")
    (fair / folder).mkdir()
    (fair / folder / "dvc.yaml").write_text("stages: {own: {cmd: echo > x.txt, outs: [x.txt]}}\n")
    before = files(fair)
    with pytest.raises(ReposeError, match=rf"was not compiled from {folder}/dvc\.yaml, so it is not overwritten"):
        compiler.write_all(read_project(fair, f"{folder}/dvc.yaml"))
    assert files(fair) == before


@pytest.mark.parametrize("name", ["Flowers", "-flowers", "a" * 51])
def test_a_name_that_kubeflow_refuses(fair, name):
    environment(fair, f"name: {name}\n")
    with pytest.raises(ReposeError, match=f"show.yaml: the pipeline's name would be '{name}', which Kubeflow refuses"):
        compiler.plan_for(read_project(fair), "show")


def test_compile_takes_several_files(fair, monkeypatch):
    def kfp(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["kfp", *arguments])
        return f"{result.stderr}{result.exception}"

    monkeypatch.chdir(fair)
    command = ("compile", "dvc.yaml", TABLE)
    assert "Written: components/grow/component.yaml" in kfp(*command)
    edit(fair / TABLE, "outs: [table/street.txt]", "outs: [table/street.txt, table/more.txt]")
    told = kfp(*command, "--check")
    assert "Out of date: components/table/street/component.yaml" in told
    assert "are up to date" in kfp("compile", "--check")
    environment(fair, "image: a:1\n")
    assert "pipelines/pipeline-show.yaml, pipelines/table-show.yaml" in kfp(*command, "-e", "show")


def test_the_record_is_of_its_pipeline_alone_and_fetch_keeps_other_stages_entries(fair, monkeypatch):
    remote = fair.parent / "remote"
    foreign.dvc(fair, "remote", "add", "--default", "store", str(remote))
    image = Path(shutil.copytree(fair, fair.parent / "image" / "fair"))
    foreign.dvc(fair, "repro")
    before = yaml.safe_load((fair / "dvc.lock").read_text())["stages"]
    edit(image / "params.yaml", "seed: 1", "seed: 5")
    grown = steps.run("grow@a", image, remote, ["crop_txt"])
    steps.run(f"{TABLE}:judge@ann", image, remote, ["marks"], inputs=[grown.entry])
    left = steps.write_record(image, remote, pipeline="fair-table", file=TABLE)
    states = {stage["stage"]: stage["state"] for stage in left["stages"]}
    done = {"grow@a", f"{TABLE}:judge@ann"}
    assert states == dict.fromkeys({"grow@b", *OURS} - done, "not run") | dict.fromkeys(done, "finished")
    assert left["file"] == TABLE
    assert {name: list(yaml.safe_load(lock)["stages"]) for name, lock in left["locks"].items()} == {
        "dvc.lock": ["grow@a"], "table/dvc.lock": ["judge@ann"],
    }  # fmt: skip
    assert set(left["params"]) == {"params.yaml", "table/params.yaml", "table/small.yaml"}
    monkeypatch.chdir(fair)
    fetch.fetch_run(fair, "run-1", remote=None, endpoint="", force=True)
    after = yaml.safe_load((fair / "dvc.lock").read_text())["stages"]
    assert after.pop("grow@a") != before.pop("grow@a")
    assert after == before
    assert "seed: 5" in (fair / "params.yaml").read_text()
    (fair / "params.yaml").write_text(foreign.FAIR["params.yaml"])
    shutil.rmtree(fair / "table")  # without the pipeline nothing is written
    with pytest.raises(ReposeError, match=r"table/dvc\.yaml has no stages"):
        fetch.fetch_run(fair, "run-1", remote=None, endpoint="", force=True)
    assert "seed: 1" in (fair / "params.yaml").read_text()
