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
    """How much worse one metric may get from BASE to HEAD: by `tolerance` or by `relative`."""

    better: Better
    tolerance: NonNegativeFloat | None = None  # in the metric's own unit
    relative: NonNegativeFloat | None = None  # a share of BASE's score: 0.03 for 3 percent

    def __post_init__(self) -> None:
        if (self.tolerance is None) == (self.relative is None):
            raise ValueError("give one of tolerance and relative.")

    def allowed(self, base: float) -> float:
        """By how much a score may be worse than BASE's, in the metric's own unit."""
        return self.tolerance if self.tolerance is not None else abs(base) * (self.relative or 0)

    def gain(self, change: float) -> float:
        """A change from BASE to HEAD, positive where HEAD is better."""
        return change if self.better == "higher" else -change


@settings
class Limit:
    """The range that HEAD's score of one system must keep, whatever BASE's is."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both.")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min, {self.min:g}, is above max, {self.max:g}.")

    def __str__(self) -> str:
        ends = {"at least": self.min, "at most": self.max}
        return ", ".join(f"{words} {end:g}" for words, end in ends.items() if end is not None)

    def keeps(self, score: float) -> bool:
        """Whether a score is inside."""
        return (self.min is None or score >= self.min) and (self.max is None or score <= self.max)


class Bootstrap:
    """Settings with these three fields, by which intervals are drawn over test pairs."""

    resamples: int
    confidence: float
    seed: int

    def resampled(self, scores: np.ndarray) -> np.ndarray:
        """The means of scores (pairs, M) in each resample: (resamples, M) float64."""
        return resampled_means(scores, resamples=self.resamples, seed=self.seed)

    def intervals(self, scores: np.ndarray) -> list[Interval]:
        """The mean of each of M scores (pairs, M), with its interval."""
        return intervals(means(scores), self.resampled(scores), self.confidence)


@settings
class GatesSettings(Bootstrap):
    """The block `gates` of params.yaml."""

    systems: tuple[str, ...]  # rows of the scores that are judged
    metrics: dict[str, Gate]  # by their names among the scores
    limits: dict[str, dict[str, Limit]]  # by system, then by metric
    resamples: PositiveInt  # of the bootstrap over test pairs
    confidence: Confidence
    seed: NonNegativeInt  # of the bootstrap
    baseline: bool = True  # whether the stage gates has scores to compare with; if not, the limits alone judge

    def __post_init__(self) -> None:
        if not self.systems or not self.metrics:
            raise ValueError("systems and metrics should each name at least one. Without a gate nothing is judged.")
        if len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems names a row twice: {', '.join(self.systems)}.")
        for system, limits in self.limits.items():
            for where, name, known in (
                ("limits", system, self.systems),
                *((f"limits.{system}", metric, tuple(self.metrics)) for metric in limits),
            ):
                if name not in known:
                    raise ValueError(f"{where} names {name!r}, which has no gate{nearest(name, known)}")
