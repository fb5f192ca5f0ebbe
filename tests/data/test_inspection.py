import hashlib
import io
import random
import re
import struct
import warnings
import zlib
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from PIL import Image

from memory import mebibytes
from repose.data.images import FORMATS, decode
from repose.data.inspection import inspect, inspect_all
from repose.errors import DataError

MILLION = 1_000_000
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 32, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, format_: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format_)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_header(side: int) -> bytes:
    """A PNG of a few bytes that announces many pixels."""
    header = chunk(b"IHDR", side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_a_truncated_file_does_not_decode(format_):
    found = inspect(encoded(PIXELS, format_)[:-40], MILLION)
    assert found.decodes is False
    assert "truncated" in found.error
    assert (found.format, found.mode, found.width, found.height) == (format_, "RGB", 32, 48)


@pytest.mark.parametrize(("content", "error"), [(b"", "0 bytes"), (b"<html>404</html>", "not an image")])
def test_no_image_at_all(content, error):
    assert inspect(content, MILLION)[:7] == (False, error, "", "", 0, 0, len(content))


@pytest.mark.parametrize(("image", "format_", "mode"), [
    *((Image.fromarray(PIXELS), format_, "P" if format_ == "GIF" else "RGB") for format_ in FORMATS),
    (Image.fromarray(PIXELS).convert("CMYK"), "JPEG", "CMYK"),
    (Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG", "I;16"),
])  # fmt: skip
def test_formats_and_modes_are_those_of_the_bytes(image, format_, mode):
    content = encoded(image, format_)
    digest = hashlib.sha256(content).hexdigest()
    assert inspect(content, MILLION) == (True, "", format_, mode, 32, 48, len(content), digest)


def test_an_image_bomb_is_not_decoded_and_gives_no_warning():
    content, limit = encoded(PIXELS), Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert inspect(png_header(12_000), MILLION).decodes is None
        assert inspect(png_header(50_000), 20 * MILLION)[:6] == (None, "", "PNG", "RGB", 50_000, 50_000)
    assert caught == []
    assert limit == Image.MAX_IMAGE_PIXELS
    assert inspect(content, 32 * 48).decodes is True
    assert inspect(content, 32 * 48 - 1).decodes is None


def tiff(side: int, kind: int, magic: bytes = b"II*\0") -> bytes:
    """A TIFF of 16x16 px and 200 bytes, with one tile of side x side px; `kind` is the type of the tags of its sides."""
    data = zlib.compress(bytes(256))
    tags = [(256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    sides = [(322, kind, side if kind < 16 else 138), (323, kind, side if kind < 16 else 138)]  # 8 bytes: at an offset
    entries = [*tags, *sides, (324, 4, 146), (325, 4, len(data))]
    directory = b"".join(struct.pack("<HHLL", tag, of, 1, value) for tag, of, value in entries)
    head = magic + struct.pack("<LH", 8, len(entries)) + directory
    return head.ljust(138, b"\0") + side.to_bytes(8, "little") + data


def jpeg_of(segment: bytes, times: int, before: bytes) -> bytes:
    """A JPEG with a segment (empty: the last scan) many times over, before the last place of some bytes."""
    file = io.BytesIO()
    Image.new("L", (3000, 3000), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    at = content.rindex(before)
    return content[:at] + (segment or content[at:-2]) * times + content[at:]


def bmp_of_runs(width: int, height: int) -> bytes:
    """A BMP of a run of one pixel per row, with 256 colors."""
    runs = b"\1\0\0\0" * height
    header = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LHHL", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs


SIDE = 21_392  # a multiple of 16; its square has 436 MiB
LONG, SLONG8 = 4, 17  # Pillow ignores tags of the type SLONG8, but libtiff reads them
BOMBS = {
    "a TIFF with tiles of more than 4,194,304 px": lambda: tiff(SIDE, LONG),
    "a TIFF whose tiles have no size": lambda: tiff(SIDE, SLONG8),
    "a BMP with run-length encoding": lambda: bmp_of_runs(3000, 1000),
    "a BigTIFF": lambda: tiff(16, LONG, b"II+\0"),
    "a JPEG with more than 100 scans": lambda: jpeg_of(b"", 100, b"\xff\xda"),
    "a JPEG with .* 100 parts of EXIF": lambda: jpeg_of(b"\xff\xe1\0\x09Exif\0\0x", 101, b"\xff\xdb"),
}


@pytest.mark.parametrize("error", BOMBS)
def test_a_photo_that_costs_more_than_its_pixels_is_not_decoded(error):
    content = BOMBS[error]()
    found = inspect(content, 10 * MILLION)
    assert found.decodes is False
    assert re.match(error, found.error)
    with pytest.raises(DataError, match=error):
        decode(content)


def test_a_photo_that_costs_more_than_its_pixels_takes_no_memory(tmp_path):
    for number, make in enumerate(BOMBS.values()):
        (tmp_path / str(number)).write_bytes(make())
    setup = (
        "from pathlib import Path; from repose.data.inspection import inspect; "
        "files = [path.read_bytes() for path in Path(sys.argv[1]).iterdir()]"
    )
    assert mebibytes(setup, "[inspect(content, 10**7) for content in files]", str(tmp_path)) < 40


def test_tiles_and_scans_within_the_limits_are_decoded():
    assert inspect(tiff(16, LONG), MILLION)[:3] == (True, "", "TIFF")
    assert inspect(jpeg_of(b"", 80, b"\xff\xda"), 10 * MILLION)[:3] == (True, "", "JPEG")
    assert inspect(encoded(PIXELS) + b"\xff\xda" * 999, MILLION)[:3] == (True, "", "JPEG")  # a phone appends a video


@pytest.mark.parametrize("format_", FORMATS)
def test_every_damaged_file_gets_a_verdict(format_):
    generator, content = random.Random(0), encoded(PIXELS, format_)
    verdicts = set()
    for _ in range(20):
        damaged = bytearray(content)
        for _ in range(generator.randrange(1, 12)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        found = inspect(bytes(damaged), MILLION)
        assert (found.error == "") == (found.decodes is not False)
        assert "0x" not in found.error  # no address in memory: the same words in every run
        assert len(found.error) <= 100
        verdicts.add(found.decodes)
        with nullcontext() if found.decodes else suppress(DataError):
            assert decode(bytes(damaged)).shape[2] == 3
    assert False in verdicts


def test_threads_give_what_one_thread_gives_and_errors_of_the_files_reach_the_caller():
    pixels = np.random.default_rng(1).integers(0, 256, (150, 8, 8, 3), dtype=np.uint8)
    files = {f"{row:04d}.jpg": encoded(pixels[row]) for row in range(len(pixels))}
    files["0007.jpg"], files["0130.jpg"] = files["0007.jpg"][:-60], b""
    paths = sorted(files, reverse=True)
    alone = list(inspect_all(paths, files, max_pixels=MILLION, workers=1))
    assert [found.sha256 for found in alone] == [hashlib.sha256(files[path]).hexdigest() for path in paths]
    assert sum(found.decodes is False for found in alone) == 2
    assert list(inspect_all(paths, files, max_pixels=MILLION, workers=3)) == alone
    with pytest.raises(KeyError, match="gone"):
        list(inspect_all([*paths, "gone"], files, max_pixels=MILLION, workers=3))
