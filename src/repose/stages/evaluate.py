"""evaluate: score the images that each trained system makes of the test pairs.

The folder `results` then holds

| file | what |
|---|---|
| table.md, table.csv | the scores of each system beside the baselines, with what they are of |
| pairs.csv | each score of every pair, with what its source hides if known |
| picture.png | a row per pair: its sources, the target's pose, the target, one column per system |
| generated/SYSTEM/ | the system's images: tar shards of PNG files and their index |

and the file `metrics` the means, for `dvc metrics` and `repose compare`. A metric of all images together, such as FID, has no
column in pairs.csv. The baselines are copying the pair's source, and the mean of all sources. A metric whose network also
trained a system is rejected.

With `system`, one system is scored alone, or the baselines alone (`baselines`: the two and the real photos), for the stage
`table`. Then `results` holds

| file | what |
|---|---|
| pairs.csv | as above, of that system or of the baselines |
| facts.json | what the numbers are of, the scores of all images together, and how the system was trained |
| generated/SYSTEM/ | as above, of a system |
| examples/ | of the baselines: sources, target's pose and target of a few pairs, in shards with their table |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repose.data.images import encode_png
from repose.data.records import write_json
from repose.devices import set_up
from repose.evaluation.contestants import MAX_SOURCES, Trained, baselines, contestants_of, load_trained
from repose.evaluation.examples import figure, write_examples
from repose.evaluation.facts import page, provenance_of, refuse_own_judge, training_facts
from repose.evaluation.results import BASELINES
from repose.evaluation.scores import means, score
from repose.evaluation.settings import EvaluateSettings
from repose.evaluation.table_text import csv
from repose.evaluation.testset import TestSet, read_test_set
from repose.metrics import provenance
from repose.storage.atomic import whole_folder, write_bytes, write_text
from repose.terminal import say

SEED = 0  # of torch, for systems that draw


@dataclass(frozen=True)
class Folders:
    """What evaluation reads."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path
    runs: Path  # holds runs/SYSTEM/model.safetensors and run.json for each of the systems


def run(
    *, folders: Folders, results: Path, settings: EvaluateSettings, metrics: Path | None = None, system: str | None = None
) -> None:  # fmt: skip
    """Score the chosen systems and the baselines; write the folder `results` and, if named, the file `metrics`.

    With `system`, score that system alone, or BASELINES alone; else the systems of the settings and the baselines.

    Raises:
        ReposeError: a run is missing or of other settings, no pair, no photo for a pair, a metric that cannot be computed or
            whose network trained a system, an image with a NaN, or the disk is full.
    """
    device = set_up(settings.device, settings.threads, seed=SEED)
    test = read_test_set(
        images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps, split=folders.split,
        metrics=settings.metrics, weights=settings.weights, max_pairs=settings.pairs, device=device,
    )  # fmt: skip
    names = settings.systems if system is None else () if system == BASELINES else (system,)
    trained = {name: load_trained(name, folders.runs, test.photos, device) for name in names}
    refuse_own_judge(test.metrics, trained)
    contestants = baselines(test.photos, real=system == BASELINES) if system in (None, BASELINES) else []
    contestants += contestants_of(trained, test.photos, device, single_source=settings.single_source)
    records = {metric.name: metric.record for metric in test.metrics}
    about = {"metrics": records, "provenance": provenance_of(trained, SEED)}
    with whole_folder(results) as folder:
        scored = {}
        for contestant in contestants:  # the images of baselines, and of systems with one source, are not kept
            keep = folder / "generated" / contestant.name if contestant.name in trained else None
            scored[contestant.name] = score(contestant, test, keep=keep, shard_bytes=settings.shard_bytes)
        write_text(folder / "pairs.csv", csv(pd.concat([of.pairs for of in scored.values()])))
        table = means(scored, test)
        text = page(table, test, trained, SEED)
        if system is None:
            _write_together(folder, table, text, test, trained, settings)
        else:
            facts = {"schema": provenance.SCHEMA, "system": system, **test.facts, **about}
            facts |= training_facts(trained[system]) if trained else {}
            together = {name: _rounded(of.together) for name, of in scored.items()}
            write_json(folder / "facts.json", facts | {"scores": together})
        if system == BASELINES:
            examples = test.examples(settings.picture_pairs, MAX_SOURCES)
            write_examples(folder / "examples", examples, settings.shard_bytes)
    if metrics is not None:
        scores = {str(name): _rounded(row) for name, row in table.to_dict("index").items()}
        write_json(metrics, {"schema": provenance.SCHEMA, "protocol": test.facts, **about, "scores": scores})
    say(text.partition("\n\n")[0])  # the table without its notes


def _write_together(
    folder: Path, table: pd.DataFrame, text: str, test: TestSet, trained: Mapping[str, Trained], settings: EvaluateSettings
) -> None:  # fmt: skip
    """The table and the picture of all systems."""
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", csv(table, index=True))
    max_sources = max(of.about.row.max_sources for of in trained.values())
    examples = list(test.examples(settings.picture_pairs, max_sources))
    picture = figure(examples, {name: folder / "generated" / name for name in trained})
    write_bytes(folder / "picture.png", encode_png(picture))


def _rounded(scores: Mapping[Any, float]) -> dict[str, float | None]:
    """Ten digits, so that the last bit of a sum is not a change; None for NaN."""
    return {str(name): None if np.isnan(value) else float(f"{value:.10g}") for name, value in scores.items()}
