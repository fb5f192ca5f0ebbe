"""The block `table` of the params."""

from pydantic import NonNegativeInt, PositiveInt

from repose.config import check_system_names, nearest, settings
from repose.evaluation.results import COPY, MEAN, REAL, TORSO_CIEDE2000, with_one_source
from repose.report.gates import Bootstrap, Confidence


@settings
class TableSettings(Bootstrap):
    """What is laid side by side, and how its intervals are drawn."""

    budget: str  # what the training was allowed, by name: demo, gpu, paper
    data_sets: dict[str, str]  # folders of results, in order, each with the published data set beside it (or "")
    systems: tuple[str, ...]  # rows, in order; one without results is shown as not trained
    metrics: tuple[str, ...]  # columns in order, of those that evaluate scored; torso-ciede2000 is one of them
    reference: str  # the row that the others are compared with, on the same pairs
    resamples: PositiveInt  # of the bootstrap over test pairs
    confidence: Confidence
    seed: NonNegativeInt  # of the bootstrap
    figure_pairs: PositiveInt  # rows of a figure, at most; evaluate keeps the images of evaluate.picture_pairs
    multi_source_gains: tuple[tuple[str, str], ...] = ()  # rows [of more sources, of fewer] to compare by occlusion
    optional_metrics: tuple[str, ...] = ()  # further columns: "not measured" where evaluate did not score them

    def __post_init__(self) -> None:
        for name in ("data_sets", "systems", "metrics"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty. Name at least one.")
        for name, values in (("systems", self.systems), ("metrics", self.columns)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one twice: {', '.join(values)}.")
        check_system_names(self.systems)
        if TORSO_CIEDE2000 not in self.metrics:
            raise ValueError(
                f"metrics lacks {TORSO_CIEDE2000}, which stands beside SSIM, as SSIM sees no garment. Add it."
            )
        if self.reference not in self.systems:
            raise ValueError(f"reference should be one of the systems, not {self.reference!r}.")
        rows = [REAL, COPY, MEAN, *self.systems, *map(with_one_source, self.systems)]
        for pair in self.multi_source_gains:
            for name in pair:
                if name not in rows:
                    raise ValueError(f"multi_source_gains names {name!r}, which is no row{nearest(name, rows)}")
            if pair[0] == pair[1]:
                raise ValueError(f"multi_source_gains compares {pair[0]} with itself.")

    @property
    def columns(self) -> tuple[str, ...]:
        """All metrics, in the table's order."""
        return (*self.metrics, *self.optional_metrics)
