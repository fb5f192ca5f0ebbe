"""The poses of a user's photos, found in the keypoint files that the user names, and the pose of a file by itself.

Understood are, by their content, the CSV of pose-gan and PATN, this project's keypoints table (`records`), and
OpenPose's JSON with 18 or 25 joints: one file, or a folder of them, as --write_json fills it.

A name belongs to a photo when the photo's path ends in it, folders included, or when both are the same photo of
DeepFashion in any spelling; OpenPose's NAME_keypoints.json belongs to the photo NAME whatever its suffix. Of several
names that fit, the one with most folders counts.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from repose.data.csv_files import text_of
from repose.data.layouts import DeepFashion, NameFinder, is_litter
from repose.data.records import read_keypoints
from repose.data.skeleton import JOINTS, LIMBS, K, present
from repose.errors import DataError, PoseNotFoundError
from repose.pose import keypoint_files

MIN_CONFIDENCE = 0.05  # joints that OpenPose found with less are missing
UNDERSTOOD = "a CSV of pose-gan or PATN, a keypoints table of repose, or OpenPose's JSON (a file or a folder of them)"


class KnownPoses:
    """Keypoints by photo, from files and folders; where two know a photo, the first that was named counts.

    Args:
        files: CSV files, JSON files and folders of JSON files; JSON files are read when their photo is asked for.

    Raises:
        DataError: a file is missing or none of those that are understood, a folder holds no JSON file, or a CSV
            has two poses for one name.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self._sources = [_Table(file) if file.suffix.lower() == ".csv" else _People(file) for file in files]

    def find(self, photo: Path, height: int, width: int) -> np.ndarray | None:
        """The keypoints (K, 2) of a photo in px of it, NaN for missing; None where no file knows the photo.

        Args:
            photo: its path; the file itself is not read.
            height: of the photo in px, upright.
            width: likewise.

        Raises:
            DataError, PoseNotFoundError: the keypoints fail `checked`, or a JSON file is not OpenPose's.
        """
        for source in self._sources:
            found = source.find(photo, height, width)
            if found is not None:
                return checked(found, height, width, str(photo))
        return None


def read_pose(file: Path, row: str | None, height: int, width: int) -> np.ndarray:
    """The one pose of a keypoint file: keypoints (K, 2) in px of an image of height x width, NaN for missing.

    Args:
        file: a CSV or a JSON file.
        row: of a CSV with several rows, the name of the one that is meant.
        height: of the image that the pose was measured in, in px.
        width: likewise.

    Raises:
        DataError: there is no such file or row, or there are several and none is named.
        DataError, PoseNotFoundError: the keypoints fail `checked`.
    """
    if file.suffix.lower() != ".csv":
        return checked(_main_person(file, height, width), height, width, str(file))
    table = _Table(file)
    if row is None and len(table.names) == 1:
        row = table.names[0]
    if row is None:
        raise DataError(
            f"{file} holds {len(table.names)} poses. Say which is meant, as {file}#NAME with a name of its first column."
        )
    found = table.row(row)
    if found is None:
        raise DataError(f"{file} has no row {row!r}. Name one of its first column.")
    return checked(found, height, width, f"{file}#{row}")


def checked(keypoints: np.ndarray, height: int, width: int, where: str) -> np.ndarray:
    """Keypoints (K, 2) of an image of height x width px; up to one px beyond its edge is moved to the edge.

    Raises:
        DataError: a joint lies farther outside. `where` opens the message.
        PoseNotFoundError: no limb has both of its joints.
    """
    beyond = keypoint_files.outside(keypoints[None], np.array([height]), np.array([width]))[0]
    if beyond.any():
        x, y = keypoints[beyond.argmax()]
        raise DataError(
            f"{where}: {beyond.sum()} of {present(keypoints).sum()} joints lie outside the image, first the "
            f"{JOINTS[beyond.argmax()]} at x {x:g}, y {y:g}; the image is {width} px wide and {height} px high. Were "
            "they found in an image of another size? Find them in this one; for a target pose without a photo, say "
            "with --pose-size HEIGHTxWIDTH which size it was measured in."
        )
    known = present(keypoints)
    if not known.any():
        raise PoseNotFoundError(
            f"{where}: no joint is known. Choose an image in which the person is seen more clearly."
        )
    if not any(known[first] and known[second] for first, second in LIMBS):
        raise PoseNotFoundError(
            f"{where}: of {known.sum()} known joint(s), such as the {JOINTS[known.argmax()]}, no two are the ends of one "
            "limb, so that there is nothing to draw. Choose an image in which more of the person is seen."
        )
    return keypoints.clip(0, [width - 1, height - 1]).astype(np.float32)


class _Table:
    """A CSV: one row per name."""

    def __init__(self, file: Path) -> None:
        self.names, self._keypoints = _read_csv(file)
        self._row: dict[str, int] = {}
        for row, name in enumerate(self.names):
            first = self._row.setdefault(name, row)
            if not np.array_equal(self._keypoints[first], self._keypoints[row], equal_nan=True):
                raise DataError(f"{file} gives two poses for {name}. Keep one row per photo.")
        self._finder = NameFinder(self.names)

    def row(self, name: str) -> np.ndarray | None:
        found = self._finder.find(name)
        return None if found is None else self._keypoints[self._row[found]]

    def find(self, photo: Path, height: int, width: int) -> np.ndarray | None:
        del height, width
        return next((found for name in _names(photo) if (found := self.row(name)) is not None), None)


class _People:
    """OpenPose's JSON: one file per photo."""

    def __init__(self, path: Path) -> None:
        self._file = {name: path / name_of_file for name_of_file, name in _json_files(path)}
        self._finder = NameFinder(self._file)

    def find(self, photo: Path, height: int, width: int) -> np.ndarray | None:
        for name in _names(photo.with_suffix(".jpg")):
            found = self._finder.find(name)
            if found is not None:
                return _main_person(self._file[found], height, width)
        return None


def _names(photo: Path) -> Iterable[str]:
    """What a photo may be called: as DeepFashion flattens its path, or by its last folders and name, longest first."""
    path = photo.absolute().as_posix()
    in_deepfashion = DeepFashion([], lambda _: b"").photo(path)
    if in_deepfashion is not None:
        yield in_deepfashion.name
    parts = PurePosixPath(path).parts[1:]
    for first in range(len(parts)):
        yield "/".join(parts[first:])


def _read_csv(file: Path) -> tuple[list[str], np.ndarray]:
    content = _content(file)
    if "nose_x" in text_of(content, str(file)).partition("\n")[0]:
        return read_keypoints(file)[:2]
    poses = keypoint_files.read_posegan_csv(content, str(file))
    return poses.names, poses.keypoints


def _json_files(path: Path) -> list[tuple[str, str]]:
    """The JSON files of a folder, below it, or the one at `path`, and the photos that they are about."""
    if path.is_dir():
        names = (file.relative_to(path).as_posix() for file in path.rglob("*.json"))
        files = sorted(name for name in names if not is_litter(name))
        if not files:
            raise DataError(
                f"The folder {path} holds no .json file. Put OpenPose's output (--write_json) there, or name a CSV itself."
            )
        return [(file, _photo_of_json(file)) for file in files]
    _content(path)
    if path.suffix.lower() != ".json":
        raise DataError(f"{path} is no keypoint file. Name {UNDERSTOOD}.")
    return [("", _photo_of_json(path.name))]


def _photo_of_json(file: str) -> str:
    """The photo that an OpenPose file is about; DeepFashion's path is flattened, as photos' names are."""
    path = keypoint_files.photo_of_json(file)
    in_deepfashion = DeepFashion([], lambda _: b"").photo(path)
    return path if in_deepfashion is None else in_deepfashion.name


def _main_person(file: Path, height: int, width: int) -> np.ndarray:
    people = keypoint_files.people_in(_content(file), str(file), MIN_CONFIDENCE)
    if not len(people):
        return np.full((K, 2), np.nan, np.float32)
    return keypoint_files.keypoints_of(people[keypoint_files.main_person(people, height, width)], str(file))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no keypoint file {file}. Name {UNDERSTOOD}.") from None
    except OSError as error:
        raise DataError(f"The keypoint file {file} cannot be read: {error.strerror}. Name {UNDERSTOOD}.") from None
