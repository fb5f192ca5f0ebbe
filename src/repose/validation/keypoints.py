"""The suites of the stage keypoints: each photo's joints, each joint over all photos, and the joints' positions."""

from typing import Any

import numpy as np
import pandas as pd

from repose.data.placement import ENOUGH, MIDDLE, advice, centres
from repose.data.skeleton import JOINT, JOINTS, TORSO, present
from repose.validation.expectations import BETWEEN, IN_SET, Check, Outcome, Severity, expect, percent, validate

MARGIN = 1.0  # px that a joint may lie outside its photo, due to rounding and resizing
NEARLY_ALL = 0.99  # minimum share of photos with all joints inside
MOST = 0.9  # minimum share of photos that follow anatomy, as people bend and turn


def check_keypoints(
    photos: pd.DataFrame, keypoints: np.ndarray, confidence: np.ndarray, *, min_posed_share: float, placed: bool = False
) -> Outcome:
    """Check the keypoints of n photos with the columns name, height and width (px).

    Keypoints are (n, K, 2) px, NaN for missing, with a confidence (n, K), 0 to 1. In a share `min_posed_share` of the photos,
    both shoulders and both hips must be known. With `placed`, the joints come from files, so that their position in the photos
    is checked (`placement`).
    """
    heights, widths = photos["height"].to_numpy(), photos["width"].to_numpy()
    measured = _measured(keypoints, confidence, heights, widths).assign(name=photos["name"].to_numpy())
    checks = validate(measured, _photo_suite(min_posed_share), label=["name"])
    checks += _check_joints(keypoints)
    return Outcome((*checks, *(_check_middle(keypoints, heights, widths) if placed else ())))


def _measured(keypoints: np.ndarray, confidence: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> pd.DataFrame:
    """A row of measurements per photo; a value that a photo does not give is missing and not checked."""
    x, y, known = keypoints[..., 0], keypoints[..., 1], present(keypoints)
    beyond = np.maximum.reduce([-x, -y, x - (widths[:, None] - 1), y - (heights[:, None] - 1)])
    of_known = pd.DataFrame(np.where(known, np.nan_to_num(confidence, nan=-1), np.nan))
    frontal = x[:, JOINT["right_shoulder"]] < x[:, JOINT["left_shoulder"]]
    return pd.DataFrame(
        {
            "half_joints": (np.isnan(x) != np.isnan(y)).sum(1),
            "min_confidence": of_known.min(axis=1),
            "max_confidence": of_known.max(axis=1),
            "beyond_edge": pd.DataFrame(beyond).max(axis=1),
            "torso_joints": known[:, TORSO].sum(1),
            "shoulders_y": y[:, TORSO[:2]].mean(1),
            "hips_y": y[:, TORSO[2:]].mean(1),
            "right_eye_x": np.where(frontal, x[:, JOINT["right_eye"]], np.nan),
            "left_eye_x": np.where(frontal, x[:, JOINT["left_eye"]], np.nan),
        }
    )


def _photo_suite(min_posed_share: float) -> list[Any]:
    greater, mostly = "ColumnPairValuesAToBeGreaterThanB", {"mostly": MOST, "ignore_row_if": "either_value_is_missing"}
    inside = f"in {percent(NEARLY_ALL)} of the photos every known joint is inside the photo"
    posed = f"in {percent(min_posed_share)} of the photos both shoulders and hips are known"
    upright = f"in {percent(MOST)} of the photos the shoulders are above the hips (or are x and y exchanged?)"
    right = f"in {percent(MOST)} of the photos from the front the right eye, like the right shoulder, is on the viewer's left"
    likely = "no known joint's confidence is missing or below 0", "no known joint's confidence is above 1"
    return [
        expect("photos", "TableRowCountToBeBetween", "there is at least one photo", min_value=1),
        expect("one row per photo", "ColumnValuesToBeUnique", "no photo has two rows", column="name"),
        expect("whole joints", BETWEEN, "a joint has both x and y, or neither", column="half_joints", max_value=0),
        expect("least confidence", BETWEEN, likely[0], column="min_confidence", min_value=0),
        expect("most confidence", BETWEEN, likely[1], column="max_confidence", max_value=1),
        expect("inside", BETWEEN, inside, column="beyond_edge", max_value=MARGIN, mostly=NEARLY_ALL),
        expect("posed share", IN_SET, posed, column="torso_joints", value_set=[len(TORSO)], mostly=min_posed_share),
        expect("upright", greater, upright, "warning", column_A="hips_y", column_B="shoulders_y", **mostly),
        expect("right is right", greater, right, "warning", column_A="left_eye_x", column_B="right_eye_x", **mostly),
    ]


def _check_joints(keypoints: np.ndarray) -> list[Check]:
    """Check the number of photos in which each joint is known, and the distance in px of its outermost positions."""
    known = present(keypoints)
    photos = known.sum(0)
    last = np.where(known[..., None], keypoints, -np.inf).max(0, initial=-np.inf)
    first = np.where(known[..., None], keypoints, np.inf).min(0, initial=np.inf)
    spread = np.where(photos > 1, (last - first).max(1), np.nan)
    seen, moves = "every joint is known in some photo", "no joint is in one place in all photos"
    suite = [
        expect("every joint", BETWEEN, seen, "warning", column="photos", min_value=1),
        expect("joints move", BETWEEN, moves, "warning", column="spread", min_value=1),
    ]
    return validate(pd.DataFrame({"joint": JOINTS, "photos": photos, "spread": spread}), suite, label=["joint"])


def _check_middle(keypoints: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> list[Check]:
    """Check the center of the joints. Critical if both x and y suggest a smaller copy, with all poses in the upper left."""
    middles = pd.DataFrame(centres(keypoints, heights, widths), columns=["x", "y"])
    if len(middles) < ENOUGH:
        return []
    severity: Severity = "critical" if (middles.median() < MIDDLE[0]).all() else "warning"
    expected = f"the center of the joints is at {MIDDLE[0]} to {MIDDLE[1]} of the photo's %s in the median."
    suite = [
        expect(
            f"middle in {axis}", "ColumnMedianToBeBetween", f"{expected % side} {what}".rstrip(" ."), severity,
            column=axis, min_value=MIDDLE[0], max_value=MIDDLE[1],
        )
        for axis, side, what in zip("xy", ("width", "height"), advice(keypoints, heights, widths), strict=True)
    ]  # fmt: skip
    return validate(middles, suite, label=[])
