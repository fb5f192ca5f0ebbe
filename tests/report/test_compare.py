"""Two sets of scores side by side: gates, limits, protocols, noise, and the reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from repose.config import build
from repose.errors import ReposeError
from repose.evaluation.table_text import markdown
from repose.report.formats import as_json, as_markdown
from repose.report.gates import GatesSettings
from repose.report.judge import Comparison, PairedChange, Verdict, compare
from repose.report.paired import changes_by_pair
from repose.report.scores_file import Record, parsed

GATES: dict[str, Any] = {
    "systems": ["attend"],
    "metrics": {"ssim/pg2": {"better": "higher", "tolerance": 0.01}, "torso-ciede2000": {"better": "lower", "relative": 0.1}},
    "limits": {},
    "resamples": 400, "confidence": 0.95, "seed": 0,
}  # fmt: skip
FACTS = {"split": "pg2-like", "pairs": 160, "size": "128x88", "crop": [40.0, 0.0, 216.0, 256.0]}
BASE = {"ssim/pg2": 0.67, "torso-ciede2000": 10.0}
COPY = {"ssim/pg2": 0.44, "torso-ciede2000": 25.1}
NOISE = {("attend", "ssim/pg2"): PairedChange(160, -0.1, 0.02)}


def gates(**changes: Any) -> GatesSettings:
    return build(GatesSettings, GATES | changes, "params.yaml: gates")


def record(where: str, scores: Mapping[str, Any], **facts: Any) -> Record:
    return Record(where, FACTS | facts, {"copy source": COPY, **scores}, {})


def compared(*, limits: Any = None, changes: Any = None, **head: Any) -> Comparison:
    """The system attend on both sides, where HEAD departs from BASE in what is named (`ssim`, `torso`)."""
    names = {"ssim": "ssim/pg2", "torso": "torso-ciede2000"}
    now = BASE | {names[name]: value for name, value in head.items()}
    return compare(record("old", {"attend": BASE}), record("new", {"attend": now}), gates(limits=limits or {}), changes)


def verdicts(found: Comparison) -> list[Verdict]:
    return [score.verdict for score in found.scores]


# ---- gates ----


@pytest.mark.parametrize(("head", "expected"), [
    ({"ssim": 0.69, "torso": 8.0}, [Verdict.BETTER, Verdict.BETTER]),
    ({"ssim": 0.675, "torso": 9.1}, [Verdict.SAME, Verdict.SAME]),
    ({"ssim": 0.66, "torso": 11.0}, [Verdict.SAME, Verdict.SAME]),  # exactly what is allowed
    ({"ssim": 0.68001, "torso": 11.001}, [Verdict.BETTER, Verdict.WORSE]),
])  # fmt: skip
def test_a_change_is_judged_by_the_metrics_direction_and_tolerance(head, expected):
    found = compared(**head)
    assert verdicts(found) == expected
    assert found.exit_code == (1 if Verdict.WORSE in expected else 0)
    assert [score.allowed for score in found.scores] == [0.01, 1.0]
    assert [bool(score.reason) for score in found.scores] == [verdict is Verdict.WORSE for verdict in expected]


def test_a_limit_fails_within_the_tolerance_and_in_noise_and_adds_to_a_loss():
    limits = {"attend": {"ssim/pg2": {"min": 0.665, "max": 1}, "torso-ciede2000": {"max": 12}}}
    found = compared(ssim=0.66, torso=12.0, limits=limits)
    assert verdicts(found) == [Verdict.LIMIT, Verdict.WORSE]
    assert found.reasons == [
        "ssim/pg2 of attend: 0.66 is outside its limit: at least 0.665, at most 1.",
        "torso-ciede2000 of attend: worse by 2, but at most 1 is allowed.",
    ]
    found = compared(ssim=0.6, torso=12.5, limits=limits, changes=NOISE)
    assert verdicts(found) == [Verdict.LIMIT, Verdict.WORSE]
    assert found.reasons[1].endswith("worse by 2.5, but at most 1 is allowed. 12.5 is outside its limit: at most 12.")
    assert compared(ssim=0.665, limits=limits).exit_code == 0


@pytest.mark.parametrize(("changes", "message"), [
    ({"systems": []}, "gates: systems and metrics should each have at least one entry."),
    ({"limits": {"atend": {}}}, "gates: limits names 'atend', which has no gate. Did you mean 'attend'?"),
    ({"limits": {"attend": {"ssim/pg2": {}}}}, "gates.limits.attend.ssim/pg2: set min, max or both."),
    ({"limits": {"attend": {"ssim/pg2": {"min": 2, "max": 1}}}}, "min (2) is greater than max (1)."),
    ({"metrics": {"psnr": {"better": "higher"}}}, "gates.metrics.psnr: set exactly one of tolerance and relative."),
])  # fmt: skip
def test_gates_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ReposeError) as error:
        gates(**changes)
    assert message in str(error.value)


def test_systems_and_metrics_without_a_gate_are_named_and_marked_where_one_side_alone_has_them():
    base = record("old", {"attend": BASE | {"fid": 3.0}, "vunet": BASE})
    head = record("new", {"attend": BASE | {"lpips": 0.1}, "pg2": {"is": 4.0}})
    found = compare(base, head, gates())
    assert found.without == {
        "systems": ("copy source", "pg2 (new)", "vunet (gone)"), "metrics": ("lpips (new)", "is (new)", "fid (gone)"),
    }  # fmt: skip


# ---- what is not comparable ----


@pytest.mark.parametrize(("base", "head", "reason"), [
    (BASE, None, "HEAD has no system 'attend'; known: copy source."),
    ({"torso-ciede2000": 9}, BASE,
     "BASE has no 'ssim/pg2' of attend; known: torso-ciede2000. Add the gate of a new score once BASE has the score."),
    (BASE | {"ssim/pg2": float("inf")}, BASE, "BASE's ssim/pg2 of attend is not a number: Infinity."),
])  # fmt: skip
def test_a_gated_score_that_is_missing_or_no_number_is_not_comparable(base, head, reason):
    sides = [record(name, {"attend": row} if row else {}) for name, row in (("old", base), ("new", head))]
    found = compare(*sides, gates())
    assert (found.scores[0].verdict, found.scores[0].reason) == (Verdict.INCOMPARABLE, reason)
    assert found.exit_code == 2  # also beside a regression
    assert as_markdown(found).count(f"- {reason}\n") == 1  # even if it is the reason of several scores
    assert found.headline.startswith("Not comparable: ")
    assert json.loads(as_json(found))["scores"][0]["change"] is None


@pytest.mark.parametrize(("old", "new", "reason"), [
    ({"real": "train"}, {"chance": 0.1},
     'the sides compute it differently: real is "train" in BASE and null in HEAD; chance is null in BASE and 0.1 in '
     "HEAD. Evaluate both in the same way."),
    ({"better": "lower"}, {"better": "lower"}, "its gate says that higher is better, but lower is. Correct the block gates."),
])  # fmt: skip
def test_a_metric_that_is_scored_in_another_way_is_not_judged(old, new, reason):
    base, head = (record(side, {"attend": BASE})._replace(metrics={"ssim/pg2": facts, "torso-ciede2000": {}}) for side, facts
                  in (("old", old), ("new", new)))  # fmt: skip
    found = compare(base, head, gates())
    assert (found.exit_code, verdicts(found)) == (2, [Verdict.INCOMPARABLE, Verdict.SAME])
    optional = compare(base, head, gates(), NOISE, required=False)
    assert (optional.exit_code, verdicts(optional)) == (0, [Verdict.UNCOMPARED, Verdict.SAME])
    for score in (found.scores[0], optional.scores[0]):
        assert (score.reason, score.paired) == (f"ssim/pg2 of attend: {reason}", None)


@pytest.mark.parametrize(("content", "message"), [
    (b"\xff\xfe\xfd", "are not JSON: "), (b"[]", "do not have schema 2"),
    (b'{"schema": 1, "protocol": {}, "metrics": {}, "scores": {}}', "do not have schema 2"),
    (b'{"schema": 2, "protocol": {}, "metrics": {}, "scores": {"ssim": 0.6}}', "do not have schema 2"),
])  # fmt: skip
def test_what_is_no_record_of_scores_is_refused(content, message):
    with pytest.raises(ReposeError) as error:
        parsed(content, "main (0123456789)")
    assert str(error.value).startswith(f"The scores of main (0123456789) {message}")


# ---- a change, or noise ----

PAIRS = 60
HARD = np.random.default_rng(5).normal(0.6, 0.1, PAIRS)  # how hard a pair is for any system


def by_pair(gain: float, spread: float) -> dict[str, list[float]]:
    """Scores of pairs: SSIM that gains on BASE by so much, more or less, and torso-ciede2000 that is the same."""
    torso = np.linspace(5, 15, PAIRS)
    torso[7] = np.nan  # a pair without a torso
    noise = np.random.default_rng(6).normal(0, 1, PAIRS)
    return {"ssim/pg2": list(HARD + gain + spread * (noise - noise.mean())), "torso-ciede2000": list(torso)}


Side = tuple[Record, Path]


def side(folder: Path, name: str, scores: Mapping[str, list[float]]) -> Side:
    """A side's record, and its table of pairs on the disk."""
    lines = [f"system,from,to,occlusion,{','.join(scores)}"]
    for place, values in enumerate(zip(*scores.values(), strict=True)):
        cells = ",".join("" if np.isnan(value) else f"{value:.10g}" for value in values)
        lines += [f"{system},a{place:02d},b{place:02d},,{cells}" for system in ("copy source", "attend")]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return record(name, {"attend": {metric: float(np.nanmean(values)) for metric, values in scores.items()}}), path


@pytest.fixture
def base(tmp_path: Path) -> Side:
    return side(tmp_path, "old", by_pair(0, 0))


def change(base: Side, head: Side) -> Comparison:
    return compare(base[0], head[0], gates(), changes_by_pair(base, head, gates()))


@pytest.mark.parametrize(("gain", "spread", "verdict"), [
    (-0.03, 0.02, Verdict.WORSE), (-0.03, 0.3, Verdict.NOISE), (0.03, 0.02, Verdict.BETTER),
    (-0.009, 0.001, Verdict.SAME),  # certain, and within the tolerance
])  # fmt: skip
def test_a_change_beyond_the_tolerance_counts_where_its_interval_excludes_zero(tmp_path, base, gain, spread, verdict):
    found = change(base, side(tmp_path, "new", by_pair(gain, spread)))
    assert verdicts(found) == [verdict, Verdict.SAME]
    ssim, torso = (score.paired for score in found.scores)
    assert ssim.low < gain < ssim.high
    assert (ssim.low <= 0 <= ssim.high) == (spread == 0.3)
    assert (ssim.pairs, torso) == (PAIRS, PairedChange(PAIRS - 1, 0.0, 0.0))


def test_a_metric_that_is_no_mean_over_pairs_is_judged_by_its_tolerance_alone(tmp_path):
    only = {"ssim/pg2": by_pair(0, 0)["ssim/pg2"]}
    base, head = side(tmp_path, "old", only), side(tmp_path, "new", only)
    base[0].scores["attend"]["torso-ciede2000"], head[0].scores["attend"]["torso-ciede2000"] = 10.0, 12.0
    found = change(base, head)
    assert verdicts(found) == [Verdict.SAME, Verdict.WORSE]
    assert found.scores[1].paired is None
    assert changes_by_pair(base, head, gates(metrics={"fid": {"better": "lower", "tolerance": 1}})) == {}


def test_a_pair_that_has_a_score_on_one_side_alone_is_left_out(tmp_path, base):
    """A joint that a network finds on one processor and not on another."""
    gap = by_pair(0, 0)
    gap["torso-ciede2000"][9] = np.nan
    found = changes_by_pair(base, side(tmp_path, "new", gap), gates())
    assert [found["attend", name].pairs for name in ("ssim/pg2", "torso-ciede2000")] == [PAIRS, PAIRS - 2]
    assert found["attend", "torso-ciede2000"][1:] == pytest.approx((0, 0))


@pytest.mark.parametrize(("old", "new", "message"), [
    ("attend", "vunet", "new.csv has no pairs of attend, which has gates."),
    (",15\n", ",fifteen\n", "new.csv is damaged in torso-ciede2000 (could not convert string to float: 'fifteen')."),
    ("a03,b03", "a03,c", "pair 4 of attend is a03 to b03 in old.csv and a03 to c in new.csv. Evaluate both on the same"),
    ("torso-ciede2000", "torso", "old.csv has ssim/pg2, torso-ciede2000, but new.csv has ssim/pg2."),
    ("a00,b00,,0.5", "a00,b00,,0.8", "new.csv does not belong to new: its mean ssim/pg2 of attend is 0.583516, but the score"),
])  # fmt: skip
def test_a_table_of_other_pairs_or_of_another_run_is_refused(tmp_path, base, old, new, message):
    head = side(tmp_path, "new", by_pair(0, 0))
    text = head[1].read_text()
    assert old in text
    head[1].write_text(text.replace(old, new))
    with pytest.raises(ReposeError) as error:
        changes_by_pair(base, head, gates())
    assert message in str(error.value).replace(f"{tmp_path}/", "")


# ---- reports ----


def test_json_has_every_number():
    found = json.loads(as_json(compared(ssim=0.6, limits={"attend": {"ssim/pg2": {"min": 0.5}}}, changes=NOISE)))
    assert (found["outcome"], found["base"], found["head"], found["protocol"]) == ("no regression", "old", "new", FACTS)
    assert found["scores"][0] == {
        "system": "attend", "metric": "ssim/pg2", "better": "higher", "base": 0.67, "head": 0.6, "change": 0.6 - 0.67,
        "allowed": 0.01, "min": 0.5, "max": None, "low": -0.1, "high": 0.02, "pairs": 160, "verdict": "noise",
        "reason": None,
    }  # fmt: skip
    assert found["without a gate"] == {"systems": ["copy source"], "metrics": []}


def test_markdown_has_a_row_for_each_score_and_the_interval_where_there_are_pairs():
    assert as_markdown(compared(ssim=0.6, torso=12.0, changes=NOISE)) == (
        "## Scores\n\n**Regression: 1 of 2 gated scores.** HEAD is new, BASE is old.\n\n"
        "| system | metric | better | BASE | HEAD | change | allowed | limit | 95% interval | pairs | verdict |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| attend | ssim/pg2 | higher | 0.67 | 0.6 | -0.07 | 0.01 |  | -0.1 to +0.02 | 160 | noise |\n"
        "| attend | torso-ciede2000 | lower | 10 | 12 | +2 | 1 |  |  |  | **worse** |\n\n"
        "- torso-ciede2000 of attend: worse by 2, but at most 1 is allowed.\n"
        "- Protocol of both sides: split pg2-like, pairs 160, size 128x88, crop [40.0, 0.0, 216.0, 256.0].\n"
        "- Not judged, because they have no gate: systems copy source.\n"
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@example("[x](javascript:alert(1))")
@given(st.text(st.sampled_from("\\|`<>[]()!&*_~\n\r\t\x1b\u202e\x85 a:/"), max_size=12))
def test_a_name_is_one_cell_of_a_table_without_html_or_links(name):
    text = markdown(["system", name], [["a", name], [name, "z"]])
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert len([token for token in tokens if token.type in ("th_open", "td_open")]) == 6
    assert kinds <= {"text", "code_inline", "em_open", "em_close", "strong_open", "strong_close", "text_special"}
    assert not set(text) & set("\x1b\u202e\x85\r")


def test_a_refusal_is_reported_and_names_from_files_end_no_cell_and_start_no_html():
    found = Comparison("main", "new.json", refusal="b <c> & | d")
    text = "## Scores\n\n**Not comparable. b &lt;c> &amp; \\| d** HEAD is new.json, BASE is main.\n"
    assert (as_markdown(found), json.loads(as_json(found))["refusal"]) == (text, "b <c> & | d")
