"""What each gated score of HEAD is beside BASE's: better, the same, noise, worse, beyond its limit, or not comparable.

Where there is no BASE, the limits alone judge.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from repose.config import nearest
from repose.errors import ReposeError
from repose.report.gates import Gate, GatesSettings, Limit
from repose.report.scores_file import Record, number

_DIGESTS = 400  # characters, enough for the networks of a metric with their digests


class Verdict(StrEnum):
    """Of one score."""

    BETTER = "better"  # by more than the tolerance
    SAME = "same"  # within the tolerance, either way
    NOISE = "noise"  # beyond the tolerance, but the interval of the change includes 0
    WORSE = "worse"  # by more than the tolerance
    KEPT = "limit kept"  # there is no BASE, and it is inside its limit, if it has one
    LIMIT = "beyond its limit"
    UNCOMPARED = "not compared"  # BASE cannot be compared with, and the limits alone judge (see `compare`)
    INCOMPARABLE = "not comparable"


FAILING = (Verdict.WORSE, Verdict.LIMIT, Verdict.INCOMPARABLE)


class PairedChange(NamedTuple):
    """The ends of the interval of HEAD less BASE, over the pairs that have the score."""

    pairs: int
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether the change may be noise."""
        return self.low <= 0 <= self.high


Changes = Mapping[tuple[str, str], PairedChange]  # by system and metric


@dataclass(frozen=True)
class Score:
    """One gated score on both sides."""

    system: str
    metric: str
    better: str  # higher or lower
    base: float | None  # None: there is none, or no number, or no BASE at all
    head: float | None
    allowed: float | None  # by how much HEAD may be worse; None where BASE has no score
    limit: Limit | None
    paired: PairedChange | None
    verdict: Verdict
    reason: str  # a sentence on what fails or is not compared; empty where there is nothing to say

    @property
    def change(self) -> float | None:
        """HEAD less BASE."""
        return None if self.base is None or self.head is None else self.head - self.base


@dataclass(frozen=True)
class Comparison:
    """All gated scores of two sides, or why the sides cannot be compared at all."""

    base: str
    head: str
    protocol: Mapping[str, Any]
    scores: tuple[Score, ...]
    systems_without: tuple[str, ...]  # systems without a gate, each marked if one side alone has it
    metrics_without: tuple[str, ...]  # metrics without a gate, likewise
    confidence: float | None  # of the intervals; None without pairs
    refusal: str = ""
    uncompared: str = ""  # why the limits alone judge, though there is a BASE

    def of(self, *verdicts: Verdict) -> list[Score]:
        """The scores of these verdicts."""
        return [score for score in self.scores if score.verdict in verdicts]

    @property
    def exit_code(self) -> int:
        """0: no regression, 1: a regression, 2: something cannot be compared."""
        if self.refusal or self.of(Verdict.INCOMPARABLE):
            return 2
        return 1 if self.of(Verdict.WORSE, Verdict.LIMIT) else 0

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        all_of_them = f"{len(self.scores)} gated score{'' if len(self.scores) == 1 else 's'}"
        if self.refusal:
            return f"Not comparable. {self.refusal}"
        if missing := self.of(Verdict.INCOMPARABLE):
            return f"Not comparable: {len(missing)} of {all_of_them}."
        if worse := self.of(Verdict.WORSE, Verdict.LIMIT):
            return f"Regression: {len(worse)} of {all_of_them}."
        if self.uncompared:
            return f"Not compared with the baseline, limits kept by {all_of_them}. {self.uncompared}"
        if uncompared := self.of(Verdict.UNCOMPARED):
            return f"No regression; {len(uncompared)} of {all_of_them} not compared with the baseline."
        return f"No regression in {all_of_them}; {len(self.of(Verdict.BETTER))} better."


def refused(base: str, head: str, why: str) -> Comparison:
    """Of two sides that cannot be compared at all."""
    return Comparison(base, head, {}, (), (), (), None, why)


def compare(
    base: Record | None, head: Record, gates: GatesSettings, changes: Changes | None = None, *, required: bool = True
) -> Comparison:
    """Every gated score of two sides.

    Args:
        base: What there was; None: nothing, so the limits alone judge.
        head: What there is now.
        gates: The block `gates`.
        changes: Of the scores that both sides have by pair; None: there are no pairs, so the tolerance alone decides.
        required: Whether a score that BASE lacks, or that BASE scored in another way, is not comparable. If not, its limit
            alone judges it.

    Raises:
        ReposeError: the two are of different protocol.
    """
    if base is not None:
        check_protocols(base, head)
    scores = tuple(
        _judged(base, head, gates, system, metric, paired=(changes or {}).get((system, metric)), required=required)
        for system in gates.systems
        for metric in gates.metrics
    )
    before = head if base is None else base
    return Comparison(
        "nothing" if base is None else base.where,
        head.where,
        head.protocol,
        scores,
        _without(before.scores, head.scores, gates.systems),
        _without(_metrics(before), _metrics(head), gates.metrics),
        None if changes is None else gates.confidence,
    )


def check_protocols(base: Record, head: Record) -> None:
    """Refuse numbers of different protocol.

    Raises:
        ReposeError: they differ, and in what.
    """
    keys = dict.fromkeys([*base.protocol, *head.protocol])
    missing = object()
    differ = [key for key in keys if base.protocol.get(key, missing) != head.protocol.get(key, missing)]
    if differ:
        said = "; ".join(f"{key} is {_said(base, key)} in BASE and {_said(head, key)} in HEAD" for key in differ)
        raise ReposeError(
            f"BASE, {base.where}, and HEAD, {head.where}, are of different protocol: {said}. "
            "Numbers of different protocol say nothing of each other: evaluate both in the same way."
        )


def _said(side: Record, key: str) -> str:
    return _json(side.protocol[key]) if key in side.protocol else "not said"


def _json(value: Any, most: int = 80) -> str:
    """A value as it stands in the file, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _judged(
    base: Record | None, head: Record, gates: GatesSettings, system: str, metric: str, *, paired: PairedChange | None,
    required: bool,
) -> Score:  # fmt: skip
    gate, limit = gates.metrics[metric], gates.limits.get(system, {}).get(metric)
    old, old_missing = (None, "") if base is None else _looked_up("BASE", base, system, metric)
    new, new_missing = _looked_up("HEAD", head, system, metric)
    other = old_missing or ("" if base is None else _another_way(base, head, metric, gate))
    if new is None or (other and required):
        reason = " ".join(filter(None, (old_missing, new_missing))) or f"{metric} of {system}: {other}"
        return Score(system, metric, gate.better, old, new, None, limit, None, Verdict.INCOMPARABLE, reason)
    allowed, verdict, reason = None, Verdict.KEPT, ""
    if other:
        verdict, reason = Verdict.UNCOMPARED, other
    elif old is not None:
        allowed = gate.allowed(old)
        verdict, reason = _verdict(gate.gain(new - old), allowed, paired)
    if limit is not None and not limit.keeps(new):
        verdict = verdict if verdict is Verdict.WORSE else Verdict.LIMIT
        reason = f"{reason} {new:.5g} is not {limit}.".strip()
    reason = reason and f"{metric} of {system}: {reason}"
    return Score(system, metric, gate.better, old, new, allowed, limit, paired, verdict, reason)


def _another_way(base: Record, head: Record, metric: str, gate: Gate) -> str:
    """In what the two sides score a metric differently, as a sentence; empty where they do not."""
    old, new = (side.metrics.get(metric, {}) for side in (base, head))
    differ = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    if differ:
        sides = [(key, _json(old.get(key), _DIGESTS), _json(new.get(key), _DIGESTS)) for key in differ]
        said = "; ".join(f"{key} is {mine} in BASE and {theirs} in HEAD" for key, mine, theirs in sides)
        return f"the sides score it in different ways: {said}. Evaluate both in the same way."
    if new.get("better", gate.better) != gate.better:
        return f"its gate calls {gate.better} better, and {new['better']} is. Correct the block gates."
    return ""


def _looked_up(role: str, side: Record, system: str, metric: str) -> tuple[float | None, str]:
    """A score, or None and why there is none."""
    advice = " What is new gets its gate once BASE has it." if role == "BASE" else ""
    if system not in side.scores:
        return None, f"{role} has no system {system!r}{nearest(system, list(side.scores))}{advice}"
    row = side.scores[system]
    if metric not in row:
        return None, f"{role} has no {metric!r} of {system}{nearest(metric, list(row))}{advice}"
    value = number(row[metric])
    return value, "" if value is not None else f"{role}'s {metric} of {system} is no number: {_json(row[metric])}."


def _verdict(gain: float, allowed: float, paired: PairedChange | None) -> tuple[Verdict, str]:
    """What a change is, and a sentence if it fails."""
    if abs(gain) <= allowed or math.isclose(abs(gain), allowed, rel_tol=1e-9):  # 0.67 - 0.66 is a little more than 0.01
        return Verdict.SAME, ""
    if paired is not None and paired.includes_zero:
        return Verdict.NOISE, ""
    if gain > 0:
        return Verdict.BETTER, ""
    return Verdict.WORSE, f"worse by {-gain:.3g}, and {allowed:.3g} is allowed."


def _metrics(side: Record) -> dict[str, None]:
    return dict.fromkeys(metric for row in side.scores.values() for metric in row)


def _without(base: Collection[str], head: Collection[str], gated: Collection[str]) -> tuple[str, ...]:
    """Names without a gate; new: HEAD alone has it, gone: BASE alone had it."""
    marks = {(True, False): " (gone)", (False, True): " (new)", (True, True): ""}
    names = dict.fromkeys([*head, *base])
    return tuple(f"{name}{marks[name in base, name in head]}" for name in names if name not in gated)
