"""The block `gates` of params.yaml: which scores are judged, and how much worse each may get."""

from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from repose.config import nearest, settings
from repose.metrics.bootstrap import Interval, intervals, means, resampled_means
from repose.metrics.provenance import Better

Confidence = Annotated[float, Field(gt=0, lt=1)]  # share of the resamples inside an interval


@settings
class Gate:
    """How much worse a metric may get from BASE to HEAD. Exactly one of `tolerance` and `relative` is set."""

    better: Better
    tolerance: NonNegativeFloat | None = None  # in the unit of the metric
    relative: NonNegativeFloat | None = None  # as a share of BASE's score: 0.03 is 3 percent

    def __post_init__(self) -> None:
        if (self.tolerance is None) == (self.relative is None):
            raise ValueError("set exactly one of tolerance and relative.")

    def allowed(self, base: float) -> float:
        """The largest allowed loss against BASE's score, in the unit of the metric."""
        return self.tolerance if self.tolerance is not None else abs(base) * (self.relative or 0)

    def gain(self, change: float) -> float:
        """The change from BASE to HEAD as a gain: positive if HEAD is better."""
        return change if self.better == "higher" else -change


@settings
class Limit:
    """The range that HEAD's score of a system must stay in, regardless of BASE."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("set min, max or both.")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is greater than max ({self.max:g}).")

    def __str__(self) -> str:
        ends = {"at least": self.min, "at most": self.max}
        return ", ".join(f"{words} {end:g}" for words, end in ends.items() if end is not None)

    def keeps(self, score: float) -> bool:
        """Whether a score is within the limit."""
        return (self.min is None or score >= self.min) and (self.max is None or score <= self.max)


class Bootstrap:
    """Base class of settings that describe a bootstrap over test pairs."""

    resamples: int
    confidence: float
    seed: int

    def resampled(self, scores: np.ndarray) -> np.ndarray:
        """The means of scores (pairs, M) in each resample: (resamples, M) float64."""
        return resampled_means(scores, resamples=self.resamples, seed=self.seed)

    def intervals(self, scores: np.ndarray) -> list[Interval]:
        """The mean and the interval of each of M scores (pairs, M)."""
        return intervals(means(scores), self.resampled(scores), self.confidence)


@settings
class GatesSettings(Bootstrap):
    """The block `gates` of params.yaml."""

    systems: tuple[str, ...]  # the rows to judge
    metrics: dict[str, Gate]  # by metric
    limits: dict[str, dict[str, Limit]]  # by system, then by metric
    resamples: PositiveInt  # of the bootstrap over test pairs
    confidence: Confidence
    seed: NonNegativeInt  # of the bootstrap
    baseline: bool = True  # whether the stage gates compares with baseline/; if not, it only checks the limits

    def __post_init__(self) -> None:
        if not self.systems or not self.metrics:
            raise ValueError(
                "systems and metrics should each have at least one entry. Without a gate, nothing is judged."
            )
        if len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems has duplicates: {', '.join(self.systems)}.")
        for system, limits in self.limits.items():
            for where, name, known in (
                ("limits", system, self.systems),
                *((f"limits.{system}", metric, tuple(self.metrics)) for metric in limits),
            ):
                if name not in known:
                    raise ValueError(f"{where} names {name!r}, which has no gate{nearest(name, known)}")
