"""The unfinished work of a stage, kept in the remote while the stage runs, so that a restarted pod resumes.

The stage's folder (`meta.kfp: unfinished`) becomes one tar file. Packing gigabytes takes longer than a stage leaves its files
alone, so a snapshot is packed: small files are copied and large ones linked, again if a file changed meanwhile. A large file
should be replaced and not written to, which a link would see. Hidden files are still being written and are left out.
"""

import os
import shutil
import stat
import tarfile
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from repose.errors import ReposeError, SettingsError, without_secrets
from repose.storage.remote import OWN, Remote
from repose.terminal import say

_EVERY = 60.0  # seconds between two copies, unless REPOSE_PUSH_EVERY is set
_ATTEMPTS = 5  # attempts at a snapshot of files that do not change meanwhile
_LINKED = 2**20  # bytes from which files are linked
_DAMAGED = (
    tarfile.TarError, EOFError, ValueError, KeyError, NotADirectoryError, IsADirectoryError, FileNotFoundError, RuntimeError,
)  # fmt: skip
_State = dict[str, tuple[int, int, int]]  # size, time and inode of each file


class Unfinished:
    """Copies a folder to the remote regularly while a block runs."""

    def __init__(self, folder: Path, key: str, remote: Remote) -> None:
        self.folder, self.remote = folder, remote
        self.key = f"{OWN}/unfinished/{key}.tar"
        self._every = _seconds(os.environ.get("REPOSE_PUSH_EVERY", _EVERY))
        self._stop, self._pushed = threading.Event(), _state(folder)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def restore(self) -> bool:
        """Restore the copy of an earlier attempt; return whether there was one. Raises a ReposeError if it is damaged."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as made:  # /tmp may be too small
            file = Path(made) / "unfinished.tar"
            if not self.remote.download(self.key, file):
                return False
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with tarfile.open(file, "r:") as tar:  # as written, without compression, which could hide any size
                    _unpack(tar, self.folder)
            except _DAMAGED as error:
                raise ReposeError(
                    f"{self.key} in {self.remote.address} cannot be restored ({str(error)!r:.200}). Delete it "
                    "there, and the stage starts from the beginning."
                ) from None
        self._pushed = _state(self.folder)
        return True

    def push(self) -> bool:
        """Copy the folder to the remote if it changed since the last copy; return whether it did."""
        state = _state(self.folder)
        if not state or state == self._pushed:
            return False
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as made:
            file = Path(made) / "unfinished.tar"
            for attempt in range(_ATTEMPTS):
                before, snapshot = _state(self.folder), Path(made, str(attempt))
                if self._take(snapshot, before) and _state(self.folder) == before and _pack(snapshot, before, file):
                    self.remote.upload(file, self.key)
                    self._pushed = before
                    return True
        raise ReposeError(f"the files in {self.folder.name} change too often.")

    def done(self) -> None:
        """Delete the copy."""
        try:
            self.remote.delete(self.key)
        except ReposeError as error:  # the stage itself is done
            say(f"{self.key} is no longer needed, but could not be deleted from the remote: {error}")

    def __enter__(self) -> "Unfinished":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is not None:
            self._try_to_push()

    def _take(self, snapshot: Path, state: _State) -> bool:
        """Take a snapshot of the files; return False if one disappeared meanwhile."""
        try:
            for name, (size, *_) in state.items():
                place = snapshot / name
                place.parent.mkdir(parents=True, exist_ok=True)
                if size < _LINKED or not _linked(self.folder / name, place):
                    shutil.copy2(self.folder / name, place, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._try_to_push()

    def _try_to_push(self) -> None:
        """Push. A failure is only logged, as the next copy tries again."""
        try:
            self.push()
        except Exception as error:  # each kind of remote has its own
            say(f"The unfinished work was not copied: {without_secrets(str(error) or repr(error))}")


def _linked(file: Path, place: Path) -> bool:
    try:
        place.hardlink_to(file)
    except FileNotFoundError:
        raise
    except OSError:  # not all file systems have hard links
        return False
    return True


def _pack(snapshot: Path, state: _State, file: Path) -> bool:
    """Pack a snapshot; return False if a linked file was written to since it had this state. Copies have other inodes."""
    with tarfile.open(file, "w") as tar:
        for name in state:
            tar.add(snapshot / name, name)
    packed = _state(snapshot)
    return all(packed[name] == seen for name, seen in state.items() if packed[name][2] == seen[2])


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack files and links, which take no more space than the tar.

    Python 3.11 before 3.11.4 lacks the filter of tarfile that refuses what leads out.
    """
    top, made = folder.resolve(), list[Path]()

    def check(*places: Path) -> None:
        if out := [place for place in places if not place.resolve().is_relative_to(top)]:
            raise tarfile.TarError(f"{out[0]} leads out of the folder")

    for member in tar:
        place = folder / member.name
        target = (place.parent if member.issym() else folder) / member.linkname
        check(place.parent, place, target)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        made.append(place)
        if member.issym():
            place.symlink_to(member.linkname)
        elif member.islnk():
            place.hardlink_to(target)
        elif not member.issparse() and (content := tar.extractfile(member)):
            with content, place.open("wb") as file:
                shutil.copyfileobj(content, file)
        else:
            raise tarfile.TarError(f"{member.name} is no plain file")
    check(*made)  # a later link may have moved the end of an earlier one


def _seconds(text: str | float) -> float:
    try:
        if 0 < float(text) <= threading.TIMEOUT_MAX:
            return float(text)
    except ValueError:
        pass
    raise SettingsError(
        f"REPOSE_PUSH_EVERY should be a number of seconds such as 60, not {text!r}. Correct the task's env."
    )


def _state(folder: Path) -> _State:
    """The state of each file or symbolic link that is not hidden."""
    found = {}
    for place, folders, names in os.walk(folder):  # which ignores files that disappear meanwhile
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (Path(place, name) for name in (*names, *folders) if not name.startswith(".")):
            try:
                seen = file.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISREG(seen.st_mode) or stat.S_ISLNK(seen.st_mode):
                found[str(file.relative_to(folder))] = (seen.st_size, seen.st_mtime_ns, seen.st_ino)
    return found
