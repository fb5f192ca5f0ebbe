"""Atomic writes: outputs are written beside their final path, then renamed. Processes that write the same path take turns.

The lock of `folder/NAME` is an flock on the hidden file `folder/.NAME.lock`, which says who has it. It ends with its process,
even if that is killed.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path

from repose.errors import ReposeError
from repose.terminal import say

PARTIAL = ".partial"
_REFUSALS = (
    errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
_held = ContextVar[frozenset[Path]]("paths locked by this thread", default=frozenset())
_descriptors = set[int]()  # of the locks of this process


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
    wanted = {(named := _named(path)).parent.resolve() / named.name: path for path in paths}
    with ExitStack() as stack:
        for place in sorted(wanted.keys() - _held.get()):  # sorted, so that two processes never wait for each other
            stack.enter_context(_locked(place, wanted[place], wait))
        token = _held.set(_held.get() | wanted.keys())
        try:
            yield
        finally:
            _held.reset(token)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path` to write to; on success it replaces `path`, on any error it is removed.

    A link at `path` is replaced, not followed.

    Raises:
        ReposeError: the disk is full or cannot be written to, or `path` is a folder or a device.
    """
    with _private_path(path) as partial:
        if path.exists() and not path.is_file():
            raise FileExistsError(errno.EEXIST, "it is not a file", str(path))
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
        ReposeError: it is a file or a link, or a folder with other files.
    """
    why = ""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        why = "is not a folder"
    elif path.exists():
        files = [str(Path(place, name).relative_to(path)) for place, _, names in os.walk(path) for name in names]
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
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
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
    """Lock `path`, and yield a new path beside it, which is removed at the end; remove those that killed processes left."""
    with locked(path), disk_errors_named(path):
        partial = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}{re.escape(PARTIAL)}")
        for entry in os.listdir(path.parent):  # noqa: PTH208 (twice as fast in large folders)
            if partial.fullmatch(entry):
                _remove(path.parent / entry)
        own = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
        try:
            yield own
        finally:
            _remove(own)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _named(path: Path) -> Path:
    """The path with a name of its own, which `.` and `a/..` do not have."""
    return path.resolve() if path.name in ("", "..") else path


@contextmanager
def _locked(path: Path, shown: Path, wait: bool) -> Iterator[None]:
    file = path.parent / f".{path.name}.lock"
    with disk_errors_named(shown):
        path.parent.mkdir(parents=True, exist_ok=True)
        while (descriptor := _try_to_lock(file, shown, wait)) is None:
            pass
    _descriptors.add(descriptor)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        _descriptors.discard(descriptor)
        os.close(descriptor)


def _try_to_lock(file: Path, shown: Path, wait: bool) -> int | None:
    """The descriptor of the locked file; None if the process that had it has removed it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileExistsError(errno.EEXIST, "it is not a file", str(file))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = "".join(filter(str.isprintable, os.pread(descriptor, 200, 0).decode(errors="replace")))
            who = note or "another process"
            if not wait:
                raise ReposeError(f"{shown} is in use by {who}. Wait until it has ended, or end it.") from None
            say(f"{shown} is in use by {who}; waiting until it has ended.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.lstat()):
                os.ftruncate(descriptor, 0)
                since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
                return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _close_locks_of_parent() -> None:
    for descriptor in _descriptors:  # otherwise a child that outlives a killed parent keeps its locks
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_close_locks_of_parent)
