"""The networks that find joints in photos, for `repose generate --find-poses` and the stage keypoints.

`figure` ships with repose and only works on mannequins. `blazepose` is for people; `repose weights fetch blazepose` downloads
its weights.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mannequins import figure
from repose.data.skeleton import present
from repose.devices import set_up
from repose.pose import blazepose
from repose.pose.keypoint_cache import Found, Search
from repose.pose.keypoint_files import Poses, choose_person, known_points
from repose.pose.keypoint_lookup import MIN_CONFIDENCE
from repose.storage.networks import Weights
from repose.storage.weight_files import is_cached
from repose.terminal import say, warn

if TYPE_CHECKING:
    from repose.pose.extractors import Extracted, ExtractorSettings, Sources

NetworkName = Literal["auto", "blazepose", "figure"]


class Detector(NamedTuple):
    """A network that finds joints, on a device."""

    look: Callable[[Tensor], Found]  # the joints of the one person that each of B photos (B,3,H,W) uint8 shows
    made_of: dict[str, str]  # the SHA-256 of its weights and, if torch does not run it, what does


def load(
    network: str, device: torch.device, weights: Weights, *, min_person: float = 0.5,
    min_confidence: float = MIN_CONFIDENCE, single: bool = False,
) -> Detector:  # fmt: skip
    """A network by its name.

    `weights`, `min_person` (the minimum score of a person) and `min_confidence` (of joints that count when `choose_person`
    chooses one of several people) are for blazepose. figure leaves joints below its own threshold out. On a GPU it works in
    half precision, unless it is made faster for a `single` photo at a time.

    Raises:
        ReposeError: the network's weights or runtime are missing, or the weights are of another network.
        ValueError: there is no such network.
    """
    if network == "figure":
        mannequins = figure.load(device)
        if single:
            mannequins = figure.for_single_photos(mannequins)
        elif device.type == "cuda":
            mannequins.half()

        def look(images: Tensor) -> Found:
            points, confidence, _ = (found.cpu().numpy() for found in mannequins.find(images.to(device)))
            return Found(np.concatenate([points, confidence[..., None]], 2), np.ones(len(points), np.int64))

        return Detector(look, {"network": figure.weights_sha256()})
    if network != "blazepose":
        raise ValueError(f"network should be blazepose or figure, not {network!r}.")
    found = blazepose.load(weights, min_person=min_person)

    def look_for_people(images: Tensor) -> Found:
        people = found.people(images)
        chosen = [choose_person(of_photo, images.shape[2:], min_confidence) for of_photo in people]
        return Found(np.stack([joints for joints, _ in chosen]), np.array([count for _, count in chosen], np.int64))

    return Detector(look_for_people, {"network": found.sha256[network], "runtime": found.runtime})


class PoseFinder:
    """Finds the joints of the person in a photo; raises as `load`.

    Args:
        network: auto: blazepose if its weights and runtime are there, else figure; which one is said.

    Attributes:
        network: the network's name.
    """

    def __init__(self, network: NetworkName, device: torch.device | str = "cpu") -> None:
        self.network = chosen() if network == "auto" else network
        self._look = load(self.network, torch.device(device), Weights({}), single=True).look

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, int]:
        """The joints (K,2) of the main person in a photo (H,W,3) uint8, in px, NaN if missing; and the number of people."""
        found = self._look(torch.from_numpy(pixels.copy()).movedim(2, 0)[None])
        return known_points(found.joints[0]), int(found.people[0])


def chosen() -> NetworkName:
    """The network that `auto` stands for on this machine."""
    if not is_cached("blazepose"):
        warn("poses: found by figure, which only knows mannequins; for people, run `repose weights fetch blazepose`")
    elif not blazepose.has_runtime():
        warn("poses: found by figure, which only knows mannequins; for people, run `pip install ai-edge-litert`")
    else:
        say("poses: found by blazepose")
        return "blazepose"
    return "figure"


def find_joints(sources: "Sources", settings: "ExtractorSettings") -> "Extracted":
    """The joints that the settings' network finds in the photos of a part; an interrupted search resumes.

    Raises:
        ReposeError: the network's weights are missing or of another network, or an earlier search's files are damaged.
    """
    from repose.pose.extractors import Extracted, reference_joints

    how, names, of_people = settings.network, sources.table["name"].tolist(), settings.extractor != "figure"
    device = set_up(how.device, how.threads, seed=0)
    weights = Weights({} if how.weights is None else {settings.extractor: how.weights})
    detector = load(
        settings.extractor, device, weights, min_person=how.min_person, min_confidence=settings.min_confidence
    )
    found_by: dict[str, Any] = {
        "extractor": settings.extractor, **detector.made_of, "min_confidence": settings.min_confidence,
        **({"min_person": how.min_person} if of_people else {}),
    }  # fmt: skip
    # The last digits of joints depend on the type of processor.
    processor = {"device": device.type, "batch": how.batch, "threads": how.threads}
    search = Search(sources.images, sources.table, sources.work, found_by | processor)
    threads = how.threads if of_people else 1  # those of figure are torch's
    joints, people = search.run(detector.look, how.batch, threads)
    confidence, points = joints[..., 2], known_points(joints)
    points[confidence < settings.min_confidence] = np.nan
    nobody = [names[row] for row in np.flatnonzero(~present(points).any(1))]
    counts: dict[str, Any] = {"found_by": found_by, "photos_without_a_person": len(nobody)}
    if of_people:
        counts["photos_with_several_people"] = int((people > 1).sum())
        counts["people_left_out"] = int((people - 1).clip(0).sum())
    return Extracted(Poses(names, points, confidence), counts, reference_joints(sources, settings), nobody, search)
