"""Zips built byte by byte, with headers that may lie."""

import hashlib
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple


class Member(NamedTuple):
    """A member of a zip that is built here; None: the true value."""

    content: bytes
    mode: int = 0o100644
    method: int = 8
    size: int | None = None
    password: bytes | None = None
    crc: int | None = None


def noise(size: int) -> bytes:
    """Bytes that do not compress, the same in every run."""
    return hashlib.shake_256(b"noise").digest(size)


def zip_bytes(members: Mapping[str, Member] | list[tuple[str, Member]]) -> bytes:
    """A zip as APPNOTE.TXT 6.3 lays it out, with headers that may lie."""
    body, directory = b"", b""
    listed = list(members.items()) if isinstance(members, Mapping) else members
    for name, member in listed:
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(member.content) + packer.flush() if member.method == 8 else member.content
        crc = zlib.crc32(member.content) if member.crc is None else member.crc
        if member.password is not None:
            data = encrypt(bytes(11) + bytes([crc >> 24]) + data, member.password)
        size = len(member.content) if member.size is None else member.size
        flags, encoded = 0x800 | (member.password is not None), name.encode()
        about = struct.pack("<HHHHHIIIHH", 20, flags, member.method, 0, 33, crc, len(data), size, len(encoded), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 0x31E) + about
        directory += struct.pack("<HHHII", 0, 0, 0, member.mode << 16, len(body)) + encoded
        body += b"PK\x03\x04" + about + encoded + data
    end = struct.pack("<HHHHIIH", 0, 0, len(listed), len(listed), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def encrypt(plain: bytes, password: bytes) -> bytes:
    """Traditional PKWARE encryption (APPNOTE.TXT 6.1)."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = zlib.crc32(bytes([byte]), keys[0] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = zlib.crc32(bytes([keys[1] >> 24]), keys[2] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    for byte in password:
        update(byte)
    encrypted = bytearray()
    for byte in plain:
        low = (keys[2] | 2) & 0xFFFF
        encrypted.append(byte ^ (low * (low ^ 1) >> 8 & 0xFF))
        update(byte)
    return bytes(encrypted)
