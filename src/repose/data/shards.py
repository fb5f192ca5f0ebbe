"""Tar shards with an index: many small files in a few large ones, which can be read without unpacking.

A folder of shards has `00000.tar`, `00001.tar`, ... and a table with the columns `name, shard, offset, size`, where offset
and size give the member's content in bytes. The same files give the same bytes.
"""

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from repose.errors import DataError

INDEX_COLUMNS = ("name", "shard", "offset", "size")


class Place(NamedTuple):
    """The location of a member: file name of the shard, byte offset of the content, size in bytes."""

    shard: str
    offset: int
    size: int


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """Appends files to tar shards of about `shard_bytes` each in an existing folder. `close` finishes the last one."""

    def __init__(self, folder: Path, shard_bytes: int = 64 * 2**20) -> None:
        self.folder, self.shard_bytes, self.shards = folder, shard_bytes, 0
        self._tar: tarfile.TarFile | None = None

    def add(self, name: str, content: bytes) -> Place:
        """Append a file and return its location."""
        if self._tar is not None and self._tar.offset >= self.shard_bytes:
            self.close()
        if self._tar is None:
            self._shard = f"{self.shards:05d}.tar"
            self._tar = tarfile.open(self.folder / self._shard, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
            self.shards += 1
        member = tarfile.TarInfo(name)  # owner 0, time 0, mode 0644: independent of the machine
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))
        padded = -len(content) % tarfile.BLOCKSIZE
        return Place(self._shard, self._tar.offset - padded - len(content), len(content))

    def close(self) -> None:
        """Finish the current shard."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def __exit__(self, *_: object) -> None:
        self.close()


class ShardReader(Mapping[str, bytes]):
    """A read-only mapping from names to file contents. Each read is one `pread`, so it is safe across threads and forks."""

    def __init__(self, folder: Path, index: pd.DataFrame) -> None:
        if missing := [column for column in INDEX_COLUMNS if column not in index]:
            raise DataError(
                f"The index of {folder} lacks the column(s) {', '.join(missing)}. Run the stage that wrote it."
            )
        self.folder = folder
        places = map(Place, index["shard"], index["offset"], index["size"])
        self._places = dict(zip(index["name"], places, strict=True))
        self._files: dict[str, int] = {}

    def __getitem__(self, name: str) -> bytes:
        shard, offset, size = self._places[name]
        content = os.pread(self._descriptor(shard), size, offset)
        if len(content) != size:
            raise DataError(
                f"{self.folder / shard} is truncated: {name} should have {size} bytes at {offset}. Restore the file "
                "(`dvc checkout`) or run the stage that wrote it again."
            )
        return content

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_files": {}}  # each process opens its own file descriptor

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_files", {}).values():
            os.close(descriptor)

    def _descriptor(self, shard: str) -> int:
        if shard not in self._files:
            path = self.folder / shard
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
