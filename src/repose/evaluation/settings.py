"""The block `evaluate` of params.yaml."""

from typing import Literal

from pydantic import PositiveInt

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
    weights: dict[str, WeightsFile]  # of the networks that metrics need, by name; others are looked up in the cache
    pairs: PositiveInt | None  # at most so many test pairs, evenly spread over the split's; null: all
    single_source: bool  # score systems that take several sources also with the pair's source alone
    picture_pairs: PositiveInt  # rows of the picture
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    threads: PositiveInt  # CPU threads of torch
    shard_megabytes: PositiveInt  # MiB of a tar shard of generated images

    def __post_init__(self) -> None:
        for key, names in (("systems", self.systems), ("metrics", self.metrics)):
            if not names:
                raise ValueError(f"{key} is empty. Name at least one.")
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names one twice: {', '.join(names)}.")
        check_system_names(self.systems)
        check_names(self.weights)
        for name in self.metrics:
            try:
                check_name(name)
            except ReposeError as error:
                raise ValueError(f"metrics: {error}") from None
        if TORSO_CIEDE2000 not in self.metrics and any(name.startswith("ssim/") for name in self.metrics):
            raise ValueError(
                f"metrics has SSIM, which sees no garment, and not {TORSO_CIEDE2000}. Add {TORSO_CIEDE2000}."
            )

    @property
    def shard_bytes(self) -> int:
        """Approximate size of a tar shard."""
        return self.shard_megabytes * 2**20
