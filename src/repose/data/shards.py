"""Tar shards with an index: many small files in a few large ones, which can be read without unpacking.

A folder of shards has `00000.tar`, `00001.tar`, ... and a table with the columns `name, shard, offset, size`, where offset
and size give the member's content in bytes. The same files give the same bytes.
"""

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import pandas as pd

from repose.errors import DataError

T = TypeVar("T")
_SHARD = re.compile(r"([\w-]{1,99}/)?[\w-]{1,99}(\.tar)?", re.ASCII)  # of several parts, with its folder before it
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
        self._stream: BinaryIO | None = None

    def add(self, name: str, content: bytes) -> Place:
        """Append a file and return its location."""
        if self._stream is not None and self._stream.tell() >= self.shard_bytes:
            self.close()
        if self._stream is None:
            self._shard = f"{self.shards:05d}.tar"
            self._stream = (self.folder / self._shard).open("wb")
            self.shards += 1
        member = tarfile.TarInfo(name)  # owner 0, time 0, mode 0644: independent of the machine
        member.size = len(content)
        # As TarFile.addfile, which takes longer and keeps a record of each file.
        self._stream.write(member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        place = Place(self._shard, self._stream.tell(), len(content))
        self._stream.write(content)
        self._stream.write(bytes(-len(content) % tarfile.BLOCKSIZE))
        return place

    def close(self) -> None:
        """Finish the current shard."""
        if self._stream is not None:
            ending = 2 * tarfile.BLOCKSIZE
            self._stream.write(bytes(ending + -(self._stream.tell() + ending) % tarfile.RECORDSIZE))
            self._stream.close()
            self._stream = None

    def __exit__(self, *_: object) -> None:
        self.close()


class ShardReader(Mapping[str, bytes]):
    """A read-only mapping from names to file contents, safe across threads and processes."""

    def __init__(self, folder: Path, index: pd.DataFrame) -> None:
        self.folder = folder
        self._rows = {name: row for row, name in enumerate(index["name"])}
        self._shards, self._offsets, self._sizes = (index[column].to_numpy() for column in Place._fields)
        for shard in index["shard"].unique():
            if not _SHARD.fullmatch(shard):
                raise DataError(f"{folder} has no shard {shard!r}, but 00000.tar and so on.")

    def __getitem__(self, name: str) -> bytes:
        row = self._rows[name]
        shard, offset, size = self._shards[row], int(self._offsets[row]), int(self._sizes[row])
        try:
            with (self.folder / shard).open("rb", buffering=0) as stream:
                there = offset >= 0 and 0 <= size <= os.fstat(stream.fileno()).st_size - offset
                content = os.pread(stream.fileno(), size, offset) if there else None
        except FileNotFoundError:
            content = None
        except OSError as error:
            raise DataError(
                f"The shard {self.folder / shard} cannot be read: {error.strerror}. Check its permissions and the disk."
            ) from None
        if content is None or len(content) != size:
            raise DataError(
                f"The shard {self.folder / shard} is missing or truncated: {name} should have {size} bytes at {offset}. "
                "Restore it (`dvc checkout`) or run the stage that wrote it again."
            )
        return content

    def decoded(self, name: str, decode: Callable[[bytes], T]) -> T:
        """Return what `decode` makes of a file's content. Raises a DataError that names the file if `decode` raises one."""
        content = self[name]
        try:
            return decode(content)
        except DataError as error:
            raise DataError(
                f"{name} in {self.folder} is damaged ({error}). Restore it (`dvc checkout`) or run the stage that wrote it "
                "again."
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def index_table(places: Iterable[tuple[str, Place]]) -> pd.DataFrame:
    """A table with INDEX_COLUMNS, in the order given."""
    return pd.DataFrame([(name, *place) for name, place in places], columns=list(INDEX_COLUMNS))
