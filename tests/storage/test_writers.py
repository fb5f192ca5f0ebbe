"""Several processes that write the same outputs: real ones, which wait for each other, and are killed."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from file_server import BODY, SHA256
from processes import until
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.atomic import check_replaceable, locked, partial_path, whole_file, whole_folder, write_bytes
from repose.storage.transfer.partial import CHUNK

FILE = """
with whole_file(path) as file:
    file.write_text("whole")
"""
HOLD = """
with locked(path):
    if not os.fork():
        print(os.getpid(), flush=True)  # of the child, which outlives its parent
    time.sleep(60)
"""
HALF_FILE, HALF_FOLDER = (
    f"with {whole} as partial:\n    print(partial, flush=True)\n    time.sleep(60)"
    for whole in ("whole_file(path)", "whole_folder(path, ['*'])")
)
FETCH = "transfer.fetch(sys.argv[2], path, sha256=sys.argv[3])"


def start(script: str, path: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A process that runs the script with `path`, and prints messages on standard error."""
    script = (
        "import os, sys, time\nfrom pathlib import Path\nfrom repose.storage import transfer\n"
        "from repose.storage.atomic import locked, whole_file, whole_folder\nfrom repose.terminal import show_messages\n"
        f"show_messages()\npath = Path(sys.argv[1])\n{script}"
    )
    command = [sys.executable, "-c", script, str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def killed(script: str, path: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process that has printed a line, and the line; killed at the end of the block."""
    with start(script, path, *arguments) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line, process.communicate()[1]
        try:
            yield process, line
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# ---- outputs ----


def test_the_second_says_who_is_there_and_waits_or_raises(tmp_path):
    out = tmp_path / "out"
    with killed(HALF_FOLDER, out) as (first, _):
        second = start(FILE, out)
        assert second.stderr is not None
        message = second.stderr.readline()
        who = f"out is in use by process {first.pid} on {socket.gethostname()} since 20"
        assert who in message
        assert "waiting until it has ended" in message
        with pytest.raises(ReposeError, match=f"{who}.*Wait until it has ended"), locked(out, wait=False):
            pass
        assert second.poll() is None
    second.communicate(timeout=10)
    assert (second.returncode, out.read_text(), names(tmp_path)) == (0, "whole", ["out"])


@pytest.mark.parametrize("script", [HALF_FILE, HALF_FOLDER], ids=["file", "folder"])
def test_what_killed_processes_left_is_removed_by_the_next_and_nothing_else(tmp_path, script):
    out = tmp_path / "out"
    with killed(script, out) as (_, partial), whole_file(tmp_path / "out.png") as other:
        write_bytes(tmp_path / "out.", b"")  # none of these is of the same output
        assert Path(partial).exists()
        kept = tmp_path / ".out.tmp.partial"
        kept.touch()
    with killed(script, out) as (_, second):
        assert not Path(partial).exists()
    assert sorted({".out.lock", ".out.tmp.partial", Path(second).name, "out.", "out.png"}) == names(tmp_path)
    assert not other.exists()
    write_bytes(out, b"1")
    assert names(tmp_path) == [".out.tmp.partial", "out", "out.", "out.png"]


def test_a_lock_ends_with_its_process_even_if_a_forked_child_lives_on(tmp_path):
    with killed(HOLD, tmp_path / "out") as (_, child):
        pass
    try:
        os.kill(int(child), 0)
        with locked(tmp_path / "out", wait=False):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_threads_take_turns_and_one_may_lock_again(tmp_path):
    inside, most = [], []

    def work() -> None:
        with locked(tmp_path / "b", tmp_path / "a"), locked(tmp_path / "a"), locked(tmp_path / "x" / ".." / "a"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    (tmp_path / "x").mkdir()
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1] * 5
    assert names(tmp_path) == ["x"]


def test_a_file_system_without_locks_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", MagicMock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(ReposeError, match=r"Cannot lock .*out: its file system does not support locks"):
        write_bytes(tmp_path / "out", b"")


# ---- what others put in our way ----


CONTENTS = ("made.json", "part/*.tar")


@pytest.mark.parametrize(("files", "why"), [
    (["made.json", "letter.odt"], "contains letter.odt"), (["made.json", "part/x/y/z"], "contains part/x/y/z"),
    (["part/0.tar"], "has no made.json"),
])  # fmt: skip
def test_a_folder_of_other_files_is_not_replaced(tmp_path, files, why, monkeypatch):
    for name in files:
        write_bytes(tmp_path / "out" / name, b"somebody's")
    monkeypatch.chdir(tmp_path / "out")
    for path in (tmp_path / "out", Path(), Path("../out/..") / "out"):
        with pytest.raises(ReposeError, match=f"{why}, so it is not an earlier output"), whole_folder(path, CONTENTS):
            pytest.fail("it began")
    assert all((tmp_path / "out" / name).exists() for name in files)


def test_a_folder_that_has_a_link_or_is_a_mount_point_is_not_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ReposeError, match="contains link"):
        check_replaceable(tmp_path, CONTENTS)
    with pytest.raises(ReposeError, match=r"^/dev is a mount point, so it is not an earlier output"):
        check_replaceable(Path("/dev"), ["*"])


def test_a_folder_is_replaced_if_it_is_empty_or_ours_at_the_end_too(tmp_path):
    out = tmp_path / "out"
    (out / "empty").mkdir(parents=True)
    for content in ("1", "2"):
        with whole_folder(out, CONTENTS) as folder:
            (folder / "made.json").write_text(content)
            (folder / "part").mkdir()
            (folder / "part" / "0.tar").touch()
        assert (out / "made.json").read_text() == content
        assert names(out) == ["made.json", "part"]
    with pytest.raises(ReposeError, match="contains late"), whole_folder(out, CONTENTS):
        (out / "late").touch()
    assert names(out) == ["late", "made.json", "part"]
    assert names(tmp_path) == ["out"]


def test_links_and_pipes_in_place_of_outputs_are_not_followed(tmp_path):
    theirs, out = tmp_path / "theirs", tmp_path / "here" / "out"
    out.parent.mkdir()
    theirs.write_text("theirs")
    out.symlink_to(theirs)
    with pytest.raises(ReposeError, match="is not a folder"):
        check_replaceable(out, ["theirs"])
    write_bytes(out, b"ours")
    assert (out.is_symlink(), out.read_bytes()) == (False, b"ours")
    lock = out.with_name(".out.lock")
    lock.symlink_to(theirs)
    with pytest.raises(ReposeError, match=r"Cannot write .*\.out\.lock"):
        write_bytes(out, b"again")
    assert theirs.read_text() == "theirs"
    for pipe in (lock, out):
        pipe.unlink()
        os.mkfifo(pipe)
        with pytest.raises(ReposeError, match=rf"Cannot write .*it is not a file \({pipe}\)"):
            write_bytes(out, b"again")
        lock.unlink(missing_ok=True)


# ---- transfers ----


@pytest.mark.parametrize("dies", [False, True])
def test_two_fetches_into_one_cache_transfer_each_byte_once(server, tmp_path, dies):
    out, gate = tmp_path / "cache" / "a.pth", threading.Event()
    server.plans = [{"gate": gate, "at": CHUNK}]
    first = start(FETCH, out, f"{server.address}/a.pth", SHA256)
    until(lambda: partial_path(out).exists() and partial_path(out).stat().st_size >= CHUNK)
    second = start(FETCH, out, f"{server.address}/a.pth", SHA256)
    assert second.stderr is not None
    assert f"a.pth is in use by process {first.pid}" in second.stderr.readline()
    if dies:
        first.kill()
    gate.set()
    first.communicate(timeout=30)
    said = second.communicate(timeout=30)[1]
    assert (first.returncode, second.returncode) == (-signal.SIGKILL if dies else 0, 0), said
    assert [asked.get("Range") for asked in server.asked] == [None, *[f"bytes={CHUNK}-"] * dies]
    assert (out.read_bytes(), names(out.parent)) == (BODY, ["a.pth"])


def test_a_link_in_place_of_what_arrived_is_not_followed(server, tmp_path):
    out, theirs = tmp_path / "a.zip", tmp_path / "theirs"
    theirs.write_bytes(BODY[:CHUNK])
    partial_path(out).symlink_to(theirs)
    partial_path(out).with_name(".a.zip.partial.json").write_text(f'["\\"one\\"", {len(BODY)}]')
    transfer.fetch(f"{server.address}/a.zip", out, sha256=SHA256)
    assert (out.read_bytes(), out.is_symlink(), names(tmp_path)) == (BODY, False, ["a.zip", "theirs"])
    assert theirs.read_bytes() == BODY[:CHUNK]
