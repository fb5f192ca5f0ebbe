"""A system that nobody trained, tiny, in a checkpoint; and photos with poses to feed it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from repose import checkpoint, systems
from repose.checkpoint import About
from repose.data.frame import Frame
from repose.systems import SystemSettings

FRAME = Frame(32, 24)
SMALL: dict[str, dict[str, Any]] = {  # of each kind of repose, a row that trains in no time
    "attend": {
        "generator": {"width": 8, "channels": 16, "blocks": 1},
        "losses": {"adversarial_image": 0, "adversarial_pose": 0},
    },
    "paper": {"generator": {"width": 4, "blocks": 1}, "losses": {"adversarial_image": 0, "adversarial_pose": 0}},
    "posed": {"generator": {"width": 4, "blocks": 1}, "losses": {"adversarial_image": 0, "adversarial_pose": 0}},
    "pg2": {"steps": 2, "width": 4, "code": 8, "discriminator_width": 4},
    "vunet": {"width": 4},
    "pix2pix": {"generator": {"width": 4}, "discriminator": {"width": 4, "layers": 2}},
    "surface": {
        "generator": {"widths": [4, 8, 8, 8], "features": 4, "keys": 2, "decoder": [8, 4], "blocks": 1},
        "losses": {"adversarial_image": 0, "adversarial_pose": 0},
    },
}

# A person who stands in a photo of 64 x 48 px, arms a little out: (18, 2).
STANDING = np.array(
    [
        (24, 8), (24, 14), (18, 14), (14, 22), (12, 30), (30, 14), (34, 22), (36, 30), (20, 32), (19, 44), (18, 56),
        (28, 32), (29, 44), (30, 56), (22, 6), (26, 6), (20, 7), (28, 7),
    ],
    np.float32,
)  # fmt: skip
SIZE = (64, 48)


def small_row(kind: str, **changes: Any) -> SystemSettings:
    return systems.row({"kind": kind, "steps": 1} | SMALL.get(kind, {}) | changes, "tiny")


def save_system(
    path: Path, kind: str = "attend", *, max_sources: int | None = None, frame: Frame = FRAME,
    photo_size: tuple[int, int] | None = None,
) -> Path:  # fmt: skip
    row = small_row(kind, **({} if max_sources is None else {"max_sources": max_sources}))
    torch.manual_seed(0)
    about = About("tiny", row, frame, 1.0, 0, "none", photo_size)
    checkpoint.save(path, systems.build(row, frame), about, to_resume=False)
    return path


def photo(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def save_photo(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(seed, size)).save(path.with_suffix(".png"), "PNG")
    return path.with_suffix(".png").rename(path)


def openpose(keypoints: np.ndarray = STANDING) -> str:
    known = ~np.isnan(keypoints[:, :1])
    values = np.concatenate([np.nan_to_num(keypoints), known], 1).ravel().tolist()
    return json.dumps({"people": [{"pose_keypoints_2d": values}]})


def save_openpose(path: Path, keypoints: np.ndarray = STANDING) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(openpose(keypoints))
    return path
