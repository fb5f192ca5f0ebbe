import hashlib
import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from PIL import Image

from repose.data.images import FORMATS
from repose.data.inspection import CHUNK, inspect, inspect_all
from repose.errors import ReposeError

MILLION = 1_000_000
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 32, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, format_: str = "JPEG", **how: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format_, **how)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces any number of pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_good_photo() -> None:
    content = encoded(PIXELS)
    found = inspect(content, MILLION)
    assert found == (True, "", "JPEG", "RGB", 32, 48, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_a_truncated_file_does_not_decode(format_: str, share: float) -> None:
    content = encoded(PIXELS, format_)
    found = inspect(content[: int(share * len(content))], MILLION)
    assert found.decodes is False
    assert found.error


def test_what_a_truncated_file_still_says() -> None:
    content = encoded(PIXELS)
    found = inspect(content[:-100], MILLION)
    assert (found.format, found.mode, found.width, found.height) == ("JPEG", "RGB", 32, 48)
    assert "truncated" in found.error


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", "0 bytes"), (b"<html>404</html>", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image")],
)
def test_no_image_at_all(content: bytes, error: str) -> None:
    found = inspect(content, MILLION)
    assert found[:6] == (False, error, "", "", 0, 0)
    assert found.bytes == len(content)


@pytest.mark.parametrize("format_", FORMATS)
def test_formats_are_told_by_the_bytes(format_: str) -> None:
    found = inspect(encoded(PIXELS, format_), MILLION)
    assert (found.decodes, found.format, found.width, found.height) == (True, format_, 32, 48)


@pytest.mark.parametrize(
    ("image", "format_", "mode"),
    [
        (Image.fromarray(PIXELS).convert("CMYK"), "JPEG", "CMYK"),
        (Image.fromarray(PIXELS).convert("L"), "JPEG", "L"),
        (Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG", "I;16"),
        (Image.fromarray(PIXELS).convert("RGBA"), "PNG", "RGBA"),
        (Image.fromarray(PIXELS).convert("P"), "PNG", "P"),
    ],
)
def test_modes(image: Image.Image, format_: str, mode: str) -> None:
    found = inspect(encoded(image, format_), MILLION)
    assert (found.decodes, found.mode) == (True, mode)


def test_one_pixel() -> None:
    assert inspect(encoded(PIXELS[:1, :1]), MILLION)[:6] == (True, "", "JPEG", "RGB", 1, 1)


def test_an_image_bomb_is_not_decoded() -> None:
    bomb = png_header(50_000, 50_000)
    assert len(bomb) < 100
    found = inspect(bomb, 20 * MILLION)
    assert found[:6] == (None, "", "PNG", "RGB", 50_000, 50_000)


def test_the_limit_on_pixels_is_inclusive() -> None:
    content = encoded(PIXELS)
    assert inspect(content, 32 * 48).decodes is True
    assert inspect(content, 32 * 48 - 1).decodes is None


def test_pillows_own_limit_is_as_before() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    inspect(png_header(50_000, 50_000), MILLION)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(png_header(50_000, 50_000)))


def test_odd_metadata_is_no_fault_of_the_pixels() -> None:
    content = encoded(PIXELS, "PNG")
    split = content.index(b"IDAT") - 4
    exif = b"eXIf" + b"II*\0" + b"\xff" * 6
    odd = (
        content[:split]
        + struct.pack(">I", len(exif) - 4)
        + exif
        + struct.pack(">I", zlib.crc32(exif))
        + content[split:]
    )
    assert inspect(odd, MILLION).decodes is True


@pytest.mark.parametrize("format_", FORMATS)
def test_whatever_the_damage_there_is_a_verdict(format_: str) -> None:
    generator, content = random.Random(0), encoded(PIXELS, format_)
    verdicts = set()
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(generator.randrange(1, 12)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        found = inspect(bytes(damaged), MILLION)
        assert (found.error == "") == (found.decodes is not False)
        assert "0x" not in found.error  # no address in memory: the same words in every run
        assert len(found.error) <= 100
        verdicts.add(found.decodes)
    assert False in verdicts


@pytest.fixture
def _always_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repose.data.inspection.FEW", 0)


def many(count: int) -> dict[str, bytes]:
    pixels = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    files = {f"{row:04d}.jpg": encoded(pixels[row]) for row in range(count)}
    files["0007.jpg"] = files["0007.jpg"][:-60]
    files["0130.jpg"] = b""
    return files


@pytest.mark.usefixtures("_always_processes")
def test_processes_give_what_one_process_gives() -> None:
    files = many(3 * CHUNK)
    paths = sorted(files, reverse=True)
    alone = list(inspect_all(paths, files, max_pixels=MILLION, workers=1))
    assert [found.sha256 for found in alone] == [hashlib.sha256(files[path]).hexdigest() for path in paths]
    assert sum(found.decodes is False for found in alone) == 2
    assert list(inspect_all(paths, files, max_pixels=MILLION, workers=2)) == alone


def test_few_photos_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repose.data.inspection.ProcessPoolExecutor", None)
    files = many(200)
    assert len(list(inspect_all(list(files), files, max_pixels=MILLION, workers=4))) == 200


class Deadly(Mapping[str, bytes]):
    """Ends the process that reads from it, as the kernel does when memory runs out."""

    def __getitem__(self, name: str) -> bytes:
        os._exit(9)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.mark.usefixtures("_always_processes")
def test_a_killed_worker_is_named() -> None:
    with pytest.raises(ReposeError, match=r"killed.*Lower validate\.workers"):
        list(inspect_all(["a.jpg"], Deadly(), max_pixels=MILLION, workers=2))


class Cut(Deadly):
    def __getitem__(self, name: str) -> bytes:
        raise ReposeError("the shard is cut short")


@pytest.mark.usefixtures("_always_processes")
def test_an_error_of_the_files_reaches_the_caller() -> None:
    with pytest.raises(ReposeError, match="the shard is cut short"):
        list(inspect_all(["a.jpg"], Cut(), max_pixels=MILLION, workers=2))


def test_no_warning_gets_out() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inspect(png_header(12_000, 12_000), MILLION)
    assert caught == []
