"""A comparison for people (Markdown), for programs (JSON) and for what shows the tests of a merge (JUnit)."""

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

from repose.report.judge import FAILING, Comparison, Score, Verdict

_DIGITS = 12  # of a digest, for people
PASSED = "no regression"
_OUTCOMES = {0: PASSED, 1: "regression", 2: "not comparable"}  # by exit code
RECORD = "gates.json"  # in the report of the stage gates, read by the stage card


def as_markdown(found: Comparison) -> str:
    """A table of the gated scores, what fails in sentences, and what has no gate."""
    lines = [
        "## Scores",
        "",
        f"**{_cell(found.headline)}** HEAD is {_cell(found.head)}, BASE is {_cell(found.base)}.",
        "",
    ]
    if found.scores:
        lines += [*_table(found), "", *(f"- {_cell(score.reason)}" for score in found.scores if score.reason)]
        lines += [f"- {_cell(line)}" for line in _notes(found)]
    return "\n".join(lines).rstrip() + "\n"


def as_json(found: Comparison) -> str:
    """All of it; a number that is not there is null."""
    record = {
        "outcome": _OUTCOMES[found.exit_code],
        "refusal": found.refusal or None,
        "uncompared": found.uncompared or None,
        "base": found.base,
        "head": found.head,
        "protocol": found.protocol,
        "confidence": found.confidence,
        "scores": [_as_dict(score) for score in found.scores],
        "without a gate": {"systems": found.systems_without, "metrics": found.metrics_without},
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def as_junit(found: Comparison) -> str:
    """A test case for each gated score: a regression is its failure, what cannot be compared its error."""
    failures = len(found.of(Verdict.WORSE, Verdict.LIMIT))
    errors = len(found.of(Verdict.INCOMPARABLE)) + bool(found.refusal)
    counts = {"tests": len(found.scores) + bool(found.refusal), "failures": failures, "errors": errors}
    said = {name: str(count) for name, count in counts.items()}
    suites = ET.Element("testsuites", said)
    suite = ET.SubElement(suites, "testsuite", {"name": "repose compare"} | said)
    for score in found.scores:
        case = ET.SubElement(suite, "testcase", {"classname": _clean(score.system), "name": _clean(score.metric)})
        if score.verdict in FAILING:
            tag = "error" if score.verdict is Verdict.INCOMPARABLE else "failure"
            ET.SubElement(case, tag, {"type": score.verdict, "message": _clean(score.reason)})
    if found.refusal:
        case = ET.SubElement(suite, "testcase", {"classname": "repose compare", "name": "comparable"})
        ET.SubElement(case, "error", {"type": Verdict.INCOMPARABLE, "message": _clean(found.refusal)})
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, "unicode")}\n'


def _table(found: Comparison) -> list[str]:
    head = ["system", "metric", "better", "BASE", "HEAD", "change", "allowed", "limit"]
    if found.confidence is not None:
        head += [f"{found.confidence * 100:.4g}% interval", "pairs"]
    head.append("verdict")
    rows = [_row(score, with_pairs=found.confidence is not None) for score in found.scores]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _row(score: Score, *, with_pairs: bool) -> list[str]:
    cells = [score.system, score.metric, score.better, _shown(score.base), _shown(score.head)]
    cells += [
        "" if score.change is None else f"{score.change:+.3g}",
        "" if score.allowed is None else f"{score.allowed:.3g}",
        str(score.limit or ""),
    ]
    if with_pairs:
        paired = score.paired
        cells += ["", ""] if paired is None else [f"{paired.low:+.3g} to {paired.high:+.3g}", str(paired.pairs)]
    return [*map(_cell, cells), f"**{score.verdict}**" if score.verdict in FAILING else score.verdict]


def _notes(found: Comparison) -> list[str]:
    facts = {key: fact if isinstance(fact, str) else json.dumps(fact) for key, fact in found.protocol.items()}
    facts = {key: fact[:_DIGITS] if key.endswith("sha256") else fact for key, fact in facts.items()}
    without = {"systems": found.systems_without, "metrics": found.metrics_without}
    return [
        f"Protocol of both: {', '.join(f'{key} {fact}' for key, fact in facts.items())}.",
        *(f"Without a gate, so not judged: the {kind} {'; '.join(names)}." for kind, names in without.items() if names),
    ]


def _as_dict(score: Score) -> dict[str, Any]:
    limit, paired = score.limit, score.paired
    return {
        "system": score.system,
        "metric": score.metric,
        "better": score.better,
        "base": score.base,
        "head": score.head,
        "change": score.change,
        "allowed": score.allowed,
        "least": limit.least if limit else None,
        "most": limit.most if limit else None,
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
        "pairs": paired.pairs if paired else None,
        "verdict": score.verdict,
        "reason": score.reason or None,
    }


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.5g}"


def _cell(text: str) -> str:
    """Names and messages hold what stands in files of others: none may end a cell or start HTML."""
    return re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _clean(text: str) -> str:
    """XML has no way to write control characters."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
