"""Read pose-gan's and PATN's CSV and OpenPose's JSON, and match their poses to photos.

A CSV has a header and rows such as `NAME.jpg: [18 numbers, y]: [18 numbers, x]`, in whole pixels, -1 for missing. OpenPose
writes one JSON per photo, with 18 (COCO) or 25 (BODY_25) joints per person, each as x, y, confidence, 0 for missing.
"""

import json
import re
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from repose.data.csv_files import read_csv
from repose.data.layouts import NameFinder
from repose.data.skeleton import JOINTS, K, present
from repose.errors import DataError

COLUMNS = ("name", "keypoints_y", "keypoints_x")
# Our joint i is joint BODY_25[i] of OpenPose's BODY_25, which also has the middle of the hips (8) and the feet (at the end).
BODY_25 = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]
_LIST = re.compile(rf"\[ *(-?\d{{1,5}}(?: *, *-?\d{{1,5}}){{{K - 1}}}) *\]", re.ASCII)


class Poses(NamedTuple):
    """Poses in the order of their file."""

    names: list[str]  # names of the photos, as spelled in the file
    keypoints: np.ndarray  # (n, K, 2) float32, px, NaN for missing
    confidence: np.ndarray  # (n, K) float32 in [0, 1], 0 for missing


class Matched(NamedTuple):
    """The poses of photos; a photo without a row has no joints."""

    keypoints: np.ndarray  # (photos, K, 2) float32, px, NaN for missing
    confidence: np.ndarray  # (photos, K) float32 in [0, 1], 0 for missing
    order: list[str]  # the photos with a row, in the order of the rows
    rows: np.ndarray  # (len(order),) int64, the first row of each of them
    others: list[str]  # names of rows that match none of the photos
    repeated: int  # rows that equal an earlier one


def read_posegan_csv(content: bytes, where: str) -> Poses:
    """The poses of a pose-gan or PATN CSV, with columns in any order; known joints have confidence 1.

    Raises:
        DataError: the header is another, a row is not two lists of 18 whole numbers, or a joint lacks x or y. `where`
            names the file in the message.
    """
    names, numbers = list[str](), array("i")  # for each row, 18 x and then 18 y
    for line, cells in read_csv(content, where, COLUMNS, usual=":").rows:
        y, x = (_LIST.fullmatch(cells[column]) for column in COLUMNS[1:])
        if not cells["name"] or y is None or x is None:
            raise DataError(
                f"{where}, line {line}: expected 'NAME: [{K} whole numbers, y]: [{K} whole numbers, x]' in the order "
                f"{JOINTS[0]}, {JOINTS[1]}, ..., {JOINTS[-1]} (COCO's 17 joints lack the neck), found "
                f"{': '.join(cells[column] for column in COLUMNS)[:100]!r}."
            )
        names.append(cells["name"])
        numbers.extend(map(int, f"{x[1]},{y[1]}".split(",")))
    values = np.frombuffer(numbers, np.int32).reshape(len(names), 2, K).swapaxes(1, 2)
    missing = values == -1
    rows, joints = np.nonzero(missing[..., 0] != missing[..., 1])
    if len(rows):
        raise DataError(
            f"{where}: {names[rows[0]]} has only one of x and y of the {JOINTS[joints[0]]} ({len(rows)} such joint(s) "
            "in the file). A missing joint is -1 in both lists."
        )
    keypoints = np.where(missing, np.float32(np.nan), values.astype(np.float32))
    return Poses(names, keypoints, present(keypoints).astype(np.float32))


def read_openpose_json(content: bytes, where: str) -> np.ndarray:
    """The people of one OpenPose file: (people, K, 3) float32 of x, y in px and confidence, 0 for missing.

    Raises:
        DataError: the file is not OpenPose's JSON with 18 or 25 joints. `where` names the file in the message.
    """
    try:
        record = json.loads(content)
        if not isinstance(record, dict) or not isinstance(record.get("people"), list):
            raise ValueError("it should be a mapping with a list named people")
        people = [_person(person) for person in record["people"]]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{where} is not a JSON of OpenPose ({error}). Expected "
            '{"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}]} with 18 (COCO) or 25 (BODY_25) joints a '
            "person: run OpenPose with --write_json and --model_pose COCO or BODY_25."
        ) from None
    return np.array(people, np.float32).reshape(-1, K, 3)


def _person(person: Any) -> np.ndarray:
    keys = ("pose_keypoints_2d", "pose_keypoints")  # the second is of OpenPose before 1.2
    given = next((person[key] for key in keys if isinstance(person, dict) and key in person), None)
    if given is None:
        raise ValueError(f"a person lacks {keys[0]}")
    with np.errstate(over="ignore"):
        values = np.array(given, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{keys[0]} has a value that is not a finite number")
    if values.shape not in ((3 * K,), (3 * 25,)):
        raise ValueError(f"{keys[0]} should be a flat list of {3 * K} or {3 * 25} numbers, its shape is {values.shape}")
    joints = values.reshape(-1, 3)
    return joints if len(joints) == K else joints[BODY_25]


def choose_person(people: np.ndarray, size: Sequence[int], min_confidence: float) -> tuple[np.ndarray, int]:
    """The main person in a photo, and the number of people with at least one joint of enough confidence.

    The main person has the highest product of the area of the box around the joints and the closeness of the box's center
    to the image's: 1 in the middle, 0 in a corner. A joint of it that is missing is 0, 0, 0; so are all if there is nobody.

    Args:
        people: (n, K, 3) x and y in px, and the confidence.
        size: height and width of the photo in px.
        min_confidence: joints with less confidence count as missing.
    """
    sure = np.where(people[..., 2:] < min_confidence, np.float32(0), people)
    sure = sure[(sure[..., 2] > 0).any(1)]
    if not len(sure):
        return np.zeros((K, 3), np.float32), 0
    known = sure[..., 2:] > 0
    low = np.where(known, sure[..., :2], np.inf).min(1)
    high = np.where(known, sure[..., :2], -np.inf).max(1)
    height, width = size
    middle = np.array([width - 1, height - 1]) / 2
    closeness = 1 - np.linalg.norm((low + high) / 2 - middle, axis=-1) / np.linalg.norm(middle)
    rating = np.prod(high - low + 1, axis=-1) * closeness.clip(0.01)
    return sure[rating.argmax()], len(sure)


def known_points(joints: np.ndarray) -> np.ndarray:
    """Keypoints (..., K, 2) from joints with confidence (..., K, 3); NaN if the confidence is 0."""
    return np.where(joints[..., 2:] > 0, joints[..., :2], np.float32(np.nan))


def check_pixels(keypoints: np.ndarray, where: str) -> np.ndarray:
    """Check that OpenPose's keypoints (..., K, 2) are in px; return them.

    Raises:
        DataError: they are shares of the image's sides. `where` opens the message.
    """
    if present(keypoints).any() and np.nanmax(keypoints) <= 1:
        raise DataError(
            f"{where}: all joints lie within one px: their coordinates are shares of the image's width and height. Run "
            "OpenPose with --keypoint_scale 0 (px of the image)."
        )
    return keypoints


def photo_of_json(path: str) -> str:
    """The photo of an OpenPose file: `a/NAME_keypoints.json` -> `a/NAME.jpg`."""
    return path.removesuffix(".json").removesuffix("_keypoints") + ".jpg"


def match(poses: Poses, names: Sequence[str]) -> Matched:
    """Match poses, with names in either spelling, to the photos `names`.

    Raises:
        DataError: two rows of one photo differ.
    """
    import pandas as pd

    finder = NameFinder(names)
    found = [finder.find(name) for name in poses.names]
    photo = pd.Index(names).get_indexer(pd.Index(found, dtype=object))
    known = np.flatnonzero(photo >= 0)
    is_first = ~pd.Series(photo[known]).duplicated().to_numpy()
    first, again = known[is_first], known[~is_first]
    keypoints = np.full((len(names), K, 2), np.nan, np.float32)
    confidence = np.zeros((len(names), K), np.float32)
    keypoints[photo[first]], confidence[photo[first]] = poses.keypoints[first], poses.confidence[first]
    same = np.isclose(poses.keypoints[again], keypoints[photo[again]], rtol=0, atol=0, equal_nan=True).all((1, 2))
    if not same.all():
        raise DataError(
            f"{(~same).sum()} row(s) give a second, different pose for a photo, first for "
            f"{names[photo[again][~same][0]]}. Keep one row per photo, or list only one of the files in `files`."
        )
    order, others = [names[row] for row in photo[first]], [poses.names[row] for row in np.flatnonzero(photo < 0)]
    return Matched(keypoints, confidence, order, first, others, len(again))


def outside(keypoints: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Which known joints lie more than a pixel outside their image: (n, K) bool, from keypoints (n, K, 2), sizes (n,).

    There are none in the published files (4,038 photos of PATN's test set). Such a joint suggests another image size.
    """
    last = np.stack([width, height], -1)[:, None] - 1  # x, y of the center of the last pixel
    beyond: np.ndarray = np.any((keypoints < -1) | (keypoints > last + 1), axis=-1)
    return beyond
