"""List and read the files of a folder or a zip, without unpacking to disk.

Names that lead out of their folder, links, special files, duplicates, files with an unsupported encryption or compression,
and zip bombs are rejected by their headers, before any content is read. Headers may be false, so a file is also rejected if
its content does not have the size and the CRC in its header.
"""

import importlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from pydantic import PositiveFloat, PositiveInt

from repose.config import settings
from repose.data.layouts import is_litter
from repose.errors import DataError, ReposeError
from repose.storage.transfer import Object
from repose.terminal import say

_ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zst")
_ENCRYPTED, _IN_UTF8 = 0x1, 0x800  # flags of a member
_ENTRIES = 3  # entries of a zip's directory per allowed file: the file, its folder, and macOS's copy (litter)
_ENTRY_BYTES = 1024  # allowed mean size of an entry
# What zipfile and zlib raise for damaged bytes; a RuntimeError means a wrong password.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, LookupError, OverflowError, NotImplementedError,
    OSError,
)  # fmt: skip
_UNPACK = "Unpack it with `7z x` or another program and give the folder."


@settings
class Limits:
    """Limits on the size of a source, against zip bombs and wrong sources."""

    files: PositiveInt
    total_gigabytes: PositiveFloat  # 10^9 bytes of all files, unpacked
    file_megabytes: PositiveFloat  # 10^6 bytes of one file, unpacked
    ratio: PositiveFloat  # unpacked bytes of a zip's files by bytes of the zip


class File(NamedTuple):
    """A file of a source."""

    name: str  # the owner's path
    size: int  # bytes
    where: str  # the source's name in messages
    entry: Any  # what `reader` reads: a member of a zip, or a path
    reader: Callable[["File"], bytes]  # shared by all files of an origin

    def read(self) -> bytes:
        """The content. Raises as `open_zip` and `list_files`."""
        return self.reader(self)


class Contents(NamedTuple):
    """The files of a folder or of a zip, and the number of entries left out (see `layouts.is_litter`)."""

    files: list[File]
    skipped: int


S = TypeVar("S", File, Object)
N = TypeVar("N", File, Object, tuple[str, Path])


@contextmanager
def open_zip(path: Path, limits: Limits, where: str, password_variable: str | None = None) -> Iterator[Contents]:
    """Yield the files of a zip, which are readable until the context ends.

    `where` names the zip in messages, and `password_variable` is the environment variable that holds its password.

    Raises:
        DataError: the file is not a zip, or is damaged; also when a file is read.
        ReposeError: it exceeds a limit, needs another password, or has a rejected entry.
    """
    try:
        _check_directory(path, limits, where)
        archive = zipfile.ZipFile(path)
    except _DAMAGED:
        size = path.stat().st_size
        raise DataError(
            f"{where} is not a zip, or a truncated or damaged one ({size:,} bytes). Check the address, or get the file again "
            "(with a browser, if this is a web page)."
        ) from None
    with archive:
        every = [info for info in archive.infolist() if not info.filename.endswith("/")]
        infos = [info for info in every if not is_litter(info.filename)]
        password = _password(infos, where, password_variable)
        files, reader = dict[str, File](), partial(_read_member, archive, password)
        for info in infos:
            name = safe_name(_name(info), where)
            _check_member(info, name, where)
            if name in files:
                raise ReposeError(
                    f"{where} contains {name} twice. Pack the data again, or unpack it and give the folder."
                )
            files[name] = File(name, info.file_size, where, info, reader)
        listed, packed = within(without_archives(files.values(), where), limits, where), path.stat().st_size
        unpacked = sum(file.size for file in listed)
        # the size of the zip itself, so that overlapping members cannot hide a bomb
        if unpacked > limits.ratio * packed:
            raise _beyond(where, f"files that unpack to {unpacked / packed:,.0f} times its size", "limits.ratio")
        yield Contents(listed, len(every) - len(infos))


def list_files(paths: Iterable[tuple[str, Path]], limits: Limits, where: str) -> Contents:
    """The files at (name, path).

    Raises:
        ReposeError: a name is rejected, or a limit is exceeded.
    """
    skipped = list[str]()
    kept = [(safe_name(name, where), path) for name, path in without_litter(paths, skipped)]
    files = [File(name, path.stat().st_size, where, path, _read_path) for name, path in kept]
    return Contents(within(files, limits, where), len(skipped))


def without_litter(entries: Iterable[N], skipped: list[str]) -> Iterator[N]:
    """The entries whose name, their first field, is not that of litter; adds the names of the others to `skipped`."""
    for entry in entries:
        if is_litter(entry[0]):
            skipped.append(entry[0])
        else:
            yield entry


def without_archives(entries: Iterable[N], where: str) -> Iterator[N]:
    """The entries whose name, their first field, is not that of an archive; a message names the archives."""
    for entry in entries:
        if entry[0].lower().endswith((".zip", *_ARCHIVES)) and not is_litter(entry[0]):
            say(f"{where}: {entry[0]} is not opened. Add it to download.origins in params.yaml, or unpack it.")
        else:
            yield entry


def walk(folder: Path, where: str) -> Iterator[tuple[str, Path]]:
    """The sorted (name, path) of every file below a folder, with names relative to `folder`. Skips the content of litter.

    Raises:
        ReposeError: the folder contains a link or a special file, or cannot be read.
    """

    def fail(error: OSError) -> None:
        raise ReposeError(f"Cannot read the folder {error.filename}: {error.strerror}. Change its permissions.")

    for parent, folders, files in os.walk(folder, onerror=fail):
        if not os.access(parent, os.X_OK):
            raise ReposeError(f"Cannot open the files of the folder {parent}. Change its permissions.")
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            inside = str(path.relative_to(folder))
            if is_litter(name):
                yield inside, path
            elif path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ReposeError(
                    f"{where} contains a link or special file, {inside}. Copy the data with `cp -rL`, or give the folder it "
                    "leads to."
                )
            elif path.is_file():
                yield inside, path
        folders[:] = sorted(name for name in folders if not is_litter(name))


def within(files: Iterable[S], limits: Limits, where: str) -> list[S]:
    """The files as a list. Raises a ReposeError at the first file that exceeds a limit."""
    listed, total = list[S](), 0
    for file in files:
        listed.append(file)
        total += file.size
        if len(listed) > limits.files:
            raise _beyond(where, f"more than {limits.files:,} files", "limits.files")
        if total > limits.total_gigabytes * 1e9:
            raise _beyond(where, f"more than {limits.total_gigabytes:,g} GB (unpacked)", "limits.total_gigabytes")
        if file.size > limits.file_megabytes * 1e6:
            raise _beyond(where, f"{file.name} with {file.size / 1e6:,.1f} MB (unpacked)", "limits.file_megabytes")
    return listed


def check_is_openable(name: str) -> None:
    """Raise a ReposeError if a name is that of an archive other than a zip."""
    if name.lower().endswith(_ARCHIVES):
        raise ReposeError(f"{name}: only zip archives are opened. {_UNPACK}")


def is_zip(path: Path, name: str) -> bool:
    """Whether a file is a zip, by its first bytes or its name."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or name.lower().endswith(".zip")


def safe_name(name: str, where: str) -> str:
    """A relative path with single slashes between its parts.

    Raises:
        ReposeError: the path is absolute, has `..`, a drive letter, a backslash or a control character, or is not text.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts or name.startswith("/") or ".." in parts or "\\" in name or re.match("[A-Za-z]:", name)
        or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name)
    ):  # fmt: skip
        raise ReposeError(
            f"{where} contains a file named {name!r}; a name should be a plain path inside the data set. Nothing was "
            "read. Get the data from the owner again, or rename the file."
        )
    plain = "/".join(parts)
    return name if name == plain else plain  # of equal texts, memory for one


def _check_directory(path: Path, limits: Limits, where: str) -> None:
    """Count the entries of a zip's directory. ZipFile reads it whole, and uses a few hundred bytes of memory per entry.

    Raises:
        ReposeError: there are too many entries, or they use too many bytes.
        BadZipFile: the directory has another number of entries than the record at the zip's end says, or is damaged.
    """
    most = _ENTRIES * limits.files
    with path.open("rb") as stream:
        record = zipfile._EndRecData(stream)  # type: ignore[attr-defined]  # what ZipFile calls: both see one directory
        if not record:
            raise zipfile.BadZipFile
        signature, _, _, _, entries, size, *_, end = record
        left, found = size, 0
        # Of a zip64, Python since its fix of CVE-2025-8291 gives the start of zip64's record; before, the end of its locator.
        stream.seek(end)
        if signature == b"PK\x06\x06" != stream.read(4):
            end -= 76
        stream.seek(end - size)
        while left > 0:
            head = stream.read(46)
            lengths = sum(struct.unpack("<3H", head[28:34]))  # of the name, the extra field and the comment
            stream.seek(lengths, os.SEEK_CUR)
            left, found = left - len(head) - lengths, found + 1
            if found > most or size > most * _ENTRY_BYTES:
                raise _beyond(where, f"more than {most:,} files and folders, or very long names", "limits.files")
    if (found - entries) % 2**16:  # without zip64, the record has 16 bits
        raise zipfile.BadZipFile


def _read_path(file: File) -> bytes:
    try:
        with file.entry.open("rb") as stream:
            content: bytes = stream.read(file.size + 1)
    except OSError as error:
        raise ReposeError(
            f"Cannot read {file.entry} of {file.where}: {error.strerror}. Check that it is there, and check its permissions."
        ) from None
    if len(content) != file.size:
        raise ReposeError(
            f"{file.entry} of {file.where} changed while it was read. Run again when nothing writes to it."
        )
    return content


def _name(info: zipfile.ZipInfo) -> str:
    """The name of a member. Programs such as macOS's write UTF-8 without its flag, and zipfile then reads code page 437."""
    if not (info.filename.isascii() or info.flag_bits & _IN_UTF8):
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode()
    return info.filename


def _check_member(info: zipfile.ZipInfo, name: str, where: str) -> None:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ReposeError(f"{where}: {name} is a link or special file. Pack the data again without it.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ReposeError(
            f"{where}: {name} is encrypted with AES, or compressed with a method ({info.compress_type}) that is not "
            f"supported. {_UNPACK}"
        )


def _password(infos: list[zipfile.ZipInfo], where: str, variable: str | None) -> bytes | None:
    if not any(info.flag_bits & _ENCRYPTED for info in infos):
        return None
    if variable is None:
        raise ReposeError(
            f"{where} is encrypted. Set password_variable to the name of the environment variable with its password, which "
            "the data's owner has."
        )
    try:
        importlib.import_module("fast_zip_decryption")  # replaces zipfile's decryption by a C implementation
    except ImportError:
        say(
            f"{where} is encrypted. `pip install fast-zip-decryption` makes reading about 80 times faster (1 MB/s now)."
        )
    return os.environb.get(variable.encode(), b"")


def _read_member(archive: zipfile.ZipFile, password: bytes | None, file: File) -> bytes:
    info, where = file.entry, file.where
    try:
        with archive.open(info, pwd=password) as stream:
            content = stream.read(info.file_size)  # limits the bytes, whatever the file unpacks to
        if len(content) != info.file_size:
            raise EOFError
    except _DAMAGED:
        or_password = ", or the password is wrong" if info.flag_bits & _ENCRYPTED else ""
        raise DataError(f"{where}: {file.name} is damaged{or_password}. Get the zip again.") from None
    except RuntimeError:
        raise ReposeError(f"{where}: the password is wrong. Ask the data's owner for the right one.") from None
    return content


def _beyond(where: str, what: str, limit: str) -> ReposeError:
    return ReposeError(
        f"{where} contains {what}. This may be a zip bomb or the wrong source. If it is right, raise {limit}."
    )
