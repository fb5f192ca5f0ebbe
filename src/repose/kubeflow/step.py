"""Run a task of the pipeline in its pod: one stage of dvc.yaml, with data from and to DVC's remote.

    python3 -m repose.kubeflow.step COMPONENT OUTPUT... NAME=FILE:KEY... '{"inputs": ..., "outputs": ...}'

A step works in a writable copy of the image's project, without git, with the dvc.lock entries of the upstream tasks and the
run's params. If the run-cache has the stage's results, the step passes on that entry. Otherwise it fetches the stage's inputs
from the remote, runs `dvc repro --single-item`, pushes the outputs and the run-cache, and passes on the stage's new entry.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from repose.config import parse_yaml
from repose.errors import ReposeError, without_secrets
from repose.kubeflow import run_cache
from repose.kubeflow.artifacts import hand_on
from repose.kubeflow.entries import Entry, lock_file, read_entries, to_json
from repose.kubeflow.needs import Environment, needs_of
from repose.kubeflow.nodes import is_first, leave_entry, run_on_nodes
from repose.kubeflow.project import Project, open_repo
from repose.kubeflow.stages import Stage, file_of
from repose.kubeflow.task import Task, apply_params, read_task
from repose.kubeflow.unfinished import Unfinished
from repose.kubeflow.variables import JOB, NODE
from repose.kubeflow.workspace import bring, bring_earlier, environment_of_the_pod, image_project, read_with, workspace
from repose.storage.atomic import disk_errors_named
from repose.storage.remote import OWN, Remote
from repose.terminal import say, show_messages


def run_step(task: Task, image: Path) -> None:
    """Run the task in a copy of the project in `image`. Raises a ReposeError if the stage or the remote fails."""
    began = time.monotonic()
    with workspace(image, task) as folder:
        remote = Remote(open_repo(folder))
        left: dict[str, Any] = {"stage": task.stage, "state": "started"}
        _leave(task, remote, left)  # all that a pod that is killed leaves
        try:
            with disk_errors_named(folder):
                apply_params(folder, task)
                entries = read_entries(remote, task.entries)
                left["upstream"] = dict(entries)
                entry, how = _entry_of(image, folder, task, entries, remote)
                left |= {"state": "finished", "how": how, "entry": entry}
                entries |= {task.stage: entry}
                hand_on(task, read_with(folder, file_of(task.stage), entries), entries, remote)
        except Exception as error:
            message = str(error) if isinstance(error, ReposeError) else without_secrets(repr(error))
            left |= {"state": "failed", "message": message}
            raise
        finally:
            left["seconds"] = round(time.monotonic() - began, 1)
            _leave(task, remote, left)
        say(f"{task.stage}: {how}, {left['seconds']} s")


def _entry_of(image: Path, folder: Path, task: Task, entries: Mapping[str, Entry], remote: Remote) -> tuple[Entry, str]:
    """The stage's entry, and whether it was found or the stage ran here."""
    project = read_with(folder, file_of(task.stage), entries)
    for address in task.params:
        project.check_changeable(address, "The parameter")
    stage = project[task.stage]
    if missing := [address for address in stage.upstream if address not in entries]:
        raise ReposeError(
            f"The task of {stage.address} needs the entries of {', '.join(missing)}, which it was not given. Was the pipeline "
            "compiled from another version? Compile it from the commit that the image was built from."
        )
    wanted = run_cache.wanted(project, stage, entries, remote)
    if wanted is not None and (found := run_cache.find(remote, stage, wanted)) is not None:
        return found, "found in the run-cache"
    if JOB in os.environ:
        return run_on_nodes(task, remote), "run on several nodes"
    return _make(image, task, project, entries, remote, wanted), "run"


def run_node(task: Task, image: Path) -> None:
    """Do the work of a TrainJob's node: the first does a step's, the others only run the command. Raises as `run_step`."""
    from dvc.stage.exceptions import StageCmdFailedError
    from dvc.stage.run import cmd_run

    with workspace(image, task) as folder:
        apply_params(folder, task)
        remote = Remote(open_repo(folder))
        entries = read_entries(remote, task.entries)
        project = read_with(folder, file_of(task.stage), entries)
        stage = project[task.stage]
        if is_first():
            wanted = run_cache.wanted(project, stage, entries, remote)
            leave_entry(task, remote, _make(image, task, project, entries, remote, wanted))
            return
        _fetch_inputs(image, project, stage, entries, remote)
        try:
            with chdir(folder), environment_of_the_pod():  # DVC takes relative paths from there
                cmd_run(project.dvc_stage(task.stage))
        except StageCmdFailedError as error:
            raise ReposeError(f"The command of {stage.address} failed on this node: {error}.") from None


def _make(
    image: Path, task: Task, project: Project, entries: Mapping[str, Entry], remote: Remote, wanted: Entry | None
) -> Entry:
    """Fetch the stage's inputs, run it, and push its outputs; return its entry. `wanted` is what the run-cache lacks."""
    folder, stage = project.folder, project[task.stage]
    _fetch_inputs(image, project, stage, entries, remote)
    if wanted is not None:
        run_cache.drop_others(Path(project.repo.cache.legacy.path), stage, wanted)
    kept = needs_of(stage, Environment()).unfinished
    if kept is None:
        return _reproduce(folder, stage, remote)
    # without an entry, only this run's own work is known to be of the same params and code
    key = f"{task.run}-{stage.address.replace('/', '|')}" if wanted is None else run_cache.full_key_of(wanted)
    unfinished = Unfinished(folder / stage.resolve(kept), key, remote)
    if unfinished.restore():
        say(f"{stage.address}: resuming from the unfinished work in {remote.address}")
    with unfinished:  # copies only what is restored whole
        entry = _reproduce(folder, stage, remote)
    unfinished.done()  # needed until the outputs are pushed
    return entry


def _fetch_inputs(image: Path, project: Project, stage: Stage, entries: Mapping[str, Entry], remote: Remote) -> None:
    bring(project, remote, entries, [dep.path for dep in stage.deps])
    bring_earlier(project, remote, stage, image)


def _reproduce(folder: Path, stage: Stage, remote: Remote) -> Entry:
    """Run the stage, and push its outputs, then the run-cache's entry, so that an entry in the remote is always complete."""
    from dvc.exceptions import DvcException

    sys.stdout.flush()
    repo = open_repo(folder)
    try:
        with chdir(folder), environment_of_the_pod():
            repo.reproduce(targets=[stage.address], single_item=True)
    except DvcException as error:
        why = str(error.__cause__ or error).rstrip(".")
        raise ReposeError(f"Stage {stage.address} failed: {why}. Its output is above.") from error
    file, name = lock_file(stage.address)
    entry: Entry = parse_yaml((folder / file).read_text("utf-8"))["stages"][name]
    for out in entry.get("outs", ()):
        if not stage.out(stage.resolve(out["path"])).cached:  # not in DVC's cache if the stage has no key
            _add_to_cache(repo, folder / stage.resolve(out["path"]))
    remote.push(str(out["md5"]) for out in entry.get("outs", ()))
    run_cache.upload(remote, Path(repo.cache.legacy.path), entry)
    return entry


def _add_to_cache(repo: Any, path: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.transfer import transfer

    staging, _, found = build(repo.cache.local, str(path), repo.fs, "md5", ignore=repo.dvcignore)
    transfer(staging, repo.cache.local, {found.hash_info}, hardlink=False, shallow=False)


def _leave(task: Task, remote: Remote, left: Mapping[str, Any]) -> None:
    """Write the step's report for the run's record. Errors of the remote are only logged, so that the step's own is shown."""
    try:
        name = task.stage.replace("/", "|")
        remote.write(f"{OWN}/runs/{task.run}/stages/{name}.json", to_json(left))
    except Exception as error:  # each kind of remote has its own
        if left.get("state") == "finished":
            raise
        say(f"The run's record will lack this step: {without_secrets(str(error) or repr(error))}")


def main(run: Callable[[Task, Path], object], words: Sequence[str] | None = None) -> None:
    """Run the task of the command line; a ReposeError is shown as a message without a traceback."""
    show_messages()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")  # of the stage's command, so that the pod's log is up to date
    try:
        run(read_task(sys.argv[1:] if words is None else words), image_project())
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main(run_node if NODE in os.environ else run_step)
