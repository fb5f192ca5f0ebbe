"""A stage on several nodes: its task starts a TrainJob of Kubeflow's Trainer, whose nodes do the stage's work.

The nodes run the step with the task's own arguments. The first leaves the stage's entry in the remote; the others only run the
stage's command, which finds the first by torchrun's variables.
"""

import json
import os
import sys
from dataclasses import replace

from repose.config import as_dict, build
from repose.errors import ReposeError
from repose.kubeflow.entries import Entry, check_entry, from_json, to_json
from repose.kubeflow.needs import Needs
from repose.kubeflow.task import Task
from repose.kubeflow.train_job import run
from repose.kubeflow.train_manifest import manifest, name_of
from repose.kubeflow.variables import JOB, NODE, RUN
from repose.storage.remote import OWN, Remote


def job_text(needs: Needs, image: str, service_account: str | None) -> str:
    """The environment variable of a task on several nodes, from which its TrainJob is made."""
    given = {key: value for key, value in as_dict(needs).items() if key in Needs.__dataclass_fields__}
    return json.dumps({"image": image, "service_account": service_account, "needs": given})


def launcher_needs(needs: Needs) -> Needs:
    """The needs of the task's own pod, which only waits."""
    return replace(
        needs, cpu=None, memory="2Gi", limits=None, accelerator=None, node_selector={}, affinity={}, tolerations=(),
        shared_memory=None, scratch=None,
    )  # fmt: skip


def run_on_nodes(task: Task, remote: Remote) -> Entry:
    """Run a task's stage on several nodes; return its entry. Raises a ReposeError if a node fails or the first leaves none."""
    given = json.loads(os.environ[JOB])
    needs = build(Needs, given["needs"], JOB)
    run(
        manifest(
            name=name_of(task.run, task.stage), image=given["image"], needs=needs,
            command=["python3", "-m", "repose.kubeflow.step", *sys.argv[1:]], env={RUN: task.run, NODE: "1"},
            service_account=given["service_account"],
        )
    )  # fmt: skip
    content = remote.read(_key(task))
    if content is None:
        raise ReposeError(
            f"The first node of {task.stage} left no {_key(task)} in the remote {remote.address}. Do the nodes use another "
            "remote, or an image of another version? Correct that, and run the step again."
        )
    where = f"{_key(task)} in the remote {remote.address}"
    return check_entry(from_json(content, where), where)


def leave_entry(task: Task, remote: Remote, entry: Entry) -> None:
    """Leave the stage's entry for the task's own pod."""
    remote.write(_key(task), to_json(entry))


def is_first() -> bool:
    """Whether this is the first node of a TrainJob."""
    return os.environ.get("PET_NODE_RANK", "0") == "0"


def _key(task: Task) -> str:
    return f"{OWN}/runs/{task.run}/nodes/{task.stage.replace('/', '|')}.json"
