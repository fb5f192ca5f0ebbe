"""The paper's own Table 1, as it was printed: a CSV with a row for each system and data set.

A printed number is of other photos, another split and a protocol that nobody named. It may stand beside ours, and is never
compared with them.
"""

from pathlib import Path

import pandas as pd

from repose.data.csv_files import read_csv
from repose.errors import ReposeError

PUBLISHED = ("system", "name", "data set", "ssim", "is", "split", "protocol")


def read_published(path: Path) -> pd.DataFrame:
    """The columns PUBLISHED: text, but for ssim and is, which are float64.

    Raises:
        ReposeError: the file is missing or damaged, or tells two things of one place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReposeError(f"{path} cannot be read: {error.strerror}. Name a CSV of published numbers.") from None
    table = pd.DataFrame([cells for _, cells in read_csv(content, str(path), PUBLISHED).rows], columns=list(PUBLISHED))
    try:
        table = table.astype({"ssim": float, "is": float})
    except ValueError as error:
        raise ReposeError(f"{path}: ssim and is should be numbers ({error}).") from None
    twice = table[table.duplicated(["system", "data set"])]
    if len(twice):
        raise ReposeError(
            f"{path} has two rows of {twice.iloc[0]['system']} on {twice.iloc[0]['data set']}. Leave one out."
        )
    return table
