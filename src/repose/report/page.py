"""The page of a run: scores, images, curves, checks and costs, formatted for its template."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from repose.data.images import decode, encode_jpeg, encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import OCCLUSION
from repose.data.shards import ShardReader
from repose.evaluation.results import extremes, image_name
from repose.generate import Job
from repose.metrics.provenance import NONE, Better, in_words
from repose.report.gates import GatesSettings
from repose.report.published import Published
from repose.report.records import Training
from repose.report.scores import Group, Scores, by_kind
from repose.validation.page import template


@dataclass(frozen=True)
class Content:
    """The content of a page."""

    scores: Scores
    gates: GatesSettings
    views: Mapping[str, str]  # by photo
    published: Published
    training: Sequence[Training]
    checks: Mapping[str, Mapping[str, Any]]  # by stage: validation.json
    pictures: Mapping[str, Sequence[int]]  # positions of the pairs to show, by title
    extremes: int  # number of best pairs, and of worst pairs


class Cell(NamedTuple):
    """A number in a table."""

    text: str
    under: str = ""  # small print below the number
    marked: bool = False  # as the best


class Row(NamedTuple):
    """A row of numbers."""

    name: str
    note: str
    cells: list[Cell]


def page(content: Content, artist: "Artist") -> str:
    """The page as HTML."""
    scores, printed = content.scores, content.published
    return template("repose.report", "run.html.jinja").render(
        content=content,
        artist=artist,
        frame=artist.photos.frame,
        metrics={name: f"{better} is better" for name, better in scores.better.items()},
        whole=[name for name in scores.better if name not in scores.by_pair],
        protocol={key: in_words(value) for key, value in scores.protocol.items()},
        digests=[key for key in scores.protocol if key.endswith("sha256")],
        rows=_score_rows(content),
        printed={data: [row for (of, _), row in printed.items() if of == data] for data, _ in printed},
        pictures=[(title, artist.rows(places)) for title, places in content.pictures.items()],
        extremes=_extremes(content, artist),
        breakdowns=_breakdowns(content),
        occlusion_known=int(scores.pairs["occlusion"].notna().sum()),
    )


def _decimals(values: Sequence[float]) -> int:
    """The decimals of all numbers in a column: three if they are below 10, otherwise two."""
    return 3 if max((abs(value) for value in values if math.isfinite(value)), default=0) < 10 else 2


def _text(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else NONE


def _best(values: Sequence[float], better: Better) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return (max if better == "higher" else min)(finite, default=None)


def _score_rows(content: Content) -> list[Row]:
    scores, found = content.scores, content.scores.intervals(content.gates)
    columns = {metric: [row[metric] for row in scores.means.values()] for metric in scores.better}
    rows = []
    for row, own in scores.means.items():
        cells = []
        for metric, column in columns.items():
            value, decimals, under = own[metric], _decimals(column), []
            if metric in found and math.isfinite(value):
                under.append(f"{found[metric][row].low:.{decimals}f} to {found[metric][row].high:.{decimals}f}")
            if metric in found and (count := int(np.isfinite(scores.by_pair[metric][row]).sum())) < len(scores.pairs):
                under.append(f"of {count:,} pairs")
            best = value == _best(column, scores.better[metric])
            cells.append(Cell(_text(value, decimals), ", ".join(under), best))
        rows.append(Row(row, "", cells))
    return rows


def _extremes(content: Content, artist: "Artist") -> list[dict[str, Any]]:
    """The best and the worst pairs of each system by each metric of pairs."""
    found = []
    systems = [training.system for training in content.training]
    for metric, rows in content.scores.by_pair.items():
        decimals = _decimals([value for system in systems for value in rows[system]])
        for system in systems:
            best, worst = (
                artist.rows(
                    places, {name: [_text(rows[name][place], decimals) for place in places] for name in systems}
                )
                for places in extremes(rows[system], content.scores.better[metric], content.extremes)
            )
            found.append({"metric": metric, "system": system, "best": best, "worst": worst})
    return found


def _breakdowns(content: Content) -> list[dict[str, Any]]:
    """The tables by kind of pair, for each metric that is computed per pair."""
    kinds, better = by_kind(content.scores, content.views), content.scores.better
    return [
        {
            "metric": metric,
            "head": list(rows),
            "tables": {title: _group_rows(groups, metric, better[metric]) for title, groups in kinds.items()},
        }
        for metric, rows in content.scores.by_pair.items()
    ]


def _group_rows(groups: Sequence[Group], metric: str, better: Better) -> list[Row]:
    decimals = _decimals([value for group in groups for value in group.means[metric].values()])
    rows = []
    for group in groups:
        own = group.means[metric]
        best = _best(list(own.values()), better)
        cells = [Cell(_text(value, decimals), marked=value == best) for value in own.values()]
        rows.append(Row(group.name, f"{group.pairs:,}", cells))
    return rows


class Place(NamedTuple):
    """One image of a row."""

    image: str  # its id on the page
    column: str  # title of the column
    shows: str  # text for screen readers
    score: str = ""  # text below the image


@dataclass
class Artist:
    """Lays out pairs as rows of images and stores each image of the page once."""

    photos: Photos  # of the split
    generated: Mapping[str, ShardReader]  # by system
    pairs: pd.DataFrame  # from, to and occlusion
    jobs: Sequence[Job]  # one per pair, with its sources
    views: Mapping[str, str]  # by photo
    items: Mapping[str, str]  # by photo
    quality: int  # JPEG quality
    images: dict[str, str] = field(default_factory=dict)  # data URIs by id
    _ids: dict[tuple[str, str], str] = field(default_factory=dict)  # by kind and name

    def rows(self, places: Sequence[int], scores: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
        """The rows of the pairs at these positions, in this order, for the template.

        `scores` maps a system to the texts below its images. Returns the number of source columns, which target pose, target
        and one column per system follow; the systems; and a line per pair: title, note and Places, None for no source.
        """
        sources = max((len(self.jobs[place].sources) for place in places), default=0)
        lines = []
        for number, place in enumerate(places):
            below = {system: texts[number] for system, texts in (scores or {}).items()}
            lines.append(self._line(self.jobs[place], float(self.pairs[OCCLUSION].iloc[place]), sources, below))
        return {"sources": sources, "systems": list(self.generated), "lines": lines}

    def _line(self, job: Job, occlusion: float, columns: int, scores: Mapping[str, str]) -> dict[str, Any]:
        """The row of a pair, with `columns` source columns."""
        hides = "" if np.isnan(occlusion) else f", {100 * occlusion:.0f} % of the garment hidden in the first source"
        given, target = self.photos.load(job.sources), self.photos.load([job.target])
        places: list[Place | None] = [
            Place(self._stored("photo", name, pixels), f"source {n}", f"Source {n}, {self._view(name)}")
            for n, (name, pixels) in enumerate(zip(job.sources, given.pixels, strict=True), 1)
        ]
        places += [None] * (columns - len(job.sources))
        pose = self._stored("pose", job.target, target.maps[0])
        photo = self._stored("photo", job.target, target.pixels[0])
        places.append(Place(pose, "target pose", "Pose map of the target"))
        places.append(Place(photo, "target", f"Target, {self._view(job.target)}"))
        name = image_name(job.sources[0], job.target)
        for system, images in self.generated.items():
            shows = f"Generated by {system}"
            image = self._stored(shows, name, images.decoded(name, decode))
            places.append(Place(image, system, shows, scores.get(system, "")))
        title = f"{self._view(job.sources[0])} to {self._view(job.target)}"
        return {"title": title, "note": f"{self.items[job.target]}{hides}", "places": places}

    def _stored(self, kind: str, name: str, pixels: np.ndarray) -> str:
        """Store an image and return its id: a photo (H,W,3) uint8 as JPEG, a pose map (H,W) uint8 as PNG."""
        if (kind, name) not in self._ids:
            own = self._ids[kind, name] = f"i{len(self._ids)}"
            media = "png" if kind == "pose" else "jpeg"
            content = encode_png(pixels, PALETTE) if kind == "pose" else encode_jpeg(pixels, self.quality)
            self.images[own] = f"data:image/{media};base64,{base64.b64encode(content).decode()}"
        return self._ids[kind, name]

    def _view(self, name: str) -> str:
        return self.views[name] or "unknown view"
