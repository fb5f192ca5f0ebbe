"""The block `table` of params.yaml."""

from pydantic import NonNegativeInt, PositiveInt

from repose.config import check_system_names, nearest, settings
from repose.evaluation.results import COPY, MEAN, REAL, TORSO_CIEDE2000, with_one_source
from repose.report.gates import Bootstrap, Confidence


@settings
class TableSettings(Bootstrap):
    """Which systems and metrics are compared, and how intervals are computed."""

    budget: str  # name of the training budget: demo, gpu, paper
    data_sets: dict[str, str]  # folders of results in order, each with its published data set (or "")
    systems: tuple[str, ...]  # rows in order; a row without results is shown as not trained
    metrics: tuple[str, ...]  # columns in order, all scored by evaluate; must include torso-ciede2000
    reference: str  # the row that the others are compared with
    resamples: PositiveInt  # of the bootstrap over test pairs
    confidence: Confidence
    seed: NonNegativeInt  # of the bootstrap
    figure_pairs: PositiveInt  # maximum rows of a figure; evaluate keeps evaluate.picture_pairs
    multi_source_gains: tuple[tuple[str, str], ...] = ()  # rows [with more sources, with fewer] to compare by occlusion
    optional_metrics: tuple[str, ...] = ()  # further columns; "not measured" if evaluate did not score them

    def __post_init__(self) -> None:
        for name in ("data_sets", "systems", "metrics"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty. Add at least one entry.")
        for name, values in (("systems", self.systems), ("metrics", self.columns)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has duplicates: {', '.join(values)}.")
        check_system_names(self.systems)
        if TORSO_CIEDE2000 not in self.metrics:
            raise ValueError(
                f"metrics lacks {TORSO_CIEDE2000}. Add it, because SSIM barely notices whether the garment is right."
            )
        if self.reference not in self.systems:
            raise ValueError(f"reference should be one of the systems, not {self.reference!r}.")
        rows = [REAL, COPY, MEAN, *self.systems, *map(with_one_source, self.systems)]
        for pair in self.multi_source_gains:
            for name in pair:
                if name not in rows:
                    raise ValueError(f"multi_source_gains names {name!r}, which is not a row{nearest(name, rows)}")
            if pair[0] == pair[1]:
                raise ValueError(f"multi_source_gains compares {pair[0]} with itself.")

    @property
    def columns(self) -> tuple[str, ...]:
        """All metrics, in the table's order."""
        return (*self.metrics, *self.optional_metrics)
