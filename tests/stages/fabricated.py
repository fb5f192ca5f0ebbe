"""Folders as earlier stages write them, made of whatever a test needs."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from repose.data.layouts import LAYOUTS, LayoutName
from repose.data.records import FILES, IMAGES, write_json, write_keypoints, write_table
from repose.data.shards import ShardWriter, index_table
from repose.data.skeleton import K


def write_raw(folder: Path, files: Mapping[str, bytes], layout: LayoutName = "deepfashion") -> Path:
    folder.mkdir()
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
) -> Path:
    """images.csv of the photos at these paths, sorted by path."""
    listed = {"list_eval_partition.txt": partition.encode()} if partition else {}
    grammar = LAYOUTS[layout](listed, listed.__getitem__)
    photos = [(path, photo) for path in sorted(paths) if (photo := grammar.photo(path))]
    table = pd.DataFrame([photo for _, photo in photos]).assign(
        path=[path for path, _ in photos], height=size[0], width=size[1], sha256="0", shard="0", offset=0, size=0
    )
    folder.mkdir()
    write_table(folder / "images.csv", table, IMAGES)
    return folder


def write_poses(folder: Path, names: Sequence[str], *, none: Iterable[str] = (), order: Sequence[str] = ()) -> Path:
    """keypoints.csv of whole poses but for the photos `none`, and order.csv: `order`, or the order of the names."""
    folder.mkdir()
    keypoints = np.full((len(names), K, 2), 50, np.float32)
    keypoints[[list(names).index(name) for name in none]] = np.nan
    write_keypoints(folder / "keypoints.csv", names, keypoints, np.ones((len(names), K), np.float32))
    write_table(folder / "order.csv", pd.DataFrame({"name": order or names}), ["name"])
    return folder
