"""The unfinished work of a stage, kept in the remote while it runs: a pod that is started again goes on from there.

The stage's folder (`meta.kfp: unfinished`) goes as one tar file. Files that a stage replaces in one step are whole in it:
they are linked first, and linked again if any changed meanwhile; then the links are packed at leisure.
"""

import os
import tarfile
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from repose.errors import ReposeError
from repose.kubeflow.remote import OWN, Remote
from repose.terminal import say

_EVERY = 60.0  # seconds between two looks, unless REPOSE_PUSH_EVERY says otherwise


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
            while True:
                before = _state(self.folder)
                if _link_all(self.folder, links) and _state(self.folder) == before:
                    break
            file = Path(made) / "unfinished.tar"
            with tarfile.open(file, "w") as tar:
                tar.add(links, ".")
            self.remote.upload(file, self.key)
        self._pushed = before
        return True

    def done(self) -> None:
        """Nothing of it is needed any more."""
        self.remote.delete(self.key)

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

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._try_to_push()

    def _try_to_push(self) -> None:
        """Work goes on where its copy cannot be made: the next look tries again."""
        try:
            self.push()
        except ReposeError as error:
            say(f"The unfinished work was not copied: {error}")


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of each file; those that are being written (hidden) are left out."""
    found = {}
    for file in folder.rglob("*"):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            if file.is_file():
                found[str(file.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def _link_all(folder: Path, links: Path) -> bool:
    """Hard links to all files; False if one went away meanwhile."""
    for old in sorted(links.rglob("*"), reverse=True) if links.exists() else ():
        old.rmdir() if old.is_dir() else old.unlink()
    links.mkdir(exist_ok=True)
    for name in _state(folder):
        (links / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / name, links / name)
        except FileNotFoundError:
            return False
    return True
