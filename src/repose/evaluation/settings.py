"""The block `evaluate` of the params."""

from typing import Literal

from repose.config import check_system_names, settings
from repose.errors import ReposeError
from repose.evaluation.results import TORSO_CIEDE2000
from repose.metrics.catalogue import check_name
from repose.storage.weight_files import WeightsFile, check_names


@settings
class EvaluateSettings:
    """Which systems are scored, how, and what is kept."""

    systems: tuple[str, ...]  # rows of the table, in its order; the pipeline trains these
    metrics: tuple[str, ...]  # metric/protocol, the columns of the table in their order
    weights: dict[str, WeightsFile]  # of the networks that metrics need, by name; a name that is not here: in the cache
    pairs: int | None  # at most so many test pairs, evenly spread over the split's; null: all
    single_source: bool  # score systems that take several sources also with the pair's source alone
    picture_pairs: int  # rows of the picture
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda where there is one
    threads: int  # CPU threads of torch
    shard_megabytes: int  # MiB of a tar shard of generated images

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("systems is empty. Name at least one of the rows under systems.")
        check_system_names(self.systems)
        if len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems names a row twice: {', '.join(self.systems)}.")
        self._check_metrics()
        check_names(self.weights)
        for name in ("pairs", "picture_pairs", "threads", "shard_megabytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} should be at least 1, not {value}.")

    @property
    def shard_bytes(self) -> int:
        """Of a tar shard, about."""
        return self.shard_megabytes * 2**20

    def _check_metrics(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty. Name at least one, such as ssim/pg2 (docs/metrics.md has them all).")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics names one twice: {', '.join(self.metrics)}.")
        for name in self.metrics:
            try:
                check_name(name)
            except ReposeError as error:
                raise ValueError(f"metrics: {error}") from None
        if TORSO_CIEDE2000 not in self.metrics and any(name.startswith("ssim/") for name in self.metrics):
            raise ValueError(
                f"metrics has SSIM, which sees no garment, and not {TORSO_CIEDE2000}. Add {TORSO_CIEDE2000}."
            )
