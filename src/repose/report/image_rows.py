"""Rows of images for a page, as in the paper's figure 3: sources, target pose, target, then what each system made."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from repose.data.images import decode, encode_jpeg, encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import OCCLUSION
from repose.data.shards import ShardReader
from repose.evaluation.results import image_name
from repose.generate import Job


class Place(NamedTuple):
    """One image of a row."""

    image: str  # its id in the page
    column: str  # its title
    shows: str  # its text for screen readers
    score: str = ""  # below it


class Line(NamedTuple):
    """One pair."""

    title: str
    note: str
    places: list[Place | None]  # one for each column; None where the pair has fewer sources


class ImageRows(NamedTuple):
    """Pairs under the titles of their columns."""

    sources: int  # the number of columns of sources; then come target pose, target and a column per system
    systems: list[str]
    lines: list[Line]


@dataclass
class Artist:
    """Lays out pairs, and stores each image of the page once."""

    photos: Photos  # of the split
    generated: Mapping[str, ShardReader]  # by system
    pairs: pd.DataFrame  # from, to and occlusion
    jobs: Sequence[Job]  # of the same pairs, with their sources
    views: Mapping[str, str]  # by photo
    items: Mapping[str, str]  # by photo
    quality: int  # of JPEG
    images: dict[str, str] = field(default_factory=dict)  # stored so far: data URIs by id
    _ids: dict[tuple[str, str], str] = field(default_factory=dict)  # by kind and name

    def rows(self, places: Sequence[int], scores: Mapping[str, Sequence[str]] | None = None) -> ImageRows:
        """The pairs at these places, in that order; `scores` has, by system, the text below each of its images."""
        sources = max((len(self.jobs[place].sources) for place in places), default=0)
        lines = []
        for number, place in enumerate(places):
            below = {system: texts[number] for system, texts in (scores or {}).items()}
            lines.append(self._line(self.jobs[place], float(self.pairs[OCCLUSION].iloc[place]), sources, below))
        return ImageRows(sources, list(self.generated), lines)

    def _line(self, job: Job, occlusion: float, columns: int, scores: Mapping[str, str]) -> Line:
        """A pair in so many columns of sources."""
        hides = "" if np.isnan(occlusion) else f", of which the first source hides {100 * occlusion:.0f} %"
        given, target = self.photos.load(job.sources), self.photos.load([job.target])
        places: list[Place | None] = [
            Place(self._stored("photo", name, pixels), f"source {n}", f"Source {n}, {self._view(name)}")
            for n, (name, pixels) in enumerate(zip(job.sources, given.pixels, strict=True), 1)
        ]
        places += [None] * (columns - len(job.sources))
        pose, photo = (
            self._stored("pose", job.target, target.maps[0]),
            self._stored("photo", job.target, target.pixels[0]),
        )
        places.append(Place(pose, "target pose", "Pose map of the target"))
        places.append(Place(photo, "target", f"Target, {self._view(job.target)}"))
        name = image_name(job.sources[0], job.target)
        for system, images in self.generated.items():
            shows = f"Made by {system}"
            image = self._stored(shows, name, decode(images[name]))
            places.append(Place(image, system, shows, scores.get(system, "")))
        title = f"{self._view(job.sources[0])} to {self._view(job.target)}"
        return Line(title, f"{self.items[job.target]}{hides}", places)

    def _stored(self, kind: str, name: str, pixels: np.ndarray) -> str:
        """The id of an image: a photo (H,W,3) uint8 is stored as JPEG, a pose map (H,W) uint8 without loss."""
        if (kind, name) not in self._ids:
            own = self._ids[kind, name] = f"i{len(self._ids)}"
            media = "png" if kind == "pose" else "jpeg"
            content = encode_png(pixels, PALETTE) if kind == "pose" else encode_jpeg(pixels, self.quality)
            self.images[own] = f"data:image/{media};base64,{base64.b64encode(content).decode()}"
        return self._ids[kind, name]

    def _view(self, name: str) -> str:
        return self.views[name] or "a view that is not known"
