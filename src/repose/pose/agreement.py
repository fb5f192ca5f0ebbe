"""Compare the joints that a network found with known joints."""

from typing import Any

import numpy as np

from repose.data.skeleton import JOINTS, present
from repose.pose.pck import PCK_ALPHA, pck, share

PCK = f"pck@{PCK_ALPHA}"


def agreement(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """PCK@0.1 of the known joints (`pck.pck`), overall and by joint, rounded to 4 digits; None if no joint counts.

    The record also has the numbers of photos and joints that count, and the share of unknown joints that was found in
    photos with known joints.

    Args:
        found: (n,K,2) x, y in px, NaN if not found.
        truth: (n,K,2) x, y in px, NaN if unknown.
    """
    hits = pck(found, truth)
    counted, right = hits.counted.sum(0), hits.right.sum(0)
    known = present(truth)
    unknown = ~known & known.any(1, keepdims=True)
    return {
        "photos": int(hits.counted.any(1).sum()),
        "joints": int(counted.sum()),
        PCK: round(share(hits), 4) if counted.any() else None,
        "found_though_not_known": round(float(present(found)[unknown].mean()), 4) if unknown.any() else None,
        f"{PCK}_by_joint": {
            joint: round(int(r) / int(c), 4) if c else None for joint, r, c in zip(JOINTS, right, counted, strict=True)
        },
    }
