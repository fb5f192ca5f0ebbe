"""A figure like the paper's figure 3: sources, target pose and target of a few pairs, and each system's images."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from repose.data.images import decode, encode_png
from repose.data.pictures import grid
from repose.data.records import read_table, write_table
from repose.data.shards import ShardReader, ShardWriter, index_table
from repose.evaluation.results import EXAMPLES, image_name, read_generated

_MIN_COLUMN = 88  # minimum px of a column, so that its title fits


class Example(NamedTuple):
    """One pair."""

    source: str
    target: str
    shown: dict[str, np.ndarray]  # (H, W, 3) uint8 by title: source 1, source 2, ..., target pose, target


def write_examples(folder: Path, examples: Iterable[Example], shard_bytes: int) -> None:
    """Write a new folder with the images in tar shards, and the table examples.csv."""
    folder.mkdir()
    rows, places = [], []
    with ShardWriter(folder, shard_bytes) as shards:
        for source, target, shown in examples:
            for title, pixels in shown.items():
                name = f"{source}--{target}--{title}.png"
                places.append((name, shards.add(name, encode_png(pixels))))
                rows.append({"from": source, "to": target, "shows": title})
    write_table(folder / "examples.csv", pd.concat([pd.DataFrame(rows), index_table(places)], axis=1), EXAMPLES)


def read_examples(folder: Path) -> list[Example]:
    """Return the examples written by `write_examples`. Raises a ReposeError if a file is missing or damaged."""
    index = read_table(folder / "examples.csv", EXAMPLES)
    images, examples = ShardReader(folder, index), dict[tuple[str, str], Example]()
    for source, target, title, name in index[["from", "to", "shows", "name"]].to_numpy().tolist():
        examples.setdefault((source, target), Example(source, target, {})).shown[title] = images.decoded(name, decode)
    return list(examples.values())


def figure(examples: Sequence[Example], generated: Mapping[str, Path]) -> np.ndarray:
    """Return a picture with a row per example and a column per source, pose, target and system: (h, w, 3) uint8.

    `generated` has the folder of each system's images, as written by evaluate.

    Raises:
        ReposeError: an image is missing or damaged.
    """
    pairs = [example[:2] for example in examples]
    made = {name: read_generated(path, pairs) for name, path in generated.items()}
    sources = max(len(example.shown) for example in examples) - 2
    given, rows = [*(f"source {number + 1}" for number in range(sources)), "target pose", "target"], []
    for source, target, shown in examples:
        images = [shards.decoded(image_name(source, target), decode) for shards in made.values()]
        rows.append([*map(shown.get, given), *images])
    return grid(rows, [*given, *made], zoom=-(-_MIN_COLUMN // examples[0].shown["target"].shape[1]))
