"""Keypoint R-CNN with random weights through the code that loads real ones; nothing is downloaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from fakes import ByName, sha256, written
from repose.data.skeleton import JOINT, K
from repose.errors import ReposeError
from repose.pose import keypoint_rcnn
from repose.pose.keypoint_rcnn import COCO, as_openpose

CPU = torch.device("cpu")


def test_every_joint_of_coco_has_its_place_and_the_neck_is_between_the_shoulders() -> None:
    places = np.array([[(10 * index + 0.5, index + 0.5) for index in range(17)]])
    scores = np.arange(17.0)[None] - 8
    person = as_openpose(places, scores)[0]
    assert person.shape == (K, 3)
    for index, name in enumerate(COCO):
        np.testing.assert_allclose(person[JOINT[name]], (10 * index, index, 1 / (1 + np.exp(8 - index))), rtol=1e-6)
    left, right = person[JOINT["left_shoulder"]], person[JOINT["right_shoulder"]]
    np.testing.assert_allclose(person[JOINT["neck"], :2], (left[:2] + right[:2]) / 2)
    assert person[JOINT["neck"], 2] == min(left[2], right[2])
    assert (as_openpose(places, np.full((1, 17), 2.0))[0, :, 2] > 0.88).all()
    assert as_openpose(places[:0], scores[:0]).shape == (0, K, 3)


def test_people_are_what_torchvision_finds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, num_keypoints=17, box_score_thresh=0.0,
        box_detections_per_img=3, min_size=96,
    ).eval()  # fmt: skip
    path = written(tmp_path / "keypointrcnn.pth", reference.state_dict())
    network = keypoint_rcnn.load(ByName(keypoint_rcnn=path), CPU, min_person=0.0)
    network._network.roi_heads.detections_per_img = 3
    resize = network._network.transform
    assert (resize.min_size[-1], resize.max_size) == (800, 1333)  # torchvision's, which take seconds
    resize.min_size = (96,)
    images = torch.randint(0, 256, (1, 3, 64, 48), dtype=torch.uint8)
    (people,) = network.people(images)
    with torch.no_grad():
        (wanted,) = reference([images[0] / 255])
    assert len(people) == len(wanted["scores"]) > 0
    np.testing.assert_allclose(
        people[:, [JOINT[name] for name in COCO], :2], wanted["keypoints"][..., :2].numpy() - 0.5, atol=1e-3
    )
    assert network.sha256 == {"keypoint-rcnn": sha256(path)}


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "other.pth", {"a": torch.zeros(1)})
    with pytest.raises(ReposeError, match=r"other\.pth does not hold .*Keypoint R-CNN .*weights fetch keypoint-rcnn"):
        keypoint_rcnn.load(ByName(keypoint_rcnn=path), CPU, min_person=0.5)
