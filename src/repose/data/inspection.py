"""Inspect image files: format, mode, upright size, digest, and whether the file decodes completely.

The size in the header is checked against the limit on pixels before memory is allocated. A file counts as decoded only if its
last row is present.
"""

import hashlib
import io
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from repose.data.images import FORMATS, SIDEWAYS, pillow_unlimited, turn_to_upright
from repose.errors import DataError

CHUNK = 128  # photos per task of a worker
FEW = 2000  # up to this many photos, one process is faster than starting workers


class Inspection(NamedTuple):
    """The result of inspecting one file."""

    decodes: bool | None  # None: not attempted, as it has more pixels than allowed
    error: str  # short reason that it does not decode
    format: str  # JPEG (also an MPO, a JPEG followed by further pictures), PNG, ...; empty if it is not an image
    mode: str  # Pillow's: RGB, L (gray), CMYK, I;16 (16 bit), P (palette), ...
    width: int  # pixels, upright by the EXIF if it decodes, else from the header; 0 if it is not an image
    height: int  # likewise
    bytes: int
    sha256: str


def inspect(content: bytes, max_pixels: int) -> Inspection:
    """Inspect one file; decode it if it has at most `max_pixels` according to its header."""
    decodes: bool | None = None
    error, format_, mode, size = "", "", "", (0, 0)
    try:
        with pillow_unlimited(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            format_, mode, size = (image.format or "").replace("MPO", "JPEG"), image.mode, image.size
            if size[0] * size[1] <= max_pixels:
                image.load()
                decodes = True
                if turn_to_upright(image) in SIDEWAYS:
                    size = size[::-1]
    except UnidentifiedImageError:  # its own message contains a memory address
        decodes, error = False, "not an image" if content else "0 bytes"
    except Exception as failure:  # damaged files can raise almost any error in Pillow's readers
        decodes, error = False, (str(failure).splitlines() or [type(failure).__name__])[0][:100]
    return Inspection(decodes, error, format_, mode, *size, len(content), hashlib.sha256(content).hexdigest())


def inspect_all(
    paths: Sequence[str], files: Mapping[str, bytes], *, max_pixels: int, workers: int
) -> Iterator[Inspection]:
    """Inspect many files; results are in the order of `paths`, for any number of worker processes.

    The workers read the bytes themselves: `files` is pickled and sent to each of them once. Up to FEW photos are read by
    this process.

    Raises:
        DataError: a worker was killed, or reading `files` failed.
    """
    if workers == 1 or len(paths) <= FEW:
        yield from _inspect_chunk(paths, files, max_pixels)
        return
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    # Spawned, as forking a process with threads (numpy's, torch's) may hang.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(chunks)), spawn, _start_worker, (files, max_pixels)) as pool:
            for inspections in pool.map(_inspect_in_worker, chunks):
                yield from inspections
    except BrokenProcessPool:
        raise DataError(
            "A process that reads photos was killed, most likely because the machine ran out of memory. "
            "Lower validate.workers or validate.max_megapixels and run the same command again."
        ) from None


_for_worker: tuple[Mapping[str, bytes], int]


def _start_worker(files: Mapping[str, bytes], max_pixels: int) -> None:
    global _for_worker
    _for_worker = files, max_pixels


def _inspect_in_worker(paths: Sequence[str]) -> list[Inspection]:
    return list(_inspect_chunk(paths, *_for_worker))


def _inspect_chunk(paths: Sequence[str], files: Mapping[str, bytes], max_pixels: int) -> Iterator[Inspection]:
    return (inspect(files[path], max_pixels) for path in paths)
