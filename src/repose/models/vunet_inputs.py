"""What the Variational U-Net sees of a photo: a stickman of its pose, and crops of the body's parts made upright.

The sizes of the crops are ours where the paper (Esser et al. 2018) gives none: a limb's crop is as wide as LIMB torso
lengths, the head's is a square from the neck past the nose. Letters: B photos, S the square's side in px, P a crop's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from repose.data.skeleton import JOINT

LIMB = 0.35  # width of a limb's crop in torso lengths (from the middle of the shoulders to that of the hips)
PARTS = 8
NEEDED = ("right_shoulder", "left_shoulder", "right_hip", "left_hip")  # a photo without one of them is not trained on
_LIMBS = (
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"), ("right_hip", "right_knee"),
)  # fmt: skip
_SIDE = (("ankle", "knee"), ("knee", "hip"), ("hip", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"))
_LEAST_DEPTH = 0.05  # of a crop's corner, in the perspective that makes it upright; a crossed quadrilateral has less


def whole(keypoints: Tensor) -> Tensor:
    """Of keypoints (B,18,2), NaN for missing, which photos show both shoulders and both hips: (B,) bool."""
    needed = keypoints[:, [JOINT[name] for name in NEEDED]]
    return needed.isfinite().all(-1).all(-1)


def stickman(keypoints: Tensor, size: int) -> Tensor:
    """The pose as three channels: right limbs, left limbs, the torso filled; neck to nose in the first two at half level.

    Args:
        keypoints: (B,18,2) in px of the square, NaN for missing.
        size: S of the square in px; lines are 3 px wide at 128.

    Returns:
        (B,3,S,S) float32 in [-1,1].
    """
    pixels = _pixels(size, keypoints)  # (S,S,2)
    sides = []
    neck = (_joint(keypoints, "right_shoulder") + _joint(keypoints, "left_shoulder")) / 2
    face = _near(pixels, neck[:, None], _joint(keypoints, "nose")[:, None], size)[:, 0]  # (B,S,S)
    for side in ("right", "left"):
        start, end = (torch.stack([_joint(keypoints, f"{side}_{pair[end]}") for pair in _SIDE], 1) for end in (0, 1))
        limbs = _near(pixels, start, end, size).any(1)  # (B,S,S)
        sides.append(torch.where(limbs, 255.0, torch.where(face, 127.0, 0.0)))
    torso = _inside(pixels, torch.stack([_joint(keypoints, name) for name in _TORSO], 1)) * 255.0
    return torch.stack([*sides, torso], 1) / 127.5 - 1


_TORSO = ("right_shoulder", "left_shoulder", "left_hip", "right_hip")


def parts(images: Tensor, keypoints: Tensor, size: int) -> Tensor:
    """Torso, head, upper arms, forearms and thighs, each made an upright square by a perspective.

    Args:
        images: (B,3,H,W) in [-1,1].
        keypoints: (B,18,2) in px of the images, NaN for missing.
        size: P of a crop in px.

    Returns:
        (B,24,P,P) in [-1,1], 3 channels a part; one with a joint missing, and what lies beyond the photo, is 0.
    """
    count, _, height, width = images.shape
    corners = quadrilaterals(keypoints)  # (B,8,4,2)
    matrix = homographies(corners)  # (B,8,3,3)
    depth = torch.cat([matrix[..., 2, :] @ matrix.new_tensor([[0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]])], -1)
    usable = matrix.isfinite().all(-1).all(-1) & (depth > _LEAST_DEPTH).all(-1)  # (B,8)
    side = (torch.arange(size, device=images.device) + 0.5) / size
    v, u = torch.meshgrid(side, side, indexing="ij")
    places = torch.stack([u, v, torch.ones_like(u)], -1).to(matrix)  # (P,P,3)
    there = torch.einsum("bkij,yxj->bkyxi", torch.where(usable[..., None, None], matrix, 0.0), places)
    xy = there[..., :2] / torch.where(usable[:, :, None, None, None], there[..., 2:], 1.0)  # (B,8,P,P,2) in px
    grid = (xy + 0.5) / xy.new_tensor([width, height]) * 2 - 1
    crops = F.grid_sample(
        images.float(), grid.reshape(count, PARTS * size, size, 2), padding_mode="zeros", align_corners=False
    ).unflatten(2, (PARTS, size))  # (B,3,8,P,P)
    return (crops * usable[:, None, :, None, None]).transpose(1, 2).flatten(1, 2)


def quadrilaterals(keypoints: Tensor) -> Tensor:
    """The corners of each part in px, from the one that becomes the top left on, clockwise: (B,18,2) -> (B,8,4,2)."""
    shoulder = (_joint(keypoints, "right_shoulder") + _joint(keypoints, "left_shoulder")) / 2
    hip = (_joint(keypoints, "right_hip") + _joint(keypoints, "left_hip")) / 2
    torso = torch.stack([_joint(keypoints, name) for name in _TORSO], 1)  # (B,4,2)
    nose = _joint(keypoints, "nose")
    top = shoulder + 2 * (nose - shoulder)
    head = _along(top, shoulder, (top - shoulder).norm(dim=-1, keepdim=True))
    across = LIMB * (hip - shoulder).norm(dim=-1, keepdim=True)
    limbs = [_along(_joint(keypoints, start), _joint(keypoints, end), across) for start, end in _LIMBS]
    return torch.stack([torso, head, *limbs], 1)


def homographies(corners: Tensor) -> Tensor:
    """Matrices (...,3,3) that take the unit square to quadrilaterals (...,4,2), corner by corner (Heckbert 1989)."""
    p0, p1, p2, p3 = corners.double().unbind(-2)
    d1, d2, s = p1 - p2, p3 - p2, p0 - p1 + p2 - p3
    area = _cross(d1, d2)
    g, h = _cross(s, d2) / area, _cross(d1, s) / area
    columns = [p1 - p0 + g[..., None] * p1, p3 - p0 + h[..., None] * p3, p0]
    above = torch.stack(columns, -1)  # (...,2,3)
    below = torch.stack([g, h, torch.ones_like(g)], -1)[..., None, :]
    return torch.cat([above, below], -2).float()


def _along(start: Tensor, end: Tensor, width: Tensor) -> Tensor:
    """A rectangle of that width (B,1) from `start` to `end` (B,2) -> corners (B,4,2)."""
    along = end - start
    aside = torch.stack([along[:, 1], -along[:, 0]], -1)
    half = aside / aside.norm(dim=-1, keepdim=True) * width / 2
    return torch.stack([start - half, start + half, end + half, end - half], 1)


def _near(pixels: Tensor, start: Tensor, end: Tensor, size: int) -> Tensor:
    """Which pixels (S,S,2) lie on lines between joints (B,n,2) and (B,n,2): (B,n,S,S) bool."""
    along = (end - start)[:, :, None, None]  # (B,n,1,1,2)
    beside = pixels - start[:, :, None, None]  # (B,n,S,S,2)
    share = ((beside * along).sum(-1) / along.pow(2).sum(-1).clamp(min=1e-6)).clamp(0, 1)
    distance = (beside - share[..., None] * along).norm(dim=-1)
    return distance <= 1.5 * size / 128  # a line with a missing joint is nowhere: NaN is not smaller


def _inside(pixels: Tensor, corners: Tensor) -> Tensor:
    """Which pixels (S,S,2) lie in polygons (B,n,2), by crossings: (B,S,S) bool; none where a corner is missing."""
    a, b = corners[:, :, None, None], corners.roll(-1, 1)[:, :, None, None]  # (B,n,1,1,2)
    y = pixels[..., 1]
    spans = (a[..., 1] > y) != (b[..., 1] > y)  # (B,n,S,S)
    slope = (y - a[..., 1]) / torch.where(spans, b[..., 1] - a[..., 1], 1.0)
    crossings = spans & (pixels[..., 0] < a[..., 0] + slope * (b[..., 0] - a[..., 0]))
    known = corners.isfinite().all(-1).all(-1)
    return (crossings.sum(1) % 2 == 1) & known[:, None, None]


def _pixels(size: int, like: Tensor) -> Tensor:
    """x, y of every pixel's centre: (S,S,2)."""
    side = torch.arange(size, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], -1)


def _joint(keypoints: Tensor, name: str) -> Tensor:
    return keypoints[:, JOINT[name]]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
