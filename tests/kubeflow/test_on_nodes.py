"""`repose train` as a stage on two nodes: the task's step, a stand-in for Kubernetes that starts the nodes, their steps."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import foreign
import pytest
import steps
import yaml
from kubernetes import client
from kubernetes_server import KubernetesServer, Look, pod
from stand_in import Request

from processes import free_port
from repose.kubeflow import nodes, step, task, variables
from repose.kubeflow.cluster import Cluster
from repose.kubeflow.needs import Needs
from tiny import make, params

TRAIN = "repose train --system paper-m --run runs/paper-m --work .repose/runs " + " ".join(
    f"--{name} data/{name}" for name in ("images", "keypoints", "posemaps", "split")
)


class Trainer(KubernetesServer):
    """Starts a process for each node of a job, with the variables that Kubeflow's Trainer sets.

    Attributes:
        project: the folder of the project in the nodes' image.
        folder: for the nodes' logs.
    """

    def __init__(self, project: Path, folder: Path) -> None:
        super().__init__()
        self.project, self.folder = project, folder
        self.nodes: list[subprocess.Popen[bytes]] = []

    def answer(self, request: Request) -> tuple[int, Any]:
        codes = [node.poll() for node in self.nodes]
        pods = [
            pod(number, "Running" if code is None else "Succeeded" if code == 0 else "Failed",
                ended=() if code is None else (code % 256, number))
            for number, code in enumerate(codes)
        ]  # fmt: skip
        self.looks = [Look(["Complete"] if codes and not any(code != 0 for code in codes) else [], pods)]
        self.logs = {f"n{number}": self.log(number).splitlines() for number in range(len(codes))}
        status, found = super().answer(request)
        if request.method == "POST" and status == 201:
            self.start(request.body)
        if request.method == "DELETE":
            self.stop()
        return status, found

    def log(self, number: int) -> str:
        return (self.folder / f"{number}.log").read_text()

    def start(self, job: dict[str, Any]) -> None:
        trainer = job["spec"]["trainer"]
        given = {one["name"]: one["value"].replace("$$", "$") for one in trainer["env"]}
        port = free_port()
        given |= {"PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"])}
        given |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "REPOSE_PROJECT": str(self.project)}
        inherited = {name: value for name, value in os.environ.items() if name != variables.JOB}
        self.nodes = []
        for number in range(trainer["numNodes"]):
            with (self.folder / f"{number}.log").open("wb") as log:
                self.nodes.append(
                    subprocess.Popen(
                        [word.replace("$$", "$") for word in trainer["command"]], cwd=self.folder, start_new_session=True,
                        env=inherited | given | {"PET_NODE_RANK": str(number)}, stdout=log, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip

    def stop(self) -> None:
        """End the nodes with all that they started."""
        for node in self.nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that trains in two processes, whose data are in the remote beside it."""
    chosen = params(train__processes=2, train__sample_every=0)
    chosen["systems"]["paper-m"] |= {"items_per_step": 2, "steps": 2}
    data = [f"data/{name}" for name in ("images", "keypoints", "posemaps", "split")]
    stage = {"cmd": TRAIN, "deps": data, "params": ["train", "systems.paper-m"], "outs": ["runs/paper-m"]}
    kfp = {"outs": {"runs/paper-m": "Model"}, "unfinished": ".repose/runs"}
    files = {
        "dvc.yaml": yaml.safe_dump({"stages": {"train": stage | {"meta": {"kfp": kfp}}}}),
        "params.yaml": yaml.safe_dump(chosen),
    }
    folder = foreign.write(tmp_path / "project", files)
    made = make(tmp_path / "made")
    for name, path in made._asdict().items():
        shutil.copytree(path, folder / "data" / name)
    foreign.dvc(folder, "add", "--quiet", "data")
    foreign.dvc(folder, "remote", "add", "--default", "store", "../remote")
    foreign.dvc(folder, "push", "--quiet")
    shutil.rmtree(folder / ".dvc" / "cache")
    return folder


@pytest.fixture
def trainer(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    (tmp_path / "logs").mkdir()
    server = Trainer(project, tmp_path / "logs")
    settings = client.Configuration(host=server.address)
    monkeypatch.setattr(Cluster, "of_this_pod", lambda: Cluster(client.ApiClient(settings), "team"))
    with server.running():
        yield server
    server.stop()


def trained_alone(project: Path, folder: Path) -> str:
    """The MD5 of the model that two processes of one machine train."""
    shutil.copytree(project, folder)
    command = [str(Path(sys.executable).parent / "repose"), *TRAIN.split()[1:]]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return hashlib.md5((folder / "runs" / "paper-m" / "model.safetensors").read_bytes()).hexdigest()  # noqa: S324 (DVC's)


@pytest.mark.slow
def test_a_stage_trains_on_two_nodes(project, trainer, tmp_path, monkeypatch, capfd):
    model = trained_alone(project, tmp_path / "alone")
    shutil.rmtree(project / "data")
    remote = tmp_path / "remote"
    words = steps.words("train", tmp_path / "artifacts", remote, ["runs_paper_m"])
    monkeypatch.setattr(sys, "argv", ["step", *words])
    monkeypatch.setenv(variables.JOB, nodes.job_text(Needs(nodes=2), "repose@sha256:0", None))

    step.run_step(task.read_task(words, {"REPOSE_RUN": "r"}), project)
    said = capfd.readouterr().err
    assert "Node 1 of 2: meeting the others at 127.0.0.1:" in said  # the first node's log
    assert said.rstrip().splitlines()[-2].endswith(": complete")
    left = steps.left(remote, "train", "r")
    assert (left["state"], left["how"]) == ("finished", "run on several nodes")
    (out,) = left["entry"]["outs"]
    listed = json.loads((remote / "files" / "md5" / out["md5"][:2] / out["md5"][2:]).read_text())
    assert {file["relpath"]: file["md5"] for file in listed}["model.safetensors"] == model
    second = trainer.log(1)  # it trains, and neither writes nor pushes; torch may add a warning about the meeting
    assert second.startswith("Running stage 'train':\n> repose train ")  # as DVC shows it on the first node
    assert second.partition("[W")[0].count("\n") == 3
    assert ": step" not in second
    assert "run is ready" not in second
    assert (len(trainer.created), len(trainer.deleted)) == (1, 1)
