"""Tables that compare systems, as CSV files and as an image in the layout of the paper's Table 1."""

from typing import Any

import numpy as np
import pandas as pd

from repose.data.records import OCCLUSION
from repose.evaluation import table_text
from repose.evaluation.results import PROTOCOL, TORSO_CIEDE2000, TRAINING
from repose.metrics.bootstrap import Interval
from repose.report.published import Published
from repose.report.table_image import Cell, Group, draw_sheet
from repose.report.tables.page import cells, notes, protocol
from repose.report.tables.settings import TableSettings
from repose.report.tables.side_by_side import Comparison

GAINS = (
    "data set", "more", "fewer", "occlusion", "pairs", "metric", "gain", "gain low", "gain high", "note", "confidence",
    "resamples", "bootstrap seed",
)  # fmt: skip


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
            row |= {**_bootstrap(settings), "networks": comparison.networks, "checkpoint sha256": line.checkpoint}
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


def picture(comparisons: list[Comparison], printed: Published, settings: TableSettings) -> np.ndarray:
    """An image of the published numbers and ours for each data set, (h, w, 3) uint8.

    The best trained row of each column is marked.
    """
    published = list(dict.fromkeys(comparison.beside for comparison in comparisons)) if printed else []
    groups = [
        Group("", ["Methods"]),
        *(Group(f"published, {data}", ["SSIM", "IS"]) for data in published),
        *(Group(_title(comparison, settings), settings.columns) for comparison in comparisons),
    ]
    names = {system: row["name"] for (_, system), row in printed.items()}
    rows: list[list[Cell] | None] = []
    for lines in zip(*(comparison.lines for comparison in comparisons), strict=True):  # one system on each data set
        name = lines[0].system
        if name == settings.systems[0]:
            rows.append(None)
        row = [Cell(name, names.get(name, ""))]
        for data in published:
            paper = printed.get((data, name))
            row += [Cell(f"{paper[key]:.3f}" if paper else "-", soft=True) for key in ("ssim", "is")]
        for comparison, line in zip(comparisons, lines, strict=True):
            row += cells(comparison, line, settings)
        rows.append(row)
    about = [f"{comparison.data}: {protocol(comparison, printed, settings)}" for comparison in comparisons]
    tinted = "Tinted: the best trained row of the column."
    return draw_sheet(groups, rows, [*about, *notes(printed, settings), tinted])


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    mean, low, high = found or (None, None, None)
    return {name: mean, f"{name} low": low, f"{name} high": high}


def _bootstrap(settings: TableSettings) -> dict[str, float]:
    return {"confidence": settings.confidence, "resamples": settings.resamples, "bootstrap seed": settings.seed}


def _title(comparison: Comparison, settings: TableSettings) -> str:
    facts = comparison.facts
    return f"{comparison.data}, {settings.budget}, {facts['split']}, {facts['pairs']:,} pairs, {facts['size']} px"
