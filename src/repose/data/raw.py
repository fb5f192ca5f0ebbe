"""What the stage download wrote: every file of the source, read from its shards by the path that its owner gave it.

Photos (by their names, `layouts.is_image`) and all other files, the lists, lie apart, so that a stage that needs the lists
alone need not have the photos on its machine:

| folder | what |
|---|---|
| photos/ | image files: tar shards and files.csv |
| lists/ | CSV, JSON, text and whatever else there is: tar shards and files.csv; and source.json: what it is, and from where |
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from repose.data.layouts import LAYOUTS, LayoutName, is_image
from repose.data.records import FILES, read_json, read_parts, read_table
from repose.data.shards import ShardReader
from repose.errors import DataError

PHOTOS, LISTS = "photos", "lists"
TABLE, SOURCE = "files.csv", "source.json"


class RawFiles(Mapping[str, bytes]):
    """A read-only mapping from the names of a source's files to their bytes; safe across threads and forks.

    Args:
        folder: all that download wrote, or its sub-folder `lists` by itself.

    Attributes:
        table: files.csv, with the columns `records.FILES`; photos come first.
        source: mannequin, deepfashion or market1501.
        layout: whose naming the files follow.
        terms: under which its owner gives it.

    Raises:
        DataError: the folder is not one that download wrote.
    """

    def __init__(self, folder: Path) -> None:
        whole = (folder / LISTS).is_dir()
        source = (folder / LISTS if whole else folder) / SOURCE
        self.folder = folder
        self.table: pd.DataFrame = (
            read_parts(folder, (PHOTOS, LISTS), TABLE, FILES) if whole else read_table(folder / TABLE, FILES)
        )
        record = read_json(source)
        if not isinstance(record, dict) or not {"source", "layout", "terms"} <= set(record):
            raise DataError(f"{source} lacks source, layout or terms. Run the stage download again.")
        if record["layout"] not in LAYOUTS:
            raise DataError(
                f"{source} names the layout {record['layout']!r}, which is none of {', '.join(LAYOUTS)}. Run "
                "the stage download again."
            )
        self.source: str = record["source"]
        self.layout: LayoutName = record["layout"]
        self.terms: str = record["terms"]
        self._contents = ShardReader(folder, self.table)

    @property
    def names(self) -> list[str]:
        """The owner's paths of all files, in the order in which they lie in the shards."""
        return list(self.table["name"])

    def __getitem__(self, name: str) -> bytes:
        return self._contents[name]

    def __contains__(self, name: object) -> bool:
        return name in self._contents

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents)

    def __len__(self) -> int:
        return len(self._contents)

    def find(self, suffix: str) -> str:
        """The name of the one file whose path ends in `suffix`, a file's name or its last folders and name.

        Raises:
            DataError: there is none, or there are several; it lists those that could be meant.
        """
        found = [name for name in self if name == suffix or name.endswith(f"/{suffix}")]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                f"{self.folder} holds {len(found)} files named {suffix}: {_some(found)}. Name one with its folders."
            )
        raise DataError(
            f"{self.folder} holds no file named {suffix}. Files that are not images: {_some(self._others(suffix))}. "
            "Correct the name in params.yaml, or add the file's address to the origins of download."
        )

    def _others(self, wanted: str) -> list[str]:
        """The files that are not images, those that end like the wanted one first."""
        ending = PurePosixPath(wanted).suffix
        return sorted((name for name in self if not is_image(name)), key=lambda name: not name.endswith(ending))


def _some(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
