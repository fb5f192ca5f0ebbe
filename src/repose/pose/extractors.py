"""Extractors of joints: from keypoint files of the source (here), or by a network on the photos (`detectors`)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, PositiveFloat, PositiveInt

from repose.config import settings
from repose.data.layouts import LAYOUTS, NameFinder
from repose.data.placement import advice
from repose.data.raw import RawFiles
from repose.data.skeleton import JOINTS, K, present
from repose.errors import ReposeError
from repose.pose import keypoint_files
from repose.pose.keypoint_files import Matched, Poses
from repose.storage.weight_files import WeightsFile
from repose.terminal import bar

if TYPE_CHECKING:  # imports torch, which extractors of files do not need
    from repose.pose.keypoint_cache import Search

NETWORKS = ("blazepose", "figure")  # the extractors that are networks
Share = Annotated[float, Field(ge=0, le=1)]


@settings
class NetworkSettings:
    """Settings of the extractors that are networks."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda if available, in half precision
    batch: PositiveInt = 64  # photos at a time
    threads: PositiveInt = 1  # CPU threads
    min_person: Share = 0.5  # blazepose: minimum score of a person
    weights: WeightsFile | None = None  # blazepose: its file; null: the one in the cache


@settings
class ExtractorSettings:
    """The extractor of joints, and which joints count."""

    extractor: Literal["posegan-csv", "openpose-json", "blazepose", "figure"]
    # In the source: CSV files, in this order; for openpose-json, folders of JSON files; for a network, CSV files to compare
    # its joints with, or none.
    files: tuple[str, ...]
    scale: tuple[PositiveFloat, PositiveFloat]  # x and y are multiplied by it: joints of a half-size copy need [2, 2]
    offset: tuple[float, float]  # px added to x and y after scaling; PATN's 256x176 "resize" files need [40, 0]
    min_confidence: Share  # joints found with less are missing (a CSV has none: its joints count as 1)
    max_outside: Share  # share of the joints that may lie outside their photo (they become missing); more: an error
    min_posed_share: Share  # share of a part's photos that must have both shoulders and both hips; fewer: an error
    network: NetworkSettings = NetworkSettings()  # for extractors that are networks

    def __post_init__(self) -> None:
        if self.extractor in NETWORKS and (self.scale, self.offset) != ((1.0, 1.0), (0.0, 0.0)):
            raise ValueError(
                f"scale and offset are for keypoint files: set them to [1, 1] and [0, 0] with the extractor {self.extractor}."
            )
        if self.extractor not in NETWORKS and not self.files:
            raise ValueError("files is empty. Name the keypoint files of the source, such as [keypoints.csv].")


class Sources(NamedTuple):
    """The inputs of an extractor."""

    lists: RawFiles  # the owner's files other than photos
    images: Path  # the folder of the part's photos
    table: pd.DataFrame  # its images.csv
    work: Path  # the folder for a network's results until the stage is done


class Extracted(NamedTuple):
    """The results of an extractor."""

    poses: Poses  # in the source's order
    counts: dict[str, Any]  # further entries of the report
    reference: np.ndarray | None = None  # (photos,K,2) px: known joints to compare with
    nobody: Sequence[str] = ()  # photos in which a network found no person
    search: "Search | None" = None  # of a network, whose files are kept in `work` until the stage has written its own


def extract(sources: Sources, settings: ExtractorSettings) -> Extracted:
    """The joints of one part's photos; from files also those of other photos.

    Raises:
        ReposeError: a keypoint file or a network's weights are missing or invalid.
    """
    if settings.extractor == "posegan-csv":
        return Extracted(_posegan_csv(sources, settings), {"files": len(settings.files)})
    if settings.extractor == "openpose-json":
        return _openpose_json(sources, settings)
    from repose.pose.detectors import find_joints  # imports torch

    return find_joints(sources, settings)


def reference_joints(sources: Sources, settings: ExtractorSettings) -> np.ndarray | None:
    """The joints (photos,K,2) in the source's CSV files, for comparison; None without files."""
    if not settings.files:
        return None
    return keypoint_files.match(_posegan_csv(sources, settings), sources.table["name"].tolist()).keypoints


def _posegan_csv(sources: Sources, settings: ExtractorSettings) -> Poses:
    """The poses in CSV files in the format of pose-gan, PATN and the mannequins."""
    paths = [sources.lists.find(name) for name in settings.files]
    read = [keypoint_files.read_posegan_csv(sources.lists[path], path) for path in paths]
    keypoints, confidence = (np.concatenate([poses[part] for poses in read]) for part in (1, 2))
    return Poses([name for poses in read for name in poses.names], _in_photo(keypoints, settings), confidence)


def _openpose_json(sources: Sources, settings: ExtractorSettings) -> Extracted:
    """The poses in OpenPose's files, one per photo, matched by path in the owner's layout or by name alone.

    Files of other photos are only counted. Raises a ReposeError if there are no files, or two photos have the same one.
    """
    inside = tuple(f"/{folder.strip('/')}/" for folder in settings.files)
    paths = sorted(
        path for path in sources.lists if path.endswith(".json") and any(part in f"/{path}" for part in inside)
    )
    if not paths:
        raise ReposeError(
            f"The source holds no .json file in {' or '.join(settings.files)}. Put OpenPose's output (--write_json) there, "
            "or name its folder in `keypoints.files` of params.yaml."
        )
    layout, by_stem = LAYOUTS[sources.lists.layout]([], sources.lists.__getitem__), _by_stem(sources.table["name"])
    finder = NameFinder(by_stem)
    sizes = {name: size for name, *size in sources.table[["name", "height", "width"]].itertuples(index=False)}
    photos, joints, people_in = list[str](), np.zeros((len(paths), K, 3), np.float32), np.zeros(len(paths), np.int64)
    for row, path in enumerate(bar(paths, "keypoints")):
        described = keypoint_files.photo_of_json(path)
        names = [  # by the whole path, and by the path in one of the folders
            photo.name if (photo := layout.photo(place)) else place.rpartition("/")[2]
            for place in (described, *(f"/{described}".partition(folder)[2] for folder in inside))
        ]
        found = next(filter(None, map(finder.find, names)), None)
        photos.append(by_stem[found] if found else names[0])
        if photos[row] in sizes:
            people = keypoint_files.read_openpose_json(sources.lists[path], path)
            people[..., :2] = _in_photo(people[..., :2], settings)
            size = sizes[photos[row]]
            joints[row], people_in[row] = keypoint_files.choose_person(people, size, settings.min_confidence)
    where = f"The OpenPose files of {', '.join(settings.files)}"
    keypoints = keypoint_files.check_pixels(keypoint_files.known_points(joints), where)
    counts = {
        "files": len(paths),
        "files_with_several_people": int((people_in > 1).sum()),
        "people_left_out": int((people_in - 1).clip(0).sum()),
    }
    return Extracted(Poses(photos, keypoints, joints[..., 2].clip(0, 1)), counts)


def _by_stem(names: Iterable[str]) -> dict[str, str]:
    """The names of photos, by what `photo_of_json` gives for them."""
    found = dict[str, str]()
    for name in names:
        stem = f"{name.rpartition('.')[0]}.jpg"
        if (other := found.setdefault(stem, name)) != name:
            raise ReposeError(f"OpenPose has one file for both {other} and {name}. Rename one, and run OpenPose again.")
    return found


def _in_photo(points: np.ndarray, settings: ExtractorSettings) -> np.ndarray:
    """Points (..., 2) from files, x and y, in px of the photos: scaled, then moved."""
    return np.asarray(points * np.array(settings.scale, np.float32) + np.array(settings.offset, np.float32))


def place(matched: Matched, table: pd.DataFrame, settings: ExtractorSettings) -> tuple[np.ndarray, int]:
    """Keypoints (photos,K,2) float32 without joints outside their photo, and the number of these.

    A joint up to one px beyond the edge is moved to the edge, as OpenPose's rounding can put it there.

    Raises:
        ReposeError: more joints lie outside than the settings allow, or no photo has a joint.
    """
    height, width = table["height"].to_numpy(), table["width"].to_numpy()
    keypoints = matched.keypoints
    beyond = keypoint_files.outside(keypoints, height, width)
    if beyond.sum() > settings.max_outside * present(keypoints).sum():
        row, joint = np.argwhere(beyond)[0]
        x, y = keypoints[row, joint]
        raise ReposeError(
            f"{beyond.sum():,} of {present(keypoints).sum():,} joints lie outside their photo, first the "
            f"{JOINTS[joint]} of {table['name'][row]} at x {x:g}, y {y:g}; it is {width[row]} pixels wide and "
            f"{height[row]} high. Were the joints found in photos of another size or crop? Set `keypoints.scale` or "
            "`keypoints.offset` in params.yaml, or allow more missing joints with `keypoints.max_outside`. "
            f"{' '.join(advice(keypoints, height, width))}".rstrip()
        )
    last = np.stack([width, height], -1)[:, None] - 1
    placed = np.where(beyond[..., None], np.nan, keypoints.clip(0, last)).astype(np.float32)
    if not present(placed).any():
        why = (
            f"In {', '.join(settings.files)} {len(matched.others):,} row(s) are of other photos, such as "
            f"{', '.join(matched.others[:1]) or 'none'}: set `keypoints.files` to the files of these photos."
        )
        if settings.extractor in NETWORKS:
            why = (
                "The network figure is for mannequins, blazepose for people: change keypoints.extractor, or lower "
                "keypoints.min_confidence."
            )
        raise ReposeError(f"None of the {len(placed):,} photos has a joint. {why}")
    return placed, int(beyond.sum())
