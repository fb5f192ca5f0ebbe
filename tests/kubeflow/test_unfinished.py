"""Unfinished work that is copied while a stage writes it, and restarts."""

import io
import itertools
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from dvc.repo import Repo

from processes import until
from repose.errors import ReposeError
from repose.kubeflow.unfinished import Unfinished
from repose.storage.atomic import partial_path
from repose.storage.remote import Remote


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        f"[core]\nno_scm = true\nremote = store\nsite_cache_dir = {tmp_path / 'site'}\n"
        f"['remote \"store\"']\nurl = {tmp_path / 'store'}\n"
    )
    return Remote(Repo(str(tmp_path)))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder of a stage's unfinished work."""
    folder = tmp_path / "project" / "work"
    folder.mkdir(parents=True)
    return folder


def kept(remote: Remote) -> dict[str, bytes]:
    """The files of the copy in the remote, by path."""
    content = remote.read("kubeflow/unfinished/key.tar")
    assert content is not None
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name.removeprefix("./"): opened.read() for member in tar if (opened := tar.extractfile(member))}


def checkpoint(folder: Path, number: int) -> None:
    """Two files of one state, each replaced in one step, as training replaces them."""
    for name in ("model", "optimizer"):
        partial_path(folder / name).write_bytes(bytes([number]))
        partial_path(folder / name).replace(folder / name)


@pytest.mark.parametrize("gone", [False, True])
def test_a_copy_of_files_that_change_or_go_meanwhile_is_of_one_state(remote, work, monkeypatch, gone):
    unfinished, calls, copy2 = Unfinished(work, "key", remote), itertools.count(), shutil.copy2

    def train_and_copy(*given, **named):
        if next(calls) == 1:  # between the two files
            shutil.rmtree(work / "step-1") if gone else checkpoint(work, 2)
        return copy2(*given, **named)

    checkpoint(work, 1)
    if gone:
        (work / "step-1").mkdir()
        (work / "step-1" / "log").write_text("x")
    monkeypatch.setattr(shutil, "copy2", train_and_copy)
    assert unfinished.push() is True
    assert kept(remote) == dict.fromkeys(("model", "optimizer"), b"\1" if gone else b"\2")
    assert unfinished.push() is False  # nothing is new
    assert sorted(path.name for path in work.parent.iterdir()) == ["work"]


def test_a_large_file_that_is_written_to_while_it_is_packed_is_not_kept(remote, work, monkeypatch):
    add = tarfile.TarFile.add

    def write_and_add(*given):
        with (work / "model").open("a") as file:
            file.write("more")
        add(*given)

    unfinished = Unfinished(work, "key", remote)
    (work / "model").write_bytes(bytes(2 * 2**20))
    monkeypatch.setattr(tarfile.TarFile, "add", write_and_add)
    with pytest.raises(ReposeError, match="the files in work change too often"):
        unfinished.push()
    assert remote.names("kubeflow") == []


def test_hidden_files_and_folders_are_left_out_and_links_kept(remote, work, tmp_path, monkeypatch):
    (work / "epoch-1").mkdir()
    (work / "epoch-1" / "model").write_bytes(b"1")
    (work / "epoch-1" / ".model.partial").write_bytes(b"half")
    (work / ".tmp").mkdir()
    (work / ".tmp" / "model").write_bytes(b"half")
    (work / "last").symlink_to("epoch-1")
    (work / "gone").symlink_to("epoch-0/model")
    os.mkfifo(work / "pipe")
    assert Unfinished(work, "key", remote).push() is False  # what was there when it began
    unfinished = Unfinished(work, "key", remote)
    unfinished._pushed = {}
    assert unfinished.push() is True
    other = Unfinished(tmp_path / "elsewhere" / "work", "key", remote)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # gigabytes go beside the folder
        assert other.restore() is True
    assert sorted(str(p.relative_to(other.folder)) for p in other.folder.rglob("*")) == [
        "epoch-1", "epoch-1/model", "gone", "last",
    ]  # fmt: skip
    assert (other.folder / "last" / "model").read_bytes() == b"1"
    assert other.push() is False  # it is what the remote has


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **headers: str) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    found.pax_headers = {f"GNU.sparse.{key}": value for key, value in headers.items()}
    return found


@pytest.mark.parametrize("members", [
    None,  # no tar at all
    [member("../out")], [member("/etc/out")], [member("out", tarfile.SYMTYPE, "..")],
    [member("out", tarfile.LNKTYPE, "/etc/hostname")], [member("pipe", tarfile.FIFOTYPE)],
    [member("out", tarfile.SYMTYPE, "here/a/../.."), member("here", tarfile.SYMTYPE, "."), member("a/file")],
    [member("model", major="0", minor="1", size="50000000", map="0,0")],  # sparse: a small tar makes a file of any size
])  # fmt: skip
def test_a_tar_that_is_none_leads_out_or_is_of_no_plain_files_is_not_restored(remote, tmp_path, members):
    write_tar(remote, members)
    folder = tmp_path / "elsewhere" / "work"
    with pytest.raises(ReposeError, match=r"kubeflow/unfinished/key\.tar in .* cannot be restored .*Delete it there"):
        Unfinished(folder, "key", remote).restore()
    assert list(folder.parent.iterdir()) == [folder]
    assert not any(path.is_file() and not path.is_symlink() for path in folder.glob("*"))


def write_tar(remote: Remote, members: list[tarfile.TarInfo] | None) -> None:
    """Put a tar of empty files and links into the remote, or none."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in members or ():
            tar.addfile(one)
    remote.write("kubeflow/unfinished/key.tar", b"no tar" if members is None else packed.getvalue())


def test_nothing_is_restored_or_pushed_where_there_is_nothing(remote, work):
    unfinished = Unfinished(work / "none", "key", remote)
    assert unfinished.restore() is False
    assert unfinished.push() is False
    with unfinished:
        pass
    unfinished.done()
    assert remote.names("kubeflow") == []


def test_a_push_that_fails_does_not_end_the_stage(remote, work, monkeypatch, capfd):
    failures: list[None] = []

    def fail(*_: object) -> None:
        failures.append(None)
        raise RuntimeError("of a cloud")

    monkeypatch.setenv("REPOSE_PUSH_EVERY", "0.01")
    with monkeypatch.context() as failing, Unfinished(work, "key", remote) as unfinished:
        failing.setattr(remote, "upload", fail)
        (work / "model").write_bytes(b"1")
        until(lambda: len(failures) > 2)  # each look tries again
        failing.undo()
        until(lambda: remote.names("kubeflow/unfinished") != [])
    assert "The unfinished work was not copied: " in capfd.readouterr().err
    assert kept(remote) == {"model": b"1"}
    unfinished.done()
    assert remote.names("kubeflow") == []


@pytest.mark.parametrize("text", ["often", "0", "nan", "1e300"])
def test_a_pause_between_copies_that_is_none(remote, work, text, monkeypatch):
    monkeypatch.setenv("REPOSE_PUSH_EVERY", text)
    with pytest.raises(ReposeError, match=r"REPOSE_PUSH_EVERY should be a number of seconds such as 60, not "):
        Unfinished(work, "key", remote)
