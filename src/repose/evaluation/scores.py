"""Scores of contestants on a test set."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from repose.data.images import encode_png
from repose.data.records import OCCLUSION, write_table
from repose.data.shards import INDEX_COLUMNS, ShardWriter, index_table
from repose.errors import ReposeError
from repose.evaluation.contestants import Contestant
from repose.evaluation.results import image_name
from repose.evaluation.testset import TestSet, to_device
from repose.generate import TARGETS_AT_ONCE, Done, Job, jobs_of_pairs
from repose.metrics.catalogue import Batch, OfPairs
from repose.terminal import bar


class Scored(NamedTuple):
    """The scores of one contestant."""

    pairs: pd.DataFrame  # a row per pair
    together: dict[str, float]  # of all images together, by name


def score(contestant: Contestant, test: TestSet, *, keep: Path | None = None, shard_bytes: int = 2**26) -> Scored:
    """Generate the images of all test pairs, and score them.

    With `keep`, write the images to this folder: tar shards of about `shard_bytes`, with the table generated.csv.

    Raises:
        ReposeError: an image is missing, has NaNs or another size than its target, or the disk is full.
    """
    jobs = jobs_of_pairs(test.pairs, test.items, contestant.max_sources)
    by_pair = {metric.name: list[np.ndarray]() for metric in test.metrics if isinstance(metric.how, OfPairs)}
    growing = {metric.name: metric.how.start() for metric in test.metrics if not isinstance(metric.how, OfPairs)}
    places, made = [], 0
    with ExitStack() as stack:
        if keep is not None:
            keep.mkdir(parents=True)
            shards = stack.enter_context(ShardWriter(keep, shard_bytes))
        for done in bar(contestant.images(jobs), f"evaluate {contestant.name}", -(-len(jobs) // TARGETS_AT_ONCE)):
            batch, made = _batch(contestant.name, done, test), made + len(done.jobs)
            for metric in test.metrics:
                if isinstance(metric.how, OfPairs):
                    by_pair[metric.name].append(metric.how.score(batch))
                else:
                    growing[metric.name].update(batch)
            if keep is not None:
                for job, image in zip(done.jobs, done.generated, strict=True):
                    name = image_name(job.sources[0], job.target)
                    places.append((name, shards.add(name, encode_png(image))))
    if made < len(jobs):
        raise ReposeError(
            f"{contestant.name} made only {made} images for {len(jobs)} pairs: none for {_named(jobs[made])}."
        )
    if keep is not None:
        write_table(keep / "generated.csv", index_table(places), INDEX_COLUMNS)
    pairs = test.pairs[["from", "to", OCCLUSION]].assign(
        sources=[len(job.sources) for job in jobs],
        **{name: np.concatenate(scores) for name, scores in by_pair.items()},
        split=test.facts["split"],
    )
    pairs.insert(0, "system", contestant.name)
    together = {f"{name}{end}": value for name, of in growing.items() for end, value in of.scores().items()}
    return Scored(pairs, together)


def means(scored: Mapping[str, Scored], test: TestSet) -> pd.DataFrame:
    """Return a row per contestant: the scores, then related values, such as the number of pairs of a score.

    The score of a metric of pairs is the mean over the pairs that have a score.
    """
    rows = {}
    for name, (pairs, together) in scored.items():
        counts = {f"{m.name} pairs": float(pairs[m.name].count()) for m in test.metrics if m.left_out}
        found = {m.name: pairs[m.name].mean() for m in test.metrics if isinstance(m.how, OfPairs)} | together | counts
        rows[name] = {metric.name: found.pop(metric.name) for metric in test.metrics} | found
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def _batch(system: str, done: Done, test: TestSet) -> Batch:
    """Return images as input for metrics."""
    made, wanted = done.generated.shape, done.target.shape
    if made != wanted:
        raise ReposeError(
            f"{system} made {made[0]} images of {made[1]}x{made[2]} px for {wanted[0]} targets of {wanted[1]}x{wanted[2]} px "
            f"(height x width), {_named(done.jobs[0])} and the following. Images are scored at their target's size."
        )
    generated, target = (to_device(pixels, test.device) for pixels in (done.generated, done.target))
    return Batch(generated, target, done.keypoints, [test.item_of[job.sources[0]] for job in done.jobs])


def _named(job: Job) -> str:
    return f"{job.sources[0]} to {job.target}"
