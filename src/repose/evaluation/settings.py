"""The block `evaluate` of params.yaml."""

from typing import Literal

from pydantic import PositiveInt

from repose.config import check_system_names, settings
from repose.errors import ReposeError
from repose.evaluation.results import TORSO_CIEDE2000
from repose.metrics.catalogue import parsed
from repose.storage.weight_files import WeightsFile, check_names


@settings
class EvaluateSettings:
    """The settings of the stage evaluate."""

    systems: tuple[str, ...]  # the systems that are trained and compared, in the order of the table
    metrics: tuple[str, ...]  # metric/protocol, in the order of the table's columns
    weights: dict[str, WeightsFile]  # of the networks that metrics need, by name; others are taken from the cache
    pairs: PositiveInt | None  # maximum number of test pairs, evenly spread over the split's; null: all
    single_source: bool  # also score systems that take several sources with only one
    picture_pairs: PositiveInt  # rows of the picture
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda if available
    threads: PositiveInt  # CPU threads of torch
    shard_megabytes: PositiveInt  # MiB of a tar shard of generated images

    def __post_init__(self) -> None:
        for key, names in (("systems", self.systems), ("metrics", self.metrics)):
            if not names:
                raise ValueError(f"{key} is empty. Give at least one.")
            if len(set(names)) < len(names):
                raise ValueError(f"{key} has duplicates: {', '.join(names)}.")
        check_system_names(self.systems)
        check_names(self.weights)
        for name in self.metrics:
            try:
                parsed(name)
            except ReposeError as error:
                raise ValueError(f"metrics: {error}") from None
        if TORSO_CIEDE2000 not in self.metrics and any(name.startswith("ssim/") for name in self.metrics):
            raise ValueError(
                f"metrics has SSIM, which barely notices the garment, without {TORSO_CIEDE2000}. Add {TORSO_CIEDE2000}."
            )
