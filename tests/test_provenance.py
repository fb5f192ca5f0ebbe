"""The name of the code is git's own, without git."""

import subprocess
from pathlib import Path

import pytest

from repose import provenance


def git(folder: Path, *arguments: str) -> str:
    # the names of objects depend on nothing of the user's; hooks and line ends do not either
    command = ["git", "-c", "core.autocrlf=false", "-c", "core.fileMode=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a git repository: names that sort unlike a folder's, bytes that are no text, what git does not track."""
    monkeypatch.delenv("GIT_DIR", raising=False)
    folder = tmp_path / "src" / "repose"
    for name, content in {
        "a.py": b"1\n", "a/b.py": b"2\n", "a-b.py": b"3\n", "data/w.safetensors": bytes(range(256)), "empty.py": b"",
        "__pycache__/a.pyc": b"cache", "a/__pycache__/b.pyc": b"cache", ".a.swp": b"editor",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "nothing").mkdir()
    (tmp_path / ".gitignore").write_text("__pycache__\n*.swp\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    return folder


def test_the_code_has_the_name_that_git_gives_its_tree(package: Path) -> None:
    assert provenance.code() == git(package.parents[1], "write-tree", "--prefix=src/repose/")


def test_any_change_of_the_code_changes_its_name(package: Path) -> None:
    before = provenance.code()
    (package / "nothing" / "more").mkdir()
    (package / "__pycache__" / "c.pyc").write_bytes(b"cache")
    assert provenance.code() == before
    (package / "a" / "b.py").write_bytes(b"2 \n")
    assert provenance.code() != before


def test_lines_have_the_digest_of_their_text() -> None:
    assert provenance.digest(["a", "b"]) != provenance.digest(["ab"])
    assert (
        provenance.digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )  # sha256 of nothing
