"""PCK: which joints are found in the right place. Scores by different keypoint networks cannot be compared."""

from typing import NamedTuple

import numpy as np

from repose.data.skeleton import JOINT, K, present

PCK_ALPHA = 0.1


class Hits(NamedTuple):
    """Which joints count, and which of them are right."""

    right: np.ndarray  # (B, K) bool
    counted: np.ndarray  # (B, K) bool


def pck(found: np.ndarray, truth: np.ndarray, *, torso: bool = False) -> Hits:
    """PCK@0.1 (Yang and Ramanan 2013): a joint is right if at most a tenth of the person's size away.

    The size is the longer side of the box around the known joints of `truth`. A person of size 0 does not count. A joint
    that is not found is wrong.

    Args:
        found: (B, K, 2) x, y in px, NaN for joints that were not found.
        truth: (B, K, 2) x, y in px, NaN for unknown joints, which do not count.
        torso: the size is instead the distance of a shoulder to the opposite hip; persons without both do not count.

    Raises:
        ValueError: `found` or `truth` has another shape.
    """
    if not truth.shape[1:] == (K, 2) or not found.shape == truth.shape:
        raise ValueError(f"found and truth should be (B, {K}, 2), not {found.shape} and {truth.shape}.")
    size = _diagonal(truth) if torso else _longer_side(truth)  # (B,)
    counted = present(truth) & (size > 0)[:, None]
    with np.errstate(invalid="ignore"):
        away = np.sqrt(((found.astype(np.float64) - truth) ** 2).sum(-1))  # (B, K)
        return Hits((away <= PCK_ALPHA * size[:, None]) & counted, counted)


def _diagonal(truth: np.ndarray) -> np.ndarray:
    """The distance (B,) of the right shoulder to the left hip, else of the left one to the right; NaN without both."""
    right, left = (
        np.linalg.norm(truth[:, JOINT[shoulder]].astype(np.float64) - truth[:, JOINT[hip]], axis=1)
        for shoulder, hip in (("right_shoulder", "left_hip"), ("left_shoulder", "right_hip"))
    )
    return np.where(np.isnan(right), left, right)


def _longer_side(truth: np.ndarray) -> np.ndarray:
    """The longer side (B,) float64 of the box around the known joints, NaN if there is none."""
    points, known = truth.astype(np.float64), present(truth)[..., None]  # (B, K, 1)
    box = np.where(known, points, -np.inf).max(1) - np.where(known, points, np.inf).min(1)
    return np.where(known.any(1), box, np.nan).max(-1)
