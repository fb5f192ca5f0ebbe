"""Tables that compare systems: a page of Markdown, and CSV files."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from repose.data.records import OCCLUSION
from repose.evaluation import table_text
from repose.evaluation.results import PROTOCOL, TORSO_CIEDE2000, TRAINING
from repose.metrics.bootstrap import Interval
from repose.report.markdown import render
from repose.report.published import Published
from repose.report.tables.settings import TableSettings
from repose.report.tables.side_by_side import Comparison, Contrast, Line

NOT_TRAINED, NOT_MEASURED = "not trained", "not measured"
GAINS = (
    "data set", "more", "fewer", "occlusion", "pairs", "metric", "gain", "gain low", "gain high", "note", "confidence",
    "resamples", "bootstrap seed",
)  # fmt: skip


def page(comparisons: list[Comparison], printed: Published, settings: TableSettings) -> str:
    """The whole page as Markdown."""
    parts = [_part(comparison, printed, settings) for comparison in comparisons]
    return render("table.md.jinja", settings=settings, printed=printed, parts=parts, table=table_text.markdown)


def _part(comparison: Comparison, printed: Published, settings: TableSettings) -> dict[str, Any]:
    """What the template shows of one data set."""
    facts, trained = comparison.facts, [line.facts for line in comparison.trained]
    images = [of["images"] for of in trained]
    return {
        "comparison": comparison,
        "metrics": list(comparison.records),
        "tested_on": table_text.tested_on(facts),
        "seeds": sorted({of["seed"] for of in trained}),
        "left_out": facts["pairs"] - facts[f"{TORSO_CIEDE2000} pairs"],
        "unmeasured": [name for name in settings.optional_metrics if name not in comparison.records],
        "published": [row for (data, _), row in printed.items() if data == comparison.beside],
        "images": [f"{number:,}" for number in sorted({min(images), max(images)})] if images else [],
        "scores": [_scores(line, printed, comparison.beside, settings) for line in comparison.lines],
        "differences": [
            [line.system, *_differences(line.differences)] for line in comparison.lines if line.differences
        ],
        "training": [_training(line) for line in comparison.lines if line.facts or not line.scores],
        "gains": [row for of in comparison.contrasts for row in _gains(of, len(comparison.records))],
    }


def _scores(line: Line, printed: Published, beside: str, settings: TableSettings) -> list[str]:
    """The published numbers of a row, and our score and interval in each column."""
    paper = printed.get((beside, line.system))
    theirs = [paper["name"], f"{paper['ssim']:.3f}", f"{paper['is']:.3f}"] if paper else ["", "", ""]
    ours = [
        table_text.with_bounds(name, line.scores[name]) if name in line.scores else NOT_MEASURED
        for name in settings.columns
    ]
    none = [NOT_TRAINED, *[""] * (len(settings.columns) - 1)]
    return [line.system, *(theirs if printed else []), *(ours if line.scores else none)]


def _differences(found: Mapping[str, Interval]) -> list[str]:
    return [table_text.difference(name, of) for name, of in found.items()]


def _training(line: Line) -> list[str]:
    """How a row was trained."""
    f = line.facts
    if not f:
        return [line.system, NOT_TRAINED, *[""] * 10]  # of the 12 columns
    counts = [f"{f[name]:,}" for name in ("images", "steps", "items_per_step", "max_sources")]
    how = [f["optimiser"], f["loss"], f["perceptual"] or "none", table_text.parameters(f["parameters"])]
    return [line.system, f["kind"], *counts, *how, f"{f['seed']}", f"{f['device']}, {f['precision']}"]


def _gains(contrast: Contrast, columns: int) -> list[list[str]]:
    """The gain in each bin, and the difference between the top and the bottom bin; or the note."""
    more, fewer, note, gains = contrast
    rows = [[more, fewer, of.occlusion, f"{of.pairs:,}", *_differences(of.by_metric)] for of in gains]
    return rows or [[more, fewer, note, *[""] * (1 + columns)]]


def scores_table(comparisons: list[Comparison], printed: Published, settings: TableSettings) -> pd.DataFrame:
    """One row per data set and system, with the provenance of its numbers."""
    rows = []
    for comparison in comparisons:
        for line in comparison.lines:
            row: dict[str, Any] = {"data set": comparison.data, "system": line.system, "budget": settings.budget}
            row |= {name: comparison.facts[name] for name in (*PROTOCOL, f"{TORSO_CIEDE2000} pairs")}
            for found, suffix in ((line.scores, ""), (line.differences, f" less {settings.reference}")):
                for metric in settings.columns:
                    row |= _ends(f"{metric}{suffix}", found.get(metric))
            systems = line.facts.get("provenance", {}).get("systems", {})
            row |= {**_bootstrap(settings), "networks": comparison.networks}
            row["checkpoint sha256"] = systems.get(line.system, {}).get("sha256")  # None for a baseline
            row |= {name: line.facts.get(name) for name in TRAINING}
            row["parameters"] = table_text.parameters(line.facts.get("parameters", {}))
            if printed:
                paper = printed.get((comparison.beside, line.system), {})
                row["published data set"] = comparison.beside
                row |= {f"published {name}": paper.get(name) for name in ("ssim", "is", "split", "protocol")}
            rows.append(row)
    return pd.DataFrame(rows)


def gains_table(comparisons: list[Comparison], settings: TableSettings) -> pd.DataFrame:
    """One row per data set, contrast, bin and metric, with the columns GAINS.

    A contrast without scores has one row with a note.
    """
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for more, fewer, note, gains in comparison.contrasts:
            head = {"data set": comparison.data, "more": more, "fewer": fewer, "note": note} | _bootstrap(settings)
            rows += [
                head | {OCCLUSION: gain.occlusion, "pairs": gain.pairs, "metric": metric} | _ends("gain", found)
                for gain in gains
                for metric, found in gain.by_metric.items()
            ] or [head]
    return pd.DataFrame(rows, columns=list(GAINS))


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    mean, low, high = found or (None, None, None)
    return {name: mean, f"{name} low": low, f"{name} high": high}


def _bootstrap(settings: TableSettings) -> dict[str, float]:
    return {"confidence": settings.confidence, "resamples": settings.resamples, "bootstrap seed": settings.seed}
