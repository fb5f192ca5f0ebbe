from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcomes import failed, named

import tiny_system
from repose.data.skeleton import JOINT, JOINTS, K
from repose.validation.expectations import Outcome
from repose.validation.keypoints import check_keypoints

STANDING = 4 * tiny_system.STANDING + np.float32([32, 0])  # somebody who faces the camera, 256 x 256


def people(count: int = 20) -> np.ndarray:
    generator = np.random.default_rng(0)
    return STANDING + generator.uniform(-5, 5, (count, 1, 2)).astype(np.float32)


def judge_keypoints(
    keypoints: np.ndarray, confidence: np.ndarray | None = None, share: float = 0.9, placed: bool = False, **columns: Any
) -> Outcome:  # fmt: skip
    count = len(keypoints)
    photos = pd.DataFrame({"name": [f"photo{row}" for row in range(count)], "height": 256, "width": 256, **columns})
    known = np.ones((count, K), np.float32) if confidence is None else confidence
    return check_keypoints(photos, keypoints, known, min_posed_share=share, placed=placed)


def test_missing_joints_pass():
    keypoints = people()
    keypoints[np.random.default_rng(1).random((20, K)) < 0.3] = np.nan
    keypoints[:19, [JOINT[name] for name in ("right_shoulder", "left_shoulder", "right_hip", "left_hip")]] = STANDING[2]
    confidence = np.where(np.isnan(keypoints[..., 0]), np.nan, 1)
    assert judge_keypoints(keypoints, confidence).passed


def test_a_photo_with_bad_joints_is_named_by_the_check_that_it_fails():
    keypoints, confidence = people(8), np.ones((8, K), np.float32)
    keypoints[2, 0, 1] = np.nan
    confidence[[3, 4, 5], 7] = -0.1, np.nan, 1.1
    outcome = judge_keypoints(keypoints, confidence, share=0, name=["a", *"abcdefg"])
    found = {check.name: check.failing for check in outcome.failed("critical")}
    assert found == {
        "one row per photo": (0, 1), "whole joints": (2,), "least confidence": (3, 4), "most confidence": (5,),
    }  # fmt: skip
    assert named(outcome, "whole joints").examples == ("b",)


def test_joints_outside_their_photo():
    """Up to a pixel beyond the edge is fine."""
    keypoints = people(5)
    keypoints[:4, JOINT["left_wrist"]] = (-1, -1), (256, 256), (-1.5, 9), (9, 257)
    assert named(judge_keypoints(keypoints), "inside").failing == (2, 3)
    sizes: dict[str, list[int]] = {"height": [128, 256], "width": [256, 128]}
    assert named(judge_keypoints(people(2), **sizes), "inside").failing == (0, 1)
    slim = people(2) * np.float32([0.4, 1])
    assert named(judge_keypoints(slim, **sizes), "inside").failing == (0,)


@pytest.mark.parametrize(("share", "failed"), [(0.8, []), (0.81, ["posed share"])])
def test_the_share_of_posed_photos(share, failed):
    keypoints = people()
    keypoints[:4, JOINT["right_hip"]] = np.nan
    outcome = judge_keypoints(keypoints, share=share)
    assert [found.name for found in outcome.failed("critical")] == failed
    assert named(outcome, "posed share").observed == "4 of 20 (20 %) do not fit"


def test_eyes_that_changed_places_are_warned_of():
    """pose-gan's own list of joint names swaps left and right eye and ear: the classic mistake."""
    keypoints = people()
    keypoints[:, [14, 15]] = keypoints[:, [15, 14]]
    outcome = judge_keypoints(keypoints)
    assert outcome.passed
    assert failed(outcome) == ["right is right"]


def test_a_person_seen_from_behind_is_fine():
    """The right shoulder is then on the viewer's right."""
    behind = people()
    behind[..., 0] = 255 - behind[..., 0]
    outcome = judge_keypoints(behind)
    assert failed(outcome) == []
    assert named(outcome, "right is right").observed == "nothing to look at"


def test_x_and_y_that_changed_places_are_warned_of():
    swapped = people()[..., ::-1] + np.random.default_rng(0).uniform(-9, 9, (20, K, 2))
    assert "upright" in failed(judge_keypoints(swapped))


def test_joints_that_are_never_known_or_never_move():
    keypoints = people()
    keypoints[:, JOINT["nose"]] = np.nan
    keypoints[:, JOINT["left_ear"]] = 7
    outcome = judge_keypoints(keypoints)
    assert outcome.passed
    assert named(outcome, "every joint").examples == ("nose",)
    assert named(outcome, "joints move").examples == ("left_ear",)
    assert named(outcome, "joints move").observed == f"1 of {len(JOINTS) - 1} (5.88 %) do not fit"


@pytest.mark.parametrize(("scale", "offset", "critical", "warned"), [
    ((0.5, 0.5), (64, 64), [], []),  # a small person in the middle
    ((0.7, 0.7), (0, 0), ["middle in x", "middle in y"], []),
    ((1, 0.6), (0, 0), [], ["middle in y"]),
    ((1, 1), (-40, 0), [], ["middle in x"]),  # PATN's "resize" files without their offset
])  # fmt: skip
def test_joints_of_a_copy_of_another_size_or_crop_are_noticed(scale, offset, critical, warned):
    outcome = judge_keypoints(people() * np.array(scale) + np.array(offset), placed=True)
    assert [found.name for found in outcome.failed("critical")] == critical
    assert [found.name for found in outcome.failed("warning")] == warned
    if critical:
        assert f"x of `keypoints.scale` multiplied by about {1 / scale[0]:.2g}" in named(outcome, critical[0]).expected
