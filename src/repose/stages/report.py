"""report: one page of the run, for people: `report.html`, a file that is whole by itself.

It shows the scores with all that they say of themselves beside the numbers that the paper prints; the paper's figure 3 for
pairs that are spread over the test and for pairs that are drawn; of each metric and system the best and the worst pairs; the
scores by view change, by number of sources and by how much of the garment the source hides, each with its number of pairs;
training curves; what was checked of the data; what training cost, as far as it is the same from run to run.

Which metrics there are is read from what evaluate wrote, and which way each is better; what is no metric, such as the
deviation of one, has no best. No part of the page comes from elsewhere: images are data
URIs, and a browser that reads its policy (`default-src 'none'`) loads nothing else. Same inputs, same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from repose.config import settings
from repose.data.photos import Photos
from repose.data.records import IMAGES, ITEMS, part_names, read_parts, read_table
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.errors import ReposeError
from repose.evaluation.pair_choice import drawn, spread
from repose.generate import jobs_of_pairs
from repose.report.figures import Artist, Gallery
from repose.report.gates import GatesSettings
from repose.report.page import Content, page
from repose.report.published import read_published
from repose.report.records import read_checks, read_training
from repose.report.scores import Scores, read_scores
from repose.storage.atomic import whole_folder, write_text
from repose.terminal import say

PAGE = "report.html"


@settings
class ReportSettings:
    """The block `report` of params.yaml."""

    pairs: int  # of the figure that are spread over the test pairs, and as many that are drawn
    seed: int  # of the draw
    extremes: int  # best pairs, and as many worst, for each metric and system
    jpeg_quality: int  # of the images in the page, 1 to 95; scores are of the images without this loss

    def __post_init__(self) -> None:
        for name in ("pairs", "extremes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if self.seed < 0:
            raise ValueError(f"seed should be at least 0, not {self.seed}.")
        if not 1 <= self.jpeg_quality <= 95:
            raise ValueError(f"jpeg_quality should be from 1 to 95, not {self.jpeg_quality}.")


@dataclass(frozen=True)
class Folders:
    """What the page is made of."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path
    runs: Path
    results: Path
    checks: tuple[Path, ...]  # reports of the stages that check data


def run(
    *, folders: Folders, metrics: Path, published: Path, report: Path, settings: ReportSettings, gates: GatesSettings
) -> None:
    """Write the page of a run into the folder `report`.

    Args:
        folders: what other stages wrote.
        metrics: the file of the mean scores.
        published: the paper's own table.
        report: the folder to write.
        settings: the block `report`.
        gates: the block `gates`: how intervals are drawn.

    Raises:
        ReposeError: something is missing, damaged or of another run, or the disk is full.
    """
    scores = read_scores(metrics, folders.results / "pairs.csv")
    parts = part_names(folders.images)
    photos = Photos(images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps)
    table = read_parts(folders.images, parts, "images.csv", IMAGES)
    views = dict(zip(table["name"], table["view"], strict=True))
    items = read_table(folders.split / "items.csv", ITEMS)
    _check_known(scores.pairs, items, folders)
    generated = {row: _generated(folders.results, row, scores) for row in scores.means if _has_images(folders, row)}
    gallery = Gallery(settings.jpeg_quality)
    artist = Artist(
        gallery, photos, generated, scores.pairs,
        jobs_of_pairs(scores.pairs, items, int(scores.pairs["sources"].max())),
        views, dict(zip(items["name"], items["item"], strict=True)),
    )  # fmt: skip
    fixed = spread(len(scores.pairs), settings.pairs)
    content = Content(
        scores=scores, gates=gates, views=views, published=read_published(published),
        training=[read_training(folders.runs / system) for system in generated],
        checks=[checked for folder in folders.checks for checked in read_checks(folder, parts)],
        fixed=fixed, drawn=drawn(len(scores.pairs), settings.pairs, settings.seed, fixed),
        extremes=settings.extremes, seed=settings.seed, quality=settings.jpeg_quality,
        height=photos.frame.height, width=photos.frame.width,
    )  # fmt: skip
    with whole_folder(report) as folder:
        write_text(folder / PAGE, page(content, artist, gallery))
    say(f"The report: {report / PAGE}")


def _has_images(folders: Folders, row: str) -> bool:
    return (folders.results / "generated" / row).is_dir()


def _generated(results: Path, system: str, scores: Scores) -> ShardReader:
    folder = results / "generated" / system
    images = ShardReader(folder, read_table(folder / "generated.csv", INDEX_COLUMNS))
    missing = [
        name
        for source, target in zip(scores.pairs["from"], scores.pairs["to"], strict=True)
        if (name := f"{source}--{target}.png") not in images
    ]
    if missing:
        raise ReposeError(
            f"{folder} lacks the image of {len(missing):,} pair(s), such as {missing[0]}. Run `dvc repro evaluate`."
        )
    return images


def _check_known(pairs: pd.DataFrame, items: pd.DataFrame, folders: Folders) -> None:
    unknown = sorted({*pairs["from"], *pairs["to"]} - set(items["name"]))
    if unknown:
        raise ReposeError(
            f"{folders.results / 'pairs.csv'} names {len(unknown):,} photo(s) that {folders.split / 'items.csv'} does not, "
            f"such as {unknown[0]}. Run `dvc repro evaluate`: the results are of another split."
        )
