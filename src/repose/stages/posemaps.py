"""posemaps: draw a map of colored limbs for every photo of one part that has a pose, at the working size.

Its settings also define the crop and size of photos in training, evaluation and generation. The folder `posemaps` has the maps
(tar shards of PNG files with a palette, each named like its photo, and posemaps.csv; photos without a limb inside the frame
have none), and the frame, the line width and the numbers of photos with and without a map (posemaps.json).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from repose.config import as_dict, settings
from repose.data.frame import Crop, Frame, Side
from repose.data.images import encode_png
from repose.data.photo_files import place
from repose.data.posemaps import MAPS_AT_ONCE, PALETTE, draw
from repose.data.records import POSEMAPS, read_keypoints, read_table, write_json, write_table
from repose.data.shards import ShardWriter, index_table
from repose.errors import ReposeError
from repose.storage.atomic import whole_folder
from repose.terminal import bar, say


@settings
class PosemapsSettings:
    """The block `posemaps` of params.yaml."""

    height: Side  # of the working image
    width: Side
    crop: Crop | None  # left, top, right, bottom in px: the part that is used; null: all; person: around the person
    line_width: Annotated[float, Field(ge=1)]  # of a limb in px of the working image
    shard_megabytes: PositiveInt  # size of a tar shard in MiB

    @property
    def frame(self) -> Frame:
        """The frame of the working image."""
        return Frame(self.height, self.width, self.crop)


def run(*, images: Path, keypoints: Path, posemaps: Path, settings: PosemapsSettings) -> None:
    """Write the folder `posemaps` from the tables in the folders `images` and `keypoints`, all of one part.

    Raises:
        ReposeError: a table is missing, the tables are of different photos, the crop reaches beyond a photo, or no photo
            has a limb in the frame.
    """
    photos = read_table(images / "images.csv", ("name", "height", "width"))
    names, joints, _ = read_keypoints(keypoints / "keypoints.csv")
    if photos["name"].tolist() != names:
        differing = sorted(set(photos["name"]) ^ set(names))
        what = f"{len(differing):,} are in one only, such as {differing[0]}" if differing else "their order differs"
        raise ReposeError(
            f"{keypoints / 'keypoints.csv'} and images.csv are not of the same photos: {what}. Run `dvc repro keypoints` "
            "again."
        )
    with whole_folder(posemaps, ("posemaps.json", "posemaps.csv", "*.tar")) as folder:
        with ShardWriter(folder, settings.shard_megabytes * 2**20) as shards:
            maps = bar(_maps(photos, joints, settings), "posemaps", total=len(names))
            places = [(name, shards.add(name, encode_png(drawn, PALETTE))) for name, drawn in maps if drawn.any()]
        if not places:
            raise ReposeError(
                f"None of the {len(names):,} photos in {images} has a limb to draw in the frame. See "
                f"{keypoints / 'keypoints.csv'} for the joints, and posemaps.crop in params.yaml for the part of the "
                "photos that is used."
            )
        write_table(folder / "posemaps.csv", index_table(places), POSEMAPS)
        made = {key: value for key, value in as_dict(settings).items() if key != "shard_megabytes"}
        write_json(folder / "posemaps.json", made | {"maps": len(places), "without_pose": len(names) - len(places)})
    say(
        f"posemaps: {len(places):,} maps of {settings.width}x{settings.height} px (width x height); "
        f"{len(names) - len(places):,} of {len(names):,} photos in {images} have no limb in the frame and no map"
    )


def _maps(photos: pd.DataFrame, joints: np.ndarray, settings: PosemapsSettings) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each photo and its map (height, width) uint8, blank if the photo has no pose."""
    rows = list(zip(photos["name"], photos["height"], photos["width"], joints, strict=True))
    for first in range(0, len(rows), MAPS_AT_ONCE):
        part = rows[first : first + MAPS_AT_ONCE]
        placed = np.stack([_in_frame(settings.frame, *row) for row in part])
        drawn = draw(placed, height=settings.height, width=settings.width, line_width=settings.line_width)
        yield from zip((name for name, *_ in part), drawn, strict=True)


def _in_frame(frame: Frame, name: str, height: int, width: int, joints: np.ndarray) -> np.ndarray:
    try:
        return place(frame, (height, width), joints).keypoints(joints)
    except ReposeError as error:
        raise ReposeError(f"{name}: {error}") from None
