"""Detect keypoints that were measured in a resized copy or a crop of their photos.

Photos of people are framed around the person, so the box around the joints is roughly centered in the photo. The median of
its center is at 0.50 of the width and 0.48 of the height in DeepFashion (standard deviation 0.04), and at 0.49 and 0.52 in
mannequins of 128x64 (0.06 and 0.04). Joints of a copy scaled by s have it at s times that.
"""

import numpy as np

from repose.data.skeleton import present

MIDDLE = (0.4, 0.6)  # expected range of the median center, as a share of width and height
ENOUGH = 10  # minimum number of photos with joints for a meaningful median


def centres(keypoints: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Centers of the boxes around the joints of each photo that has any: (photos, 2), as shares of width and height.

    From keypoints (n, K, 2) in px, NaN for missing, and the heights (n,) and widths (n,) of the photos in px.
    """
    rows = present(keypoints).any(1)
    boxes = np.nanmin(keypoints[rows], 1) + np.nanmax(keypoints[rows], 1)
    shares: np.ndarray = boxes / 2 / np.stack([widths, heights], -1)[rows]
    return shares


def advice(keypoints: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> list[str]:
    """The settings to change, for x and for y; empty texts if the median of `centres` is within MIDDLE."""
    found = centres(keypoints, heights, widths)
    if len(found) == 0:
        return ["", ""]
    x, y = np.median(found, 0).tolist()
    return [_advice("x", x, float(np.median(widths))), _advice("y", y, float(np.median(heights)))]


def _advice(axis: str, median: float, size: float) -> str:
    if MIDDLE[0] <= median <= MIDDLE[1]:
        return ""
    return (
        f"In {axis} it is at {median:.2f}: joints of a resized copy need {axis} of `keypoints.scale` multiplied by "
        f"about {0.5 / max(abs(median), 1e-3):.2g}, joints of a crop about {(0.5 - median) * size:.0f} px added to {axis} of "
        "`keypoints.offset`."
    )
