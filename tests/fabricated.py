"""Folders as earlier stages write them, made of whatever a test needs."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from repose.data.layouts import LAYOUTS, LayoutName
from repose.data.records import FILES, IMAGES, ORDER, write_json, write_keypoints, write_table
from repose.data.shards import ShardWriter, index_table
from repose.data.skeleton import K

T = TypeVar("T", Sequence[str], pd.DataFrame)


def write_lists(folder: Path, files: Mapping[str, bytes], layout: LayoutName = "deepfashion") -> Path:
    """The folder raw/lists of these files."""
    folder.mkdir(parents=True)
    with ShardWriter(folder) as shards:
        table = index_table((name, shards.add(name, content)) for name, content in files.items())
    digests = [hashlib.sha256(content).hexdigest() for content in files.values()]
    write_table(folder / "files.csv", table.assign(sha256=digests), FILES)
    write_json(folder / "source.json", {"source": layout, "layout": layout, "terms": "made up"})
    return folder


def write_images(
    folder: Path,
    paths: Iterable[str],
    layout: LayoutName = "deepfashion",
    *,
    size: tuple[int, int] = (256, 256),  # height, width
    partition: str = "",  # the text of list_eval_partition.txt
    parts: int = 1,
) -> Path:
    """images.csv of the photos at these paths, sorted by path, in so many parts of nearly equal size."""
    listed = {"list_eval_partition.txt": partition.encode()} if partition else {}
    grammar = LAYOUTS[layout](listed, listed.__getitem__)
    photos = [(path, photo) for path in sorted(paths) if (photo := grammar.photo(path))]
    table = pd.DataFrame([photo for _, photo in photos]).assign(
        path=[path for path, _ in photos], height=size[0], width=size[1], sha256="0", shard="0", offset=0, size=0
    )
    for part, block in blocks(table, parts):
        write_table(folder / part / "images.csv", block, IMAGES)
    return folder


def write_poses(
    folder: Path, names: Sequence[str], *, none: Iterable[str] = (), order: Sequence[str] = (), parts: int = 1
) -> Path:
    """keypoints.csv of whole poses but for the photos `none`, and order.csv: `order`, or the order of the names."""
    source = pd.DataFrame({"name": order or names}).assign(row=range(len(order or names)))
    for part, block in blocks(names, parts):
        keypoints = np.full((len(block), K, 2), 50, np.float32)
        keypoints[[row for row, name in enumerate(block) if name in set(none)]] = np.nan
        write_keypoints(folder / part / "keypoints.csv", block, keypoints, np.ones((len(block), K), np.float32))
        write_table(folder / part / "order.csv", source[source["name"].isin(block)], ORDER)
    return folder


def blocks(rows: T, parts: int) -> Iterator[tuple[str, T]]:
    """The parts 0, 1, ... of a table or list, as validate cuts them: the first ones larger by one."""
    size, more = divmod(len(rows), parts)
    for part in range(parts):
        first = part * size + min(part, more)
        yield str(part), rows[first : first + size + (part < more)]
