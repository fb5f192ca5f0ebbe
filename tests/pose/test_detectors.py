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
        return [
            np.array([joints * (1 + rank, 1 + rank, 1) for rank in range(int(images[0, 0, 0, 0]))]).reshape(-1, K, 3)
        ]


def photo(people: int) -> np.ndarray:
    return np.full((96, 64, 3), people, np.uint8)


def test_of_several_people_the_large_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keypoint_rcnn, "load", lambda *_, **__: FindsPeople())
    find = pose_finder("keypoint-rcnn")
    found = find(photo(2))
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(found[4], (8, 16))
    assert np.isnan(find(photo(0))).all()
    assert find(photo(0)).shape == (K, 2)


def test_weights_that_were_not_fetched_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ReposeError, match="repose weights fetch keypoint-rcnn"):
        pose_finder("keypoint-rcnn")


def test_another_network_is_rejected() -> None:
    with pytest.raises(ValueError, match="figure or keypoint-rcnn, not 'openpose'"):
        pose_finder("openpose")  # type: ignore[arg-type]
