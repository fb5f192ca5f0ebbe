"""download: fetch or render the source, and write its files, with their owner's paths, to tar shards.

The source is a folder, a zip, s3:// or https:// (see `data.origins`), or rendered mannequins. Photos and lists go into
separate shards (see `data.raw`), with files.csv (locations and SHA-256) and source.json (the source's terms and origins).
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import PositiveInt

from mannequins import renderer
from mannequins.renderer import MannequinSettings
from repose.config import settings
from repose.data.archives import Limits
from repose.data.layouts import LayoutName, is_image
from repose.data.origins import Origin, check_origins, forget, open_origins
from repose.data.raw import LISTS, PHOTOS, SOURCE, TABLE
from repose.data.records import FILES, write_json, write_table
from repose.data.shards import ShardWriter
from repose.errors import ReposeError
from repose.storage.atomic import whole_folder
from repose.terminal import bar, say


@settings
class DownloadSettings:
    """The block `download` of params.yaml."""

    source: Literal["mannequin", "deepfashion", "market1501", "folders"]
    mannequin: MannequinSettings  # for the source mannequin
    origins: tuple[Origin, ...]  # for the other sources
    endpoint: str | None  # an S3 server other than Amazon's, http(s)://host:port
    version: str | None  # your name for the state of the source; changing it fetches the source again
    limits: Limits  # protection against zip bombs and wrong sources
    shard_megabytes: PositiveInt  # MiB of a tar shard, about
    workers: PositiveInt  # processes that render mannequins


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
    "folders": "Your own photos, under your own terms.",
}
_MANNEQUIN_LAYOUTS: dict[str, LayoutName] = {"fashion": "deepfashion", "street": "market1501"}


def run(*, raw: Path, transfers: Path, settings: DownloadSettings) -> None:
    """Write the folder `raw` atomically.

    `transfers` is a scratch folder that is kept after a failed run, so that the next one resumes. Its files are removed when
    `raw` is complete.

    Raises:
        ReposeError: an origin is unavailable or invalid; an earlier `raw` is not changed.
    """
    say(f"{settings.source}: {TERMS[settings.source]}")
    if settings.source == "mannequin":
        if settings.origins:
            raise ReposeError(
                "download: the source is mannequin, which has no origins. Set source to "
                "deepfashion, market1501 or folders, or origins to []."
            )
        rendered = renderer.files(settings.mannequin, workers=settings.workers)
        _write(raw, bar(rendered, "files"), _MANNEQUIN_LAYOUTS[settings.mannequin.flavour], [], settings)
        return
    if not settings.origins:
        raise ReposeError(
            f"download: the source is {settings.source}, and download.origins names no copy of it. Set origins in params.yaml "
            "to your photos or your copy of the data set: `- address: ...`, with a folder, a zip, s3:// or https://."
        )
    check_origins(settings.origins)
    with open_origins(
        settings.origins, transfers, endpoint=settings.endpoint, version=settings.version, limits=settings.limits
    ) as (files, records):
        contents = ((file.name, file.read()) for file in bar(files, "files"))
        _write(raw, contents, settings.source, records, settings)
    forget(transfers)


def _write(
    raw: Path, contents: Iterable[tuple[str, bytes]], layout: LayoutName, origins: list[dict[str, Any]],
    settings: DownloadSettings,
) -> None:  # fmt: skip
    with whole_folder(raw, (f"{LISTS}/{SOURCE}", f"*/{TABLE}", "*/*.tar")) as folder:
        tables = _pack(folder, contents, settings.shard_megabytes * 2**20)
        record: dict[str, Any] = {
            "source": settings.source, "layout": layout, "terms": TERMS[settings.source], "version": settings.version,
            "files": sum(map(len, tables)), "bytes": sum(int(table["size"].sum()) for table in tables), "origins": origins,
        }  # fmt: skip
        if not record["files"]:
            raise ReposeError(f"download: the source {settings.source} has no files.")
        write_json(folder / LISTS / SOURCE, record)
    say(f"{record['files']:,} files, {record['bytes'] / 1e6:,.1f} MB in {raw}.")


def _pack(folder: Path, contents: Iterable[tuple[str, bytes]], shard_bytes: int) -> list[pd.DataFrame]:
    """Pack photos and lists into separate folders, with their tables."""
    rows: dict[str, list[tuple[object, ...]]] = {PHOTOS: [], LISTS: []}
    for kind in rows:
        (folder / kind).mkdir()
    with ShardWriter(folder / PHOTOS, shard_bytes) as photos, ShardWriter(folder / LISTS, shard_bytes) as lists:
        for name, content in contents:
            kind, shards = (PHOTOS, photos) if is_image(name) else (LISTS, lists)
            rows[kind].append((name, *shards.add(name, content), hashlib.sha256(content).hexdigest()))
    tables = [pd.DataFrame(rows[kind], columns=list(FILES)) for kind in rows]
    for kind, table in zip(rows, tables, strict=True):
        write_table(folder / kind / TABLE, table, FILES)
    return tables
