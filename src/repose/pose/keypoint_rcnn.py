"""torchvision's Keypoint R-CNN (He et al. 2017; ResNet-50 with FPN, trained on COCO), which finds people and their joints.

It finds COCO's 17 joints. The neck is the middle of the shoulders, with the lower of their confidences. torchvision's score
of a joint is the unbounded peak of its heat map; the confidence here is its logistic function. Detectron, where this network
comes from, draws joints with a score above 2, which is a confidence of 0.88.
"""

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


class KeypointRcnn:
    """Finds people.

    Attributes:
        sha256: the SHA-256 of its file, by file name.
    """

    def __init__(self, network: nn.Module, sha256: str) -> None:
        self.sha256 = {NAME: sha256}
        self._network = network

    def people(self, images: Tensor) -> list[np.ndarray]:
        """The people in each photo, by descending score; in half precision on a GPU.

        From images (B, 3, H, W) uint8 on the network's device. Of each, (n, K, 3) float32: x and y in px, where (0, 0) is the
        center of the first pixel, and the confidence in (0, 1).
        """
        with exact(), torch.autocast("cuda", torch.float16, enabled=images.is_cuda):
            found = self._network(list(images.float() / 255))
        return [
            as_openpose(one["keypoints"][..., :2].float().cpu().numpy(), one["keypoints_scores"].float().cpu().numpy())
            for one in found
        ]


def as_openpose(places: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Convert COCO's joints, x and y (n, 17, 2) from the image's corner, scores (n, 17), to those of `KeypointRcnn.people`."""
    joints = np.zeros((len(places), K, 3), np.float32)
    own = [JOINT[name] for name in COCO]
    joints[:, own, :2] = places - 0.5
    joints[:, own, 2] = 1 / (1 + np.exp(-scores))
    shoulders = joints[:, [JOINT["left_shoulder"], JOINT["right_shoulder"]]]
    joints[:, JOINT["neck"], :2] = shoulders[..., :2].mean(1)
    joints[:, JOINT["neck"], 2] = shoulders[..., 2].min(1)
    return joints


def load(weights: Weights, device: torch.device, *, min_person: float) -> KeypointRcnn:
    """The network on a device; it ignores people with a score (0 to 1) below `min_person`.

    Raises:
        ReposeError: its file is missing, has another digest, or does not hold the network.
    """
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    path, sha256 = weights.of(NAME)
    network: nn.Module = keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, num_keypoints=len(COCO), box_score_thresh=min_person
    )
    with holding(path, "torchvision's Keypoint R-CNN", NAME):
        network.load_state_dict(read_state(path))
    return KeypointRcnn(network.eval().requires_grad_(False).to(device), sha256)
