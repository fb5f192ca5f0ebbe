"""table: all systems side by side, in the layout of the paper's Table 1.

The folder `table` then holds

| file | what |
|---|---|
| table.md | for each data set: the published numbers beside ours, differences to one row, how each row was trained |
| table.csv | the same, a row for each data set and system, with all that a number must say of itself |
| gains.csv | for pairs of rows, what the one with more sources gains, by how much of the garment the first source hides |
| table.png | the table as a picture |
| figure-DATA.png | the paper's figure 3: sources, target pose, target, a column per system |
| plots/scores.csv | what `dvc plots` draws |

A published number is of other photos, another split and a protocol that nobody named, so it has a column of its own and is
never compared with ours. SSIM does not see a garment, so no table is written without garment-de. Each of our numbers is the
mean over the test pairs with its bootstrap interval, and all rows of a data set are of the same pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from repose.data.images import decode, encode_png
from repose.data.records import HIDDEN, read_table
from repose.data.shards import INDEX_COLUMNS, ShardReader
from repose.errors import ReposeError
from repose.files import whole_folder, write_bytes, write_text
from repose.gains import Gain, gains_by_hidden
from repose.metrics.bootstrap import Interval, interval, means, resampled_means
from repose.pictures import grid
from repose.published import PUBLISHED, read_published
from repose.results import (
    BASELINES,
    COPY,
    EXAMPLES,
    GARMENT_DE,
    MEAN,
    PROTOCOL,
    REAL,
    TRAINING,
    Result,
    read_result,
    with_one_source,
)
from repose.settings import check_system_names, nearest
from repose.sheet import Cell, Group, draw_sheet
from repose.terminal import say

NOT_TRAINED = "not trained"
NOT_SCORED = "not trained, or not scored"
NOT_KNOWN = "not known what the sources hide"
GAINS = (
    "data set", "more", "fewer", "hidden", "pairs", "metric", "gain", "gain low", "gain high", "note", "confidence",
    "resamples", "bootstrap seed",
)  # fmt: skip
_GAIN_TITLE = "gain of more sources by what the first source hides"
_LEAST_COLUMN = 88  # px of a column of the figure, so that its title fits


@dataclass(frozen=True)
class TableSettings:
    """The block `table` of the params: what is laid side by side, and how sure its numbers are."""

    budget: str  # what the training was allowed, by name: demo, gpu, paper
    data_sets: dict[str, str]  # folders of results, in order, each with the published data set beside it (or "")
    systems: tuple[str, ...]  # rows, in order; one without results is shown as not trained
    metrics: tuple[str, ...]  # columns in order, of those that evaluate scored; garment-de is one of them
    reference: str  # the row that the others are compared with, on the same pairs
    resamples: int  # of the bootstrap over test pairs
    confidence: float  # share of the resamples inside an interval, 0 to 1
    seed: int  # of the bootstrap
    figure_pairs: int  # rows of a figure, at most; evaluate keeps the images of evaluate.picture_pairs
    gains: tuple[tuple[str, str], ...] = ()  # rows [of more sources, of fewer]: the gain by what the first source hides

    def __post_init__(self) -> None:
        for name in ("data_sets", "systems", "metrics"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty. Name at least one.")
        for name in ("systems", "metrics"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} names one twice: {', '.join(getattr(self, name))}.")
        check_system_names(self.systems)
        if GARMENT_DE not in self.metrics:
            raise ValueError(
                f"metrics lacks {GARMENT_DE}, without which SSIM, which sees no garment, never stands. Add it."
            )
        if self.reference not in self.systems:
            raise ValueError(f"reference should be one of the systems, not {self.reference!r}.")
        for name in ("resamples", "figure_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence should be between 0 and 1, not {self.confidence}.")
        self._check_gains()

    def _check_gains(self) -> None:
        rows = [REAL, COPY, MEAN, *self.systems, *map(with_one_source, self.systems)]
        for more, fewer in self.gains:
            for name in (more, fewer):
                if name not in rows:
                    raise ValueError(f"gains names {name!r}, which is no row{nearest(name, rows)}")
            if more == fewer:
                raise ValueError(f"gains compares {more} with itself.")


class Line(NamedTuple):
    """A row of the table on one data set; without scores, the system is not trained on it."""

    system: str
    facts: dict[str, Any]  # of its training; empty for a baseline
    scores: dict[str, Interval]  # by metric
    differences: dict[str, Interval]  # to the reference; empty where there is none


class Contrast(NamedTuple):
    """What a row gains over one of fewer sources, by what the first source hides; without `gains`, the note says why."""

    more: str
    fewer: str
    note: str
    gains: list[Gain]


class Comparison(NamedTuple):
    """All rows on one data set."""

    data: str
    beside: str  # the published data set
    facts: dict[str, Any]  # PROTOCOL, and how many pairs have a torso, and HIDDEN
    records: dict[str, dict[str, Any]]  # what each metric's number says of itself
    lines: list[Line]
    contrasts: list[Contrast]


def run(*, results: Path, published: Path | None, table: Path, settings: TableSettings) -> None:
    """Lay the results in `results`/DATA/SYSTEM side by side, and beside what was published; write the folder `table`.

    Raises:
        ReposeError: results are missing, damaged, without garment-de or not of the same pairs, or the disk is full.
    """
    printed = pd.DataFrame(columns=PUBLISHED) if published is None else _printed(published, settings)
    comparisons = [_compare(results, data, settings) for data in settings.data_sets]
    with whole_folder(table) as folder:
        records = [r for c in comparisons for r in _records(c, printed, settings)]
        write_text(folder / "table.csv", _csv(pd.DataFrame(records)))
        write_text(folder / "gains.csv", _csv(_gains(comparisons, settings)))
        write_text(folder / "table.md", _markdown(comparisons, printed, settings))
        write_bytes(folder / "table.png", encode_png(_sheet(comparisons, printed, settings)))
        for comparison in comparisons:
            path = folder / f"figure-{comparison.data}.png"
            write_bytes(path, encode_png(_figure(results / comparison.data, comparison, settings)))
        (folder / "plots").mkdir()
        write_text(folder / "plots" / "scores.csv", _csv(_plotted(comparisons)))
    say(f"The table: {table / 'table.md'}, and as a picture {table / 'table.png'}")
    say(f"What the systems make: {', '.join(str(table / f'figure-{data}.png') for data in settings.data_sets)}")


def _printed(path: Path, settings: TableSettings) -> pd.DataFrame:
    """The paper's own table, which should have the data sets of the settings."""
    table = read_published(path)
    known = list(table["data set"].unique())
    for data, beside in settings.data_sets.items():
        if beside not in known:
            raise ReposeError(f"table.data_sets.{data}: {path} has no data set {beside!r}{nearest(beside, known)}")
    return table


def _compare(results: Path, data: str, settings: TableSettings) -> Comparison:
    """The scores of all rows on one data set, their intervals and their differences to the reference."""
    baselines = read_result(results / data / BASELINES)
    trained = _trained(results / data, settings.systems)
    records = _records_of(baselines, results / data / BASELINES, settings.metrics)
    scores = _baseline_scores(baselines, settings.metrics)
    together = dict(baselines.facts["scores"])
    for name, result in trained.items():
        _check_equal_footing(baselines, result, results / data / name, settings.metrics)
        scores[name] = _scores_of(result.pairs, name, settings.metrics)
        together |= result.facts["scores"]
    drawn = _drawn(scores, settings)
    rows = [*(name for name in scores if name not in trained), *settings.systems]
    lines = [
        _line(name, trained[name].facts if name in trained else {}, scores, drawn, together, settings) for name in rows
    ]
    torsos = int(np.isfinite(next(iter(scores.values()))[:, settings.metrics.index(GARMENT_DE)]).sum())
    hidden = baselines.pairs.loc[baselines.pairs["system"] == rows[0], HIDDEN].to_numpy(np.float64)
    facts = {name: baselines.facts[name] for name in PROTOCOL} | {f"{GARMENT_DE} pairs": torsos}
    facts[f"{HIDDEN} pairs"] = int(np.isfinite(hidden).sum())
    scores |= _one_source_scores(baselines, trained, results / data, settings.metrics)
    better = {name: record["better"] for name, record in records.items()}
    contrasts = [_contrast(more, fewer, scores, hidden, better, settings) for more, fewer in settings.gains]
    return Comparison(data, settings.data_sets[data], facts, records, lines, contrasts)


def _records_of(result: Result, folder: Path, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the number of each column says of itself.

    Raises:
        ReposeError: evaluate did not score one.
    """
    together = {name for row in result.facts["scores"].values() for name in row}
    there = {n: record for n, record in result.facts["metrics"].items() if n in result.pairs or n in together}
    missing = [name for name in metrics if name not in there]
    if missing:
        raise ReposeError(
            f"{folder} has no {', '.join(missing)}; it has {', '.join(there)}. Change table.metrics, or score them too "
            "(evaluate.metrics)."
        )
    return {name: there[name] for name in metrics}


def _trained(folder: Path, systems: Sequence[str]) -> dict[str, Result]:
    return {name: read_result(folder / name) for name in systems if (folder / name).is_dir()}


def _baseline_scores(baselines: Result, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    names = baselines.pairs["system"].unique()
    return {str(name): _scores_of(baselines.pairs, str(name), metrics) for name in names}


def _scores_of(pairs: pd.DataFrame, system: str, metrics: Sequence[str]) -> np.ndarray:
    """The scores of one system, (pairs, metrics) float64; NaN in the column of a metric of all images together."""
    return pairs.loc[pairs["system"] == system].reindex(columns=list(metrics)).to_numpy(np.float64)


def _check_equal_footing(baselines: Result, result: Result, folder: Path, metrics: Sequence[str]) -> None:
    """Rows stand beside each other if they are of the same pairs in the same order, at the same size, by the same networks."""
    own, expected = result.facts, baselines.facts
    said = {name: (own[name], expected[name]) for name in PROTOCOL}
    records = _records_of(result, folder, metrics), _records_of(baselines, folder.with_name(BASELINES), metrics)
    said |= {name: (records[0][name], records[1][name]) for name in metrics}
    for name, (mine, theirs) in said.items():
        if mine != theirs:
            raise ReposeError(
                f"{folder} cannot stand beside {folder.with_name(BASELINES)}: its {name} is {mine}, not {theirs}. Evaluate "
                "both on the same split and settings."
            )
    _check_same_pairs(baselines, result, own["system"], folder)


def _check_same_pairs(baselines: Result, result: Result, row: str, folder: Path) -> None:
    first = baselines.pairs["system"].iloc[0]
    expected = baselines.pairs.loc[baselines.pairs["system"] == first, ["from", "to"]]
    own = result.pairs.loc[result.pairs["system"] == row, ["from", "to"]]
    if expected.to_numpy().tolist() != own.to_numpy().tolist():
        raise ReposeError(
            f"{folder} cannot stand beside {folder.with_name(BASELINES)}: they are of other pairs. Evaluate both again."
        )


def _one_source_scores(
    baselines: Result, trained: Mapping[str, Result], folder: Path, metrics: Sequence[str]
) -> dict[str, np.ndarray]:
    """The rows of systems with the pair's source alone, of those that evaluate scored so."""
    scores = {}
    for name, result in trained.items():
        row = with_one_source(name)
        if (result.pairs["system"] == row).any():
            _check_same_pairs(baselines, result, row, folder / name)
            scores[row] = _scores_of(result.pairs, row, metrics)
    return scores


def _contrast(
    more: str, fewer: str, scores: Mapping[str, np.ndarray], hidden: np.ndarray, better: Mapping[str, str],
    settings: TableSettings,
) -> Contrast:  # fmt: skip
    missing = [name for name in (more, fewer) if name not in scores]
    if missing or not np.isfinite(hidden).any():
        return Contrast(more, fewer, f"{NOT_SCORED}: {' and '.join(missing)}" if missing else NOT_KNOWN, [])
    gains = gains_by_hidden(
        scores[more], scores[fewer], hidden, better,
        resamples=settings.resamples, confidence=settings.confidence, seed=settings.seed,
    )  # fmt: skip
    return Contrast(more, fewer, "", gains)


def _drawn(scores: Mapping[str, np.ndarray], settings: TableSettings) -> dict[str, np.ndarray]:
    """The resampled means of each row, (resamples, metrics), all rows of the same pairs in each resample."""
    drawn = resampled_means(np.concatenate(list(scores.values()), 1), resamples=settings.resamples, seed=settings.seed)
    return dict(zip(scores, np.split(drawn, len(scores), 1), strict=True))


def _line(
    name: str, facts: dict[str, Any], scores: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray],
    together: Mapping[str, Mapping[str, float | None]], settings: TableSettings,
) -> Line:  # fmt: skip
    if name not in scores:
        return Line(name, {}, {}, {})
    own_means, reference = _means(name, scores, together, settings), settings.reference
    own = {
        m: interval(float(own_means[i]), drawn[name][:, i], settings.confidence) for i, m in enumerate(settings.metrics)
    }
    if name == reference or reference not in scores:
        return Line(name, facts, own, {})
    less, moved = own_means - _means(reference, scores, together, settings), drawn[name] - drawn[reference]
    differences = {
        m: interval(float(less[i]), moved[:, i], settings.confidence) for i, m in enumerate(settings.metrics)
    }
    return Line(name, facts, own, differences)


def _means(
    row: str, scores: Mapping[str, np.ndarray], together: Mapping[str, Mapping[str, float | None]], settings: TableSettings
) -> np.ndarray:  # fmt: skip
    """(metrics,): the mean over the pairs, or the score of all images together, which has no interval."""
    found, whole = means(scores[row]), together.get(row, {})
    for column, metric in enumerate(settings.metrics):
        value = whole.get(metric)
        if value is not None:
            found[column] = value
    return found


def _of(printed: pd.DataFrame, system: str, data: str) -> pd.Series | None:
    """What the paper prints of a system on a data set."""
    rows = printed[(printed["system"] == system) & (printed["data set"] == data)]
    return None if rows.empty else rows.iloc[0]


# table.csv and plots/


def _records(comparison: Comparison, printed: pd.DataFrame, settings: TableSettings) -> Iterator[dict[str, Any]]:
    """A row of table.csv for each system."""
    for line in comparison.lines:
        paper = _of(printed, line.system, comparison.beside)
        record: dict[str, Any] = {"data set": comparison.data, "system": line.system, "budget": settings.budget}
        record |= {name: comparison.facts[name] for name in (*PROTOCOL, f"{GARMENT_DE} pairs")}
        for metric in settings.metrics:
            record |= _ends(metric, line.scores.get(metric))
        for metric in settings.metrics:
            record |= _ends(f"{metric} less {settings.reference}", line.differences.get(metric))
        record |= {"confidence": settings.confidence, "resamples": settings.resamples, "bootstrap seed": settings.seed}
        record |= {"networks": _networks(comparison), "checkpoint sha256": _checkpoint(line)}
        record |= {name: line.facts.get(name) for name in TRAINING if name != "parameters"}
        record["parameters"] = _parameters(line.facts)
        if not printed.empty:
            record |= {"published data set": comparison.beside}
            record |= {
                f"published {n}": None if paper is None else paper[n] for n in ("ssim", "is", "split", "protocol")
            }
        yield record


def _networks(comparison: Comparison) -> str:
    """The networks behind the numbers, each with the SHA-256 of its file."""
    records = comparison.records.values()
    networks = {name: sha256 for record in records for name, sha256 in record.get("networks", {}).items()}
    return ", ".join(f"{name} {sha256}" for name, sha256 in networks.items())


def _checkpoint(line: Line) -> str | None:
    """The SHA-256 of the checkpoint that made a row's images; None for a baseline."""
    sha256: str | None = line.facts.get("provenance", {}).get("systems", {}).get(line.system, {}).get("sha256")
    return sha256


def _gains(comparisons: Sequence[Comparison], settings: TableSettings) -> pd.DataFrame:
    """gains.csv: a row for each data set, contrast, bin and metric; of a contrast that is not there, one with a note."""
    how = {"confidence": settings.confidence, "resamples": settings.resamples, "bootstrap seed": settings.seed}
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for more, fewer, note, gains in comparison.contrasts:
            head = {"data set": comparison.data, "more": more, "fewer": fewer, "note": note} | how
            rows += [
                head | {HIDDEN: gain.hidden, "pairs": gain.pairs, "metric": metric} | _ends("gain", found)
                for gain in gains
                for metric, found in gain.by_metric.items()
            ] or [head]
    return pd.DataFrame(rows, columns=list(GAINS))


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    mean, low, high = found or (None, None, None)
    return {name: mean, f"{name} low": low, f"{name} high": high}


def _plotted(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The means for `dvc plots`, in long form."""
    rows = [
        {"data set": comparison.data, "system": line.system, "metric": metric, "value": mean, "low": low, "high": high}
        for comparison in comparisons
        for line in comparison.lines
        for metric, (mean, low, high) in line.scores.items()
    ]
    return pd.DataFrame(rows)


def _csv(table: pd.DataFrame) -> str:
    text: str = table.to_csv(index=False, lineterminator="\n", float_format="%.10g")
    return text


# table.md


def _markdown(comparisons: Sequence[Comparison], printed: pd.DataFrame, settings: TableSettings) -> str:
    title = "Side by side" if printed.empty else "Table 1"
    parts = [f"# {title}, budget {settings.budget}", "\n".join(f"- {note}" for note in _notes(settings, printed))]
    for comparison in comparisons:
        parts += [
            f"## {comparison.data}",
            f"{_protocol(comparison, settings)}{_published(comparison, printed)}",
            _score_rows(comparison, printed, settings),
            f"### {comparison.data}: difference to {settings.reference}",
            _difference_rows(comparison, settings),
            f"### {comparison.data}: equal footing",
            _footing(comparison),
            _training_rows(comparison),
        ]
        if comparison.contrasts:
            parts += [f"### {comparison.data}: {_GAIN_TITLE}", _gain_rows(comparison, settings)]
    return "\n\n".join(parts) + "\n"


def _notes(settings: TableSettings, printed: pd.DataFrame) -> list[str]:
    """What holds of all numbers."""
    ours = [
        "SSIM: higher is better, at most 1; its protocol stands after the slash. It does not see a garment, so garment-de "
        "stands beside it: mean CIEDE2000 inside the target's torso, lower is better. docs/metrics.md has the other metrics.",
        f"In brackets: the {_percent(settings)} bootstrap interval over test pairs ({settings.resamples:,} resamples, seed "
        f"{settings.seed}); all rows of a data set are resampled together. Pairs of one item are alike, so the interval for "
        "new items would be wider; and it is of one training run each, so it says nothing of other training seeds.",
    ]  # fmt: skip
    theirs = (
        "Published numbers are the paper's own, of real photos, its split and a protocol that it does not name: they have "
        "columns of their own and are not to be compared with ours."
    )
    return ours if printed.empty else [*ours, theirs]


def _percent(settings: TableSettings) -> str:
    return f"{100 * settings.confidence:g} %"


def _protocol(comparison: Comparison, settings: TableSettings) -> str:
    facts = comparison.facts
    crop = ", ".join(f"{side:g}" for side in facts["crop"] or ())
    left_out, networks = facts["pairs"] - facts[f"{GARMENT_DE} pairs"], _networks(comparison)
    return (
        f"Split {facts['split']}, {facts['pairs']:,} test pairs, {facts['size']} px (height x width)"
        + (f", cropped to {crop} (left, top, right, bottom in px of the photo)" if crop else "")
        + f", {facts['format']}; budget {settings.budget}, {_seeds(comparison)}; "
        + f"{left_out:,} pairs without a whole torso are left out of garment-de. Tested on (SHA-256): "
        + ", ".join(f"{name} {facts[f'{name} sha256'][:12]}" for name in ("pairs", "photos"))
        + f". Keypoints: {facts['keypoints']}."
        + (f" Networks: {networks}." if networks else "")
    )


def _seeds(comparison: Comparison) -> str:
    seeds = sorted({line.facts["seed"] for line in comparison.lines if line.facts})
    if not seeds:
        return "nothing trained"
    return f"training seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _published(comparison: Comparison, printed: pd.DataFrame) -> str:
    if printed.empty:
        return ""
    rows = printed[printed["data set"] == comparison.beside]
    splits, protocols = ("; ".join(rows[name].unique()) for name in ("split", "protocol"))
    return f" Published: {comparison.beside}, split {splits}, protocol {protocols}."


def _score_rows(comparison: Comparison, printed: pd.DataFrame, settings: TableSettings) -> str:
    published = [] if printed.empty else ["in the paper", "published SSIM", "published IS"]
    head = ["row", *published, *settings.metrics]
    rows = []
    for line in comparison.lines:
        paper = _of(printed, line.system, comparison.beside)
        told = [""] * len(published) if paper is None else [paper["name"], f"{paper['ssim']:.3f}", f"{paper['is']:.3f}"]
        ours = [_shown(m, i) for m, i in line.scores.items()] or [NOT_TRAINED, *[""] * (len(settings.metrics) - 1)]
        rows.append([line.system, *told, *ours])
    return _rows(head, rows)


def _difference_rows(comparison: Comparison, settings: TableSettings) -> str:
    lines = [line for line in comparison.lines if line.differences]
    if not lines:
        return f"{settings.reference} is not trained on {comparison.data}, so there is nothing to compare with."
    rows = [[line.system, *(_difference(m, i) for m, i in line.differences.items())] for line in lines]
    return (
        _rows(["row", *settings.metrics], rows)
        + f"\n\nOf the same pairs, each row less {settings.reference}; bold where 0 lies outside the interval."
    )


def _gain_rows(comparison: Comparison, settings: TableSettings) -> str:
    """What more sources gain in each bin, and how much more in the top than in the bottom one."""
    known, pairs = comparison.facts[f"{HIDDEN} pairs"], comparison.facts["pairs"]
    rows = []
    for more, fewer, note, gains in comparison.contrasts:
        for gain in gains:
            cells = [_difference(m, i) for m, i in gain.by_metric.items()]
            rows.append([more, fewer, gain.hidden, f"{gain.pairs:,}", *cells])
        if not gains:
            rows.append([more, fewer, note, *[""] * (1 + len(settings.metrics))])
    said = (
        f"It is known of {known:,} of the {pairs:,} pairs what the first source hides: the share of the cells of the torso's "
        "garments in sight in the target that are out of sight in it."
        if known
        else f"Of no pair of {comparison.data} is it known what the first source hides: only the renderer of mannequins tells."
    )
    return (
        f"{said}\n\n{_rows(['more', 'fewer', HIDDEN, 'pairs', *settings.metrics], rows)}\n\nOf the same pairs, the row of "
        "more sources less that of fewer, positive where it is better: SSIM higher, garment-de lower. Bold where 0 lies "
        "outside the interval."
    )


def _training_rows(comparison: Comparison) -> str:
    head = [
        "row", "kind", "images seen", "steps", "items a step", "sources", "optimiser (at its start)", "loss", "perceptual",
        "parameters", "seed", "on",
    ]  # fmt: skip
    rows = []
    for line in comparison.lines:
        f = line.facts
        if f:
            told = [f["kind"], f"{f['images']:,}", f"{f['steps']:,}", f"{f['items_per_step']}", f"{f['most_sources']}"]
            rest = [f["optimiser"], f["loss"], f["perceptual"] or "none", _parameters(f), f"{f['seed']}"]
            rows.append([line.system, *told, *rest, f"{f['device']}, {f['precision']}"])
        elif not line.scores:
            rows.append([line.system, NOT_TRAINED, *[""] * (len(head) - 2)])
    return _rows(head, rows)


def _footing(comparison: Comparison) -> str:
    """Whether the rows had the same to learn from."""
    images = [line.facts["images"] for line in comparison.lines if line.facts]
    if not images:
        seen = "No row is trained."
    elif min(images) == max(images):
        seen = f"Every trained row saw {images[0]:,} images in training."
    else:
        seen = f"The trained rows saw from {min(images):,} to {max(images):,} images in training."
    return (
        f"{seen} All are scored on the same pairs at the same size (a system that works at another brings its images back "
        "first), and each is trained with the optimiser named here. Images seen are those that a row was to make in training, "
        "over all steps. Wall time is not here: it differs from run to run, and the same inputs give the same table."
    )


def _parameters(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{network} {count:,}" for network, count in facts.get("parameters", {}).items())


def _digits(metric: str) -> int:
    return 2 if metric.partition("/")[0] in (GARMENT_DE, "psnr") else 3


def _shown(metric: str, found: Interval) -> str:
    return "" if np.isnan(found.mean) else f"{found.mean:.{_digits(metric)}f} {_bounds(metric, found)}".rstrip()


def _bounds(metric: str, found: Interval) -> str:
    """Empty for a metric of all images together, which has no interval."""
    return "" if np.isnan(found.low) else f"[{found.low:.{_digits(metric)}f}, {found.high:.{_digits(metric)}f}]"


def _difference(metric: str, found: Interval) -> str:
    digits = _digits(metric)
    if np.isnan(found.mean):
        return ""
    if np.isnan(found.low):
        return f"{found.mean:+.{digits}f}"
    text = f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


# table.png


def _sheet(comparisons: Sequence[Comparison], printed: pd.DataFrame, settings: TableSettings) -> np.ndarray:
    """The table in the paper's layout: the published numbers, then ours for each data set; the best trained is marked."""
    published = [] if printed.empty else list(dict.fromkeys(comparison.beside for comparison in comparisons))
    groups = [
        Group("", ["Methods"]),
        *(Group(f"published, {data}", ["SSIM", "IS"]) for data in published),
        *(Group(_title(comparison, settings), settings.metrics) for comparison in comparisons),
    ]
    names = dict.fromkeys(line.system for comparison in comparisons for line in comparison.lines)
    rows: list[list[Cell] | None] = []
    for name in names:
        if name == settings.systems[0]:
            rows.append(None)
        called = printed.loc[printed["system"] == name, "name"]
        cells = [Cell(name, called.iloc[0] if len(called) else "")]
        cells += [cell for data in published for cell in _printed_cells(_of(printed, name, data))]
        cells += [cell for comparison in comparisons for cell in _own_cells(comparison, name, settings)]
        rows.append(cells)
    notes = [f"{c.data}: {_protocol(c, settings)}{_published(c, printed)}" for c in comparisons]
    return draw_sheet(
        groups, rows, [*notes, *_notes(settings, printed), "Tinted: the best of the trained rows in its column."]
    )


def _title(comparison: Comparison, settings: TableSettings) -> str:
    facts = comparison.facts
    return f"{comparison.data}, {settings.budget}, {facts['split']}, {facts['pairs']:,} pairs, {facts['size']} px"


def _printed_cells(paper: pd.Series | None) -> list[Cell]:
    if paper is None:
        return [Cell("-", soft=True)] * 2
    return [Cell(f"{paper['ssim']:.3f}", soft=True), Cell(f"{paper['is']:.3f}", soft=True)]


def _own_cells(comparison: Comparison, name: str, settings: TableSettings) -> list[Cell]:
    line = next(line for line in comparison.lines if line.system == name)
    if not line.scores:
        return [Cell(NOT_TRAINED, soft=True), *[Cell("")] * (len(settings.metrics) - 1)]
    return [
        Cell(
            "" if np.isnan(found.mean) else f"{found.mean:.{_digits(m)}f}",
            _bounds(m, found),
            bool(line.facts) and found.mean == _best(comparison, m),
        )
        for m, found in line.scores.items()
    ]


def _best(comparison: Comparison, metric: str) -> float:
    scores = [line.scores[metric].mean for line in comparison.lines if line.facts]
    best = np.nanmin if comparison.records[metric]["better"] == "lower" else np.nanmax
    return float(best(scores))


# figure-DATA.png


def _figure(folder: Path, comparison: Comparison, settings: TableSettings) -> np.ndarray:
    """Sources, target pose, target, and what each trained system made of them, for a few pairs."""
    place = folder / BASELINES / "examples"
    index = read_table(place / "examples.csv", EXAMPLES)
    images = ShardReader(place, index)
    examples = [(pair, rows) for pair, rows in index.groupby(["from", "to"], sort=False)]
    chosen = np.linspace(0, len(examples) - 1, min(settings.figure_pairs, len(examples))).round().astype(int)
    shown = [name for name in index["shows"].unique() if name.startswith("source ")]
    columns = [*sorted(shown, key=lambda name: int(name.split()[1])), "target pose", "target"]
    systems = [line.system for line in comparison.lines if line.facts]
    made = {name: _generated(folder / name / "generated" / name) for name in systems}
    pictures = []
    for (source, target), rows in (examples[number] for number in chosen):
        names = dict(zip(rows["shows"], rows["name"], strict=True))
        given = [decode(images[names[column]]) if column in names else None for column in columns]
        pictures.append([*given, *(decode(made[name][f"{source}--{target}.png"]) for name in systems)])
    width = next(image for image in pictures[0] if image is not None).shape[1]
    return grid(pictures, [*columns, *systems], zoom=-(-_LEAST_COLUMN // width))


def _generated(folder: Path) -> ShardReader:
    return ShardReader(folder, read_table(folder / "generated.csv", INDEX_COLUMNS))
