"""The paper's figure 3 for a page: sources, target pose, target, a column per system; each image lies in the page once."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from repose.data.images import decode, encode_jpeg, encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import OCCLUSION
from repose.data.shards import ShardReader
from repose.generate import Job


class Place(NamedTuple):
    """One image of a figure."""

    image: str  # its name in the gallery
    column: str  # its title
    shows: str  # for those who do not see it
    score: str = ""  # below it


class Line(NamedTuple):
    """A row of a figure: one pair."""

    title: str  # of what to what
    note: str
    places: list[Place | None]  # a column each; None where the pair has fewer sources


class Figure(NamedTuple):
    """Columns and rows."""

    sources: int  # the first columns; then target pose and target, then a column per system
    systems: list[str]
    lines: list[Line]


class Gallery:
    """The images of a page by name, each as a data URI."""

    def __init__(self, quality: int) -> None:
        self.images: dict[str, str] = {}
        self._quality, self._name = quality, dict[tuple[str, str], str]()

    def photo(self, kind: str, name: str, pixels: np.ndarray) -> str:
        """Keep a photo (H,W,3) uint8, as JPEG, unless one of that kind and name is there; the name in the gallery."""
        return self._keep(kind, name, lambda: ("image/jpeg", encode_jpeg(pixels, self._quality)))

    def pose(self, name: str, indices: np.ndarray) -> str:
        """Keep a pose map (H,W) uint8, without loss; the name in the gallery."""
        return self._keep("pose", name, lambda: ("image/png", encode_png(indices, PALETTE)))

    def _keep(self, kind: str, name: str, encoded: Callable[[], tuple[str, bytes]]) -> str:
        if (kind, name) not in self._name:
            own = self._name[kind, name] = f"i{len(self._name)}"
            media, content = encoded()
            self.images[own] = f"data:{media};base64,{base64.b64encode(content).decode()}"
        return self._name[kind, name]


class Artist:
    """Draws figures of pairs into a gallery."""

    def __init__(
        self, gallery: Gallery, photos: Photos, generated: Mapping[str, ShardReader], pairs: pd.DataFrame,
        jobs: Sequence[Job], views: Mapping[str, str], items: Mapping[str, str],
    ) -> None:  # fmt: skip
        """What figures are made of.

        Args:
            gallery: where images go.
            photos: every photo of the split, by name.
            generated: by system, the images `FROM--TO.png` that it made.
            pairs: from, to and occlusion.
            jobs: of the same pairs, with their sources.
            views: the view of each photo, by its name.
            items: likewise the item.
        """
        self._gallery, self._photos, self._generated = gallery, photos, generated
        self._pairs, self._jobs, self._views, self._items = pairs, jobs, views, items

    def figure(self, places: Sequence[int], scores: Mapping[str, Sequence[str]] | None = None) -> Figure:
        """The pairs at these places, in that order; `scores` are, by system, what stands below its image of each."""
        jobs = [self._jobs[place] for place in places]
        most = max((len(job.sources) for job in jobs), default=0)
        lines = [self._line(place, most, number, scores or {}) for number, place in enumerate(places)]
        return Figure(most, list(self._generated), lines)

    def _line(self, place: int, most: int, number: int, scores: Mapping[str, Sequence[str]]) -> Line:
        job, occlusion = self._jobs[place], float(self._pairs[OCCLUSION].iloc[place])
        title = f"{self._view(job.sources[0])} to {self._view(job.target)}"
        hides = "" if np.isnan(occlusion) else f", of which the first source hides {100 * occlusion:.0f} %"
        note = f"{self._items[job.target]}{hides}"
        return Line(title, note, [*self._given(job, most), *self._made(job, number, scores)])

    def _given(self, job: Job, most: int) -> list[Place | None]:
        """Sources, target pose and target."""
        sources, target = self._photos.load(job.sources), self._photos.load([job.target])
        photo, view = self._gallery.photo, self._view
        shown: list[Place | None] = [
            Place(photo("photo", name, pixels), f"source {n}", f"Source {n}, {view(name)}")
            for n, (name, pixels) in enumerate(zip(job.sources, sources.pixels, strict=True), 1)
        ]
        return [
            *shown,
            *[None] * (most - len(job.sources)),
            Place(self._gallery.pose(job.target, target.maps[0]), "target pose", "Pose map of the target"),
            Place(photo("photo", job.target, target.pixels[0]), "target", f"Target, {view(job.target)}"),
        ]

    def _made(self, job: Job, number: int, scores: Mapping[str, Sequence[str]]) -> list[Place]:
        name, places = f"{job.sources[0]}--{job.target}.png", []
        for system, images in self._generated.items():
            image = self._gallery.photo(f"made by {system}", name, decode(images[name]))
            score = scores[system][number] if system in scores else ""
            places.append(Place(image, system, f"Made by {system}", score))
        return places

    def _view(self, name: str) -> str:
        return self._views[name] or "a view that is not known"
