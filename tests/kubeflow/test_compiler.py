"""dvc.yaml compiled: the graph, artifacts, parameters, what the cluster is asked for, and what is refused."""

import re
from pathlib import Path
from typing import Any

import foreign
import pytest
import yaml
from compiled import compile_, edges, edges_of_dvc, edit, parameters, read, text_for

from repose.errors import ReposeError
from repose.kubeflow import compiler
from repose.kubeflow.components import pipeline_of, text_of
from repose.kubeflow.project import read_project

KITCHEN, TABLE = "kitchen/dvc.yaml", "table/dvc.yaml"


def params(task: dict[str, Any]) -> set[str]:
    return set(task["inputs"]["parameters"]) - {"stage", "remote", "endpoint"}


@pytest.mark.parametrize(
    ("name", "file"),
    [("flowers", "dvc.yaml"), ("garden", "dvc.yaml"), ("garden", KITCHEN), ("fair", "dvc.yaml"), ("fair", TABLE)],
)
def test_the_graph_is_that_of_dvc(project: Any, name: str, file: str) -> None:
    found = read_project(project(name), file)
    assert edges(text_for(found)) == edges_of_dvc(found) != set()


def test_items_of_foreach_and_matrix_are_tasks_side_by_side_of_one_component(garden: Path) -> None:
    compiler.write_all(read_project(garden))
    assert sorted(p.parent.name for p in (garden / "components").rglob("component.yaml")) == ["dig", "harvest", "plant"]
    tasks = compile_(garden).tasks
    assert {"plant@north-rose", "plant@north-kale", "plant@south-rose", "plant@south-kale"} <= set(tasks)
    assert all(tasks[f"dig@{bed}"].get("dependentTasks") is None for bed in ("north", "south"))


def test_a_component_can_be_used_in_anyone_s_pipeline(garden: Path) -> None:
    from kfp import components, dsl

    compiler.write_all(read_project(garden))
    files = (str(garden / f"components/{name}/component.yaml") for name in ("dig", "plant"))
    dig, plant = (components.load_component_from_file(file) for file in files)

    @dsl.pipeline(name="theirs")
    def theirs(remote: str) -> None:
        dug = dig(stage="dig@north", remote=remote)
        plant(stage="plant@north-kale", beds_txt=dug.outputs["beds_txt"], remote=remote, tools_sizes="2.5")

    assert "plant@north-kale" in text_of(theirs)


def test_each_output_is_an_artifact_of_its_type(flowers: Path, garden: Path) -> None:
    plan = compiler.plan_for(read_project(flowers), None)
    assert plan["judge"].outputs == {"score_json": "Metrics", "report_html": "HTML"}
    assert plan["count"].outputs == {"made": "Dataset"}
    cook = compiler.plan_for(read_project(garden, KITCHEN), None)["kitchen/dvc.yaml:cook"]
    assert cook.outputs == {"soup_txt": "Artifact", "soup_page": "HTML"}


def test_each_value_of_the_params_is_a_parameter_with_its_yaml_as_default_and_its_comment(flowers: Path) -> None:
    found = parameters(compile_(flowers))
    assert found["scale"] == {
        "parameterType": "STRING", "defaultValue": "2", "isOptional": True, "description": "by how much in all",
    }  # fmt: skip
    assert (found["labels"]["parameterType"], found["labels"]["defaultValue"]) == ("STRING", "[1, 2.5, a]")
    edit(flowers / "params.yaml", "scale: 2 ", "scale: null ")
    assert parameters(compile_(flowers))["scale"]["defaultValue"] == "null"


@pytest.mark.parametrize("value", ["1e-05", "'08'", "'0o17'"])
def test_a_text_that_other_readers_of_yaml_take_for_a_number_is_quoted(flowers: Path, value: str) -> None:
    edit(flowers / "params.yaml", "scale: 2 ", f"scale: {value} ")
    assert re.search(rf"defaultValue: ['\"]+{value.strip(chr(39))}['\"]+\n", text_for(read_project(flowers)))


def test_a_task_gets_the_params_that_its_stage_lists_and_no_other(flowers: Path, garden: Path) -> None:
    tasks = compile_(flowers).tasks
    assert params(tasks["count"]) == {"scale", "labels", "precise", "petals_csv_version"}
    assert params(tasks["judge"]) == set()
    md5 = yaml.safe_load((flowers / "petals.csv.dvc").read_text())["outs"][0]["md5"]
    version = tasks["count"]["inputs"]["parameters"]["petals_csv_version"]
    assert version == {"runtimeValue": {"constant": md5}}  # of the data of a .dvc file
    plant = compile_(garden).tasks["plant@north-kale"]
    assert params(plant) == {"tools_spade", "tools_sizes"}
    sizes = plant["inputs"]["parameters"]["tools_sizes"]
    assert sizes == {"componentInputParameter": "pipelinechannel--tools_sizes_kale"}
    cook = compile_(garden, file=KITCHEN).tasks["kitchen/dvc.yaml:cook"]
    assert params(cook) == {"kitchen_stove_params_heat_high", "kitchen_stove_params_heat_low"}


def test_what_is_not_current_is_told_and_what_is_stale_goes(flowers: Path) -> None:
    project = read_project(flowers)
    compiler.write_all(project)
    assert compiler.not_current(project) == []
    edit(flowers / "params.yaml", "scale: 2", "scale: 3")
    edit(flowers / "dvc.yaml", "  judge:", "  decide:")
    (flowers / "components" / "own").mkdir()
    (flowers / "components" / "own" / "component.yaml").write_text("name: somebody's own\n")
    project = read_project(flowers)
    changed = {str(path.relative_to(flowers)) for path in compiler.not_current(project)}
    components = {f"components/{name}/component.yaml" for name in ("count", "judge", "decide")}
    assert changed == components | {"pipelines/pipeline.yaml"}
    compiler.write_all(project)
    assert compiler.not_current(project) == []
    assert not (flowers / "components" / "judge").exists()
    assert (flowers / "components" / "own" / "component.yaml").exists()


def test_kubeflow_s_cache(flowers: Path) -> None:
    edit(flowers / "dvc.yaml", "  judge:\n", "  judge:\n    always_changed: true\n")
    plan = compiler.plan_for(read_project(flowers), None)
    for caching, expected in ((True, [{"enableCache": True}, {}]), (False, [{}, {}])):
        tasks = read(text_of(pipeline_of(plan, caching=caching))).tasks
        assert [tasks[name]["cachingOptions"] for name in ("count", "judge")] == expected


# --- environments

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


def test_what_an_environment_asks_of_the_cluster(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    text = text_for(read_project(flowers), environment(flowers, EVERYTHING.format(digest="0" * 64)))
    assert "hunter2" not in text
    made = read(text)
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
    shared = asked["emptyDirMounts"][0]
    assert (shared["mountPath"], shared["sizeLimit"]) == ("/dev/shm", "8Gi")  # noqa: S108
    assert asked["activeDeadlineSeconds"] == "3600"
    count, names = made.platform["count"], {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert {pair["envVar"] for pair in count["secretAsEnv"][0]["keyToEnv"]} == names
    assert count["pvcMount"][0]["constant"] == "dvc-cache"
    assert count["podMetadata"] == {"labels": {"team": "flowers"}, "annotations": {"note": "hello"}}
    assert count["imagePullSecret"][0]["secretName"] == "registry"
    assert count["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    assert made.executors["count"]["resources"]["resourceCpuLimit"] == "1"
    assert made.tasks["count"]["retryPolicy"] == {
        "maxRetryCount": 3, "backoffDuration": "10s", "backoffFactor": 3.0, "backoffMaxDuration": "60s",
    }  # fmt: skip
    defaults = parameters(made)
    assert defaults["remote"]["defaultValue"] == "s3://flowers/dvc"
    assert defaults["endpoint"]["defaultValue"] == "http://minio:9000"


def test_an_environment_lies_over_the_base_and_a_given_image_over_both(flowers: Path) -> None:
    environment(flowers, "image: b:2\ndefaults: {memory: null, labels: {y: two}}\nstages: {count: {cpu: '4'}}\n")
    base = "name: base\nimage: a:1\ndefaults: {memory: 1Gi, labels: {x: one}}\n"
    (flowers / "pipelines" / "base.yaml").write_text(base)
    project = read_project(flowers)
    path = compiler.write_pipeline(project, "show")
    assert path == flowers / "pipelines" / "pipeline-show.yaml"
    made = read(path.read_text())
    count = made.executors["count"]
    assert (made.spec["pipelineInfo"]["name"], count["image"]) == ("base", "b:2")
    assert "memoryLimit" not in count["resources"]
    assert count["resources"]["resourceCpuLimit"] == "4"
    assert made.platform["count"]["podMetadata"]["labels"] == {"x": "one", "y": "two"}
    assert compiler.plan_for(project, "show", "mine:3").image == "mine:3"


def test_the_remote_is_the_project_s_own_unless_said_otherwise(flowers: Path) -> None:
    assert "defaultValue" not in parameters(compile_(flowers))["remote"]
    foreign.dvc(flowers, "remote", "add", "--local", "--default", "mine", "/of/this/machine")
    assert compiler.plan_for(read_project(flowers), None).remote is None
    foreign.dvc(flowers, "remote", "add", "--default", "store", "s3://bucket/dvc")
    foreign.dvc(flowers, "remote", "modify", "store", "endpointurl", "http://minio:9000")
    environment(flowers, "remote: s3://other\n")
    for name, expected in ((None, ("s3://bucket/dvc", "http://minio:9000")), ("show", ("s3://other", ""))):
        plan = compiler.plan_for(read_project(flowers), name)
        assert (plan.remote, plan.endpoint) == expected


@pytest.mark.parametrize(("image", "fits"), [("a:latest", False), ("a", False), ("a@sha256:" + "0" * 64, True)])
def test_an_image_by_digest_where_that_is_asked_for(flowers: Path, image: str, fits: bool) -> None:
    name = environment(flowers, "digest_required: true\n")
    if fits:
        assert image in compiler.write_pipeline(read_project(flowers), name, image).read_text()
    else:
        with pytest.raises(ReposeError, match=f"show: the image should be given by digest .*not as '{image}'"):
            compiler.write_pipeline(read_project(flowers), name, image)


BAD_ENVIRONMENTS = {
    "stages: {coun: {cpu: '1'}}": r"show\.yaml: stages: there is no stage 'coun'.*Did you mean 'count'",
    "imag: a": r"unknown key 'imag'\. Did you mean 'image'",
    "defaults: {gpu: 1}": r"defaults: unknown key 'gpu'",
    "stages: {count: {memry: 1Gi}}": r"stages\.count: unknown key 'memry'. Did you mean 'memory'",
    "stages: {count: {outs: {made: Model}}}": r"stages\.count: unknown key 'outs'",
}


@pytest.mark.parametrize("content", BAD_ENVIRONMENTS)
def test_every_environment_is_strictly_read(flowers: Path, content: str) -> None:
    environment(flowers, content)
    with pytest.raises(ReposeError, match=BAD_ENVIRONMENTS[content]):
        compiler.write_all(read_project(flowers))
    with pytest.raises(ReposeError, match=r"There is no environment 'prod' in .*show"):
        compiler.plan_for(read_project(flowers), "prod")


# --- what is refused

META = '    meta: {kfp: {outs: {made: Dataset}, cpu: "1"}}\n'
BAD = {  # in dvc.yaml: what, instead of what; the message
    "no meta.kfp": (META, "", r"Stage count has no meta\.kfp in dvc\.yaml\. Give it one .*made: Dataset"),
    "an unknown type": ("made: Dataset", "made: Data", r"count: meta\.kfp\.outs\.made.*one of Artifact, Dataset"),
    "no type": ("outs: {made: Dataset}", "outs: {}", r"count: meta\.kfp\.outs lacks the type of made"),
    "a type of no output": ("made: Dataset", "mad: Dataset", r"mad is not an output of the stage\. Did you mean 'made'"),
    "a page of no output": ('cpu: "1"', "pages: {x: y.html}", r"pages\.x: y\.html is not in an output of the stage: made"),
    "an unknown need": ('cpu: "1"', "cpus: 1", r"meta\.kfp: unknown key 'cpus'\. Did you mean 'cpu'"),
    "no amount": ('cpu: "1"', "cpu: many", r"meta\.kfp\.cpu: 'many' is not an amount in Kubernetes' notation"),
    "no time": ('cpu: "1"', "timeout: 0", r"meta\.kfp\.timeout should be more than 0, not 0"),
    "outputs of one name": (
        "outs: [made]\n    meta: {kfp: {outs: {made: Dataset}",
        "outs: [made, Made]\n    meta: {kfp: {outs: {made: Dataset, Made: Dataset}",
        r"Stage count: .*made and Made would both be called made in Kubeflow",
    ),
    "params of one name": (
        "params: [scale", "params: [a.b, a_b, scale", r"params\.yaml: a\.b and params\.yaml: a_b would both be called a_b",
    ),
    "stages of one name": ("  judge:", "  COUNT:", "count and COUNT would both be called count in Kubeflow"),
    "the record's name": ("  judge:", "  Run_record:", "run-record and Run_record would both be called run-record"),
    "an unknown key": ("params: [scale", "params: [scal", r"Stage count lists the param 'scal', which params\.yaml does not"),
    "a key with a dot": (
        "params: [scale", "params: [a.c.d", r"'a\.c\.d', which .* does not have\. A dot is not allowed in 'c\.d'",
    ),
    "frozen": ("  judge:\n", "  judge:\n    frozen: true\n", r"Stage judge is frozen: DVC does not run it"),
    "persist": ("outs: [made]", "outs: [made: {persist: true}]", r"count: the output made is kept between runs"),
    "no push": ("outs: [made]", "outs: [made: {push: false}]", r"count: the output made has push: false"),
    "own remote": ("outs: [made]", "outs: [made: {remote: x}]", r"count: the output made has a remote of its own"),
    "an output outside": ("outs: [report.html]", "outs: [report.html, /far]", r"judge: the output /far lies outside"),
    "a dependency outside": ("judge.py]", "judge.py, /far]", r"judge: the dependency /far lies outside the project"),
    "Python": ("params: [scale", "params: [{p.py: [x]}, scale", r"p\.py cannot be read: it is not named \.yaml, \.yml or"),
    "no params file": ("params: [scale", "params: [{p.yaml: [x]}, scale", r"There is no params file .*p\.yaml"),
    "a cycle": ("deps: [petals.csv,", "deps: [petals.csv, report.html,", "DVC cannot read the project"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_expressed_is_refused_by_name(flowers: Path, case: str) -> None:
    old, new, message = BAD[case]
    (flowers / "p.py").write_text("x = 1\n")
    edit(flowers / "params.yaml", "scale: 2", "a: {b: 1, c.d: 1}\na_b: 2\nscale: 2")
    edit(flowers / "dvc.yaml", old, new)
    with pytest.raises(ReposeError, match=re.compile(message, re.DOTALL)):
        compiler.compiled(read_project(flowers))


@pytest.mark.parametrize("value", ["2026-02-01", "2026-02-31"])
def test_a_value_that_dvc_cannot_take_is_refused(flowers: Path, value: str) -> None:
    edit(flowers / "params.yaml", "scale: 2", f"day: {value}\nscale: 2")
    edit(flowers / "dvc.yaml", "  judge:\n", "  judge:\n    matrix: {x: ['${scale}']}\n")
    with pytest.raises(ReposeError, match=r"(DVC cannot read the project|The params file).*uotes"):
        compiler.compiled(read_project(flowers))


@pytest.mark.parametrize("name", ["remote", "endpoint"])
def test_a_param_that_is_called_like_the_pipeline_s_own(flowers: Path, name: str) -> None:
    """Of an item, so that the component's input has another name."""
    edit(
        flowers / "dvc.yaml", "  judge:\n", f"  judge:\n    matrix: {{key: [{name}]}}\n    params: ['${{item.key}}']\n"
    )
    edit(flowers / "params.yaml", "scale: 2", f"{name}: 1\nscale: 2")
    with pytest.raises(ReposeError, match=f"pipeline's own {name} and .*yaml: {name} would both be called {name}"):
        compiler.compiled(read_project(flowers))


def test_a_folder_without_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match="DVC cannot read the project in"):
        read_project(tmp_path)
    foreign.dvc(tmp_path, "init", "--no-scm", "-q")
    with pytest.raises(ReposeError, match="has no stages"):
        read_project(tmp_path)
