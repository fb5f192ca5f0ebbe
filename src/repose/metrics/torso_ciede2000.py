"""torso-ciede2000 (ours): whether the person in a generated image wears the target's garment.

SSIM barely notices the garment: a gray dummy in the right pose scores higher than the source photo. torso-ciede2000 is the
mean CIEDE2000 color difference (Sharma et al. 2005, by scikit-image) between generated and target image inside the torso.
About 1 is just noticeable, 0 is equal, black to white is 100.
"""

import numpy as np
from torch import Tensor

from repose.data.skeleton import TORSO
from repose.metrics.batches import image_pairs

SHRINK = 0.8  # scale of the quadrilateral of shoulders and hips, so that its edge shows no background
MIN_PIXELS = 16  # minimum, which excludes torsos far outside the image and slivers in side views


def torso_ciede2000(generated: Tensor | np.ndarray, target: Tensor | np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Return the mean CIEDE2000 inside each target's torso: (B,) float64.

    A pair whose target lacks a shoulder or a hip, or has fewer than MIN_PIXELS pixels of torso in the image, scores NaN.
    See `ssim` for the images, which are RGB; keypoints (B, K, 2) are the targets' in px, NaN for missing.
    """
    images = [some.movedim(1, -1).cpu().numpy() for some in image_pairs(generated, target)]
    return np.array([_of_pair(*pair) for pair in zip(*images, keypoints, strict=True)], np.float64)


def torso_pixels(keypoints: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the pixels in the shrunk torso of one person (K, 2); empty if a corner is missing."""
    from skimage.draw import polygon

    corners = keypoints[list(TORSO)].astype(np.float64)
    if not np.isfinite(corners).all():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    centre = corners.mean(0)
    x, y = (centre + SHRINK * (corners - centre)).T
    rows, columns = polygon(y, x, shape=(height, width))  # type: ignore[no-untyped-call]
    return rows, columns


def _of_pair(generated: np.ndarray, target: np.ndarray, keypoints: np.ndarray) -> float:
    from skimage.color import deltaE_ciede2000, rgb2lab

    torso = torso_pixels(keypoints, *target.shape[:2])
    if len(torso[0]) < MIN_PIXELS:
        return np.nan
    difference = deltaE_ciede2000(rgb2lab(target[torso]), rgb2lab(generated[torso]))  # type: ignore[no-untyped-call]
    return float(difference.mean())
