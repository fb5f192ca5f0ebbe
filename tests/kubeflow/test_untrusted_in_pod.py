"""What somebody who may write to the bucket can do to a pod: make it run its stage, or fail with a message."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import steps
import yaml
from tampered import EVIL, OID, Run

from repose.errors import ReposeError
from repose.kubeflow import fetch, nodes, record, step, task, variables, workspace
from repose.kubeflow.needs import Needs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a step's workspace, which stays, so that a test sees what was written there and beside it."""
    place = tmp_path / "work" / "inner"
    place.mkdir(parents=True)
    monkeypatch.setattr(workspace.tempfile, "TemporaryDirectory", lambda **_: nullcontext(str(place)))
    return place


def put_entries(ran: Run, entries: Any) -> str:
    """Write entries as a task does; return their ID."""
    content = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (ran.remote / "kubeflow/entries" / f"{name}.json").write_bytes(content)
    return name


ENTRIES: dict[str, Callable[[Run], Any]] = {
    "no JSON": lambda _: b"{",
    "no outputs": lambda ran: {"count": ran.entry() | {"outs": []}},
    "an address elsewhere": lambda ran: {"../x/dvc.yaml:count": ran.entry()},
    "an address that is no dvc.yaml": lambda ran: {"params.yaml:count": ran.entry()},
    "no stage": lambda ran: {"counts": ran.entry()},
    "an output elsewhere": lambda ran: {"count": ran.entry(path="../../evil")},
    "a folder that leaves": lambda ran: {"count": ran.entry(md5=ran.evil_folder())},
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_an_earlier_task_did_not_write(ran, written, name):
    made = put_entries(ran, ENTRIES[name](ran))
    with pytest.raises(ReposeError, match=r"tampered|has no stage '(counts|params\.yaml:count)'"):
        steps.run("judge", ran.image, ran.remote, ["report_html", "score_json"], inputs=[made], run="r")
    place = ran.folder.parent.parent
    files = [path for path in place.rglob("*") if path.is_file() and not path.is_relative_to(ran.remote)]
    assert not [path for path in files if path.read_bytes() == EVIL]
    assert not (written / "project" / ".git").exists()
    assert [path.name for path in written.parent.iterdir()] == ["inner"]
    assert steps.left(ran.remote, "judge", "r")["state"] == "failed"


# --- the run-cache


def cached(folder: Path) -> Path:
    """The run-cache's file for `count`, below a folder."""
    (file,) = (path for path in (folder / "runs").rglob("*") if path.is_file() and "count.py" in path.read_text())
    file.chmod(0o644)
    return file


def out_of(found: Any, **facts: Any) -> Any:
    found["outs"][0] |= facts
    return found


CACHED: dict[str, Callable[[Run, Any], Any]] = {
    "an output elsewhere": lambda _, found: out_of(found, path="../../evil"),
    "an output twice": lambda _, found: found | {"outs": found["outs"] * 2},
    "another command": lambda _, found: found | {"cmd": ["evil"]},
    "another input": lambda _, found: found | {"deps": [dep | {"md5": OID} for dep in found["deps"]]},
    "no object": lambda _, found: out_of(found, md5=None),
    "a folder's name for a file": lambda ran, found: out_of(found, md5=ran.add(b"{}", ".dir")),
    "a folder that leaves": lambda ran, found: out_of(found, md5=ran.evil_folder()),
    "no YAML": lambda *_: b"outs: [",
}


def tampered(ran: Run, name: str, file: Path) -> None:
    content = CACHED[name](ran, yaml.safe_load(file.read_text()))
    file.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content, sort_keys=False).encode())


@pytest.mark.parametrize("name", CACHED)
def test_an_entry_of_the_run_cache_that_is_not_the_stage_s(ran, capsys, name):
    before, file = ran.entry(), cached(ran.remote)
    tampered(ran, name, file)
    steps.run("count", ran.image, ran.remote, ["made"], run="r")
    assert steps.left(ran.remote, "count", "r")["how"] == "run"
    assert steps.left(ran.remote, "count", "r")["entry"] == before
    told = capsys.readouterr().err
    assert "It is not used." in told
    assert file.name in told or ".dir in the remote" in told


@pytest.mark.parametrize("name", ["another input", "an output elsewhere"])
def test_dvc_s_own_run_cache_in_a_shared_volume_is_not_trusted(ran, monkeypatch, name):
    cache = ran.folder.parent / "shared"
    monkeypatch.setenv(variables.CACHE, str(cache))
    shutil.copytree(ran.remote / "runs", cache / "runs")
    shutil.rmtree(ran.remote / "runs")
    tampered(ran, name, cached(cache))
    steps.run("count", ran.image, ran.remote, ["made"], run="r")
    assert steps.left(ran.remote, "count", "r")["entry"] == ran.entry()


def test_a_param_named_size_is_part_of_what_is_looked_up(ran):
    (ran.image / "params.yaml").write_text("scale: 2\nlabels: []\nprecise: {size: 1, nfiles: 1}\n")
    steps.run("count", ran.image, ran.remote, ["made"], run="r")
    value = {"size": 2, "nfiles": 1}
    for run, how in (("s", "run"), ("t", "found in the run-cache")):
        steps.run("count", ran.image, ran.remote, ["made"], run=run, params={"precise": value})
        found = steps.left(ran.remote, "count", run)
        assert (found["how"], found["entry"]["params"]["params.yaml"]["precise"]) == (how, value)


# --- reports, nodes, parameters


@pytest.mark.parametrize("content", [b"{", b'{"stage": 3, "state": "finished"}'])
def test_a_report_that_is_none_does_not_hide_the_others(ran, content):
    (ran.remote / "kubeflow/runs/run-1/stages/evil.json").write_bytes(content)
    assert steps.write_record(ran.image, ran.remote)["stages"] == ran.record["stages"]


@pytest.mark.parametrize("value", [3, {"cmd": "x", "outs": [{"path": "../evil", "md5": OID, "hash": "md5"}]}])
def test_a_report_with_an_entry_that_is_none(ran, value):
    place = ran.remote / "kubeflow/runs/run-1/stages/judge.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"entry": value}))
    (count, judge) = steps.write_record(ran.image, ran.remote)["stages"]
    # what is no report at all is that of a stage that did not run: it is found in the run-cache
    assert (count["state"], judge["state"]) == ("finished", "finished" if value == 3 else "failed")


@pytest.mark.parametrize("content", [b"{", b'{"cmd": "x", "outs": [{"path": "made", "md5": "../x"}]}'])
def test_an_entry_that_no_node_left(ran, monkeypatch, content):
    work = task.read_task(steps.words("count", ran.folder, ran.remote, ["made"]), {"REPOSE_RUN": "r"})
    place = ran.remote / "kubeflow/runs/r/nodes"
    place.mkdir(parents=True)
    (place / "count.json").write_bytes(content)
    monkeypatch.setattr(nodes, "run", lambda _: None)
    monkeypatch.setenv(variables.JOB, nodes.job_text(Needs(nodes=2), "image", None))
    shutil.rmtree(ran.remote / "runs")
    with pytest.raises(ReposeError, match="tampered"):
        step.run_step(work, ran.image)


NO_OBJECT = "The parameter overrides should be a JSON object"


@pytest.mark.parametrize(("overrides", "message"), [
    ("scale: 3", NO_OBJECT), ('{"scal": 3}', "has no key 'scal'"), ('{"scale": "x"}', "scale should be a number"),
    ('{"labels": ' + "[" * 200 + "]" * 200 + "}", f"{NO_OBJECT} .*100 levels deep"),
    ('{"../x.yaml:scale": 3}', "of a file outside the project"),
])  # fmt: skip
def test_a_run_with_wrong_params_has_a_record_that_says_so(ran, overrides, message):
    def work(*given: Any, **more: Any) -> task.Task:
        *before, last = steps.words(*given, **more)
        executor = json.loads(last)
        executor["inputs"]["parameterValues"]["overrides"] = overrides
        return task.read_task([*before, json.dumps(executor)], {"REPOSE_RUN": "r"})

    def left() -> Any:
        words = ["run-record", "flowers", "dvc.yaml"]
        return record.write_record(work("", ran.folder, ran.remote, [], before=words), ran.image)["stages"]

    with pytest.raises(ReposeError, match=message):
        step.run_step(work("count", ran.folder, ran.remote, ["made"]), ran.image)
    assert [stage["state"] for stage in left()] == ["failed", "not run"]
    assert all(re.search(message, stage["message"]) for stage in left())
    (ran.remote / "kubeflow/runs/r/stages/count.json").unlink()  # as if no step began: nothing is found by other params
    assert [stage["state"] for stage in left()] == ["not run", "not run"]
    assert re.search(message, left()[0]["message"])
    before = ran.files()
    fetch.fetch_run(ran.folder, "r", remote=None, endpoint="", force=False)
    assert ran.files() == before
