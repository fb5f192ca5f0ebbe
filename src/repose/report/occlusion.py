"""The gain of more sources by how much of the target's garment the first source hides.

A gain is positive where the row with more sources is better: SSIM higher, torso-ciede2000 lower. All bins and metrics are
resampled together, over pairs, so the difference of two bins has an interval too.
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
    """The mean gain in a bin, or how much larger it is in the top bin than in the bottom one."""

    occlusion: str  # a name of BINS, or CONTRAST
    pairs: int  # in the bin, or in both
    by_metric: dict[str, Interval]  # NaN where no pair has the score


def gains_by_occlusion(
    more: np.ndarray, fewer: np.ndarray, occlusion: np.ndarray, metrics: Mapping[str, str], bootstrap: Bootstrap
) -> list[Gain]:
    """The gain in each of BINS, then CONTRAST.

    Args:
        more: scores (n, M) of the row with more sources; NaN where a pair has none.
        fewer: scores (n, M) of the other row, of the same pairs.
        occlusion: (n,) 0 to 1; pairs with NaN are in no bin.
        metrics: the M names of the scores, and what is better of each, higher or lower.
        bootstrap: how pairs are drawn.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if not more.shape == fewer.shape == (len(occlusion), len(metrics)):
        raise ValueError(
            f"more and fewer should be {(len(occlusion), len(metrics))}, (pairs, metrics), not {more.shape} and {fewer.shape}."
        )
    better = (more - fewer) * [-1 if way == "lower" else 1 for way in metrics.values()]  # (n, M)
    inside = np.stack([(low <= occlusion) & (occlusion < high) for low, high in BINS.values()])  # (bins, n)
    columns = np.concatenate([np.where(rows[:, None], better, np.nan) for rows in inside], 1)  # (n, bins * M)
    drawn = bootstrap.resampled(columns).reshape(-1, len(BINS), len(metrics))
    gains = means(columns).reshape(len(BINS), len(metrics))
    gains = np.concatenate([gains, gains[-1:] - gains[:1]])  # CONTRAST last
    drawn = np.concatenate([drawn, drawn[:, -1:] - drawn[:, :1]], 1)
    counts = [*inside.sum(1), inside[0].sum() + inside[-1].sum()]
    return [
        Gain(
            name,
            int(counts[i]),
            dict(zip(metrics, intervals(gains[i], drawn[:, i], bootstrap.confidence), strict=True)),
        )
        for i, name in enumerate((*BINS, CONTRAST))
    ]
