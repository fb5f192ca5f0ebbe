"""dvc.yaml compiled: the graph, artifacts, parameters, what the cluster is asked for, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import compiled
import foreign
import pytest
import yaml

from repose.errors import ReposeError
from repose.kubeflow import compiler
from repose.kubeflow.project import Project, read_project

KITCHEN, TABLE = "kitchen/dvc.yaml", "table/dvc.yaml"


def pipeline(folder: Path, environment: str | None = None, file: str = "dvc.yaml") -> compiled.Pipeline:
    return compiled.read(text(read_project(folder, file), environment))


def text(project: Project, environment: str | None = None) -> str:
    return compiler.text_of(compiler.pipeline_of(compiler.plan_for(project, environment)))


def edit(folder: Path, old: str, new: str, file: str = "dvc.yaml") -> None:
    before = (folder / file).read_text()
    assert old in before
    (folder / file).write_text(before.replace(old, new))


def parameters(task: dict[str, Any]) -> set[str]:
    return set(task["inputs"]["parameters"]) - {"stage", "remote", "endpoint"}


@pytest.mark.parametrize(
    ("name", "file"),
    [("flowers", "dvc.yaml"), ("garden", "dvc.yaml"), ("garden", KITCHEN), ("fair", "dvc.yaml"), ("fair", TABLE)],
)
def test_the_graph_is_that_of_dvc(project: Any, name: str, file: str) -> None:
    read = read_project(project(name), file)
    assert compiled.edges(text(read)) == read.edges
    assert read.edges


def test_the_comparison_of_graphs_sees_a_missing_edge(garden: Path) -> None:
    read = read_project(garden)
    documents = list(yaml.safe_load_all(text(read)))
    (inner,) = (component["dag"] for component in documents[0]["components"].values() if "dag" in component)
    del inner["tasks"]["harvest"]["inputs"]["artifacts"]["plants_south_kale"]
    assert compiled.edges(yaml.safe_dump_all(documents)) == read.edges - {("harvest", "plant@south-kale")}


def test_a_stage_that_is_added_to_dvc_yaml_is_in_the_pipeline(flowers: Path) -> None:
    stages = yaml.safe_load((flowers / "dvc.yaml").read_text())
    stages["stages"]["praise"] = {
        "cmd": "cat report.html > praise.txt", "deps": ["report.html"], "outs": ["praise.txt"],
        "meta": {"kfp": {"outs": {"praise.txt": "Artifact"}}},
    }  # fmt: skip
    (flowers / "dvc.yaml").write_text(yaml.safe_dump(stages))
    read = read_project(flowers)
    assert ("praise", "judge") in compiled.edges(text(read))
    assert flowers / "components/praise/component.yaml" in compiler.write_all(read)


def test_items_of_foreach_and_matrix_are_tasks_side_by_side_of_one_component(garden: Path) -> None:
    compiler.write_all(read_project(garden))
    assert sorted(p.parent.name for p in (garden / "components").rglob("component.yaml")) == ["dig", "harvest", "plant"]
    tasks = pipeline(garden).tasks
    assert {"plant@north-rose", "plant@north-kale", "plant@south-rose", "plant@south-kale"} <= set(tasks)
    assert all(tasks[f"dig@{bed}"].get("dependentTasks") is None for bed in ("north", "south"))


def test_a_component_can_be_used_in_anyone_s_pipeline(garden: Path) -> None:
    from kfp import components, dsl

    compiler.write_all(read_project(garden))
    dig, plant = (
        components.load_component_from_file(str(garden / f"components/{n}/component.yaml")) for n in ("dig", "plant")
    )

    @dsl.pipeline(name="theirs")
    def theirs(remote: str) -> None:
        dug = dig(stage="dig@north", remote=remote)
        plant(stage="plant@north-kale", beds_txt=dug.outputs["beds_txt"], remote=remote, tools_sizes="2.5")

    assert "plant@north-kale" in compiler.text_of(theirs)


def test_each_output_is_an_artifact_of_its_type(flowers: Path, garden: Path) -> None:
    plan = compiler.plan_for(read_project(flowers), None)
    assert plan["judge"].outputs == {"score_json": "Metrics", "report_html": "HTML"}
    assert plan["count"].outputs == {"made": "Dataset"}
    assert compiler.plan_for(read_project(garden, KITCHEN), None)["kitchen/dvc.yaml:cook"].outputs == {
        "soup_txt": "Artifact", "soup_page": "HTML",
    }  # fmt: skip


def test_each_value_of_the_params_is_a_parameter_with_its_yaml_as_default_and_its_comment(flowers: Path) -> None:
    said = pipeline(flowers).spec["root"]["inputDefinitions"]["parameters"]
    assert said["scale"] == {
        "parameterType": "STRING", "defaultValue": "2", "isOptional": True, "description": "by how much in all",
    }  # fmt: skip
    assert (said["labels"]["parameterType"], said["labels"]["defaultValue"]) == ("STRING", "[1, 2.5, a]")
    edit(flowers, "scale: 2 ", "scale: null ", "params.yaml")
    assert pipeline(flowers).spec["root"]["inputDefinitions"]["parameters"]["scale"]["defaultValue"] == "null"


@pytest.mark.parametrize("value", ["1e-05", "'08'", "'0o17'"])
def test_a_text_that_other_readers_of_yaml_take_for_a_number_is_quoted(flowers: Path, value: str) -> None:
    edit(flowers, "scale: 2 ", f"scale: {value} ", "params.yaml")
    assert re.search(rf"defaultValue: ['\"]+{value.strip(chr(39))}['\"]+\n", text(read_project(flowers)))


def test_a_task_gets_the_params_that_its_stage_lists_and_no_other(flowers: Path, garden: Path) -> None:
    tasks = pipeline(flowers).tasks
    assert parameters(tasks["count"]) == {"scale", "labels", "precise", "petals_csv_version"}
    assert parameters(tasks["judge"]) == set()
    tasks = pipeline(garden).tasks
    assert parameters(tasks["plant@north-kale"]) == {"tools_spade", "tools_sizes"}
    sizes = tasks["plant@north-kale"]["inputs"]["parameters"]["tools_sizes"]
    assert sizes == {"componentInputParameter": "pipelinechannel--tools_sizes_kale"}
    assert parameters(pipeline(garden, file=KITCHEN).tasks["kitchen/dvc.yaml:cook"]) == {
        "kitchen_stove_params_heat_high",
        "kitchen_stove_params_heat_low",
    }


def test_data_of_a_dvc_file_has_its_hash_as_a_parameter(flowers: Path) -> None:
    md5 = yaml.safe_load((flowers / "petals.csv.dvc").read_text())["outs"][0]["md5"]
    given = pipeline(flowers).tasks["count"]["inputs"]["parameters"]["petals_csv_version"]
    assert given == {"runtimeValue": {"constant": md5}}


def test_compiling_twice_gives_the_same_bytes_in_other_processes(flowers: Path) -> None:
    def run(seed: str) -> dict[Path, bytes]:
        subprocess.run(
            [sys.executable, "-m", "repose.cli", "kfp", "compile"], cwd=flowers, check=True, capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        return {
            path: path.read_bytes() for path in flowers.rglob("*.yaml") if "compon" in str(path) or "pipel" in str(path)
        }

    first = run("1")
    for path in first:
        path.unlink()
    assert run("2") == first
    assert len(first) == 3


def test_what_is_not_current_is_told_and_what_is_stale_goes(flowers: Path) -> None:
    project = read_project(flowers)
    compiler.write_all(project)
    assert compiler.not_current(project) == []
    edit(flowers, "scale: 2", "scale: 3", "params.yaml")
    edit(flowers, "  judge:", "  decide:")
    (flowers / "components" / "own").mkdir()
    (flowers / "components" / "own" / "component.yaml").write_text("name: somebody's own\n")
    project = read_project(flowers)
    changed = {str(path.relative_to(flowers)) for path in compiler.not_current(project)}
    assert changed == {
        "components/count/component.yaml", "components/judge/component.yaml", "components/decide/component.yaml",
        "pipelines/pipeline.yaml",
    }  # fmt: skip
    compiler.write_all(project)
    assert compiler.not_current(project) == []
    assert not (flowers / "components" / "judge").exists()
    assert (flowers / "components" / "own" / "component.yaml").exists()


def test_a_stage_that_always_changes_is_not_cached_by_kubeflow(flowers: Path) -> None:
    edit(flowers, "  judge:\n", "  judge:\n    always_changed: true\n")
    tasks = pipeline(flowers).tasks
    assert tasks["judge"]["cachingOptions"] == {}
    assert tasks["count"]["cachingOptions"] == {"enableCache": True}


EVERYTHING = """
name: flower-show
image: registry.example.org/flowers@sha256:{digest}
digest_required: true
remote: s3://flowers/dvc
endpoint: http://minio:9000
service_account: gardener
defaults:
  memory: 2Gi
  secrets: {{flowers-s3: {{id: AWS_ACCESS_KEY_ID, secret: AWS_SECRET_ACCESS_KEY}}}}
  security: {{run_as_user: 10001, run_as_group: 10001, run_as_non_root: true}}
  image_pull_secrets: [registry]
  labels: {{team: flowers}}
  annotations: {{note: hello}}
  retries: {{count: 3, backoff: 10s, factor: 3, longest: 60s}}
  cache: {{claim: dvc-cache, path: /cache}}
stages:
  judge:
    accelerator: {{type: nvidia.com/gpu, count: 2}}
    cpu: 1500m
    node_selector: {{gpu: h100}}
    tolerations: [{{key: nvidia.com/gpu, effect: NoSchedule}}]
    shared_memory: 8Gi
    timeout: 3600
"""


def environment(folder: Path, text: str, name: str = "show") -> str:
    (folder / "pipelines" / "environments").mkdir(parents=True, exist_ok=True)
    (folder / "pipelines" / "environments" / f"{name}.yaml").write_text(text)
    return name


def test_what_an_environment_asks_of_the_cluster(flowers: Path) -> None:
    made = pipeline(flowers, environment(flowers, EVERYTHING.format(digest="0" * 64)))
    assert made.spec["pipelineInfo"]["name"] == "flower-show"
    container, asked = made.executors["judge"], made.platform["judge"]
    assert container["image"].endswith("0" * 64)
    assert container["resources"] == {
        "cpuRequest": 1.5, "cpuLimit": 1.5, "resourceCpuLimit": "1500m", "resourceCpuRequest": "1500m",
        "memoryRequest": 2.147483648, "memoryLimit": 2.147483648, "resourceMemoryLimit": "2Gi",
        "resourceMemoryRequest": "2Gi",
        "accelerator": {
            "type": "nvidia.com/gpu", "count": "2", "resourceType": "nvidia.com/gpu", "resourceCount": "2",
        },
    }  # fmt: skip
    assert asked["nodeSelector"] == {"labels": {"gpu": "h100"}}
    assert asked["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert asked["emptyDirMounts"][0]["mountPath"] == "/dev/shm"  # noqa: S108
    assert asked["emptyDirMounts"][0]["sizeLimit"] == "8Gi"
    assert asked["activeDeadlineSeconds"] == "3600"
    count = made.platform["count"]
    assert {pair["envVar"] for pair in count["secretAsEnv"][0]["keyToEnv"]} == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    assert count["pvcMount"][0]["constant"] == "dvc-cache"
    assert count["podMetadata"] == {"labels": {"team": "flowers"}, "annotations": {"note": "hello"}}
    assert count["imagePullSecret"][0]["secretName"] == "registry"
    assert count["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    assert made.executors["count"]["resources"]["resourceCpuLimit"] == "1"
    assert made.tasks["count"]["retryPolicy"] == {
        "maxRetryCount": 3, "backoffDuration": "10s", "backoffFactor": 3.0, "backoffMaxDuration": "60s",
    }  # fmt: skip
    defaults = made.spec["root"]["inputDefinitions"]["parameters"]
    assert defaults["remote"]["defaultValue"] == "s3://flowers/dvc"
    assert defaults["endpoint"]["defaultValue"] == "http://minio:9000"


def test_secrets_are_named_and_nowhere_told(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    name = environment(flowers, EVERYTHING.format(digest="0" * 64))
    assert "hunter2" not in text(read_project(flowers), name)


def test_the_pipeline_of_one_environment(flowers: Path) -> None:
    project = read_project(flowers)
    environment(flowers, "image: a/b:1\n", "staging")
    path = compiler.write_pipeline(project, "staging")
    assert path == flowers / "pipelines" / "pipeline-staging.yaml"
    assert compiled.read(path.read_text()).executors["count"]["image"] == "a/b:1"


def test_compiling_checks_every_environment(flowers: Path) -> None:
    environment(flowers, "imag: a\n", "staging")
    with pytest.raises(ReposeError, match=r"staging\.yaml: unknown key 'imag'"):
        compiler.write_all(read_project(flowers))


def test_an_environment_lies_over_the_base(flowers: Path) -> None:
    (flowers / "pipelines").mkdir()
    (flowers / "pipelines" / "base.yaml").write_text(
        "name: base\nimage: a:1\ndefaults: {memory: 1Gi, labels: {x: one}}\n"
    )
    name = environment(flowers, "image: b:2\ndefaults: {memory: null, labels: {y: two}}\nstages: {count: {cpu: '4'}}\n")
    made = pipeline(flowers, name)
    assert made.spec["pipelineInfo"]["name"] == "base"
    assert made.executors["count"]["image"] == "b:2"
    assert "memoryLimit" not in made.executors["count"]["resources"]
    assert made.executors["count"]["resources"]["resourceCpuLimit"] == "4"
    assert made.platform["count"]["podMetadata"]["labels"] == {"x": "one", "y": "two"}


def test_an_image_on_the_command_line_wins(flowers: Path) -> None:
    plan = compiler.plan_for(read_project(flowers), None, "mine:3")
    assert compiled.read(compiler.text_of(compiler.pipeline_of(plan))).executors["count"]["image"] == "mine:3"


def test_the_remote_is_the_project_s_own_unless_said_otherwise(flowers: Path) -> None:
    assert "defaultValue" not in pipeline(flowers).spec["root"]["inputDefinitions"]["parameters"]["remote"]
    foreign.dvc(flowers, "remote", "add", "--local", "--default", "mine", "/of/this/machine")
    assert "defaultValue" not in pipeline(flowers).spec["root"]["inputDefinitions"]["parameters"]["remote"]
    foreign.dvc(flowers, "remote", "add", "--default", "store", "s3://bucket/dvc")
    foreign.dvc(flowers, "remote", "modify", "store", "endpointurl", "http://minio:9000")
    said = pipeline(flowers).spec["root"]["inputDefinitions"]["parameters"]
    assert said["remote"]["defaultValue"] == "s3://bucket/dvc"
    assert said["endpoint"]["defaultValue"] == "http://minio:9000"
    name = environment(flowers, "remote: s3://other\n")
    said = pipeline(flowers, name).spec["root"]["inputDefinitions"]["parameters"]
    assert (said["remote"]["defaultValue"], said["endpoint"]["defaultValue"]) == ("s3://other", "")


def test_without_kubeflow_s_cache(flowers: Path) -> None:
    plan = compiler.plan_for(read_project(flowers), None)
    tasks = compiled.read(compiler.text_of(compiler.pipeline_of(plan, caching=False))).tasks
    assert [task["cachingOptions"] for task in tasks.values()] == [{}, {}]


@pytest.mark.parametrize(("image", "fits"), [("a:latest", False), ("a", False), ("a@sha256:" + "0" * 64, True)])
def test_an_image_by_digest_where_that_is_asked_for(flowers: Path, image: str, fits: bool) -> None:
    name = environment(flowers, "digest_required: true\n")
    if fits:
        assert image in compiler.write_pipeline(read_project(flowers), name, image).read_text()
    else:
        with pytest.raises(ReposeError, match=f"show: the image should be given by digest .*not as '{image}'"):
            compiler.write_pipeline(read_project(flowers), name, image)


BAD = {
    "no meta.kfp": (
        '    meta: {kfp: {outs: {made: Dataset}, cpu: "1"}}\n',
        "",
        r"Stage count has no meta\.kfp in dvc\.yaml\. Give it one .*made: Dataset",
    ),
    "a type that Kubeflow does not know": (
        "made: Dataset",
        "made: Data",
        r"count: meta\.kfp\.outs\.made.*one of Artifact, Dataset",
    ),
    "an output without a type": (
        "outs: {made: Dataset}",
        "outs: {}",
        r"count: meta\.kfp\.outs does not say the type of made",
    ),
    "a type of no output": ("made: Dataset", "mad: Dataset", r"mad is no output of the stage\. Did you mean 'made'"),
    "a page of no output": (
        'cpu: "1"',
        "pages: {x: y.html}",
        r"pages\.x: y\.html is not in an output of the stage: made",
    ),
    "an unknown need": ('cpu: "1"', "cpus: 1", r"meta\.kfp: unknown key 'cpus'\. Did you mean 'cpu'"),
    "an amount that is none": ('cpu: "1"', "cpu: many", r"cpu should be an amount as Kubernetes writes it.*'many'"),
    "a timeout of no time": ('cpu: "1"', "timeout: 0", r"timeout should be at least 1 second"),
    "outputs of one name": (
        "outs: [made]\n    meta: {kfp: {outs: {made: Dataset}",
        "outs: [made, Made]\n    meta: {kfp: {outs: {made: Dataset, Made: Dataset}",
        r"Stage count: .*made and Made would both be called made in Kubeflow",
    ),
    "a key that is not there": (
        "params: [scale",
        "params: [scal",
        r"Stage count lists the param 'scal', which params\.yaml does not have\.$",
    ),
    "a key with a dot": (
        "params: [scale",
        "params: [a.b0.1, scale",
        r"Stage count lists the param 'a\.b0\.1', which .* A dot is not allowed in the key 'b0\.1', as it separates the parts",
    ),
    "a frozen stage": ("  judge:\n", "  judge:\n    frozen: true\n", r"Stage judge is frozen: DVC does not run it"),
    "an output that persists": (
        "outs: [made]",
        "outs: [made: {persist: true}]",
        r"count: the output made is kept between runs",
    ),
    "an output that is not pushed": (
        "outs: [made]",
        "outs: [made: {push: false}]",
        r"count: the output made has push: false",
    ),
    "an output with a remote of its own": (
        "outs: [made]",
        "outs: [made: {remote: x}]",
        r"count: the output made has a remote of its own",
    ),
    "an output outside": (
        "outs: [report.html]",
        "outs: [report.html, /far/away]",
        r"judge: the output /far/away lies outside",
    ),
    "a dependency outside": (
        "judge.py]",
        "judge.py, /far/away]",
        r"judge: the dependency /far/away lies outside the project",
    ),
    "a params file of Python": (
        "params: [scale",
        "params: [{p.py: [x]}, scale",
        r"p\.py cannot be read: it is not named \.yaml, \.yml or \.json",
    ),
    "a params file that is not there": (
        "params: [scale",
        "params: [{p.yaml: [x]}, scale",
        r"There is no params file .*p\.yaml",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_expressed_is_refused_by_name(flowers: Path, case: str) -> None:
    old, new, message = BAD[case]
    (flowers / "p.py").write_text("x = 1\n")
    edit(flowers, "scale: 2", "a: {b0.1: 1}\nscale: 2", "params.yaml")
    edit(flowers, old, new)
    with pytest.raises(ReposeError, match=re.compile(message, re.DOTALL)):
        compiler.compiled(read_project(flowers))


def test_a_cycle_is_refused(flowers: Path) -> None:
    edit(flowers, "deps: [petals.csv, count.py]", "deps: [petals.csv, count.py, report.html]")
    with pytest.raises(ReposeError, match=r"DVC cannot read the project.*cycl"):
        read_project(flowers)


@pytest.mark.parametrize("value", ["2026-02-01", "2026-02-31"])
def test_a_value_that_dvc_cannot_take_is_refused(flowers: Path, value: str) -> None:
    edit(flowers, "scale: 2", f"day: {value}\nscale: 2", "params.yaml")
    edit(flowers, "  judge:\n", "  judge:\n    matrix: {x: ['${scale}']}\n")
    with pytest.raises(ReposeError, match=r"(DVC cannot read the project|The params file).*uotes"):
        compiler.compiled(read_project(flowers))


def test_two_params_of_one_name_are_refused(flowers: Path) -> None:
    edit(flowers, "params: [scale", "params: [a.b, a_b, scale")
    edit(flowers, "scale: 2", "a: {b: 1}\na_b: 2\nscale: 2", "params.yaml")
    with pytest.raises(ReposeError, match=r"params\.yaml: a\.b and params\.yaml: a_b would both be called a_b"):
        compiler.compiled(read_project(flowers))


@pytest.mark.parametrize("name", ["remote", "endpoint"])
def test_a_param_that_is_called_like_the_pipeline_s_own(flowers: Path, name: str) -> None:
    """Of an item, so that the component's input has another name."""
    edit(flowers, "  judge:\n", f"  judge:\n    matrix: {{key: [{name}]}}\n    params: ['${{item.key}}']\n")
    edit(flowers, "scale: 2", f"{name}: 1\nscale: 2", "params.yaml")
    with pytest.raises(
        ReposeError, match=rf"the pipeline's own {name} and params\.yaml: {name} would both be called {name}"
    ):
        compiler.compiled(read_project(flowers))


def test_two_stages_of_one_name_are_refused(flowers: Path) -> None:
    edit(flowers, "  judge:", "  COUNT:")
    with pytest.raises(ReposeError, match="count and COUNT would both be called count in Kubeflow"):
        compiler.compiled(read_project(flowers))


def test_a_folder_without_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match="DVC cannot read the project in"):
        read_project(tmp_path)
    subprocess.run([Path(sys.executable).parent / "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(ReposeError, match="has no stages"):
        read_project(tmp_path)


BAD_ENVIRONMENTS = {
    "an unknown stage": (
        "stages: {coun: {cpu: '1'}}",
        r"show\.yaml: stages: there is no stage 'coun'.*Did you mean 'count'",
    ),
    "an unknown key": ("imag: a", r"unknown key 'imag'\. Did you mean 'image'"),
    "an unknown need": ("defaults: {gpu: 1}", r"defaults: unknown key 'gpu'"),
    "an unknown need of a stage": (
        "stages: {count: {memry: 1Gi}}",
        r"stages\.count: unknown key 'memry'. Did you mean 'memory'",
    ),
    "outputs": ("stages: {count: {outs: {made: Model}}}", r"stages\.count: unknown key 'outs'"),
}


@pytest.mark.parametrize("case", BAD_ENVIRONMENTS)
def test_an_environment_is_strictly_read(flowers: Path, case: str) -> None:
    content, message = BAD_ENVIRONMENTS[case]
    name = environment(flowers, content)
    with pytest.raises(ReposeError, match=message):
        compiler.plan_for(read_project(flowers), name)


def test_an_environment_that_is_not_there(flowers: Path) -> None:
    environment(flowers, "image: a", "staging")
    with pytest.raises(ReposeError, match=r"There is no environment 'prod' in .*staging"):
        compiler.plan_for(read_project(flowers), "prod")


def test_a_stage_by_an_unknown_address(flowers: Path) -> None:
    with pytest.raises(
        ReposeError, match=r"no stage 'train@x'; it has count, judge. Which stages there are is decided by"
    ):
        read_project(flowers)["train@x"]


def test_a_list_of_commands_is_one_task(flowers: Path) -> None:
    assert len(yaml.safe_load((flowers / "dvc.yaml").read_text())["stages"]["count"]["cmd"]) == 2
    assert list(pipeline(flowers).tasks) == ["count", "judge"]
