"""The paper's own Table 1 as it was printed: a CSV with a row for each system and data set.

A printed number is of other photos, another split and an unnamed protocol. It stands beside ours and is never compared with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repose.data.csv_files import read_csv
from repose.errors import ReposeError

PUBLISHED = ("system", "name", "data set", "ssim", "is", "split", "protocol")
Published = Mapping[tuple[str, str], Mapping[str, Any]]  # by data set and system: PUBLISHED; may be empty


def read_published(path: Path) -> Published:
    """The rows of the table; ssim and is are float, all else is text.

    Raises:
        ReposeError: the file is missing or damaged, or has two rows of one system and data set.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReposeError(f"{path} cannot be read: {error.strerror}. Name a CSV of published numbers.") from None
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line, cells in read_csv(content, str(path), PUBLISHED).rows:
        data, system = cells["data set"], cells["system"]
        if (data, system) in found:
            raise ReposeError(f"{path} has two rows of {system} on {data}. Leave one out.")
        try:
            found[data, system] = cells | {name: float(cells[name]) for name in ("ssim", "is")}
        except ValueError as error:
            raise ReposeError(f"{path}, line {line}: ssim and is should be numbers ({error}).") from None
    return found
