"""Read the files of a source, written by the stage download, from shards by their owner's paths.

Photos (see `layouts.is_image`) and all other files, the lists, are kept apart, so that a stage that only needs the lists does
not have to fetch the photos:

| folder | content |
|---|---|
| photos/ | image files: tar shards and files.csv |
| lists/ | CSV, JSON, text and all other files: tar shards and files.csv; and source.json, the facts about the source |
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from repose.data.layouts import LAYOUTS, LayoutName, is_image
from repose.data.records import FILES, read_json, read_parts, read_table
from repose.data.shards import ShardReader
from repose.errors import DataError

PHOTOS, LISTS = "photos", "lists"
TABLE, SOURCE = "files.csv", "source.json"


class RawFiles(ShardReader):
    """The files of a folder that download wrote, or of its sub-folder `lists` by itself.

    Attributes:
        table: files.csv, with the columns `records.FILES`; photos come first.
        source: mannequin, deepfashion, market1501 or folders.
        layout: the naming scheme of the files.

    Raises:
        DataError: the folder was not written by download.
    """

    def __init__(self, folder: Path) -> None:
        whole = (folder / LISTS).is_dir()
        self.table: pd.DataFrame = (
            read_parts(folder, (PHOTOS, LISTS), TABLE, FILES) if whole else read_table(folder / TABLE, FILES)
        )
        super().__init__(folder, self.table)
        path = (folder / LISTS if whole else folder) / SOURCE
        record = read_json(path)
        if not isinstance(record, dict) or "source" not in record or record.get("layout") not in LAYOUTS:
            raise DataError(f"{path} lacks a source or a layout ({', '.join(LAYOUTS)}). Run the stage download again.")
        self.source: str = record["source"]
        self.layout: LayoutName = record["layout"]

    @property
    def names(self) -> list[str]:
        """The owner's paths of all files, in the order of the shards."""
        return list(self)

    def find(self, suffix: str) -> str:
        """The name of the file whose path ends in `suffix`, a file name with or without its last folders.

        Raises:
            DataError: there is no such file, or there are several. The message lists the candidates.
        """
        found = [name for name in self if name == suffix or name.endswith(f"/{suffix}")]
        if len(found) == 1:
            return found[0]
        ending = PurePosixPath(suffix).suffix
        others = sorted((name for name in self if not is_image(name)), key=lambda name: not name.endswith(ending))
        listed, what = (found, f"{len(found)} files") if found else (others, "no file")
        more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
        raise DataError(
            f"{self.folder} has {what} named {suffix}; {'they are' if found else 'its lists are'}: "
            f"{', '.join(listed[:10]) or 'none'}{more}. Correct the name in params.yaml (with its folders, if there are "
            "several), or add the file's address to the origins of download."
        )
