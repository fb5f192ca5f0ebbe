"""keypoints: for every photo of one part the 18 joints that an extractor found, in one table.

Two extractors read files of the source: the CSV of pose-gan and PATN (the mannequins write it too) and OpenPose's JSON.
They are of the photos of all parts, and what is of other photos is passed over. The third, figure, looks at the photos: the
network that ships with repose finds the joints of mannequins (docs/figure.md), and where the source has files with joints
as well, the report says how far the two agree; its order.csv is empty. The fourth, keypoint-rcnn, does the same for people,
with torchvision's network, whose weights the user fetches (`repose weights fetch keypoint-rcnn`). Killed and started again,
these two go on from the last shard of photos that they looked at as a whole (data/found.py), and end with the same bytes. The
folder `keypoints` then holds

| file | what |
|---|---|
| keypoints.csv | one row per photo of images.csv, in its order; missing joints are empty |
| order.csv | the photos that the source has a row for, in the source's order, and which row: PATN's pairs depend on it |
| report.json | how many photos have a pose, how often each joint is known, what was left out |
"""

from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from repose.config import settings
from repose.data.images import decode
from repose.data.layouts import LAYOUTS, NameFinder
from repose.data.placement import advice
from repose.data.raw import RawFiles
from repose.data.records import IMAGES, ORDER, read_table, write_json, write_keypoints, write_table
from repose.data.shards import ShardReader
from repose.data.skeleton import JOINTS, TORSO, K, present
from repose.errors import ReposeError
from repose.pose import keypoint_files
from repose.pose.keypoint_files import Matched, Poses
from repose.storage.atomic import whole_folder
from repose.storage.weight_files import WeightsFile, check_names
from repose.terminal import bar, say
from repose.validation.gallery import PictureSettings, galleries

if TYPE_CHECKING:  # neither is needed by the extractors that read files
    import torch
    from torch import Tensor

    from repose.pose.keypoint_cache import Search
    from repose.validation.page import Facts, Gallery

NOBODY = "no-person.csv"  # beside the report: photos in which a network found nobody
EXAMPLES = 10  # of these, on the page
NETWORKS = ("figure", "keypoint-rcnn")  # the extractors that look at photos


@settings
class NetworkSettings:
    """How the extractors run that look at photos."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda where there is one, in half precision
    batch: int = 64  # photos at a time
    threads: int = 1  # CPU threads of torch
    min_person: float = 0.5  # keypoint-rcnn: the least score of a person who counts, 0 to 1
    weights: WeightsFile | None = None  # keypoint-rcnn: where its file is; null: in the cache

    def __post_init__(self) -> None:
        for name in ("batch", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.min_person <= 1:
            raise ValueError(f"min_person should lie between 0 and 1, not {self.min_person}.")
        check_names({} if self.weights is None else {"keypoint-rcnn": self.weights})


@settings
class KeypointsSettings:
    """The block `keypoints` of params.yaml."""

    extractor: Literal[
        "posegan-csv", "openpose-json", "figure", "keypoint-rcnn"
    ]  # who finds the joints: which entry of EXTRACTORS
    # In the source: CSV files, in this order; for openpose-json folders of JSON files; for a network CSV files that the
    # joints it finds are compared with, or none.
    files: tuple[str, ...]
    scale: tuple[float, float]  # x and y are multiplied by it: joints of a half-size copy need [2, 2]
    offset: tuple[float, float]  # pixels added to x and y, after `scale`; PATN's 256x176 "resize" files need [40, 0]
    min_confidence: float  # in [0, 1]; joints found with less are missing (a CSV has none: its joints count as 1)
    max_outside: float  # share of the joints that may lie outside their photo (they become missing); more: an error
    min_posed_share: float  # share of a part's photos that must have both shoulders and both hips; fewer: an error
    network: NetworkSettings = NetworkSettings()  # of the extractors that look at photos
    pictures: PictureSettings = field(default_factory=PictureSettings)  # of the page: photos with their joints

    def __post_init__(self) -> None:
        if self.extractor in NETWORKS:
            if (self.scale, self.offset) != ((1.0, 1.0), (0.0, 0.0)):
                raise ValueError(
                    f"scale and offset are for files of joints: set them to [1, 1] and [0, 0] with the extractor "
                    f"{self.extractor}."
                )
        elif not self.files:
            raise ValueError("files is empty. Name the keypoint files of the source, such as [keypoints.csv].")
        if min(self.scale) <= 0:
            raise ValueError(f"scale should be two numbers above 0, not {list(self.scale)}.")
        for name in ("min_confidence", "max_outside", "min_posed_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} should lie between 0 and 1, not {getattr(self, name)}.")


class Sources(NamedTuple):
    """What an extractor may look at."""

    lists: RawFiles  # the owner's files that are no photos
    images: Path  # the folder of the part's photos
    table: pd.DataFrame  # its images.csv
    work: Path  # where what a network found waits until the stage is done


class Extracted(NamedTuple):
    """What an extractor found."""

    poses: Poses  # in the source's order
    counts: dict[str, Any]  # what else the report should say
    ordered: bool = True  # the source itself has an order of poses
    reference: np.ndarray | None = None  # (photos,K,2) px: joints that are known, to compare with
    nobody: tuple[tuple[str, str], ...] = ()  # photos without a person, and what the network says of that
    search: "Search | None" = None  # what it found waits on the disk until the stage has written it


def run(*, lists: Path, images: Path, keypoints: Path, report: Path, work: Path, settings: KeypointsSettings) -> None:
    """Write the folders `keypoints` (if the checks pass) and `report` (also if not) for the photos in `images`, one part.

    What a network found waits in `work` until `keypoints` is there.

    Raises:
        ReposeError: no keypoint file, one that is not what it should be, two poses for one photo, too many joints
            outside their photo, no photo with a pose, or `work` is damaged.
    """
    sources = Sources(RawFiles(lists), images, read_table(images / "images.csv", IMAGES), work)
    names = sources.table["name"].tolist()
    extracted = EXTRACTORS[settings.extractor](sources, settings)
    matched = keypoint_files.match(extracted.poses, names)
    placed, beyond = _placed(matched, sources.table, settings)
    _check_any_pose(placed, matched, images, settings)
    counts = {
        "extractor": settings.extractor,
        **extracted.counts,
        **_counts(placed, matched),
        "joints_outside_their_photo": beyond,
    }
    if extracted.reference is not None:
        counts["compared"] = _compared(placed, extracted.reference, settings.files)
    photos = ShardReader(images, sources.table)
    pictures = galleries(
        names, lambda name: decode(photos[name]), placed, matched.confidence, extracted.reference, settings.pictures
    )
    facts = _facts(counts, extracted.nobody, pictures)
    _gate(report, sources.table, placed, matched.confidence, settings, extracted.nobody, facts)
    order = pd.DataFrame({"name": matched.order, "row": matched.rows})
    with whole_folder(keypoints) as folder:
        write_keypoints(folder / "keypoints.csv", names, placed, matched.confidence)
        write_table(folder / "order.csv", order if extracted.ordered else order[:0], ORDER)
        write_json(folder / "report.json", counts)
    if extracted.search is not None:
        extracted.search.forget()
    say(
        f"keypoints: {counts['posed']:,} of {len(names):,} photos in {images} have a pose, "
        f"{counts['torso']:,} of them a torso"
    )


def _gate(
    report: Path, table: pd.DataFrame, keypoints: np.ndarray, confidence: np.ndarray, settings: KeypointsSettings,
    nobody: Sequence[tuple[str, str]], facts: "Facts",
) -> None:  # fmt: skip
    """Write the report of the checks, and go on only if they pass."""
    from repose.validation.expectations import require
    from repose.validation.keypoints import check_keypoints
    from repose.validation.page import PAGE, write_report

    outcome = check_keypoints(
        table["name"].tolist(), keypoints, confidence, table["height"].to_numpy(), table["width"].to_numpy(),
        min_posed_share=settings.min_posed_share, placed=settings.extractor not in NETWORKS,
    )  # fmt: skip
    with whole_folder(report) as folder:
        write_report(folder, "Keypoints", outcome, facts)
        if nobody:
            write_table(folder / NOBODY, pd.DataFrame(nobody, columns=["name", "detail"]), ("name", "detail"))
    require(outcome, "The keypoints", report / PAGE)


def _facts(counts: dict[str, Any], nobody: Sequence[tuple[str, str]], pictures: "tuple[Gallery, ...]") -> "Facts":
    """What the page says besides the checks."""
    from repose.validation.page import Distribution, Facts, Rejected

    figures = {name.replace("_", " "): value for name, value in counts.items() if isinstance(value, int)}
    left_out = (Rejected("no person was found", len(nobody), tuple(nobody[:EXAMPLES])),) if nobody else ()
    compared = counts.get("compared")
    if compared is None:
        return Facts(figures, rejected=left_out, rejected_list=NOBODY if nobody else "", galleries=pictures)
    percent = {joint: round(100 * value) for joint, value in compared["pck@0.1_by_joint"].items() if value is not None}
    title = (
        f"Joints found within a tenth of the person's size of those in {', '.join(compared['files'])}, in percent "
        f"(all {compared['joints']:,} joints of {compared['photos']:,} photos: PCK@0.1 is {compared['pck@0.1']})"
    )
    return Facts(figures, (Distribution(title, percent),), left_out, NOBODY if nobody else "", pictures)


def from_posegan_csv(sources: Sources, settings: KeypointsSettings) -> Extracted:
    """Poses from CSV files as pose-gan, PATN and the mannequins write them."""
    paths = [sources.lists.find(name) for name in settings.files]
    read = [keypoint_files.read_posegan_csv(sources.lists[path], path) for path in paths]
    names = [name for poses in read for name in poses.names]
    keypoints, confidence = (np.concatenate([poses[part] for poses in read]) for part in (1, 2))
    return Extracted(Poses(names, _in_photo(keypoints, settings), confidence), {"files": len(paths)})


def from_openpose_json(sources: Sources, settings: KeypointsSettings) -> Extracted:
    """Poses from OpenPose's JSON files, one per photo: of several people the one that the photo is of.

    Files of other photos are counted and not opened: with the parts side by side, each file is read once.
    """
    paths = _json_paths(sources.lists, settings.files)
    photos = _photos_of(paths, sources)
    sizes = sources.table.set_index("name")
    heights, widths = sizes["height"].to_dict(), sizes["width"].to_dict()
    joints, people_in = np.zeros((len(paths), K, 3), np.float32), np.zeros(len(paths), np.int64)
    for row, (path, photo) in enumerate(zip(bar(paths, "keypoints"), photos, strict=True)):
        if photo not in heights:
            continue
        people = keypoint_files.people_in(sources.lists[path], path, settings.min_confidence)
        people[..., :2] = _in_photo(people[..., :2], settings)
        people_in[row] = len(people)
        joints[row] = _main(people, heights[photo], widths[photo])
    keypoints = keypoint_files.keypoints_of(joints, f"The OpenPose files of {', '.join(settings.files)}")
    counts = {
        "files": len(paths),
        "files_with_several_people": int((people_in > 1).sum()),
        "people_left_out": int((people_in - 1).clip(0).sum()),
    }
    return Extracted(Poses(photos, keypoints, joints[..., 2].clip(0, 1)), counts)


def _in_photo(points: np.ndarray, settings: KeypointsSettings) -> np.ndarray:
    """Points (..., 2) of the files, x and y, in px of the photos: first scaled, then moved."""
    moved: np.ndarray = points * np.array(settings.scale, np.float32) + np.array(settings.offset, np.float32)
    return moved


def by_figure(sources: Sources, settings: KeypointsSettings) -> Extracted:
    """Poses that the embedded figure network finds in the photos, which it reads in the order of their shards."""
    from mannequins.figure.network import load, weights_sha256
    from repose.devices import set_up
    from repose.pose.keypoint_cache import Found

    chosen, names = settings.network, sources.table["name"].tolist()
    device = set_up(chosen.device, chosen.threads, seed=0)
    network = load(device)
    if device.type == "cuda":
        network.half()

    def look(images: "Tensor") -> Found:
        points, confidence = (found.cpu().numpy() for found in network.keypoints(images.to(device)))
        return Found(np.concatenate([points, confidence[..., None]], 2), np.ones(len(points), np.int64))

    search = _search(sources, settings, weights_sha256(), device)
    joints, _ = search.run(look, chosen.batch)
    points, confidence = joints[..., :2], joints[..., 2]
    points[confidence < settings.min_confidence] = np.nan
    nobody = tuple(
        (names[row], f"the surest joint has confidence {confidence[row].max():.2f}")
        for row in np.flatnonzero(~present(points).any(1))
    )
    counts = {"found_by": _found_by(settings, weights_sha256()), "photos_without_a_person": len(nobody)}
    return Extracted(Poses(names, points, confidence), counts, False, _reference(sources, settings), nobody, search)


def by_keypoint_rcnn(sources: Sources, settings: KeypointsSettings) -> Extracted:
    """Poses of people that torchvision's Keypoint R-CNN finds: of several in a photo the one that the photo is of."""
    from repose.devices import set_up
    from repose.pose.keypoint_cache import Found
    from repose.pose.keypoint_rcnn import NAME, load
    from repose.storage.networks import Weights

    chosen, names = settings.network, sources.table["name"].tolist()
    device = set_up(chosen.device, chosen.threads, seed=0)
    files = {} if chosen.weights is None else {NAME: chosen.weights}
    network = load(Weights(files), device, min_person=chosen.min_person)

    def look(images: "Tensor") -> Found:
        people = [keypoint_files.sure_people(p, settings.min_confidence) for p in network.people(images.to(device))]
        joints = np.stack([_main(found, *images.shape[-2:]) for found in people])
        return Found(joints, np.array([len(found) for found in people], np.int64))

    search = _search(sources, settings, network.sha256[NAME], device)
    joints, people_in = search.run(look, chosen.batch)
    none = f"no person of score {chosen.min_person:g} or more with a joint of confidence {settings.min_confidence:g}"
    nobody = tuple((names[row], none) for row in np.flatnonzero(people_in == 0))
    counts = {
        "found_by": _found_by(settings, network.sha256[NAME]),
        "photos_without_a_person": len(nobody),
        "photos_with_several_people": int((people_in > 1).sum()),
        "people_left_out": int((people_in - 1).clip(0).sum()),
    }
    points = np.where(joints[..., 2:] > 0, joints[..., :2], np.float32(np.nan))
    return Extracted(Poses(names, points, joints[..., 2]), counts, False, _reference(sources, settings), nobody, search)


def _search(sources: Sources, settings: KeypointsSettings, network_sha256: str, device: "torch.device") -> "Search":
    """A search by a network; what it finds depends on these settings alone: it goes on though others changed."""
    from repose.pose.keypoint_cache import Search

    chosen = settings.network
    deciding = _found_by(settings, network_sha256) | {
        "device": device.type, "batch": chosen.batch, "threads": chosen.threads
    }  # fmt: skip
    return Search(sources.images, sources.table, sources.work, deciding)


def _found_by(settings: KeypointsSettings, network_sha256: str) -> dict[str, Any]:
    """What identifies joints that a network found: their last digits differ from one processor to another."""
    found_by = {"extractor": settings.extractor, "network": network_sha256, "min_confidence": settings.min_confidence}
    if settings.extractor == "keypoint-rcnn":
        found_by["min_person"] = settings.network.min_person
    return found_by


def _main(people: np.ndarray, height: int, width: int) -> np.ndarray:
    """The one of the people (n, K, 3) that the photo is of: (K, 3), of nobody zeros."""
    if not len(people):
        return np.zeros((K, 3), np.float32)
    chosen: np.ndarray = people[keypoint_files.main_person(people, height, width)]
    return chosen


def _reference(sources: Sources, settings: KeypointsSettings) -> np.ndarray | None:
    """The joints in the source's files, to compare with."""
    if not settings.files:
        return None
    return keypoint_files.match(from_posegan_csv(sources, settings).poses, sources.table["name"].tolist()).keypoints


EXTRACTORS: dict[str, Callable[[Sources, KeypointsSettings], Extracted]] = {
    "posegan-csv": from_posegan_csv,
    "openpose-json": from_openpose_json,
    "figure": by_figure,
    "keypoint-rcnn": by_keypoint_rcnn,
}


def _json_paths(lists: RawFiles, folders: tuple[str, ...]) -> list[str]:
    inside = tuple(f"/{folder.strip('/')}/" for folder in folders)
    paths = sorted(path for path in lists if path.endswith(".json") and any(part in f"/{path}" for part in inside))
    if not paths:
        raise ReposeError(
            f"The source holds no .json file in {' or '.join(folders)}. Put OpenPose's output (--write_json) there, or "
            "name its folder in `keypoints.files` of params.yaml."
        )
    return paths


def _photos_of(paths: list[str], sources: Sources) -> list[str]:
    """The photos that OpenPose files are about, by their path in the owner's layout or by their name alone."""
    layout, finder = LAYOUTS[sources.lists.layout]([], sources.lists.__getitem__), NameFinder(sources.table["name"])
    photos = []
    for path in map(keypoint_files.photo_of_json, paths):
        photo = layout.photo(path)
        name = photo.name if photo else path.rpartition("/")[2]
        photos.append(finder.find(name) or name)
    return photos


def _placed(matched: Matched, table: pd.DataFrame, settings: KeypointsSettings) -> tuple[np.ndarray, int]:
    """Keypoints without those outside their photo, and how many these were.

    Up to one pixel beyond the edge counts as inside and is moved to the edge (OpenPose rounds so).
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
            "`keypoints.offset` in params.yaml, or let more joints go missing with `keypoints.max_outside`. "
            f"{' '.join(advice(keypoints, height, width))}".rstrip()
        )
    last = np.stack([width, height], -1)[:, None] - 1
    inside = np.where(beyond[..., None], np.nan, keypoints.clip(0, last))
    return inside.astype(np.float32), int(beyond.sum())


def _check_any_pose(placed: np.ndarray, matched: Matched, images: Path, settings: KeypointsSettings) -> None:
    if present(placed).any():
        return
    if settings.extractor == "keypoint-rcnn":
        raise ReposeError(
            f"Keypoint R-CNN found nobody in the {len(placed):,} photos in {images}. Lower keypoints.network.min_person or "
            "keypoints.min_confidence, or look at the photos: they should show people."
        )
    if settings.extractor == "figure":
        raise ReposeError(
            f"The figure network found nobody in the {len(placed):,} photos in {images}. It knows mannequins alone: for "
            "photos of people take OpenPose's joints (keypoints.extractor: openpose-json)."
        )
    others = f" {len(matched.others):,} row(s) are of other photos, such as {', '.join(matched.others[:1])}."
    raise ReposeError(
        f"Not one of the {len(placed):,} photos in {images} has a joint in {', '.join(settings.files)}."
        f"{others if matched.others else ''} Set `keypoints.files` to the files that were made from these photos."
    )


def _compared(placed: np.ndarray, reference: np.ndarray, files: Sequence[str]) -> dict[str, Any]:
    """How far the joints that were found are those of the source's files."""
    from repose.pose.agreement import agreement

    return {"files": list(files), **agreement(placed, reference)}


def _counts(placed: np.ndarray, matched: Matched) -> dict[str, Any]:
    known = present(placed)
    posed = known.any(1)
    return {
        "photos": len(placed),
        "photos_without_a_row": len(placed) - len(matched.order),
        "posed": int(posed.sum()),  # with at least one joint
        "torso": int(known[:, TORSO].all(1).sum()),  # with both shoulders and both hips
        "share_of_posed_with": {joint: round(float(known[posed, k].mean()), 4) for k, joint in enumerate(JOINTS)},
        "rows_of_other_photos": len(matched.others),  # of other parts, or of none
        "other_photos": matched.others[:5],  # the first few
        "repeated_rows": matched.repeated,
    }
