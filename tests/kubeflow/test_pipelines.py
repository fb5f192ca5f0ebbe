"""Several pipelines in one project: each dvc.yaml with all that it needs from others, and nothing else of them."""

import shutil
from pathlib import Path

import compiled
import foreign
import pytest
import steps
import yaml
from compiled import compile_, edit, text_for
from test_local import kfp

from repose.errors import ReposeError
from repose.kubeflow import compiler, fetch, record
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


def test_a_pipeline_is_the_stages_of_its_file_and_all_that_they_need(fair: Path) -> None:
    root, table = both(fair)
    assert {stage.address for stage in root.stages} == {"grow@a", "grow@b", "weigh", "judge"}
    assert {stage.address for stage in table.stages} == {"grow@a", "grow@b", *OURS}
    assert set(compile_(fair, file=TABLE).tasks) == {stage.address for stage in table.stages}
    plans = [compiler.plan_for(project, None) for project in (root, table)]
    assert [(plan.name, plan.image) for plan in plans] == [("fair", "fair:latest"), ("fair-table", "fair:latest")]


def test_the_root_s_pipeline_has_what_the_root_needs_of_other_files(garden: Path) -> None:
    """As a whole, but for the components: those of a stage are written with its own file."""
    with (garden / "dvc.yaml").open("a") as file:
        file.write("""
  eat:
    cmd: cp kitchen/stove/soup.txt eaten.txt
    deps: [kitchen/stove/soup.txt]
    outs: [eaten.txt]
    meta: {kfp: {outs: {eaten.txt: Artifact}}}
""")
    project = read_project(garden)
    assert ("eat", "kitchen/dvc.yaml:cook") in compiled.edges(text_for(project))
    description = compile_(garden).spec["pipelineInfo"]["description"]
    assert description.startswith("The stages of dvc.yaml and all that they need: ")
    compiler.write_all(project)
    assert {path for path in files(garden) if "kitchen" in path or "eat" in path} == {"components/eat/component.yaml"}


def test_each_file_has_components_and_a_pipeline_of_its_own(fair: Path) -> None:
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
    shutil.rmtree(fair / "table")  # the root's files do not depend on it
    assert compiler.write_all(read_project(fair)) == []
    assert {name: files(fair)[name] for name in of_root} == of_root


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_pipeline_of_few_stages_among_many_is_the_same_in_other_processes(
    fair: Path, monkeypatch: pytest.MonkeyPatch, seed: str
) -> None:
    """DVC runs the two grown stages in one order under one of these seeds, in the other under the other."""
    compiler.write_all(read_project(fair))
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    assert "are up to date" in kfp(fair, "compile", "--check")[1]


def test_stale_components_go_with_their_own_file_alone(fair: Path) -> None:
    for project in both(fair):
        compiler.write_all(project)
    edit(fair / "dvc.yaml", "  weigh:", "  scale:")
    edit(fair / TABLE, "  street:", "  road:")
    root, table = both(fair)

    def stale(project: Project) -> set[str]:
        return {str(path.relative_to(fair)) for path in compiler.not_current(project)}

    ours = {f"components/{name}/component.yaml" for name in ("weigh", "scale")} | {"pipelines/pipeline.yaml"}
    theirs = {f"components/table/{name}/component.yaml" for name in ("street", "road")} | {"pipelines/table.yaml"}
    assert (stale(root), stale(table)) == (ours, theirs)
    compiler.write_all(root)
    assert (stale(root), stale(table)) == (set(), theirs)
    compiler.write_all(table)
    assert stale(table) == set()
    assert not (fair / "components/weigh").exists()
    assert not (fair / "components/table/street").exists()


def test_an_environment_is_for_all_pipelines(fair: Path) -> None:
    (fair / "pipelines" / "environments").mkdir(parents=True)
    (fair / "pipelines" / "environments" / "here.yaml").write_text(
        f"stages: {{weigh: {{cpu: '2'}}, '{TABLE}:judge': {{cpu: '3'}}, '{TABLE}:judge@bob': {{cpu: '4'}}}}\n"
    )
    root, table = both(fair)
    assert compiler.write_pipeline(root, "here") == fair / "pipelines" / "pipeline-here.yaml"
    path = compiler.write_pipeline(table, "here")
    assert path == fair / "pipelines" / "table-here.yaml"
    executors = compiled.read(path.read_text()).executors
    asked = {stage: executors[stage].get("resources", {}).get("resourceCpuLimit") for stage in executors}
    assert asked == dict.fromkeys(asked) | {f"{TABLE}:judge@ann": "3", f"{TABLE}:judge@bob": "4"}


def test_params_of_several_files_have_names_of_their_own(fair: Path) -> None:
    """A stage of each file is called judge, and so is a block of the params of each."""
    edit(fair / TABLE, "[marks]", "[marks, ../verdict.txt]")
    found = compiled.parameters(compile_(fair, file=TABLE))
    assert {name: parameter.get("defaultValue") for name, parameter in found.items()} == {
        "remote": None, "endpoint": "", "grow_beds": "[a, b]", "grow_seed": "1", "judge_seed": "2", "judge_strict": "true",
        "table_params_judges": "[ann, bob]", "table_small_judge_seed": "3", "table_small_judge_strict": "0.5",
        "table_small_judges_ann_steps": "1", "table_small_judges_bob_steps": "2",
    }  # fmt: skip
    assert found["table_small_judges_ann_steps"]["description"] == "of ann"
    edit(fair / "table" / "params.yaml", "small", "large")  # the name of a params file is a param
    plan = compiler.plan_for(read_project(fair, TABLE), None)
    assert plan.leaves["table_large_judges_bob_steps"].value == 20
    assert not any("small" in name for name in plan.leaves)


def test_vars_of_a_stage_and_a_merged_anchor(fair: Path) -> None:
    plan = compiler.plan_for(read_project(fair, TABLE), None)
    for name, reads in (("judge@ann", "crop/a.txt"), ("judge-south@ann", "table/street.txt")):
        task = plan[f"{TABLE}:{name}"]
        assert [port.producer.path for port in task.inputs] == [reads]
        assert {leaf.name for leaf in task.leaves} == {
            "table_small_judge_seed", "table_small_judge_strict", "table_small_judges_steps",
        }  # fmt: skip
    assert len({port.name for port in plan[f"{TABLE}:table"].inputs}) == 4


def test_what_decides_which_stages_and_params_there_are(fair: Path) -> None:
    root, table = both(fair)
    params = {("params.yaml", f"grow.beds{item}") for item in ("", ".0", ".1")}
    judges = {("table/params.yaml", f"judges{item}") for item in ("", ".0", ".1")}
    assert root.deciding == params
    assert table.deciding == params | judges | {("table/params.yaml", "budget")}


def test_a_stage_that_only_another_pipeline_has_may_be_what_kubeflow_refuses(fair: Path) -> None:
    edit(fair / TABLE, "    desc: A list of commands\n", "    frozen: true\n")
    read_project(fair)
    with pytest.raises(ReposeError, match=r"table/dvc\.yaml:street is frozen"):
        read_project(fair, TABLE)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none/dvc.yaml", r"none/dvc\.yaml has no stages: .*Files with stages: dvc\.yaml, table/dvc\.yaml\."),
        ("params.yaml", r"params\.yaml has no stages: the file is missing or empty"),
        ("empty/dvc.yaml", r"empty/dvc\.yaml has no stages"),
        ("table", r"table has no stages"),
        ("../dvc.yaml", r"\.\./dvc\.yaml lies outside the project in .*fair: name a dvc\.yaml of the project"),
    ],
)
def test_a_file_that_is_no_pipeline(fair: Path, file: str, message: str) -> None:
    (fair / "empty").mkdir()
    (fair / "empty" / "dvc.yaml").write_text("vars: [{a: 1}]\n")
    with pytest.raises(ReposeError, match=message):
        read_project(fair, file)


def test_spellings_of_a_path_and_a_folder_below_the_project_s(fair: Path) -> None:
    spellings = [TABLE, f"./{TABLE}", f"{fair}/{TABLE}", "table/../table/dvc.yaml"]
    assert [project.file for project in read_projects(fair, spellings)] == [TABLE]
    with pytest.raises(ReposeError, match=r"/table is not the folder of the DVC project, which is .*/fair: go there"):
        open_repo(fair / "table")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("base", r"base/dvc\.yaml would be pipelines/base\.yaml, which is what holds in every environment"),
        ("pipeline-here", r"would be pipelines/pipeline-here\.yaml, which is the pipeline of dvc\.yaml\. Rename the"),
        ("Table", r"would be pipelines/table\.yaml, which is the pipeline of table/dvc\.yaml"),
        ("_", r"would be pipelines/\.yaml, which is no name at all"),
    ],
)
def test_a_folder_whose_pipeline_would_have_the_name_of_another_file(fair: Path, folder: str, message: str) -> None:
    (fair / "pipelines" / "environments").mkdir(parents=True)
    (fair / "pipelines" / "environments" / "here.yaml").write_text("image: a\n")
    (fair / folder).mkdir()
    (fair / folder / "dvc.yaml").write_text(
        "stages: {own: {cmd: echo > x.txt, outs: [x.txt], meta: {kfp: {outs: {x.txt: Dataset}}}}}\n"
    )
    with pytest.raises(ReposeError, match=message):
        compiler.compiled(read_project(fair, f"{folder}/dvc.yaml"))
    compiler.compiled(read_project(fair))


def test_a_nested_folder(fair: Path) -> None:
    shutil.move(fair / "table", fair / "far" / "table")
    edit(fair / "far" / TABLE, "..", "../..")
    edit(fair / "far" / TABLE, "table/street.txt", "far/table/street.txt")
    project = read_project(fair, f"far/{TABLE}")
    written = {str(path.relative_to(fair)) for path in compiler.write_all(project)}
    assert {"components/far/table/street/component.yaml", "pipelines/far-table.yaml"} <= written
    assert compiler.plan_for(project, None).name == "fair-far-table"


def test_compile_takes_several_files(fair: Path) -> None:
    command = ("compile", "dvc.yaml", TABLE)
    assert "Written: components/grow/component.yaml" in kfp(fair, *command)[1]
    edit(fair / "table" / "small.yaml", "seed: 3", "seed: 4")
    told = kfp(fair, *command, "--check", code=1)[1]
    assert "components/table/judge/component.yaml, components/table/judge-south/component.yaml, pipelines/tab" in told
    assert f"Run `repose kfp {' '.join(command)}` and commit its output." in told
    assert "are up to date" in kfp(fair, "compile", "--check")[1]
    (fair / "pipelines" / "environments").mkdir()
    (fair / "pipelines" / "environments" / "here.yaml").write_text("image: a:1\n")
    assert "pipelines/pipeline-here.yaml, pipelines/table-here.yaml" in kfp(fair, *command, "-e", "here")[1]


@pytest.fixture
def pod(fair: Path) -> tuple[Path, Path]:
    """What a pod starts from, and an empty remote."""
    remote = fair.parent / "remote"
    foreign.dvc(fair, "remote", "add", "--default", "store", str(remote))
    return Path(shutil.copytree(fair, fair.parent / "image" / "fair")), remote


def test_the_record_of_a_run_is_of_its_pipeline_alone(pod: tuple[Path, Path]) -> None:
    image, remote = pod
    grown = steps.run("grow@a", image, remote, ["crop_txt"])
    steps.run(f"{TABLE}:judge@ann", image, remote, ["marks"], inputs=[grown.files["crop_txt"]])
    left = record.leave_record(
        run="run-1", pipeline="fair-table", remote=str(remote), endpoint="", params=[], image=image, file=TABLE
    )
    states = {stage["stage"]: stage["state"] for stage in left["stages"]}
    done = {"grow@a", f"{TABLE}:judge@ann"}
    assert states == dict.fromkeys({"grow@b", *OURS} - done, "not run") | dict.fromkeys(done, "finished")
    assert left["file"] == TABLE
    assert {name: list(yaml.safe_load(lock)["stages"]) for name, lock in left["locks"].items()} == {
        "dvc.lock": ["grow@a"], "table/dvc.lock": ["judge@ann"],
    }  # fmt: skip
    assert set(left["params"]) == {"params.yaml", "table/params.yaml", "table/small.yaml"}


def test_fetch_leaves_what_the_locks_say_of_other_stages(
    fair: Path, pod: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, remote = pod
    foreign.dvc(fair, "repro")
    before = (fair / "dvc.lock").read_text()
    edit(image / "params.yaml", "seed: 1", "seed: 5")
    steps.run("grow@a", image, remote, ["crop_txt"])
    record.leave_record(
        run="run-1", pipeline="fair-table", remote=str(remote), endpoint="", params=[], image=image, file=TABLE
    )
    monkeypatch.chdir(fair)
    fetch.fetch_run(fair, "run-1", remote=None, endpoint="", force=True)
    foreign.dvc(fair, "pull", "--allow-missing", "--force", "grow@a")
    after, own = (yaml.safe_load(lock)["stages"] for lock in ((fair / "dvc.lock").read_text(), before))
    assert after.pop("grow@a") != own.pop("grow@a")
    assert after == own
    foreign.dvc(fair, "repro", "grow@a")  # what it leaves, fetch left
    assert "seed: 5" in (fair / "params.yaml").read_text()
    (fair / "params.yaml").write_text(foreign.FAIR["params.yaml"])
    shutil.rmtree(fair / "table")  # without the pipeline nothing is written
    with pytest.raises(ReposeError, match=r"table/dvc\.yaml has no stages"):
        fetch.fetch_run(fair, "run-1", remote=None, endpoint="", force=True)
    assert "seed: 1" in (fair / "params.yaml").read_text()
