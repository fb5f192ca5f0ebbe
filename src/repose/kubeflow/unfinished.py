"""The unfinished work of a stage, kept in the remote while it runs: a pod that is started again goes on from there.

The stage's folder (`meta.kfp: unfinished`) goes as one tar file. Files that a stage replaces in one step are whole in it:
they are linked first, and linked again if any changed meanwhile; then the links are packed at leisure. Hidden files are
left out: so are named those that are not whole yet.
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

_EVERY = 60.0  # seconds between two looks, unless REPOSE_PUSH_EVERY says otherwise
_LINKINGS = 100  # until the folder holds still


class Unfinished:
    """Keeps a folder in the remote while a block runs; `done` forgets it there."""

    def __init__(self, folder: Path, key: str, remote: Remote) -> None:
        self.folder, self.remote = folder, remote
        self.key = f"{OWN}/unfinished/{key}.tar"
        self._every = float(os.environ.get("REPOSE_PUSH_EVERY", _EVERY))
        self._stop, self._pushed = threading.Event(), _state(folder)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def restore(self) -> bool:
        """Bring back what an earlier try left; say whether there was anything."""
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
                    f"{self.key} in {self.remote.address} is not brought back: {error}. Delete it there, and make links in "
                    f"{self.folder.name} relative ones that do not lead out of it."
                ) from None
            except (tarfile.TarError, EOFError):
                raise ReposeError(
                    f"{self.key} in {self.remote.address} is damaged: it is no tar file. Delete it there."
                ) from None
        self._pushed = _state(self.folder)
        return True

    def push(self) -> bool:
        """Copy the folder to the remote if it changed since; say whether it did."""
        state = _state(self.folder)
        if not state or state == self._pushed:
            return False
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as made:
            links = Path(made) / "links"
            state = self._link(links)
            file = Path(made) / "unfinished.tar"
            with tarfile.open(file, "w") as tar:
                tar.add(links, ".")
            self.remote.upload(file, self.key)
        self._pushed = state
        return True

    def done(self) -> None:
        """Nothing of it is needed any more."""
        try:
            self.remote.delete(self.key)
        except ReposeError as error:  # the work itself is done
            say(f"{self.key} was left in the remote, though nobody needs it: {error}")

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
        """Hard links to the files of one moment; return their state."""
        for _ in range(_LINKINGS):
            before = _state(self.folder)
            if _link_all(self.folder, links, before) and _state(self.folder) == before:
                return before
        raise ReposeError(f"the files in {self.folder.name} did not hold still for long enough.")

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._try_to_push()

    def _try_to_push(self) -> None:
        """Work goes on where its copy cannot be made: the next look tries again."""
        try:
            self.push()
        except (ReposeError, OSError, tarfile.TarError) as error:
            say(f"The unfinished work was not copied: {error}")


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of each file or symbolic link; those that are being written (hidden) are left out."""
    found = {}
    for place, folders, names in os.walk(folder):  # which does not mind what goes away meanwhile
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
    """Hard links to some files; False if one went away meanwhile."""
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
