"""Jobs: the photos and poses that a user names, read from files, and the images that a trained system makes of them.

Many jobs stand in a CSV (`csv_files.read_csv`) with the columns sources (photos, separated by ;), pose and, if wanted, out;
its paths are relative to its folder. Or they are the sub-folders of a folder, each with photos and a file or photo named
pose.*.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repose.data.csv_files import read_csv
from repose.data.images import encode_png
from repose.data.known_poses import KnownPoses, checked, read_pose
from repose.data.layouts import is_image, is_litter
from repose.data.photo_files import Size, read_photo
from repose.errors import ReposeError
from repose.files import write_bytes
from repose.pose_finder import Find, NetworkName, pose_finder
from repose.reposer import Reposer, SourcePhoto, TargetPose
from repose.settings import nearest
from repose.terminal import bar, say

REQUIRED, OPTIONAL = ("sources", "pose"), ("out",)  # columns of a CSV of jobs
HOW_TO_FIND_POSES = (
    "Let a network find it (--find-poses keypoint-rcnn for people, figure for mannequins), or find it with OpenPose "
    "(openpose.bin --image_dir PHOTOS --write_json POSES --model_pose COCO --display 0 --render_pose 0) and name the result: "
    "--keypoints POSES"
)


class FileJob(NamedTuple):
    """One image to make."""

    name: str  # for messages about many jobs
    sources: tuple[Path, ...]
    pose: str  # a JSON, a CSV (with #NAME for one of several rows) or a photo; empty: none was named
    out: Path


class Made(NamedTuple):
    """What a job made, and of what."""

    generated: np.ndarray  # (H, W, 3) uint8
    sources: list[SourcePhoto]  # those that were used
    target: TargetPose


class FileReposer:
    """Makes the images of jobs, one by one: what is made of a job does not depend on those before it.

    Photos are kept until the next job is done, so that one garment in many poses is read once.

    Args:
        reposer: the trained system.
        poses: where the keypoints of photos are looked up.
        pose_size: of the image that poses without a photo were measured in; None: of the job's first photo.
        find: finds the keypoints of photos that `poses` does not know (see `pose_finder`); None: nothing does.
    """

    def __init__(self, reposer: Reposer, poses: KnownPoses, pose_size: Size | None, find: Find | None = None) -> None:
        self._reposer, self._poses, self._pose_size, self._find = reposer, poses, pose_size, find
        self._kept: dict[Path, SourcePhoto] = {}

    def make(self, job: FileJob) -> Made:
        """Read what a job names and make its image; photos beyond the most that the system takes are left out.

        Raises:
            ReposeError: a photo or pose cannot be read or is not known, or the job names none.
        """
        sources = self._sources(job)
        target = self._target(job, *sources[0].pixels.shape[:2])
        return Made(self._reposer(sources, target), sources, target)

    def picture(self, made: Made) -> np.ndarray:
        """See `Reposer.picture`."""
        return self._reposer.picture(made.sources, made.target, made.generated)

    def left_out(self, job: FileJob) -> tuple[Path, ...]:
        """The photos of a job that are too many for the system."""
        return job.sources[self._reposer.most_sources :]

    def _sources(self, job: FileJob) -> list[SourcePhoto]:
        used = job.sources[: self._reposer.most_sources]
        if not used:
            raise ReposeError("No source photo is named. Name at least one.")
        self._kept = {path: self._kept[path] if path in self._kept else self._source(path) for path in used}
        return [self._kept[path] for path in used]

    def _source(self, path: Path) -> SourcePhoto:
        pixels = read_photo(path)
        if not self._reposer.needs_source_poses:
            return SourcePhoto(pixels, None, str(path))
        return SourcePhoto(pixels, self._known(path, pixels), str(path))

    def _target(self, job: FileJob, height: int, width: int) -> TargetPose:
        if not job.pose:
            raise ReposeError("No pose is named, or several. Name one: a JSON, a CSV or a photo.")
        file, row = _file_and_row(job.pose)
        if file.suffix.lower() in (".csv", ".json"):
            size = self._pose_size or (height, width)
            return TargetPose(read_pose(file, row, *size), *size)
        pixels = read_photo(file)
        return TargetPose(self._known(file, pixels), *pixels.shape[:2])

    def _known(self, photo: Path, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        found = self._poses.find(photo, height, width)
        if found is not None:
            return found
        if self._find is not None:
            return checked(self._find(pixels), height, width, str(photo))
        looked = f"None of {', '.join(map(str, self._poses.files))} has" if self._poses.files else "There are no"
        raise ReposeError(f"{looked} keypoints of {photo}, and its pose must be known. {HOW_TO_FIND_POSES}.")


def make_image(
    photos: Sequence[Path | str], pose: Path | str, *, checkpoint: Path | str, keypoints: Sequence[Path | str] = (),
    find_poses: NetworkName | None = None, pose_size: Size | None = None, device: str = "cpu",
) -> np.ndarray:  # fmt: skip
    """`repose generate` as one call: photos of a garment and a target pose, as files, to an image.

    Args:
        photos: of one garment, the one most like the target pose first; those beyond what the system takes are left out.
        pose: a JSON, a CSV (CSV#NAME: one row of several) or a photo.
        checkpoint: of the trained system, such as a run's model.safetensors.
        keypoints: files and folders in which the poses of photos are looked up (see `known_poses`).
        find_poses: the network that finds the poses of photos that are looked up in vain: figure (mannequins) or
            keypoint-rcnn (people); None: it is an error.
        pose_size: height and width in px of the image that a pose without a photo was measured in; None: of the first photo.
        device: cpu or cuda.

    Returns:
        (height, width, 3) uint8 RGB, of the size that the system was trained at.

    Raises:
        ReposeError: a file cannot be read, or a pose that is needed is not known.
    """
    poses = KnownPoses([Path(path) for path in keypoints])
    find = pose_finder(find_poses, device) if find_poses else None
    file_reposer = FileReposer(Reposer.load(checkpoint, device), poses, pose_size, find)
    return file_reposer.make(FileJob("The image", tuple(Path(path) for path in photos), str(pose), Path())).generated


def read_jobs(path: Path, out: Path) -> list[FileJob]:
    """The jobs of a CSV or of a folder of folders, with their images in the folder `out`.

    Raises:
        ReposeError: there is no such file, its columns are others, it holds no job, or an image would lie outside `out`.
    """
    if not path.exists():
        raise ReposeError(
            f"There is no {path}. Name a CSV with the columns {', '.join(REQUIRED + OPTIONAL)}, or a folder of jobs."
        )
    jobs = _jobs_of_folder(path, out) if path.is_dir() else _jobs_of_csv(path, out)
    if not jobs:
        raise ReposeError(
            f"{path} holds no job. A CSV has one a row; of a folder, each sub-folder with photos and a file pose.* is one."
        )
    return jobs


def check_outputs(jobs: Sequence[FileJob], others: Iterable[Path] = ()) -> None:
    """Refuse, before anything is made, what would be lost: two images in one file, or an image over what is read.

    Args:
        jobs: all that are to be made.
        others: further files that are written.

    Raises:
        ReposeError: two outputs are one file, an output is an input, or one does not end in .png.
    """
    outputs = [*[job.out for job in jobs], *others]
    for out in outputs:
        if out.suffix.lower() != ".png":
            raise ReposeError(f"{out}: images are written as PNG. Name a file that ends in .png.")
        if out.is_dir():
            raise ReposeError(f"{out} is a folder. Name a file that does not exist yet, or an earlier image.")
    counts = Counter(out.resolve() for out in outputs)
    twice = [str(out) for out in outputs if counts[out.resolve()] > 1]
    if twice:
        raise ReposeError(f"{len(twice)} images would be written to one file: {twice[0]}. Give each its own.")
    inputs = {
        file.resolve() for job in jobs for file in (*job.sources, *([_file_and_row(job.pose)[0]] * bool(job.pose)))
    }
    lost = [str(out) for out in outputs if out.resolve() in inputs]
    if lost:
        raise ReposeError(f"{lost[0]} is a photo or pose that is read; it is never written over. Name another output.")


def make_one(job: FileJob, file_reposer: FileReposer, picture: Path | None) -> None:
    """Make and write one image and, if wanted, a picture of how it came about.

    Raises:
        ReposeError: as `FileReposer.make`, or the disk cannot be written to.
    """
    made = file_reposer.make(job)
    left_out = ", ".join(map(str, file_reposer.left_out(job)))
    if left_out:
        say(f"generate: the system takes {len(made.sources)} photos; left out: {left_out}")
    write_bytes(job.out, encode_png(made.generated))
    if picture is not None:
        write_bytes(picture, encode_png(file_reposer.picture(made)))
    say(f"generate: {job.out} is ready")


def make_all(jobs: Sequence[FileJob], file_reposer: FileReposer) -> None:
    """Make and write the image of every job that can be made.

    Raises:
        ReposeError: some could not (the others lie there, whole), or the disk cannot be written to.
    """
    failures = []
    for job in bar(jobs, "generate"):
        try:
            made = file_reposer.make(job)
        except ReposeError as error:
            failures.append(f"{job.name}: {error}")
            continue
        write_bytes(job.out, encode_png(made.generated))
    with_more = [job for job in jobs if file_reposer.left_out(job)]
    if with_more:
        say(f"generate: {len(with_more):,} jobs name more photos than the system takes; of {with_more[0].name}, "
            f"{', '.join(map(str, file_reposer.left_out(with_more[0])))} left out")  # fmt: skip
    if failures:
        listed = "\n  ".join(failures)
        raise ReposeError(f"{len(failures):,} of {len(jobs):,} images could not be made; the others are.\n  {listed}")


def _file_and_row(pose: str) -> tuple[Path, str | None]:
    """`poses.csv#NAME` -> the file and NAME; any other pose -> the file and None."""
    file, mark, row = pose.rpartition("#")
    return (Path(file), row) if mark and file.lower().endswith(".csv") else (Path(pose), None)


def _jobs_of_folder(folder: Path, out: Path) -> list[FileJob]:
    jobs = []
    for place in filter(Path.is_dir, _listed(folder)):
        files = _listed(place)
        poses = [file for file in files if file.name.startswith("pose.")]
        photos = [file for file in files if is_image(file.name) and file not in poses]
        if poses or photos:
            pose = str(poses[0]) if len(poses) == 1 else ""
            jobs.append(FileJob(place.name, tuple(photos), pose, out / f"{place.name}.png"))
    return jobs


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_litter(path.name))


def _jobs_of_csv(file: Path, out: Path) -> list[FileJob]:
    jobs = []
    table = read_csv(file.read_bytes(), str(file), REQUIRED, OPTIONAL, hint="Separate the photos of one job with ';'.")
    for column in table.columns:
        if column and column not in (*REQUIRED, *OPTIONAL):
            raise ReposeError(f"{file}: unknown column {column!r}{nearest(column, (*REQUIRED, *OPTIONAL))}")
    for line, cells in table.rows:
        name = f"{file}, line {line}"
        sources = tuple(file.parent / part.strip() for part in cells["sources"].split(";") if part.strip())
        pose = str(file.parent / cells["pose"]) if cells["pose"] else ""
        jobs.append(FileJob(name, sources, pose, _inside(out, cells.get("out") or _usual(sources, pose), name)))
    return jobs


def _usual(sources: Sequence[Path], pose: str) -> str:
    """The name of an image that was given none: FIRST_SOURCE_in_POSE.png."""
    file, row = _file_and_row(pose)
    return f"{sources[0].stem if sources else ''}_in_{Path(row).stem if row else file.stem}.png"


def _inside(out: Path, name: str, where: str) -> Path:
    if not (out / name).resolve().is_relative_to(out.resolve()):
        raise ReposeError(f"{where}: {name} lies outside {out}. Name a file in it.")
    return out / name
