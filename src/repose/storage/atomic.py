"""Atomic writes: outputs are written beside their final path, then renamed. Processes that write the same path take turns.

The lock of `folder/NAME` is an flock on the hidden file `folder/.NAME.lock`, which says who has it. It ends with its process,
even if that is killed.
"""

import errno
import os
import re
import secrets
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from repose.errors import ReposeError
from repose.terminal import say

PARTIAL = ".partial"
_REFUSALS = (
    errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
    errno.EBUSY,
)  # fmt: skip


def partial_path(path: Path) -> Path:
    """The hidden path at which a transfer to `path` is kept, so that it can resume."""
    return path.with_name(f".{path.name}{PARTIAL}")


@contextmanager
def locked(*paths: Path, wait: bool = True) -> Iterator[None]:
    """Run the block while no other process or thread has the lock of one of the paths.

    A path need not exist; its folder is created. A thread can lock a path again inside the block.

    Args:
        paths: outputs, or folders to work in.
        wait: whether to log who has a lock and wait for it; otherwise that is an error.

    Raises:
        ReposeError: another process has a lock, or a lock cannot be written.
    """
    places = {(named := _named(path)).parent.resolve() / named.name: path for path in paths}
    with ExitStack() as stack:
        for place in sorted(places):  # sorted, so that two processes never wait for each other
            stack.enter_context(_locked(place, places[place], wait))
        yield


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path` to write to; on success it replaces `path`, on any error it is removed.

    A link at `path` is replaced, not followed.

    Raises:
        ReposeError: the disk is full or cannot be written to, or `path` is a folder or a device.
    """
    with _private_path(path) as partial:
        _check_is_file(path)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield partial
        _flush_to_disk(partial)
        partial.replace(path)


@contextmanager
def whole_folder(path: Path, contents: Sequence[str]) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it replaces `path`, on any error it is removed.

    Args:
        path: the folder.
        contents: what is written there, see `check_replaceable`.

    Raises:
        ReposeError: the disk is full or cannot be written to, or see `check_replaceable`.
    """
    path = _named(path)
    replaced = path.with_name(f".{path.name}.replaced")

    def clean_up() -> None:
        if replaced.exists() and not path.exists():  # a crash or an error between the two renames
            replaced.rename(path)
        _remove(replaced)

    with _private_path(path) as partial:
        clean_up()
        if replaced.exists():
            raise ReposeError(
                f"{replaced}, an earlier output, cannot be removed: another user owns its files, such as root in a "
                "container. Remove it as that user."
            )
        check_replaceable(path, contents)
        partial.mkdir()
        try:
            yield partial
            for file in sorted(partial.rglob("*")):
                if file.is_file():
                    _flush_to_disk(file)
            check_replaceable(path, contents)
            if path.exists():
                path.rename(replaced)
            partial.rename(path)
        finally:
            clean_up()


def check_replaceable(path: Path, contents: Sequence[str]) -> None:
    """Check that there is nothing at `path`, an empty folder, or what an earlier run wrote there.

    Args:
        path: the folder to write.
        contents: patterns of the paths of all files in it, in which `*` also matches slashes; a file of the first pattern is
            always there.

    Raises:
        ReposeError: it is a file, a link or a mount point, or a folder that has other files or cannot be read.
    """
    why = ""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        why = "is not a folder"
    elif path.is_mount():
        why = "is a mount point"
    elif path.exists():
        with disk_errors_named(path):
            files = [os.path.relpath(file, path) for file in _files(path)]
        others = [file for file in files if not any(fnmatchcase(file, pattern) for pattern in contents)]
        if others:
            why = f"contains {min(others)}"
        elif files and not any(fnmatchcase(file, contents[0]) for file in files):
            why = f"has no {contents[0]}"
    if why:
        raise ReposeError(
            f"{path} {why}, so it is not an earlier output of this command, and is not replaced. Give a new or an empty "
            "folder, or move this one away."
        )


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder for temporary files, which is removed at the end.

    Raises:
        ReposeError: none can be made, as on a machine whose disks are read-only.
    """
    try:
        made = TemporaryDirectory(prefix="repose-")
    except OSError as error:
        raise ReposeError(
            f"A temporary folder cannot be made: {error}. Set TMPDIR to a folder that you may write to, on a disk with space."
        ) from None
    with made as folder:
        yield Path(folder)


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
    except (sqlite3.OperationalError, shutil.Error) as error:  # of DVC's indexes; of shutil.copytree
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise ReposeError(
            f"Cannot write {path}: {why}. Is the disk full? Free some, and run the command again."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ReposeError(
                f"No space left on the disk while writing {path}. Free some (or move the project to another disk) "
                "and run the same command again; no earlier result is lost."
            ) from error
        if error.errno == errno.EFBIG:
            raise ReposeError(
                f"Cannot write {path}: a file would be larger than the file system, or `ulimit -f`, allows. Raise the limit, "
                "or use another disk."
            ) from error
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP):
            raise ReposeError(
                f"Cannot lock {path}: its file system does not support locks (flock). Mount it with locks, or use another "
                "disk."
            ) from error
        if error.errno in _REFUSALS:
            raise ReposeError(
                f"Cannot write {path}: {error.strerror} ({error.filename}). Change the permissions or the path."
            ) from error
        raise


@contextmanager
def _private_path(path: Path) -> Iterator[Path]:
    """Lock `path`, and yield a new path beside it, which is removed at the end."""
    with locked(path), disk_errors_named(path):
        own = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
        try:
            yield own
        finally:
            _remove(own)


def _files(folder: Path | str) -> Iterator[str]:
    """All that is no folder below a folder, links included; raises if a folder cannot be read, unlike `os.walk`."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        else:
            yield entry.path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _check_is_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is not a file", str(path))


def _named(path: Path) -> Path:
    """The path with a name of its own, which `.` and `a/..` do not have."""
    return path.resolve() if path.name in ("", "..") else path


def _check_can_be_created(file: Path) -> None:
    """Raise an OSError if a file cannot be created, as in /proc; filelock would wait for its end."""
    try:
        file.open("x").close()
    except FileExistsError:
        pass
    except OSError:
        raise PermissionError(errno.EACCES, "no file can be created there", str(file)) from None


@contextmanager
def _locked(path: Path, shown: Path, wait: bool) -> Iterator[None]:
    from filelock import FileLock, Timeout

    file = path.parent / f".{path.name}.lock"
    with disk_errors_named(shown):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_is_file(file)
        lock = FileLock(file, is_singleton=True, on_acquired=_write_note, fallback_to_soft=False)
        was_there = file.exists() and not lock.is_locked
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _check_can_be_created(file)
            note = ""
            with suppress(OSError):  # it may be gone by now
                note = file.read_text(errors="replace")
            who = "".join(filter(str.isprintable, note)) or "another process"
            if not wait:
                raise ReposeError(f"{shown} is in use by {who}. Wait until it has ended, or end it.") from None
            say(f"{shown} is in use by {who}; waiting until it has ended.")
            lock.acquire()
        if was_there:
            _remove_partials(path)
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            file.unlink(missing_ok=True)
        lock.release()


def _remove_partials(path: Path) -> None:
    """Remove what a killed process left beside `path`; its lock file was left too."""
    partial = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}{re.escape(PARTIAL)}")
    for entry in os.listdir(path.parent):  # noqa: PTH208 (twice as fast in large folders)
        if partial.fullmatch(entry):
            _remove(path.parent / entry)


def _write_note(descriptor: int) -> None:
    """Write who has the lock into its file, unless the disk is full."""
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
