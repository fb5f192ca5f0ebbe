"""Whether joints lie where the people of their photos are, or are those of a copy of another size or of a crop.

Photos of people are framed around the person, so the box around a person's joints is centred in the photo, give or take.
Its centre is at 0.50 of the width and 0.48 of the height (medians; standard deviation 0.04) in DeepFashion's close-ups and
whole bodies alike, at 0.49 and 0.52 (0.06 and 0.04) in mannequins of 128x64. Joints of a copy of s times the size have it at
s times that.
"""

import numpy as np

from repose.data.skeleton import present

MIDDLE = (0.4, 0.6)  # of width and height: where the centre of the median photo's joints should lie
ENOUGH = 10  # photos with joints; the median of fewer says little


def centres(keypoints: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Centres of the boxes around the joints, of each photo that has one: (photos, 2), x as a share of width, y of height.

    Args:
        keypoints: (n, K, 2) x, y in px, NaN for missing.
        heights: (n,) of the photos in px.
        widths: likewise.
    """
    rows = present(keypoints).any(1)
    boxes = np.nanmin(keypoints[rows], 1) + np.nanmax(keypoints[rows], 1)
    shares: np.ndarray = boxes / 2 / np.stack([widths, heights], -1)[rows]
    return shares


def advice(keypoints: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> list[str]:
    """What to set where the median centre lies outside MIDDLE, of x and of y; empty text where it does not.

    The arguments are those of `centres`.
    """
    found, sizes = centres(keypoints, heights, widths), np.stack([widths, heights], -1)
    return [
        _advice(axis, float(np.median(found[:, k])), float(np.median(sizes[:, k]))) if len(found) else ""
        for k, axis in enumerate("xy")
    ]


def _advice(axis: str, median: float, size: float) -> str:
    if MIDDLE[0] <= median <= MIDDLE[1]:
        return ""
    return (
        f"In {axis} it is at {median:.2f}: joints of a copy of another size need {axis} of `keypoints.scale` multiplied by "
        f"about {0.5 / max(abs(median), 1e-3):.2g}, joints of a crop about {(0.5 - median) * size:.0f} px added to {axis} of "
        "`keypoints.offset`."
    )
