"""card: the model card of a trained system, one page of Markdown.

The stage writes card.md into the folder `card`, with sections after Mitchell et al., Model Cards for Model Reporting (2019).
The content comes from the outputs of other stages. What they cannot know (intended use, limits) comes from the block `card`.
The stage depends on the report of the gates, so a system that got worse has no card.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from repose.checkpoint import About, read_about
from repose.config import settings
from repose.data.raw import SOURCE
from repose.errors import ReposeError
from repose.evaluation.results import COPY, MEAN, read_whole, with_one_source
from repose.evaluation.table_text import cropped, markdown, parameters
from repose.metrics.provenance import NONE, in_words
from repose.report import formats
from repose.report.markdown import render
from repose.report.scores_file import Record, number, read_file
from repose.storage.atomic import whole_folder, write_text
from repose.terminal import say

CARD = "card.md"
_OF_SOURCE = ("source", "layout", "terms", "files", "bytes", "origins")
_OF_SPLIT = ("mode", "departures", "seed", "train", "test")
_OF_RUN = ("system", "images", "seed", "device", "precision", "perceptual", "parameters")
_OF_GATES = ("outcome", "base", "scores")


@settings
class CardSettings:
    """The block `card` of params.yaml: facts that no stage can know."""

    use: str  # what the systems are for and what they are not for
    limits: tuple[str, ...]  # what they cannot do, one sentence each

    def __post_init__(self) -> None:
        if not self.use.strip() or not self.limits or not all(limit.strip() for limit in self.limits):
            raise ValueError("use and limits should not be empty: a card needs both.")


class Folders(NamedTuple):
    """The inputs of the card."""

    lists: Path  # source.json, as download wrote it
    split: Path  # split.json
    run: Path  # model.safetensors and run.json of the system
    metrics: Path  # the mean scores, as evaluate wrote them
    gates: Path  # the report of the stage gates


def run(*, system: str, folders: Folders, card: Path, settings: CardSettings) -> None:
    """Write the folder `card` of the row `system` from the outputs of other stages.

    Raises:
        ReposeError: a file is missing, damaged, or from another system, checkpoint or version, or the gates failed.
    """
    model, scores, again = folders.run / "model.safetensors", read_file(folders.metrics), "Run its stage again."
    about = read_about(model)
    of_model = _of_model(model, about)
    records = {
        "source": read_whole(folders.lists / SOURCE, _OF_SOURCE, again),
        "split": read_whole(folders.split / "split.json", _OF_SPLIT, again),
        "run": read_whole(folders.run / "run.json", _OF_RUN, again),
        "gates": read_whole(folders.gates / formats.RECORD, _OF_GATES, again),
    }
    for where, name in ((model, about.system), (folders.run / "run.json", records["run"]["system"])):
        if name != system:
            raise ReposeError(f"{where} belongs to the system {name}, not {system}. Run `dvc repro train@{system}`.")
    if system not in scores.scores:
        raise ReposeError(f"{folders.metrics} has no scores of {system}. Run `dvc repro evaluate`.")
    scored = read_whole(folders.metrics, ("provenance",), again)["provenance"].get("systems", {}).get(system, {})
    if scored.get("sha256") != of_model["sha256"]:
        raise ReposeError(f"The scores in {folders.metrics} are not of this {model}. Run `dvc repro evaluate`.")
    if (outcome := records["gates"]["outcome"]) != formats.PASSED:
        raise ReposeError(
            f"The outcome of the gates is: {outcome} ({folders.gates}). A card is only made if they pass."
        )
    page = render("card.md.jinja", settings=settings, **of_model, **_in_words(records, scores, about), **records)
    with whole_folder(card, [CARD]) as folder:
        write_text(folder / CARD, page)
    say(f"The card: {card / CARD}")


def _of_model(model: Path, about: About) -> dict[str, Any]:
    with model.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "system": about.system, "model": model, "size": model.stat().st_size, "sha256": sha256, "row": about.row,
        "frame": about.frame, "photo_size": about.photo_size, "step": about.step, "cropped": cropped(about.frame.crop),
    }  # fmt: skip


def _in_words(records: dict[str, dict[str, Any]], found: Record, about: About) -> dict[str, Any]:
    """What the template shows of records as text."""
    split, run, weights = records["split"], records["run"], about.row.loss_weights()
    wanted = (COPY, MEAN, about.system, with_one_source(about.system))
    scores = {name: found.scores[name] for name in wanted if name in found.scores}
    metrics = list(dict.fromkeys(metric for of in scores.values() for metric in of))
    cells = [[name, *(_text(number(of.get(metric))) for metric in metrics)] for name, of in scores.items()]
    return {
        "origins": [place.get("address", place) for place in records["source"]["origins"]],
        "counts": {part: ", ".join(f"{n:,} {what}" for what, n in split[part].items()) for part in ("train", "test")},
        "parameters": parameters(run["parameters"]),
        "weights": ", ".join(f"{name} {weight:g}" for name, weight in weights.items()),
        "left_out": "perceptual" in weights and run["perceptual"] is None,
        "scores": markdown(["system", *metrics], cells),
        "protocol": in_words(found.protocol),
    }


def _text(score: float | None) -> str:
    if score is None:
        return NONE
    return f"{score:.0f}" if score == round(score) else f"{score:.4f}"
