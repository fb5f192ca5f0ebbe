"""A stage on several nodes: its TrainJob, against the Trainer's published models, and how a launcher runs it."""

import re
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client
from kubernetes_server import KubernetesServer, Look, check_job, pod

from repose.config import build
from repose.errors import RemoteError, ReposeError
from repose.kubeflow import cluster, train_job
from repose.kubeflow.cluster import Cluster
from repose.kubeflow.needs import Needs
from repose.kubeflow.train_job import run
from repose.kubeflow.train_manifest import manifest, name_of

NEEDS = {
    "cpu": "8", "memory": "32Gi", "accelerator": {"type": "nvidia.com/gpu", "count": 4}, "shared_memory": "16Gi",
    "node_selector": {"pool": "gpu"}, "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
    "timeout": 86400, "secrets": {"repose-s3": {"accesskey": "AWS_ACCESS_KEY_ID"}},
    "config_maps": {"settings": {"proxy": "HTTPS_PROXY"}}, "env": {"PRICE": "$(X)"}, "secret_files": {"ca": "/certs"},
    "volumes": [{"claim": "weights", "path": "/weights"}], "cache": {"claim": "dvc-cache", "path": "/cache"},
    "scratch": {"size": "200Gi", "storage_class": "ssd"}, "limits": {"memory": "64Gi"},
    "affinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "pool", "operator": "In", "values": ["gpu"]},
    ]}]}},
    "image_pull_secrets": ["registry"], "labels": {"team": "a"}, "annotations": {"note": "b"},
    "security": {"run_as_user": 10001, "run_as_non_root": True},
}  # fmt: skip
NAME = name_of("run-1", "train@attend")


def job(needs: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    given = {
        "name": NAME, "image": "repose@sha256:0", "command": ["python3", "$(HOME) costs $5"],
        "needs": build(Needs, (NEEDS if needs is None else needs) | {"nodes": 2}, "needs"),
    }  # fmt: skip
    return manifest(**given | changes)


# ---- the manifest ----


def test_the_published_models_know_every_field_and_no_other():
    for needs in (NEEDS, {}):
        made = job(needs, env={"REPOSE_NODE": "1"}, service_account="repose-runner")
        assert check_job(made) == made
    made["spec"]["trainer"]["nodes"] = 2
    assert check_job(made) != made


def test_each_node_gets_what_the_stage_needs():
    spec = job(env={"REPOSE_NODE": "1"}, service_account="repose-runner")["spec"]
    assert spec["runtimeRef"]["name"] == "torch-distributed"
    assert spec["activeDeadlineSeconds"] == 86400
    trainer = spec["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert job({})["spec"]["trainer"]["numProcPerNode"] == 1  # without accelerators
    assert trainer["command"] == ["python3", "$$(HOME) costs $$5"]  # Kubernetes expands nothing
    amounts = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"}
    assert trainer["resourcesPerNode"] == {"requests": amounts, "limits": amounts | {"memory": "64Gi"}}
    assert trainer["env"] == [
        {"name": "PRICE", "value": "$$(X)"}, {"name": "REPOSE_NODE", "value": "1"},
        {"name": "REPOSE_WORK", "value": "/scratch"}, {"name": "REPOSE_DVC_CACHE", "value": "/cache"},
        {"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "proxy"}}},
        {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "repose-s3", "key": "accesskey"}}},
    ]  # fmt: skip
    (patch,) = spec["runtimePatches"]
    assert re.fullmatch(r"[a-z0-9.-]+/[a-z]+", patch["manager"])  # what the Trainer's webhook wants
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    made = node["template"]["spec"]["template"]
    assert made["metadata"]["labels"] == {"team": "a", "sidecar.istio.io/inject": "false"}
    assert made["metadata"]["annotations"] == {"note": "b", "sidecar.istio.io/inject": "false"}
    (container,) = made["spec"].pop("containers")
    assert (node["name"], container["name"], "env" in container) == ("node", "node", False)
    sources = {volume.pop("name"): volume for volume in made["spec"].pop("volumes")}
    storage = {"requests": {"storage": "200Gi"}}
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "ssd", "resources": storage}
    assert {mount["mountPath"]: sources[mount["name"]] for mount in container["volumeMounts"]} == {
        "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},  # noqa: S108
        "/scratch": {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
        "/weights": {"persistentVolumeClaim": {"claimName": "weights"}},
        "/cache": {"persistentVolumeClaim": {"claimName": "dvc-cache"}}, "/certs": {"secret": {"secretName": "ca"}},
    }  # fmt: skip
    assert made["spec"] == {
        "serviceAccountName": "repose-runner", "nodeSelector": {"pool": "gpu"},
        "affinity": {"nodeAffinity": NEEDS["affinity"]},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": [{"name": "registry"}], "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
    }  # fmt: skip


def test_no_need_is_forgotten():
    """A new key of Needs has to become a part of the TrainJob; these are what the task itself does."""
    of_the_task = {"nodes", "retries"}
    assert set(NEEDS) == set(Needs.__dataclass_fields__) - of_the_task


def test_names_are_those_of_the_stage_in_the_run():
    assert name_of("run-1", "train@attend") == NAME != name_of("run-2", "train@attend")
    for stage in ("train@attend", "table1/dvc.yaml:train-street@a_very_long_name_of_a_system", "T@1"):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name_of("run-1", stage))  # RFC 1035
        assert len(name_of("run-1", stage)) <= 40  # the pods' names are longer, and at most 63


# ---- running it ----


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with KubernetesServer().running() as found:
        yield found


@pytest.fixture
def launch(server: KubernetesServer, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a job as a launcher does; return what it says."""
    settings = client.Configuration(host=server.address)
    settings.retries = False

    def launch(given: dict[str, Any] | None = None, patience: float = 0.0) -> str:
        run(given or job(), Cluster(client.ApiClient(settings), "team", patience=patience), pause=0.01)
        return capfd.readouterr().err

    return launch


def test_a_job_is_created_watched_and_deleted(server, launch):
    server.logs = {"n0": ["step 1\nloss 0.5", "40%\r50%", "step 2"], "n1": ["of the second node"]}
    server.looks = [
        Look(), Look(["Suspended"]), Look(),
        Look(pods=[pod(0), pod(1, "Pending", why="Unschedulable: 0/3 nodes are available")]),
        Look(pods=[pod(0), pod(1, "Pending", waiting="ImagePullBackOff: Back-off pulling image")]),
        Look(pods=[pod(0), pod(1, "Pending", waiting="ContainerCreating: ")]), Look(pods=[pod(0), pod(1)]),
        Look(["Complete"], [pod(0, "Succeeded", ended=(0, 1)), pod(1, "Succeeded", ended=(0, 1))]),
    ]  # fmt: skip
    assert [line.removeprefix(f"TrainJob {NAME}: ") for line in launch().splitlines()] == [
        "created, with 2 nodes", "0 of 2 nodes run",
        "0 of 2 nodes run, and the job is suspended (a queue decides when it starts)", "step 1", "loss 0.5",
        r"40%\r50%", "step 2",
        "node 2 of 2 waits: Unschedulable: 0/3 nodes are available", "1 of 2 nodes run",
        "node 2 of 2 waits: ImagePullBackOff: Back-off pulling image", "2 of 2 nodes run", "complete",
    ]  # fmt: skip
    assert server.created == [job()]
    assert server.deleted == [{"propagationPolicy": "Foreground"}]
    asked = [one.query.get("sinceSeconds") for one in server.requests if one.path.endswith("/log")]
    assert asked == [None, *["900"] * 4]  # after the first, only new lines


def test_the_node_that_failed_first_is_named_with_its_log(server, launch, capfd):
    server.logs = {"n0": ["connection lost"], "n1": [f"line {number}" for number in range(40)]}
    failed = [pod(0, ended=(1, 9)), pod(1, restarted=(137, 8, "OOMKilled"))]
    server.looks = [Look(pods=[pod(0), pod(1)]), Look(pods=failed)]
    with pytest.raises(ReposeError, match=r"node 2 of 2 failed \(OOMKilled, exit status 137\), in pod n1\. "):
        launch()
    said = capfd.readouterr().err
    assert "node 2: line 10\n" in said
    assert "line 9\n" not in said
    assert "node 1: connection lost" in said
    before = [one.query["previous"] for one in server.requests if "tailLines" in one.query]
    assert before == ["True", "False"]
    assert len(server.deleted) == 1


EVICTED = pod(1, "Failed", why="Evicted: The node was low on memory")


@pytest.mark.parametrize(("look", "message"), [
    (Look(pods=[EVICTED]), r"node 2 of 2 failed \(Evicted: The node was low on memory\), in pod n1"),
    (Look(["Failed: DeadlineExceeded: too late"]), rf"{NAME} failed: DeadlineExceeded: too late\. The log above"),
])  # fmt: skip
def test_an_evicted_node_or_a_failed_job_ends_the_job(server, launch, look, message):
    server.looks = [look]
    with pytest.raises(ReposeError, match=message):
        launch()
    assert len(server.deleted) == 1


def test_a_pod_that_kubernetes_replaced_between_two_looks_ends_the_job_if_no_queue_did_it(server, launch):
    other = pod(1) | {"metadata": pod(1)["metadata"] | {"name": "n1-again"}}
    server.looks = [Look(pods=[pod(0), pod(1)]), Look(["Suspended"]), Look(pods=[pod(0), other]), Look(["Complete"])]
    launch()
    server.jobs.clear()
    server.looks, server.lingers = [Look(pods=[pod(0), pod(1)]), Look(pods=[pod(0), other])], 1
    with pytest.raises(ReposeError, match=r"node 2 of 2 was lost: Kubernetes deleted its pod n1, as"):
        launch()
    assert len(server.deleted) == 2


def test_a_stopped_launcher_deletes_the_job(server, launch, monkeypatch):
    server.looks = [Look(pods=[pod(0)])]
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(train_job, "time", SimpleNamespace(sleep=lambda _: signal.raise_signal(signal.SIGTERM)))
    with pytest.raises(ReposeError, match=r"^The step was stopped \(SIGTERM\): the run was cancelled, or the pod"):
        launch()
    assert signal.getsignal(signal.SIGTERM) == before
    assert len(server.deleted) == 1


@pytest.mark.parametrize(("looks", "lingers", "said", "made"), [
    ([Look(pods=[pod(0)]), Look(pods=[pod(0)]), Look(["Complete"])], 0, ["continuing the one of an earlier"], (0, 1)),
    ([Look(["Failed: FailedJobs: of the earlier"]), Look(["Complete"])], 0, ["waiting until", "created, with"], (1, 2)),
    ([Look(["Complete"])], 3, ["created, with"], (1, 1)),
])  # fmt: skip
def test_an_earlier_job_is_continued_replaced_or_waited_for(server, launch, looks, lingers, said, made):
    server.jobs[NAME], server.looks = job(), looks
    if lingers:  # it is being deleted
        server.jobs[NAME]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
        server.lingers = lingers
    assert re.search(".*".join(said), launch(), re.DOTALL)
    assert (len(server.created), len(server.deleted)) == made


# ---- a cluster that refuses ----

GONE = (404, "application/json", b'{"message": "not found"}')


@pytest.mark.parametrize(("verb", "resource", "group"), [
    ("create", "trainjobs", "trainer.kubeflow.org"), ("get", "trainjobs", "trainer.kubeflow.org"), ("list", "pods", ""),
    ("get", "pods/log", ""),
])  # fmt: skip
def test_a_missing_right_is_told_with_its_rule(server, launch, verb, resource, group):
    server.forbidden, server.looks = {(verb, resource)}, [Look(pods=[pod(0)])]
    with pytest.raises(RemoteError) as told:
        launch()
    assert f"apiGroups: ['{group}'], resources: ['{resource}'], verbs: ['{verb}']" in str(told.value)
    assert "in the namespace team (HTTP status 403: " in str(told.value)


def test_a_quota_is_no_missing_right(server, launch):
    quota = b'{"message": "trainjobs is forbidden: exceeded quota: team, used: count/trainjobs=4, limited: 4"}'
    server.troubles = [(403, "application/json", quota)]
    with pytest.raises(RemoteError, match=r"exceeded quota: .* 4\)\. See `nodes`"):
        launch()


def test_what_the_cluster_does_not_do_is_told(server, launch):
    server.forbidden = {("delete", "trainjobs")}
    assert f"was not deleted and may still run (`kubectl delete trainjob {NAME}`): Kubernetes did not" in launch()
    server.forbidden, deleted = set(), len(server.deleted)
    server.jobs.clear()
    with pytest.raises(RemoteError, match=r"HTTP status 422: TrainJob is invalid: unknown field\)"):
        launch(job() | {"speck": {}})
    assert len(server.deleted) == deleted
    server.looks, server.troubles = [Look(), Look()], [True, True, True, GONE]
    with pytest.raises(ReposeError, match=rf"^TrainJob {NAME} was deleted while the step waited for it"):
        launch()
    server.installed = False
    with pytest.raises(RemoteError, match=r"404 page not found\)\. Install Kubeflow Trainer 2\.2 or later"):
        launch()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [(None, "API server gave no answer for 0 s"), ((503, "text/plain", b"busy"), "503: busy")],
)
def test_a_silent_or_busy_server_is_asked_again(server, launch, trouble, message, monkeypatch):
    monkeypatch.setattr(cluster.time, "sleep", lambda _: None)
    server.troubles = [trouble] * 3
    launch(patience=60)
    assert len(server.created) == 1
    server.troubles = [trouble]
    with pytest.raises(RemoteError, match=message):
        launch()


def test_of_a_log_that_is_no_utf_8_the_rest_is_shown(server, launch):
    log = (200, "text/plain", b"2026-01-02T03:04:05.000000000Z d\xe9but\n2026-01-02T03:04:06.000000000Z step 1\n")
    server.looks, server.troubles = [Look(pods=[pod(0)]), Look(["Complete"])], [True, True, True, log]
    assert "d\ufffdbut\nstep 1\n" in launch()


def test_outside_a_pod_there_is_no_cluster():
    with pytest.raises(RemoteError, match=r"this one has no service account .*remove `nodes` from the environment\.$"):
        Cluster.of_this_pod()
