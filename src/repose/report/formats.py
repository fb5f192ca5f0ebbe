"""A comparison as Markdown for people and as JSON for programs."""

import json
from typing import Any

from repose.report.judge import FAILING, Comparison, Score
from repose.report.markdown import render

PASSED = "no regression"
_OUTCOMES = {0: PASSED, 1: "regression", 2: "not comparable"}  # by exit code
RECORD = "gates.json"  # written by the stage gates, read by the stage card


def as_markdown(found: Comparison) -> str:
    """A table of the gated scores, a sentence for each failure, and the names without a gate."""
    facts = {key: fact if isinstance(fact, str) else json.dumps(fact) for key, fact in found.protocol.items()}
    protocol = {key: fact[:12] if key.endswith("sha256") else fact for key, fact in facts.items()}
    return render("gates.md.jinja", found=found, protocol=protocol, failing=FAILING)


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


def _as_dict(score: Score) -> dict[str, Any]:
    own = ("system", "metric", "better", "base", "head", "change", "allowed")
    return {
        **{name: getattr(score, name) for name in own},
        **{end: score.limit and getattr(score.limit, end) for end in ("min", "max")},
        **{name: score.paired and getattr(score.paired, name) for name in ("low", "high", "pairs")},
        "verdict": score.verdict,
        "reason": score.reason or None,
    }
