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

HEIGHT, WIDTH, LINE_WIDTH = 32, 24, 2.0


class Small(NamedTuple):
    """What was written, and the folder that holds it."""

    folder: Path
    names: list[str]
    items: pd.DataFrame  # part, item, name
    pixels: list[np.ndarray]
    keypoints: np.ndarray  # (n,K,2) in px of the photos

    def photos(self, cache_megabytes: float = 0) -> Photos:
        folders = {name: self.folder / name for name in ("images", "keypoints", "posemaps")}
        return Photos(**folders, cache_megabytes=cache_megabytes)


def write_small(
    folder: Path, sizes: Sequence[int], *, size: tuple[int, int] = (HEIGHT, WIDTH), crop: Crop | None = None,
    without_map: Sequence[str] = (), grainy: bool = False, parts: Sequence[int] = (),
) -> Small:  # fmt: skip
    """Items of so many photos each, in random order, in parts of so many photos; photo 2 of item 1 is "1-2.png"."""
    random = np.random.default_rng(0)
    photos = [(f"{item}-{number}.png", str(item)) for item, count in enumerate(sizes) for number in range(count)]
    names, item_of = (list(column) for column in zip(*random.permutation(photos).tolist(), strict=True))
    keypoints = random.uniform(2, min(size) - 3, (len(names), K, 2)).round(3).astype(np.float32)
    keypoints[0, 3] = np.nan
    pixels = [np.full((*size, 3), level, np.uint8) for level in range(len(names))]
    if grainy:
        pixels = [random.integers(0, 256, (*size, 3), np.uint8) for _ in names]
    placed = Frame(HEIGHT, WIDTH, crop).keypoints(keypoints, *size)
    maps = draw(placed, height=HEIGHT, width=WIDTH, line_width=LINE_WIDTH)
    first = 0
    for part, count in enumerate(parts or [len(names)]):
        rows, first = range(first, first + count), first + count
        images, poses, posemaps = (folder / kind / str(part) for kind in ("images", "keypoints", "posemaps"))
        images.mkdir(parents=True)
        posemaps.mkdir(parents=True)
        with ShardWriter(images, shard_bytes=4096) as shards:
            table = index_table((names[row], shards.add(names[row], encode_png(pixels[row]))) for row in rows)
        columns = {"item": item_of[rows.start : rows.stop], "height": size[0], "width": size[1]}
        write_table(
            images / "images.csv", table.assign(**dict.fromkeys(set(IMAGES) - set(table), "") | columns), IMAGES
        )
        own = slice(rows.start, rows.stop)
        write_keypoints(poses / "keypoints.csv", names[own], keypoints[own], np.ones((count, K)))
        drawn = [row for row in rows if names[row] not in without_map]
        with ShardWriter(posemaps) as shards:
            places = [(names[row], shards.add(names[row], encode_png(maps[row], PALETTE))) for row in drawn]
        write_table(posemaps / "posemaps.csv", index_table(places), POSEMAPS)
        made = {"height": HEIGHT, "width": WIDTH, "crop": crop, "line_width": LINE_WIDTH}
        write_json(posemaps / "posemaps.json", made)
    items = pd.DataFrame({"part": "train", "item": item_of, "name": names})
    return Small(folder, names, items, pixels, keypoints)
