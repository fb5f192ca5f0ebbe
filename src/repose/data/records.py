"""Columns, readers and writers of the tables between the stages.

Every table is a CSV with a header, LF line ends and no index. Text stays text ("0002" is never the number 2). A name that a
spreadsheet program would run as a formula is written with a ' before it, which the readers here remove (`no_formulas`).

| file | one row per | written by |
|---|---|---|
| raw/photos/files.csv, raw/lists/files.csv | file of the source, with its owner's path | download |
| images/PART/images.csv | photo that passed | validate |
| keypoints/PART/keypoints.csv | photo that passed; missing joints are empty | keypoints |
| keypoints/PART/order.csv | photo with a row in the source of keypoints, in the source's order | keypoints |
| posemaps/PART/posemaps.csv | photo that has a pose | posemaps |
| split/items.csv | photo of an item for training or testing | split |
| split/train-pairs.csv, test-pairs.csv | pair: `from` is the source, `to` the target; for testing also `occlusion` | split |

Photos are partitioned into parts, 0, 1, ..., so that keypoints and posemaps run for all parts in parallel. Later stages read
the tables of all parts as one. The folder `images` defines the parts; other parts in other folders are left over from earlier
settings and are ignored.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from repose.data.csv_files import FORMULA, MARK
from repose.data.skeleton import JOINTS, K
from repose.errors import DataError
from repose.storage.atomic import whole_file, write_text
from repose.storage.limits import within_limit

FILES = ("name", "shard", "offset", "size", "sha256")
IMAGES = (
    "name",  # the name in every later table: DeepFashion's path flattened as by PATN, or Market-1501's file name
    "path",  # the owner's
    "item",  # the photos of one garment (DeepFashion) or person (Market-1501)
    "category",  # DeepFashion: WOMEN/Dresses; else empty
    "view",  # DeepFashion: front, side, back, full, flat, additional; Market-1501: the camera, c1 to c6
    "partition",  # the owner's: train, query, gallery, or empty where the owner's list is missing
    "height", "width",  # pixels
    "sha256",  # of the file
    "shard", "offset", "size",  # the place of its bytes
)  # fmt: skip
ORDER = ("name", "row")  # row: its place in the source, from 0, counted over all parts
POSEMAPS = ("name", "shard", "offset", "size")
ITEMS = ("part", "item", "name")  # part: train or test
PAIRS = ("from", "to")
# The share, 0 to 1, of the target's garment that is hidden in the source (`visibility.occlusion`); empty: unknown.
OCCLUSION = "occlusion"
MAX_COLUMNS = 500
_UNMARKED = re.compile(rf"\A(?={FORMULA})(?![+-]?\d+(\.\d+)?([eE][+-]?\d+)?\Z)")  # before a formula that is no number
_NUMBERS = {"offset": np.int64, "size": np.int64, "height": np.int64, "width": np.int64, "row": np.int64}
_ROWS_AT_ONCE = 2**15  # of a table, so that its other columns need no memory
_KEYPOINT_COLUMNS = [f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "confidence")]


def no_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a ' before each text that a spreadsheet program would run; it keeps numbers. `_names` removes it."""
    return table.replace(_UNMARKED, "'", regex=True)


def _names(table: pd.DataFrame) -> pd.DataFrame:
    return table.replace(MARK, "", regex=True)


def write_table(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write the given columns of a table atomically."""
    _write_csv(path, table[list(columns)])


def _write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    with whole_file(path) as partial:  # not by way of a text, which takes more memory than the table
        no_formulas(table).to_csv(partial, index=False, lineterminator="\n", float_format=float_format)


def read_table(path: Path, columns: Sequence[str], *, others: bool = False) -> pd.DataFrame:
    """Read some columns of a table of text and whole numbers, in the file's order; with `others`, all columns.

    Raises:
        DataError: the file is missing or damaged, or its header lacks a column.
    """
    with _errors_named(path):
        kept = []
        with _opened(path) as file:
            for block in parse_table(file, chunksize=_ROWS_AT_ONCE):
                if missing := [column for column in columns if column not in block]:
                    raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(block)}.")
                kept.append(block if others else block[[column for column in block if column in columns]])
        table = _names(pd.concat(kept, ignore_index=True))
        return table.astype({name: kind for name, kind in _NUMBERS.items() if name in table})


def parse_table(file: TextIO, **options: Any) -> Any:
    """Parse a CSV as text, or by the `options` of pandas, to what `read_csv` returns. An empty cell is no missing value.

    The header is read apart: pandas renames columns of equal names, in a time quadratic in their number.

    Raises:
        ValueError, csv.Error: it is damaged, its header repeats a name or has more than MAX_COLUMNS, or a row is longer.
    """
    rows = csv.reader(file)
    header = next(rows, [])
    if not 0 < len(header) <= MAX_COLUMNS or len(set(header)) < len(header):
        raise ValueError(f"its header should have 1 to {MAX_COLUMNS} different names")
    if len(next(filter(None, rows), [])) > len(header):  # pandas would move each name to the column after it
        raise ValueError("its first row has more values than its header")
    file.seek(0)
    return pd.read_csv(file, header=0, names=header, **{"dtype": str, "keep_default_na": False, **options})


def _opened(path: Path) -> TextIO:
    return within_limit(path, "table").open(encoding="utf-8-sig", newline="")


def shares(table: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    """A column of numbers from 0 to 1 in a table read from `path`: (rows,) float64, NaN if empty.

    Raises:
        DataError: the column has another value.
    """
    with _errors_named(path):
        values = np.array([float(value or "nan") for value in table[name]], np.float64)
        if ((values < 0) | (values > 1)).any():
            raise ValueError(f"{name} should be from 0 to 1, or empty")
        return values


def part_names(images: Path) -> tuple[str, ...]:
    """The names of the parts that validate wrote to the folder `images`, in order.

    Raises:
        DataError: there are no parts.
    """
    parts = sorted((path.name for path in images.glob("*") if path.is_dir() and path.name.isdecimal()), key=int)
    if not parts:
        raise DataError(
            f"There are no photos in {images} (its parts are {images / '0'} and so on). Run the stage that writes them "
            "(`dvc repro validate`), or `dvc pull`."
        )
    return tuple(parts)


def part_files(folder: Path, parts: Sequence[str], name: str) -> list[Path]:
    """The paths of each part's file with a name."""
    return [folder / part / name for part in parts]


def read_parts(folder: Path, parts: Sequence[str], name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read the tables with a name of all parts as one; shards are relative to `folder`. Raises as `read_table`."""
    tables = []
    for part, file in zip(parts, part_files(folder, parts, name), strict=True):
        table = read_table(file, columns)
        tables.append(table.assign(shard=f"{part}/" + table["shard"]) if "shard" in table else table)
    return pd.concat(tables, ignore_index=True)


def write_keypoints(path: Path, names: Sequence[str], keypoints: np.ndarray, confidence: np.ndarray) -> None:
    """Write the keypoints table: keypoints (n, K, 2) in px, NaN for missing; confidence (n, K) in [0, 1]."""
    values = np.concatenate([keypoints, np.where(np.isnan(keypoints[..., :1]), 0, confidence[..., None])], -1)
    table = pd.DataFrame(values.reshape(len(names), 3 * K).astype(np.float64).round(3), columns=_KEYPOINT_COLUMNS)
    table.insert(0, "name", list(names))
    _write_csv(path, table, float_format="%.10g")


def read_keypoints(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read names, keypoints (n, K, 2) float32 in px, NaN for missing, and confidence (n, K) float32 in [0, 1].

    Raises:
        DataError: the file is missing or damaged, or does not have 18 joints.
    """
    with _errors_named(path):
        missing = dict.fromkeys(_KEYPOINT_COLUMNS, "")  # an empty name is not missing
        kinds = {"name": str} | dict.fromkeys(_KEYPOINT_COLUMNS, np.float32)
        with _opened(path) as file:
            table = _names(parse_table(file, dtype=kinds, na_values=missing))
        if list(table.columns) != ["name", *_KEYPOINT_COLUMNS]:
            raise DataError(
                f"{path} is not a table of {K} keypoints: its header should be name,nose_x,nose_y,nose_confidence,..."
            )
        values = table[_KEYPOINT_COLUMNS].to_numpy(np.float32).reshape(-1, K, 3)
        return list(table["name"]), values[..., :2], values[..., 2]


def read_parts_keypoints(folder: Path, parts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read the keypoints tables of all parts as one. Returns and raises as `read_keypoints`."""
    names, keypoints, confidence = zip(*map(read_keypoints, part_files(folder, parts, "keypoints.csv")), strict=True)
    return [name for part in names for name in part], np.concatenate(keypoints), np.concatenate(confidence)


def write_json(path: Path, record: Any) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises a DataError if the file is missing or damaged."""
    with _errors_named(path):
        return json.loads(within_limit(path, "JSON").read_bytes())


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Turn errors in reading a file that a stage wrote into a DataError."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"There is no {path}. Run the stage that writes it (`dvc repro`), or `dvc pull`.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from None
    except (ValueError, OverflowError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{path} is damaged ({error}). Restore it (`dvc checkout`) or run the stage that writes it again."
        ) from None
