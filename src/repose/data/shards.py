"""Tar shards with an index: many small files as a few large ones, any of them read without unpacking.

A folder of shards is `00000.tar`, `00001.tar`, ... and a table with the columns `name, shard, offset, size`, where
offset and size are in bytes and bound the member's content. `tar tf` reads them too; same files, same bytes.
"""

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import pandas as pd

from repose.errors import DataError

INDEX_COLUMNS = ("name", "shard", "offset", "size")


class Place(NamedTuple):
    """Where a member lies: file name of the shard, byte offset of the content in it, size in bytes."""

    shard: str
    offset: int
    size: int


class ShardWriter:
    """Append files to tar shards of about `shard_bytes` each in an existing folder; `close` finishes the last."""

    def __init__(self, folder: Path, shard_bytes: int = 64 * 2**20) -> None:
        self.folder, self.shard_bytes, self.shards = folder, shard_bytes, 0
        self._tar: tarfile.TarFile | None = None

    def add(self, name: str, content: bytes) -> Place:
        """Append one file and return its place."""
        if self._tar is not None and self._tar.offset >= self.shard_bytes:
            self.close()
        if self._tar is None:
            self._shard = f"{self.shards:05d}.tar"
            self._tar = tarfile.open(self.folder / self._shard, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
            self.shards += 1
        member = tarfile.TarInfo(name)  # owner 0, time 0, mode 0644: nothing of this machine gets in
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))
        padded = -len(content) % tarfile.BLOCKSIZE
        return Place(self._shard, self._tar.offset - padded - len(content), len(content))

    def close(self) -> None:
        """Finish the current shard."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ShardReader(Mapping[str, bytes]):
    """A read-only mapping from names to file contents; one `pread` each, so safe across threads and forks."""

    def __init__(self, folder: Path, index: pd.DataFrame) -> None:
        missing = [column for column in INDEX_COLUMNS if column not in index]
        if missing:
            raise DataError(
                f"The index of {folder} lacks the column(s) {', '.join(missing)}. Run the stage that wrote it."
            )
        self.folder = folder
        self._shards = list(index["shard"].unique())
        self._row = {name: row for row, name in enumerate(index["name"])}
        self._shard_of = index["shard"].map({s: i for i, s in enumerate(self._shards)}).to_numpy(np.int32)
        self._offset = index["offset"].to_numpy(np.int64)
        self._size = index["size"].to_numpy(np.int64)
        self._files: dict[int, int] = {}

    def __getitem__(self, name: str) -> bytes:
        row = self._row[name]
        size = int(self._size[row])
        content = os.pread(self._descriptor(int(self._shard_of[row])), size, int(self._offset[row]))
        if len(content) != size:
            raise DataError(
                f"{self.folder / self._shards[self._shard_of[row]]} is cut short: {name} should have {size} bytes at "
                f"{self._offset[row]}. Restore the file (`dvc checkout`) or run the stage that wrote it again."
            )
        return content

    def __contains__(self, name: object) -> bool:
        return name in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": {}}  # each process opens its own

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_files", {}).values():
            os.close(descriptor)

    def _descriptor(self, shard: int) -> int:
        if shard not in self._files:
            path = self.folder / self._shards[shard]
            try:
                self._files[shard] = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise DataError(
                    f"The shard {path} is missing. Run `dvc checkout` or the stage that wrote it."
                ) from None
        return self._files[shard]


def index_table(places: Iterable[tuple[str, Place]]) -> pd.DataFrame:
    """A table with INDEX_COLUMNS, in the order given."""
    return pd.DataFrame([(name, *place) for name, place in places], columns=list(INDEX_COLUMNS))
