"""keypoints: read or find the 18 joints of every photo of one part, in keypoint files of the source or by a network.

The files are the CSV of pose-gan and PATN (also written for mannequins) or OpenPose's JSON; rows of other photos are skipped.
The networks are `figure`, for mannequins (docs/figure.md), and `blazepose`, for people, whose weights the user fetches
(`repose weights fetch blazepose`). If the source also has CSV files, the report compares them with the network's joints.
An interrupted search resumes and gives the same bytes (pose/keypoint_cache.py).

The folder `keypoints` has a row per photo of images.csv, in its order, with missing joints empty (keypoints.csv); the photos
with a row in the source, in the source's order, on which PATN's pairs depend (order.csv); and counts (report.json).
"""

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repose.config import settings
from repose.data.images import decode
from repose.data.raw import RawFiles
from repose.data.records import ORDER, read_table, write_json, write_keypoints, write_table
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.data.skeleton import JOINTS, TORSO, present
from repose.pose.agreement import PCK, agreement
from repose.pose.extractors import NETWORKS, ExtractorSettings, Sources, extract, place
from repose.pose.keypoint_files import Matched, match
from repose.storage.atomic import check_replaceable, whole_folder
from repose.terminal import say
from repose.validation.gallery import PictureSettings, galleries
from repose.validation.keypoints import check_keypoints
from repose.validation.page import REPORT_FILES, Facts, Picture, Rejected, require, write_report

FILES = ("keypoints.csv", "order.csv", "report.json")
NOBODY = "no-person.csv"  # in the report's folder: photos in which a network found nobody


@settings
class KeypointsSettings(ExtractorSettings):
    """The block `keypoints` of params.yaml."""

    pictures: PictureSettings = field(default_factory=PictureSettings)  # photos with their joints on the report's page


def run(*, lists: Path, images: Path, keypoints: Path, report: Path, work: Path, settings: KeypointsSettings) -> None:
    """Write the folders `keypoints` (if the checks pass) and `report` (in any case) for the photos in `images`, one part.

    A network's results are kept in `work` until `keypoints` is written.

    Raises:
        ReposeError: a keypoint file is missing or invalid, a photo has two poses, too many joints are outside their photo,
            no photo has a pose, or `work` is damaged.
    """
    check_replaceable(keypoints, FILES)
    table = read_table(images / "images.csv", (*INDEX_COLUMNS, "height", "width", "sha256"))
    names = table["name"].tolist()
    extracted = extract(Sources(RawFiles(lists), images, table, work), settings)
    matched = match(extracted.poses, names)
    placed, beyond = place(matched, table, settings)
    counts = {"extractor": settings.extractor, **extracted.counts, **_counts(placed, matched)}
    counts["joints_outside_their_photo"] = beyond
    if extracted.reference is not None:
        counts["compared"] = {"files": list(settings.files), **agreement(placed, extracted.reference)}
    photos = ShardReader(images, table)
    pictures = galleries(
        names,
        lambda name: photos.decoded(name, decode),
        placed,
        matched.confidence,
        extracted.reference,
        settings.pictures,
    )
    outcome = check_keypoints(
        table, placed, matched.confidence, min_posed_share=settings.min_posed_share,
        placed=settings.extractor not in NETWORKS,
    )  # fmt: skip
    with whole_folder(report, (*REPORT_FILES, NOBODY)) as folder:
        write_report(folder, "Keypoints", outcome, _facts(counts, extracted.nobody, pictures))
        if extracted.nobody:
            write_table(folder / NOBODY, pd.DataFrame({"name": extracted.nobody}), ["name"])
    require(outcome, "The keypoints", report)
    with whole_folder(keypoints, FILES) as folder:
        write_keypoints(folder / "keypoints.csv", names, placed, matched.confidence)
        order = pd.DataFrame({"name": matched.order, "row": matched.rows})  # a network has no order
        write_table(folder / "order.csv", order if extracted.search is None else order[:0], ORDER)
        write_json(folder / "report.json", counts)
    if extracted.search is not None:
        extracted.search.forget()
    say(
        f"keypoints: {counts['posed']:,} of {len(names):,} photos in {images} have a pose, "
        f"{counts['torso']:,} of them a torso"
    )


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
        "other_photos": matched.others[:5],
        "repeated_rows": matched.repeated,
    }


def _facts(counts: dict[str, Any], nobody: Sequence[str], pictures: dict[str, list[Picture]]) -> Facts:
    """The facts on the page besides the checks."""
    shown, distributions = tuple((name, "") for name in nobody[:10]), {}
    if compared := counts.get("compared"):
        title = (
            f"Joints found within a tenth of the person's size of those in {', '.join(compared['files'])}, in percent "
            f"(all {compared['joints']:,} joints of {compared['photos']:,} photos: PCK@0.1 is {compared[PCK]})"
        )
        by_joint = compared[f"{PCK}_by_joint"].items()
        distributions[title] = {joint: round(100 * value) for joint, value in by_joint if value is not None}
    return Facts(
        counts={name.replace("_", " "): value for name, value in counts.items() if isinstance(value, int)},
        distributions=distributions,
        rejected=(Rejected("no person was found", len(nobody), shown),) if nobody else (),
        rejected_list=NOBODY if nobody else "",
        galleries=pictures,
    )
