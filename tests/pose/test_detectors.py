from pathlib import Path

import numpy as np
import pytest
import torch

from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.pose import keypoint_rcnn
from repose.pose.detectors import pose_finder


class FindsPeople:
    """In place of Keypoint R-CNN: as many people as the first pixel says, each nearer the middle and larger."""

    sha256 = {"keypoint-rcnn": "0" * 64}  # noqa: RUF012

    def people(self, images: torch.Tensor) -> list[np.ndarray]:
        joints = np.stack([np.arange(K), 2 * np.arange(K), np.full(K, 0.9)], 1).astype(np.float32)
        joints[3, 2] = 0.01  # too little to count
        ranks = np.arange(1, 1 + int(images[0, 0, 0, 0]))
        return [np.stack([joints * (rank, rank, 1) for rank in ranks]) if len(ranks) else np.zeros((0, K, 3))]


def test_of_several_people_the_large_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keypoint_rcnn, "load", lambda *_, **__: FindsPeople())
    two, nobody = (pose_finder("keypoint-rcnn")(np.full((96, 64, 3), people, np.uint8)) for people in (2, 0))
    assert np.isnan(two[3]).all()
    np.testing.assert_array_equal(two[4], (8, 16))
    assert np.isnan(nobody).all()
    assert nobody.shape == (K, 2)


def test_weights_that_were_not_fetched_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ReposeError, match="repose weights fetch keypoint-rcnn"):
        pose_finder("keypoint-rcnn")


def test_another_network_is_rejected() -> None:
    with pytest.raises(ValueError, match="figure or keypoint-rcnn, not 'openpose'"):
        pose_finder("openpose")  # type: ignore[arg-type]
