"""The block `gates` of params.yaml: which scores are judged, and how far each may fall behind."""

from repose.config import nearest, settings
from repose.metrics.provenance import Better


@settings
class Gate:
    """How far one metric may get worse from BASE to HEAD: by `tolerance` or by `relative`, one of them."""

    better: Better
    tolerance: float | None = None  # in the metric's own unit
    relative: float | None = None  # a share of BASE's score: 0.03 for 3 percent

    def __post_init__(self) -> None:
        given = [value for value in (self.tolerance, self.relative) if value is not None]
        if len(given) != 1:
            raise ValueError(f"{'both' if given else 'neither'} of tolerance and relative are given. Give one of them.")
        if given[0] < 0:
            raise ValueError(f"the tolerance should be at least 0, not {given[0]:g}.")

    def allowed(self, base: float) -> float:
        """By how much a score may be worse than BASE's, in the metric's own unit."""
        return self.tolerance if self.tolerance is not None else abs(base) * (self.relative or 0)

    def gain(self, change: float) -> float:
        """A change from BASE to HEAD, positive where HEAD is better."""
        return change if self.better == "higher" else -change


@settings
class Limit:
    """What HEAD's score of one system must keep, whatever BASE's is: at least, at most, or both."""

    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ValueError("neither least nor most is given. Give one of them.")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"no score is at least {self.least:g} and at most {self.most:g}.")

    def __str__(self) -> str:
        ends = {"at least": self.least, "at most": self.most}
        return ", ".join(f"{words} {end:g}" for words, end in ends.items() if end is not None)

    def keeps(self, score: float) -> bool:
        """Whether a score is inside."""
        return (self.least is None or score >= self.least) and (self.most is None or score <= self.most)


@settings
class GatesSettings:
    """The block `gates` of params.yaml."""

    systems: tuple[str, ...]  # rows of the scores that are judged; others are only named
    metrics: dict[str, Gate]  # likewise the metrics, by their names among the scores
    limits: dict[str, dict[str, Limit]]  # by system, then by metric
    resamples: int  # of the bootstrap over test pairs
    confidence: float  # share of the resamples inside an interval, 0 to 1
    seed: int  # of the bootstrap
    baseline: bool = True  # whether the stage gates has scores to compare with; if not, the limits alone judge

    def __post_init__(self) -> None:
        if not self.systems or not self.metrics:
            raise ValueError("systems and metrics should each name at least one. Without a gate nothing is judged.")
        if len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems names a row twice: {', '.join(self.systems)}.")
        for system, limits in self.limits.items():
            _check_known("limits", system, self.systems)
            for metric in limits:
                _check_known(f"limits.{system}", metric, tuple(self.metrics))
        if self.resamples < 1:
            raise ValueError(f"resamples should be at least 1, not {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence should lie between 0 and 1, not be {self.confidence:g}.")
        if self.seed < 0:
            raise ValueError(f"seed should be at least 0, not {self.seed}.")


def _check_known(where: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"{where} names {name!r}, which has no gate{nearest(name, known)}")
