from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcomes import failed, named

import tiny_system
from repose.data.skeleton import JOINT, JOINTS, K, mirrored
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


def test_half_a_joint():
    keypoints = people()
    keypoints[3, 0, 1] = np.nan
    found = named(judge_keypoints(keypoints), "whole joints")
    assert (found.passed, found.severity, found.examples) == (False, "critical", ("photo3",))


@pytest.mark.parametrize(("value", "name"), [
    (-0.1, "least confidence"), (1.1, "most confidence"), (np.nan, "least confidence"),
])  # fmt: skip
def test_confidence_outside_its_range(value, name):
    confidence = np.ones((20, K), np.float32)
    confidence[5, 7] = value
    assert failed(judge_keypoints(people(), confidence)) == [name]


@pytest.mark.parametrize(("place", "fits"), [
    ((-1, -1), True), ((256, 256), True), ((-1.5, 9), False), ((9, 257), False),
])  # fmt: skip
def test_joints_outside_their_photo(place, fits):
    keypoints = people()
    keypoints[:2, JOINT["left_wrist"]] = place
    assert named(judge_keypoints(keypoints), "inside").passed is fits


def test_the_size_of_each_photo_counts():
    outcome = judge_keypoints(people(2), share=0, height=[128, 256], width=[256, 128])
    assert named(outcome, "inside").failing == (0, 1)


def test_the_share_of_posed_photos():
    keypoints = people()
    keypoints[:4, JOINT["right_hip"]] = np.nan
    assert judge_keypoints(keypoints, share=0.8).passed
    outcome = judge_keypoints(keypoints, share=0.81)
    assert [found.name for found in outcome.failed("critical")] == ["posed share"]
    assert named(outcome, "posed share").observed == "4 of 20 (20 %) do not fit"


def test_a_photo_with_two_rows():
    outcome = judge_keypoints(people(2), share=0, name=["a", "a"])
    assert [found.name for found in outcome.failed("critical")] == ["one row per photo"]


def test_eyes_that_changed_places_are_warned_of():
    """pose-gan's own list of joint names swaps left and right eye and ear: the classic mistake."""
    keypoints = people()
    keypoints[:, [14, 15]] = keypoints[:, [15, 14]]
    outcome = judge_keypoints(keypoints)
    assert outcome.passed
    assert failed(outcome) == ["right is right"]


def test_a_mirrored_or_averted_person_is_fine():
    """Mirroring renames the joints; in a person seen from behind, the right shoulder is on the viewer's right."""
    assert failed(judge_keypoints(mirrored(people(), 256))) == []
    behind = people()
    behind[..., 0] = 255 - behind[..., 0]
    outcome = judge_keypoints(behind)
    assert failed(outcome) == []
    assert named(outcome, "right is right").observed == "nothing to look at"


def test_x_and_y_that_changed_places_are_warned_of():
    generator = np.random.default_rng(0)
    swapped = people()[..., ::-1] + generator.uniform(-9, 9, (20, K, 2))
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


def test_no_photos_have_no_keypoints():
    assert [found.name for found in judge_keypoints(people(0)).failed("critical")] == ["photos"]
