"""A finished run with its remote, and what somebody who may write to the bucket can change in it."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from repose.errors import ReposeError
from repose.kubeflow import fetch

EVIL = b"* * * * * evil\n"
OID = "0123456789abcdef0123456789abcdef"


class Run(NamedTuple):
    """A finished run: the folder of the laptop, the image, and the remote."""

    folder: Path
    image: Path
    remote: Path

    @property
    def record(self) -> Any:
        return json.loads((self.remote / "kubeflow/runs/run-1/record.json").read_text())

    @property
    def lock(self) -> Any:
        return yaml.safe_load(self.record["locks"]["dvc.lock"])

    def write(self, content: Any) -> None:
        """Replace the record: by bytes, or by a value."""
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        (self.remote / "kubeflow/runs/run-1/record.json").write_bytes(content)

    def write_lock(self, lock: Any) -> None:
        text = lock if isinstance(lock, str) else yaml.safe_dump(lock, sort_keys=False)
        self.write(self.record | {"locks": {"dvc.lock": text}})

    def add(self, content: bytes, ending: str = "") -> str:
        """Put an object into the remote; return its name."""
        oid = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
        file = self.remote / "files/md5" / oid[:2] / oid[2:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return oid

    def evil_folder(self, path: str = "../../evil") -> str:
        """A folder in the remote with a file at a path; the list is in order, so that only the path is wrong."""
        return self.add(json.dumps([{"md5": self.add(EVIL), "relpath": path}]).encode(), ".dir")

    def entry(self, stage: str = "count", **out: Any) -> Any:
        """A stage's entry with other facts of its first output."""
        entry = self.lock["stages"][stage]
        entry["outs"][0] |= out
        return entry

    def fetch(self, *, force: bool = True) -> Any:
        return fetch.fetch_run(self.folder, "run-1", remote=None, endpoint="", force=force)

    def refuses(self, message: str) -> None:
        """Nothing is written, neither here nor elsewhere, though force is used."""
        before = self.files()
        with pytest.raises(ReposeError, match=message) as caught:
            self.fetch()
        assert self.files() == before
        assert str(caught.value).isprintable()

    def files(self) -> dict[str, bytes]:
        here = self.folder.parent
        ours = (path for path in here.rglob("*") if path.is_file() and not path.is_relative_to(self.remote))
        return {
            str(path): path.read_bytes() for path in ours if not {"cache", "tmp"} & set(path.parts[len(here.parts) :])
        }
