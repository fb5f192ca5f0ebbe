"""The 18 OpenPose keypoints, their limbs, colors and mirror image.

Order, limbs and colors are those of OpenPose's COCO model, as in PG2, pose-gan and PATN. pose-gan's list of names swaps the
eyes and the ears. In its data, as in this list, the right one comes first.

Notation in all modules: B batch, T sources of one target, K = 18 keypoints, C channels, H height, W width.
Keypoints are (..., K, 2) float32 arrays of x, y in px of their image, where (0, 0) is the center of the top left pixel. A
missing joint is NaN in both.
"""

import numpy as np

JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
K = len(JOINTS)
JOINT = {name: index for index, name in enumerate(JOINTS)}

# OpenPose's first 17 limbs, in its order (its last two, ear to shoulder, are not drawn).
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip

# PG2's limbs, for its loss and for mask-SSIM, which include neck to ears, around the torso and across the head.
FIGURE = (*LIMBS, (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17))

# OpenPose's wheel of 18 colors, 20 degrees of hue apart; limb i has color i.
COLOURS = np.array(
    [
        (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
        (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
        (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
    ],
    dtype=np.uint8,
)  # fmt: skip

# Shoulders and hips in order around the torso, for pose-gan's filter and torso-ciede2000.
TORSO = (JOINT["right_shoulder"], JOINT["left_shoulder"], JOINT["left_hip"], JOINT["right_hip"])

# Joint i of a mirrored person is joint MIRROR[i] of the original: left and right change places.
MIRROR = np.array(
    [JOINT[n.replace("right", "?").replace("left", "right").replace("?", "left")] for n in JOINTS], dtype=np.intp
)


def mirrored(keypoints: np.ndarray, width: int) -> np.ndarray:
    """Keypoints (..., K, 2) of an image `width` px wide after a flip left to right."""
    flipped = keypoints[..., MIRROR, :].copy()
    flipped[..., 0] = (width - 1) - flipped[..., 0]
    return flipped


def present(keypoints: np.ndarray) -> np.ndarray:
    """Whether joints are known: (..., K) bool."""
    known: np.ndarray = ~np.isnan(keypoints).any(-1)
    return known
