"""The gain from more sources, by the share of the target's garment that the first source hides.

A gain is positive if the row with more sources is better: SSIM higher, torso-ciede2000 lower. All bins and metrics share their
resamples of pairs, so the difference between two bins has an interval too.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from repose.metrics.bootstrap import Interval, intervals, means
from repose.report.gates import Bootstrap

BINS = {  # of occlusion; low <= x < high
    "below 0.1": (-np.inf, 0.1),
    "0.1 to 0.5": (0.1, 0.5),
    "0.5 and more": (0.5, np.inf),
}
_BOTTOM, *_, _TOP = BINS
CONTRAST = f"{_TOP} less {_BOTTOM}"


class Gain(NamedTuple):
    """The mean gain in a bin, or the difference between the gains in the top and the bottom bin."""

    occlusion: str  # a name of BINS, or CONTRAST
    pairs: int  # in the bin, or in both bins
    by_metric: dict[str, Interval]  # NaN if no pair has the score


def gains_by_occlusion(
    more: np.ndarray, fewer: np.ndarray, occlusion: np.ndarray, metrics: Mapping[str, str], bootstrap: Bootstrap
) -> list[Gain]:
    """The gain in each of BINS, followed by CONTRAST.

    `more` and `fewer` are scores (n, M) of the rows with more and with fewer sources, NaN if a pair has none; `occlusion` is
    (n,), 0 to 1, and pairs with NaN belong to no bin. `metrics` are the names of the M scores, each with the better direction.
    """
    better = (more - fewer) * [-1 if way == "lower" else 1 for way in metrics.values()]  # (n, M)
    inside = np.stack([(low <= occlusion) & (occlusion < high) for low, high in BINS.values()])  # (bins, n)
    columns = np.concatenate([np.where(rows[:, None], better, np.nan) for rows in inside], 1)  # (n, bins * M)
    drawn = bootstrap.resampled(columns).reshape(-1, len(BINS), len(metrics))
    gains = means(columns).reshape(len(BINS), len(metrics))
    gains = np.concatenate([gains, gains[-1:] - gains[:1]])  # CONTRAST is last
    drawn = np.concatenate([drawn, drawn[:, -1:] - drawn[:, :1]], 1)
    counts = [*inside.sum(1), inside[0].sum() + inside[-1].sum()]
    found = [intervals(gain, drawn[:, i], bootstrap.confidence) for i, gain in enumerate(gains)]
    return [
        Gain(name, int(count), dict(zip(metrics, of, strict=True)))
        for name, count, of in zip((*BINS, CONTRAST), counts, found, strict=True)
    ]
