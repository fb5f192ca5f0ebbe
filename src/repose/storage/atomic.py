"""Atomic writes: outputs are written beside their final path, then renamed."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repose.errors import ReposeError

PARTIAL = ".partial"


def partial_path(path: Path) -> Path:
    """The hidden path in the same folder at which `path` is written before it is renamed."""
    return path.with_name(f".{path.name}{PARTIAL}")


@contextmanager
def whole_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path`, on any error it is removed.

    Args:
        path: the file.
        shared: whether other processes may write the same file at the same time; each then gets its own path.

    Raises:
        ReposeError: the disk is full or cannot be written to.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}") if shared else partial_path(path)
    with disk_errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            _flush_to_disk(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it replaces `path`, on any error it is removed.

    Raises:
        ReposeError: the disk is full or cannot be written to.
    """
    partial, replaced = partial_path(path), path.with_name(f".{path.name}.replaced")

    def clean_up() -> None:
        if replaced.exists() and not path.exists():  # a crash or an error between the two renames
            replaced.rename(path)
        for folder in (partial, replaced):
            shutil.rmtree(folder, ignore_errors=True)

    with disk_errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_up()
        partial.mkdir()
        try:
            yield partial
            for file in sorted(partial.rglob("*")):
                if file.is_file():
                    _flush_to_disk(file)
            if path.exists():
                path.rename(replaced)
            partial.rename(path)
        finally:
            clean_up()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def disk_errors_named(path: Path) -> Iterator[None]:
    """Turn disk errors in the block into a ReposeError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ReposeError(
                f"No space left on the disk while writing {path}. Free some (or move the project to another disk) "
                "and run the same command again; no earlier result is lost."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise ReposeError(
                f"Cannot write {path}: {error.strerror} ({error.filename}). Change the permissions or the path."
            ) from error
        raise
