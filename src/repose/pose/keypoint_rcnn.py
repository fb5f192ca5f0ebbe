"""torchvision's Keypoint R-CNN (He et al. 2017; ResNet-50 with FPN, trained on COCO): the people in photos, with their joints.

It finds COCO's 17 joints. The neck lies between the shoulders, as sure as the less sure of them. torchvision's score of a
joint is the height of its heat map, an unbounded number; its confidence here is the logistic function of that. Detectron,
whose network this is, draws joints of a score above 2: a confidence of 0.88.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from repose.data.skeleton import JOINT, K
from repose.storage.networks import Weights, exact, holding, read_state

NAME = "keypoint-rcnn"
COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
SHOULDERS = [COCO.index("left_shoulder"), COCO.index("right_shoulder")]


class KeypointRcnn:
    """Finds people.

    Attributes:
        sha256: of its file.
    """

    def __init__(self, network: nn.Module, sha256: str) -> None:
        self.sha256 = {NAME: sha256}
        self._network = network

    def people(self, images: Tensor) -> list[np.ndarray]:
        """Photos (B, 3, H, W) uint8 on the network's device -> the people of each, the surest first.

        Those are (n, K, 3) float32: x and y in px of the photo, where (0, 0) is the centre of the pixel at the top left, and
        the confidence in (0, 1). In half precision on a GPU.
        """
        half = torch.autocast("cuda", torch.float16, enabled=images.is_cuda)
        with exact(), half:
            found = self._network(list(images.float() / 255))
        return [
            as_openpose(one["keypoints"][..., :2].float().cpu().numpy(), one["keypoints_scores"].float().cpu().numpy())
            for one in found
        ]


def as_openpose(places: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """COCO's 17 joints as OpenPose's 18.

    Args:
        places: (n, 17, 2) x and y, where (0, 0) is the corner of the image.
        scores: (n, 17).

    Returns:
        (n, K, 3) float32, as `KeypointRcnn.people`.
    """
    joints = np.zeros((len(places), K, 3), np.float32)
    own = [JOINT[name] for name in COCO]
    joints[:, own, :2] = places - 0.5
    joints[:, own, 2] = 1 / (1 + np.exp(-scores))
    shoulders = joints[:, [own[index] for index in SHOULDERS]]
    joints[:, JOINT["neck"], :2] = shoulders[..., :2].mean(1)
    joints[:, JOINT["neck"], 2] = shoulders[..., 2].min(1)
    return joints


def load(weights: Weights, device: torch.device, *, min_person: float) -> KeypointRcnn:
    """The network on a device.

    Args:
        weights: where its file is.
        device: where it runs.
        min_person: the least score of a person who counts, 0 to 1.

    Raises:
        ReposeError: its file is not there, is another one, or does not hold the network.
    """
    path, sha256 = weights.of(NAME)
    return KeypointRcnn(_network(path, min_person).to(device), sha256)


def _network(path: Path, min_person: float) -> nn.Module:
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    network: nn.Module = keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, num_keypoints=len(COCO), box_score_thresh=min_person
    )
    with holding(path, "torchvision's Keypoint R-CNN", NAME):
        network.load_state_dict(read_state(path))
    return network.eval().requires_grad_(False)
