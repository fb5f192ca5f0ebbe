"""Jobs: the photos and poses that a user names, read from files, and the images that a trained system makes of them.

Many jobs stand in a CSV (`csv_files.read_csv`) with the columns sources (photos, separated by ;), pose and, if wanted, out;
its paths are relative to its folder. Or they are the sub-folders of a folder, each with photos and a file or photo named
pose.*.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from repose.config import nearest
from repose.data.csv_files import read_csv
from repose.data.images import encode_png
from repose.data.layouts import is_image, is_litter
from repose.data.photo_files import Size
from repose.errors import DataError, ReposeError
from repose.generate import TARGETS_AT_ONCE, Framed, Request
from repose.inference.reposer import Reposer, file_and_row
from repose.storage.atomic import write_bytes
from repose.terminal import bar, say

REQUIRED, OPTIONAL = ("sources", "pose"), ("out",)  # columns of a CSV of jobs


class FileJob(NamedTuple):
    """One image to make."""

    name: str  # for messages about many jobs
    sources: tuple[Path, ...]
    pose: str  # a JSON, a CSV (with #NAME for one of several rows) or a photo; empty: none was named
    out: Path


def read_jobs(path: Path, out: Path) -> list[FileJob]:
    """The jobs of a CSV or of a folder of folders, with their images in the folder `out`.

    Raises:
        ReposeError: there is no such file, its columns are others, it holds no job, or an image would lie outside `out`.
    """
    if not path.exists():
        raise DataError(
            f"There is no {path}. Name a CSV with the columns {', '.join(REQUIRED + OPTIONAL)}, or a folder of jobs."
        )
    jobs = _jobs_of_folder(path, out) if path.is_dir() else _jobs_of_csv(path, out)
    if not jobs:
        raise DataError(
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
            raise DataError(f"{out}: images are written as PNG. Name a file that ends in .png.")
        if out.is_dir():
            raise DataError(f"{out} is a folder. Name a file that does not exist yet, or an earlier image.")
    counts = Counter(out.resolve() for out in outputs)
    twice = [str(out) for out in outputs if counts[out.resolve()] > 1]
    if twice:
        raise DataError(f"{len(twice)} images would be written to one file: {twice[0]}. Give each its own.")
    inputs = {
        file.resolve() for job in jobs for file in (*job.sources, *([file_and_row(job.pose)[0]] * bool(job.pose)))
    }
    lost = [str(out) for out in outputs if out.resolve() in inputs]
    if lost:
        raise DataError(f"{lost[0]} is a photo or pose that is read; it is never written over. Name another output.")


def make_one(job: FileJob, reposer: Reposer, pose_size: Size | None = None, picture: Path | None = None) -> None:
    """Make and write one image and, if wanted, a picture of how it came about.

    Args:
        job: what to make.
        reposer: the trained system.
        pose_size: height and width in px of the image in which a pose file was measured; None: those of the first photo.
        picture: where the picture goes.

    Raises:
        ReposeError: a photo or pose cannot be read or is not known, the job names none, or the disk is full.
    """
    request, _ = _request(job, reposer, pose_size, {})
    (generated,) = reposer.generate([request])
    left_out = ", ".join(map(str, job.sources[reposer.max_sources :]))
    if left_out:
        say(f"generate: the system takes {reposer.max_sources} photos; left out: {left_out}")
    write_bytes(job.out, encode_png(generated))
    if picture is not None:
        write_bytes(picture, encode_png(reposer.picture(request, generated)))
    say(f"generate: {job.out} is ready")


def make_all(jobs: Sequence[FileJob], reposer: Reposer, pose_size: Size | None = None) -> None:
    """Make and write the image of every job that can be made, TARGETS_AT_ONCE at a time.

    Memory does not grow with the number of jobs. An image differs by at most one grey level from the one that `make_one`
    makes, as sums over a batch are rounded in another order.

    Args:
        jobs: what to make.
        reposer: the trained system.
        pose_size: see `make_one`.

    Raises:
        ReposeError: some could not be made (the others lie there, whole), or the disk is full.
    """
    failures: list[str] = []
    ready = _requests(bar(jobs, "generate"), reposer, pose_size, failures)
    while some := list(islice(ready, TARGETS_AT_ONCE)):
        images = reposer.generate([request for _, request in some])
        for (job, _), generated in zip(some, images, strict=True):
            write_bytes(job.out, encode_png(generated))
    with_more = [job for job in jobs if len(job.sources) > reposer.max_sources]
    if with_more:
        left_out = ", ".join(map(str, with_more[0].sources[reposer.max_sources :]))
        say(f"generate: {len(with_more):,} jobs name more photos than the system takes; of {with_more[0].name}, "
            f"{left_out} left out")  # fmt: skip
    if failures:
        listed = "\n  ".join(failures)
        raise DataError(f"{len(failures):,} of {len(jobs):,} images could not be made; the others are.\n  {listed}")


def _requests(
    jobs: Iterable[FileJob], reposer: Reposer, pose_size: Size | None, failures: list[str]
) -> Iterator[tuple[FileJob, Request]]:
    """Read the jobs that can be made; why one cannot goes to `failures`.

    The photos of one garment in many poses are read once.
    """
    kept: dict[Path, Framed] = {}
    for job in jobs:
        try:
            request, kept = _request(job, reposer, pose_size, kept)
        except ReposeError as error:
            failures.append(f"{job.name}: {error}")
            continue
        yield job, request


def _request(
    job: FileJob, reposer: Reposer, pose_size: Size | None, kept: dict[Path, Framed]
) -> tuple[Request, dict[Path, Framed]]:
    """A job with its photos and pose read, and its photos by path; those in `kept` are not read again."""
    used = job.sources[: reposer.max_sources]
    if not used:
        raise DataError("No source photo is named. Name at least one.")
    photos = {path: kept[path] if path in kept else reposer.source(path) for path in used}
    if not job.pose:
        raise DataError("No pose is named, or several. Name one: a JSON, a CSV or a photo.")
    return reposer.request([photos[path] for path in used], job.pose, pose_size), photos


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
            raise DataError(f"{file}: unknown column {column!r}{nearest(column, (*REQUIRED, *OPTIONAL))}")
    for line, cells in table.rows:
        name = f"{file}, line {line}"
        sources = tuple(file.parent / part.strip() for part in cells["sources"].split(";") if part.strip())
        pose = str(file.parent / cells["pose"]) if cells["pose"] else ""
        jobs.append(FileJob(name, sources, pose, _inside(out, cells.get("out") or _usual(sources, pose), name)))
    return jobs


def _usual(sources: Sequence[Path], pose: str) -> str:
    """The name of an image that was given none: FIRST_SOURCE_in_POSE.png."""
    file, row = file_and_row(pose)
    return f"{sources[0].stem if sources else ''}_in_{Path(row).stem if row else file.stem}.png"


def _inside(out: Path, name: str, where: str) -> Path:
    if not (out / name).resolve().is_relative_to(out.resolve()):
        raise DataError(f"{where}: {name} lies outside {out}. Name a file in it.")
    return out / name
