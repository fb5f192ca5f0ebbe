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
from repose.evaluation.table_text import markdown, origin, parameters
from repose.metrics.provenance import NONE, in_words
from repose.report import formats
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


class _Facts(NamedTuple):
    """The facts read from the folders."""

    system: str
    model: Path
    about: About
    source: dict[str, Any]
    split: dict[str, Any]
    run: dict[str, Any]
    scores: Record
    gates: dict[str, Any]


def run(*, system: str, folders: Folders, card: Path, settings: CardSettings) -> None:
    """Write the folder `card` of the row `system` from the outputs of other stages.

    Raises:
        ReposeError: a file is missing, damaged, or from another system or an earlier version, or the gates failed.
    """
    facts = _read(system, folders)
    with whole_folder(card) as folder:
        write_text(folder / CARD, _page(facts, settings))
    say(f"The card: {card / CARD}")


def _read(system: str, folders: Folders) -> _Facts:
    model, scores, again = folders.run / "model.safetensors", read_file(folders.metrics), "Run its stage again."
    facts = _Facts(
        system, model, read_about(model),
        read_whole(folders.lists / SOURCE, _OF_SOURCE, again),
        read_whole(folders.split / "split.json", _OF_SPLIT, again),
        read_whole(folders.run / "run.json", _OF_RUN, again),
        scores, read_whole(folders.gates / formats.RECORD, _OF_GATES, again),
    )  # fmt: skip
    for where, name in ((model, facts.about.system), (folders.run / "run.json", facts.run["system"])):
        if name != system:
            raise ReposeError(f"{where} belongs to the system {name}, not {system}. Run `dvc repro train@{system}`.")
    if system not in scores.scores:
        raise ReposeError(f"{folders.metrics} has no scores of {system}. Run `dvc repro evaluate`.")
    if facts.gates["outcome"] != formats.PASSED:
        raise ReposeError(
            f"The outcome of the gates is: {facts.gates['outcome']} ({folders.gates}). A card is only made if they pass."
        )
    return facts


def _page(facts: _Facts, settings: CardSettings) -> str:
    row, frame = facts.about.row, facts.about.frame
    photos = "one photo" if row.max_sources == 1 else f"1 to {row.max_sources} photos"
    limits = [f"It only generates images of {frame.height}x{frame.width} px.", *settings.limits]
    if facts.source["source"] == "mannequin":
        of_mannequins = "It was trained on rendered mannequins and generates mannequins. "
        limits = [of_mannequins + "Its scores say nothing about photos of people.", *limits]
    about = (
        f"A system trained with repose, of the kind `{row.kind}`. From {photos} of a garment on a person and a target pose, "
        "it generates an image of the same garment in that pose."
    )
    sections = {
        f"# {facts.system}": [about], "## The file": _file(facts), "## Use": _use(facts, settings), "## Data": _data(facts),
        "## Training": _training(facts), "## Scores": _scores(facts), "## Limits": [f"- {limit}" for limit in limits],
    }  # fmt: skip
    return "\n".join("\n".join([title, "", *lines, ""]) for title, lines in sections.items())


def _file(facts: _Facts) -> list[str]:
    content, frame, size = facts.model.read_bytes(), facts.about.frame, facts.about.photo_size
    crop = f", cropped to {in_words(frame.crop)} (left, top, right, bottom in px)" if frame.crop else ""
    photos = f"photos of {size[0]}x{size[1]} px" if size else "photos of several sizes"
    return [
        f"- `{facts.model.name}`, {len(content):,} bytes, SHA-256 `{hashlib.sha256(content).hexdigest()}`. It contains "
        "its settings.",
        f"- It was trained on {photos}{crop}, and generates images of {frame.height}x{frame.width} px (height x width).",
    ]


def _use(facts: _Facts, settings: CardSettings) -> list[str]:
    of_photos = " and of each photo" if facts.about.row.needs_source_poses else ", but not those of the photos"
    return [
        settings.use.strip(),
        "",
        "```sh",
        f"repose generate front.jpg --pose pose.json --keypoints openpose/ --model {facts.system}@VERSION -o new.png",
        "```",
        "",
        f"It needs the 18 OpenPose keypoints of the target pose{of_photos}.",
    ]


def _data(facts: _Facts) -> list[str]:
    source, split = facts.source, facts.split
    origins = "; ".join(str(origin.get("address", origin)) for origin in source["origins"])
    counts = {name: ", ".join(f"{count:,} {what}" for what, count in split[name].items()) for name in ("train", "test")}
    mode = "; ".join([f"{split['mode']}, seed {split['seed']}", *split["departures"]])
    return [
        f"- Source: {source['source']} (layout {source['layout']}), {source['files']:,} files, {source['bytes']:,} bytes"
        + (f", from {origins}." if origins else "."),
        f"- Terms of the owner: {source['terms']}",
        f"- Split: {mode}. Train: {counts['train']}. Test: {counts['test']}.",
    ]


def _training(facts: _Facts) -> list[str]:
    run, row = facts.run, facts.about.row
    weights = ", ".join(f"{name} {weight:g}" for name, weight in row.loss_weights().items())
    left_out = "perceptual" in row.loss_weights() and run["perceptual"] is None
    origins = origin(run)
    return [
        f"- {facts.about.step:,} steps of {row.items_per_step} item(s), {run['images']:,} images, seed {run['seed']}, on "
        f"{run['device']} in {run['precision']}.",
        f"- Parameters: {parameters(run['parameters'])}.",
        f"- Loss weights: {weights}" + (" (trained without the perceptual term)." if left_out else "."),
        *([f"- {origins}"] if origins else []),
    ]


def _scores(facts: _Facts) -> list[str]:
    wanted = (COPY, MEAN, facts.system, with_one_source(facts.system))
    rows = {name: facts.scores.scores[name] for name in wanted if name in facts.scores.scores}
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    cells = [[name, *(_text(number(row.get(metric))) for metric in metrics)] for name, row in rows.items()]
    protocol = ", ".join(f"{key} {in_words(fact)}" for key, fact in facts.scores.protocol.items())
    return [
        markdown(["system", *metrics], cells),
        "",
        f"- Protocol: {protocol}. The protocol of an SSIM follows its slash. torso-ciede2000 is the mean CIEDE2000 inside the "
        "torso; lower is better. A column of pairs counts the pairs that have the score.",
        f"- Gates: {facts.gates['outcome']} in {len(facts.gates['scores'])} scores, compared with {facts.gates['base']}.",
    ]


def _text(score: float | None) -> str:
    if score is None:
        return NONE
    return f"{score:.0f}" if score == round(score) else f"{score:.4f}"
