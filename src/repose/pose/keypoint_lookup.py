"""The poses of a user's photos in the keypoint files that the user names, and the pose of a file by itself.

Read are the CSV of pose-gan and PATN, this project's keypoints table (`records`), and OpenPose's JSON with 18 or 25
joints: one file, or a folder of them, as --write_json fills it.

A name belongs to a photo when the photo's path ends in it, folders included, or when both are the same photo of
DeepFashion in any spelling; OpenPose's NAME_keypoints.json belongs to the photo NAME whatever its suffix. Of several
names that fit, the one with most folders counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from repose.data.csv_files import text_of
from repose.data.layouts import DeepFashion, NameFinder, is_litter
from repose.data.records import read_keypoints
from repose.data.skeleton import JOINTS, LIMBS, present
from repose.errors import DataError, PoseNotFoundError
from repose.pose import keypoint_files

MIN_CONFIDENCE = 0.05  # joints that OpenPose found with less are missing
UNDERSTOOD = "a CSV of pose-gan or PATN, a keypoints table of repose, or OpenPose's JSON (a file or a folder of them)"
_DEEPFASHION = DeepFashion([], lambda _: b"")  # for the grammar of its paths


class KnownPoses:
    """Keypoints by photo, from files and folders; where two know a photo, the first that was named counts.

    Args:
        files: CSV files, JSON files and folders of JSON files; JSON files are read when their photo is asked for.

    Raises:
        DataError: a file is missing or of another kind, a folder holds no JSON file, or a CSV has two poses for one name.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self._sources = [_Source(file) for file in files]

    def find(self, photo: Path, height: int, width: int) -> np.ndarray | None:
        """The keypoints (K, 2) of a photo of height x width px, NaN for missing; None where no file knows the photo.

        The photo itself is not read; its size is that of the upright image.

        Raises:
            DataError, PoseNotFoundError: the keypoints fail `checked`, or a JSON file is not OpenPose's.
        """
        for source in self._sources:
            for name in _spellings(photo if source.is_csv else photo.with_suffix(".jpg")):
                if (found := source.find(name, height, width)) is not None:
                    return checked(found, height, width, str(photo))
        return None


def read_pose(file: Path, row: str | None, height: int, width: int) -> np.ndarray:
    """The one pose of a keypoint file: keypoints (K, 2) in px of an image of height x width, NaN for missing.

    Of a CSV with several rows, `row` is the name of the one that is meant.

    Raises:
        DataError: there is no such file or row, or there are several and none is named.
        DataError, PoseNotFoundError: the keypoints fail `checked`.
    """
    if file.suffix.lower() != ".csv":
        return checked(_person_in(file, height, width), height, width, str(file))
    table = _Source(file)
    if row is None and len(table.poses) == 1:
        (row,) = table.poses
    found = None if row is None else table.find(row, height, width)
    if found is None:
        which = "" if row is None else f", none of them of {row!r}"
        raise DataError(
            f"{file} holds {len(table.poses)} poses{which}. Say which is meant, as {file}#NAME with a name of its first "
            "column."
        )
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
    if not any(known[first] and known[second] for first, second in LIMBS):
        which = f"of {known.sum()} known joint(s) no two are the ends of a limb" if known.any() else "no joint is known"
        raise PoseNotFoundError(
            f"{where}: {which}, so there is nothing to draw. Choose an image in which more of the person is seen."
        )
    return keypoints.clip(0, [width - 1, height - 1]).astype(np.float32)


class _Source:
    """The poses of a CSV, a JSON file or a folder of them, by the names of their photos."""

    def __init__(self, path: Path) -> None:
        self.is_csv = path.suffix.lower() == ".csv"
        self.poses: Mapping[str, np.ndarray | Path] = _rows(path) if self.is_csv else _json_files(path)
        self._finder = NameFinder(self.poses)

    def find(self, name: str, height: int, width: int) -> np.ndarray | None:
        """The keypoints of the photo of that name in any spelling, whose size is height x width px."""
        known = self._finder.find(name)
        pose = None if known is None else self.poses[known]
        return _person_in(pose, height, width) if isinstance(pose, Path) else pose


def _rows(file: Path) -> dict[str, np.ndarray]:
    content = _content(file)
    if "nose_x" in text_of(content, str(file)).partition("\n")[0]:
        names, keypoints, _ = read_keypoints(file)
    else:
        names, keypoints, _ = keypoint_files.read_posegan_csv(content, str(file))
    rows: dict[str, np.ndarray] = {}
    for name, pose in zip(names, keypoints, strict=True):
        if not np.array_equal(rows.setdefault(name, pose), pose, equal_nan=True):
            raise DataError(f"{file} gives two poses for {name}. Keep one row per photo.")
    return rows


def _json_files(path: Path) -> dict[str, Path]:
    """The JSON files of a folder, below it, or the one at `path`, by the photos that they describe."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.json") if not is_litter(file.relative_to(path).as_posix()))
        if not files:
            raise DataError(
                f"The folder {path} holds no .json file. Put OpenPose's output (--write_json) there, or name a CSV itself."
            )
        return {_photo_of(file.relative_to(path).as_posix()): file for file in files}
    _content(path)
    if path.suffix.lower() != ".json":
        raise DataError(f"{path} is no keypoint file. Name {UNDERSTOOD}.")
    return {_photo_of(path.name): path}


def _photo_of(json_file: str) -> str:
    """The photo that an OpenPose file describes; DeepFashion's path is flattened, as photos' names are."""
    path = keypoint_files.photo_of_json(json_file)
    in_deepfashion = _DEEPFASHION.photo(path)
    return in_deepfashion.name if in_deepfashion else path


def _spellings(photo: Path) -> Iterable[str]:
    """What a photo may be called: as DeepFashion flattens its path, or by its last folders and name, longest first."""
    path = photo.absolute().as_posix()
    if in_deepfashion := _DEEPFASHION.photo(path):
        yield in_deepfashion.name
    parts = PurePosixPath(path).parts[1:]
    for first in range(len(parts)):
        yield "/".join(parts[first:])


def _person_in(file: Path, height: int, width: int) -> np.ndarray:
    people = keypoint_files.read_openpose_json(_content(file), str(file))
    joints, _ = keypoint_files.choose_person(people, (height, width), MIN_CONFIDENCE)
    return keypoint_files.check_pixels(keypoint_files.known_points(joints), str(file))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"The keypoint file {file} cannot be read: {error.strerror}. Name {UNDERSTOOD}.") from None
