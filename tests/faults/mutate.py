"""Damage to valid files: bits, lengths and pieces of any file, values of JSON and YAML by their type, cells of a CSV."""

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

Damage = Callable[[Random, Sequence[bytes]], bytes]
POWERS = (2**bits - less for bits in (7, 8, 16, 31) for less in (1, 0))
NUMBERS = (0, 1, -1, 2, *POWERS, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 10**30)
TEXTS = (
    "", " ", "\0", "\n", "null", "true", "1", "1e400", "nan", "inf", "-1", "٣", "1_000", "../x", "/etc/x", "a/../../b", "~",
    "C:\\x", "a b", "#", ";", ",", '"', "'", "[", "{", "é", "日本", "\u202e", "\ufeff", "\x1b[31m", "%s", "${x}",
    "x" * 100_000, "99999", "-99999", "1e9", "[1, 2", "http://[::1", "s3://", "file:///etc/passwd", "0" * 64,
    "a" * 300 + ".jpg",
)  # fmt: skip
RAW = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"&a [*a]", b"!!python/object:os.system x", b".inf", b".nan",
    b"1e400", b"2020-01-01", b"<<: {a: 1}", b"\t", b"- ", b"? ", b"%YAML 1.1\n---\n", b"9" * 5000, b"[" * 3000,
    b"{\"a\":" * 3000, b"+_", b"\xed\xa0\x80", b"\"\\ud800\"", b"1" + b"0" * 400, b"NaN", b"Infinity", b"0x10",
    b"0o17", b"1:30", b"*a", b"|", b">", b"&a {<<: *a}", b"PK\x05\x06", b"\xff" * 64, bytes(64),
)  # fmt: skip


def binary(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A seed with some damage to its bytes."""
    content = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3, 8, 30))):
        size = len(content)
        edge = random.randrange(min(size, 64) + 1)  # lengths and tables are near the beginning and the end
        at = random.choice((random.randrange(size + 1), edge, size - edge))
        end = min(size, at + random.choice((1, 2, 4, 8, 100, 10_000)))
        what = random.choice(("bit", "byte", "number", "number", "gap", "repeat", "insert", "splice", "end"))
        if what == "bit" and at < size:
            content[at] ^= 1 << random.randrange(8)
        elif what == "byte" and at < size:
            content[at] = random.randrange(256)
        elif what == "number":
            form = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
            packed = struct.pack(form, random.choice(NUMBERS) % 2 ** (8 * struct.calcsize(form)))
            content[at : at + len(packed)] = packed
        elif what == "gap":
            del content[at:end]
        elif what == "repeat":
            content[at:at] = content[at:end] * random.choice((1, 1, 2, 100))
        elif what == "insert":
            content[at:at] = random.choice(RAW)
        elif what == "splice":
            other, size = random.choice(seeds), random.choice((4, 32, 1000))
            piece = random.randrange(len(other) + 1)
            content[at:end] = other[piece : piece + size]
        elif what == "end" and random.random() < 0.3:
            del content[at:]
    return bytes(content[: 2**22])


def values(random: Random, seeds: Sequence[bytes], read: Callable[[str], Any], write: Callable[[Any], str]) -> bytes:
    """A seed with one to three of its values replaced, removed, renamed or repeated."""
    root = [read(random.choice(seeds).decode())]
    for _ in range(random.choice((1, 1, 2, 3))):
        holder, key = random.choice(list(_places(root)))
        what = random.randrange(6)
        if what < 3:
            holder[key] = _value(random, holder[key])
        elif what == 3 and holder is not root:
            del holder[key]
        elif what == 4 and isinstance(holder, dict):
            holder[random.choice(TEXTS[:-1])] = holder.pop(key)
        elif isinstance(holder, list) and holder is not root:
            holder.insert(0, holder[key])
        else:
            holder[key] = [holder[key]]
    return write(root[0]).encode("utf-8", "surrogatepass")


def in_json(random: Random, seeds: Sequence[bytes]) -> bytes:
    return values(random, seeds, json.loads, json.dumps)


def in_yaml(random: Random, seeds: Sequence[bytes]) -> bytes:
    return values(
        random, seeds, yaml.safe_load, lambda value: yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    )


def in_csv(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A seed with other cells, rows and separators."""
    rows = [line.split(",") for line in random.choice(seeds).decode().split("\n")]
    for _ in range(random.choice((1, 1, 2, 5))):
        row = random.choice(rows)
        at = random.randrange(len(row))
        what = random.randrange(6)
        if what < 3:
            row[at] = random.choice((*TEXTS, *map(str, NUMBERS), '"', '"a"b', "a\rb"))
        elif what == 3:
            row.insert(at, row[at])
        elif what == 4 and len(row) > 1:
            del row[at]
        else:
            rows.insert(random.randrange(len(rows)), row)
    separator = random.choice(",,,,;\t:|")
    return (
        random.choice(("\n", "\n", "\r\n", "\r")).join(separator.join(row) for row in rows).encode("utf-8", "replace")
    )


def _places(holder: Any) -> Any:
    for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        yield holder, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _value(random: Random, value: Any) -> Any:
    """Another value, often one of the same type."""
    number = random.choice((*NUMBERS, *(-n for n in NUMBERS), 0.5, -0.0, 1e300, 1e-300, float("inf"), float("nan")))
    text = random.choice(TEXTS)
    if isinstance(value, str) and random.random() < 0.5:
        return random.choice((text, value + text, text + value, value[: len(value) // 2], value * 2))
    if isinstance(value, int | float) and random.random() < 0.5:
        return random.choice((number, value + 1, -value))
    return random.choice((None, True, False, number, text, [], {}, [value], {"a": value}, [[]], {"": {}}))
