"""evaluate: what each trained system makes of the test pairs, and how far that is from the real photos.

The folder `results` then holds

| file | what |
|---|---|
| table.md, table.csv | the scores of each system beside the baselines, with split, protocol, size and number of pairs |
| pairs.csv | every score of every pair, with what its source hides if known: for the eye, for bootstraps, for later metrics |
| picture.png | a row per pair: its sources, the target's pose, the target, one column per system |
| generated/SYSTEM/ | what the system made: tar shards of PNG files and their index |
| plots/ | what `dvc plots` draws |

and the file `metrics` has the means, for `dvc metrics`. Two baselines need no training: to copy the pair's source, and to
take the mean of all sources. A number means little without its protocol, so each is named by it (see `metrics.ssim`), and
SSIM does not see a garment (a grey dummy in the right pose beats copying the source), so garment-de stands beside it.

With `system`, one system is scored alone, or the baselines alone (`baselines`: the two, and the real photos, which anchor the
scale), for the stage `table` to lay side by side. Then `results` holds

| file | what |
|---|---|
| pairs.csv | as above, of that system or of the baselines |
| facts.json | what a number must say of itself: split, size, number of pairs, and how the system was trained |
| generated/SYSTEM/ | as above, of a system |
| examples/ | of the baselines: sources, target's pose and target of a few pairs, in shards, with a table of what each shows |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from repose.data.records import HIDDEN, ITEMS, PAIRS, read_json, read_table, shares, write_json, write_table
from repose.data.shards import INDEX_COLUMNS, ShardWriter, index_table
from repose.devices import set_up
from repose.errors import ReposeError
from repose.files import whole_folder, write_bytes, write_text
from repose.generate import TARGETS_AT_ONCE, Done, Job, generate_jobs, jobs_of_pairs
from repose.metrics.garment import garment_de
from repose.metrics.ssim import ssim, ssim_protocols_for
from repose.pictures import grid
from repose.results import BASELINES, COPY, EXAMPLES, GARMENT_DE, MEAN, REAL, with_one_source
from repose.systems import Row, System
from repose.terminal import bar, say, show

MOST_SOURCES = 4  # of the baseline: a garment has at most five photos (R10)


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


class TestSet(NamedTuple):
    """What every contestant is scored on."""

    photos: Photos
    items: pd.DataFrame  # of the test part
    pairs: pd.DataFrame  # from, to and hidden, float64 with NaN where it is not known
    facts: dict[str, Any]  # what a number must say of itself
    protocols: list[str]  # of SSIM, as many as fit the size


class Trained(NamedTuple):
    """A system as its run left it."""

    system: System
    about: About


def run(
    *, folders: Folders, results: Path, settings: EvaluateSettings, metrics: Path | None = None, system: str | None = None
) -> None:  # fmt: skip
    """Score the chosen systems and the baselines; write the folder `results` and, if named, the file `metrics`.

    Args:
        folders: what evaluation reads.
        results: the folder to write.
        settings: the block `evaluate`.
        metrics: the file for the means.
        system: that system alone, or BASELINES for these alone; None: the systems of the settings beside the baselines.

    Raises:
        ReposeError: a run is missing or of other settings, no pair, no photo for a pair, or the disk is full.
    """
    device = set_up(settings.device, settings.threads, seed=0)
    test = _test_set(folders, settings)
    names = settings.systems if system is None else () if system == BASELINES else (system,)
    trained = {name: _trained(name, folders.runs, test.photos, device) for name in names}
    if system is None:
        notes = [_note(about, folders.runs / name) for name, (_, about) in trained.items()]
    else:
        told = {"system": system, **test.facts}
        told |= {} if system == BASELINES else _training_facts(trained[system], folders.runs / system)
    contestants = _baselines(test.photos, real=system == BASELINES) if system in (None, BASELINES) else []
    contestants += _systems(trained, settings, test.photos, device)
    with whole_folder(results) as folder:
        table = pd.concat([_scores(c, test, folder, settings, c.name in names) for c in contestants], ignore_index=True)
        means = _means(table, test.protocols)
        write_text(folder / "pairs.csv", table.to_csv(index=False, lineterminator="\n", float_format="%.10g"))
        if system is None:
            _write_comparison(folder, table, means, test.facts, notes)
            write_bytes(folder / "picture.png", encode_png(_picture(test, contestants, settings)))
        else:
            write_json(folder / "facts.json", told)
        if system == BASELINES:
            _write_examples(folder / "examples", test, settings)
    if metrics is not None:
        write_json(metrics, _record(means, test.facts))
    _say_table(means, test.facts)
    if system is None:
        say(f"The picture: {results / 'picture.png'}")


def _test_set(folders: Folders, settings: EvaluateSettings) -> TestSet:
    photos = Photos(images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps, cache_megabytes=64)
    items = read_table(folders.split / "items.csv", ITEMS)
    pairs = _chosen(_test_pairs(folders.split / "test-pairs.csv"), settings.pairs, folders.split)
    facts = _facts(read_json(folders.split / "split.json"), pairs, photos)
    protocols = ssim_protocols_for(photos.frame.height, photos.frame.width)
    return TestSet(photos, items[items["part"] == "test"], pairs, facts, protocols)


def _test_pairs(path: Path) -> pd.DataFrame:
    table = read_table(path, (*PAIRS, HIDDEN))
    return table.assign(**{HIDDEN: shares(table, HIDDEN, path)})


def _chosen(pairs: pd.DataFrame, most: int | None, split: Path) -> pd.DataFrame:
    """At most so many pairs, evenly spread over the split's."""
    if pairs.empty:
        raise ReposeError(
            f"{split / 'test-pairs.csv'} has no pair, so there is nothing to evaluate. See the block split."
        )
    if most is None or most >= len(pairs):
        return pairs
    return pairs.iloc[np.linspace(0, len(pairs) - 1, most).round().astype(int)].reset_index(drop=True)


def _baselines(photos: Photos, *, real: bool) -> list[Contestant]:
    """The two rows that need no training; with `real` also the target itself, whose SSIM is 1 and garment-de 0."""

    def images(make: Callable[[Job, np.ndarray], np.ndarray]) -> Callable[[Sequence[Job]], Iterator[Done]]:
        """`make` gets a job and its target, (H,W,3) uint8."""

        def all_of(jobs: Sequence[Job]) -> Iterator[Done]:
            for first in range(0, len(jobs), TARGETS_AT_ONCE):
                some = jobs[first : first + TARGETS_AT_ONCE]
                target = photos.load([job.target for job in some])
                made = np.stack([make(job, pixels) for job, pixels in zip(some, target.pixels, strict=True)])
                yield Done(some, made, target.pixels, target.keypoints)

        return all_of

    def mean(job: Job, _: np.ndarray) -> np.ndarray:
        return photos.load(job.sources).pixels.mean(0).round().astype(np.uint8)

    return [
        *([Contestant(REAL, 1, images(lambda _, target: target))] if real else []),
        Contestant(COPY, 1, images(lambda job, _: photos.load(job.sources).pixels[0])),
        Contestant(MEAN, MOST_SOURCES, images(mean)),
    ]


def _trained(name: str, runs: Path, photos: Photos, device: torch.device) -> Trained:
    path = runs / name / "model.safetensors"
    system, about = checkpoint.load(path, device)
    _check_run(path, name, about, photos)
    return Trained(system, about)


def _systems(
    trained: Mapping[str, Trained], settings: EvaluateSettings, photos: Photos, device: torch.device
) -> Iterator[Contestant]:
    for name, (system, about) in trained.items():
        most = about.row.most_sources

        def images(jobs: Sequence[Job], system: System = system) -> Iterator[Done]:
            return generate_jobs(system, jobs, photos, device)

        yield Contestant(name, most, images)
        if settings.single_source and most > 1:
            yield Contestant(with_one_source(name), 1, images)


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
    contestant: Contestant, test: TestSet, folder: Path, settings: EvaluateSettings, keep: bool
) -> pd.DataFrame:
    """A row per pair; the images go to shards on the way, if they are to be kept."""
    rows, places, hidden = [], [], iter(test.pairs[HIDDEN])
    place = folder / "generated" / contestant.name if keep else folder
    place.mkdir(parents=True, exist_ok=True)
    jobs = jobs_of_pairs(test.pairs, test.items, contestant.most_sources)
    done = bar(contestant.images(jobs), f"evaluate {contestant.name}", -(-len(jobs) // TARGETS_AT_ONCE))
    with ShardWriter(place, settings.shard_megabytes * 2**20) as shards:
        for part in done:
            scores = {f"ssim/{name}": ssim(part.generated, part.target, name).numpy() for name in test.protocols}
            scores[GARMENT_DE] = garment_de(part.generated, part.target, part.keypoints)
            for number, job in enumerate(part.jobs):
                pair = {"system": contestant.name, "from": job.sources[0], "to": job.target, HIDDEN: next(hidden)}
                rows.append(
                    pair
                    | {"sources": len(job.sources)}
                    | {name: float(values[number]) for name, values in scores.items()}
                )
                if keep:
                    name = f"{job.sources[0]}--{job.target}.png"
                    places.append((name, shards.add(name, encode_png(part.generated[number]))))
    if keep:
        write_table(place / "generated.csv", index_table(places), INDEX_COLUMNS)
    return pd.DataFrame(rows).assign(split=test.facts["split"])


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


def _training_facts(trained: Trained, run: Path) -> dict[str, Any]:
    """How a system was trained, for the table that lays several side by side."""
    row, record = trained.about.row, read_json(run / "run.json")
    if "images" not in record:
        raise ReposeError(
            f"{run / 'run.json'} does not say how many images the system saw in training: an earlier version of repose "
            f"wrote it. Train {trained.about.system} again."
        )
    return {
        "kind": row.kind,
        "steps": trained.about.step,
        "images": record["images"],
        "seed": record["seed"],
        "device": record["device"],
        "precision": record["precision"],
        "perceptual": record["perceptual"],
        "parameters": record["parameters"],
        "most_sources": row.most_sources,
        "items_per_step": row.items_per_step,
        "optimiser": _in_words(trained.system.optimisers),
        "loss": _terms(row, record["perceptual"]).removeprefix("loss ")
        + (" (VGG19's term is left out)" if _left_out(row, record["perceptual"]) else ""),
    }


def _in_words(optimisers: Mapping[str, torch.optim.Optimizer]) -> str:
    """The optimisers as they start; networks whose optimisers are alike share one clause."""
    networks: dict[str, list[str]] = {}
    for name, optimiser in optimisers.items():
        start = optimiser.defaults
        words = f"{type(optimiser).__name__}, learning rate {start['lr']:g}"
        if "betas" in start:
            words += f", betas {start['betas'][0]:g} and {start['betas'][1]:g}"
        networks.setdefault(words, []).append(name)
    if len(networks) == 1:
        return next(iter(networks))
    return "; ".join(f"{words} ({', '.join(names)})" for words, names in networks.items())


def _write_examples(folder: Path, test: TestSet, settings: EvaluateSettings) -> None:
    """Sources, target's pose and target of a few pairs, for a figure beside what systems made of them."""
    folder.mkdir()
    few, shown, places = _chosen(test.pairs, settings.picture_pairs, Path()), [], []
    with ShardWriter(folder, settings.shard_megabytes * 2**20) as shards:
        for job in jobs_of_pairs(few, test.items, MOST_SOURCES):
            sources, target = test.photos.load(job.sources), test.photos.load([job.target])
            images = {f"source {number}": pixels for number, pixels in enumerate(sources.pixels, 1)}
            images |= {"target pose": PALETTE[target.maps[0]], "target": target.pixels[0]}
            for shows, pixels in images.items():
                name = f"{job.sources[0]}--{job.target}--{shows}.png"
                places.append((name, shards.add(name, encode_png(pixels))))
                shown.append({"from": job.sources[0], "to": job.target, "shows": shows})
    table = pd.concat([pd.DataFrame(shown), index_table(places)], axis=1)
    write_table(folder / "examples.csv", table, EXAMPLES)


def _write_comparison(
    folder: Path, table: pd.DataFrame, means: pd.DataFrame, facts: dict[str, Any], notes: Sequence[str]
) -> None:
    write_text(folder / "table.csv", means.to_csv(lineterminator="\n", float_format="%.6f"))
    write_text(folder / "table.md", _markdown(means, facts, notes))
    _write_plots(folder / "plots", table, means)


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


def _note(about: About, run: Path) -> str:
    """How a system was trained."""
    record = read_json(run / "run.json")
    parameters = ", ".join(f"{network} {count:,}" for network, count in record["parameters"].items())
    layers = record["perceptual"]
    return (
        f"{about.system}: {about.step:,} steps of {about.row.items_per_step} item(s), seed {record['seed']}, "
        f"{record['device']}, {record['precision']}; parameters: {parameters}; {_terms(about.row, layers)}."
        + (
            " The perceptual term of Eq. 1 is left out: train.perceptual.weights is null."
            if _left_out(about.row, layers)
            else ""
        )
    )


def _left_out(row: Row, layers: str | None) -> bool:
    """Whether the row wants VGG19's term and was trained without."""
    return "perceptual" in row.loss_weights() and layers is None


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


def _picture(test: TestSet, contestants: Sequence[Contestant], settings: EvaluateSettings) -> np.ndarray:
    """The paper's figure 3: sources | target pose | target | one column per system, for a few pairs."""
    photos, items = test.photos, test.items
    few = _chosen(test.pairs, settings.picture_pairs, Path())
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
