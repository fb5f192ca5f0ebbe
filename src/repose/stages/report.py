"""report: the page of a run, `report.html`, a single self-contained file (docs/report.md).

Metrics and their directions come from the output of evaluate. The same inputs give the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field, NonNegativeInt, PositiveInt

from repose.config import settings
from repose.data.photos import Photos
from repose.data.records import IMAGES, ITEMS, PAIRS, part_names, read_parts, read_table
from repose.errors import ReposeError
from repose.evaluation.results import COPY, MEAN, drawn, read_generated, spread, with_one_source
from repose.generate import jobs_of_pairs
from repose.report.gates import GatesSettings
from repose.report.page import Artist, Content, page
from repose.report.published import read_published
from repose.report.records import read_checks, read_training
from repose.report.scores import Scores, read_scores
from repose.storage.atomic import whole_folder, write_text
from repose.terminal import say

PAGE = "report.html"


@settings
class ReportSettings:
    """The block `report` of params.yaml."""

    pairs: PositiveInt  # number of pairs spread over the test set, and of random pairs
    seed: NonNegativeInt  # of the random pairs
    extremes: PositiveInt  # number of best pairs, and of worst pairs, per metric and system
    jpeg_quality: Annotated[int, Field(ge=1, le=95)]  # of the images on the page


@dataclass(frozen=True)
class Folders:
    """The folders that the page is made from."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path
    runs: Path
    results: Path
    checks: tuple[Path, ...]  # reports of the stages that check the data


def run(
    *, folders: Folders, metrics: Path, published: Path, report: Path, settings: ReportSettings, gates: GatesSettings
) -> None:
    """Write the page of a run into the folder `report`.

    `metrics` has the mean scores, `published` is the paper's own table, and `gates` describes the bootstrap.

    Raises:
        ReposeError: an input is missing, damaged or from another run, or the disk is full.
    """
    scores, parts = read_scores(metrics, folders.results / "pairs.csv"), part_names(folders.images)
    items = read_table(folders.split / "items.csv", ITEMS)
    _check_known(scores.pairs, items, folders)
    artist = _artist(folders, scores, items, settings.jpeg_quality)
    fixed = spread(len(scores.pairs), settings.pairs)
    content = Content(
        scores=scores, gates=gates, views=artist.views, published=read_published(published),
        training=[read_training(folders.runs / system) for system in artist.generated],
        checks={stage: found for folder in folders.checks for stage, found in read_checks(folder, parts).items()},
        pictures={
            "Spread over the test pairs": fixed,
            f"Random, seed {settings.seed}": drawn(len(scores.pairs), settings.pairs, settings.seed, fixed),
        },
        extremes=settings.extremes,
    )  # fmt: skip
    with whole_folder(report, [PAGE]) as folder:
        write_text(folder / PAGE, page(content, artist))
    say(f"The report: {report / PAGE}")


def _artist(folders: Folders, scores: Scores, items: pd.DataFrame, quality: int) -> Artist:
    photos = Photos(images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps)
    table = read_parts(folders.images, part_names(folders.images), "images.csv", IMAGES)
    pairs, generated = scores.pairs[list(PAIRS)].to_numpy().tolist(), folders.results / "generated"
    without_images = (COPY, MEAN, *map(with_one_source, scores.means))
    return Artist(
        photos,
        {row: read_generated(generated / row, pairs) for row in scores.means if row not in without_images},
        scores.pairs,
        jobs_of_pairs(scores.pairs, items, int(scores.pairs["sources"].max())),
        dict(zip(table["name"], table["view"], strict=True)),
        dict(zip(items["name"], items["item"], strict=True)),
        quality,
    )


def _check_known(pairs: pd.DataFrame, items: pd.DataFrame, folders: Folders) -> None:
    unknown = sorted({*pairs["from"], *pairs["to"]} - set(items["name"]))
    if unknown:
        raise ReposeError(
            f"{folders.results / 'pairs.csv'} has {len(unknown):,} photo(s) that {folders.split / 'items.csv'} lacks, such as "
            f"{unknown[0]}: the results are from another split. Run `dvc repro evaluate`."
        )
