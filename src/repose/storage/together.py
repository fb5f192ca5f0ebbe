"""Write several files into a folder: all or none, and never through a link."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from repose.errors import ReposeError
from repose.storage.atomic import disk_errors_named, locked, whole_file, write_bytes


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files, given by their paths in the folder. On any error, all are as before.

    Raises:
        ReposeError: a path exists and is no plain file, or leads through a link; or the disk is full or cannot be written to.
    """
    with locked(folder / "write-together"), disk_errors_named(folder), ExitStack() as undo:
        for name in contents:
            _check_is_plain(folder, name)
        with ExitStack() as writing:  # at its end, new files replace the earlier ones
            for name, content in contents.items():
                path = folder / name
                for parent in reversed([parent for parent in path.parents if not parent.exists()]):
                    parent.mkdir()
                    undo.callback(parent.rmdir)
                undo.callback(_put_back, path, path.read_bytes() if path.exists() else None)
                writing.enter_context(whole_file(path)).write_bytes(content)
        undo.pop_all()


def _put_back(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    elif path.read_bytes() != content:
        write_bytes(path, content)


def _check_is_plain(folder: Path, name: str) -> None:
    path = folder / name
    above = [parent for parent in path.parents if folder in parent.parents]
    blocked = any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in above)
    if blocked or path.is_symlink() or (path.exists() and not path.is_file()):
        raise ReposeError(
            f"{name} is not a plain file here, or lies behind a link. Nothing was written. Remove or rename it."
        )
