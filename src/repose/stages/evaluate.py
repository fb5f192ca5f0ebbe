"""evaluate: what each trained system makes of the test pairs, and how far that is from the real photos.

The folder `results` then holds

| file | what |
|---|---|
| table.md, table.csv | the scores of each system beside the baselines, with split, protocol, size and number of pairs |
| pairs.csv | every score of every pair: for the eye, for bootstraps, for later metrics |
| picture.png | a row per pair: its sources, the target's pose, the target, one column per system |
| generated/SYSTEM/ | what the system made: tar shards of PNG files and their index |
| plots/ | what `dvc plots` draws |

and the file `metrics` has the means, for `dvc metrics`. Two baselines need no training: to copy the pair's source, and to
take the mean of all sources. A number means little without its protocol, so each is named by it (see `metrics.ssim`), and
SSIM does not see a garment (a grey dummy in the right pose beats copying the source), so garment-de stands beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from repose import checkpoint
from repose.checkpoint import About
from repose.data.images import encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import ITEMS, PAIRS, read_json, read_table, write_json, write_table
from repose.data.shards import INDEX_COLUMNS, ShardWriter, index_table
from repose.devices import set_up
from repose.errors import ReposeError
from repose.files import whole_folder, write_bytes, write_text
from repose.generate import TARGETS_AT_ONCE, Done, Job, generate_jobs, jobs_of_pairs
from repose.metrics.garment import garment_de
from repose.metrics.ssim import ssim, ssim_protocols_for
from repose.pictures import grid
from repose.systems import Row, System
from repose.terminal import bar, say, show

COPY, MEAN = "copy source", "mean of sources"
MOST_SOURCES = 4  # of the baseline: a garment has at most five photos (R10)
GARMENT_DE = "garment-de"


@dataclass(frozen=True)
class EvaluateSettings:
    """The block `evaluate` of params.yaml."""

    systems: tuple[str, ...]  # rows of the table, in its order; the pipeline trains these
    pairs: int | None  # at most so many test pairs, evenly spread over the split's; null: all
    single_source: bool  # score systems that take several sources also with the pair's source alone
    picture_pairs: int  # rows of the picture
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda where there is one
    threads: int  # CPU threads of torch
    shard_megabytes: int  # MiB of a tar shard of generated images

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("systems is empty. Name at least one of the rows under systems.")
        if len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems names a row twice: {', '.join(self.systems)}.")
        for name in ("pairs", "picture_pairs", "threads", "shard_megabytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} should be at least 1, not {value}.")


@dataclass(frozen=True)
class Folders:
    """What evaluation reads."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path
    runs: Path  # holds runs/SYSTEM/model.safetensors and run.json for each of the systems


class Contestant(NamedTuple):
    """A row of the table: its name, how many sources it takes, and how it makes its images."""

    name: str
    most_sources: int
    images: Callable[[Sequence[Job]], Iterator[Done]]


def run(*, folders: Folders, results: Path, metrics: Path, settings: EvaluateSettings) -> None:
    """Score the chosen systems and the baselines; write the folder `results` and the file `metrics`.

    Raises:
        ReposeError: a run is missing or of other settings, no pair, no photo for a pair, or the disk is full.
    """
    device = set_up(settings.device, settings.threads, seed=0)
    photos = Photos(images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps, cache_megabytes=64)
    items = read_table(folders.split / "items.csv", ITEMS)
    pairs = _chosen(read_table(folders.split / "test-pairs.csv", PAIRS), settings.pairs, folders.split)
    split = read_json(folders.split / "split.json")
    protocols = ssim_protocols_for(photos.frame.height, photos.frame.width)
    contestants = [*_baselines(photos), *_systems(settings, folders.runs, photos, device)]
    notes = [_note(name, folders.runs / name) for name in settings.systems]
    test_items = items[items["part"] == "test"]
    with whole_folder(results) as folder:
        tables = []
        for contestant in contestants:
            jobs = jobs_of_pairs(pairs, test_items, contestant.most_sources)
            done = bar(contestant.images(jobs), f"evaluate {contestant.name}", -(-len(jobs) // TARGETS_AT_ONCE))
            scores = _scores(contestant, done, protocols, folder, settings)
            tables.append(scores.assign(split=split["mode"]))
        table = pd.concat(tables, ignore_index=True)
        means = _means(table, protocols)
        facts = _facts(split, pairs, photos)
        write_text(folder / "pairs.csv", table.to_csv(index=False, lineterminator="\n", float_format="%.10g"))
        write_text(folder / "table.csv", means.to_csv(lineterminator="\n", float_format="%.6f"))
        write_text(folder / "table.md", _markdown(means, facts, notes))
        _write_plots(folder / "plots", table, means)
        picture = _picture(pairs, test_items, photos, contestants, settings)
        write_bytes(folder / "picture.png", encode_png(picture))
    write_json(metrics, _record(means, facts))
    _say_table(means, facts)
    say(f"The picture: {results / 'picture.png'}")


def _chosen(pairs: pd.DataFrame, most: int | None, split: Path) -> pd.DataFrame:
    """At most so many pairs, evenly spread over the split's."""
    if pairs.empty:
        raise ReposeError(
            f"{split / 'test-pairs.csv'} has no pair, so there is nothing to evaluate. See the block split."
        )
    if most is None or most >= len(pairs):
        return pairs
    return pairs.iloc[np.linspace(0, len(pairs) - 1, most).round().astype(int)].reset_index(drop=True)


def _baselines(photos: Photos) -> list[Contestant]:
    """The two rows that need no training."""

    def images(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Sequence[Job]], Iterator[Done]]:
        def all_of(jobs: Sequence[Job]) -> Iterator[Done]:
            for first in range(0, len(jobs), TARGETS_AT_ONCE):
                some = jobs[first : first + TARGETS_AT_ONCE]
                made = np.stack([make(photos.load(job.sources).pixels) for job in some])
                target = photos.load([job.target for job in some])
                yield Done(some, made, target.pixels, target.keypoints)

        return all_of

    return [
        Contestant(COPY, 1, images(lambda sources: sources[0])),
        Contestant(MEAN, MOST_SOURCES, images(lambda sources: sources.mean(0).round().astype(np.uint8))),
    ]


def _systems(settings: EvaluateSettings, runs: Path, photos: Photos, device: torch.device) -> Iterator[Contestant]:
    for name in settings.systems:
        path = runs / name / "model.safetensors"
        system, about = checkpoint.load(path, device)
        _check_run(path, name, about, photos)
        most = about.row.most_sources

        def images(jobs: Sequence[Job], system: System = system) -> Iterator[Done]:
            return generate_jobs(system, jobs, photos, device)

        yield Contestant(name, most, images)
        if settings.single_source and most > 1:
            yield Contestant(f"{name}, 1 source", 1, images)


def _check_run(path: Path, name: str, about: About, photos: Photos) -> None:
    if about.system != name:
        raise ReposeError(
            f"{path} is a model of the system {about.system}, not of {name}. Run `dvc repro train@{name}`."
        )
    if (about.frame, about.thickness) != (photos.frame, photos.thickness):
        raise ReposeError(
            f"{path} was trained at {about.frame.height}x{about.frame.width} px (height x width) with limbs of "
            f"{about.thickness:g} px, the pose maps are {photos.frame.height}x{photos.frame.width} px with "
            f"{photos.thickness:g} px. Run `dvc repro train@{name}`."
        )


def _scores(
    contestant: Contestant, done: Iterator[Done], protocols: Sequence[str], folder: Path, settings: EvaluateSettings
) -> pd.DataFrame:
    """A row per pair; the images of trained systems go to shards on the way."""
    rows, places = [], []
    trained = contestant.name in settings.systems
    place = folder / "generated" / contestant.name if trained else folder
    place.mkdir(parents=True, exist_ok=True)
    with ShardWriter(place, settings.shard_megabytes * 2**20) as shards:
        for part in done:
            scores = {f"ssim/{name}": ssim(part.generated, part.target, name).numpy() for name in protocols}
            scores[GARMENT_DE] = garment_de(part.generated, part.target, part.keypoints)
            for number, job in enumerate(part.jobs):
                rows.append(
                    {"system": contestant.name, "from": job.sources[0], "to": job.target, "sources": len(job.sources)}
                    | {name: float(values[number]) for name, values in scores.items()}
                )
                if trained:
                    name = f"{job.sources[0]}--{job.target}.png"
                    places.append((name, shards.add(name, encode_png(part.generated[number]))))
    if trained:
        write_table(place / "generated.csv", index_table(places), INDEX_COLUMNS)
    return pd.DataFrame(rows)


def _means(table: pd.DataFrame, protocols: Sequence[str]) -> pd.DataFrame:
    """A row per contestant, in the order of the table: the mean of each score, and of how many pairs garment-de is."""
    scores = [*(f"ssim/{name}" for name in protocols), GARMENT_DE]
    groups = table.groupby("system", sort=False)
    means = groups[scores].mean()
    means[f"{GARMENT_DE} pairs"] = groups[GARMENT_DE].count()
    return means


def _facts(split: dict[str, Any], pairs: pd.DataFrame, photos: Photos) -> dict[str, Any]:
    """What a number must say of itself."""
    return {
        "split": split["mode"],
        "pairs": len(pairs),
        "size": f"{photos.frame.height}x{photos.frame.width}",
        "crop": list(photos.frame.crop) if photos.frame.crop else None,
    }


def _record(means: pd.DataFrame, facts: dict[str, Any]) -> dict[str, Any]:
    scores = {
        str(system): {str(name): None if np.isnan(value) else float(f"{value:.10g}") for name, value in row.items()}
        for system, row in means.iterrows()
    }
    return {"protocol": facts, "scores": scores}


def _markdown(means: pd.DataFrame, facts: dict[str, Any], notes: Sequence[str]) -> str:
    """The table as a page says it, with what was trained on what."""
    head = ["system", *means.columns[:-1]]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for system, row in means.iterrows():
        lines.append(f"| {system} | {' | '.join(_shown(str(n), v) for n, v in row.iloc[:-1].items())} |")
    left_out = facts["pairs"] - int(means[f"{GARMENT_DE} pairs"].min())
    crop = ", ".join(f"{side:g}" for side in facts["crop"] or ())
    said = [
        f"Split {facts['split']}, {facts['pairs']:,} test pairs, {facts['size']} px (height x width)"
        + (f", cropped to {crop} (left, top, right, bottom in px of the photo)." if crop else "."),
        "SSIM: higher is better, at most 1; the protocol stands after the slash. garment-de: mean CIEDE2000 inside the "
        f"target's torso, lower is better; {left_out} pairs without a whole torso are left out of it.",
        *notes,
    ]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in said)]) + "\n"


def _note(name: str, run: Path) -> str:
    """How a system was trained."""
    about, record = checkpoint.read_about(run / "model.safetensors"), read_json(run / "run.json")
    parameters = ", ".join(f"{network} {count:,}" for network, count in record["parameters"].items())
    layers = record["perceptual"]
    left_out = "perceptual" in about.row.loss_weights() and layers is None
    return (
        f"{name}: {about.step:,} steps of {about.row.items_per_step} item(s), seed {record['seed']}, {record['device']}, "
        f"{record['precision']}; parameters: {parameters}; {_terms(about.row, layers)}."
        + (" The perceptual term of Eq. 1 is left out: train.perceptual.weights is null." if left_out else "")
    )


def _terms(row: Row, layers: str | None) -> str:
    """The loss's terms with their weights; the perceptual one, if it was there, with its layers."""
    there = row.loss_weights()
    if "perceptual" in there:
        w = there.pop("perceptual")
        there |= {f"perceptual ({layers})": w} if layers else {}
    return "loss " + ", ".join(f"{name} {w:g}" for name, w in there.items())


def _shown(name: str, value: float) -> str:
    return f"{value:.2f}" if name == GARMENT_DE else f"{value:.4f}"


def _write_plots(folder: Path, table: pd.DataFrame, means: pd.DataFrame) -> None:
    """CSVs for `dvc plots`: the mean of each score by system, and garment-de by the number of sources."""
    folder.mkdir()
    scores = means.columns[:-1]
    long = means[scores].reset_index().melt("system", var_name="metric", value_name="value")
    write_text(folder / "scores.csv", long.to_csv(index=False, lineterminator="\n", float_format="%.6f"))
    by_sources = table.groupby(["system", "sources"], sort=False)[list(scores)].mean().reset_index()
    write_text(folder / "sources.csv", by_sources.to_csv(index=False, lineterminator="\n", float_format="%.6f"))


def _picture(
    pairs: pd.DataFrame,
    items: pd.DataFrame,
    photos: Photos,
    contestants: Sequence[Contestant],
    settings: EvaluateSettings,
) -> np.ndarray:
    """The paper's figure 3: sources | target pose | target | one column per system, for a few pairs."""
    few = _chosen(pairs, settings.picture_pairs, Path())
    shown = [c for c in contestants if c.name in settings.systems]
    made = [
        [image for done in c.images(jobs_of_pairs(few, items, c.most_sources)) for image in done.generated]
        for c in shown
    ]
    jobs = jobs_of_pairs(few, items, max(c.most_sources for c in shown))
    most, rows = max(len(job.sources) for job in jobs), []
    for number, job in enumerate(jobs):
        sources, target = photos.load(job.sources), photos.load([job.target])
        empty: list[np.ndarray | None] = [None] * (most - len(job.sources))
        pose = PALETTE[target.maps[0]]
        rows.append([*sources.pixels, *empty, pose, target.pixels[0], *(images[number] for images in made)])
    titles = ["source", *[f"source {n}" for n in range(2, most + 1)], "target pose", "target", *(c.name for c in shown)]
    return grid(rows, titles)


def _say_table(means: pd.DataFrame, facts: dict[str, Any]) -> None:
    """Print the table; the best of each column stands out."""
    from rich.table import Table

    table = Table(title=f"{facts['pairs']:,} test pairs of the split {facts['split']}, {facts['size']} px")
    table.add_column("system")
    for name in means.columns[:-1]:
        table.add_column(str(name), justify="right")
    best = {str(n): means[n].min() if n == GARMENT_DE else means[n].max() for n in means.columns[:-1]}
    for system, row in means.iterrows():
        scores = [(str(name), float(value)) for name, value in row.iloc[:-1].items()]
        cells = [f"[bold]{_shown(n, v)}[/bold]" if v == best[n] else _shown(n, v) for n, v in scores]
        table.add_row(str(system), *cells)
    show(table)
