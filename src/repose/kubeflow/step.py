"""Run a task of the pipeline in its pod: one stage of dvc.yaml, with data from and to DVC's remote.

    python3 -m repose.kubeflow.step --stage train@attend --remote s3://bucket/repose --run RUN --report FILE
        --input POINTER ... --param NAME VALUE ... --output NAME FILE URI ...

A step works in a writable copy of the image's project, without git, with the dvc.lock entries of the upstream tasks and the
run's params. If the run-cache has the stage's results, the step passes on that entry. Otherwise it fetches the stage's inputs
from the remote, runs `dvc repro --single-item`, pushes the outputs and the run-cache, and passes on the stage's new entry.
"""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.arguments import read_arguments
from repose.kubeflow.artifacts import Artifact, hand_on
from repose.kubeflow.lookup import Lookup, outputs_of
from repose.kubeflow.needs import Environment, needs_of
from repose.kubeflow.pointer import Entry, lock_file, read_pointer
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Stage, file_of
from repose.kubeflow.unfinished import Unfinished
from repose.kubeflow.workspace import apply_params, image_project, prepare, workspace
from repose.storage.atomic import write_bytes
from repose.storage.remote import OWN, Remote
from repose.terminal import say, show_messages


@dataclass(frozen=True)
class Work:
    """A task, as given by its arguments."""

    stage: str
    run: str
    remote: str
    endpoint: str
    report: Path
    inputs: tuple[Path, ...]
    outputs: tuple[Artifact, ...]
    params: tuple[tuple[str, ...], ...]  # name and value


def do(work: Work, image: Path) -> None:
    """Run the task in a copy of the project in `image`.

    Raises:
        ReposeError: the stage or the remote failed.
    """
    began = time.monotonic()
    entries = {address: entry for file in work.inputs for address, entry in read_pointer(file).items()}
    with workspace(image, work.remote, work.endpoint) as folder:
        project = apply_params(prepare(folder, entries, file_of(work.stage)), work.params, work.stage)
        stage, remote = project[work.stage], Remote(project.repo)
        left: dict[str, Any] = {"stage": work.stage, "upstream": entries}
        try:
            entry, how = _done(project, stage, Lookup(project, entries, remote), image)
            left |= {"state": "finished", "how": how, "entry": entry}
            lookup = Lookup(project, entries | {stage.address: entry}, remote)
            hand_on(work.outputs, work.report, stage, entry, lookup)
        except ReposeError as error:
            left |= {"state": "failed", "message": str(error)}
            raise
        finally:
            left |= {"seconds": round(time.monotonic() - began, 1), "moved": asdict(remote.moved)}
            _leave(work, remote, left)
        m = remote.moved
        say(
            f"{stage.address}: {how}; fetched {m.fetched:,} objects ({m.fetched_bytes / 1e6:,.1f} MB), pushed {m.pushed:,} "
            f"({m.pushed_bytes / 1e6:,.1f} MB), {left['seconds']} s"
        )


def _done(project: Project, stage: Stage, lookup: Lookup, image: Path) -> tuple[Entry, str]:
    """The stage's entry, and whether it was found or the stage ran here."""
    if missing := [address for address in stage.upstream if address not in lookup.entries]:
        raise ReposeError(f"The task of {stage.address} needs the pointers of {', '.join(missing)} as --input.")
    key = lookup.key(stage)
    if key is not None and (found := lookup.find(stage, key, image)) is not None:
        return found, "found in the run-cache"
    _bring_inputs(project, stage, lookup)
    if key is None:
        key = lookup.key(stage)
    unfinished = _run(project, stage, lookup, key)
    file, name = lock_file(stage.address)
    entry: Entry = parse_yaml((project.folder / file).read_text("utf-8"))["stages"][name]
    _push(project, stage, entry, key, lookup)
    if unfinished is not None:  # needed until the outputs are pushed
        unfinished.done()
    return entry, "run"


def _bring_inputs(project: Project, stage: Stage, lookup: Lookup) -> None:
    from dvc.exceptions import DvcException

    oids, paths = lookup.needed(stage)
    lookup.remote.fetch(oids, lookup.cache)
    try:
        if paths:
            with chdir(project.folder):  # DVC takes relative paths from there
                project.repo.checkout(targets=[str(project.folder / path) for path in paths], force=True)
        for path, oid in lookup.uncached(stage):
            write_bytes(project.folder / path, Path(lookup.cache.oid_to_path(oid)).read_bytes())
    except DvcException as error:
        raise ReposeError(f"Stage {stage.address}: its inputs cannot be written to the workspace: {error}") from error


def _run(project: Project, stage: Stage, lookup: Lookup, key: str | None) -> Unfinished | None:
    """Run the stage; return its unfinished work in the remote, if there is any."""
    kept = needs_of(stage, Environment()).unfinished
    if kept is None:
        _reproduce(project, stage)
        return None
    name = key or stage.address.replace("/", "-")
    with Unfinished(project.folder / stage.resolve(kept), name, lookup.remote) as unfinished:
        if unfinished.restore():
            say(f"{stage.address}: resuming from the unfinished work in {lookup.remote.address}")
        _reproduce(project, stage)
    return unfinished


def _reproduce(project: Project, stage: Stage) -> None:
    from dvc.exceptions import DvcException

    sys.stdout.flush()
    try:
        with chdir(project.folder):  # DVC takes relative paths from there
            project.repo.reproduce(targets=[stage.address], single_item=True)
    except DvcException as error:
        why = str(error.__cause__ or error).rstrip(".")
        raise ReposeError(f"Stage {stage.address} failed: {why}. Its output is above.") from error


def _push(project: Project, stage: Stage, entry: Entry, key: str | None, lookup: Lookup) -> None:
    """Push the outputs, then the run-cache's entry, so that an entry in the remote is always complete."""
    cache, remote, repo = lookup.cache, lookup.remote, project.repo
    for path, md5 in outputs_of(stage, entry):
        if not stage.out(path).cached and not cache.exists(md5):  # not in DVC's cache, but the remote needs it
            cache.add(str(project.folder / path), repo.fs, md5)
    remote.push(lookup.objects(entry), cache)
    if key is not None:
        folder = Path(repo.cache.legacy.path) / "runs" / key[:2] / key
        for file in sorted(folder.glob("*")):
            remote.upload(file, f"runs/{key[:2]}/{key}/{file.name}")


def _leave(work: Work, remote: Remote, left: Mapping[str, Any]) -> None:
    """Write the step's report for the run's record. Errors of the remote are only logged, so that the step's own is shown."""
    try:
        name = work.stage.replace("/", "|")
        remote.write(f"{OWN}/runs/{work.run}/stages/{name}.json", json.dumps(left, indent=1).encode())
    except ReposeError as error:
        if left.get("state") == "finished":
            raise
        say(f"The run's record will lack this step: {error}")


def read_work(words: Sequence[str]) -> Work:
    """The task given by a command line."""
    single = {"--stage": None, "--run": None, "--remote": None, "--report": None, "--endpoint": ""}
    one, many = read_arguments(words, single, {"--input": 1, "--output": 3, "--param": 2, "--version": 2})
    return Work(
        stage=one["--stage"], run=one["--run"], remote=one["--remote"], endpoint=one["--endpoint"],
        report=Path(one["--report"]), inputs=tuple(Path(file) for (file,) in many["--input"]),
        outputs=tuple(Artifact(name, Path(file), uri) for name, file, uri in many["--output"]),
        params=tuple(many["--param"]),
    )  # fmt: skip


def stop(number: int, _: FrameType | None) -> NoReturn:
    """End the stage's processes, then raise an error, so that unfinished work is pushed."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    raise ReposeError(f"The step was stopped by signal {number}.")


def main(words: Sequence[str] | None = None) -> None:
    """Run the task of the command line; a ReposeError is shown as a message without a traceback."""
    show_messages()
    signal.signal(signal.SIGTERM, stop)
    try:
        do(read_work(sys.argv[1:] if words is None else words), image_project())
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
