"""How well the joints that a network found agree with those that are known."""

from typing import Any

import numpy as np

from repose.data.skeleton import JOINTS, present
from repose.pose.pck import PCK_ALPHA, pck, share

PCK = f"pck@{PCK_ALPHA}"


def agreement(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """PCK@0.1 of the known joints (`pck.pck`), overall and by joint, rounded to 4 digits; a share of nothing is None.

    The record also says how many photos and joints count, and which share of the unknown joints was found all the same,
    in photos with joints that are known.

    Args:
        found: (n,K,2) x, y in px, NaN where not found.
        truth: (n,K,2) likewise, NaN where not known.
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
