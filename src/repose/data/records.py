"""The tables between the stages: their columns, how they are written, how they are read.

Every table is a CSV with a header, LF line ends and no index; text stays text ("0002" is never the number 2). A folder
that holds images holds one such table beside its shards.

| file | one row per | written by |
|---|---|---|
| raw/photos/files.csv, raw/lists/files.csv | file of the source, path as the owner has it | download |
| images/PART/images.csv | photo that passed | validate |
| keypoints/PART/keypoints.csv | photo that passed; joints that are missing are empty | keypoints |
| keypoints/PART/order.csv | photo that the source of keypoints has a row for, in the source's order | keypoints |
| posemaps/PART/posemaps.csv | photo that has a pose | posemaps |
| split/items.csv | photo of an item that is trained or tested on | split |
| split/train-pairs.csv, test-pairs.csv | pair: `from` is the source, `to` the target; to test on, also `occlusion` | split |

The photos lie in parts, 0, 1, ..., so that keypoints and posemaps run for all parts at the same time, each with its own
photos alone. The stages after them read the tables of all parts as one. Which parts there are is said by the folder
`images`; a part that another folder has beside these is left over from other settings, and nobody reads it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repose.data.skeleton import JOINTS, K
from repose.errors import DataError
from repose.storage.atomic import write_text

FILES = ("name", "shard", "offset", "size", "sha256")
IMAGES = (
    "name",  # the one name in every later table: DeepFashion's is flattened as PATN does, Market's is the file's
    "path",  # where its owner keeps it
    "item",  # the photos of one garment (DeepFashion) or person (Market-1501)
    "category",  # DeepFashion: WOMEN/Dresses; else empty
    "view",  # DeepFashion: front, side, back, full, flat, additional; Market-1501: the camera, c1 to c6
    "partition",  # the owner's: train, query, gallery, or empty where the owner's list is not there
    "height", "width",  # pixels
    "sha256",  # of the file
    "shard", "offset", "size",  # where its bytes are
)  # fmt: skip
ORDER = ("name", "row")  # row: its place in the source, from 0, counted over all parts
POSEMAPS = ("name", "shard", "offset", "size")
ITEMS = ("part", "item", "name")  # part: train or test
PAIRS = ("from", "to")
# Of the garment that the target shows, the share that the source hides, 0 to 1 (`visibility.occlusion`); empty: not known.
OCCLUSION = "occlusion"
_NUMBERS = {"offset": np.int64, "size": np.int64, "height": np.int64, "width": np.int64, "row": np.int64}
# The stages that run once for each part, by their files.
_STAGES_OF_PARTS = {
    "keypoints.csv": "keypoints", "order.csv": "keypoints", "posemaps.csv": "posemaps", "posemaps.json": "posemaps",
}  # fmt: skip


def write_table(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write the named columns of a table, whole or not at all."""
    write_text(path, table.to_csv(columns=list(columns), index=False, lineterminator="\n"))


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table of text and whole numbers.

    Raises:
        DataError: there is no such file, it is damaged, or its header lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in columns if column not in table]
        if missing:
            raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}.")
        return table.astype({name: kind for name, kind in _NUMBERS.items() if name in table})
    except FileNotFoundError:
        raise DataError(f"There is no {path}. Run the stage that writes it (`dvc repro`), or `dvc pull`.") from None
    except ValueError as error:
        raise _damaged(path, error) from None


def shares(table: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    """A column of numbers from 0 to 1 in a table that was read from `path`: (rows,) float64, NaN where empty.

    Raises:
        DataError: something else stands in it.
    """
    try:
        values = np.array([float(value or "nan") for value in table[name]], np.float64)
    except ValueError as error:
        raise _damaged(path, error) from None
    if ((values < 0) | (values > 1)).any():
        raise _damaged(path, ValueError(f"{name} should be from 0 to 1, or empty"))
    return values


def part_names(images: Path) -> tuple[str, ...]:
    """The parts of the photos that validate packed into the folder `images`, in their order.

    Raises:
        DataError: there are none.
    """
    parts = sorted((path.name for path in images.glob("*") if path.is_dir() and path.name.isdecimal()), key=int)
    if not parts:
        raise DataError(
            f"There are no photos in {images} (its parts are {images / '0'} and so on). Run the stage that writes them "
            "(`dvc repro validate`), or `dvc pull`."
        )
    return tuple(parts)


def part_files(folder: Path, parts: Sequence[str], name: str) -> list[Path]:
    """The file of that name of each part.

    Raises:
        DataError: a part of the photos has none in this folder, because its stage did not run.
    """
    files = [folder / part / name for part in parts]
    for part, file in zip(parts, files, strict=True):
        if name in _STAGES_OF_PARTS and not file.exists():
            raise DataError(
                f"There is no {file}, and the photos have a part {part}. Run the stage that writes it "
                f"(`dvc repro {_STAGES_OF_PARTS[name]}@{part}`), or `dvc pull`."
            )
    return files


def read_parts(folder: Path, parts: Sequence[str], name: str, columns: Sequence[str]) -> pd.DataFrame:
    """The tables of that name of all parts as one, in the order of the parts; shards are named from `folder` on.

    Raises:
        DataError: a part lacks it, or as `read_table`.
    """
    tables = []
    for part, file in zip(parts, part_files(folder, parts, name), strict=True):
        table = read_table(file, columns)
        tables.append(table.assign(shard=f"{part}/" + table["shard"]) if "shard" in table else table)
    return pd.concat(tables, ignore_index=True)


_KEYPOINT_COLUMNS = tuple(f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "confidence"))


def write_keypoints(path: Path, names: Sequence[str], keypoints: np.ndarray, confidence: np.ndarray) -> None:
    """Write the keypoints table: keypoints (n, K, 2) in pixels with NaN for missing, confidence (n, K) in [0, 1]."""
    values = np.concatenate([keypoints, np.where(np.isnan(keypoints[..., :1]), 0, confidence[..., None])], -1)
    table = pd.DataFrame(values.reshape(len(names), 3 * K).astype(np.float64).round(3), columns=list(_KEYPOINT_COLUMNS))
    table.insert(0, "name", list(names))
    write_text(path, table.to_csv(index=False, lineterminator="\n", float_format="%.10g"))


def read_keypoints(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, keypoints (n, K, 2) float32 in pixels with NaN for missing, confidence (n, K) float32 in [0, 1].

    Raises:
        DataError: there is no such file, it is damaged, or it does not hold 18 joints.
    """
    try:
        table = pd.read_csv(path, dtype={"name": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise DataError(
            f"There is no {path}. Run the keypoints stage (`dvc repro keypoints`), or `dvc pull`."
        ) from None
    except ValueError as error:
        raise _damaged(path, error) from None
    if list(table.columns) != ["name", *_KEYPOINT_COLUMNS]:
        raise DataError(
            f"{path} is not a table of {K} keypoints: its header should be name,nose_x,nose_y,nose_confidence,..."
        )
    try:
        values = table[list(_KEYPOINT_COLUMNS)].to_numpy(np.float32).reshape(-1, K, 3)
    except ValueError as error:
        raise _damaged(path, error) from None
    return list(table["name"]), values[..., :2], values[..., 2]


def read_parts_keypoints(folder: Path, parts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The keypoints tables of all parts as one, as `read_keypoints` gives them.

    Raises:
        DataError: a part lacks it, or as `read_keypoints`.
    """
    names, keypoints, confidence = zip(*map(read_keypoints, part_files(folder, parts, "keypoints.csv")), strict=True)
    return [name for part in names for name in part], np.concatenate(keypoints), np.concatenate(confidence)


def _damaged(path: Path, error: ValueError) -> DataError:
    return DataError(f"{path} is damaged ({error}). Restore it (`dvc checkout`) or run the stage that writes it again.")


def write_json(path: Path, record: Any) -> None:
    """Write JSON that a person can read and a diff can follow."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"There is no {path}. Run the stage that writes it (`dvc repro`), or `dvc pull`.") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}). Run the stage that writes it again.") from None
