"""The networks that find joints in photos, for `repose generate --find-poses` and the stage keypoints.

`figure` ships with repose and only works on mannequins. `keypoint-rcnn` is for people; `repose weights fetch keypoint-rcnn`
downloads its weights.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mannequins import figure
from repose.data.skeleton import present
from repose.devices import set_up
from repose.pose import keypoint_rcnn
from repose.pose.keypoint_cache import Found, Search
from repose.pose.keypoint_files import Poses, choose_person, known_points
from repose.pose.keypoint_lookup import MIN_CONFIDENCE
from repose.storage.networks import Weights

if TYPE_CHECKING:
    from repose.pose.extractors import Extracted, ExtractorSettings, Sources

NetworkName = Literal["figure", "keypoint-rcnn"]


class Detector(NamedTuple):
    """A network that finds joints, on a device."""

    look: Callable[[Tensor], Found]  # the joints of the one person that each of B photos (B,3,H,W) uint8 shows
    sha256: str  # of its weights


def load(
    network: str, device: torch.device, weights: Weights, *, min_person: float = 0.5,
    min_confidence: float = MIN_CONFIDENCE, half: bool = False, single: bool = False,
) -> Detector:  # fmt: skip
    """A network by its name.

    `weights`, `min_person` (the minimum score of a person) and `min_confidence` (of joints that count when `choose_person`
    chooses one of several people) are Keypoint R-CNN's. figure returns joints of any confidence, in `half` precision if asked;
    with `single` it is faster for one photo at a time.

    Raises:
        ReposeError: the network's weights are missing or of another network.
        ValueError: there is no such network.
    """
    if network == "figure":
        mannequins = figure.load(device)
        if half:
            mannequins.half()
        if single:
            mannequins = figure.for_single_photos(mannequins)

        def look(images: Tensor) -> Found:
            points, confidence = (found.cpu().numpy() for found in mannequins.keypoints(images.to(device)))
            return Found(np.concatenate([points, confidence[..., None]], 2), np.ones(len(points), np.int64))

        return Detector(look, figure.weights_sha256())
    if network != "keypoint-rcnn":
        raise ValueError(f"network should be figure or keypoint-rcnn, not {network!r}.")
    rcnn = keypoint_rcnn.load(weights, device, min_person=min_person)

    def look_for_people(images: Tensor) -> Found:
        people = rcnn.people(images.to(device))
        chosen = [choose_person(of_photo, images.shape[2:], min_confidence) for of_photo in people]
        return Found(np.stack([joints for joints, _ in chosen]), np.array([count for _, count in chosen], np.int64))

    return Detector(look_for_people, rcnn.sha256[keypoint_rcnn.NAME])


def pose_finder(network: NetworkName, device: torch.device | str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """A function from a photo (H,W,3) uint8 to the joints (K,2) of its person in px, NaN if missing. Raises as `load`."""
    detector = load(network, torch.device(device), Weights({}), single=True)

    def find(pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pixels.copy()).movedim(2, 0)[None]
        return known_points(detector.look(images).joints[0])

    return find


def find_joints(sources: "Sources", settings: "ExtractorSettings") -> "Extracted":
    """The joints that the settings' network finds in the photos of a part; an interrupted search resumes.

    Raises:
        ReposeError: the network's weights are missing or of another network, or an earlier search's files are damaged.
    """
    from repose.pose.extractors import Extracted, reference_joints

    chosen, names, rcnn = settings.network, sources.table["name"].tolist(), settings.extractor == "keypoint-rcnn"
    device = set_up(chosen.device, chosen.threads, seed=0)
    weights = Weights({} if chosen.weights is None else {keypoint_rcnn.NAME: chosen.weights})
    detector = load(
        settings.extractor, device, weights, min_person=chosen.min_person, min_confidence=settings.min_confidence,
        half=device.type == "cuda",
    )  # fmt: skip
    found_by: dict[str, Any] = {
        "extractor": settings.extractor, "network": detector.sha256, "min_confidence": settings.min_confidence,
        **({"min_person": chosen.min_person} if rcnn else {}),
    }  # fmt: skip
    # The last digits of joints depend on the type of processor.
    processor = {"device": device.type, "batch": chosen.batch, "threads": chosen.threads}
    search = Search(sources.images, sources.table, sources.work, found_by | processor)
    joints, people = search.run(detector.look, chosen.batch)
    confidence, points = joints[..., 2], known_points(joints)
    points[confidence < settings.min_confidence] = np.nan
    nobody = [names[row] for row in np.flatnonzero(~present(points).any(1))]
    counts: dict[str, Any] = {"found_by": found_by, "photos_without_a_person": len(nobody)}
    if rcnn:
        counts["photos_with_several_people"] = int((people > 1).sum())
        counts["people_left_out"] = int((people - 1).clip(0).sum())
    return Extracted(Poses(names, points, confidence), counts, reference_joints(sources, settings), nobody, search)
