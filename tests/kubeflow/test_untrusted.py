"""What somebody who may write to the bucket can do to a laptop that fetches a run: nothing."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import foreign
import pytest
import steps
from compiled import edit
from tampered import OID, Run

from repose.errors import ReposeError
from repose.kubeflow import fetch
from repose.kubeflow.compare_runs import read_run
from repose.kubeflow.entries import check_entry, parse_entries, parse_lock
from repose.storage import remote as remote_module
from test_config import bomb

# --- entries of dvc.lock, wherever they come from

OUT = {"path": "made", "hash": "md5", "md5": OID, "size": 3}
ENTRY = {"cmd": "x", "deps": [{"path": "a", "hash": "md5", "md5": OID, "size": 1}], "outs": [OUT]}


@pytest.mark.parametrize("changes", [
    *({"outs": [OUT | facts]} for facts in (
        {"md5": "../../../evil"}, {"hash": "md5-dos2unix"}, {"size": "x"}, {"files": [{"relpath": "../../evil", "md5": OID}]},
    )),
    {"more": 1}, {"deps": [{"path": "a", "files": [{"relpath": "b", "md5": OID}]}]},
], ids=str)  # fmt: skip
def test_an_entry_that_dvc_does_not_write(changes):
    assert check_entry(ENTRY, "here") == ENTRY
    with pytest.raises(ReposeError, match=r"^here.*tampered"):
        check_entry(ENTRY | changes, "here")


def test_a_lock_or_entries_that_are_none():
    head = "schema: '2.0'\n"
    assert parse_lock(f"{head}stages: {json.dumps({'a': ENTRY})}", "here") == {"a": ENTRY}
    for text in (
        "a: [", "", "[1]", "[" * 100_000, bomb(), "stages: &a {count: *a}", f"{head}stages: {{}}\ndatasets: []",
        f"{head}stages: {{a: x}}",
    ):  # fmt: skip
        with pytest.raises(ReposeError, match=r"^here.*tampered"):
            parse_lock(text, "here")
    for content in (b"{", b'{"count":' * 100_000, b'{"\\u0000pairs": [[[], 1]]}', b"[]", b'{"a": 3}', b"\xff"):
        with pytest.raises(ReposeError, match=r"^here.*tampered"):
            parse_entries(content, "here")


# --- the record of a run


def test_the_run_itself_is_fetched(ran):
    before = ran.files()
    ran.fetch()
    assert {Path(name).name for name in ran.files().keys() ^ before.keys()} == {"dvc.lock", "score.json"}


def test_a_record_can_only_write_the_files_that_dvc_yaml_names(ran):
    kept = ran.record
    for part, value in (("locks", kept["locks"]["dvc.lock"]), ("params", "scale: 3\n"), ("files", OID)):
        for name in ("../evil", ".git/config", "dvc.yaml", "made/petals.json", "./params.yaml", "sub//dvc.lock"):
            ran.write(kept | {part: kept[part] | {name: value}})
            ran.refuses("which is not a lock, a params file or metrics of dvc.yaml here. Nothing was written")


def test_a_record_of_wrong_types_or_that_cannot_be_read(ran, monkeypatch):
    record, none = ran.record, "is not a run's record in this version's format"
    for change, message in (
        ({"file": "../flowers/dvc.yaml"}, "is not a plain path inside the project"),
        ({"file": "made"}, "has no stages to run"),
        ({"format": "repose run 1"}, none),
        ({"locks": {"dvc.lock": {}}}, f"{none} .*locks.dvc.lock: "),
        ({"more": 1}, f"{none} .*more: "),
        ({"params": {"params.yaml": "scale: ["}}, r"The params file params.yaml cannot be read: line"),
        ({"params": {"params.yaml": "a: " + "[" * 100_000}}, "more than 100 levels deep"),
    ):
        ran.write(record | change)
        ran.refuses(message)
    for content in (b"", b"[]", b"\xff", b'{"a":' * 100_000):
        ran.write(content)
        ran.refuses(none)
    ran.write(record)
    monkeypatch.setattr(remote_module, "_LARGEST", 100)
    ran.refuses(r"record.json in the remote .* has [0-9,]+ bytes, and what is read into memory may have 100")


LOCKS: dict[str, Callable[[Run], Any]] = {  # entries by stage
    "no stage of dvc.yaml": lambda ran: {"evil": ran.entry()},
    "an output elsewhere": lambda ran: {"count": ran.entry(path="../evil")},
    "an output of another stage": lambda ran: {"count": ran.entry(path="report.html")},
    "an output twice": lambda ran: {"count": ran.entry() | {"outs": ran.entry()["outs"] * 2}},
    "a folder that leaves": lambda ran: {"count": ran.entry(md5=ran.evil_folder())},
    "metrics that leave": lambda ran: {"judge": ran.entry("judge", md5=ran.evil_folder())},
    "a missing folder": lambda ran: {"count": ran.entry(md5=f"{OID}.dir")},
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_that_dvc_pull_would_follow(ran, name):
    lock = ran.lock
    lock["stages"] |= LOCKS[name](ran)
    ran.write_lock(lock)
    ran.refuses("tampered|cannot read objects")


def test_an_old_lock_has_a_stage_with_fewer_outputs(ran):
    lock = ran.lock
    lock["stages"]["judge"]["outs"].pop(0)
    ran.write_lock(lock)
    ran.fetch()


def test_a_link_is_not_followed(ran):
    for folder in (ran.folder, ran.image):
        edit(folder / "dvc.yaml", "outs: [made]", "outs: [made: {cache: false}]")
    outside = ran.folder.parent / "outside"
    outside.mkdir()
    (ran.folder / "made").symlink_to(outside)  # tests/storage/test_together.py has other links
    steps.run("count", ran.image, ran.remote, ["made"], run="run-1")
    steps.write_record(ran.image, ran.remote)
    ran.refuses(r"made/petals.json is not a plain file here, or lies behind a link. Nothing was written")


def test_what_git_does_not_hold_is_only_lost_by_force(ran):
    def is_kept(name: str) -> None:
        with pytest.raises(ReposeError, match=rf"other versions of {name}, and your changes are not committed"):
            ran.fetch(force=False)
        assert not (ran.folder / "dvc.lock").exists()

    git, params = partial(foreign.git, ran.folder), ran.folder / "params.yaml"
    ran.write(ran.record | {"params": {"params.yaml": "scale: 3\nlabels: [1]\nprecise: true\n"}})
    is_kept("params.yaml")  # no git at all
    git("init", str(ran.folder.parent))  # the project is a folder of it
    (ran.folder / ".gitignore").write_text("score.json\n")
    git("add", "--all")
    is_kept("params.yaml")
    git("commit", "--message", "x")
    (ran.folder / "score.json").write_text("mine")
    is_kept("score.json")  # ignored
    (ran.folder / "score.json").unlink()
    before = params.read_text()
    params.write_text("scale: 5\nlabels: []\nprecise: true\n")
    git("add", "params.yaml")
    git("update-index", "--assume-unchanged", "params.yaml")
    is_kept("params.yaml")
    params.write_text(before)
    ran.fetch(force=False)
    assert "scale: 3" in params.read_text()


def test_params_cannot_move_the_outputs(ran):
    edit(ran.folder / "dvc.yaml", "outs: [report.html]", 'outs: ["${place[0]}/report.html"]')
    params = "scale: 2\nlabels: []\nprecise: false\nplace: [{}]\n"
    (ran.folder / "params.yaml").write_text(params.format("out"))
    record = ran.record | {"locks": {}, "files": {}}
    ran.write(record | {"params": {"params.yaml": params.format("../elsewhere")}})
    ran.refuses(r"has another value of place.* in params.yaml, .* It decides which stages, params and outputs exist")
    ran.write(record | {"params": {"params.yaml": params.format("out").replace("scale: 2", "scale: 3")}})
    ran.fetch()


@pytest.mark.parametrize("own", [False, True], ids=["params.yaml", "vars of the stage"])
def test_params_cannot_bring_commands(ran, own):
    file = "deep/own.yaml" if own else "params.yaml"
    wdir = "vars: [../deep/own.yaml]\n    params: [../deep/own.yaml: [how]]\n    wdir: deep\n    " if own else ""
    edit(ran.folder / "dvc.yaml", "cmd: python3 judge.py", f"{wdir}cmd: python3 judge.py ${{how[a word].well}}")
    params = "" if own else "scale: 2\nlabels: []\nprecise: false\n"
    params += "how: {{a word: {{well: {}}}}}\n"
    (ran.folder / "deep").mkdir()
    (ran.folder / file).write_text(params.format("1"))
    record = ran.record | ({"locks": {}, "files": {}} if own else {})
    for value in ('"; touch evil"', r'"a\nb"', "[a, {b: '`touch evil`'}]", "{'$x': 1}"):
        ran.write(record | {"params": {file: params.format(value)}})
        ran.refuses(rf"another value of how.* in {file}, .* a command would pass it to a shell. Nothing was written")
    ran.write(record | {"params": {file: params.format("runs/a-b_1.json")}})
    ran.fetch()


def test_params_cannot_add_to_a_mapping_that_a_command_uses_whole(ran):
    """DVC merges a mapping from all files in `vars`, and `${how}` is then all of it."""
    edit(ran.folder / "dvc.yaml", "cmd: python3 judge.py", "vars: [own.yaml]\n    cmd: judge ${how}")
    (ran.folder / "own.yaml").write_text("how: {a: 1}\n")
    params = "scale: 2\nlabels: []\nprecise: false\n"
    (ran.folder / "params.yaml").write_text(params)
    ran.write(
        ran.record | {"locks": {}, "files": {}, "params": {"params.yaml": params + "how: {b: '$(touch evil)'}\n"}}
    )
    ran.refuses(r"another value of how.* in params.yaml, .* a command would pass it to a shell. Nothing was written")


def test_params_cannot_bring_commands_of_another_pipeline(ran):
    (ran.folder / "more").mkdir()
    other = "vars: [../params.yaml]\nstages: {tell: {cmd: 'echo ${scale} > ${labels[0]}', outs: ['${labels[0]}']}}\n"
    (ran.folder / "more" / "dvc.yaml").write_text(other)
    (ran.folder / "params.yaml").write_text("scale: 2\nlabels: [out]\nprecise: false\n")
    for params in ("scale: 2; touch evil\nlabels: [out]\n", "scale: 2\nlabels: [../src]\n"):
        ran.write(ran.record | {"params": {"params.yaml": f"{params}precise: false\n"}})
        ran.refuses("another value of .* in params.yaml, .* Nothing was written")


def test_messages_of_a_record_do_not_reach_the_terminal_as_commands(ran, capsys):
    stages = [{"stage": "a\x1b]0;evil\x07", "state": "failed", "message": "b\x9b2J\r\x1b[8mc"}]
    ran.write(ran.record | {"stages": stages})
    ran.fetch()
    assert r"a\x1b]0;evil\x07: failed: b\x9b2J\r\x1b[8mc" in capsys.readouterr().err


def test_a_run_s_name_that_leaves_the_folder_of_runs(ran, tmp_path):
    store = fetch.open_remote(fetch.open_repo(ran.folder), None, "")
    with pytest.raises(ReposeError, match=r"The run's ID has the path .* is not a plain path"):
        read_run("run:../run-1", store, tmp_path)
