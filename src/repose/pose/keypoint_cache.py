"""Cache of the joints that a network found in the photos of a part, so that an interrupted search resumes.

Each finished shard of photos has a file in the folder `work`, named by a hash of everything that determines the results.
Batches end with their shard, so a resumed search sees the same batches and finds the same joints.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from repose.data.images import decode
from repose.errors import DataError
from repose.storage.atomic import write_bytes
from repose.terminal import bar, say

if TYPE_CHECKING:  # `repose generate` imports this module, and needs no tables
    import pandas as pd

# The version of this module, `detectors` and the networks' code. Raise it when a change gives other joints for the same
# photos and settings; interrupted searches then start over.
VERSION = 1
_PIXELS_AT_ONCE = 64 * 512 * 512  # of the photos of a batch, which bounds its memory to about 100 MB


class Found(NamedTuple):
    """The joints found in n photos."""

    joints: np.ndarray  # (n,K,3) float32: x, y in px and the confidence
    people: np.ndarray  # (n,) int64: number of people


class Search:
    """A search through the photos of one part.

    Args:
        images: the part's folder.
        table: its images.csv, one row or more.
        work: the folder for results until `forget`.
        deciding: what determines the results besides the photos and the type of machine, as JSON values.
    """

    def __init__(self, images: Path, table: "pd.DataFrame", work: Path, deciding: Mapping[str, Any]) -> None:
        from repose.data.shards import ShardReader

        self._photos, self._table = ShardReader(images, table), table
        photos = table[["name", "height", "width", "sha256", "shard"]].to_csv(index=False)
        facts = [VERSION, photos, dict(deciding), torch.__version__, platform.machine()]
        self._place = work / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, look: Callable[[Tensor], Found], batch: int, threads: int = 1) -> Found:
        """The results of `look` for each photo, in the order of the table.

        Args:
            look: finds joints in B photos (B,3,H,W) uint8.
            batch: maximum number of photos per batch, all of one shard and one size; fewer if they are large.
            threads: number of batches that are read and looked at side by side.

        Raises:
            DataError: a file of an earlier search is damaged, or the disk is full.
        """
        files = {shard: self._place / f"{Path(shard).stem}.safetensors" for shard in self._table["shard"].unique()}
        left = self._table[~self._table["shard"].map({shard: file.is_file() for shard, file in files.items()})]
        if done := len(self._table) - len(left):
            say(f"keypoints: resuming after {done:,} of {len(self._table):,} photos")
        batches = list(_batches(left, batch))
        with closing(self._search(batches, files, look, threads)) as search:
            for _ in bar(search, "keypoints", len(batches)):
                pass
        return _joined(map(_read, files.values()))

    def _search(
        self, batches: list[tuple[str, list[str]]], files: Mapping[str, Path], look: Callable[[Tensor], Found], threads: int
    ) -> Generator[None, None, None]:  # fmt: skip
        """Look at all batches, and write the results of each shard to its file; yield after each batch."""

        def look_at(names: list[str]) -> Found:
            pixels = np.stack([self._photos.decoded(name, decode) for name in names])
            return look(torch.from_numpy(pixels).movedim(3, 1))

        pool = ThreadPoolExecutor(threads)
        try:
            for shard, group in groupby(batches, lambda entry: entry[0]):
                each, results = [names for _, names in group], list[Found]()
                for found in map(look_at, each) if threads == 1 else pool.map(look_at, each):
                    results.append(found)
                    yield
                write_bytes(files[shard], save(_joined(results)._asdict()))
        finally:
            pool.shutdown(cancel_futures=True)

    def forget(self) -> None:
        """Remove this search's files from `work`."""
        shutil.rmtree(self._place)


def _batches(table: "pd.DataFrame", size: int) -> Iterator[tuple[str, list[str]]]:
    """Shards and the names of a batch of their photos, in the order of the table."""
    rows = zip(table["name"], table["shard"], table["height"], table["width"], strict=True)
    for (shard, height, width), group in groupby(rows, key=lambda row: row[1:]):
        names, most = [name for name, *_ in group], max(1, min(size, _PIXELS_AT_ONCE // (height * width)))
        for first in range(0, len(names), most):
            yield shard, names[first : first + most]


def _joined(parts: Iterable[Found]) -> Found:
    return Found(*map(np.concatenate, zip(*parts, strict=True)))


def _read(file: Path) -> Found:
    try:
        return Found(**load(file.read_bytes()))
    except (SafetensorError, TypeError) as error:
        raise DataError(f"{file}, a result of an earlier search, is damaged ({error}). Delete it.") from None
