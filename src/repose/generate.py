"""Generate images from photos and poses, for pairs of a split and for a user's own photos."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from repose.data.images import to_tensor, to_uint8
from repose.data.posemaps import colour, draw
from repose.data.poses import Poses
from repose.systems import System

if TYPE_CHECKING:  # imports pandas, which a user's own photos do not need
    import pandas as pd

    from repose.data.photos import Photos

TARGETS_AT_ONCE = 16
_PIXELS_AT_ONCE = 16 * 256 * 176  # of a user's own images, whose height may be large


class Framed(NamedTuple):
    """A source photo, fitted into a system's frame."""

    pixels: np.ndarray  # (H,W,3) uint8
    keypoints: np.ndarray  # (K,2) in px of the frame, NaN for missing
    photo_size: tuple[int, int]  # height, width in px of the original photo
    finer: np.ndarray | None = None  # (nH,nW,3) uint8: the same in more detail, if the photo and the system allow it


class Request(NamedTuple):
    """One image to generate from a user's own photos."""

    sources: tuple[Framed, ...]  # at least one, the most similar to the target first
    pose: np.ndarray  # (K,2) in px of the frame, NaN for missing


class Job(NamedTuple):
    """One image to generate: the names of its sources (the pair's own first) and of the target photo."""

    sources: tuple[str, ...]
    target: str


class Done(NamedTuple):
    """The images of n jobs, with the targets' photos and their keypoints in px of the frame."""

    jobs: Sequence[Job]
    generated: np.ndarray  # (n,H,W,3) uint8
    target: np.ndarray  # (n,H,W,3) uint8
    keypoints: np.ndarray  # (n,K,2) float32


def jobs_of_pairs(pairs: "pd.DataFrame", items: "pd.DataFrame", max_sources: int) -> list[Job]:
    """Return test pairs as jobs: the pair's source, then the item's other photos except the target (R11, R12)."""
    photos_of = {item: list(group) for item, group in items.groupby("item", sort=False)["name"]}
    item_of = dict(zip(items["name"], items["item"], strict=True))
    jobs = []
    for source, target in zip(pairs["from"], pairs["to"], strict=True):
        rest = [name for name in photos_of[item_of[source]] if name not in (source, target)]
        jobs.append(Job((source, *rest)[:max_sources], target))
    return jobs


@torch.no_grad()
def generate_jobs(system: System, jobs: Sequence[Job], photos: "Photos", device: torch.device) -> Iterator[Done]:
    """Yield the images of jobs over photos of a split, TARGETS_AT_ONCE per call of the system."""
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
def generate(
    system: System, requests: Sequence[Request], line_width: float, device: torch.device
) -> Iterator[np.ndarray]:
    """Yield one image (H,W,3) uint8 per request, `at_once` per call of the system.

    Photos that requests share (the same object) are encoded once per call. `line_width` is that of a limb, as in training.
    If a request has a finer photo, the others of the request are enlarged.
    """
    for some in _alike(requests):
        photos = list({id(photo): photo for request in some for photo in request.sources}.values())
        row = {id(photo): number for number, photo in enumerate(photos)}
        images = to_tensor(_stacked(photos)).to(device)
        keypoints = np.stack([photo.keypoints for photo in photos] + [request.pose for request in some])
        known = torch.from_numpy(keypoints.astype(np.float32)).to(device)
        height, width = photos[0].pixels.shape[:2]
        poses = Poses(colour(draw(known, height=height, width=width, line_width=line_width)), known)
        sources, mask = _index([[row[id(photo)] for photo in request.sources] for request in some], device)
        generated = system.generate(images, poses[: len(photos)], sources, mask, poses[len(photos) :])
        yield from to_uint8(generated)


def at_once(height: int, width: int) -> int:
    """How many images of a height and width in px are generated per call of the system: fewer if they are large."""
    return max(1, min(TARGETS_AT_ONCE, _PIXELS_AT_ONCE // (height * width)))


def _alike(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """The requests in order, `at_once` at a time, those with finer photos apart from those without."""
    for _, group in groupby(requests, lambda request: any(photo.finer is not None for photo in request.sources)):
        of = list(group)
        count = at_once(*of[0].sources[0].pixels.shape[:2])
        yield from (of[first : first + count] for first in range(0, len(of), count))


def _stacked(photos: Sequence[Framed]) -> np.ndarray:
    """The pixels of photos (n,H,W,3) uint8, as fine as the finest."""
    factor = max(len(photo.finer) // len(photo.pixels) if photo.finer is not None else 1 for photo in photos)
    return np.stack([
        photo.pixels.repeat(factor, 0).repeat(factor, 1) if photo.finer is None else photo.finer for photo in photos
    ])  # fmt: skip


def _index(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as (Q,T) int64, padded with their last entry, and the mask (Q,T) of entries other than padding."""
    most = max(len(row) for row in rows)
    index = torch.tensor([[*row, *[row[-1]] * (most - len(row))] for row in rows], device=device)
    mask = torch.tensor([[i < len(row) for i in range(most)] for row in rows], device=device)
    return index, mask
