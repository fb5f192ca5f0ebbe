"""PCK and PCKh: the share of joints that are found in the right place.

Scores by different keypoint networks cannot be compared. The share is over all joints of all images, not a mean over images.

    hits = pckh(found, truth)
    score = share(hits)
"""

from typing import NamedTuple

import numpy as np

from repose.data.skeleton import JOINT, K, present
from repose.errors import ReposeError

# PATN, tool/calPCKH_fashion.py: the box around these joints is the head.
HEAD = tuple(JOINT[name] for name in ("nose", "neck", "right_eye", "left_eye", "right_ear", "left_ear"))
PCK_ALPHA, PCKH_ALPHA = 0.1, 0.5


class Hits(NamedTuple):
    """Which joints count, and which of them are right."""

    right: np.ndarray  # (B, K) bool
    counted: np.ndarray  # (B, K) bool


def pck(
    found: np.ndarray,
    truth: np.ndarray,
    *,
    visible: np.ndarray | None = None,
    alpha: float = PCK_ALPHA,
    torso: bool = False,
) -> Hits:
    """PCK@alpha (Yang and Ramanan 2013): a joint is right if at most alpha times the person's size away.

    The size is the longer side of the box around the known joints of `truth`. A person of size 0 does not count. A joint
    that is not found is wrong.

    Args:
        found: (B, K, 2) x, y in px, NaN for joints that were not found.
        truth: (B, K, 2) x, y in px, NaN for unknown joints, which do not count.
        visible: (B, K) bool, the joints that count if known; None: all.
        alpha: share of the size.
        torso: the size is instead the distance of a shoulder to the opposite hip; persons without both do not count.

    Raises:
        ValueError: `found` or `truth` has another shape.
    """
    counted = _counted(found, truth, visible)
    size = _diagonal(truth) if torso else _box(truth, tuple(range(K)), least=1).max(-1)  # (B,)
    counted &= (size > 0)[:, None]
    with np.errstate(invalid="ignore"):
        away = np.sqrt(((found.astype(np.float64) - truth) ** 2).sum(-1))  # (B, K)
        return Hits((away <= alpha * size[:, None]) & counted, counted)


def pckh(found: np.ndarray, truth: np.ndarray, *, visible: np.ndarray | None = None, alpha: float = PCKH_ALPHA) -> Hits:
    """PCKh@alpha as computed by PATN: a joint is right if less than alpha head widths and alpha head heights away.

    The head is the box around the known nose, neck, eyes and ears of `truth`. A person with fewer than two of them does not
    count. If the box has no width or height, no joint is right. `visible` does not change the head.

    Arguments and errors are those of `pck`; `alpha` is a share of the head.
    """
    counted = _counted(found, truth, visible)
    head = _box(truth, HEAD, least=2)  # (B, xy)
    counted &= np.isfinite(head).all(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        away = np.abs(found.astype(np.float64) - truth)  # (B, K, xy)
        return Hits((away < alpha * head[:, None]).all(-1) & counted, counted)


def share(*hits: Hits) -> float:
    """The share of right joints among all joints that count in these batches.

    Raises:
        ReposeError: no joint counts.
    """
    counted = sum(int(some.counted.sum()) for some in hits)
    if not counted:
        raise ReposeError(
            "No joint counts: no target has known, visible keypoints and a head or size to measure by. Look at "
            "the keypoints of the test photos."
        )
    return sum(int(some.right.sum()) for some in hits) / counted


def _counted(found: np.ndarray, truth: np.ndarray, visible: np.ndarray | None) -> np.ndarray:
    """The joints that are known and visible: (B, K) bool."""
    if not truth.shape[1:] == (K, 2) or not found.shape == truth.shape:
        raise ValueError(f"found and truth should be (B, {K}, 2), not {found.shape} and {truth.shape}.")
    known = present(truth)
    return known if visible is None else known & visible


def _diagonal(truth: np.ndarray) -> np.ndarray:
    """The distance (B,) of the right shoulder to the left hip, else of the left one to the right; NaN without both."""
    right, left = (
        np.linalg.norm(truth[:, JOINT[shoulder]].astype(np.float64) - truth[:, JOINT[hip]], axis=1)
        for shoulder, hip in (("right_shoulder", "left_hip"), ("left_shoulder", "right_hip"))
    )
    return np.where(np.isnan(right), left, right)


def _box(truth: np.ndarray, joints: tuple[int, ...], *, least: int) -> np.ndarray:
    """Width and height of the box around the known ones among these joints: (B, 2) float64, NaN if fewer than `least`."""
    points = truth[:, list(joints)].astype(np.float64)
    known = present(points)[..., None]  # (B, n, 1)
    box = np.where(known, points, -np.inf).max(1) - np.where(known, points, np.inf).min(1)
    return np.where(known.sum(1) >= least, box, np.nan)
