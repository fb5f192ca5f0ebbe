"""What the page says, put into the words and numbers of its template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from repose.evaluation.pair_choice import extremes
from repose.metrics.bootstrap import Interval
from repose.metrics.provenance import NONE, Better, in_words
from repose.report.figures import Artist, Figure, Gallery
from repose.report.gates import GatesSettings
from repose.report.records import Checked, Training
from repose.report.scores import Group, Scores, by_hidden, by_sources, by_view, intervals
from repose.validation.page import template


@dataclass(frozen=True)
class Content:
    """What a page is made of."""

    scores: Scores
    gates: GatesSettings
    views: Mapping[str, str]  # by photo
    published: pd.DataFrame
    training: Sequence[Training]
    checks: Sequence[Checked]
    fixed: Sequence[int]  # pairs, by their places
    drawn: Sequence[int]
    extremes: int
    seed: int
    quality: int
    height: int  # px of the images
    width: int


class Cell(NamedTuple):
    """A number of a table."""

    text: str
    under: str = ""
    best: bool = False


class Row(NamedTuple):
    """A row of numbers."""

    name: str
    note: str
    cells: list[Cell]


class Table(NamedTuple):
    """Numbers under their heads."""

    title: str
    head: list[str]
    rows: list[Row]


class Extremes(NamedTuple):
    """The best and the worst pairs of a system by a metric."""

    metric: str
    system: str
    best: Figure
    worst: Figure


class Breakdown(NamedTuple):
    """A metric by what pairs ask for."""

    metric: str
    tables: list[Table]


def page(content: Content, artist: Artist, gallery: Gallery) -> str:
    """The page as HTML; figures are drawn by `artist` into `gallery`."""
    scores = content.scores
    metrics = {name: _direction(scores.better.get(name)) for name in scores.metrics}
    return template("repose.report", "run.html.jinja").render(
        content=content,
        metrics=metrics,
        undirected=[name for name in metrics if name not in scores.better],
        whole=[name for name in metrics if name not in scores.by_pair],
        protocol={key: in_words(value) for key, value in scores.protocol.items()},
        digests=[key for key in scores.protocol if key.endswith("sha256")],
        table=_score_table(content),
        data_sets=list(content.published["data set"].unique()),
        published=_published(content.published),
        printed_of=[
            f"{data}, split {' or '.join(rows['split'].unique())}, protocol {' or '.join(rows['protocol'].unique())}"
            for data, rows in content.published.groupby("data set", sort=False)
        ],
        figures=[
            ("Spread over the test pairs", artist.figure(content.fixed)),
            (f"Drawn with seed {content.seed}", artist.figure(content.drawn)),
        ],
        extremes=_extremes(content, artist),
        breakdowns=[_breakdown(content, metric) for metric in scores.by_pair],
        occlusion_known=int(scores.pairs["occlusion"].notna().sum()),
        images=gallery.images,
    )


def _direction(better: Better | None) -> str:
    return f"{better} is better" if better else "which way is better is not known"


def _decimals(values: Sequence[float]) -> int:
    """Of all numbers of a column: three below 10, else two."""
    return 3 if max((abs(value) for value in values if math.isfinite(value)), default=0) < 10 else 2


def _shown(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else NONE


def _best(values: Sequence[float], better: Better | None) -> float | None:
    there = [value for value in values if math.isfinite(value)]
    return None if better is None or not there else max(there) if better == "higher" else min(there)


def _score_table(content: Content) -> Table:
    scores, found = content.scores, intervals(content.scores, content.gates)
    columns = {metric: [row.get(metric, math.nan) for row in scores.means.values()] for metric in scores.metrics}
    rows = []
    for row, own in scores.means.items():
        cells = []
        for metric, column in columns.items():
            value, decimals = own[metric], _decimals(column)
            count = scores.counts[row].get(metric, len(scores.pairs))
            under = [_bounds(found[metric][row], decimals)] if metric in found and math.isfinite(value) else []
            under += [f"of {count:,} pairs"] if count != len(scores.pairs) else []
            best = value == _best(column, scores.better.get(metric))
            cells.append(Cell(_shown(value, decimals), ", ".join(under), best))
        rows.append(Row(row, "", cells))
    return Table("Mean scores", scores.metrics, rows)


def _bounds(found: Interval, decimals: int) -> str:
    return f"{found.low:.{decimals}f} to {found.high:.{decimals}f}"


def _published(table: pd.DataFrame) -> list[Row]:
    """The printed rows, each with the name that a row of ours would have."""
    sets, rows = list(table["data set"].unique()), []
    for system, printed in table.groupby("system", sort=False):
        of = printed.set_index("data set")
        cells = [
            Cell(_shown(float(of[column].get(data, math.nan)), 3)) for data in sets for column in ("ssim", "is")
        ]  # fmt: skip
        rows.append(Row(str(printed["name"].iloc[0]), str(system), cells))
    return rows


def _extremes(content: Content, artist: Artist) -> list[Extremes]:
    """Of each metric that pairs have and whose direction is known, and of each system that made images."""
    found = []
    for metric, rows in content.scores.by_pair.items():
        better = content.scores.better.get(metric)
        if better is None:
            continue
        systems = [training.system for training in content.training]
        decimals = _decimals([value for system in systems for value in rows[system]])
        for system in systems:
            figures = [
                artist.figure(places, {name: [_shown(rows[name][place], decimals) for place in places] for name in systems})
                for places in extremes(rows[system], better, content.extremes)
            ]  # fmt: skip
            found.append(Extremes(metric, system, *figures))
    return found


def _breakdown(content: Content, metric: str) -> Breakdown:
    scores, better = content.scores, content.scores.better.get(metric)
    parts = {
        "View change": by_view(scores, content.views),
        "Sources": by_sources(scores),
        "Hidden": by_hidden(scores),
    }
    return Breakdown(metric, [_group_table(title, groups, metric, better) for title, groups in parts.items()])


def _group_table(title: str, groups: Sequence[Group], metric: str, better: Better | None) -> Table:
    decimals = _decimals([value for group in groups for value in group.means[metric].values()])
    rows = []
    for group in groups:
        own = group.means[metric]
        best = _best(list(own.values()), better)
        cells = [Cell(_shown(value, decimals), "", value == best) for value in own.values()]
        rows.append(Row(group.name, f"{group.pairs:,}", cells))
    return Table(title, list(groups[0].means[metric]), rows)
