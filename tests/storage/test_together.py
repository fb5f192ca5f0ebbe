"""Several files, written all or not at all, and never through a link."""

from pathlib import Path

import pytest

from repose.errors import ReposeError
from repose.storage.together import write_together

NAMES = ("a", "sub/b", "c", "new/deep/d", "e")


def snapshot(folder: Path) -> dict[str, bytes | str | None]:
    """What is at each path."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = content
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (made / name).write_text(f"old {name}")
    (tmp_path / "outside").mkdir()
    return made


def test_all_are_written(folder):
    (folder / "a").chmod(0o400)
    write_together(folder, {name: name.encode() for name in NAMES})
    assert {name: (folder / name).read_bytes() for name in NAMES} == {name: name.encode() for name in NAMES}


@pytest.mark.parametrize("fails", [1, 3, 5])
def test_none_is_written_if_one_fails(folder, monkeypatch, fails):
    before, replace, calls = snapshot(folder), Path.replace, []

    def fail(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == fails:
            raise PermissionError(13, "Permission denied", target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ReposeError, match=r"Cannot write .*Permission denied"):
        write_together(folder, {name: name.encode() for name in NAMES})
    assert len(calls) >= fails
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("name", "kind"), [("e", "link"), ("new", "link to a folder"), ("e", "folder"), ("new", "file")]
)
def test_what_is_no_plain_file_is_not_written(folder, name, kind):
    if kind == "link":
        (folder / name).symlink_to(folder.parent / "outside" / "nothing")
    elif kind == "link to a folder":
        (folder / name).symlink_to(folder.parent / "outside")
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).write_text("x")
    before = snapshot(folder.parent)
    with pytest.raises(
        ReposeError, match=r"(e|new/deep/d) is not a plain file here, or lies behind a link. Nothing was"
    ):
        write_together(folder, {name: name.encode() for name in NAMES})
    assert snapshot(folder.parent) == before
