"""The networks that find joints in photos, for `repose generate --find-poses` and the stage keypoints.

`figure` ships with repose and only works on mannequins. `keypoint-rcnn` is for people; `repose weights fetch keypoint-rcnn`
downloads its weights.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mannequins import figure
from repose.data.skeleton import present
from repose.devices import set_up
from repose.pose import keypoint_rcnn
from repose.pose.extractors import Extracted, ExtractorSettings, Sources, reference_joints
from repose.pose.keypoint_cache import Found, Search
from repose.pose.keypoint_files import Poses, choose_person, known_points
from repose.pose.keypoint_lookup import MIN_CONFIDENCE
from repose.storage.networks import Weights

NetworkName = Literal["figure", "keypoint-rcnn"]
MIN_PERSON = 0.5  # minimum score of a person in Keypoint R-CNN


class Detector(NamedTuple):
    """A network that finds joints, on a device."""

    look: Callable[[Tensor], Found]  # the joints of the one person that each of B photos (B,3,H,W) uint8 shows
    sha256: str  # of its weights


def load_figure(device: torch.device, *, half: bool = False) -> Detector:
    """The network for mannequins, optionally in half precision. It returns joints of any confidence."""
    network = figure.load(device)
    if half:
        network.half()

    def look(images: Tensor) -> Found:
        points, confidence = (found.cpu().numpy() for found in network.keypoints(images.to(device)))
        return Found(np.concatenate([points, confidence[..., None]], 2), np.ones(len(points), np.int64))

    return Detector(look, figure.weights_sha256())


def load_rcnn(weights: Weights, device: torch.device, min_person: float, min_confidence: float) -> Detector:
    """The network for people. In photos of several people, `choose_person` chooses one.

    Raises:
        ReposeError: its weights are missing or of another network.
    """
    network = keypoint_rcnn.load(weights, device, min_person=min_person)

    def look(images: Tensor) -> Found:
        people = network.people(images.to(device))
        chosen = [choose_person(of_photo, images.shape[2:], min_confidence) for of_photo in people]
        return Found(np.stack([joints for joints, _ in chosen]), np.array([count for _, count in chosen], np.int64))

    return Detector(look, network.sha256[keypoint_rcnn.NAME])


def pose_finder(network: NetworkName, device: torch.device | str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """A function from a photo (H,W,3) uint8 to the joints (K,2) of its person in px, NaN if missing.

    Raises:
        ReposeError: the network's weights are missing or of another network.
        ValueError: there is no such network.
    """
    place = torch.device(device)
    if network == "figure":
        detector = load_figure(place)
    elif network == "keypoint-rcnn":
        detector = load_rcnn(Weights({}), place, MIN_PERSON, MIN_CONFIDENCE)
    else:
        raise ValueError(f"network should be figure or keypoint-rcnn, not {network!r}.")

    def find(pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pixels.copy()).movedim(2, 0)[None]
        return known_points(detector.look(images).joints[0])

    return find


def find_joints(sources: Sources, settings: ExtractorSettings) -> Extracted:
    """The joints that the settings' network finds in the photos of a part; an interrupted search resumes.

    Raises:
        ReposeError: the network's weights are missing or of another network, or an earlier search's files are damaged.
    """
    chosen, names, rcnn = settings.network, sources.table["name"].tolist(), settings.extractor == "keypoint-rcnn"
    device = set_up(chosen.device, chosen.threads, seed=0)
    if rcnn:
        weights = Weights({} if chosen.weights is None else {keypoint_rcnn.NAME: chosen.weights})
        detector = load_rcnn(weights, device, chosen.min_person, settings.min_confidence)
    else:
        detector = load_figure(device, half=device.type == "cuda")
    found_by: dict[str, Any] = {
        "extractor": settings.extractor, "network": detector.sha256, "min_confidence": settings.min_confidence,
        **({"min_person": chosen.min_person} if rcnn else {}),
    }  # fmt: skip
    # The last digits of joints depend on the type of processor.
    processor = {"device": device.type, "batch": chosen.batch, "threads": chosen.threads}
    search = Search(sources.images, sources.table, sources.work, found_by | processor)
    joints, people = search.run(detector.look, chosen.batch)
    confidence = joints[..., 2]
    points = known_points(joints)
    points[confidence < settings.min_confidence] = np.nan
    nobody = [names[row] for row in np.flatnonzero(~present(points).any(1))]
    counts: dict[str, Any] = {"found_by": found_by, "photos_without_a_person": len(nobody)}
    if rcnn:
        counts["photos_with_several_people"] = int((people > 1).sum())
        counts["people_left_out"] = int((people - 1).clip(0).sum())
    poses = Poses(names, points, confidence)
    return Extracted(poses, counts, reference_joints(sources, settings), nobody, search)
