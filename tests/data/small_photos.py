"""A small data set as the stages write it, in which a photo's grey level is its number."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from repose.data.frame import Crop, Frame
from repose.data.images import encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE, draw
from repose.data.records import IMAGES, POSEMAPS, write_json, write_keypoints, write_table
from repose.data.shards import ShardWriter, index_table
from repose.data.skeleton import K

HEIGHT, WIDTH, THICKNESS = 32, 24, 2.0


class Small(NamedTuple):
    """What was written, and the folders that hold it."""

    folder: Path
    names: list[str]
    items: pd.DataFrame  # part, item, name
    keypoints: np.ndarray  # (n,K,2) in px of the photos

    def photos(self, cache_megabytes: float = 0) -> Photos:
        folders = {name: self.folder / name for name in ("images", "keypoints", "posemaps")}
        return Photos(**folders, cache_megabytes=cache_megabytes)


def write_small(
    folder: Path, sizes: Sequence[int], *, size: tuple[int, int] = (HEIGHT, WIDTH), crop: Crop | None = None,
    without_map: Sequence[str] = (), grainy: bool = False,
) -> Small:  # fmt: skip
    """Items of so many photos each; photo 2 of item 1 is "1-2.png", and the photos of items lie among each other."""
    random = np.random.default_rng(0)
    photos = [(f"{item}-{number}.png", str(item)) for item, count in enumerate(sizes) for number in range(count)]
    photos = [photos[index] for index in random.permutation(len(photos))]
    names = [name for name, _ in photos]
    keypoints = random.uniform(2, min(size) - 3, (len(names), K, 2)).round(3).astype(np.float32)
    keypoints[0, 3] = np.nan
    levels = [np.full((*size, 3), level, np.uint8) for level in range(len(names))]
    if grainy:
        levels = [random.integers(0, 256, (*size, 3), np.uint8) for _ in names]
    for part in ("images", "keypoints", "posemaps"):
        (folder / part).mkdir(parents=True)
    with ShardWriter(folder / "images", shard_bytes=4096) as shards:
        table = index_table(
            (name, shards.add(name, encode_png(level))) for name, level in zip(names, levels, strict=True)
        )
    blank = {column: "" for column in IMAGES if column not in table}
    table = table.assign(**blank | {"item": [item for _, item in photos], "height": size[0], "width": size[1]})
    write_table(folder / "images" / "images.csv", table, IMAGES)
    write_keypoints(folder / "keypoints" / "keypoints.csv", names, keypoints, np.ones((len(names), K)))
    frame = Frame(HEIGHT, WIDTH, crop)
    maps = draw(frame.keypoints(keypoints, *size), height=HEIGHT, width=WIDTH, thickness=THICKNESS)
    with ShardWriter(folder / "posemaps") as shards:
        places = [
            (n, shards.add(n, encode_png(m, PALETTE))) for n, m in zip(names, maps, strict=True) if n not in without_map
        ]
    write_table(folder / "posemaps" / "posemaps.csv", index_table(places), POSEMAPS)
    made = {"height": HEIGHT, "width": WIDTH, "crop": crop, "thickness": THICKNESS}
    write_json(folder / "posemaps" / "posemaps.json", made)
    items = pd.DataFrame({"part": "train", "item": [item for _, item in photos], "name": names})
    return Small(folder, names, items, keypoints)
