"""Facts for a table of scores: the settings of the evaluation and of each training, and the table as a page."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import torch

from repose import __version__
from repose.errors import ReposeError
from repose.evaluation import table_text
from repose.evaluation.contestants import RECORDED, Trained
from repose.evaluation.testset import TestSet
from repose.metrics.catalogue import Metric


def page(means: pd.DataFrame, test: TestSet, trained: Mapping[str, Trained], seed: int) -> str:
    """Return the means as Markdown, with facts about the test pairs and each training; `seed` is the evaluation's."""
    names, facts = [metric.name for metric in test.metrics], test.facts
    rows = [[str(system), *(table_text.number(name, row[name]) for name in names)] for system, row in means.iterrows()]
    sentences = [
        f"{table_text.tested_on(facts)}; a metric's protocol stands after the slash.",
        *dict.fromkeys(_about(metric, means, facts["pairs"]) for metric in test.metrics),
        f"Tested on (SHA-256): pairs {facts['pairs sha256']}, photos {facts['photos sha256']}. "
        f"Keypoints: {facts['keypoints']}.",
        *(
            f"{name}: {of['steps']:,} steps of {of['items_per_step']} item(s), seed {of['seed']}, {of['device']}, "
            f"{of['precision']}; parameters: {table_text.parameters(of['parameters'])}; loss: {of['loss']}"
            f"{_started_from(of['init'])}."
            for name, of in zip(trained, map(training_facts, trained.values()), strict=True)
        ),
        f"Made by repose {__version__}, seed {seed}.",
    ]
    return table_text.markdown(["system", *names], rows) + "\n\n" + "".join(f"- {sentence}\n" for sentence in sentences)


def _started_from(init: Mapping[str, Any] | None) -> str:
    return f"; started from {init['system']} at step {init['step']:,} (SHA-256 {init['sha256']})" if init else ""


def provenance_of(trained: Mapping[str, Trained], seed: int) -> dict[str, Any]:
    """Return the version of repose, the seed of the evaluation, and each system's checkpoint and seed."""
    systems = {
        name: {"sha256": of.sha256, "seed": of.record["seed"], "steps": of.about.step} for name, of in trained.items()
    }
    return {"repose": __version__, "seed": seed, "systems": systems}


def training_facts(trained: Trained) -> dict[str, Any]:
    """Return how a system was trained: `results.TRAINING`."""
    row, record = trained.about.row, trained.record
    return {
        "kind": row.kind,
        "steps": trained.about.step,
        **{name: record[name] for name in RECORDED},
        "max_sources": row.max_sources,
        "items_per_step": row.items_per_step,
        "optimiser": optimisers_in_words(trained.system.optimisers),
        "loss": loss_in_words(row.loss_weights(), record["perceptual"]),
    }


def refuse_own_judge(metrics: Iterable[Metric], trained: Mapping[str, Trained]) -> None:
    """Reject metrics whose network also computed a system's perceptual loss, as they would favor that system.

    Raises:
        ReposeError: there is such a metric.
    """
    for metric in metrics:
        for name, of in trained.items():
            network = of.record["perceptual"]  # a network's name, or layers of VGG19, which no metric uses
            if network in metric.record.get("networks", {}):
                raise ReposeError(
                    f"{metric.name} is computed by the network {network}, which also computed the perceptual loss of {name}: "
                    "a network must not judge what it trained. Remove the metric from evaluate.metrics, or train "
                    f"{name} with another network (train.perceptual)."
                )


def optimisers_in_words(optimisers: Mapping[str, torch.optim.Optimizer]) -> str:
    """Return the initial optimizers as text; networks with equal optimizers share one clause."""
    networks: dict[str, list[str]] = {}
    for name, optimiser in optimisers.items():
        start = optimiser.defaults
        betas = f", betas {start['betas'][0]:g} and {start['betas'][1]:g}" if "betas" in start else ""
        words = f"{type(optimiser).__name__}, learning rate {start['lr']:g}{betas}"
        networks.setdefault(words, []).append(name)
    return "; ".join(
        words if len(networks) == 1 else f"{words} ({', '.join(names)})" for words, names in networks.items()
    )


def loss_in_words(weights: dict[str, float], perceptual: str | None) -> str:
    """Return the terms of the loss with their weights as text; the perceptual term with its network or layers."""
    terms = {name: weight for name, weight in weights.items() if name != "perceptual"}
    if perceptual and "perceptual" in weights:
        terms[f"perceptual ({perceptual})"] = weights["perceptual"]
    left_out = " (the perceptual term is left out)" if "perceptual" in weights and not perceptual else ""
    return ", ".join(f"{name} {weight:g}" for name, weight in terms.items()) + left_out


def _about(metric: Metric, means: pd.DataFrame, pairs: int) -> str:
    """Return a metric's description, with its pairs and networks."""
    words, facts = metric.about, metric.record
    if metric.left_out:
        left_out = pairs - means[f"{metric.name} pairs"]
        most = "at most " if left_out.nunique() > 1 else ""
        words += f"; {most}{int(left_out.max()):,} pairs {metric.left_out} are left out of it"
    words += "".join(f"; {name}, SHA-256 {sha256}" for name, sha256 in facts.get("networks", {}).items())
    if "real" in facts:
        words += f"; {facts['photos']:,} real photos of the part {facts['real']}"
    return words + (f"; chance {facts['chance']:g}." if "chance" in facts else ".")
