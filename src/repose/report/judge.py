"""Compare each gated score of HEAD with that of BASE. Without a BASE, only the limits are checked."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from repose.config import nearest
from repose.errors import ReposeError
from repose.report.gates import Gate, GatesSettings, Limit
from repose.report.scores_file import Record, number


class Verdict(StrEnum):
    """The outcome of one score."""

    BETTER = "better"  # by more than the tolerance
    SAME = "same"  # within the tolerance, either way
    NOISE = "noise"  # beyond the tolerance, but the interval of the change includes 0
    WORSE = "worse"  # by more than the tolerance
    KEPT = "limit kept"  # there is no BASE, and the score is within its limit, if it has one
    LIMIT = "beyond its limit"
    UNCOMPARED = "not compared"  # BASE has no usable score, so only the limit is checked (see `compare`)
    INCOMPARABLE = "not comparable"


FAILING = (Verdict.WORSE, Verdict.LIMIT, Verdict.INCOMPARABLE)


class PairedChange(NamedTuple):
    """The interval of HEAD minus BASE over the pairs that have the score on both sides."""

    pairs: int
    low: float
    high: float


Changes = Mapping[tuple[str, str], PairedChange]  # by system and metric


@dataclass(frozen=True)
class Score:
    """One gated score on both sides."""

    system: str
    metric: str
    better: str  # higher or lower
    base: float | None  # None: BASE has no number, or there is no BASE
    head: float | None
    allowed: float | None  # largest allowed loss; None if BASE has no score
    limit: Limit | None
    paired: PairedChange | None
    verdict: Verdict
    reason: str  # why the score fails or is not compared; otherwise empty

    @property
    def change(self) -> float | None:
        """HEAD minus BASE; None if one of them is missing."""
        return None if self.base is None or self.head is None else self.head - self.base


@dataclass(frozen=True)
class Comparison:
    """The gated scores of two sides, or the reason why the sides are not comparable."""

    base: str
    head: str
    protocol: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    without: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # a gate: systems and metrics, marked if one-sided
    confidence: float | None = None  # of the intervals; None without scores by pair
    refusal: str = ""  # why the sides are not comparable
    uncompared: str = ""  # why only the limits are checked although there is a BASE

    def of(self, *verdicts: Verdict) -> list[Score]:
        """The scores with one of these verdicts."""
        return [score for score in self.scores if score.verdict in verdicts]

    @property
    def reasons(self) -> list[str]:
        """The reasons of the scores, each once: all metrics of a missing system have the same."""
        return list(dict.fromkeys(score.reason for score in self.scores if score.reason))

    @property
    def exit_code(self) -> int:
        """0: no regression, 1: a regression, 2: something is not comparable."""
        if self.refusal or self.of(Verdict.INCOMPARABLE):
            return 2
        return 1 if self.of(Verdict.WORSE, Verdict.LIMIT) else 0

    @property
    def headline(self) -> str:
        """The outcome in one sentence, and why only the limits were checked."""
        all_of_them = f"{len(self.scores)} gated score{'' if len(self.scores) == 1 else 's'}"
        if self.refusal:
            return f"Not comparable. {self.refusal}"
        why = f" Not compared with the baseline. {self.uncompared}" if self.uncompared else ""
        if missing := self.of(Verdict.INCOMPARABLE):
            return f"Not comparable: {len(missing)} of {all_of_them}.{why}"
        if worse := self.of(Verdict.WORSE, Verdict.LIMIT):
            return f"Regression: {len(worse)} of {all_of_them}.{why}"
        if self.uncompared:
            return f"Not compared with the baseline; {all_of_them} within the limits that are set. {self.uncompared}"
        if uncompared := self.of(Verdict.UNCOMPARED):
            return f"No regression; {len(uncompared)} of {all_of_them} not compared with the baseline."
        return f"No regression in {all_of_them}; {len(self.of(Verdict.BETTER))} better."


def compare(
    base: Record | None, head: Record, gates: GatesSettings, changes: Changes | None = None, *, required: bool = True
) -> Comparison:
    """Compare every gated score of `head` with `base`; without a base, only check the limits.

    `changes` are the intervals of scores that both sides have by pair; without them, only the tolerance decides. With
    `required`, a score that BASE lacks or computes differently is not comparable; else only its limit is checked.

    Raises:
        ReposeError: the protocols differ.
    """
    if base is not None:
        check_protocols(base, head)
    scores = tuple(
        _judge(base, head, gates, system, metric, paired=(changes or {}).get((system, metric)), required=required)
        for system in gates.systems
        for metric in gates.metrics
    )
    before = head if base is None else base
    old, new = (dict.fromkeys(metric for row in side.scores.values() for metric in row) for side in (before, head))
    without = {
        "systems": _without(before.scores, head.scores, gates.systems),
        "metrics": _without(old, new, gates.metrics),
    }
    where = "nothing" if base is None else base.where
    return Comparison(where, head.where, head.protocol, scores, without, None if changes is None else gates.confidence)


def check_protocols(base: Record, head: Record) -> None:
    """Raise a ReposeError that names the differences if the protocols of two sides differ."""
    if differ := _differences(base.protocol, head.protocol):
        raise ReposeError(
            f"BASE, {base.where}, and HEAD, {head.where}, have different protocols: {differ}. "
            "Scores are only comparable under the same protocol. Evaluate both in the same way."
        )


def _differences(base: Mapping[str, Any], head: Mapping[str, Any]) -> str:
    """The differences between two mappings as clauses; empty if they are equal."""
    return "; ".join(
        f"{key} is {_json(base.get(key))} in BASE and {_json(head.get(key))} in HEAD"
        for key in dict.fromkeys([*base, *head])
        if base.get(key) != head.get(key)
    )


def _json(value: Any) -> str:
    """A value as JSON, truncated to a length that fits networks with their digests."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:397]}..."


def _judge(
    base: Record | None, head: Record, gates: GatesSettings, system: str, metric: str, *, paired: PairedChange | None,
    required: bool,
) -> Score:  # fmt: skip
    gate, limit = gates.metrics[metric], gates.limits.get(system, {}).get(metric)
    old, old_missing = (None, "") if base is None else _look_up("BASE", base, system, metric)
    new, new_missing = _look_up("HEAD", head, system, metric)
    other = old_missing or ("" if base is None else _another_way(base, head, metric, gate))
    if new is None or (other and required):
        reason = " ".join(filter(None, (old_missing, new_missing))) or f"{metric} of {system}: {other}"
        return Score(system, metric, gate.better, old, new, None, limit, None, Verdict.INCOMPARABLE, reason)
    allowed, verdict, reason = None, Verdict.KEPT, ""
    if other:
        verdict, reason, paired = Verdict.UNCOMPARED, other, None
    elif old is not None:
        allowed = gate.allowed(old)
        verdict, reason = _verdict(gate.gain(new - old), allowed, paired)
    if limit is not None and not limit.keeps(new):
        verdict = verdict if verdict is Verdict.WORSE else Verdict.LIMIT
        reason = f"{reason} {new:.5g} is outside its limit: {limit}.".strip()
    reason = reason and f"{metric} of {system}: {reason}"
    return Score(system, metric, gate.better, old, new, allowed, limit, paired, verdict, reason)


def _another_way(base: Record, head: Record, metric: str, gate: Gate) -> str:
    """A sentence on how the two sides compute a metric differently; empty if they do not."""
    old, new = (side.metrics.get(metric, {}) for side in (base, head))
    if differ := _differences(old, new):
        return f"the sides compute it differently: {differ}. Evaluate both in the same way."
    if new.get("better", gate.better) != gate.better:
        return f"its gate says that {gate.better} is better, but {new['better']} is. Correct the block gates."
    return ""


def _look_up(role: str, side: Record, system: str, metric: str) -> tuple[float | None, str]:
    """A score, or None and the reason why it is missing."""
    advice = " Add the gate of a new score once BASE has the score." if role == "BASE" else ""
    if system not in side.scores:
        return None, f"{role} has no system {system!r}{nearest(system, list(side.scores))}{advice}"
    row = side.scores[system]
    if metric not in row:
        return None, f"{role} has no {metric!r} of {system}{nearest(metric, list(row))}{advice}"
    value = number(row[metric])
    return value, "" if value is not None else f"{role}'s {metric} of {system} is not a number: {_json(row[metric])}."


def _verdict(gain: float, allowed: float, paired: PairedChange | None) -> tuple[Verdict, str]:
    """The verdict on a change, and a sentence if it fails."""
    if abs(gain) <= allowed or math.isclose(abs(gain), allowed, rel_tol=1e-9):  # as floats, 0.67 - 0.66 is above 0.01
        return Verdict.SAME, ""
    if paired is not None and paired.low <= 0 <= paired.high:
        return Verdict.NOISE, ""
    if gain > 0:
        return Verdict.BETTER, ""
    return Verdict.WORSE, f"worse by {-gain:.3g}, but at most {allowed:.3g} is allowed."


def _without(base: Collection[str], head: Collection[str], gated: Collection[str]) -> tuple[str, ...]:
    """The names without a gate, marked as new if only HEAD has them, or as gone if only BASE has them."""
    marks = {(True, False): " (gone)", (False, True): " (new)", (True, True): ""}
    names = dict.fromkeys([*head, *base])
    return tuple(f"{name}{marks[name in base, name in head]}" for name in names if name not in gated)
