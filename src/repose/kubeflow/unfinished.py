"""The unfinished work of a stage, kept in the remote while the stage runs, so that a restarted pod resumes.

The stage's folder (`meta.kfp: unfinished`) becomes one tar file. Files that the stage replaces atomically are complete in it:
they are first hard-linked, again if any changed meanwhile, and then the links are packed. Hidden files are still being
written and are left out.
"""

import os
import shutil
import stat
import tarfile
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from repose.errors import ReposeError
from repose.storage.remote import OWN, Remote
from repose.terminal import say

_EVERY = 60.0  # seconds between two copies, unless REPOSE_PUSH_EVERY is set
_ATTEMPTS = 100  # attempts to link a consistent set of files


class Unfinished:
    """Copies a folder to the remote regularly while a block runs."""

    def __init__(self, folder: Path, key: str, remote: Remote) -> None:
        self.folder, self.remote = folder, remote
        self.key = f"{OWN}/unfinished/{key}.tar"
        self._every = float(os.environ.get("REPOSE_PUSH_EVERY", _EVERY))
        self._stop, self._pushed = threading.Event(), _state(folder)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def restore(self) -> bool:
        """Restore the copy of an earlier attempt; return whether there was one.

        Raises:
            ReposeError: the copy is damaged, or a link in it leads out of the folder.
        """
        with tempfile.TemporaryDirectory(dir=self.folder.parent if self.folder.parent.exists() else None) as made:
            file = Path(made) / "unfinished.tar"
            if not self.remote.download(self.key, file):
                return False
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with tarfile.open(file) as tar:
                    tar.extractall(self.folder, filter="data")
            except tarfile.FilterError as error:
                raise ReposeError(
                    f"{self.key} in {self.remote.address} cannot be restored: {error}. Delete it there, and make sure that "
                    f"links in {self.folder.name} are relative and stay inside it."
                ) from None
            except (tarfile.TarError, EOFError):
                raise ReposeError(
                    f"{self.key} in {self.remote.address} is damaged: it is not a tar file. Delete it there."
                ) from None
        self._pushed = _state(self.folder)
        return True

    def push(self) -> bool:
        """Copy the folder to the remote if it changed since the last copy; return whether it did."""
        state = _state(self.folder)
        if not state or state == self._pushed:
            return False
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as made:
            links, file = Path(made) / "links", Path(made) / "unfinished.tar"
            state = self._link(links)
            with tarfile.open(file, "w") as tar:
                tar.add(links, ".")
            self.remote.upload(file, self.key)
        self._pushed = state
        return True

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

    def _link(self, links: Path) -> dict[str, tuple[int, int, int]]:
        """Hard-link a consistent set of files; return their state."""
        for _ in range(_ATTEMPTS):
            before = _state(self.folder)
            if _link_all(self.folder, links, before) and _state(self.folder) == before:
                return before
        raise ReposeError(f"the files in {self.folder.name} change too often.")

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._try_to_push()

    def _try_to_push(self) -> None:
        """Push. A failure is only logged, as the next copy tries again."""
        try:
            self.push()
        except (ReposeError, OSError, tarfile.TarError) as error:
            say(f"The unfinished work was not copied: {error}")


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The size, time and inode of each file or symbolic link that is not hidden."""
    found = {}
    for place, folders, names in os.walk(folder):  # which ignores files that disappear meanwhile
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*names, *folders):
            file = Path(place, name)
            try:
                seen = file.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not name.startswith(".") and (stat.S_ISREG(seen.st_mode) or stat.S_ISLNK(seen.st_mode)):
                found[str(file.relative_to(folder))] = (seen.st_size, seen.st_mtime_ns, seen.st_ino)
    return found


def _link_all(folder: Path, links: Path, names: Iterable[str]) -> bool:
    """Hard-link some files; return False if one disappeared meanwhile."""
    if links.exists():
        shutil.rmtree(links)
    links.mkdir()
    for name in names:
        (links / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / name, links / name, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True
