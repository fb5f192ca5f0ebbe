"""dvc.yaml compiled: the graph, containers, artifacts, the run form, what the cluster is asked for, and what is refused."""

from pathlib import Path
from typing import Any

import foreign
import pytest
from backend import faults, without_run_id
from compiled import RECORD, Pipeline, compile_, edges_of_dvc, edit, environment, read, reduced, task_of, text_for

from repose.errors import ReposeError
from repose.kubeflow import compiler
from repose.kubeflow.components import text_of
from repose.kubeflow.project import read_project


@pytest.mark.parametrize(("name", "file"), [("garden", "dvc.yaml"), ("fair", "table/dvc.yaml")])
def test_the_graph_is_that_of_dvc_and_containers_get_what_kubeflow_resolves(project, name, file):
    found = read_project(project(name), file)
    text = text_for(found)
    made = read(text)
    assert made.edges == reduced(edges_of_dvc(found)) != set()
    assert faults(text) == without_run_id(text, "REPOSE_RUN") == []
    assert {container["args"][-1] for container in made.containers.values()} == {"{{$}}"}
    of_groups = {str(container) for container in made.containers.values()}  # items of a foreach are of one component
    assert len(of_groups) == len(compiler.plan_for(found, None).groups) + 1


def test_a_component_can_be_used_in_anyone_s_pipeline(garden):
    from kfp import components, dsl

    compiler.write_all(read_project(garden))
    files = (str(garden / f"components/{name}/component.yaml") for name in ("dig", "plant"))
    dig, plant = (components.load_component_from_file(file) for file in files)

    @dsl.pipeline(name="theirs")
    def theirs(remote: str) -> None:
        fixed = {"remote": remote, "endpoint": "", "overrides": "{}"}
        dug = dig(stage="dig@north", **fixed)
        plant(stage="plant@north-kale", after_0=dug.outputs["entry"], **fixed)

    assert "plant@north-kale" in text_of(theirs)


def test_types_names_pages_and_exports_can_be_given(tmp_path):
    meta = "{kfp: {outs: {nets: Dataset, rows: {type: HTML, name: table, page: a.html}, read.md: {export: true}}}}"
    foreign.write(tmp_path, {"dvc.yaml": f"stages: {{make: {{cmd: x, outs: [nets, rows, read.md], meta: {meta}}}}}\n"})
    plan = compiler.plan_for(read_project(tmp_path), None)
    outs = {str(out.name): out for out in task_of(plan, "make").outputs}
    assert (outs["nets"].type, outs["table"].type, outs["table"].page) == ("Dataset", "HTML", "a.html")
    assert (outs["read_md"].type, outs["read_md"].export, outs["nets"].export) == ("Markdown", True, False)


# --- the run form

EXPOSED = "expose:\n  scale: null\n  labels: |\n    Which\n    labels.\n"


def test_the_run_form_has_the_remote_the_overrides_and_what_is_exposed(flowers):
    edit(flowers / "params.yaml", "precise: false", "precise: false\nname: '08'\nlong: 9007199254740993\nendpoint: 1.5")
    edit(flowers / "dvc.yaml", "params: [scale,", "params: [name, long, endpoint, scale,")
    made = compile_(flowers, environment(flowers, EXPOSED + "  name: n\n  long: l\n  endpoint: e\n"))
    assert list(made.parameters) == ["remote", "endpoint", "overrides", "endpoint_2", "labels", "long", "name", "scale"]
    defaults = {name: parameter.get("defaultValue") for name, parameter in made.parameters.items()}
    assert defaults == {
        "remote": None, "endpoint": "", "overrides": "{}", "labels": "[1, 2.5, a]", "scale": "2", "name": '"08"',
        "long": "9007199254740993", "endpoint_2": "1.5",
    }  # fmt: skip
    assert {parameter["parameterType"] for parameter in made.parameters.values()} == {"STRING"}
    assert made.parameters["scale"]["description"] == "by how much in all (scale)"
    assert made.parameters["labels"]["description"] == "Which labels. (labels)"
    assert all(parameter["description"] for parameter in made.parameters.values())
    given = {address: set(task["inputs"]["parameters"]) for address, task in made.tasks.items()}
    assert given["count"] - given["judge"] == {"scale", "labels", "name", "long", "endpoint_2"}  # a stage's own
    assert given["judge"] == {"stage", "remote", "endpoint", "overrides", "after_0"}
    assert given[RECORD] == set(made.parameters)
    assert "endpoint_2=params.yaml:endpoint" in made.containers["count"]["args"]


def test_a_text_that_other_readers_of_yaml_take_for_a_number_is_quoted(flowers):
    edit(flowers / "params.yaml", "scale: 2 ", "scale: 1e-05 ")
    assert "defaultValue: '1e-05'\n" in text_for(read_project(flowers), environment(flowers, EXPOSED))


@pytest.mark.parametrize(("expose", "message"), [
    ("scal: null", r"params\.yaml has no key 'scal'\. Did you mean 'scale'\?"),
    ("bare: null", r"show\.yaml: expose: bare has no comment in the params file\. Describe it here\."),
    ("kinds: the kinds", "expose: kinds decides which stages and params exist, so a run cannot change it"),
])  # fmt: skip
def test_params_that_cannot_be_exposed(tmp_path, expose, message):
    stage = "{matrix: {x: '${kinds.a}'}, cmd: x, params: [scale, bare], outs: ['${item.x}']}"
    params = "scale: 2  # by how much\nbare: 1\nkinds: {a: [one]}\n"
    foreign.write(tmp_path, {"dvc.yaml": f"stages: {{judge: {stage}}}\n", "params.yaml": params})
    with pytest.raises(ReposeError, match=message):
        compiler.plan_for(read_project(tmp_path), environment(tmp_path, f"expose: {{{expose}}}\n"))


# --- files


def test_a_stage_that_is_gone_takes_its_component_along_and_no_other(flowers):
    compiler.write_all(read_project(flowers))
    edit(flowers / "dvc.yaml", "  judge:", "  decide:")
    (flowers / "components" / "own").mkdir()
    (flowers / "components" / "own" / "component.yaml").write_text("name: somebody's own\n")
    project = read_project(flowers)
    assert {path.parent.name for path in compiler.not_current(project)} == {"judge", "decide", "pipelines"}
    compiler.write_all(project)
    assert {path.name for path in (flowers / "components").iterdir()} == {"count", "decide", "own"}


# --- environments

DIGEST = "a@sha256:" + "0" * 64
EVERYTHING = """
name: flower-show
image: DIGEST
digest_required: true
remote: s3://flowers/dvc
endpoint: http://minio:9000
service_account: gardener
defaults:
  cpu: 500m
  memory: 2Gi
  limits: {cpu: "2", memory: 4Gi}
  env: {TZ: UTC}
  secrets: {flowers-s3: {id: AWS_ACCESS_KEY_ID, secret: AWS_SECRET_ACCESS_KEY}}
  config_maps: {net: {proxy: HTTPS_PROXY}}
  secret_files: {ca: /etc/ca}
  security: {run_as_user: 10001, run_as_group: 10001, run_as_non_root: true}
  image_pull_secrets: [registry]
  labels: {team: flowers}
  annotations: {note: hello}
  retries: {count: 3, backoff: 10s, factor: 3, within: 2d}
  cache: {claim: dvc-cache, path: /cache}
  volumes: [{claim: photos, path: /photos}]
  scratch: {size: 20Gi}
stages:
  judge:
    accelerator: {type: nvidia.com/gpu, count: 2}
    node_selector: {gpu: h100}
    affinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms: [{matchExpressions: [{key: gpu, operator: Exists}]}]
    tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}]
    shared_memory: 8Gi
    scratch: {size: 20Gi, storage_class: fast}
    timeout: 3600
    retries: null
""".replace("DIGEST", DIGEST)


def named(listed: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(entry.get(key) for key in keys) for entry in listed]


@pytest.fixture
def everything(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    text = text_for(read_project(flowers), environment(flowers, EVERYTHING))
    assert "hunter2" not in text
    return read(text)


@pytest.mark.parametrize("task", ["count", RECORD])
def test_what_an_environment_asks_of_the_cluster_for_every_task(everything, task):
    container, asked = everything.containers[task], everything.platform[task]
    assert everything.spec["pipelineInfo"]["name"] == "flower-show"
    assert container["image"] == DIGEST
    resources = container["resources"]
    request = "1" if task == "count" else "500m"  # dvc.yaml has its own
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == (request, "2")
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("2Gi", "4Gi")
    assert {variable["name"]: variable["value"] for variable in container["env"]} == {
        "TZ": "UTC", "REPOSE_WORK": "/scratch", "REPOSE_DVC_CACHE": "/cache",
    }  # fmt: skip
    (secret,) = asked["secretAsEnv"]
    assert secret["secretName"] == "flowers-s3"
    keys = {("id", "AWS_ACCESS_KEY_ID"), ("secret", "AWS_SECRET_ACCESS_KEY")}
    assert set(named(secret["keyToEnv"], "secretKey", "envVar")) == keys
    assert asked["configMapAsEnv"][0]["configMapName"] == "net"
    assert asked["configMapAsEnv"][0]["keyToEnv"] == [{"configMapKey": "proxy", "envVar": "HTTPS_PROXY"}]
    assert named(asked["secretAsVolume"], "secretName", "mountPath") == [("ca", "/etc/ca")]
    mounts = [("photos", "/photos"), ("dvc-cache", "/cache")]
    assert named(asked["pvcMount"], "constant", "mountPath") == mounts
    assert named(asked["emptyDirMounts"], "mountPath", "sizeLimit") == [("/scratch", "20Gi")]
    assert asked["podMetadata"] == {"labels": {"team": "flowers"}, "annotations": {"note": "hello"}}
    assert asked["imagePullSecret"][0]["secretName"] == "registry"
    assert asked["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    retries = everything.tasks[task]["retryPolicy"]
    assert retries == {
        "maxRetryCount": 3, "backoffDuration": "10s", "backoffFactor": 3.0, "backoffMaxDuration": "172800s",
    }  # fmt: skip


def test_what_an_environment_asks_for_one_stage(everything):
    container, asked = everything.containers["judge"], everything.platform["judge"]
    accelerator = container["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "2")
    assert asked["nodeSelector"] == {"labels": {"gpu": "h100"}}
    affinity = asked["nodeAffinity"][0]["nodeAffinityJson"]["runtimeValue"]["constant"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
    assert asked["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert named(asked["emptyDirMounts"], "mountPath", "sizeLimit", "medium") == [("/dev/shm", "8Gi", "Memory")]  # noqa: S108
    scratch = named(asked["genericEphemeralVolume"], "mountPath", "size", "storageClassName")
    assert scratch == [("/scratch", "20Gi", "fast")]
    assert asked["activeDeadlineSeconds"] == "3600"
    assert "retryPolicy" not in everything.tasks["judge"]
    assert everything.parameters["remote"]["defaultValue"] == "s3://flowers/dvc"
    assert everything.parameters["endpoint"]["defaultValue"] == "http://minio:9000"


def test_an_environment_lies_over_the_base_and_a_given_image_over_both(flowers):
    text = "image: b:2\nexpose: {labels: l}\ndefaults: {memory: null, labels: {y: two}}\nstages: {count: {cpu: '4'}}\n"
    environment(flowers, text)
    base = "name: base\nimage: a:1\nexpose: {scale: null}\ndefaults: {memory: 1Gi, cpu: '2', labels: {x: one}}\n"
    (flowers / "pipelines" / "base.yaml").write_text(base)
    project = read_project(flowers)
    path = compiler.write_pipeline(project, "show")
    assert path == flowers / "pipelines" / "pipeline-show.yaml"
    made = read(path.read_text())
    assert (made.spec["pipelineInfo"]["name"], made.containers["count"]["image"]) == ("base", "b:2")
    resources = {task: container["resources"] for task, container in made.containers.items()}
    assert "memoryLimit" not in resources["count"]
    assert [resources[task]["resourceCpuLimit"] for task in ("count", "judge")] == ["4", "2"]
    assert made.platform["count"]["podMetadata"]["labels"] == {"x": "one", "y": "two"}
    assert set(made.parameters) == {"remote", "endpoint", "overrides", "labels"}  # the lists are not merged
    assert compiler.plan_for(project, "show", "mine:3").image == "mine:3"
    assert task_of(compiler.plan_for(project, None), "count").meta.cpu == "1"  # dvc.yaml's, over the base's defaults


def test_null_removes_what_is_below_it(flowers):
    (flowers / "pipelines").mkdir()
    base = "endpoint: http://minio:9000\nexpose: {scale: null}\n"
    base += "defaults: {retries: {count: 1}, env: {A: a, B: b}}\nstages: {count: {cpu: '4'}, judge: {cpu: '2'}}\n"
    (flowers / "pipelines" / "base.yaml").write_text(base)
    text = "endpoint: null\nexpose: {}\ndefaults: {env: {A: null}}\n"
    environment(flowers, text + "stages: {count: {retries: null}, judge: {env: null, cpu: null}}\n")
    plan = compiler.plan_for(read_project(flowers), "show")
    assert (plan.environment.endpoint, plan.environment.expose) == (None, {})
    metas = [task_of(plan, name).meta for name in ("count", "judge")]
    assert [(meta.retries is None, meta.env) for meta in metas] == [(True, {"B": "b"}), (False, {})]
    assert metas[1].cpu is None


def test_the_remote_is_the_project_s_own_unless_said_otherwise(flowers):
    assert "defaultValue" not in compile_(flowers).parameters["remote"]
    foreign.dvc(flowers, "remote", "add", "--local", "--default", "mine", "/of/this/machine")
    assert compiler.plan_for(read_project(flowers), None).remote is None
    foreign.dvc(flowers, "remote", "add", "--default", "store", "s3://bucket/dvc")
    foreign.dvc(flowers, "remote", "modify", "store", "endpointurl", "http://minio:9000")
    environment(flowers, "remote: s3://other\n")
    environment(flowers, "endpoint: http://inside:9000\n", "inside")
    for name, remote, endpoint in (
        (None, "s3://bucket/dvc", "http://minio:9000"), ("show", "s3://other", ""),
        ("inside", "s3://bucket/dvc", "http://inside:9000"),
    ):  # fmt: skip
        plan = compiler.plan_for(read_project(flowers), name)
        assert (plan.remote, plan.endpoint) == (remote, endpoint)


def test_an_image_by_digest_where_that_is_asked_for(flowers):
    name, project = environment(flowers, "digest_required: true\n"), read_project(flowers)
    assert DIGEST in compiler.write_pipeline(project, name, DIGEST).read_text()
    with pytest.raises(ReposeError, match=r"show: the image should be given by digest .*not as 'a:latest'"):
        compiler.write_pipeline(project, name, "a:latest")


VOLUME = "{{claim: {}, path: {}}}".format
BAD_ENVIRONMENTS = {
    "stages: {coun: {cpu: '1'}}": r"show\.yaml: stages: there is no stage 'coun'.*Did you mean 'count'",
    "imag: a": r"unknown key 'imag'\. Did you mean 'image'",
    "defaults: {retries: {count: 1, factor: 1.5}}": r"defaults\.retries\.factor should be a whole number",
    "defaults: {retries: {count: 1, within: 1h30m}}": r"defaults\.retries\.within: '1h30m' is not a duration, such as 30s",
    "stages: {count: {outs: {made: Model}}}": r"stages\.count: unknown key 'outs'",
    f"defaults: {{volumes: [{VOLUME('a', '/a')}], cache: {VOLUME('a', '/b')}}}": "defaults: a is mounted twice",
    f"defaults: {{volumes: [{VOLUME('a', '/scratch/')}], scratch: {{size: 1Gi}}}}": "defaults: /scratch is mounted twice",
    "defaults: {shared_memory: 1Gi, secret_files: {a: /dev/shm}}": "defaults: /dev/shm is mounted twice",
}


@pytest.mark.parametrize("content", BAD_ENVIRONMENTS)
def test_every_environment_is_strictly_read(flowers, content):
    environment(flowers, content)
    with pytest.raises(ReposeError, match=BAD_ENVIRONMENTS[content]):
        compiler.write_all(read_project(flowers))


def test_an_environment_that_is_not_there_is_told_with_those_that_are(flowers):
    environment(flowers, "image: a\n")
    for name in ("prod", "./show"):
        with pytest.raises(ReposeError, match=rf"There is no environment '{name}' in .*; there are: show"):
            compiler.plan_for(read_project(flowers), name)
