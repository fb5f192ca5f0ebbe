"""Look up the poses of a user's photos in keypoint files, and read the pose in a single file.

A name matches a photo if the photo's path ends in it, including folders (separated by / or, as in the stages' tables, by __).
It also matches if both are the same photo of DeepFashion in any spelling. OpenPose's NAME_keypoints.json matches the photo
NAME with any suffix. If several names match, the one with most folders is used.
"""

import filecmp
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from repose.data.csv_files import text_of
from repose.data.layouts import NameFinder, is_litter
from repose.data.placement import MIDDLE, centres
from repose.data.skeleton import JOINTS, LIMBS, K, present
from repose.errors import DataError, PoseNotFoundError
from repose.pose import keypoint_files
from repose.storage.limits import read_limited
from repose.terminal import warn

MIN_CONFIDENCE = 0.05  # OpenPose's joints with less confidence count as missing
MIN_LIMBS = 3  # of a person; images of fewer look like nobody
_ONE_PLACE = 2  # px
UNDERSTOOD = "a CSV of pose-gan or PATN, a keypoints table of repose, or OpenPose's JSON (a file or a folder of them)"


class KnownPoses:
    """Keypoints by photo, from files and folders. If several have a photo, the first is used.

    Args:
        files: CSV files, JSON files and folders of JSON files; JSON files are read when their photo is requested.

    Raises:
        DataError: a file is missing or of another format, a folder has no JSON file, or a CSV has no pose, or two for a name.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self._sources = [PoseSource(file) for file in files]
        # the photos that were found, by the names in their source
        self._by_name: dict[tuple[PoseSource, str], Path] = {}

    def find(self, photo: Path, height: int, width: int) -> np.ndarray | None:
        """The keypoints (K, 2) of a photo of height x width px, NaN for missing; None if no file has the photo.

        The photo itself is not read. The size is that of the upright image.

        Raises:
            DataError, PoseNotFoundError: the keypoints fail `checked`, a JSON file is not OpenPose's, or a name is that of
                several different photos.
        """
        for source in self._sources:
            for name in _names(photo if source.is_csv else photo.with_suffix(".jpg")):
                if (found := source.find(name, height, width)) is not None:
                    self._check_same_photo(source, name, photo)
                    return _checked_in_file(found, height, width, str(photo))
        return None

    def _check_same_photo(self, source: "PoseSource", name: str, photo: Path) -> None:
        """Raise a DataError if another photo, in another folder or with another suffix, was given the pose of the name."""
        other = self._by_name.setdefault((source, name), photo)
        if other != photo and other.is_file() and photo.is_file() and not filecmp.cmp(other, photo, shallow=False):
            raise DataError(
                f"{source.path} has one pose for the name {name}, but {other} and {photo} are different photos. Give "
                "the poses names with the photos' folders, or give the photos different names."
            )


def _names(photo: Path) -> Iterator[str]:
    """The names of a photo: its absolute path and the ends of that, the longest first, each with / and with __."""
    parts = Path(os.path.abspath(photo)).parts  # noqa: PTH100 (Path.absolute keeps "..", and with it a folder of others)
    for first in range(len(parts)):
        name = str(Path(*parts[first:]))
        yield from (name, name.replace("/", "__"))


def read_pose(
    file: Path, row: str | None, height: int, width: int, tables: "dict[Path, PoseSource] | None" = None
) -> np.ndarray:
    """The pose in a keypoint file: keypoints (K, 2) in px of an image of height x width, NaN for missing.

    `row` is the name of the row in a CSV with several rows. `tables` has the CSV files that were read earlier; one that is
    read now is added.

    Raises:
        DataError: the file or row is missing, or there are several rows and `row` is not given.
        DataError, PoseNotFoundError: the keypoints fail `checked`.
    """
    if file.suffix.lower() != ".csv":
        return _checked_in_file(_person_in(file, height, width), height, width, str(file))
    tables = {} if tables is None else tables
    if (table := tables.get(file)) is None:
        table = tables[file] = PoseSource(file)
    if row is None and len(table.poses) == 1:
        (row,) = table.poses
    found = None if row is None else table.find(row, height, width)
    if found is None:
        which = "" if row is None else f", none of them for {row!r}"
        raise DataError(
            f"{file} has {len(table.poses)} poses{which}. Choose one as {file}#NAME, with a name from the first column."
        )
    return _checked_in_file(found, height, width, f"{file}#{row}")


def checked(keypoints: np.ndarray, height: int, width: int, where: str) -> np.ndarray:
    """Check keypoints (K, 2) of an image of height x width px; move joints up to one px outside to the edge.

    A joint of which only x or y is known is missing: it becomes NaN in both.

    Raises:
        DataError: a joint lies farther outside, or all lie on one place. `where` opens the message.
        PoseNotFoundError: fewer than MIN_LIMBS limbs have both joints.
    """
    known = present(keypoints)
    keypoints = np.where(known[:, None], keypoints, np.float32(np.nan))
    beyond = keypoint_files.outside(keypoints[None], np.array([height]), np.array([width]))[0]
    if beyond.any():
        x, y = keypoints[beyond.argmax()]
        raise DataError(
            f"{where}: {beyond.sum()} of {known.sum()} joints lie outside the image, first the "
            f"{JOINTS[beyond.argmax()]} at x {x:g}, y {y:g}; the image is {width} px wide and {height} px high. Were "
            "they found in an image of another size? Find them in this one; for a target pose without a photo, give "
            "the size of its image with --pose-size HEIGHTxWIDTH."
        )
    limbs = sum(known[first] and known[second] for first, second in LIMBS)
    if limbs < MIN_LIMBS:
        raise PoseNotFoundError(
            f"{where}: {known.sum()} of {K} joints are known, with {limbs} whole limb(s); at least {MIN_LIMBS} are needed. "
            "Choose an image in which more of the person is seen."
        )
    if np.ptp(keypoints[known], axis=0).max() <= _ONE_PLACE:
        raise DataError(
            f"{where}: all {known.sum()} joints lie within {_ONE_PLACE} px of each other. Coordinates should be px of the "
            "image, not shares of its sides, and missing joints NaN."
        )
    return keypoints.clip(0, [width - 1, height - 1]).astype(np.float32)


def _checked_in_file(keypoints: np.ndarray, height: int, width: int, where: str) -> np.ndarray:
    """The `checked` keypoints of a file; with a warning if they seem to have been found in a smaller copy of the image."""
    keypoints = checked(keypoints, height, width, where)
    if (centres(keypoints[None], np.array([height]), np.array([width])) < MIDDLE[0]).all():
        warn(
            f"{where}: the joints are centered in the upper left of the image, which is {width} px wide and {height} px "
            "high. Were they found in a smaller copy? Find them in this image; for a target pose without a photo, give the "
            "size of its image with --pose-size HEIGHTxWIDTH."
        )
    return keypoints


class PoseSource:
    """The poses in a CSV, a JSON file or a folder of JSON files, by the names of their photos."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_csv = path.suffix.lower() == ".csv"
        self.poses: Mapping[str, np.ndarray | Path] = _rows(path) if self.is_csv else _json_files(path)
        self._finder = NameFinder(self.poses)

    def find(self, name: str, height: int, width: int) -> np.ndarray | None:
        """The keypoints of the photo with a name in any spelling; its size is height x width px."""
        known = self._finder.find(name)
        pose = None if known is None else self.poses[known]
        return _person_in(pose, height, width) if isinstance(pose, Path) else pose


def _rows(file: Path) -> dict[str, np.ndarray]:
    content = _content(file)
    if "nose_x" in text_of(content, str(file)).partition("\n")[0]:
        from repose.data.records import read_keypoints

        names, keypoints, _ = read_keypoints(file)
    else:
        names, keypoints, _ = keypoint_files.read_posegan_csv(content, str(file))
    rows: dict[str, np.ndarray] = {}
    for name, pose in zip(names, keypoints, strict=True):
        if not np.array_equal(rows.setdefault(name, pose), pose, equal_nan=True):
            raise DataError(f"{file} gives two poses for {name}. Keep one row per photo.")
    if not rows:
        raise DataError(f"{file} has a header, but no poses. Give {UNDERSTOOD}.")
    return rows


def _json_files(path: Path) -> dict[str, Path]:
    """The JSON files anywhere in a folder, or the one at `path`, by photo."""
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir fails in folders that may not be entered)
        files = sorted(file for file in path.rglob("*.json") if not is_litter(file.relative_to(path).as_posix()))
        if not files:
            raise DataError(
                f"The folder {path} has no .json file. Put OpenPose's output (--write_json) there, or give a CSV."
            )
        return {keypoint_files.photo_of_json(file.relative_to(path).as_posix()): file for file in files}
    _content(path)
    if path.suffix.lower() != ".json":
        raise DataError(f"{path} is not a keypoint file. Give {UNDERSTOOD}.")
    return {keypoint_files.photo_of_json(path.with_suffix(".json").name): path}


def _person_in(file: Path, height: int, width: int) -> np.ndarray:
    people = keypoint_files.read_openpose_json(_content(file), str(file))
    joints, _ = keypoint_files.choose_person(people, (height, width), MIN_CONFIDENCE)
    return keypoint_files.check_pixels(keypoint_files.known_points(joints), str(file))


def _content(file: Path) -> bytes:
    return read_limited(file, "JSON" if file.suffix.lower() == ".json" else "CSV", f"Give {UNDERSTOOD}.")
