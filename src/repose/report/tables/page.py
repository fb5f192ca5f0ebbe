"""Tables that compare systems: a page of Markdown, and CSV files."""

from typing import Any

import pandas as pd

from repose.data.records import OCCLUSION
from repose.evaluation import table_text
from repose.evaluation.results import PROTOCOL, TORSO_CIEDE2000, TRAINING
from repose.metrics.bootstrap import Interval
from repose.report.published import Published
from repose.report.tables.settings import TableSettings
from repose.report.tables.side_by_side import Comparison, Line

NOT_TRAINED, NOT_MEASURED = "not trained", "not measured"
_TRAINING = (
    "row", "kind", "images seen", "steps", "items per step", "sources", "optimizer (initial)", "loss", "perceptual",
    "parameters", "seed", "on",
)  # fmt: skip
GAINS = (
    "data set", "more", "fewer", "occlusion", "pairs", "metric", "gain", "gain low", "gain high", "note", "confidence",
    "resamples", "bootstrap seed",
)  # fmt: skip


def page(comparisons: list[Comparison], printed: Published, settings: TableSettings) -> str:
    """The whole page."""
    title = "Table 1" if printed else "Side by side"
    parts = [f"# {title}, budget {settings.budget}", "\n".join(f"- {note}" for note in _notes(printed, settings))]
    for comparison in comparisons:
        parts += [
            f"## {comparison.data}",
            _protocol(comparison, printed, settings),
            _scores(comparison, printed, settings),
            f"### {comparison.data}: difference to {settings.reference}",
            _differences(comparison, settings),
            f"### {comparison.data}: equal footing",
            _footing(comparison),
            _training(comparison),
        ]
        if comparison.contrasts:
            parts += [f"### {comparison.data}: gain from more sources by occlusion", _gains(comparison)]
    return "\n\n".join(parts) + "\n"


def _notes(printed: Published, settings: TableSettings) -> list[str]:
    """Notes that apply to all numbers."""
    ours = [
        "SSIM: higher is better, at most 1; the protocol follows the slash. SSIM barely notices whether the garment is right, "
        "so the table also has torso-ciede2000: the mean CIEDE2000 inside the target's torso, lower is better. "
        "docs/metrics.md describes the other metrics.",
        f"In brackets: the {100 * settings.confidence:g} % bootstrap interval over test pairs "
        f"({settings.resamples:,} resamples, seed {settings.seed}). All rows of a data set share the resamples. "
        "Pairs of one item are similar, so the interval for new items would be wider. Each row is one training run, so the "
        "interval says nothing about other training seeds.",
    ]
    theirs = (
        "Published numbers are the paper's, on real photos, its split and a protocol that it does not name. They are in "
        "separate columns and are not comparable with ours."
    )
    return [*ours, theirs] if printed else ours


def _protocol(comparison: Comparison, printed: Published, settings: TableSettings) -> str:
    """The protocol and the provenance of the numbers of one data set."""
    facts = comparison.facts
    seeds = ", ".join(map(str, sorted({line.facts["seed"] for line in comparison.trained})))
    digests = ", ".join(f"{name} {facts[f'{name} sha256'][:12]}" for name in ("pairs", "photos"))
    left_out = facts["pairs"] - facts[f"{TORSO_CIEDE2000} pairs"]
    sentences = [
        f"{table_text.tested_on(facts)}; budget {settings.budget}, training seeds: {seeds or 'none'}; "
        f"{left_out:,} pairs without a whole torso are left out of torso-ciede2000. "
        f"Tested on (SHA-256): {digests}. Keypoints: {facts['keypoints']}."
    ]
    if comparison.networks:
        sentences.append(f"Networks: {comparison.networks}.")
    if unmeasured := [name for name in settings.optional_metrics if name not in comparison.records]:
        sentences.append(
            f"Not measured: {', '.join(unmeasured)}. To measure them, add them to evaluate.metrics of this budget "
            "(docs/metrics.md lists the networks that metrics need)."
        )
    if of := [row for (data, _), row in printed.items() if data == comparison.beside]:
        splits, protocols = ("; ".join(dict.fromkeys(row[key] for row in of)) for key in ("split", "protocol"))
        sentences.append(f"Published: {comparison.beside}, split {splits}, protocol {protocols}.")
    return " ".join(sentences)


def _cells(line: Line, settings: TableSettings) -> list[str]:
    """The score and interval in each column."""
    if not line.scores:
        return [NOT_TRAINED, *[""] * (len(settings.columns) - 1)]
    return [
        table_text.with_bounds(name, line.scores[name]) if name in line.scores else NOT_MEASURED
        for name in settings.columns
    ]


def _scores(comparison: Comparison, printed: Published, settings: TableSettings) -> str:
    rows = []
    for line in comparison.lines:
        paper = printed.get((comparison.beside, line.system))
        theirs = [paper["name"], f"{paper['ssim']:.3f}", f"{paper['is']:.3f}"] if paper else ["", "", ""]
        rows.append([line.system, *(theirs if printed else []), *_cells(line, settings)])
    published = ["in the paper", "published SSIM", "published IS"] if printed else []
    return table_text.markdown(["row", *published, *settings.columns], rows)


def _differences(comparison: Comparison, settings: TableSettings) -> str:
    rows = [
        [line.system, *(table_text.difference(name, found) for name, found in line.differences.items())]
        for line in comparison.lines
        if line.differences
    ]
    if not rows:
        return f"{settings.reference} is not trained on {comparison.data}, so there is nothing to compare with."
    table = table_text.markdown(["row", *comparison.records], rows)
    return f"{table}\n\nEach row minus {settings.reference}, on the same pairs. Bold: the interval excludes 0."


def _footing(comparison: Comparison) -> str:
    """How many images each trained row saw, and how the rows are scored."""
    images = [line.facts["images"] for line in comparison.trained]
    seen = " to ".join(f"{number:,}" for number in dict.fromkeys([min(images), max(images)])) if images else "no"
    return (
        f"Trained rows saw {seen} images, counted as target images over all training steps. All rows are scored on the "
        "same pairs at the same size; a system that works at another size resizes its images to it first."
    )


def _training(comparison: Comparison) -> str:
    rows = []
    for line in comparison.lines:
        if f := line.facts:
            counts = [f"{f[name]:,}" for name in ("images", "steps", "items_per_step", "max_sources")]
            how = [f["optimiser"], f["loss"], f["perceptual"] or "none", table_text.parameters(f["parameters"])]
            rows.append([line.system, f["kind"], *counts, *how, f"{f['seed']}", f"{f['device']}, {f['precision']}"])
        elif not line.scores:
            rows.append([line.system, NOT_TRAINED, *[""] * (len(_TRAINING) - 2)])
    return table_text.markdown(_TRAINING, rows)


def _gains(comparison: Comparison) -> str:
    """The gain from more sources in each bin, and the difference between the top and the bottom bin."""
    known, pairs = comparison.facts[f"{OCCLUSION} pairs"], comparison.facts["pairs"]
    names, rows = list(comparison.records), []
    for more, fewer, note, gains in comparison.contrasts:
        for gain in gains:
            own = [table_text.difference(name, found) for name, found in gain.by_metric.items()]
            rows.append([more, fewer, gain.occlusion, f"{gain.pairs:,}", *own])
        if not gains:
            rows.append([more, fewer, note, *[""] * (1 + len(names))])
    coverage = (
        f"Occlusion is known for {known:,} of the {pairs:,} pairs. It is the share of the torso garments visible in the "
        "target that the first source hides, counted in cells of the garments."
        if known
        else f"Occlusion is unknown for all pairs of {comparison.data}. Only the renderer of mannequins records it."
    )
    table = table_text.markdown(["more", "fewer", OCCLUSION, "pairs", *names], rows)
    return (
        f"{coverage}\n\n{table}\n\nThe row with more sources minus the row with fewer, on the same pairs. Positive is better "
        "for every metric: the sign of metrics where lower is better, such as torso-ciede2000, is flipped. Bold: the interval "
        "excludes 0."
    )


def scores_table(comparisons: list[Comparison], printed: Published, settings: TableSettings) -> pd.DataFrame:
    """One row per data set and system, with the provenance of its numbers."""
    rows = []
    for comparison in comparisons:
        for line in comparison.lines:
            row: dict[str, Any] = {"data set": comparison.data, "system": line.system, "budget": settings.budget}
            row |= {name: comparison.facts[name] for name in (*PROTOCOL, f"{TORSO_CIEDE2000} pairs")}
            for found, suffix in ((line.scores, ""), (line.differences, f" less {settings.reference}")):
                for metric in settings.columns:
                    row |= _ends(f"{metric}{suffix}", found.get(metric))
            row |= {**_bootstrap(settings), "networks": comparison.networks, "checkpoint sha256": line.checkpoint}
            row |= {name: line.facts.get(name) for name in TRAINING}
            row["parameters"] = table_text.parameters(line.facts.get("parameters", {}))
            if printed:
                paper = printed.get((comparison.beside, line.system), {})
                row["published data set"] = comparison.beside
                row |= {f"published {name}": paper.get(name) for name in ("ssim", "is", "split", "protocol")}
            rows.append(row)
    return pd.DataFrame(rows)


def gains_table(comparisons: list[Comparison], settings: TableSettings) -> pd.DataFrame:
    """One row per data set, contrast, bin and metric, with the columns GAINS.

    A contrast without scores has one row with a note.
    """
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for more, fewer, note, gains in comparison.contrasts:
            head = {"data set": comparison.data, "more": more, "fewer": fewer, "note": note} | _bootstrap(settings)
            rows += [
                head | {OCCLUSION: gain.occlusion, "pairs": gain.pairs, "metric": metric} | _ends("gain", found)
                for gain in gains
                for metric, found in gain.by_metric.items()
            ] or [head]
    return pd.DataFrame(rows, columns=list(GAINS))


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    mean, low, high = found or (None, None, None)
    return {name: mean, f"{name} low": low, f"{name} high": high}


def _bootstrap(settings: TableSettings) -> dict[str, float]:
    return {"confidence": settings.confidence, "resamples": settings.resamples, "bootstrap seed": settings.seed}
