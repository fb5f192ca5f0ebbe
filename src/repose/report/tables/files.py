"""Tables that compare systems, as CSV files."""

from typing import Any

import pandas as pd

from repose.data.records import OCCLUSION
from repose.evaluation import table_text
from repose.evaluation.results import PROTOCOL, TORSO_CIEDE2000, TRAINING
from repose.metrics.bootstrap import Interval
from repose.report.published import Published
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


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    mean, low, high = found or (None, None, None)
    return {name: mean, f"{name} low": low, f"{name} high": high}


def _bootstrap(settings: TableSettings) -> dict[str, float]:
    return {"confidence": settings.confidence, "resamples": settings.resamples, "bootstrap seed": settings.seed}
