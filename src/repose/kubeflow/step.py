"""What a task of the pipeline does in its pod: one stage of dvc.yaml, between DVC's remote and DVC's remote.

    python3 -m repose.kubeflow.step --stage train@attend --remote s3://bucket/repose --run RUN --report FILE
        --input POINTER ... --param NAME VALUE ... --output NAME FILE URI ...

In a writable copy of the image's project, without git: the entries of dvc.lock that the tasks upstream hand on, the run's
params; if any earlier run did this work, its entry; else the stage's inputs from the remote, `dvc repro --single-item`,
outputs and run-cache to the remote. Then the stage's own entry is handed on.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.lookup import Lookup, outputs_of
from repose.kubeflow.needs import Environment, StageMeta, needs_of, out_meta, out_names, page_names
from repose.kubeflow.pages import page_of
from repose.kubeflow.pointer import Entry, lock_file, read_pointer, write_page, write_pointer
from repose.kubeflow.project import Project, Stage, file_of
from repose.kubeflow.unfinished import Unfinished
from repose.kubeflow.workspace import apply_params, prepare, workspace
from repose.storage.atomic import write_bytes, write_text
from repose.storage.remote import OWN, Remote
from repose.terminal import say, show_messages


class Artifact(NamedTuple):
    """Where Kubeflow wants an output: its name there, the local file, the address that the file gets."""

    name: str
    file: Path
    uri: str


@dataclass(frozen=True)
class Work:
    """A task as its arguments say it."""

    stage: str
    run: str
    remote: str
    endpoint: str
    report: Path
    inputs: tuple[Path, ...]
    outputs: tuple[Artifact, ...]
    params: tuple[tuple[str, str], ...]


def do(work: Work, image: Path) -> None:
    """Do the task, in a copy of the project in `image`.

    Raises:
        ReposeError: the stage failed, or the remote did; the message says which and what to do.
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
            _hand_on(work, stage, entry, Lookup(project, entries | {stage.address: entry}, remote))
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
    """The stage's entry, and how it came: found, or run here."""
    missing = [address for address in stage.upstream if address not in lookup.entries]
    if missing:
        raise ReposeError(f"The task of {stage.address} needs the pointers of {', '.join(missing)} as --input.")
    key = lookup.key(stage)
    if key is not None:
        found = lookup.found(key, own_entry(stage, image, key))
        if found is not None:
            return found, "found in the run-cache"
    entry, key, unfinished = _run(project, stage, lookup, key)
    _push(project, stage, entry, key, lookup)
    if unfinished is not None:  # needed until what came of it is safe
        unfinished.done()
    return entry, "run"


def own_entry(stage: Stage, image: Path, key: str) -> list[Entry]:
    """The entry of the dvc.lock that came with the image, if it is of this very work."""
    from dvc.stage.cache import _get_cache_hash

    file, name = lock_file(stage.address)
    try:
        entry = parse_yaml((image / file).read_text("utf-8"))["stages"][name]
        return [entry] if _get_cache_hash(json.loads(json.dumps(entry)), key=True) == key else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _run(
    project: Project, stage: Stage, lookup: Lookup, key: str | None
) -> tuple[Entry, str | None, Unfinished | None]:
    """Bring the inputs, run the stage; return its entry, its key in the run-cache, its unfinished work in the remote."""
    from dvc.exceptions import DvcException

    oids, paths = lookup.needed(stage)
    lookup.remote.fetch(oids, lookup.cache)
    meta = needs_of(stage, Environment())
    repo = project.repo
    try:
        if paths:
            with chdir(project.folder):  # DVC takes relative paths from there
                repo.checkout(targets=[str(project.folder / path) for path in paths], force=True)
        for path, oid in lookup.uncached(stage):
            write_bytes(project.folder / path, Path(lookup.cache.oid_to_path(oid)).read_bytes())
    except DvcException as error:
        raise ReposeError(f"Stage {stage.address}: its inputs cannot be laid out in the workspace: {error}") from error
    if key is None:
        key = lookup.key(stage)
    unfinished = None
    if meta.unfinished is None:
        _reproduce(project, stage)
    else:
        with Unfinished(
            project.folder / stage.resolve(meta.unfinished), key or stage.address.replace("/", "-"), lookup.remote
        ) as unfinished:
            if unfinished.restore():
                say(f"{stage.address}: going on from what an earlier try left in {lookup.remote.address}")
            _reproduce(project, stage)
    file, name = lock_file(stage.address)
    return parse_yaml((project.folder / file).read_text("utf-8"))["stages"][name], key, unfinished


def _reproduce(project: Project, stage: Stage) -> None:
    from dvc.exceptions import DvcException

    sys.stdout.flush()
    try:
        with chdir(project.folder):  # DVC takes relative paths from there
            project.repo.reproduce(targets=[stage.address], single_item=True)
    except DvcException as error:
        raise ReposeError(
            f"Stage {stage.address} failed: {str(error.__cause__ or error).rstrip('.')}. Its own words are above."
        ) from error


def _push(project: Project, stage: Stage, entry: Entry, key: str | None, lookup: Lookup) -> None:
    """Outputs to the remote, then the run-cache's entry: whoever finds it finds all that it names."""
    cache, remote, repo = lookup.cache, lookup.remote, project.repo
    for path, md5 in outputs_of(stage, entry):
        if not stage.out(path).cached and not cache.exists(md5):  # DVC's cache does not hold it; the remote shall
            cache.add(str(project.folder / path), repo.fs, md5)
    remote.push(lookup.objects(entry), cache)
    if key is not None:
        folder = Path(repo.cache.legacy.path) / "runs" / key[:2] / key
        for file in sorted(folder.glob("*")) if folder.is_dir() else ():
            remote.upload(file, f"runs/{key[:2]}/{key}/{file.name}")


def _hand_on(work: Work, stage: Stage, entry: Entry, lookup: Lookup) -> None:
    """Write what Kubeflow takes: a pointer for each output, pages, and the report with their metadata."""
    meta = needs_of(stage, Environment())
    paths = {name: path for path, name in out_names(stage, meta).items()}
    pages = page_names(stage, meta)
    artifacts = {}
    for artifact in work.outputs:
        name = artifact.name
        if name in paths:
            metadata = _write_output(artifact, paths[name], stage, entry, meta, lookup)
        elif name in pages:
            page = page_of(pages[name], _content(pages[name], stage, entry, lookup))
            write_page(artifact.file, page, stage.address, entry)
            metadata = {"path": pages[name]}
        else:
            raise ReposeError(
                f"The output {name} is not one of {stage.address} in this image's dvc.yaml. Was the pipeline compiled from "
                "another version? Compile it from what the image was built from."
            )
        artifacts[name] = {"artifacts": [{"name": name, "uri": artifact.uri, "metadata": metadata}]}
    write_text(work.report, json.dumps({"artifacts": artifacts}, indent=1))


def _write_output(
    artifact: Artifact, path: str, stage: Stage, entry: Entry, meta: StageMeta, lookup: Lookup
) -> dict[str, Any]:
    """Write one output's pointer; return its metadata."""
    (out,) = (o for o in entry["outs"] if stage.resolve(o["path"]) == path)
    facts = {
        "md5": out["md5"], "size": out["size"], "nfiles": out.get("nfiles", 1), "remote": lookup.remote.address, "path": path,
    }  # fmt: skip
    kind = out_meta(stage, meta, path)
    if kind.type in ("HTML", "Markdown"):
        shown = f"{path}/{kind.page}" if kind.page else path
        content = _content(shown, stage, entry, lookup)
        write_page(artifact.file, content if kind.type == "Markdown" else page_of(shown, content), stage.address, entry)
    else:
        write_pointer(artifact.file, stage.address, entry)
    if kind.type == "Metrics":  # numbers are what 'Compare runs' shows; the others stand there as text
        return {f"dvc {key}": str(value) for key, value in facts.items()} | _numbers(
            path, _content(path, stage, entry, lookup)
        )
    return facts


def _content(path: str, stage: Stage, entry: Entry, lookup: Lookup) -> bytes:
    """A file of the stage's outputs."""
    oid = lookup.file(stage, entry, path)
    if oid is None:
        raise ReposeError(
            f"Stage {stage.address} has no file {path} among its outputs, though meta.kfp in dvc.yaml shows it."
        )
    if lookup.cache.exists(oid):
        return Path(lookup.cache.oid_to_path(oid)).read_bytes()
    return lookup.remote.object(oid)


def _numbers(path: str, content: bytes) -> dict[str, float]:
    """The numbers of a metrics file (JSON or YAML) by their dotted keys."""
    try:
        values = json.loads(content) if path.endswith(".json") else parse_yaml(content.decode())
    except ValueError as error:
        raise ReposeError(f"The metrics file {path} is neither JSON nor YAML ({error}).") from None

    def flat(value: Any, above: str) -> dict[str, float]:
        if isinstance(value, Mapping):
            return {
                k: v
                for key, child in value.items()
                for k, v in flat(child, f"{above}.{key}" if above else str(key)).items()
            }
        return {above: value} if isinstance(value, int | float) and not isinstance(value, bool) else {}

    return flat(values, "")


def _leave(work: Work, remote: Remote, left: Mapping[str, Any]) -> None:
    """What the run's record is made from; where the remote is lost, the step's own error is the one to show."""
    try:
        name = work.stage.replace("/", "|")
        remote.write(f"{OWN}/runs/{work.run}/stages/{name}.json", json.dumps(left, indent=1).encode())
    except ReposeError as error:
        if left.get("state") == "finished":
            raise
        say(f"The run's record will not know of this step: {error}")


def arguments(text: Sequence[str]) -> Work:
    """The task that a command line describes."""
    parser = argparse.ArgumentParser(prog="repose.kubeflow.step", description=__doc__.splitlines()[0])
    for name in ("--stage", "--run", "--remote"):
        parser.add_argument(name, required=True)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--report", required=True, type=Path)
    parser.add_argument("--input", action="append", default=[], type=Path)
    parser.add_argument("--output", action="append", default=[], nargs=3, metavar=("NAME", "FILE", "URI"))
    parser.add_argument("--param", action="append", default=[], nargs=2, metavar=("NAME", "VALUE"))
    parser.add_argument("--version", action="append", default=[], nargs=2, metavar=("NAME", "MD5"))
    read = parser.parse_args(text)
    outputs = tuple(Artifact(name, Path(file), uri) for name, file, uri in read.output)
    params = tuple((name, value) for name, value in read.param)
    return Work(read.stage, read.run, read.remote, read.endpoint, read.report, tuple(read.input), outputs, params)


def image_project() -> Path:
    """The folder of the project in the image: $REPOSE_PROJECT, else the current one."""
    return Path(os.environ.get("REPOSE_PROJECT") or Path.cwd())


def stop(number: int, _: FrameType | None) -> NoReturn:
    """End what the stage started, then end as on an error, so that unfinished work is pushed."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    raise ReposeError(f"The step was told to stop (signal {number}).")


def main(text: Sequence[str] | None = None) -> None:
    """Do the task of the command line; a ReposeError is a message, not a traceback."""
    show_messages()
    signal.signal(signal.SIGTERM, stop)
    try:
        do(arguments(sys.argv[1:] if text is None else text), image_project())
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
