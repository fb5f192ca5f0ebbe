"""Jobs: images to generate from a user's files with a trained system.

Many jobs are the rows of a CSV with the columns sources (photos, separated by ;), pose and optionally out, with paths relative
to the CSV's folder; or the subfolders of a folder, each with photos and one file or photo named pose.*.
"""

import math
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch

from repose.config import nearest
from repose.data.csv_files import read_csv
from repose.data.images import encode_png, pillow_unlimited
from repose.data.layouts import is_litter
from repose.data.photo_files import Size
from repose.devices import threads_of_one
from repose.errors import DataError, ReposeError
from repose.generate import Framed, Request, at_once
from repose.inference.reposer import Found, Reposer, file_and_row
from repose.storage.atomic import write_bytes
from repose.storage.limits import read_limited
from repose.terminal import bar, say, warn

REQUIRED, OPTIONAL = ("sources", "pose"), ("out",)  # columns of a CSV of jobs
_LONGEST = 255 - len(f"..{'f' * 16}.partial")  # bytes of an output's name; it is first written under a longer one
_NO_PHOTOS = ("", ".csv", ".json", ".md", ".pdf", ".txt", ".xml", ".yaml", ".yml")  # files beside the photos of a job


class FileJob(NamedTuple):
    """One image to generate."""

    name: str  # the job's name in messages
    sources: tuple[Path, ...]
    pose: str  # a JSON, a CSV (with #NAME for one of several rows) or a photo; empty: none was given
    out: Path


def read_jobs(path: Path, out: Path) -> list[FileJob]:
    """The jobs of a CSV or of a folder of folders, with their images in the folder `out`.

    Raises:
        ReposeError: the file is missing, cannot be read, has other columns or no jobs, or an image would be outside `out`.
    """
    try:
        if not path.exists():
            raise DataError(
                f"There is no {path}. Give a CSV with the columns {', '.join(REQUIRED + OPTIONAL)}, or a folder of jobs."
            )
        jobs = list(_jobs_of_folder(path, out) if path.is_dir() else _jobs_of_csv(path, out))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}. Give jobs that you may read.") from None
    if not jobs:
        raise DataError(
            f"{path} has no jobs. A job is a row of a CSV, or a subfolder of a folder with photos and a file pose.*."
        )
    return jobs


def check_outputs(jobs: Sequence[FileJob], others: Iterable[Path] = ()) -> None:
    """Check that no image would replace another image, a photo or a pose; `others` are further output files.

    Raises:
        ReposeError: two outputs are the same file, or an output is an input, a folder, lies where no file can be written, has
            a name of more than 229 bytes or a folder of more than 255, or does not end in .png.
    """
    outputs = [*[job.out for job in jobs], *others]
    counts = Counter(map(_place, outputs))
    inputs = {_place(source) for job in jobs for source in job.sources}
    inputs |= {_place(file_and_row(job.pose)[0]) for job in jobs if job.pose}
    for out in outputs:
        if out.suffix.lower() != ".png":
            raise DataError(f"{out}: images are written as PNG. Give a file that ends in .png.")
        if len(os.fsencode(out.name)) > _LONGEST:
            raise DataError(f"{out} has a name of more than {_LONGEST} bytes. Give another output.")
        if any(len(os.fsencode(part)) > 255 for part in out.parts):
            raise DataError(f"{out} is in a folder whose name has more than 255 bytes. Give another output.")
        if os.path.isdir(out):  # noqa: PTH112 (Path.is_dir fails in folders that may not be entered)
            raise DataError(f"{out} is a folder. Give a new file, or an earlier image.")
        place = next(folder for folder in out.absolute().parents if os.path.exists(folder))  # noqa: PTH110
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise DataError(f"{out}: {place} is not a folder that you may write to. Give another output.")
        if (count := counts[_place(out)]) > 1:
            raise DataError(
                f"{count} images would be written to the same file {out}. Give each its own, in a CSV by the column out."
            )
        if _place(out) in inputs:
            raise DataError(f"{out} is an input photo or pose, which is never overwritten. Give another output.")


def _place(file: Path) -> str:
    """The same text for all names of one file; on macOS, names that differ in case or in Unicode's forms are of one file."""
    path = os.path.realpath(file)  # unlike Path.resolve, it takes loops of links
    return unicodedata.normalize("NFC", path).casefold() if sys.platform == "darwin" else path


def make_one(job: FileJob, reposer: Reposer, pose_size: Size | None = None, picture: Path | None = None) -> None:
    """Generate and write one image and, if `picture` is a path, a row of its photos, pose and image.

    `pose_size` is the height and width in px of the image in which a pose file was measured, by default the first photo's.

    Raises:
        ReposeError: a photo or pose is missing, unknown or cannot be read, or the disk is full.
    """
    request = _request(job, reposer, pose_size, {}, Found({}, {}))
    (generated,) = reposer.generate([request])
    _say_left_out([job], reposer)
    write_bytes(job.out, encode_png(generated))
    if picture is not None:
        write_bytes(picture, encode_png(reposer.picture(request, generated)))
    say(f"generate: {job.out} is ready")


def make_all(jobs: Sequence[FileJob], reposer: Reposer, pose_size: Size | None = None) -> None:
    """Generate and write the images of all valid jobs, at most `at_once` in a batch.

    Each of torch's threads works on a batch of its own: two batches in a thread each are done sooner than one after the other
    in two threads. An image differs by at most one gray level from that of `make_one` with one thread, as sums over a batch
    are rounded in another order.

    Raises:
        ReposeError: some images could not be made (the others were written), or the disk is full.
    """
    batches = _batches(jobs, reposer)
    found = Found({}, {})
    with pillow_unlimited(), threads_of_one() as pool:  # Pillow's limit and its warnings are the process's
        done = pool.map(lambda some: list(_make_some(some, reposer, pose_size, found)), batches)
        failures = {job: error for job, error in bar(chain.from_iterable(done), "generate", len(jobs)) if error}
    _say_left_out(jobs, reposer)
    if failures:
        listed = "\n  ".join(f"{job.name}: {failures[job]}" for job in jobs if job in failures)
        others = "; the others are" if len(failures) < len(jobs) else ""
        raise DataError(f"{len(failures):,} of {len(jobs):,} images could not be made{others}.\n  {listed}")
    say(f"generate: {len(jobs):,} {'image is' if len(jobs) == 1 else 'images are'} ready")


def _batches(jobs: Sequence[FileJob], reposer: Reposer) -> list[list[FileJob]]:
    """The jobs in batches, those with the same photos together, which a system then encodes once, and with equally many."""
    ordered = sorted(jobs, key=lambda job: (len(job.sources[: reposer.max_sources]), job.sources))
    frame = reposer.about.frame
    size = min(at_once(frame.height, frame.width), math.ceil(len(jobs) / torch.get_num_threads()))
    return [ordered[first : first + size] for first in range(0, len(jobs), size)]


def _make_some(
    jobs: Sequence[FileJob], reposer: Reposer, pose_size: Size | None, found: Found
) -> Iterator[tuple[FileJob, str]]:
    """Generate and write a batch of images; yield each job with its error, empty if there is none."""
    photos: dict[Path, Framed] = {}
    ready: list[tuple[FileJob, Request]] = []
    for job in jobs:
        try:
            ready.append((job, _request(job, reposer, pose_size, photos, found)))
        except ReposeError as error:
            yield job, str(error)
    for (job, _), generated in zip(ready, reposer.generate([request for _, request in ready]), strict=True):
        write_bytes(job.out, encode_png(generated))
        yield job, ""


def _say_left_out(jobs: Sequence[FileJob], reposer: Reposer) -> None:
    """Name the photos beyond the system's maximum, of the first job that has such photos."""
    most = reposer.max_sources
    if with_more := [job for job in jobs if len(job.sources) > most]:
        names = ", ".join(map(str, with_more[0].sources[most:]))
        warn(
            f"generate: the system takes {most} photos, {len(with_more):,} job(s) have more; left out of the first: {names}"
        )


def _request(
    job: FileJob, reposer: Reposer, pose_size: Size | None, photos: dict[Path, Framed], found: Found
) -> Request:
    """Read a job's photos, other than those that were read into `photos` before, and its pose; `found` as for `source`."""
    used = job.sources[: reposer.max_sources]
    if not used:
        raise DataError("There is no source photo. Give at least one.")
    for path in used:
        if path not in photos:
            photos[path] = reposer.source(path, found)
    if not job.pose:
        raise DataError(
            "There is no pose, or more than one. Give one: a JSON, a CSV or a photo; in a folder of jobs, a file named pose.*"
        )
    return reposer.request([photos[path] for path in used], job.pose, pose_size, found)


def _jobs_of_folder(folder: Path, out: Path) -> Iterator[FileJob]:
    for place in filter(Path.is_dir, _files(folder)):
        poses = [file for file in _files(place) if file.name.lower().startswith("pose.")]
        if Path(_place(out)).is_relative_to(_place(place)):
            if poses:
                warn(f"{place} is left out: the images are written there. Give another output, outside of the jobs.")
            continue
        photos = [
            file for file in _files(place)
            if file.suffix.lower() not in _NO_PHOTOS and file not in poses and not file.is_dir()
        ]  # fmt: skip
        if poses or photos:
            pose = str(poses[0]) if len(poses) == 1 else ""
            yield FileJob(place.name, tuple(photos), pose, out / f"{place.name}.png")
        elif any(map(Path.is_dir, _files(place))):
            warn(f"{place} is left out: it has folders, but no photo or pose of its own. Give it as --jobs.")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_litter(path.name))


def _jobs_of_csv(file: Path, out: Path) -> Iterator[FileJob]:
    content = read_limited(file, "CSV", "Give a CSV of jobs that you may read.")
    hint = "Separate the photos of one job with ';'."
    table = read_csv(content, str(file), REQUIRED, OPTIONAL, hint=hint)
    for column in table.columns:
        if column and column not in (*REQUIRED, *OPTIONAL):
            raise DataError(f"{file}: unknown column {column!r}{nearest(column, (*REQUIRED, *OPTIONAL))}")
    for line, cells in list(table.rows):  # all are checked before the first job
        sources = tuple(file.parent / part.strip() for part in cells["sources"].split(";") if part.strip())
        pose = str(file.parent / cells["pose"]) if cells["pose"] else ""
        image = cells.get("out") or _default_name(sources, pose)
        if not Path(_place(out / image)).is_relative_to(_place(out)):
            raise DataError(f"{file}, line {line}: {image} is outside {out}. Give a file inside.")
        yield FileJob(f"{file}, line {line}", sources, pose, out / image)


def _default_name(sources: Sequence[Path], pose: str) -> str:
    """FIRST_SOURCE_in_POSE.png."""
    file, row = file_and_row(pose)
    return f"{sources[0].stem if sources else ''}_in_{Path(row).stem if row else file.stem}.png"
