"""What the bytes of an image file say: format, mode, upright size, digest, and whether all of it decodes.

Nothing is believed before it is read: the pixels of the header are counted before memory is taken for them, and a file
counts as decoded when its last row is there.
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

CHUNK = 128  # photos that a worker takes at a time
FEW = 2000  # photos that one process reads sooner than others could be started


class Inspection(NamedTuple):
    """What was found in one file."""

    decodes: bool | None  # None: more pixels than allowed, so nobody tried
    error: str  # why it does not decode, a few words
    format: str  # JPEG (also one with further pictures behind it, an MPO), PNG, ...; empty where it is no image
    mode: str  # as Pillow names it: RGB, L (grey), CMYK, I;16 (16 bit), P (palette), ...
    width: int  # pixels, upright as the EXIF says where it decodes, else from the header; 0 where it is no image
    height: int  # likewise
    bytes: int
    sha256: str


def inspect(content: bytes, max_pixels: int) -> Inspection:
    """Read one file; pixels are decoded, and then dropped, where the header announces at most `max_pixels`."""
    with pillow_unlimited():
        return _inspect(content, max_pixels)


def inspect_all(
    paths: Sequence[str], files: Mapping[str, bytes], *, max_pixels: int, workers: int
) -> Iterator[Inspection]:
    """Read many files; results come in the order of `paths`, whatever the number of worker processes.

    The workers read the bytes themselves, so `files` is sent to each of them once (pickled) and no content ever is.
    Up to FEW photos are read by this process alone.

    Raises:
        DataError: a worker was killed, or what reading `files` raises.
    """
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    if workers == 1 or len(paths) <= FEW:
        for chunk in chunks:
            yield from _inspect_chunk(chunk, files, max_pixels)
        return
    # Fresh processes: a fork of one that already has threads (numpy's, torch's) may hang.
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
    return _inspect_chunk(paths, *_for_worker)


def _inspect_chunk(paths: Sequence[str], files: Mapping[str, bytes], max_pixels: int) -> list[Inspection]:
    with pillow_unlimited():
        return [_inspect(files[path], max_pixels) for path in paths]


def _inspect(content: bytes, max_pixels: int) -> Inspection:
    decodes: bool | None = None
    error, format_, mode, size = "", "", "", (0, 0)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            format_, mode, size = image.format or "", image.mode, image.size
            if format_ == "MPO":
                format_ = "JPEG"
            if size[0] * size[1] <= max_pixels:
                image.load()
                decodes = True
                if turn_to_upright(image) in SIDEWAYS:
                    size = size[::-1]
    except UnidentifiedImageError:  # its own message holds an address in memory
        decodes, error = False, "not an image" if content else "0 bytes"
    except Exception as failure:  # a broken file leads Pillow's readers to almost any error; each is a verdict
        decodes, error = False, _in_short(failure)
    return Inspection(decodes, error, format_, mode, *size, len(content), hashlib.sha256(content).hexdigest())


def _in_short(failure: Exception) -> str:
    lines = str(failure).splitlines() or [type(failure).__name__]
    return lines[0][:100]
