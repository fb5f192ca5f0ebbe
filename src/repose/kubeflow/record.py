"""The last task of every run, which writes the run's record to the remote, even if a stage failed.

`kubeflow/runs/RUN/record.json` in DVC's remote holds each dvc.lock that `dvc repro` would have written, the params files
with the run's values, and the state of each stage. A stage that Kubeflow took from its cache wrote nothing in this run; its
entry comes from the steps after it, or from the run-cache.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repose.kubeflow import run_cache
from repose.kubeflow.entries import Entry, from_json, lock_texts, outputs_of
from repose.kubeflow.project import Project, open_repo
from repose.kubeflow.step import main
from repose.kubeflow.task import Task
from repose.kubeflow.workspace import read_with, workspace
from repose.storage.remote import OWN, Remote
from repose.terminal import say

FORMAT = "repose run 2"
_KILLED = (
    "Its pod ended without a report: it was killed, evicted, out of memory or past its timeout, or lost the remote."
)


def key_of(run: str) -> str:
    """The path of a run's record in the remote."""
    return f"{OWN}/runs/{run}/record.json"


def write_record(task: Task, image: Path) -> dict[str, Any]:
    """Write the record of a run and return it; the task's words after its name are the pipeline's name and dvc.yaml.

    Raises:
        ReposeError: the remote cannot be used.
    """
    _, pipeline, file = task.words
    with workspace(image, task) as folder:
        remote = Remote(open_repo(folder))
        contents = (remote.read(name) for name in remote.names(f"{OWN}/runs/{task.run}/stages"))
        left = {found["stage"]: found for found in (from_json(content) for content in contents if content)}
        entries, project = _entries(folder, file, remote, left)
        done = [stage for stage in project.stages if stage.address in entries]
        uncached = [
            (out.path, outputs_of(s, entries[s.address])[out.path]) for s in done for out in s.outs if not out.cached
        ]
        record: dict[str, Any] = {
            "format": FORMAT, "run": task.run, "pipeline": pipeline, "file": file, "remote": remote.address,
            "commit": os.environ.get("REPOSE_COMMIT", ""), "stages": _states(project, entries, left),
            "locks": lock_texts((stage.address, entries[stage.address]) for stage in done),
            "params": {name: (folder / name).read_text("utf-8") for name in project.params_files},
            "files": {name: oid for path, out in uncached for name, oid in _files(remote, path, out["md5"])},
        }  # fmt: skip
        remote.write(key_of(task.run), json.dumps(record, indent=1).encode())
        for stage in record["stages"]:
            say(f"{stage['stage']}: {stage['state']}{', ' + stage['how'] if 'how' in stage else ''}")
        say(f"The record of the run is {key_of(task.run)} in {remote.address}")
        return record


def _entries(
    folder: Path, file: str, remote: Remote, left: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Entry], Project]:
    """The entries of all finished stages, in DVC's order; `left` holds the reports of the run's steps, by stage."""
    known = {address: entry for found in left.values() for address, entry in found.get("upstream", {}).items()}
    known |= {address: found["entry"] for address, found in left.items() if "entry" in found}
    entries: dict[str, Entry] = {}
    project = read_with(folder, file, {})
    for stage in project.stages:
        entry = known.get(stage.address)
        if entry is None and stage.address not in left and all(upstream in entries for upstream in stage.upstream):
            now = read_with(folder, file, entries)
            key = run_cache.key_of(now, stage, entries, remote)
            entry = run_cache.find(remote, stage, key) if key is not None else None
        if entry is not None:
            entries[stage.address] = entry
    return entries, project


def _files(remote: Remote, path: str, oid: str) -> Iterator[tuple[str, str]]:
    """The path and hash of each file of an output."""
    if oid.endswith(".dir"):
        yield from ((f"{path}/{name}", part) for name, part in remote.listed(oid).items())
    else:
        yield path, oid


def _states(
    project: Project, entries: Mapping[str, Entry], left: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The state of each stage."""
    ended = []
    for stage in project.stages:
        found = left.get(stage.address, {})
        if found.get("state") == "started":
            how = {"state": "failed", "message": _KILLED}
        elif found.get("state") == "failed" or stage.address not in entries:
            how = {"state": found.get("state", "not run"), "message": found.get("message", "")}
        else:
            how = {"state": "finished", "how": found.get("how", "taken from Kubeflow's cache")}
        ended.append({"stage": stage.address} | how | ({"seconds": found["seconds"]} if "seconds" in found else {}))
    return ended


if __name__ == "__main__":
    main(write_record)
