"""The last task of every run, which writes the run's record to the remote, even if a stage failed.

`kubeflow/runs/RUN/record.json` in DVC's remote holds each dvc.lock that `dvc repro` would have written, the params files
with the run's values, and the state of each stage. A stage that Kubeflow took from its cache wrote nothing in this run; its
entry comes from the steps after it, or from the run-cache.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from repose.config import settings
from repose.errors import RemoteError, SettingsError
from repose.kubeflow import run_cache
from repose.kubeflow.entries import Entry, check_entry, check_outs, from_json, lock_texts, outputs_of
from repose.kubeflow.project import Project, open_repo
from repose.kubeflow.stages import Stage
from repose.kubeflow.step import main
from repose.kubeflow.task import Task, apply_params
from repose.kubeflow.workspace import read_with, workspace
from repose.storage.listing import TamperedError
from repose.storage.remote import OWN, Remote
from repose.terminal import say

FORMAT = "repose run 2"
_KILLED = (
    "Its pod ended without a report: it was killed, evicted, out of memory or past its timeout, or lost the remote."
)
_DAMAGED = "Its report does not have what the stage made."


@settings
class Report:
    """What a step leaves for the record."""

    stage: str
    state: Literal["started", "failed", "finished"]
    upstream: dict[str, dict[str, Any]] = field(default_factory=dict)  # the entries that it was given
    entry: dict[str, Any] | None = None
    how: str = ""
    message: str = ""
    seconds: float | None = None


def key_of(run: str) -> str:
    """The path of a run's record in the remote."""
    return f"{OWN}/runs/{run}/record.json"


def write_record(task: Task, image: Path) -> dict[str, Any]:
    """Write the record of a run and return it; the task's words after its name are the pipeline's name and dvc.yaml.

    A run whose params are wrong has a record too, without params, whose stages say what is wrong. Raises as `Remote`.
    """
    _, pipeline, file = task.words
    with workspace(image, task) as folder:
        remote, problem = Remote(open_repo(folder)), ""
        try:
            apply_params(folder, task)
        except SettingsError as error:
            problem = str(error)
        left = {found.stage: found for found in _reports(remote, task.run)}
        entries, project = _entries(folder, file, None if problem else remote, left)
        done = [stage for stage in project.stages if stage.address in entries]
        uncached = [
            (out.path, outputs_of(s, entries[s.address])[out.path]) for s in done for out in s.outs if not out.cached
        ]
        params = [name for name in project.params_files if (folder / name).is_file()]
        record: dict[str, Any] = {
            "format": FORMAT, "run": task.run, "pipeline": pipeline, "file": file, "remote": remote.address,
            "commit": os.environ.get("REPOSE_COMMIT", ""), "stages": _states(project, entries, left, problem),
            "locks": lock_texts((stage.address, entries[stage.address]) for stage in done),
            "params": {} if problem else {name: (folder / name).read_text("utf-8") for name in params},
            "files": {name: oid for path, out in uncached for name, oid in files_of(remote, path, out["md5"])},
        }  # fmt: skip
        remote.write(key_of(task.run), json.dumps(record, indent=1).encode())
        for stage in record["stages"]:
            say(f"{stage['stage']}: {stage['state']}{', ' + stage['how'] if 'how' in stage else ''}")
        say(f"The record of the run is {key_of(task.run)} in {remote.address}")
        return record


def parse_report(content: bytes, where: str) -> Report:
    """The report of a step. Raises a RemoteError about `where` if it is none."""
    try:
        return TypeAdapter(Report).validate_python(from_json(content, where))
    except ValidationError as error:
        raise TamperedError(f"{where} is not a step's report ({str(error)!r:.200})") from None


def _reports(remote: Remote, run: str) -> Iterator[Report]:
    """The reports of a run's steps, without damaged ones."""
    for name in remote.names(f"{OWN}/runs/{run}/stages"):
        try:
            yield parse_report(remote.read(name) or b"", f"{name} in the remote {remote.address}")
        except TamperedError as error:
            say(f"{error} It is not used.")


def _entries(
    folder: Path, file: str, remote: Remote | None, left: Mapping[str, Report]
) -> tuple[dict[str, Entry], Project]:
    """The entries of all finished stages, in DVC's order.

    `left` holds the reports of the run's steps, by stage. The run-cache of `remote` may have those of others.
    """
    known: dict[str, Any] = {address: found.entry for address, found in left.items() if found.entry is not None}
    # of two attempts at a stage that both went on, later steps got the one that Kubeflow counts
    known |= {address: entry for found in left.values() for address, entry in found.upstream.items()}
    entries: dict[str, Entry] = {}
    project = now = read_with(folder, file, {})
    read = set[str]()  # the stages whose entries `now` has
    for stage in project.stages:
        entry = _own(stage, known[stage.address]) if stage.address in known else None
        if entry is None and remote and stage.address not in left and all(one in entries for one in stage.upstream):
            if not read.issuperset(stage.upstream):  # seldom: with hundreds of stages, each time takes a second
                now, read = read_with(folder, file, entries), set(entries)
            wanted = run_cache.wanted(now, stage, entries, remote)
            entry = run_cache.find(remote, stage, wanted) if wanted is not None else None
        if entry is not None:
            entries[stage.address] = entry
    return entries, project


def _own(stage: Stage, entry: Any) -> Entry | None:
    """The entry of a stage in a step's report, if it is one."""
    where = f"The entry of {stage.address} in a step's report"
    try:
        return check_outs(stage, check_entry(entry, where), where)
    except RemoteError as error:
        say(f"{error} It is not used.")
        return None


def files_of(remote: Remote, path: str, oid: str) -> Iterator[tuple[str, str]]:
    """The path and hash of each file of an output."""
    if oid.endswith(".dir"):
        yield from ((f"{path}/{name}", part) for name, part in remote.listed(oid).items())
    else:
        yield path, oid


def _states(
    project: Project, entries: Mapping[str, Entry], left: Mapping[str, Report], problem: str
) -> list[dict[str, Any]]:
    """The state of each stage; `problem` is what is wrong with the run's params."""
    ended, given = [], {address for found in left.values() for address in found.upstream}  # to later steps
    for stage in project.stages:
        found, done = left.get(stage.address), stage.address in entries
        if found is None:
            how = ("finished", "how", "taken from Kubeflow's cache") if done else ("not run", "message", problem)
        elif done and (found.state == "finished" or stage.address in given):
            how = "finished", "how", found.how or "run"
        else:
            how = "failed", "message", _KILLED if found.state == "started" else found.message or _DAMAGED
        seconds = {"seconds": found.seconds} if found and found.seconds is not None else {}
        ended.append({"stage": stage.address, "state": how[0], how[1]: how[2]} | seconds)
    return ended


if __name__ == "__main__":
    main(write_record)
