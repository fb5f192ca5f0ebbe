"""What somebody who may write to the bucket can do to a laptop that fetches a run: nothing."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import steps
import yaml
from tampered import OID, Run, bomb

from repose.errors import ReposeError
from repose.kubeflow import fetch
from repose.kubeflow.compare_runs import read_run
from repose.storage import remote as remote_module

NAMES = [
    "../evil", "/evil", ".git/config", ".git/hooks/post-checkout", ".dvc/config", "Makefile", "count.py", "dvc.yaml",
    "petals.csv.dvc", "./params.yaml", "params.yaml/", "sub//dvc.lock", "PARAMS.YAML", "params.yaml\0", "made/petals.json",
    "report.html", "score.json/x", "", ".", "\x1b[2J",
]  # fmt: skip


def test_the_run_itself_is_fetched(ran: Run) -> None:
    before = ran.files()
    ran.fetch()
    assert {Path(name).name for name in ran.files().keys() ^ before.keys()} == {"dvc.lock", "score.json"}
    assert not any(path.name.startswith(".") and "partial" in path.name for path in ran.folder.rglob("*"))


@pytest.mark.parametrize("part", ["locks", "params", "files"])
def test_a_record_can_only_write_the_files_that_dvc_yaml_names(ran: Run, part: str) -> None:
    kept = ran.record
    value = {"locks": kept["locks"]["dvc.lock"], "params": "scale: 3\n", "files": kept["files"]["score.json"]}[part]
    for name in [*NAMES, *({"dvc.lock", "params.yaml", "score.json"} - kept[part].keys())]:
        ran.write(kept | {part: kept[part] | {name: value}})
        ran.refuses("which is not a lock, a params file or metrics of dvc.yaml here. Nothing was written")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../flowers/dvc.yaml"}, "is not a plain path inside the project"),
        ({"file": "\0"}, "is not a plain path"),
        ({"file": "made"}, "has no stages to run"),
        ({"file": 3}, r"format .*file: 'Input should be a valid string"),
        ({"format": "repose run 1"}, "is not a run's record in this version's format"),
        ({"format": None}, "format"),
        ({"locks": []}, "format .*locks: "),
        ({"locks": {"dvc.lock": {}}}, "format .*locks.dvc.lock: "),
        ({"params": {"params.yaml": 3}}, "format .*params.params.yaml: "),
        ({"files": {"score.json": None}}, "format .*files.score.json: "),
        ({"stages": {}}, "format .*stages: "),
        ({"stages": ["count"]}, "format .*stages.0: "),
        ({"stages": [{"stage": 1, "state": "finished"}]}, "format .*stages.0.stage: "),
        ({"stages": [{"stage": "count", "state": "well"}]}, "format .*stages.0.state: "),
        ({"more": 1}, "format .*more: "),
        ({"params": {"params.yaml": "scale: ["}}, r"The params file params.yaml cannot be read: line"),
        ({"params": {"params.yaml": "[1]"}}, "params.yaml should be a mapping"),
        ({"params": {"params.yaml": "a: " + "[" * 100_000}}, "more than 100 levels deep"),
    ],
)
def test_a_record_of_wrong_types(ran: Run, change: dict[str, Any], message: str) -> None:
    ran.write(ran.record | change)
    ran.refuses(message)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 100_000, b'{"format": "\\ud800"}'])
def test_a_record_that_cannot_be_read(ran: Run, content: bytes) -> None:
    ran.write(content)
    ran.refuses("is not a run's record in this version's format")


def test_a_record_that_would_fill_the_memory(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "_LARGEST", 100)
    ran.refuses(r"record.json in the remote .* has [0-9,]+ bytes, and what is read into memory may have 100")


def change_lock(ran: Run, stage: str, **out: Any) -> Any:
    """The run's lock with other facts of a stage's first output; None removes one."""
    lock = ran.lock
    facts = lock["stages"][stage]["outs"][0]
    facts |= out
    for name in [name for name, value in facts.items() if value is None]:
        del facts[name]
    return lock


LOCKS: dict[str, Callable[[Run], Any]] = {
    "no YAML": lambda _: "a: [",
    "empty": lambda _: "",
    "a list": lambda _: "[1]",
    "deep": lambda _: "[" * 100_000,
    "aliases": lambda _: bomb(),
    "holds itself": lambda _: "stages: &a {count: *a}",
    "a schema": lambda ran: ran.lock | {"schema": "1.0"},
    "data sets": lambda ran: ran.lock | {"datasets": [{"type": "url", "name": "x"}]},
    "stages": lambda ran: ran.lock | {"stages": []},
    "no stage of dvc.yaml": lambda ran: ran.lock | {"stages": {"evil": ran.lock["stages"]["count"]}},
    "a stage of another kind": lambda ran: ran.lock | {"stages": {"count": "x"}},
    "no command": lambda ran: ran.lock | {"stages": {"count": {"outs": []}}},
    "an output elsewhere": lambda ran: change_lock(ran, "count", path="../evil"),
    "an output in .git": lambda ran: change_lock(ran, "count", path=".git/hooks"),
    "an output that is none": lambda ran: change_lock(ran, "count", path="count.py"),
    "an output of another stage": lambda ran: change_lock(ran, "count", path="report.html"),
    "an output twice": lambda ran: ran.lock | {"stages": {"count": twice(ran.lock["stages"]["count"])}},
    "a path": lambda ran: change_lock(ran, "count", md5="../../../evil"),
    "no hash": lambda ran: change_lock(ran, "count", md5=None),
    "a hash of DVC 2": lambda ran: change_lock(ran, "count", hash=None),
    "another hash": lambda ran: change_lock(ran, "count", hash="etag"),
    "files": lambda ran: change_lock(ran, "count", files=[{"relpath": "../../evil", "md5": OID}]),
    "a cloud": lambda ran: change_lock(ran, "count", cloud={"s3": {"version_id": "1", "etag": "x"}}),
    "a remote": lambda ran: change_lock(ran, "count", remote="evil"),
    "a folder that leaves": lambda ran: change_lock(ran, "count", md5=ran.evil_folder("../../evil")),
    "a folder with .git": lambda ran: change_lock(ran, "count", md5=ran.evil_folder(".git/hooks/post-checkout")),
    "metrics that leave": lambda ran: change_lock(ran, "judge", md5=ran.evil_folder("../evil")) | {},
    "no folder": lambda ran: change_lock(ran, "count", md5=ran.add(b'{"a": 1}', ".dir")),
    "a missing folder": lambda ran: change_lock(ran, "count", md5=f"{OID}.dir"),
}


def twice(entry: Any) -> Any:
    return entry | {"outs": entry["outs"] * 2}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_that_dvc_pull_would_follow(ran: Run, name: str) -> None:
    ran.write_lock(LOCKS[name](ran))
    ran.refuses("tampered|cannot read objects")


def test_an_old_lock_has_a_stage_with_fewer_outputs(ran: Run) -> None:
    lock = ran.lock
    lock["stages"]["judge"]["outs"].pop(0)
    ran.write(ran.record | {"locks": {"dvc.lock": yaml.safe_dump(lock)}})
    ran.fetch()


@pytest.mark.parametrize("kind", ["link", "link above", "link to nothing"])
def test_a_link_is_not_followed(ran: Run, kind: str) -> None:
    for folder in (ran.folder, ran.image):
        text = (folder / "dvc.yaml").read_text()
        (folder / "dvc.yaml").write_text(text.replace("outs: [made]", "outs: [made: {cache: false}]"))
    outside = ran.folder.parent / "outside"
    outside.mkdir()
    if kind == "link above":
        (ran.folder / "made").symlink_to(outside, target_is_directory=True)
    else:
        (ran.folder / "made").mkdir()
        (ran.folder / "made/petals.json").symlink_to(outside / "petals.json")
        if kind == "link":
            (outside / "petals.json").write_text("mine")
    steps.run("count", ran.image, ran.remote, ["made"], run="run-1")
    steps.write_record(ran.image, ran.remote)
    ran.refuses(r"made/petals.json is not a plain file here, or lies behind a link. Nothing was written")


def test_what_git_does_not_hold_is_only_lost_by_force(ran: Run) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
        subprocess.run(command, cwd=ran.folder, check=True, capture_output=True)

    git("init")
    (ran.folder / ".gitignore").write_text("score.json\n")
    git("add", "--all")
    git("commit", "--message", "x")
    (ran.folder / "score.json").write_text("mine")  # ignored
    with pytest.raises(ReposeError, match=r"other versions of score.json, and your changes are not committed"):
        ran.fetch(force=False)
    assert not (ran.folder / "dvc.lock").exists()
    (ran.folder / "score.json").unlink()
    ran.write(ran.record | {"params": {"params.yaml": "scale: 3\nlabels: [1]\nprecise: true\n"}})
    (ran.folder / "params.yaml").write_text("scale: 5\nlabels: []\nprecise: true\n")
    git("add", "params.yaml")
    git("update-index", "--assume-unchanged", "params.yaml")
    with pytest.raises(ReposeError, match=r"other versions of params.yaml, and"):
        ran.fetch(force=False)
    ran.fetch()
    assert "scale: 3" in (ran.folder / "params.yaml").read_text()


def test_params_cannot_move_the_outputs(ran: Run) -> None:
    text = (ran.folder / "dvc.yaml").read_text().replace("outs: [report.html]", 'outs: ["${place[0]}/report.html"]')
    (ran.folder / "dvc.yaml").write_text(text)
    params = "scale: 2\nlabels: []\nprecise: false\nplace: [{}]\n"
    (ran.folder / "params.yaml").write_text(params.format("out"))
    record = ran.record | {"locks": {}, "files": {}}
    ran.write(record | {"params": {"params.yaml": params.format("../elsewhere")}})
    ran.refuses(r"has another value of place.* in params.yaml, .* It decides which stages, params and outputs exist")
    ran.write(record | {"params": {"params.yaml": params.format("out").replace("scale: 2", "scale: 3")}})
    ran.fetch()


@pytest.mark.parametrize(
    "value", ["; touch evil", "$(touch evil)", "a b", "a\nb", "[a, {b: '`touch evil`'}]", "{'$x': 1}"]
)
def test_params_cannot_bring_commands(ran: Run, value: str) -> None:
    text = (ran.folder / "dvc.yaml").read_text().replace("cmd: python3 judge.py", "cmd: python3 judge.py ${how.well}")
    (ran.folder / "dvc.yaml").write_text(text)
    params = "scale: 2\nlabels: []\nprecise: false\nhow: {{well: {}}}\n"
    (ran.folder / "params.yaml").write_text(params.format("1"))
    quoted = value if value[0] in "[{" else json.dumps(value)
    ran.write(ran.record | {"params": {"params.yaml": params.format(quoted)}})
    ran.refuses(r"another value of how.* in params.yaml, .* a command would pass it to a shell. Nothing was written")
    for plain in ("2.5", "fast", "runs/a-b_1.json", "null"):
        ran.write(ran.record | {"params": {"params.yaml": params.format(plain)}})
        ran.fetch()


def test_messages_of_a_record_do_not_reach_the_terminal_as_commands(
    ran: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    ran.write(
        ran.record | {"stages": [{"stage": "a\x1b]0;evil\x07", "state": "failed", "message": "b\x9b2J\r\x1b[8mc"}]}
    )
    ran.fetch()
    assert r"a\x1b]0;evil\x07: failed: b\x9b2J\r\x1b[8mc" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["../run-1", "..", "/run-1", "a/../run-1", "\0"])
def test_a_run_s_name_that_leaves_the_folder_of_runs(ran: Run, run: str, tmp_path: Path) -> None:
    store = fetch.open_remote(fetch.open_repo(ran.folder), None, "")
    with pytest.raises(ReposeError, match=r"The run's ID has the path .* is not a plain path"):
        read_run(f"run:{run}", store, tmp_path)
