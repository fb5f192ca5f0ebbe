"""The last task of every run: what the run has done, at a known place of the remote, also where a stage failed.

`kubeflow/runs/RUN/record.json` in DVC's remote holds each dvc.lock that `dvc repro` would have left, the params files with
the run's values, and how each stage ended. A stage that Kubeflow took from its cache left nothing in this run: its entry is
what the run-cache has for the very same work.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repose.errors import ReposeError
from repose.kubeflow.lookup import Lookup
from repose.kubeflow.pointer import Entry, lock_texts
from repose.kubeflow.project import ROOT, Project
from repose.kubeflow.step import image_project, own_entry
from repose.kubeflow.workspace import apply_params, prepare, workspace
from repose.storage.remote import OWN, Remote
from repose.terminal import say, show_messages

FORMAT = "repose run 1"


def key_of(run: str) -> str:
    """Where the record of a run lies in the remote."""
    return f"{OWN}/runs/{run}/record.json"


def leave_record(
    *, run: str, pipeline: str, remote: str, endpoint: str, params: Sequence[tuple[str, str]], image: Path,
    file: str = ROOT,
) -> dict[str, Any]:  # fmt: skip
    """Write the record of a run of the pipeline of a dvc.yaml; return it.

    Raises:
        ReposeError: the remote cannot be used.
    """
    with workspace(image, remote, endpoint) as folder:
        project = apply_params(prepare(folder, {}, file), params, None)
        store = Remote(project.repo)
        left = _left(store, run)
        entries = _entries(project, store, image, left)
        record = {
            "format": FORMAT, "run": run, "pipeline": pipeline, "file": file, "remote": store.address,
            "commit": os.environ.get("REPOSE_COMMIT", ""), "stages": _stages(project, entries, left),
            "locks": lock_texts((s.address, entries[s.address]) for s in project.stages if s.address in entries),
            "params": {file: params_file.text for file, params_file in project.params_files.items()},
            "files": _uncached(project, entries, Lookup(project, entries, store)),
        }  # fmt: skip
        store.write(key_of(run), json.dumps(record, indent=1).encode())
        return record


def _left(remote: Remote, run: str) -> dict[str, dict[str, Any]]:
    """What the steps of a run left, by stage."""
    contents = (remote.read(name) for name in remote.names(f"{OWN}/runs/{run}/stages"))
    return {found["stage"]: found for found in (json.loads(content) for content in contents if content)}


def _entries(project: Project, remote: Remote, image: Path, left: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """The entries of all stages that are done, in DVC's order."""
    known = {address: entry for found in left.values() for address, entry in found["upstream"].items()}
    known |= {address: found["entry"] for address, found in left.items() if "entry" in found}
    entries: dict[str, Entry] = {}
    for stage in project.stages:
        entry = known.get(stage.address)
        if entry is None and stage.address not in left and all(upstream in entries for upstream in stage.upstream):
            lookup = Lookup(project, entries, remote)
            key = lookup.key(stage)
            entry = lookup.found(key, own_entry(stage, image, key)) if key is not None else None
        if entry is not None:
            entries[stage.address] = entry
    return entries


def _stages(
    project: Project, entries: Mapping[str, Entry], left: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """How each stage ended."""
    ended = []
    for stage in project.stages:
        found = left.get(stage.address, {})
        if found.get("state") == "failed" or stage.address not in entries:
            how = {"state": found.get("state", "not run"), "message": found.get("message", "")}
        else:
            how = {"state": "finished", "how": found.get("how", "taken from Kubeflow's cache")}
        ended.append({"stage": stage.address} | how | {key: found[key] for key in ("seconds", "moved") if key in found})
    return ended


def _uncached(project: Project, entries: Mapping[str, Entry], lookup: Lookup) -> dict[str, str]:
    """The hash of each output that DVC's cache does not hold (`cache: false`, as metrics), by its path."""
    found = {}
    for stage in project.stages:
        for out in stage.outs if stage.address in entries else ():
            if not out.cached and (oid := lookup.file(stage, entries[stage.address], out.path)):
                found[out.path] = oid
    return found


def main(text: Sequence[str] | None = None) -> None:
    """Leave the record of the run that the command line names."""
    show_messages()
    parser = argparse.ArgumentParser(prog="repose.kubeflow.record", description=__doc__.splitlines()[0])
    for name in ("--pipeline", "--run", "--remote"):
        parser.add_argument(name, required=True)
    parser.add_argument("--file", default=ROOT)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--param", action="append", default=[], nargs=2, metavar=("NAME", "VALUE"))
    read = parser.parse_args(sys.argv[1:] if text is None else text)
    try:
        record = leave_record(
            run=read.run, pipeline=read.pipeline, remote=read.remote, endpoint=read.endpoint,
            params=[(name, value) for name, value in read.param], image=image_project(), file=read.file,
        )  # fmt: skip
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)
    for stage in record["stages"]:
        say(f"{stage['stage']}: {stage['state']}{', ' + stage['how'] if 'how' in stage else ''}")
    say(f"The record of the run is {key_of(read.run)} in {record['remote']}")


if __name__ == "__main__":
    main()
