"""Readers of the two keypoint files that the field exchanges: the CSV of pose-gan and PATN, and OpenPose's JSON.

pose-gan's CSV has a header and rows such as `NAME.jpg: [18 numbers, y]: [18 numbers, x]`, whole pixels, -1 for missing.
OpenPose writes one JSON per photo, with 18 (COCO) or 25 (BODY_25) times x, y, confidence per person, 0 for missing.
Versions before 1.2 call the list `pose_keypoints` instead of `pose_keypoints_2d`.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from repose.data.csv_files import read_csv
from repose.data.layouts import NameFinder
from repose.data.skeleton import JOINTS, K, present
from repose.errors import DataError

COLUMNS = ("name", "keypoints_y", "keypoints_x")
HEADER = ":".join(COLUMNS)
MISSING = -1  # in a CSV, in x and in y

# Joint i of ours is joint BODY_25[i] of OpenPose's BODY_25, which has the middle of the hips at 8 and ends in the feet.
BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)

BODY_KEYS = ("pose_keypoints_2d", "pose_keypoints")  # the second before OpenPose 1.2

_NUMBERS = re.compile(r"\[ *(-?\d{1,5}(?: *, *-?\d{1,5})*) *\]")


class Poses(NamedTuple):
    """One row per pose, in the order of the file."""

    names: list[str]  # of the photos, as the file spells them
    keypoints: np.ndarray  # (n, K, 2) float32, pixels, NaN for missing
    confidence: np.ndarray  # (n, K) float32 in [0, 1], 0 for missing


class Matched(NamedTuple):
    """Poses put to the photos that they belong to."""

    keypoints: np.ndarray  # (photos, K, 2) float32, pixels, NaN for missing
    confidence: np.ndarray  # (photos, K) float32 in [0, 1], 0 for missing
    order: list[str]  # the photos that have a row, in the order of the rows
    rows: np.ndarray  # (len(order),) int64, which row that is: the first of the photo's
    others: list[str]  # names of rows that belong to none of the photos
    repeated: int  # rows that say the same as an earlier one


def read_posegan_csv(content: bytes, where: str) -> Poses:
    """The poses of a pose-gan or PATN CSV, with confidence 1 for each known joint.

    The columns are told by their names and may be separated by anything that `csv_files.read_csv` reads.

    Raises:
        DataError: another header, a row that is not two lists of 18 whole numbers, a joint with x or y alone. `where`
            names the file in the message.
    """
    names, numbers = [], []
    for line, cells in read_csv(content, where, COLUMNS, usual=":").rows:
        names.append(cells["name"])
        numbers += _lists(cells, f"{where}, line {line}")
    values = np.fromstring(",".join(numbers), dtype=np.int32, sep=",").reshape(len(names), 2, K).swapaxes(1, 2)
    missing = values == MISSING
    _check_both_or_neither(names, missing, where)
    keypoints = np.where(missing, np.nan, values).astype(np.float32)
    return Poses(names, keypoints, present(keypoints).astype(np.float32))


def read_openpose_json(content: bytes, where: str) -> np.ndarray:
    """The people of one OpenPose file: (people, K, 3) float32 of x, y in pixels and confidence, 0 for missing.

    Raises:
        DataError: not JSON, not OpenPose's, or neither 18 nor 25 joints. `where` names the file in the message.
    """
    try:
        record = json.loads(content)
        if not isinstance(record, dict) or not isinstance(record.get("people"), list):
            raise ValueError("it should be one mapping with a list named people")
        people = [_person(person) for person in record["people"]]
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{where} is not a JSON of OpenPose ({error}). Expected "
            '{"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}]} with 18 (COCO) or 25 (BODY_25) joints a '
            "person: run OpenPose with --write_json and --model_pose COCO or BODY_25."
        ) from None
    return np.stack(people) if people else np.zeros((0, K, 3), np.float32)


def people_in(content: bytes, where: str, min_confidence: float) -> np.ndarray:
    """The people (n, K, 3) of an OpenPose file who have at least one joint of that confidence, without their others.

    Raises:
        DataError: as `read_openpose_json`.
    """
    return sure_people(read_openpose_json(content, where), min_confidence)


def sure_people(people: np.ndarray, min_confidence: float) -> np.ndarray:
    """Those of the people (n, K, 3) who have at least one joint of that confidence, without their others."""
    sure = np.where(people[..., 2:] < min_confidence, np.float32(0), people)
    found: np.ndarray = sure[(sure[..., 2] > 0).any(1)]
    return found


def keypoints_of(joints: np.ndarray, where: str) -> np.ndarray:
    """OpenPose's joints (..., K, 3) as keypoints (..., K, 2) in px, NaN for missing.

    Raises:
        DataError: the coordinates are shares of the image's sides. `where` opens the message.
    """
    keypoints: np.ndarray = np.where(joints[..., 2:] > 0, joints[..., :2], np.float32(np.nan))
    if present(keypoints).any() and np.nanmax(keypoints) <= 1:
        raise DataError(
            f"{where}: all joints lie within one px: their coordinates are shares of the image's width and height. Run "
            "OpenPose with --keypoint_scale 0 (px of the image)."
        )
    return keypoints


def main_person(people: np.ndarray, height: int, width: int) -> int:
    """Which of the people (people, K, 3) a photo of height x width pixels is of: a large one near the middle.

    Each is rated by the area of the box around the known joints times the closeness of the box's centre to the
    image's: 1 in the middle, 0 in a corner.
    """
    known = people[..., 2] > 0
    with np.errstate(invalid="ignore"):  # a person without joints has the box inf to -inf; its rating is set to -1
        low = np.where(known[..., None], people[..., :2], np.inf).min(1)
        high = np.where(known[..., None], people[..., :2], -np.inf).max(1)
        middle = np.array([width - 1, height - 1]) / 2
        closeness = 1 - np.linalg.norm((low + high) / 2 - middle, axis=-1) / np.linalg.norm(middle)
        rating = np.prod(high - low + 1, axis=-1) * closeness.clip(0.01)
    return int(np.where(known.any(1), rating, -1).argmax())


def photo_of_json(path: str) -> str:
    """The photo that an OpenPose file is about: `a/NAME_keypoints.json` -> `a/NAME.jpg`."""
    return path.removesuffix(".json").removesuffix("_keypoints") + ".jpg"


def match(poses: Poses, names: Sequence[str]) -> Matched:
    """Put poses, whose names may be in either spelling, to the photos `names`; a photo without a row has no joint.

    Raises:
        DataError: two rows of one photo differ.
    """
    finder, row_of = NameFinder(names), pd.Index(names)
    found = [finder.find(name) for name in poses.names]
    photo = row_of.get_indexer(pd.Index(found, dtype=object))
    known = np.flatnonzero(photo >= 0)
    first = known[~pd.Series(photo[known]).duplicated().to_numpy()]
    keypoints = np.full((len(names), K, 2), np.nan, np.float32)
    confidence = np.zeros((len(names), K), np.float32)
    keypoints[photo[first]], confidence[photo[first]] = poses.keypoints[first], poses.confidence[first]
    _check_repetitions(poses, photo, known, keypoints, names)
    return Matched(
        keypoints,
        confidence,
        order=[names[row] for row in photo[first]],
        rows=first,
        others=[poses.names[row] for row in np.flatnonzero(photo < 0)],
        repeated=len(known) - len(first),
    )


def outside(keypoints: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Which known joints lie more than a pixel beyond their image: (n, K) bool, from keypoints (n, K, 2), sizes (n,).

    None does in the published files (4,038 photos of PATN's test set): one that does tells of another image size.
    """
    last = np.stack([width, height], -1)[:, None] - 1  # x, y of the centre of the last pixel
    beyond: np.ndarray = np.any((keypoints < -1) | (keypoints > last + 1), axis=-1)
    return beyond


def _lists(cells: dict[str, str], where: str) -> list[str]:
    """The numbers of x and of y of a row, with commas between them."""
    y, x = (_NUMBERS.fullmatch(cells[column]) for column in COLUMNS[1:])
    if not cells["name"] or y is None or x is None:
        found = ": ".join(cells[column] for column in COLUMNS)
        raise DataError(
            f"{where}: expected 'NAME: [{K} whole numbers, y]: [{K} whole numbers, x]', found {found[:100]!r}."
        )
    counts = y[1].count(",") + 1, x[1].count(",") + 1
    if counts != (K, K):
        raise DataError(
            f"{where}: {cells['name']} has {counts[0]} values of y and {counts[1]} of x; expected {K} of each, in the "
            f"order {JOINTS[0]}, {JOINTS[1]}, ..., {JOINTS[-1]} (a COCO file with 17 joints lacks the neck)."
        )
    return [x[1], y[1]]


def _check_both_or_neither(names: list[str], missing: np.ndarray, where: str) -> None:
    rows, joints = np.nonzero(missing[..., 0] != missing[..., 1])
    if len(rows):
        raise DataError(
            f"{where}: {names[rows[0]]} has only one of x and y of the {JOINTS[joints[0]]} ({len(rows)} such joint(s) "
            f"in the file). A missing joint is {MISSING} in both lists."
        )


def _person(person: Any) -> np.ndarray:
    key = next((key for key in BODY_KEYS if isinstance(person, dict) and key in person), None)
    if key is None:
        raise ValueError(f"a person without {BODY_KEYS[0]}")
    values = np.array(person[key], np.float32)
    if values.shape not in ((3 * K,), (3 * 25,)):
        raise ValueError(f"{key} should be a flat list of {3 * K} or {3 * 25} numbers, its shape is {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{key} holds a value that is not a number")
    joints = values.reshape(-1, 3)
    return joints if len(joints) == K else joints[list(BODY_25)]


def _check_repetitions(
    poses: Poses, photo: np.ndarray, known: np.ndarray, keypoints: np.ndarray, names: Sequence[str]
) -> None:
    row, kept = poses.keypoints[known], keypoints[photo[known]]
    same = (row == kept) | (np.isnan(row) & np.isnan(kept))
    differ = photo[known][~same.all((1, 2))]
    if len(differ):
        raise DataError(
            f"{len(differ)} row(s) give another pose for a photo that has one already, first that of "
            f"{names[differ[0]]}. Keep one row per photo, or name only one of the files in `files`."
        )
