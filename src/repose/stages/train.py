"""train: train one system on the split's items; see `repose.training`."""

from dataclasses import dataclass, replace
from pathlib import Path

from repose import training
from repose.data.batches import Steps
from repose.data.photos import Photos
from repose.data.records import ITEMS, PAIRS, part_files, part_names, read_table
from repose.generate import jobs_of_pairs
from repose.systems import SystemSettings
from repose.systems.learning import distributed
from repose.training import TrainSettings


@dataclass(frozen=True)
class Folders:
    """The input folders of training."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path

    def tables(self) -> list[Path]:
        """Return the files that identify the data; they contain the digests of photos."""
        parts = part_names(self.images)
        return [
            *part_files(self.images, parts, "images.csv"), *part_files(self.keypoints, parts, "keypoints.csv"),
            *part_files(self.posemaps, parts, "posemaps.json"),
            self.split / "items.csv", self.split / "test-pairs.csv",
        ]  # fmt: skip


def run(
    *, system: str, row: SystemSettings, settings: TrainSettings, folders: Folders, run: Path, work: Path, extend: bool = False
) -> None:  # fmt: skip
    """Train the row called `system` and write the folder `run`, as one process or as one of several.

    With `extend`, continue a run with fewer steps.

    Raises:
        ReposeError: the data do not fit, the weights of VGG19 are missing, a loss or a weight is not finite, the disk is
            full, or `settings.processes` does not fit the row or the machine.
    """
    count = training.process_count(system, row, settings)
    settings = replace(settings, processes=count)
    with distributed.joined(count, settings.device) as rank:
        photos = Photos(
            images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps,
            cache_megabytes=settings.cache_megabytes,
        )  # fmt: skip
        items = read_table(folders.split / "items.csv", ITEMS)
        steps = Steps(
            photos, items[items["part"] == "train"], steps=row.steps, seed=settings.seed,
            items_per_step=row.items_per_step, max_photos=row.max_photos, max_sources=row.max_sources,
            targets=row.targets, augment=settings.augment, rank=rank.number, processes=rank.of, others=row.needs_others,
        )  # fmt: skip
        pairs = read_table(folders.split / "test-pairs.csv", PAIRS)[: settings.sample_pairs]
        training.train(
            system, row, settings, steps, samples=jobs_of_pairs(pairs, items[items["part"] == "test"], row.max_sources),
            tables=folders.tables(), run=run, work=work, extend=extend, rank=rank,
        )  # fmt: skip
