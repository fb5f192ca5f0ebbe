"""torso-ciede2000: does the generated figure wear the target's garment?

SSIM does not see a garment: a grey dummy in the right pose scores higher than the source photo. torso-ciede2000 is the mean
CIEDE2000 colour difference (Sharma et al. 2005, by scikit-image) between generated and target image inside the torso.
About 1 is a difference that one just sees, 0 is none, black to white is 100.
"""

import numpy as np

from repose.data.skeleton import TORSO

# The quadrilateral of shoulders and hips is shrunk to this share of its size, so that its rim shows no background.
SHRINK = 0.8
# A torso of fewer pixels (far outside the image, or a sliver seen from the side in a small image) is left out.
MIN_PIXELS = 16


def torso_ciede2000(generated: np.ndarray, target: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The mean CIEDE2000 inside each target's torso: (B,) float64, NaN for pairs that are left out.

    Left out are pairs whose target lacks a shoulder or a hip, or whose torso has fewer than MIN_PIXELS pixels in
    the image: count the NaNs and report the count beside the mean of the rest.

    Args:
        generated: (B, H, W, 3) uint8 RGB.
        target: Likewise.
        keypoints: (B, K, 2) of the targets in px, NaN for missing.

    Raises:
        ValueError: shapes or types are others.
    """
    for name, images in (("generated", generated), ("target", target)):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"{name} should be (B, H, W, 3) uint8, not {images.shape} {images.dtype}.")
    if generated.shape != target.shape or keypoints.shape != (len(target), *keypoints.shape[1:2], 2):
        raise ValueError(
            f"generated, target and keypoints should be of the same pairs, not {generated.shape}, {target.shape} and "
            f"{keypoints.shape}."
        )
    pairs = zip(generated, target, keypoints, strict=True)
    return np.array([_of_pair(*pair) for pair in pairs], np.float64)


def torso_pixels(keypoints: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels whose centres lie in the shrunk torso of one person, those in the image only.

    Args:
        keypoints: (K, 2) in px. Where a shoulder or hip is missing there are no pixels.
        height: Of the image in px.
        width: Of the image in px.
    """
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
