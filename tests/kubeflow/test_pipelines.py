"""Several pipelines in one project: each dvc.yaml with all that it needs from others, and nothing else of them."""

import shutil
from pathlib import Path

import compiled
import foreign
import pytest
import steps
import yaml
from kfp_server import kfp_server
from test_local import kfp
from typer.testing import CliRunner

from repose.cli import app
from repose.errors import ReposeError
from repose.kubeflow import compiler, fetch, record
from repose.kubeflow.project import Project, open_repo, read_project, read_projects

TABLE = "table/dvc.yaml"
OURS = [
    f"{TABLE}:{name}" for name in ("judge@ann", "judge@bob", "judge-south@ann", "judge-south@bob", "street", "table")
]


def text(project: Project, environment: str | None = None) -> str:
    return compiler.text_of(compiler.pipeline_of(compiler.plan_for(project, environment)), project.file)


def edit(path: Path, old: str, new: str) -> None:
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))


def files(folder: Path) -> dict[str, bytes]:
    """What is compiled."""
    found = [*folder.glob("components/**/*.yaml"), *folder.glob("pipelines/*.yaml")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def compile_all(folder: Path) -> dict[str, bytes]:
    for project in read_projects(folder, ["dvc.yaml", TABLE]):
        compiler.write_all(project)
    return files(folder)


def test_a_pipeline_is_the_stages_of_its_file_and_all_that_they_need(fair: Path) -> None:
    root, table = read_projects(fair, ["dvc.yaml", TABLE])
    assert {stage.address for stage in root.stages} == {"grow@a", "grow@b", "weigh", "judge"}
    assert {stage.address for stage in table.stages} == {"grow@a", "grow@b", *OURS}
    assert set(compiled.read(text(table)).tasks) == {stage.address for stage in table.stages}


def test_the_root_s_pipeline_has_what_the_root_needs_of_other_files(garden: Path) -> None:
    """As a whole, but for the components: those of a stage are written with its own file."""
    (garden / "dvc.yaml").write_text(
        (garden / "dvc.yaml").read_text()
        + """
  eat:
    cmd: cp kitchen/stove/soup.txt eaten.txt
    deps: [kitchen/stove/soup.txt]
    outs: [eaten.txt]
    meta: {kfp: {outs: {eaten.txt: Artifact}}}
"""
    )
    project = read_project(garden)
    assert ("eat", "kitchen/dvc.yaml:cook") in compiled.edges(text(project))
    assert (
        compiled.read(text(project))
        .spec["pipelineInfo"]["description"]
        .startswith("The stages of dvc.yaml and all that they need: ")
    )
    compiler.write_all(project)
    assert {path for path in files(garden) if "kitchen" in path or "eat" in path} == {"components/eat/component.yaml"}


def test_each_file_has_components_and_a_pipeline_of_its_own(fair: Path) -> None:
    written = compile_all(fair)
    assert set(written) == {
        *(f"components/{name}/component.yaml" for name in ("grow", "weigh", "judge")),
        *(f"components/table/{name}/component.yaml" for name in ("judge", "judge-south", "street", "table")),
        "pipelines/pipeline.yaml", "pipelines/table.yaml",
    }  # fmt: skip
    component = next(yaml.safe_load_all(written["components/table/judge-south/component.yaml"]))
    assert component["pipelineInfo"]["name"] == "table-judge-south"
    head = written["pipelines/table.yaml"].decode().splitlines()[0]
    assert head.startswith("# Compiled from table/dvc.yaml by `repose kfp compile table/dvc.yaml`.")


def test_the_root_s_files_do_not_depend_on_other_pipelines(fair: Path) -> None:
    compiler.write_all(read_project(fair))
    before = files(fair)
    shutil.rmtree(fair / "table")
    assert compiler.write_all(read_project(fair)) == []
    assert files(fair) == before


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_pipeline_of_few_stages_among_many_is_the_same_in_other_processes(
    fair: Path, monkeypatch: pytest.MonkeyPatch, seed: str
) -> None:
    """DVC runs the two grown stages in one order under one of these seeds, in the other under the other."""
    compiler.write_all(read_project(fair))
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    assert "are current" in kfp(fair, "compile", "--check")[1]


def test_stale_components_go_with_their_own_file_alone(fair: Path) -> None:
    compile_all(fair)
    edit(fair / "dvc.yaml", "  weigh:", "  scale:")
    edit(fair / TABLE, "  street:", "  road:")
    root, table = read_projects(fair, ["dvc.yaml", TABLE])

    def stale(project: Project) -> set[str]:
        return {str(path.relative_to(fair)) for path in compiler.not_current(project)}

    ours = {f"components/{name}/component.yaml" for name in ("weigh", "scale")} | {"pipelines/pipeline.yaml"}
    theirs = {f"components/table/{name}/component.yaml" for name in ("street", "road")} | {"pipelines/table.yaml"}
    assert (stale(root), stale(table)) == (ours, theirs)
    compiler.write_all(root)
    assert (stale(root), stale(table)) == (set(), theirs)
    compiler.write_all(table)
    assert (stale(root), stale(table)) == (set(), set())
    assert not (fair / "components/weigh").exists()
    assert not (fair / "components/table/street").exists()


def test_names_of_pipelines_and_the_image_that_they_share(fair: Path) -> None:
    root, table = (compiler.plan_for(project, None) for project in read_projects(fair, ["dvc.yaml", TABLE]))
    assert (root.name, table.name) == ("fair", "fair-table")
    assert (root.image, table.image) == ("fair:latest", "fair:latest")
    (fair / "pipelines").mkdir()
    (fair / "pipelines" / "base.yaml").write_text("name: show\n")
    assert compiler.plan_for(table.project, None).name == "show-table"


def test_an_environment_is_for_all_pipelines(fair: Path) -> None:
    (fair / "pipelines" / "environments").mkdir(parents=True)
    (fair / "pipelines" / "environments" / "here.yaml").write_text(
        f"stages: {{weigh: {{cpu: '2'}}, '{TABLE}:judge': {{cpu: '3'}}, '{TABLE}:judge@bob': {{cpu: '4'}}}}\n"
    )
    root, table = read_projects(fair, ["dvc.yaml", TABLE])
    assert compiler.write_pipeline(root, "here") == fair / "pipelines" / "pipeline-here.yaml"
    path = compiler.write_pipeline(table, "here")
    assert path == fair / "pipelines" / "table-here.yaml"
    executors = compiled.read(path.read_text()).executors
    asked = {stage: executors[stage].get("resources", {}).get("resourceCpuLimit") for stage in executors}
    assert asked == dict.fromkeys(asked) | {f"{TABLE}:judge@ann": "3", f"{TABLE}:judge@bob": "4"}


def test_params_of_several_files_have_names_of_their_own(fair: Path) -> None:
    """A stage of each file is called judge, and so is a block of the params of each."""
    (fair / TABLE).write_text((fair / TABLE).read_text().replace("[marks]", "[marks, ../verdict.txt]"))
    said = compiled.read(text(read_project(fair, TABLE))).spec["root"]["inputDefinitions"]["parameters"]
    values = {name: parameter.get("defaultValue") for name, parameter in said.items()}
    assert values == {
        "remote": None, "endpoint": "", "grow_beds": "[a, b]", "grow_seed": "1", "judge_seed": "2", "judge_strict": "true",
        "table_params_judges": "[ann, bob]", "table_small_judge_seed": "3", "table_small_judge_strict": "0.5",
        "table_small_judges_ann_steps": "1", "table_small_judges_bob_steps": "2",
    }  # fmt: skip
    assert said["table_small_judges_ann_steps"]["description"] == "of ann"


def test_a_params_file_whose_name_is_a_param(fair: Path) -> None:
    edit(fair / "table" / "params.yaml", "small", "large")
    plan = compiler.plan_for(read_project(fair, TABLE), None)
    assert plan.leaves["table_large_judges_bob_steps"].value == 20
    assert not any("small" in name for name in plan.leaves)


def test_vars_of_a_stage_and_a_merged_anchor(fair: Path) -> None:
    tasks = {task.stage.address: task for task in compiler.plan_for(read_project(fair, TABLE), None).tasks}
    for name, reads in (("judge@ann", "crop/a.txt"), ("judge-south@ann", "table/street.txt")):
        task = tasks[f"{TABLE}:{name}"]
        assert [port.producer.path for port in task.inputs] == [reads]
        assert {leaf.name for leaf in task.leaves} == {
            "table_small_judge_seed", "table_small_judge_strict", "table_small_judges_steps",
        }  # fmt: skip
    assert len(tasks[f"{TABLE}:table"].inputs) == 4
    assert len({port.name for port in tasks[f"{TABLE}:table"].inputs}) == 4


def test_what_decides_which_stages_and_params_there_are(fair: Path) -> None:
    root, table = read_projects(fair, ["dvc.yaml", TABLE])
    params = {("params.yaml", f"grow.beds{item}") for item in ("", ".0", ".1")}
    judges = {("table/params.yaml", f"judges{item}") for item in ("", ".0", ".1")}
    assert root.deciding == params
    assert table.deciding == params | judges | {("table/params.yaml", "budget")}


def test_the_same_key_in_another_file_decides_nothing(fair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(fair / TABLE, "[marks]", "[marks, ../verdict.txt]")
    monkeypatch.chdir(fair)
    for name in ("KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"):
        monkeypatch.delenv(name, raising=False)
    with kfp_server() as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.address)

        def submit(*params: str) -> str:
            options = [option for param in params for option in ("-P", param)]
            done = CliRunner().invoke(app, ["kfp", "submit", TABLE, "--remote", "s3://a/b", *options])
            return str(done.exception) if isinstance(done.exception, ReposeError) else done.output

        assert (
            "--param judge.seed is in several files: write params.yaml:judge.seed or table/small.yaml:judge.seed."
            in (submit("judge.seed=7"))
        )
        for key in ("judges", "table/params.yaml:judges"):
            assert f"--param {key} decides which stages and params there are: set it in table/params.yaml and" in (
                submit(f"{key}=[ann]")
            )
        assert not server.runs
        submit("table/small.yaml:judge.seed=7", "judges.ann.steps=8", "params.yaml:judge.seed=9")
        assert server.latest.runtime_config.parameters == {
            "remote": "s3://a/b", "endpoint": "", "table_small_judge_seed": "7", "table_small_judges_ann_steps": "8",
            "judge_seed": "9",
        }  # fmt: skip
        assert server.latest.pipeline_spec["pipelineInfo"]["name"] == "fair-table"
        assert server.latest.display_name.startswith("fair-table ")


def test_a_stage_that_only_another_pipeline_has_may_be_what_kubeflow_refuses(fair: Path) -> None:
    edit(fair / TABLE, "    desc: A list of commands\n", "    frozen: true\n")
    read_project(fair)
    with pytest.raises(ReposeError, match=r"table/dvc\.yaml:street is frozen"):
        read_project(fair, TABLE)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none/dvc.yaml", r"none/dvc\.yaml has no stages: .*Files with stages: dvc\.yaml, table/dvc\.yaml\."),
        ("params.yaml", r"params\.yaml has no stages: there is no such dvc\.yaml, or nothing in it"),
        ("empty/dvc.yaml", r"empty/dvc\.yaml has no stages"),
        ("table", r"table has no stages"),
        ("../dvc.yaml", r"\.\./dvc\.yaml lies outside the project in .*fair: name a dvc\.yaml of the project"),
        ("/far/dvc.yaml", r"/far/dvc\.yaml lies outside"),
    ],
)
def test_a_file_that_is_no_pipeline(fair: Path, file: str, message: str) -> None:
    (fair / "empty").mkdir()
    (fair / "empty" / "dvc.yaml").write_text("vars: [{a: 1}]\n")
    with pytest.raises(ReposeError, match=message):
        read_project(fair, file)


def test_a_file_by_other_spellings_of_its_path(fair: Path) -> None:
    spellings = [TABLE, f"./{TABLE}", f"{fair}/{TABLE}", "table/../table/dvc.yaml"]
    assert [project.file for project in read_projects(fair, spellings)] == [TABLE]


def test_another_folder_than_the_project_s(fair: Path) -> None:
    for read in (read_project, open_repo):
        with pytest.raises(
            ReposeError, match=r"/table is not the folder of the DVC project, which is .*/fair: go there"
        ):
            read(fair / "table")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("base", r"base/dvc\.yaml would be pipelines/base\.yaml, which is what holds in every environment"),
        ("pipeline", r"would be pipelines/pipeline\.yaml, which is the pipeline of dvc\.yaml\. Rename the folder"),
        ("pipeline-here", r"would be pipelines/pipeline-here\.yaml, which is the pipeline of dvc\.yaml"),
        ("table-here", r"would be pipelines/table-here\.yaml, which is the pipeline of table/dvc\.yaml"),
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
    edit(fair / "far" / TABLE, "[far/table/street.txt]", "[far/table/street.txt]")
    project = read_project(fair, f"far/{TABLE}")
    written = {str(path.relative_to(fair)) for path in compiler.write_all(project)}
    assert {"components/far/table/street/component.yaml", "pipelines/far-table.yaml"} <= written
    assert compiler.plan_for(project, None).name == "fair-far-table"


def test_compile_takes_several_files(fair: Path) -> None:
    both = ("compile", "dvc.yaml", TABLE)
    told = kfp(fair, *both, "--check", code=1)[1]
    assert f"Run `repose kfp {' '.join(both)}` and commit what it writes." in told
    assert "Written: components/grow/component.yaml" in kfp(fair, *both)[1]
    assert "are current" in kfp(fair, *both, "--check")[1]
    edit(fair / "table" / "small.yaml", "seed: 3", "seed: 4")
    assert "are current" in kfp(fair, "compile", "--check")[1]
    told = kfp(fair, *both, "--check", code=1)[1]
    assert (
        "components/table/judge/component.yaml, components/table/judge-south/component.yaml, pipelines/table.y" in told
    )
    (fair / "pipelines" / "environments").mkdir()
    (fair / "pipelines" / "environments" / "here.yaml").write_text("image: a:1\n")
    assert "pipelines/pipeline-here.yaml, pipelines/table-here.yaml" in kfp(fair, *both, "-e", "here")[1]
    assert "repose: /" in (told := kfp(fair, "run-local", "none/dvc.yaml", code=1)[1])
    assert "none/dvc.yaml has no stages" in told


def pod(fair: Path) -> tuple[Path, Path]:
    """What a pod starts from, and an empty remote."""
    remote = fair.parent / "remote"
    foreign.dvc(fair, "remote", "add", "--default", "store", str(remote))
    return Path(shutil.copytree(fair, fair.parent / "image" / "fair")), remote


def test_the_record_of_a_run_is_of_its_pipeline_alone(fair: Path) -> None:
    image, remote = pod(fair)
    grown = steps.run("grow@a", image, remote, ["crop_txt"])
    steps.run(f"{TABLE}:judge@ann", image, remote, ["marks"], inputs=[grown.files["crop_txt"]])
    where = {"run": "run-1", "remote": str(remote), "endpoint": "", "image": image}
    left = record.leave_record(pipeline="fair-table", params=[], file=TABLE, **where)
    states = {stage["stage"]: stage["state"] for stage in left["stages"]}
    done = {"grow@a", f"{TABLE}:judge@ann"}
    assert states == dict.fromkeys({"grow@b", *OURS} - done, "not run") | dict.fromkeys(done, "finished")
    assert left["file"] == TABLE
    assert {name: list(yaml.safe_load(lock)["stages"]) for name, lock in left["locks"].items()} == {
        "dvc.lock": ["grow@a"], "table/dvc.lock": ["judge@ann"],
    }  # fmt: skip
    assert set(left["params"]) == {"params.yaml", "table/params.yaml", "table/small.yaml"}


def test_fetch_leaves_what_the_locks_say_of_other_stages(fair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, remote = pod(fair)
    foreign.dvc(fair, "repro")
    before = (fair / "dvc.lock").read_text()
    edit(image / "params.yaml", "seed: 1", "seed: 5")
    steps.run("grow@a", image, remote, ["crop_txt"])
    where = {"run": "run-1", "remote": str(remote), "endpoint": ""}
    record.leave_record(pipeline="fair-table", params=[], file=TABLE, image=image, **where)
    monkeypatch.chdir(fair)
    fetch.fetch_run(fair, "run-1", remote=None, endpoint="", force=True)
    foreign.dvc(fair, "pull", "--allow-missing", "--force", "grow@a")
    after, own = (yaml.safe_load(lock)["stages"] for lock in ((fair / "dvc.lock").read_text(), before))
    assert after.pop("grow@a") != own.pop("grow@a")
    assert after == own
    foreign.dvc(fair, "repro", "grow@a")  # what it leaves, fetch left
    assert "seed: 5" in (fair / "params.yaml").read_text()


def test_fetch_where_there_is_no_such_pipeline_writes_nothing(fair: Path) -> None:
    image, remote = pod(fair)
    where = {"run": "run-1", "remote": str(remote), "endpoint": ""}
    edit(image / "params.yaml", "seed: 1", "seed: 5")
    record.leave_record(pipeline="fair-table", params=[], file=TABLE, image=image, **where)
    shutil.rmtree(fair / "table")
    with pytest.raises(ReposeError, match=r"table/dvc\.yaml has no stages"):
        fetch.fetch_run(fair, "run-1", remote=None, endpoint="", force=True)
    assert "seed: 1" in (fair / "params.yaml").read_text()
