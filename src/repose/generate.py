"""Photos and poses in, images out: for pairs of a split, and for anybody's own photos."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from repose.data.images import to_tensor, to_uint8
from repose.data.photos import Photos
from repose.data.posemaps import colour, draw
from repose.models.poses import Poses
from repose.systems import System

TARGETS_AT_ONCE = 16


class Job(NamedTuple):
    """One image to make: the names of its sources (the pair's own first) and of the photo whose pose it takes."""

    sources: tuple[str, ...]
    target: str


class Done(NamedTuple):
    """What came of n jobs: the images and, of their targets, the photos and the keypoints in px of the frame."""

    jobs: Sequence[Job]
    generated: np.ndarray  # (n,H,W,3) uint8
    target: np.ndarray  # (n,H,W,3) uint8
    keypoints: np.ndarray  # (n,K,2) float32


def jobs_of_pairs(pairs: pd.DataFrame, items: pd.DataFrame, most_sources: int) -> list[Job]:
    """Test pairs as jobs: the pair's source first, then the other photos of its item, never the target (R11, R12)."""
    photos_of = {item: list(group) for item, group in items.groupby("item", sort=False)["name"]}
    item_of = dict(zip(items["name"], items["item"], strict=True))
    jobs = []
    for source, target in zip(pairs["from"], pairs["to"], strict=True):
        rest = [name for name in photos_of[item_of[source]] if name not in (source, target)]
        jobs.append(Job((source, *rest)[:most_sources], target))
    return jobs


@torch.no_grad()
def generate_jobs(system: System, jobs: Sequence[Job], photos: Photos, device: torch.device) -> Iterator[Done]:
    """Make the images of jobs over photos of a split, some at a time; memory does not grow with their number."""
    for first in range(0, len(jobs), TARGETS_AT_ONCE):
        some = jobs[first : first + TARGETS_AT_ONCE]
        names = list(dict.fromkeys(name for job in some for name in (*job.sources, job.target)))
        loaded = photos.load(names)
        row = {name: number for number, name in enumerate(names)}
        images = to_tensor(loaded.pixels).to(device)
        poses = Poses(colour(torch.from_numpy(loaded.maps).to(device)), torch.from_numpy(loaded.keypoints).to(device))
        sources, mask = _index([[row[name] for name in job.sources] for job in some], device)
        target = torch.tensor([row[job.target] for job in some], device=device)
        generated = system.generate(images, poses, sources, mask, poses[target])
        rows = target.cpu().numpy()
        yield Done(some, to_uint8(generated), loaded.pixels[rows], loaded.keypoints[rows])


@torch.no_grad()
def generate_one(
    system: System, *, sources: np.ndarray, source_keypoints: np.ndarray, target_keypoints: np.ndarray,
    thickness: float, device: torch.device,
) -> np.ndarray:  # fmt: skip
    """One image from T photos of an item.

    Args:
        system: a trained system.
        sources: (T,H,W,3) uint8, at the system's working size.
        source_keypoints: (T,K,2) in px of the frame, NaN for missing.
        target_keypoints: (K,2) in px of the frame.
        thickness: of a limb in px, as the system was trained with.
        device: where the system lies.

    Returns:
        (H,W,3) uint8.
    """
    height, width = sources.shape[1:3]
    keypoints = torch.from_numpy(np.concatenate([source_keypoints, target_keypoints[None]]).astype(np.float32)).to(
        device
    )
    poses = Poses(colour(draw(keypoints, height=height, width=width, thickness=thickness)), keypoints)
    index, mask = _index([list(range(len(sources)))], device)
    images = to_tensor(sources).to(device)
    generated = system.generate(images, poses[:-1], index, mask, poses[-1:])
    return to_uint8(generated[0])


def _index(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of unlike lengths as (Q,T) int64, padded with their last entry, and the mask (Q,T) of what counts."""
    most = max(len(row) for row in rows)
    index = torch.tensor([[*row, *[row[-1]] * (most - len(row))] for row in rows], device=device)
    mask = torch.tensor([[i < len(row) for i in range(most)] for row in rows], device=device)
    return index, mask
