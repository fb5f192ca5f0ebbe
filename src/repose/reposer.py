"""A trained system as one call: photos of a garment and a target pose in, an image out.

    reposer = Reposer.load("model.safetensors")
    pixels = reposer([SourcePhoto(front, front_keypoints), SourcePhoto(side, side_keypoints)], pose)

Photos are (H, W, 3) uint8 of any size, keypoints (18, 2) in px of their photo; `data.photo_files` and `data.known_poses`
read both from files, and `jobs` makes images of many.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from repose import checkpoint
from repose.checkpoint import About
from repose.data.photo_files import Fit, fit
from repose.data.posemaps import colour, draw
from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.generate import generate_one
from repose.pictures import grid
from repose.systems import System


class SourcePhoto(NamedTuple):
    """A photo of the garment on a person."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB, upright
    keypoints: np.ndarray | None = None  # (K, 2) in px of the photo, NaN for missing; None: not known
    name: str = "a source photo"  # for messages


class TargetPose(NamedTuple):
    """The pose that the image is to show."""

    keypoints: np.ndarray  # (K, 2) in px of the image that it was measured in, NaN for missing
    height: int  # of that image in px
    width: int


class Reposer:
    """A trained system with the settings of its checkpoint; called, it makes one image.

    The same photos and pose give the same bytes, on one machine at one number of torch's threads.

    Attributes:
        about: what the checkpoint says of itself.
        most_sources: how many photos the system takes at most.
        needs_source_poses: whether each photo's keypoints must be known.
    """

    def __init__(self, system: System, about: About, device: torch.device) -> None:
        self.about = about
        self.most_sources = about.row.most_sources
        self.needs_source_poses = about.row.needs_source_poses
        self._system, self._device = system, device

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "Reposer":
        """Read a checkpoint; nothing else is needed.

        Args:
            path: of the checkpoint, such as a run's model.safetensors.
            device: where to compute, cpu or cuda.

        Raises:
            ReposeError: as `checkpoint.read_about`.
        """
        system, about = checkpoint.load(Path(path), torch.device(device))
        return cls(system, about, torch.device(device))

    def __call__(self, sources: Sequence[SourcePhoto], target: TargetPose) -> np.ndarray:
        """The garment of the photos in the target pose.

        Args:
            sources: 1 to `most_sources` photos of one garment, the one that is most like the target first.
            target: the pose to show.

        Returns:
            (height, width, 3) uint8 RGB, of the size that the system was trained at.

        Raises:
            ReposeError: too few or too many photos, or one without keypoints where they are needed.
            ValueError: pixels or keypoints of another shape or type.
        """
        self._check(sources)
        keypoints = [self._keypoints(source) for source in sources]
        return generate_one(
            self._system, sources=self._framed(sources), source_keypoints=np.stack(keypoints),
            target_keypoints=self._pose(target), thickness=self.about.thickness, device=self._device,
        )  # fmt: skip

    def picture(self, sources: Sequence[SourcePhoto], target: TargetPose, generated: np.ndarray) -> np.ndarray:
        """For people: the photos as the system saw them, the pose, and the image that came of them, in one row."""
        height, width = self.about.frame.height, self.about.frame.width
        maps = draw(self._pose(target)[None], height=height, width=width, thickness=self.about.thickness)
        titles = ["source" if len(sources) == 1 else f"source {n}" for n in range(1, len(sources) + 1)]
        return grid([[*self._framed(sources), colour(maps)[0], generated]], [*titles, "pose", "generated"])

    def _fit(self, height: int, width: int) -> Fit:
        return fit(self.about.frame, (height, width), self.about.photo_size)

    def _framed(self, sources: Sequence[SourcePhoto]) -> np.ndarray:
        return np.stack([self._fit(*source.pixels.shape[:2]).image(source.pixels) for source in sources])

    def _keypoints(self, source: SourcePhoto) -> np.ndarray:
        if not self.needs_source_poses or source.keypoints is None:
            return np.full((K, 2), np.nan, np.float32)
        return self._fit(*source.pixels.shape[:2]).keypoints(source.keypoints)

    def _pose(self, target: TargetPose) -> np.ndarray:
        _check_keypoints(target.keypoints)
        return self._fit(target.height, target.width).keypoints(target.keypoints)

    def _check(self, sources: Sequence[SourcePhoto]) -> None:
        if not 1 <= len(sources) <= self.most_sources:
            raise ReposeError(f"{self.about.system} takes 1 to {self.most_sources} source photos, not {len(sources)}.")
        for source in sources:
            if source.pixels.dtype != np.uint8 or source.pixels.ndim != 3 or source.pixels.shape[2] != 3:
                raise ValueError(
                    f"pixels should be (H, W, 3) uint8, not {source.pixels.shape} {source.pixels.dtype} ({source.name})."
                )
            if source.keypoints is not None:
                _check_keypoints(source.keypoints)
            elif self.needs_source_poses:
                raise ReposeError(f"{source.name}: {self.about.system} needs the keypoints of its source photos.")


def _check_keypoints(keypoints: np.ndarray) -> None:
    if keypoints.shape != (K, 2):
        raise ValueError(f"keypoints should be ({K}, 2), not {keypoints.shape}.")
