"""evaluate: what each trained system makes of the test pairs, and how far that is from the real photos.

The folder `results` then holds

| file | what |
|---|---|
| table.md, table.csv | the scores of each system beside the baselines, with all that they must say of themselves |
| pairs.csv | each score of every pair, with what its source hides if known: for the eye, for bootstraps |
| picture.png | a row per pair: its sources, the target's pose, the target, one column per system |
| generated/SYSTEM/ | what the system made: tar shards of PNG files and their index |
| plots/ | what `dvc plots` draws |

and the file `metrics` has the means, for `dvc metrics` and `repose compare`, with protocol, data, networks and code (see
`repose.provenance`). `evaluate.metrics` names the metrics (see `metrics.catalogue`); one of all images together, such as FID,
has no column in pairs.csv. Two baselines need no training: to copy the pair's source, and to take the mean of all sources. A
number means little without its protocol, so each is named by it, and SSIM does not see a garment (a grey dummy in the right
pose beats copying the source), so garment-de stands beside it.

With `system`, one system is scored alone, or the baselines alone (`baselines`: the two, and the real photos, which anchor the
scale), for the stage `table` to lay side by side. Then `results` holds

| file | what |
|---|---|
| pairs.csv | as above, of that system or of the baselines |
| facts.json | what a number must say of itself, the scores that are of all images together, and how the system was trained |
| generated/SYSTEM/ | as above, of a system |
| examples/ | of the baselines: sources, target's pose and target of a few pairs, in shards, with a table of what each shows |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
import torch

from repose import __version__, checkpoint, provenance
from repose.checkpoint import About
from repose.data.images import encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import (
    HIDDEN,
    IMAGES,
    ITEMS,
    PAIRS,
    part_files,
    part_names,
    read_json,
    read_parts,
    read_parts_keypoints,
    read_table,
    shares,
    write_json,
    write_table,
)
from repose.data.shards import INDEX_COLUMNS, ShardWriter, index_table
from repose.data.transfer import check
from repose.devices import set_up
from repose.errors import ReposeError
from repose.files import whole_folder, write_bytes, write_text
from repose.generate import TARGETS_AT_ONCE, Done, Job, generate_jobs, jobs_of_pairs
from repose.metrics.catalogue import Batch, Growing, Metric, OfPairs, RealPhotos, Task, check_name, prepare
from repose.networks.files import WeightsFile, check_names
from repose.networks.protocols import Networks, Weights
from repose.pictures import grid
from repose.results import BASELINES, COPY, EXAMPLES, GARMENT_DE, MEAN, REAL, read_whole, with_one_source
from repose.settings import check_system_names
from repose.systems import Row, System
from repose.terminal import bar, say, show

SEED = 0  # of torch, for systems that draw
MOST_SOURCES = 4  # of the baseline: a garment has at most five photos (R10)


@dataclass(frozen=True)
class EvaluateSettings:
    """The block `evaluate` of params.yaml."""

    systems: tuple[str, ...]  # rows of the table, in its order; the pipeline trains these
    metrics: tuple[str, ...]  # metric/protocol, the columns of the table in their order
    weights: dict[str, WeightsFile]  # of the networks that metrics need, by name; a name that is not here: in the cache
    pairs: int | None  # at most so many test pairs, evenly spread over the split's; null: all
    single_source: bool  # score systems that take several sources also with the pair's source alone
    picture_pairs: int  # rows of the picture
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda where there is one
    threads: int  # CPU threads of torch
    shard_megabytes: int  # MiB of a tar shard of generated images

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("systems is empty. Name at least one of the rows under systems.")
        check_system_names(self.systems)
        if len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems names a row twice: {', '.join(self.systems)}.")
        self._check_metrics()
        check_names(self.weights)
        for name in ("pairs", "picture_pairs", "threads", "shard_megabytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} should be at least 1, not {value}.")

    def _check_metrics(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty. Name at least one, such as ssim/pg2 (docs/metrics.md has them all).")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics names one twice: {', '.join(self.metrics)}.")
        for name in self.metrics:
            try:
                check_name(name)
            except ReposeError as error:
                raise ValueError(f"metrics: {error}") from None
        if GARMENT_DE not in self.metrics and any(name.startswith("ssim/") for name in self.metrics):
            raise ValueError(f"metrics has SSIM, which sees no garment, and not {GARMENT_DE}. Add {GARMENT_DE}.")


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
    facts: dict[str, Any]  # what a number must say of itself: PROTOCOL
    metrics: list[Metric]
    device: torch.device  # where they are computed

    @property
    def of_pairs(self) -> list[str]:
        """The metrics that each pair has."""
        return [metric.name for metric in self.metrics if isinstance(metric.how, OfPairs)]


class Trained(NamedTuple):
    """A system as its run left it."""

    system: System
    about: About
    sha256: str  # of its checkpoint


class Scored(NamedTuple):
    """The scores of one contestant."""

    pairs: pd.DataFrame  # a row per pair
    together: dict[str, float]  # of all images together, by name


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
        ReposeError: a run is missing or of other settings, no pair, no photo for a pair, a metric that cannot be computed, an
            image that is none, or the disk is full.
    """
    device = set_up(settings.device, settings.threads, seed=SEED)
    test = _test_set(folders, settings, device)
    names = settings.systems if system is None else () if system == BASELINES else (system,)
    trained = {name: _trained(name, folders.runs, test.photos, device) for name in names}
    about = _provenance(trained, folders.runs)
    if system is None:
        notes = [_note(about, folders.runs / name) for name, (_, about, _) in trained.items()]
    else:
        told = {"schema": provenance.SCHEMA, "system": system, **test.facts, **_records_of(test), "provenance": about}
        told |= {} if system == BASELINES else _training_facts(trained[system], folders.runs / system)
    contestants = _baselines(test.photos, real=system == BASELINES) if system in (None, BASELINES) else []
    contestants += _systems(trained, settings, test.photos, device)
    with whole_folder(results) as folder:
        scored = {c.name: _scores(c, test, folder, settings, c.name in names) for c in contestants}
        table = pd.concat([pairs for pairs, _ in scored.values()], ignore_index=True)
        together = {name: found for name, (_, found) in scored.items()}
        means = _means(table, together, test)
        write_text(folder / "pairs.csv", table.to_csv(index=False, lineterminator="\n", float_format="%.10g"))
        if system is None:
            _write_comparison(folder, table, means, test, [*notes, _provenance_note(about)])
            write_bytes(folder / "picture.png", encode_png(_picture(test, contestants, settings)))
        else:
            write_json(folder / "facts.json", told | {"scores": _rounded(together)})
        if system == BASELINES:
            _write_examples(folder / "examples", test, settings)
    if metrics is not None:
        write_json(metrics, _record(means, test, about))
    _say_table(means, test)
    if system is None:
        say(f"The picture: {results / 'picture.png'}")


def _test_set(folders: Folders, settings: EvaluateSettings, device: torch.device) -> TestSet:
    photos = Photos(images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps, cache_megabytes=64)
    items = read_table(folders.split / "items.csv", ITEMS)
    pairs = _chosen(_test_pairs(folders.split / "test-pairs.csv"), settings.pairs, folders.split)
    tested = items[items["part"] == "test"]
    facts = _facts(read_json(folders.split / "split.json"), pairs, photos) | _digests(folders, tested, pairs)
    item_of = _item_of(tested)
    task = Task(
        photos.frame.height,
        photos.frame.width,
        [item_of[source] for source in pairs["from"]],
        Networks(Weights(settings.weights), device),
        lambda part: _real(photos, items[items["part"] == part], device),
    )
    return TestSet(photos, tested, pairs, facts, prepare(settings.metrics, task), device)


def _item_of(items: pd.DataFrame) -> dict[str, str]:
    return dict(zip(items["name"], items["item"], strict=True))


def _real(photos: Photos, items: pd.DataFrame, device: torch.device) -> Iterator[RealPhotos]:
    """The photos of a part of the split, some at a time."""
    if items.empty:
        raise ReposeError(
            "A part of the split has no photo, and a metric compares with its photos. See the block split."
        )
    for first in range(0, len(items), TARGETS_AT_ONCE):
        some = items.iloc[first : first + TARGETS_AT_ONCE]
        yield RealPhotos(_tensor(photos.load(list(some["name"])).pixels, device), list(some["item"]))


def _tensor(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) uint8 on the device."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 1).to(device)


def _digests(folders: Folders, items: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, str]:
    """What was tested on: SHA-256 of the pairs and of the files of the test part's photos; what their keypoints are.

    Keypoints of a file are known by their SHA-256; those that a network found by the network and its settings, as their
    last digits differ from one processor to another.
    """
    parts, names = part_names(folders.images), set(items["name"])
    images = read_parts(folders.images, parts, "images.csv", IMAGES)
    files = images.loc[images["name"].isin(names), ["name", "sha256"]].sort_values("name")
    photos, joints, _ = read_parts_keypoints(folders.keypoints, parts)
    points = {name: points for name, points in zip(photos, joints, strict=True) if name in names}
    item_of = _item_of(items)
    of_pairs = zip(pairs["from"], pairs["to"], strict=True)
    return {
        "pairs sha256": provenance.digest(f"{source},{target},{item_of[source]}" for source, target in of_pairs),
        "photos sha256": provenance.digest(f"{name},{sha256}" for name, sha256 in files.itertuples(index=False)),
        "keypoints": _found_by(folders.keypoints, parts)
        or f"SHA-256 {provenance.digest(f'{name},{points[name].tolist()}' for name in sorted(points))}",
    }


def _found_by(keypoints: Path, parts: Sequence[str]) -> str:
    """The network that found the keypoints, with its settings; empty if they came as files."""
    reports = [read_json(path) for path in part_files(keypoints, parts, "report.json")]
    return "; ".join(dict.fromkeys(provenance.in_words(r["found_by"]) for r in reports if "found_by" in r))


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
    return Trained(system, about, check(path, sha256=None, size=None, where=str(path)))


def _systems(
    trained: Mapping[str, Trained], settings: EvaluateSettings, photos: Photos, device: torch.device
) -> Iterator[Contestant]:
    for name, (system, about, _) in trained.items():
        most, checked = about.row.most_sources, cast(System, _Checked(name, system))

        def images(jobs: Sequence[Job], system: System = checked) -> Iterator[Done]:
            return generate_jobs(system, jobs, photos, device)

        yield Contestant(name, most, images)
        if settings.single_source and most > 1:
            yield Contestant(with_one_source(name), 1, images)


class _Checked:
    """What makes a system's images, and refuses those that are none: a NaN would become a black pixel."""

    def __init__(self, name: str, system: System) -> None:
        self._name, self._system = name, system

    def generate(self, *given: Any) -> torch.Tensor:
        images = self._system.generate(*given)
        unsound = images.isnan().flatten(1).any(1)
        if unsound.any():
            raise ReposeError(
                f"{self._name} made {int(unsound.sum())} of {len(images)} images with a NaN in them, so they are none. Its "
                f"training went astray: look at its history.csv, and train it again (`dvc repro train@{self._name}`)."
            )
        return images


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


def _scores(contestant: Contestant, test: TestSet, folder: Path, settings: EvaluateSettings, keep: bool) -> Scored:
    """The scores of all pairs; the images go to shards on the way, if they are to be kept."""
    rows, places, hidden = [], [], iter(test.pairs[HIDDEN])
    place = folder / "generated" / contestant.name if keep else folder
    place.mkdir(parents=True, exist_ok=True)
    jobs, item_of = jobs_of_pairs(test.pairs, test.items, contestant.most_sources), _item_of(test.items)
    done = bar(contestant.images(jobs), f"evaluate {contestant.name}", -(-len(jobs) // TARGETS_AT_ONCE))
    of_pairs = {m.name: m.how.score for m in test.metrics if isinstance(m.how, OfPairs)}
    together = {m.name: m.how.start() for m in test.metrics if not isinstance(m.how, OfPairs)}
    with ShardWriter(place, settings.shard_megabytes * 2**20) as shards:
        for part in done:
            batch = _batch(contestant.name, part, item_of, test.device)
            scores = {name: score(batch) for name, score in of_pairs.items()}
            for growing in together.values():
                growing.update(batch)
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
    if len(rows) < len(jobs):
        raise ReposeError(
            f"{contestant.name} made {len(rows)} images for {len(jobs)} pairs: there is none for {_named(jobs[len(rows)])}. "
            "Correct what makes its images."
        )
    if keep:
        write_table(place / "generated.csv", index_table(places), INDEX_COLUMNS)
    return Scored(pd.DataFrame(rows).assign(split=test.facts["split"]), _together(together))


def _batch(system: str, part: Done, item_of: Mapping[str, str], device: torch.device) -> Batch:
    """Some images as metrics take them.

    Raises:
        ReposeError: an image is missing, or is of another size than its target.
    """
    first, made, wanted = _named(part.jobs[0]), part.generated.shape, part.target.shape
    if len(part.generated) != len(part.jobs):
        raise ReposeError(
            f"{system} made {len(part.generated)} images for {len(part.jobs)} pairs, {first} and those after it. Correct what "
            "makes its images."
        )
    if made != wanted:
        raise ReposeError(
            f"{system} made images of {made[1]}x{made[2]} px for targets of {wanted[1]}x{wanted[2]} px (height x width), "
            f"{first} and those after it. An image is scored at its target's size: correct what makes its images."
        )
    items = [item_of[job.sources[0]] for job in part.jobs]
    return Batch(_tensor(part.generated, device), _tensor(part.target, device), part.keypoints, items)


def _named(job: Job) -> str:
    return f"{job.sources[0]} to {job.target}"


def _together(growing: Mapping[str, Growing]) -> dict[str, float]:
    return {f"{name}{end}": value for name, score in growing.items() for end, value in score.scores().items()}


def _means(table: pd.DataFrame, together: Mapping[str, Mapping[str, float]], test: TestSet) -> pd.DataFrame:
    """A row per contestant, in the order of the table: each score, then what else belongs to one, such as its pairs.

    A score of pairs is the mean of those that have one, and where some may have none, their number stands beside it.
    """
    groups = table.groupby("system", sort=False)
    means = groups[test.of_pairs].mean()
    for name in dict.fromkeys(name for scores in together.values() for name in scores):
        means[name] = pd.Series({system: scores[name] for system, scores in together.items()})
    for metric in test.metrics:
        if metric.left_out:
            means[f"{metric.name} pairs"] = groups[metric.name].count()
    first = [metric.name for metric in test.metrics]
    return means[[*first, *(name for name in means.columns if name not in first)]]


def _facts(split: dict[str, Any], pairs: pd.DataFrame, photos: Photos) -> dict[str, Any]:
    """What a number must say of itself."""
    return {
        "split": split["mode"],
        "pairs": len(pairs),
        "size": f"{photos.frame.height}x{photos.frame.width}",
        "crop": list(photos.frame.crop) if photos.frame.crop else None,
        "format": provenance.FORMAT,
    }


def _records_of(test: TestSet) -> dict[str, Any]:
    return {"metrics": {metric.name: metric.record for metric in test.metrics}}


def _provenance(trained: Mapping[str, Trained], runs: Path) -> dict[str, Any]:
    """What made the numbers: the version of repose, and each system's checkpoint with the seed of its training."""
    systems = {
        name: {"sha256": system.sha256, "seed": read_json(runs / name / "run.json")["seed"], "steps": system.about.step}
        for name, system in trained.items()
    }
    return {"repose": __version__, "seed": SEED, "systems": systems}


def _provenance_note(about: Mapping[str, Any]) -> str:
    return f"Made by repose {about['repose']}, seed {about['seed']}."


def _training_facts(trained: Trained, run: Path) -> dict[str, Any]:
    """How a system was trained, for the table that lays several side by side."""
    row, record = trained.about.row, read_whole(run / "run.json", ["images"], f"Train {trained.about.system} again.")
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
        + (" (the perceptual term is left out)" if _left_out(row, record["perceptual"]) else ""),
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
    folder: Path, table: pd.DataFrame, means: pd.DataFrame, test: TestSet, notes: Sequence[str]
) -> None:
    write_text(folder / "table.csv", means.to_csv(lineterminator="\n", float_format="%.6f"))
    write_text(folder / "table.md", _markdown(means, test, notes))
    _write_plots(folder / "plots", table, means, test)


def _record(means: pd.DataFrame, test: TestSet, about: dict[str, Any]) -> dict[str, Any]:
    scores = {str(system): {str(name): value for name, value in row.items()} for system, row in means.iterrows()}
    return {
        "schema": provenance.SCHEMA,
        "protocol": test.facts,
        **_records_of(test),
        "provenance": about,
        "scores": _rounded(scores),
    }


def _rounded(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """To ten digits, so that the last bit of a sum is not a change; null for a score that is none."""
    return {
        system: {name: None if np.isnan(value) else float(f"{value:.10g}") for name, value in row.items()}
        for system, row in scores.items()
    }


def _markdown(means: pd.DataFrame, test: TestSet, notes: Sequence[str]) -> str:
    """The table as a page says it, with what was trained on what."""
    facts = test.facts
    head = ["system", *(metric.name for metric in test.metrics)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for system, row in means.iterrows():
        lines.append(f"| {system} | {' | '.join(_shown(m, row[m.name]) for m in test.metrics)} |")
    crop = ", ".join(f"{side:g}" for side in facts["crop"] or ())
    said = [
        f"Split {facts['split']}, {facts['pairs']:,} test pairs, {facts['size']} px (height x width)"
        + (f", cropped to {crop} (left, top, right, bottom in px of the photo)" if crop else "")
        + f", {facts['format']}; a metric's protocol stands after the slash.",
        *dict.fromkeys(_about(metric, means, facts["pairs"]) for metric in test.metrics),
        f"Tested on (SHA-256): pairs {facts['pairs sha256']}, photos {facts['photos sha256']}. "
        f"Keypoints: {facts['keypoints']}.",
        *notes,
    ]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in said)]) + "\n"


def _about(metric: Metric, means: pd.DataFrame, pairs: int) -> str:
    """What a metric's number is, of how many pairs, and by which network."""
    said = metric.about
    if metric.left_out:
        left_out = pairs - means[f"{metric.name} pairs"]
        most = "at most " if left_out.nunique() > 1 else ""
        said += f"; {most}{int(left_out.max()):,} pairs {metric.left_out} are left out of it"
    facts = metric.record
    said += "".join(f"; {name}, SHA-256 {sha256}" for name, sha256 in facts.get("networks", {}).items())
    if "real" in facts:
        said += f"; {facts['photos']:,} real photos of the part {facts['real']}"
    return said + (f"; chance {facts['chance']:g}." if "chance" in facts else ".")


def _note(about: About, run: Path) -> str:
    """How a system was trained."""
    record = read_json(run / "run.json")
    parameters = ", ".join(f"{network} {count:,}" for network, count in record["parameters"].items())
    layers = record["perceptual"]
    return (
        f"{about.system}: {about.step:,} steps of {about.row.items_per_step} item(s), seed {record['seed']}, "
        f"{record['device']}, {record['precision']}; parameters: {parameters}; {_terms(about.row, layers)}."
        + (
            " The perceptual term of Eq. 1 is left out: train.perceptual was none."
            if _left_out(about.row, layers)
            else ""
        )
    )


def _left_out(row: Row, layers: str | None) -> bool:
    """Whether the row wants the perceptual term and was trained without."""
    return "perceptual" in row.loss_weights() and layers is None


def _terms(row: Row, layers: str | None) -> str:
    """The loss's terms with their weights; the perceptual one, if it was there, with its layers."""
    there = row.loss_weights()
    if "perceptual" in there:
        w = there.pop("perceptual")
        there |= {f"perceptual ({layers})": w} if layers else {}
    return "loss " + ", ".join(f"{name} {w:g}" for name, w in there.items())


def _shown(metric: Metric, value: float) -> str:
    return "" if np.isnan(value) else f"{value:.{metric.digits}f}"


def _write_plots(folder: Path, table: pd.DataFrame, means: pd.DataFrame, test: TestSet) -> None:
    """CSVs for `dvc plots`: each score by system, and the means of scores of pairs by the number of sources."""
    folder.mkdir()
    scores = [metric.name for metric in test.metrics]
    long = means[scores].reset_index().melt("system", var_name="metric", value_name="value")
    write_text(folder / "scores.csv", long.to_csv(index=False, lineterminator="\n", float_format="%.6f"))
    by_sources = table.groupby(["system", "sources"], sort=False)[test.of_pairs].mean().reset_index()
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


def _say_table(means: pd.DataFrame, test: TestSet) -> None:
    """Print the table; the best of each column stands out."""
    from rich.table import Table

    facts = test.facts
    table = Table(title=f"{facts['pairs']:,} test pairs of the split {facts['split']}, {facts['size']} px")
    table.add_column("system", no_wrap=True)
    for metric in test.metrics:
        table.add_column(metric.name.replace("/", "/\n"), justify="right", no_wrap=True)
    best = {m.name: means[m.name].min() if m.better == "lower" else means[m.name].max() for m in test.metrics}
    for system, row in means.iterrows():
        scores = [(metric, float(row[metric.name])) for metric in test.metrics]
        cells = [f"[bold]{_shown(m, v)}[/bold]" if v == best[m.name] else _shown(m, v) for m, v in scores]
        table.add_row(str(system), *cells)
    show(table, whole=True)
