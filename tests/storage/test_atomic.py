"""Outputs appear whole or not at all: through exceptions, crashes and full disks."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from repose.errors import ReposeError
from repose.storage.atomic import locked, temporary_folder, whole_file, whole_folder

Whole = Callable[[Path], AbstractContextManager[Path]]


def a_folder(path: Path) -> AbstractContextManager[Path]:
    return whole_folder(path, ["*"])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(whole: Whole, path: Path, content: bytes, error: BaseException | None = None) -> None:
    """Write a file, or a folder with one file two levels down; then raise `error`, if there is one."""
    with whole(path) as partial:
        file = partial if whole is whole_file else partial / "in" / "file"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        if error is not None:
            raise error


both = pytest.mark.parametrize("whole", [whole_file, a_folder])


def of(whole: Whole, content: bytes) -> dict[str, bytes]:
    return {"new/out" if whole is whole_file else "new/out/in/file": content}


@both
def test_the_output_and_its_parents_appear_and_an_earlier_one_is_replaced(tmp_path, whole):
    for content in (b"one", b"two"):
        write(whole, tmp_path / "new" / "out", content)
        assert tree(tmp_path) == of(whole, content)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


DISK = "/some/file"
FAILURES = [
    (KeyboardInterrupt(), ""),
    (OSError(errno.ENOSPC, "full", DISK), "No space left on the disk while writing {out}. Free"),
    (OSError(errno.EFBIG, "too large"), "Cannot write {out}: a file would be larger than"),
    (OSError(errno.EACCES, "refused", DISK), "Cannot write {out}: refused (/some/file)"),
    (sqlite3.OperationalError("database or disk is full"), "Cannot write {out}: database or disk is full. Is the disk"),
    (shutil.Error([("a", "b", "[Errno 28] full"), ("c", "d", "x")]), "Cannot write {out}: [Errno 28] full. Is the disk"),
]  # fmt: skip


@both
@pytest.mark.parametrize(("error", "message"), FAILURES)
def test_after_an_error_the_earlier_output_is_intact(tmp_path, whole, error, message):
    out = tmp_path / "new" / "out"
    for earlier in (False, True):
        if earlier:
            write(whole, out, b"earlier")
        with pytest.raises(ReposeError if message else type(error)) as caught:
            write(whole, out, b"half", error)
        assert str(caught.value).startswith(message.format(out=out))
        assert tree(tmp_path) == (of(whole, b"earlier") if earlier else {})
        assert [path.name for path in out.parent.iterdir()] == ["out"] * earlier


@both
def test_every_file_reaches_the_disk_before_the_output_appears(tmp_path, whole, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, out.exists())))
    out = tmp_path / "out"
    write(whole, out, b"12345")
    assert seen == [(5, False)]


CRASH = """
import os, sys
from pathlib import Path
from repose.storage.atomic import whole_folder

out, rename = Path(sys.argv[1]), Path.rename
Path.rename = lambda path, target: os._exit(9) if target == out else rename(path, target)
with whole_folder(out, ["*"]) as folder:
    (folder / "file").write_bytes(b"new")
"""


def test_a_folder_whose_writer_was_killed_between_two_renames_is_put_back_at_the_next_start(tmp_path):
    out = tmp_path / "out"
    write(a_folder, out, b"earlier")
    assert subprocess.run([sys.executable, "-c", CRASH, out], check=False).returncode == 9
    assert not out.exists()
    with pytest.raises(ValueError, match="a defect"):
        write(a_folder, out, b"", ValueError("a defect"))
    assert tree(tmp_path) == {"out/in/file": b"earlier"}


def test_an_earlier_folder_that_cannot_be_removed_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as for the files of another user
    for content in (b"one", b"two"):
        write(a_folder, tmp_path / "out", content)
    with pytest.raises(ReposeError, match=rf"{tmp_path}/\.out\.replaced, an earlier output, cannot be removed"):
        write(a_folder, tmp_path / "out", b"", ValueError("it began"))
    assert tree(tmp_path)["out/in/file"] == b"two"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux")
def test_a_folder_in_which_no_file_can_be_created_is_an_error_at_once():
    with pytest.raises(ReposeError, match=r"/proc/x\.png"), locked(Path("/proc/x.png")):
        pass


def test_a_machine_without_a_place_for_temporary_files_is_a_message(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    with pytest.raises(ReposeError, match=r"A temporary folder cannot be made: .*Set TMPDIR"), temporary_folder():
        pass
