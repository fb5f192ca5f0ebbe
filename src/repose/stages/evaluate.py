"""evaluate: score the images that each trained system generates for the test pairs.

The folder `results` has the scores of each system and the baselines (table.md, table.csv), of each pair (pairs.csv), a picture
of a few pairs (picture.png), and the images (generated/SYSTEM/). The file `metrics` has the means, for `dvc metrics` and
`repose compare`. Metrics of all images together, such as FID, have no column in pairs.csv. The baselines are copying the
pair's source, and the mean of all sources.

With `system`, only one system is scored, or only the baselines (`baselines`: these two and the real photos), for the stage
`table`. Then `results` has pairs.csv, facts.json instead of the tables, and the images of a few pairs (examples/) if it is of
the baselines, else the system's (generated/SYSTEM/).
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
from repose.evaluation.contestants import MAX_SOURCES, baselines, contestants_of, load_trained
from repose.evaluation.examples import figure, write_examples
from repose.evaluation.facts import page, provenance_of, refuse_own_judge, training_facts
from repose.evaluation.results import BASELINES
from repose.evaluation.scores import means, score
from repose.evaluation.settings import EvaluateSettings
from repose.evaluation.table_text import csv
from repose.evaluation.testset import read_test_set
from repose.metrics import provenance
from repose.storage.atomic import whole_folder, write_bytes, write_text
from repose.terminal import say

SEED = 0  # of torch, for systems with random draws
FILES = ("pairs.csv", "table.md", "table.csv", "picture.png", "facts.json", "generated/*", "examples/*")


@dataclass(frozen=True)
class Folders:
    """The input folders of evaluation."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path
    runs: Path  # has SYSTEM/model.safetensors and SYSTEM/run.json for each system


def run(
    *, folders: Folders, results: Path, settings: EvaluateSettings, metrics: Path | None = None, system: str | None = None
) -> None:  # fmt: skip
    """Score the systems in the settings and the baselines; write the folder `results` and, if given, the file `metrics`.

    With `system`, only score that system, or only BASELINES.

    Raises:
        ReposeError: a run is missing or has other settings, there are no pairs, a photo is missing, a metric cannot be
            computed or its network trained a system, an image has NaNs, or the disk is full.
    """
    device = set_up(settings.device, settings.threads, seed=SEED)
    shard_bytes = settings.shard_megabytes * 2**20
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
    with whole_folder(results, FILES) as folder:
        scored = {}
        for contestant in contestants:  # images of baselines and of single-source rows are not kept
            keep = folder / "generated" / contestant.name if contestant.name in trained else None
            scored[contestant.name] = score(contestant, test, keep=keep, shard_bytes=shard_bytes)
        write_text(folder / "pairs.csv", csv(pd.concat([of.pairs for of in scored.values()])))
        table = means(scored, test)
        text = page(table, test, trained, SEED)
        if system is None:
            write_text(folder / "table.md", text)
            write_text(folder / "table.csv", csv(table, index=True))
            max_sources = max(of.about.row.max_sources for of in trained.values())
            examples = list(test.examples(settings.picture_pairs, max_sources))
            picture = figure(examples, {name: folder / "generated" / name for name in trained})
            write_bytes(folder / "picture.png", encode_png(picture))
        else:
            facts = {"schema": provenance.SCHEMA, "system": system, **test.facts, **about}
            facts |= training_facts(trained[system]) if trained else {}
            together = {name: _rounded(of.together) for name, of in scored.items()}
            write_json(folder / "facts.json", facts | {"scores": together})
        if system == BASELINES:
            write_examples(folder / "examples", test.examples(settings.picture_pairs, MAX_SOURCES), shard_bytes)
    if metrics is not None:
        scores = {str(name): _rounded(row) for name, row in table.to_dict("index").items()}
        write_json(metrics, {"schema": provenance.SCHEMA, "protocol": test.facts, **about, "scores": scores})
    say(text.partition("\n\n")[0])  # the table without its notes


def _rounded(scores: Mapping[Any, float]) -> dict[str, float | None]:
    """Round to ten digits, so that the last bit of a sum does not change the file; None for NaN."""
    return {str(name): None if np.isnan(value) else float(f"{value:.10g}") for name, value in scores.items()}
