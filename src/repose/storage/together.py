"""Write several files into a folder: all or none, and never through a link, also if somebody makes one meanwhile."""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from repose.errors import ReposeError
from repose.storage.atomic import PARTIAL, disk_errors_named, locked

_OWN = f".together{PARTIAL}"  # PARTIAL alone is of commands that may be running


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files, given by their paths in the folder. On any error, all are as before.

    Raises:
        ReposeError: a path exists and is no plain file, or leads through a link; or the disk is full or cannot be written to.
    """
    with locked(folder / "write-together"), disk_errors_named(folder), ExitStack() as close, ExitStack() as undo:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        close.callback(os.close, root)
        moves: list[tuple[int, str, str, str]] = []
        for name, content in contents.items():
            at, last = _parent(root, PurePosixPath(name), close, undo), PurePosixPath(name).name
            _remove_partials(last, at)
            if _is_there(name, last, at):
                with os.fdopen(os.open(last, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at), "rb") as file:
                    before = _write_partial(last, file.read(), at, close, undo)
            else:
                before = ""
            moves.append((at, last, _write_partial(last, content, at, close, undo), before))
        for at, last, partial, before in moves:
            if before:
                undo.callback(os.rename, before, last, src_dir_fd=at, dst_dir_fd=at)
            else:
                undo.callback(_remove, last, at)
            os.rename(partial, last, src_dir_fd=at, dst_dir_fd=at)
        undo.pop_all()


def _write_partial(last: str, content: bytes, at: int, *ends: ExitStack) -> str:
    """Write a hidden file beside the file `last`; it is removed when one of `ends` ends, if it is still there."""
    partial = f".{last[:100]}.{secrets.token_hex(8)}{_OWN}"
    for end in ends:
        end.callback(_remove, partial, at)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=at), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return partial


def _remove_partials(last: str, at: int) -> None:
    """Remove what a killed process left beside the file `last`."""
    partial = re.compile(rf"\.{re.escape(last[:100])}\.[0-9a-f]{{16}}{re.escape(_OWN)}")
    for entry in filter(partial.fullmatch, os.listdir(at)):
        _remove(entry, at)


def _parent(root: int, path: PurePosixPath, close: ExitStack, undo: ExitStack) -> int:
    """The open folder of a path; those that are missing are created."""
    at = root
    for part in path.parts[:-1]:
        with suppress(FileExistsError):
            os.mkdir(part, dir_fd=at)
            undo.callback(os.rmdir, part, dir_fd=at)
        try:
            at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        except OSError:
            raise _refused(str(path)) from None
        close.callback(os.close, at)
    return at


def _is_there(name: str, last: str, at: int) -> bool:
    """Whether a file exists; rejects what is no plain file."""
    try:
        if not stat.S_ISREG(os.stat(last, dir_fd=at, follow_symlinks=False).st_mode):
            raise _refused(name)
    except FileNotFoundError:
        return False
    return True


def _remove(name: str, at: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at)


def _refused(name: str) -> ReposeError:
    return ReposeError(
        f"{name} is not a plain file here, or lies behind a link. Nothing was written. Remove or rename it."
    )
