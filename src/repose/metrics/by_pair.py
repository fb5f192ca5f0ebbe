"""The table of scores by pair, pairs.csv, as evaluate writes it."""

from pathlib import Path

import pandas as pd

from repose.data.records import PAIRS, read_table
from repose.errors import ReposeError

_TEXT = ("system", *PAIRS, "split")  # the other columns are numbers


def read_pairs(path: Path, *columns: str) -> pd.DataFrame:
    """Return the table: scores and other numbers are float64 to the last digit, NaN if empty.

    Raises:
        ReposeError: the file is missing, damaged, or lacks the system, an end of the pair, or one of the other `columns`.
    """
    pairs = read_table(path, ("system", *PAIRS, *columns), others=True)
    for name in [name for name in pairs.columns if name not in _TEXT]:
        try:
            pairs[name] = [float(cell or "nan") for cell in pairs[name]]
        except ValueError as error:
            raise ReposeError(f"{path} is damaged in {name} ({error}). Run the stage evaluate again.") from None
    return pairs
