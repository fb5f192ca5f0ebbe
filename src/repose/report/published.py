"""The paper's Table 1 as published: a CSV with one row per system and data set.

The published numbers are from other photos, another split and an unnamed protocol. They are shown beside ours but never
compared with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repose.data.csv_files import read_csv
from repose.errors import ReposeError
from repose.storage.limits import read_limited

PUBLISHED = ("system", "name", "data set", "ssim", "is", "split", "protocol")
Published = Mapping[tuple[str, str], Mapping[str, Any]]  # by data set and system: PUBLISHED; may be empty


def read_published(path: Path) -> Published:
    """The rows of the table; ssim and is are floats, everything else is text.

    Raises:
        ReposeError: the file is missing or damaged, or has two rows for one system and data set.
    """
    content = read_limited(path, "CSV", "Give a CSV of published numbers.")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line, cells in read_csv(content, str(path), PUBLISHED).rows:
        data, system = cells["data set"], cells["system"]
        if (data, system) in found:
            raise ReposeError(f"{path} has two rows for {system} on {data}. Remove one.")
        try:
            found[data, system] = cells | {name: float(cells[name]) for name in ("ssim", "is")}
        except ValueError as error:
            raise ReposeError(f"{path}, line {line}: ssim and is should be numbers ({error}).") from None
    return found
