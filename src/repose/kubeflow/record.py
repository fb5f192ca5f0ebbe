"""The last task of every run, which writes the run's record to the remote, even if a stage failed.

`kubeflow/runs/RUN/record.json` in DVC's remote holds each dvc.lock that `dvc repro` would have written, the params files
with the run's values, and the state of each stage. A stage that Kubeflow took from its cache wrote nothing in this run; its
entry comes from the run-cache.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repose.errors import ReposeError
from repose.kubeflow.arguments import read_arguments
from repose.kubeflow.lookup import Lookup
from repose.kubeflow.pointer import Entry, lock_texts
from repose.kubeflow.project import Project
from repose.kubeflow.stages import ROOT
from repose.kubeflow.workspace import apply_params, image_project, prepare, workspace
from repose.storage.remote import OWN, Remote
from repose.terminal import say, show_messages

FORMAT = "repose run 1"


def key_of(run: str) -> str:
    """The path of a run's record in the remote."""
    return f"{OWN}/runs/{run}/record.json"


def leave_record(
    *, run: str, pipeline: str, remote: str, endpoint: str, params: Sequence[tuple[str, ...]], image: Path,
    file: str = ROOT,
) -> dict[str, Any]:  # fmt: skip
    """Write the record of a run of the pipeline of a dvc.yaml; return it.

    Raises:
        ReposeError: the remote cannot be used.
    """
    with workspace(image, remote, endpoint) as folder:
        project = apply_params(prepare(folder, {}, file), params, None)
        store = Remote(project.repo)
        contents = (store.read(name) for name in store.names(f"{OWN}/runs/{run}/stages"))
        left = {found["stage"]: found for found in (json.loads(content) for content in contents if content)}
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


def _entries(project: Project, remote: Remote, image: Path, left: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """The entries of all finished stages, in DVC's order; `left` holds the reports of the run's steps, by stage."""
    known = {address: entry for found in left.values() for address, entry in found["upstream"].items()}
    known |= {address: found["entry"] for address, found in left.items() if "entry" in found}
    entries: dict[str, Entry] = {}
    for stage in project.stages:
        entry = known.get(stage.address)
        if entry is None and stage.address not in left and all(upstream in entries for upstream in stage.upstream):
            lookup = Lookup(project, entries, remote)
            key = lookup.key(stage)
            entry = lookup.find(stage, key, image) if key is not None else None
        if entry is not None:
            entries[stage.address] = entry
    return entries


def _stages(
    project: Project, entries: Mapping[str, Entry], left: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The state of each stage."""
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
    """The hash of each output that is not in DVC's cache (`cache: false`, as metrics), by path."""
    done = [stage for stage in project.stages if stage.address in entries]
    outs = [(stage, out.path) for stage in done for out in stage.outs if not out.cached]
    return {path: oid for stage, path in outs if (oid := lookup.file(stage, entries[stage.address], path))}


def main(words: Sequence[str] | None = None) -> None:
    """Write the record of the run given on the command line."""
    show_messages()
    single = {"--pipeline": None, "--run": None, "--remote": None, "--endpoint": "", "--report": "", "--file": ROOT}
    try:
        one, many = read_arguments(sys.argv[1:] if words is None else words, single, {"--param": 2})
        record = leave_record(
            run=one["--run"], pipeline=one["--pipeline"], remote=one["--remote"], endpoint=one["--endpoint"],
            params=many["--param"], image=image_project(), file=one["--file"],
        )  # fmt: skip
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)
    for stage in record["stages"]:
        say(f"{stage['stage']}: {stage['state']}{', ' + stage['how'] if 'how' in stage else ''}")
    say(f"The record of the run is {key_of(record['run'])} in {record['remote']}")


if __name__ == "__main__":
    main()
