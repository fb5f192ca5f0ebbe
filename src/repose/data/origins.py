"""The origins of a source: local folders, zips and files, and those at s3:// or https:// addresses, which are fetched."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, NonNegativeInt

from repose.config import settings
from repose.data import archives
from repose.data.archives import File, Limits
from repose.errors import DataError, ReposeError
from repose.storage import transfer
from repose.terminal import say

T = TypeVar("T")


@settings
class Origin:
    """The location of a part of the source."""

    # A folder, a zip, another file, s3://bucket/key, s3://bucket/prefix/ (all objects under it), https://...
    address: Annotated[str, Field(min_length=1)]
    sha256: transfer.Sha256 | None = None  # of a single file
    size: NonNegativeInt | None = None  # of a single file, bytes
    password_variable: str | None = None  # the NAME of the environment variable that holds a zip's password


def check_origins(origins: Iterable[Origin]) -> None:
    """Check the origins before the first byte is transferred.

    Raises:
        ReposeError: a password is not set, a path is missing or cannot be read, a folder has a digest, or a file is an archive
            other than a zip.
    """
    for origin in origins:
        where, local = transfer.shown(origin.address), transfer.local_path(origin.address)
        variable = origin.password_variable
        if variable is not None and not os.environ.get(variable):
            raise ReposeError(
                f"{where}: the environment variable that password_variable names is not set. It should contain the zip's "
                "password; password_variable is only its name, such as FASHION_PASSWORD."
            )
        if local and not (os.access(local, os.R_OK) and (local.is_dir() or local.is_file())):
            raise ReposeError(
                f"{where} is missing or cannot be read. Check its permissions and the path; a relative one starts at "
                f"{Path.cwd()}."
            )
        folder = local.is_dir() if local else transfer.is_prefix(origin.address)
        if folder and (origin.sha256 or origin.size is not None):
            raise ReposeError(f"{where} is a folder, but sha256 and size are for single files. Remove them.")
        if not folder:
            archives.check_is_openable(transfer.base_name(origin.address))


@contextmanager
def open_origins(
    origins: Sequence[Origin], transfers: Path, *, endpoint: str | None, version: str | None, limits: Limits
) -> Iterator[tuple[list[File], list[dict[str, Any]]]]:
    """The files of all origins, sorted by name, and the facts of each origin. Fetches remote origins.

    Args:
        origins: the locations.
        transfers: the folder of fetched files, which is kept if a run fails, so that the next one resumes.
        endpoint: an S3 server other than Amazon's.
        version: of the source; files of other versions are not reused.
        limits: on each origin, and on all together.

    Raises:
        ReposeError: an origin is unavailable or invalid or exceeds the limits, or two origins have different files of the
            same name.
    """
    files, records, seen = dict[str, File](), [], list[str]()
    with ExitStack() as stack:
        for origin in origins:
            # A folder for each origin, which stays the same in later runs, even if the address has another signature.
            where = transfer.shown(origin.address)
            key = hashlib.sha256(f"{where}\n{seen.count(where)}\n{version}".encode()).hexdigest()[:16]
            seen.append(where)
            opened, record = stack.enter_context(_opened(origin, transfers / key, endpoint, limits))
            records.append(record)
            for file in opened:
                earlier = files.setdefault(file.name, file)
                if earlier is not file and (earlier.size != file.size or earlier.read() != file.read()):
                    raise ReposeError(
                        f"{earlier.where} and {file.where} have different files {file.name}. Remove one of them."
                    )
        yield archives.within(sorted(files.values(), key=lambda file: file.name), limits, "the source"), records


def forget(folder: Path) -> None:
    """Remove the files transferred by this and earlier runs."""
    for entry in folder.glob("*"):
        if re.fullmatch("[0-9a-f]{16}", entry.name):
            shutil.rmtree(entry)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _opened(
    origin: Origin, folder: Path, endpoint: str | None, limits: Limits
) -> Iterator[tuple[list[File], dict[str, Any]]]:
    """The files of an origin, fetched into `folder` if it is remote, and its entry in source.json."""
    where, digest, size, opened = transfer.shown(origin.address), None, None, None
    paths: Iterable[tuple[str, Path]]
    fetched, skipped = folder / "file", list[str]()
    if transfer.is_prefix(origin.address):
        listed = archives.without_archives(transfer.list_prefix(origin.address, endpoint=endpoint), where)
        objects = archives.within(archives.without_litter(listed, skipped), limits, where)
        for entry in objects:
            archives.safe_name(entry.name, where)  # before anything is fetched
        paths = transfer.fetch_objects(origin.address, objects, folder, endpoint=endpoint)
    elif (local := transfer.local_path(origin.address)) and local.is_dir():
        paths = archives.without_archives(archives.walk(local, where), where)
    else:
        path = local or transfer.fetch(
            origin.address, fetched, sha256=origin.sha256, size=origin.size, endpoint=endpoint,
            limit=int(limits.total_gigabytes * 1e9),
        )  # fmt: skip
        digest = transfer.check(path, sha256=origin.sha256, size=origin.size, where=where)
        name, size = transfer.base_name(origin.address), path.stat().st_size
        paths = [(name, path)]
        if archives.is_zip(path, name):
            opened = archives.open_zip(path, limits, where, origin.password_variable)
    with ExitStack() as stack:
        files = opened or nullcontext(archives.list_files(paths, limits, where))
        found = _read(fetched, lambda: stack.enter_context(files))
        if not found.files:
            raise ReposeError(f"{where} has no files. Check the address.")
        reader = partial(_read_file, fetched, found.files[0].reader)
        ignored = found.skipped + len(skipped)
        if ignored:
            say(f"{where}: ignored {ignored} files or folders of other programs, such as Thumbs.db or ._NAME.")
        if size is None:
            size = sum(file.size for file in found.files)
        record = {"address": where, "sha256": digest, "size": size, "skipped": ignored}
        yield [file._replace(reader=reader) for file in found.files], record


def _read_file(fetched: Path, reader: Callable[[File], bytes], file: File) -> bytes:
    return _read(fetched, lambda: reader(file))


def _read(fetched: Path, read: Callable[[], T]) -> T:
    """The result of `read`. If the fetched file is damaged, it is removed, so that the next run fetches it again."""
    try:
        return read()
    except DataError:
        fetched.unlink(missing_ok=True)
        raise
