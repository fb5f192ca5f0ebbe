"""The joints of the one person that a photo is of, by a network: `repose generate --find-poses`.

The same networks as in the stage keypoints: `figure`, which ships with repose and knows mannequins alone, and `keypoint-rcnn`
for people, whose weights `repose weights fetch keypoint-rcnn` brings.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from mannequins import figure
from repose.data.skeleton import K
from repose.pose import keypoint_files, keypoint_rcnn
from repose.pose.keypoint_lookup import MIN_CONFIDENCE
from repose.storage.networks import Weights

NetworkName = Literal["figure", "keypoint-rcnn"]
Find = Callable[[np.ndarray], np.ndarray]
MIN_PERSON = 0.5  # the least score of somebody whom Keypoint R-CNN sees


def pose_finder(network: NetworkName, device: torch.device | str = "cpu") -> Find:
    """A function from a photo (H,W,3) uint8 to the joints (K,2) of its person in px of it, NaN where missing.

    Args:
        network: figure or keypoint-rcnn. Of several people, the latter takes the largest near the middle.
        device: where it runs.

    Raises:
        ReposeError: the network's weights are not there, or are not its own.
        ValueError: there is no such network.
    """
    place = torch.device(device)
    if network == "figure":
        of_mannequins = figure.load(place)
        return lambda pixels: of_mannequins.keypoints(_batch(pixels, place))[0][0].cpu().numpy()
    if network != "keypoint-rcnn":
        raise ValueError(f"network should be figure or keypoint-rcnn, not {network!r}.")
    of_people = keypoint_rcnn.load(Weights({}), place, min_person=MIN_PERSON)

    def find(pixels: np.ndarray) -> np.ndarray:
        people = keypoint_files.sure_people(of_people.people(_batch(pixels, place))[0], MIN_CONFIDENCE)
        if not len(people):
            return np.full((K, 2), np.nan, np.float32)
        joints = people[keypoint_files.main_person(people, *pixels.shape[:2])]
        return np.where(joints[:, 2:] > 0, joints[:, :2], np.float32(np.nan))

    return find


def _batch(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).movedim(2, 0)[None].to(device)
