"""Format scores: digits by metric, intervals in brackets, Markdown tables, CSV."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from repose.data.records import no_formulas
from repose.evaluation.results import TORSO_CIEDE2000
from repose.metrics.bootstrap import Interval
from repose.metrics.provenance import cell


def number(metric: str, value: float, sign: str = "") -> str:
    """Return a score with its metric's digits, empty for NaN; `sign` "+" adds the sign of a difference."""
    digits = 2 if metric in (TORSO_CIEDE2000, "psnr") else 3
    return "" if np.isnan(value) else f"{value:{sign}.{digits}f}"


def with_bounds(metric: str, found: Interval, sign: str = "") -> str:
    """Return a score with its interval; metrics of all images together have none."""
    mean, low, high = (number(metric, value, sign) for value in found)
    return f"{mean} [{low}, {high}]" if low else mean


def difference(metric: str, found: Interval) -> str:
    """Return a difference of scores with its interval, in bold if 0 is outside the interval."""
    text = with_bounds(metric, found, "+")
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


def parameters(counts: Mapping[str, int]) -> str:
    """Return the numbers of parameters of a system's networks as text."""
    return ", ".join(f"{network} {count:,}" for network, count in counts.items())


def cropped(crop: Sequence[float] | Literal["person"] | None) -> str:
    """Return `posemaps.crop` as a clause; empty if the whole photo is used."""
    if crop is None or crop == "person":
        return ", cropped around the person" if crop else ""
    return f", cropped to {', '.join(f'{side:g}' for side in crop)} (left, top, right, bottom in px of the photo)"


def tested_on(facts: Mapping[str, Any]) -> str:
    """Return the split, the pairs and the images of `results.PROTOCOL` as a clause."""
    return (
        f"Split {facts['split']}, {facts['pairs']:,} test pairs, {facts['size']} px (height x width)"
        + f"{cropped(facts['crop'])}, {facts['format']}"
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(map(cell, cells))} |" for cells in (head, ["---"] * len(head), *rows))


def csv(table: pd.DataFrame, *, index: bool = False) -> str:
    """Return a CSV with LF line ends and ten digits per number."""
    text: str = no_formulas(table).to_csv(index=index, lineterminator="\n", float_format="%.10g")
    return text
