"""The contestants that are scored: trained systems, and baselines without training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from repose import checkpoint
from repose.checkpoint import About
from repose.data.photos import Photos
from repose.errors import ReposeError
from repose.evaluation.results import COPY, MEAN, REAL, read_whole, with_one_source
from repose.evaluation.table_text import cropped
from repose.generate import TARGETS_AT_ONCE, Done, Job, generate_jobs
from repose.storage.transfer import check
from repose.systems import System

MAX_SOURCES = 4  # for a baseline; a garment has at most five photos (R10)
RECORDED = ("images", "seed", "device", "precision", "perceptual", "parameters", "init")  # in run.json


class Contestant(NamedTuple):
    """A row of the table: its name, its number of sources, and the function that makes its images."""

    name: str
    max_sources: int
    images: Callable[[Sequence[Job]], Iterator[Done]]


class Trained(NamedTuple):
    """A trained system and its run."""

    system: System
    about: About
    record: dict[str, Any]  # run.json
    sha256: str  # of its checkpoint


def load_trained(name: str, runs: Path, photos: Photos, device: torch.device) -> Trained:
    """Return the system in the folder `runs`/`name`.

    Raises:
        ReposeError: the run is missing or damaged, is of another system, or has another frame than the photos.
    """
    path, again = runs / name / "model.safetensors", f"Run `dvc repro train@{name}`."
    system, about = checkpoint.load(path, device)
    if about.system != name:
        raise ReposeError(f"{path} is a model of the system {about.system}, not of {name}. {again}")
    if (about.frame, about.line_width) != (photos.frame, photos.line_width):
        trained, maps = (
            f"{of.frame.height}x{of.frame.width} px{cropped(of.frame.crop)}, with limbs of {of.line_width:g} px"
            for of in (about, photos)
        )
        raise ReposeError(f"{path} was trained at {trained}; the pose maps are {maps} (sizes: height x width). {again}")
    record = read_whole(runs / name / "run.json", RECORDED, f"Train {name} again.")
    return Trained(system, about, record, check(path, sha256=None, size=None, where=str(path)))


def baselines(photos: Photos, *, real: bool) -> list[Contestant]:
    """Return the baselines: copying the pair's source, and the mean of all sources; with `real`, first the target itself."""

    def made_by(make: Callable[[Job, np.ndarray], np.ndarray]) -> Callable[[Sequence[Job]], Iterator[Done]]:
        # `make` takes a job and its target, (H, W, 3) uint8
        def images(jobs: Sequence[Job]) -> Iterator[Done]:
            for first in range(0, len(jobs), TARGETS_AT_ONCE):
                some = jobs[first : first + TARGETS_AT_ONCE]
                target = photos.load([job.target for job in some])
                made = np.stack([make(job, pixels) for job, pixels in zip(some, target.pixels, strict=True)])
                yield Done(some, made, target.pixels, target.keypoints)

        return images

    found = [
        Contestant(REAL, 1, made_by(lambda _, target: target)),
        Contestant(COPY, 1, made_by(lambda job, _: photos.load(job.sources).pixels[0])),
        Contestant(
            MEAN, MAX_SOURCES, made_by(lambda job, _: photos.load(job.sources).pixels.mean(0).round().astype(np.uint8))
        ),
    ]
    return found if real else found[1:]


def contestants_of(
    trained: Mapping[str, Trained], photos: Photos, device: torch.device, *, single_source: bool
) -> Iterator[Contestant]:
    """Yield each system; with `single_source`, also with only the pair's source if it takes several."""
    for name, of in trained.items():
        most = of.about.row.max_sources
        images = partial(generate_jobs, _checked(name, of.system), photos=photos, device=device)
        yield Contestant(name, most, images)
        if single_source and most > 1:
            yield Contestant(with_one_source(name), 1, images)


def _checked(name: str, system: System) -> System:
    """A system that raises an error instead of returning NaNs, which would become black pixels."""

    def generate(*given: Any) -> torch.Tensor:
        images = system.generate(*given)
        unsound = images.isnan().flatten(1).any(1)
        if unsound.any():
            raise ReposeError(
                f"{name} made {int(unsound.sum())} of {len(images)} images with NaNs. Its training diverged: look at its "
                f"history.csv, and train it again (`dvc repro train@{name}`)."
            )
        return images

    return cast(System, SimpleNamespace(generate=generate))
