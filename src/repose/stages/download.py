"""Stage 1, download: everything that enters the pipeline enters here.

The files of the source, from a folder, a zip, s3:// or https:// (or rendered: mannequins), go with their owner's paths
into tar shards, photos and lists apart (see `data.raw`), with `files.csv` (their places and SHA-256) and `source.json`
(what it is, under which terms, from where). Nothing is ever unpacked onto the disk, and nothing is fetched from an
address that params.yaml does not name.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from mannequins import renderer
from mannequins.renderer import MannequinSettings
from repose.config import settings
from repose.data.archives import Contents, File, Limits, is_zip, open_files, open_zip, walk, within
from repose.data.layouts import LayoutName, is_image
from repose.data.raw import LISTS, PHOTOS, SOURCE, TABLE
from repose.data.records import FILES, write_json, write_table
from repose.data.shards import Place, ShardWriter, index_table
from repose.errors import ReposeError
from repose.storage import transfer
from repose.storage.atomic import whole_folder
from repose.terminal import bar, say


@settings
class Origin:
    """Where a part of the source lies; what is optional may be left out of params.yaml."""

    address: str  # a folder, a zip, another file, s3://bucket/key, s3://bucket/prefix/ (all under it), https://...
    sha256: str | None = None  # of a single file: 64 hexadecimal digits, or the first 8 or more
    size: int | None = None  # of a single file, bytes
    password_variable: str | None = None  # the NAME of the environment variable that holds a zip's password

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address is empty")
        try:
            transfer.digest_form(self.sha256)
        except ReposeError as error:
            raise ValueError(error) from None


@settings
class DownloadSettings:
    """The block `download` of params.yaml."""

    source: Literal["mannequin", "deepfashion", "market1501"]
    mannequin: MannequinSettings  # how many, of what kind; for the source mannequin
    origins: tuple[Origin, ...]  # for the other sources
    endpoint: str | None  # an S3 server other than Amazon's: http(s)://host:port
    version: str | None  # what you call the state of the source; another name fetches it again
    limits: Limits  # how much the origins may hold
    shard_megabytes: int  # MiB of a tar shard, about
    workers: int  # processes that render mannequins

    def __post_init__(self) -> None:
        for name in ("shard_megabytes", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be 1 or more, not {getattr(self, name)}.")


TERMS = {
    "mannequin": "Rendered by repose; Apache-2.0, as repose itself.",
    "deepfashion": (
        "DeepFashion (In-shop Clothes Retrieval), Multimedia Laboratory, The Chinese University of Hong Kong: for "
        "non-commercial research and educational purposes only, under the agreement with its owners."
    ),
    "market1501": (
        "Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015): for academic use; cite "
        "the paper."
    ),
}
_OWNER = {
    "deepfashion": (
        "Ask its owners for access (the In-shop Clothes Retrieval Benchmark's page on mmlab.ie.cuhk.edu.hk says how)"
    ),
    "market1501": "Get it from its owners (the project page of Market-1501 by Liang Zheng says how)",
}
_MANNEQUIN_LAYOUTS: dict[str, LayoutName] = {"fashion": "deepfashion", "street": "market1501"}


def run(*, raw: Path, transfers: Path, settings: DownloadSettings) -> None:
    """Write the folder `raw`, whole or not at all.

    `transfers` is a scratch folder that outlives a failed run, so that the next one goes on where it stopped; what came
    into it is removed when `raw` is there.

    Raises:
        ReposeError: an origin cannot be had or is not what it should be; an earlier `raw` stays as it is.
    """
    say(f"{settings.source}: {TERMS[settings.source]}")
    _refuse_origins(settings)
    if settings.source == "mannequin":
        layout = _MANNEQUIN_LAYOUTS[settings.mannequin.flavour]
        _write(raw, renderer.files(settings.mannequin, workers=settings.workers), None, layout, [], settings)
        return
    with ExitStack() as stack:
        opened = [
            stack.enter_context(_opened(origin, folder, settings))
            for origin, folder in zip(settings.origins, _folders(transfers, settings), strict=True)
        ]
        files = within(_merged([part.contents for part in opened]), settings.limits, "the source")
        contents = ((file.name, file.read()) for file in files)
        _write(raw, contents, len(files), settings.source, [part.record for part in opened], settings)
    _forget(transfers)


class _Opened(NamedTuple):
    contents: Contents
    record: dict[str, Any]  # its entry in source.json


def _refuse_origins(settings: DownloadSettings) -> None:
    """All that can be told before the first byte is transferred."""
    if settings.source == "mannequin":
        if settings.origins:
            raise ReposeError(
                "download: the source is mannequin, which is rendered, but there are origins. Set source to "
                "deepfashion or market1501, or origins to []."
            )
        return
    if not settings.origins:
        raise ReposeError(
            f"download: the source is {settings.source}, and repose does not ship it. {_OWNER[settings.source]}, then "
            "set origins in params.yaml to where your copy lies: `- address: ...`, with a folder, a zip, s3:// or https://."
        )
    for origin in settings.origins:
        _refuse_origin(origin)


def _refuse_origin(origin: Origin) -> None:
    where, local = transfer.shown(origin.address), transfer.local_path(origin.address)
    variable = origin.password_variable
    if variable is not None and not os.environ.get(variable):
        raise ReposeError(
            f"The environment variable {variable}, which should hold the password of {where}, is not set. "
            f"`export {variable}=...`"
        )
    if local is not None:
        if not local.exists():
            raise ReposeError(f"There is no {where}. Check the path; a relative one starts at {Path.cwd()}.")
        if not os.access(local, os.R_OK) or not (local.is_dir() or local.is_file()):
            raise ReposeError(f"{where} cannot be read. Change its permissions, or the path.")
    if (local.is_dir() if local else transfer.is_prefix(origin.address)) and (origin.sha256 or origin.size is not None):
        raise ReposeError(f"{where} is a folder: sha256 and size are for single files. Leave them out.")


def _folders(transfers: Path, settings: DownloadSettings) -> Iterator[Path]:
    """Where what comes from each origin lies meanwhile: the same in the next run, even if a signature was renewed.

    Another version has another place: nothing of the one before is taken for it.
    """
    seen: list[str] = []
    for where in (transfer.shown(origin.address) for origin in settings.origins):
        key = f"{where}\n{seen.count(where)}\n{settings.version}"
        yield transfers / hashlib.sha256(key.encode()).hexdigest()[:16]
        seen.append(where)


def _forget(transfers: Path) -> None:
    """Remove what was transferred, also by earlier runs, and nothing else."""
    for folder in transfers.glob("*"):
        if re.fullmatch("[0-9a-f]{16}", folder.name):
            shutil.rmtree(folder)
    if transfers.is_dir() and not any(transfers.iterdir()):
        transfers.rmdir()


@contextmanager
def _opened(origin: Origin, folder: Path, settings: DownloadSettings) -> Iterator[_Opened]:
    """Bring an origin here if it is elsewhere, check it, and list its files."""
    where, digest, size = transfer.shown(origin.address), None, None
    options: dict[str, Any] = {
        "limits": settings.limits, "where": where, "password_variable": origin.password_variable,
    }  # fmt: skip
    if transfer.is_prefix(origin.address):
        opened = open_files(_fetch_prefix(origin, folder, settings), **options)
    elif (path := _fetch_path(origin, folder, settings)).is_dir():
        opened = open_files(walk(path, where), **options)
    else:
        digest = transfer.check(path, sha256=origin.sha256, size=origin.size, where=where)
        name, size = transfer.base_name(origin.address), path.stat().st_size
        opened = open_zip(path, **options) if is_zip(path, name) else open_files([(name, path)], **options)
    with opened as contents:
        if not contents.files:
            raise ReposeError(f"{where} holds no files. Check the address.")
        if contents.skipped:
            say(
                f"{where}: left out {contents.skipped} files or folders of other programs, such as Thumbs.db or ._NAME."
            )
        if size is None:
            size = sum(file.size for file in contents.files)
        yield _Opened(contents, {"address": where, "sha256": digest, "size": size, "skipped": contents.skipped})


def _fetch_path(origin: Origin, folder: Path, settings: DownloadSettings) -> Path:
    if local := transfer.local_path(origin.address):
        return local
    return transfer.fetch(
        origin.address, folder / "file", sha256=origin.sha256, size=origin.size, endpoint=settings.endpoint,
        limit=int(settings.limits.total_gigabytes * 1e9),
    )  # fmt: skip


def _fetch_prefix(origin: Origin, folder: Path, settings: DownloadSettings) -> list[tuple[str, Path]]:
    found = transfer.list_prefix(origin.address, endpoint=settings.endpoint)
    objects = within(found, settings.limits, transfer.shown(origin.address))
    return transfer.fetch_objects(origin.address, objects, folder, endpoint=settings.endpoint)


def _merged(parts: Iterable[Contents]) -> list[File]:
    """The files of all origins, sorted by name; a name that two of them have must be the same file."""
    files: dict[str, File] = {}
    for file in (file for part in parts for file in part.files):
        earlier = files.setdefault(file.name, file)
        if earlier is not file and (earlier.size != file.size or earlier.read() != file.read()):
            raise ReposeError(
                f"{earlier.where} and {file.where} both hold {file.name}, and the two differ. Remove one of them."
            )
    return sorted(files.values(), key=lambda file: file.name)


def _write(
    raw: Path, contents: Iterable[tuple[str, bytes]], total: int | None, layout: LayoutName,
    origins: list[dict[str, Any]], settings: DownloadSettings,
) -> None:  # fmt: skip
    with whole_folder(raw) as folder:
        tables = _pack(folder, bar(contents, "files", total), settings.shard_megabytes * 2**20)
        files = sum(map(len, tables.values()))
        if not files:
            raise ReposeError(f"download: the source {settings.source} has no files.")
        for name, table in tables.items():
            write_table(folder / name / TABLE, table, FILES)
        record: dict[str, Any] = {
            "source": settings.source, "layout": layout, "terms": TERMS[settings.source], "version": settings.version,
            "files": files, "bytes": sum(int(table["size"].sum()) for table in tables.values()), "origins": origins,
        }  # fmt: skip
        write_json(folder / LISTS / SOURCE, record)
    say(f"{record['files']:,} files, {record['bytes'] / 1e6:,.1f} MB in {raw}.")


def _pack(folder: Path, contents: Iterable[tuple[str, bytes]], shard_bytes: int) -> dict[str, pd.DataFrame]:
    """Pack photos and lists, each into a folder of its own; the tables of both by the folder's name."""
    places: dict[str, list[tuple[str, Place]]] = {PHOTOS: [], LISTS: []}
    digests: dict[str, list[str]] = {PHOTOS: [], LISTS: []}
    for kind in places:
        (folder / kind).mkdir()
    with ShardWriter(folder / PHOTOS, shard_bytes) as photos, ShardWriter(folder / LISTS, shard_bytes) as lists:
        for name, content in contents:
            kind, shards = (PHOTOS, photos) if is_image(name) else (LISTS, lists)
            places[kind].append((name, shards.add(name, content)))
            digests[kind].append(hashlib.sha256(content).hexdigest())
    return {kind: index_table(places[kind]).assign(sha256=digests[kind]) for kind in places}
