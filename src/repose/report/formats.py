"""A comparison as Markdown for people and as JSON for programs."""

import json
import re
from typing import Any

from repose.report.judge import FAILING, Comparison, Score

PASSED = "no regression"
_OUTCOMES = {0: PASSED, 1: "regression", 2: "not comparable"}  # by exit code
RECORD = "gates.json"  # written by the stage gates, read by the stage card


def as_markdown(found: Comparison) -> str:
    """A table of the gated scores, a sentence for each failure, and the names without a gate."""
    title = f"**{_cell(found.headline)}** HEAD is {_cell(found.head)}, BASE is {_cell(found.base)}."
    lines = ["## Scores", "", title]
    if found.scores:
        reasons = [score.reason for score in found.scores if score.reason]
        lines += ["", _table(found), "", *(f"- {_cell(line)}" for line in (*reasons, *_notes(found)))]
    return "\n".join(lines) + "\n"


def as_json(found: Comparison) -> str:
    """The whole comparison; missing numbers are null."""
    record = {
        "outcome": _OUTCOMES[found.exit_code],
        "refusal": found.refusal or None,
        "uncompared": found.uncompared or None,
        "base": found.base,
        "head": found.head,
        "protocol": found.protocol,
        "confidence": found.confidence,
        "scores": [_as_dict(score) for score in found.scores],
        "without a gate": {"systems": (), "metrics": (), **found.without},
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _table(found: Comparison) -> str:
    head = ["system", "metric", "better", "BASE", "HEAD", "change", "allowed", "limit"]
    if found.confidence is not None:
        head += [f"{found.confidence * 100:.4g}% interval", "pairs"]
    rows = [[*head, "verdict"], ["---"] * (len(head) + 1), *(_row(score, len(head)) for score in found.scores)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _row(score: Score, columns: int) -> list[str]:
    cells = [score.system, score.metric, score.better]
    cells += ["none" if value is None else f"{value:.5g}" for value in (score.base, score.head)]
    cells += ["" if score.change is None else f"{score.change:+.3g}"]
    cells += ["" if score.allowed is None else f"{score.allowed:.3g}", str(score.limit or "")]
    if paired := score.paired:
        cells += [f"{paired.low:+.3g} to {paired.high:+.3g}", str(paired.pairs)]
    cells += [""] * (columns - len(cells))
    return [*map(_cell, cells), f"**{score.verdict}**" if score.verdict in FAILING else score.verdict]


def _notes(found: Comparison) -> list[str]:
    facts = {key: fact if isinstance(fact, str) else json.dumps(fact) for key, fact in found.protocol.items()}
    facts = {key: fact[:12] if key.endswith("sha256") else fact for key, fact in facts.items()}
    return [
        f"Protocol of both sides: {', '.join(f'{key} {fact}' for key, fact in facts.items())}.",
        *(
            f"Not judged, because they have no gate: {kind} {'; '.join(names)}."
            for kind, names in found.without.items()
            if names
        ),
    ]


def _as_dict(score: Score) -> dict[str, Any]:
    own = ("system", "metric", "better", "base", "head", "change", "allowed")
    return {
        **{name: getattr(score, name) for name in own},
        **{end: score.limit and getattr(score.limit, end) for end in ("min", "max")},
        **{name: score.paired and getattr(score.paired, name) for name in ("low", "high", "pairs")},
        "verdict": score.verdict,
        "reason": score.reason or None,
    }


def _cell(text: str) -> str:
    """The text with Markdown and HTML escaped, because names and messages come from untrusted files."""
    return re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
