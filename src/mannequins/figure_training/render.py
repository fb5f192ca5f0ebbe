"""figure render: render one set of mannequins to shards, with the stage download.

repose figure render --set train-fashion --raw raw/train-fashion
"""

from pathlib import Path

from pydantic import PositiveInt

from mannequins.renderer import MannequinSettings
from repose.config import nearest, settings
from repose.data.archives import Limits
from repose.errors import ReposeError
from repose.stages import download
from repose.stages.download import DownloadSettings


@settings
class RenderSettings:
    """The block `render` of figure/params.yaml."""

    sets: dict[str, MannequinSettings]  # seeds of no other pipeline; test sets have other seeds than training sets
    shard_megabytes: PositiveInt  # MiB of a tar shard, about
    workers: PositiveInt  # processes that render


def run(*, name: str, raw: Path, settings: RenderSettings) -> None:
    """Write the set called `name` to the folder `raw`, as the stage download does.

    Raises:
        ReposeError: there is no such set.
    """
    if name not in settings.sets:
        raise ReposeError(f"render.sets has no {name!r}{nearest(name, list(settings.sets))}")
    limits = Limits(files=10**9, total_gigabytes=1e6, file_megabytes=1e6, ratio=1e6)  # mannequins have no archive
    wanted = DownloadSettings(
        source="mannequin", mannequin=settings.sets[name], origins=(), endpoint=None, version=None, limits=limits,
        shard_megabytes=settings.shard_megabytes, workers=settings.workers,
    )  # fmt: skip
    download.run(raw=raw, transfers=raw.parent, settings=wanted)  # nothing is transferred
