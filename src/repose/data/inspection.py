"""Inspect image files: format, mode, upright size, digest, and whether the file decodes completely.

The size in the header is checked against the limit on pixels before memory is allocated. A file counts as decoded only if its
last row is present.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from repose.data.images import SIDEWAYS, opened, pillow_unlimited, turn_to_upright
from repose.errors import DataError

_AT_ONCE = 64  # files per task of a thread: handing over a single one takes a tenth of the time of inspecting it


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
        with opened(content) as image:
            format_, mode, size = (image.format or "").replace("MPO", "JPEG"), image.mode, image.size
            if size[0] * size[1] <= max_pixels:
                image.load()
                decodes = True
                if turn_to_upright(image) in SIDEWAYS:
                    size = size[::-1]
    except DataError as failure:
        decodes, error = False, str(failure)
    return Inspection(decodes, error, format_, mode, *size, len(content), hashlib.sha256(content).hexdigest())


def inspect_all(
    paths: Sequence[str], files: Mapping[str, bytes], *, max_pixels: int, workers: int
) -> Iterator[Inspection]:
    """Inspect many files; results are in the order of `paths`. Pillow decodes in parallel in threads."""

    def inspected(first: int) -> list[Inspection]:
        return [inspect(files[path], max_pixels) for path in paths[first : first + _AT_ONCE]]

    with pillow_unlimited(), ThreadPoolExecutor(workers) as pool:  # the limit and the warnings are the process's
        for some in pool.map(inspected, range(0, len(paths), _AT_ONCE)):
            yield from some
