"""Systems compared on one data set: scores and differences with intervals, all on the same pairs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from repose.data.records import OCCLUSION, PAIRS
from repose.errors import ReposeError
from repose.evaluation.results import BASELINES, PROTOCOL, TORSO_CIEDE2000, Result, read_result
from repose.metrics.bootstrap import Interval, intervals, means
from repose.report.occlusion import Gain, gains_by_occlusion
from repose.report.tables.settings import TableSettings

Scores = Mapping[str, np.ndarray]  # by row: (pairs, metrics) float64


class Line(NamedTuple):
    """A row of the table. Without scores, the system is not trained on the data set."""

    system: str
    facts: dict[str, Any]  # facts about its training; empty for a baseline
    scores: dict[str, Interval]  # by metric
    differences: dict[str, Interval]  # to the reference; empty if there is none


class Contrast(NamedTuple):
    """The gain of a row over a row with fewer sources, by occlusion. If `gains` is empty, the note says why."""

    more: str
    fewer: str
    note: str
    gains: list[Gain]


class Comparison(NamedTuple):
    """All rows on one data set."""

    data: str
    beside: str  # the published data set
    facts: dict[str, Any]  # PROTOCOL, and the numbers of pairs with a torso and with a known OCCLUSION
    records: dict[str, dict[str, Any]]  # the provenance of each measured metric
    lines: list[Line]
    contrasts: list[Contrast]

    @property
    def trained(self) -> list[Line]:
        """The rows of trained systems."""
        return [line for line in self.lines if line.facts]

    @property
    def networks(self) -> str:
        """The networks used by the metrics, each with the SHA-256 of its file."""
        found = {name: sha256 for of in self.records.values() for name, sha256 in of.get("networks", {}).items()}
        return ", ".join(f"{name} {sha256}" for name, sha256 in found.items())

    @property
    def real_photos(self) -> str:
        """The real photos that each metric compares with, and its score by chance."""
        return "; ".join(
            f"{name} {of['photos']:,} of the part {of['real']}"
            + (f", chance {of['chance']:g}" if "chance" in of else "")
            for name, of in self.records.items()
            if "real" in of
        )


def compare(results: Path, data: str, settings: TableSettings) -> Comparison:
    """The rows on one data set, read from `results`/`data`/SYSTEM as evaluate wrote them.

    Raises:
        ReposeError: results are missing, damaged or without torso-ciede2000, or pairs, protocols or networks differ.
    """
    folder = results / data
    baselines = read_result(folder / BASELINES)
    trained = {name: read_result(folder / name) for name in settings.systems if (folder / name).is_dir()}
    measured = {name for result in (baselines, *trained.values()) for name in _scored(result)}
    metrics = [name for name in settings.columns if name in measured or name in settings.metrics]
    records = _records(baselines, folder / BASELINES, metrics)
    untrained = list(dict.fromkeys(baselines.pairs["system"]))
    first = baselines.pairs[baselines.pairs["system"] == untrained[0]]
    for name, result in trained.items():
        _check_equal_footing(baselines, first, result, folder / name, metrics)
    pairs = pd.concat([baselines.pairs, *(result.pairs for result in trained.values())])
    scores = {  # NaN for a metric over all images together
        str(row): own.reindex(columns=metrics).to_numpy(np.float64) for row, own in pairs.groupby("system", sort=False)
    }
    occlusion = first[OCCLUSION].to_numpy(np.float64)
    facts = {name: baselines.facts[name] for name in PROTOCOL} | {
        f"{TORSO_CIEDE2000} pairs": int(first[TORSO_CIEDE2000].count()),
        f"{OCCLUSION} pairs": int(np.isfinite(occlusion).sum()),
    }
    better = {name: record["better"] for name, record in records.items()}
    contrasts = [_contrast(pair, scores, occlusion, better, settings) for pair in settings.multi_source_gains]
    lines = _lines([*untrained, *settings.systems], scores, [baselines, *trained.values()], metrics, settings)
    return Comparison(data, settings.data_sets[data], facts, records, lines, contrasts)


def _scored(result: Result) -> list[str]:
    """The metrics that evaluate scored, per pair or over all images together."""
    together = {name for row in result.facts["scores"].values() for name in row}
    return [name for name in result.facts["metrics"] if name in result.pairs or name in together]


def _records(result: Result, folder: Path, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The provenance of each column."""
    scored = _scored(result)
    if missing := [name for name in metrics if name not in scored]:
        raise ReposeError(
            f"{folder} has no {', '.join(missing)}; it has {', '.join(scored)}. Change table.metrics, or add them to "
            "evaluate.metrics."
        )
    return {name: result.facts["metrics"][name] for name in metrics}


def _check_equal_footing(
    baselines: Result, first: pd.DataFrame, result: Result, folder: Path, metrics: Sequence[str]
) -> None:
    """Check the protocol, networks and pairs of a system against the baselines and their first row.

    The system's row with one source is checked too if it is scored.
    """
    beside = folder.with_name(BASELINES)
    own, expected = (
        {name: of.facts[name] for name in PROTOCOL} | _records(of, path, metrics)
        for of, path in ((result, folder), (baselines, beside))
    )
    for name, mine in own.items():
        if mine != expected[name]:
            raise ReposeError(
                f"{folder} is not comparable with {beside}: its {name} is {mine}, not {expected[name]}. Evaluate both on the "
                "same split and settings."
            )
    for row in dict.fromkeys([folder.name, *result.pairs["system"]]):
        own = result.pairs.loc[result.pairs["system"] == row, list(PAIRS)]
        if first[list(PAIRS)].to_numpy().tolist() != own.to_numpy().tolist():
            raise ReposeError(f"{folder} is not comparable with {beside}: their pairs differ. Evaluate both again.")


def _contrast(
    pair: tuple[str, str], scores: Scores, occlusion: np.ndarray, better: Mapping[str, str], settings: TableSettings
) -> Contrast:
    if missing := [name for name in pair if name not in scores]:
        return Contrast(*pair, f"not trained, or not scored: {' and '.join(missing)}", [])
    if not np.isfinite(occlusion).any():
        return Contrast(*pair, "occlusion is unknown", [])
    return Contrast(*pair, "", gains_by_occlusion(scores[pair[0]], scores[pair[1]], occlusion, better, settings))


def _lines(
    rows: Sequence[str], scores: Scores, results: Sequence[Result], metrics: Sequence[str], settings: TableSettings
) -> list[Line]:
    """One line per row. Each resample draws the same pairs for all rows; a difference is over those with both scores."""
    facts = {result.facts["system"]: result.facts for result in results}
    together = {row: of for result in results for row, of in result.facts["scores"].items()}
    own = {name: _means(scores[name], together.get(name, {}), metrics) for name in scores}

    def by_metric(mean: np.ndarray, by_pair: np.ndarray) -> dict[str, Interval]:
        drawn = settings.resampled(by_pair)
        return dict(zip(metrics, intervals(mean, drawn, settings.confidence), strict=True))

    lines, reference = [], settings.reference
    for name in rows:
        scored = by_metric(own[name], scores[name]) if name in scores else {}
        less = {}
        if scored and reference in scores and name != reference:
            change = scores[name] - scores[reference]
            common = np.where(np.isfinite(change).any(0), means(change), own[name] - own[reference])
            less = by_metric(common, change)
        lines.append(Line(name, facts.get(name, {}), scored, less))
    return lines


def _means(scores: np.ndarray, together: Mapping[str, float | None], metrics: Sequence[str]) -> np.ndarray:
    """(metrics,): the mean over the pairs, or the score over all images together, which has no interval."""
    found = [
        mean if together.get(name) is None else together[name]
        for name, mean in zip(metrics, means(scores), strict=True)
    ]
    return np.array(found, np.float64)
