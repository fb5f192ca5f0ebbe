"""Compare the joints that a network found with known joints."""

from typing import Any

import numpy as np

from repose.data.skeleton import JOINTS, present
from repose.pose.pck import PCK_ALPHA, pck

PCK = f"pck@{PCK_ALPHA}"


def agreement(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """PCK@0.1 of the known joints (`pck.pck`), overall and by joint, rounded to 4 digits; None if no joint counts.

    The record also has PCK@0.1 of the torso, the numbers of photos and joints that count, the share of unknown joints that
    was found in photos with known joints, and there, by joint, the precision (known, of those found) and recall (found, of
    those known).

    Args:
        found: (n,K,2) x, y in px, NaN if not found.
        truth: (n,K,2) x, y in px, NaN if unknown.
    """
    hits, of_torso = pck(found, truth), pck(found, truth, torso=True)
    known, seen = present(truth), present(found)
    seen &= known.any(1, keepdims=True)
    unknown = ~known & known.any(1, keepdims=True)
    return {
        "photos": int(hits.counted.any(1).sum()),
        "joints": int(hits.counted.sum()),
        PCK: _rounded(hits.right.sum(), hits.counted.sum()),
        f"{PCK}_of_torso": _rounded(of_torso.right.sum(), of_torso.counted.sum()),
        "found_though_not_known": _rounded(seen[unknown].sum(), unknown.sum()),
        f"{PCK}_by_joint": _by_joint(hits.right, hits.counted),
        "precision_by_joint": _by_joint(seen & known, seen),
        "recall_by_joint": _by_joint(seen & known, known),
    }


def _by_joint(of: np.ndarray, all_of: np.ndarray) -> dict[str, float | None]:
    return {joint: _rounded(*counts) for joint, *counts in zip(JOINTS, of.sum(0), all_of.sum(0), strict=True)}


def _rounded(of: int, all_of: int) -> float | None:
    return round(int(of) / int(all_of), 4) if all_of else None
