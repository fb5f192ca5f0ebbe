"""The fuzzer: damaged files, one after the other, each a function of the area, the seed and its number."""

import csv
import faulthandler
import io
import json
import resource
import struct
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

from repose.errors import ReposeError

SLOW = 5  # seconds for one input
MEMORY = 512 * 2**20  # bytes for one input
INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 10**30)
NUMBERS = (*INTEGERS, 0.5, -0.0, 1e300, float("inf"), float("nan"))
TEXTS = (
    "", " ", "\0", "\n", "null", "true", "1", "1e400", "nan", "inf", "-1", "٣", "1_000", "../x", "/etc/x", "a/../../b", "~",
    "C:\\x", "a b", "#", ";", ",", '"', "'", "[", "{", "é", "日本", "\u202e", "\ufeff", "\x1b[31m", "%s", "${x}",
    "x" * 100_000, "-99999", "1e9", "[1, 2", "http://[::1", "s3://", "file:///etc/passwd", "0" * 64, "a" * 300 + ".jpg",
)  # fmt: skip
RAW = (
    b"\xff\xfe", b"\r", b"&a [*a]", b"!!python/object:os.system x", b".inf", b"2020-01-01", b"\t", b"- ", b"? ", b"|", b">",
    b"%YAML 1.1\n---\n", b"9" * 5000, b"[" * 3000, b"{\"a\":" * 3000, b"\xed\xa0\x80", b"\"\\ud800\"", b"0x10", b"1:30",
    b"&a {<<: *a}", b"PK\x05\x06", b"\xff" * 64, bytes(64),
)  # fmt: skip
Damage = Callable[[Random, bytes], bytes]


class Target(NamedTuple):
    """A function that must return, or raise a ReposeError, whatever it reads."""

    name: str
    call: Callable[[bytes], object]
    seeds: Sequence[bytes]  # valid files
    damage: Damage | None = None  # of three inputs in five; the others have damaged bytes


def in_bytes(random: Random, valid: bytes) -> bytes:
    """A valid file with some damage to its bytes."""
    content = bytearray(valid)
    for _ in range(random.choice((1, 1, 2, 3, 8, 30))):
        size = len(content)
        edge = random.randrange(min(size, 64) + 1)  # lengths and tables are near the beginning and the end
        at = random.choice((random.randrange(size + 1), edge, size - edge))
        end = min(size, at + random.choice((1, 2, 4, 8, 100, 10_000)))
        form = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        number = struct.pack(form, random.choice(INTEGERS) % 2 ** (8 * struct.calcsize(form)))
        what = random.randrange(20)
        if what < 4:
            content[at : at + 1] = random.randbytes(1)
        elif what < 8:
            content[at : at + len(number)] = number
        elif what < 11:
            del content[at:end]
        elif what < 14:
            content[at:at] = content[at:end] * random.choice((1, 1, 2, 100))
        elif what < 19:
            content[at:at] = random.choice((*RAW, *(text.encode() for text in TEXTS)))
        else:
            del content[at:]
    return bytes(content[: 2**22])


def in_values(random: Random, valid: bytes, read: Callable[[str], Any], write: Callable[[Any], str]) -> bytes:
    """A valid file with one to three of its values replaced, removed, renamed or repeated."""
    root = [read(valid.decode())]
    for _ in range(random.choice((1, 1, 2, 3))):
        holder, key = random.choice(list(_places(root)))
        what = random.randrange(6)
        if what < 3 or holder is root:
            holder[key] = _another(random, holder[key])
        elif what == 3:
            del holder[key]
        elif isinstance(holder, dict):
            holder[random.choice(TEXTS)] = holder.pop(key)
        else:
            holder.insert(0, holder[key])
    return write(root[0]).encode("utf-8", "surrogatepass")


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        yield holder, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _another(random: Random, value: Any) -> Any:
    """Another value, often one of the same type."""
    if isinstance(value, str) and random.random() < 0.5:
        text = random.choice(TEXTS)
        return random.choice((text, value + text, text + value, value[: len(value) // 2], value * 2))
    if isinstance(value, int | float) and random.random() < 0.5:
        return random.choice((*NUMBERS, value + 1, -value))
    others = (None, True, False, random.choice(NUMBERS), random.choice(TEXTS), [], {}, [[]], {"": {}})
    return random.choice((*others, [value], {"a": value}))


def _written(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row if isinstance(row, list) else [row] for row in rows or [])
    return text.getvalue()


in_json = partial(in_values, read=json.loads, write=json.dumps)
in_yaml = partial(in_values, read=yaml.safe_load, write=partial(yaml.safe_dump, allow_unicode=True, sort_keys=False))
in_csv = partial(in_values, read=lambda text: [*csv.reader(text.splitlines())], write=_written)


def an_input(targets: Sequence[Target], random: Random) -> tuple[Target, bytes]:
    """An input, and the target that it is for."""
    target = random.choice(targets)
    valid = random.choice(target.seeds)
    if target.damage and random.random() < 0.6:
        try:
            return target, target.damage(random, valid)
        except (ValueError, TypeError, RecursionError, OverflowError, csv.Error):  # a format cannot say everything
            pass
    return target, in_bytes(random, valid)


def wrong_with(target: Target, content: bytes) -> str:
    """What is wrong with what the target makes of the content; empty if nothing is."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        target.call(content)
    except ReposeError:
        pass
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = ([frame for frame in frames if "/src/" in frame.filename] or frames)[-1]
        return f"{target.name}: {type(error).__name__} in {place.filename}:{place.lineno}: {error}"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return f"{target.name}: memory grew by {grown >> 20} MiB" if grown > MEMORY else ""


def fuzz(area: str, targets: Sequence[Target], seed: int, seconds: float, kept: Path) -> tuple[str, list[str]]:
    """What was tried, and the first problem of each target at each place in the code.

    An input that is too slow, or ends the process, ends the campaign: it is in the file `kept`, and Python tells where.
    """
    for target in targets:
        for valid in target.seeds:
            target.call(valid)  # which also imports what is imported late
    end, number, problems = time.monotonic() + seconds, 0, dict[tuple[str, ...], str]()
    while time.monotonic() < end:
        target, content = an_input(targets, Random(f"{area} {seed} {number}"))
        kept.write_bytes(content)
        faulthandler.dump_traceback_later(SLOW, exit=True)
        if words := wrong_with(target, content):
            problems.setdefault(tuple(words.split(": ")[:2]), f"input {number}: {words}")
        number += 1
    faulthandler.cancel_dump_traceback_later()
    names = ", ".join(target.name for target in targets)
    return f"{number:,} inputs in {seconds / 60:g} minutes for {names}", [*problems.values()]
