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
from repose.report.scores_file import Record, number, parsed

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


@pytest.mark.parametrize(("limit", "reason"), [
    ({"min": 0.665}, "0.66 is outside its limit: at least 0.665."),
    ({"min": 0.661, "max": 1}, "0.66 is outside its limit: at least 0.661, at most 1."), ({"min": 0.66, "max": 0.66}, ""),
])  # fmt: skip
def test_a_limit_fails_within_the_tolerance_as_well(limit, reason):
    found = compared(ssim=0.66, limits={"attend": {"ssim/pg2": limit}})
    assert verdicts(found) == [Verdict.LIMIT if reason else Verdict.SAME, Verdict.SAME]
    assert found.scores[0].reason == (reason and f"ssim/pg2 of attend: {reason}")
    assert found.exit_code == bool(reason)


def test_a_limit_adds_to_a_loss_and_counts_in_noise():
    worse = compared(torso=12.5, limits={"attend": {"torso-ciede2000": {"max": 12}}}).scores[1]
    both = "torso-ciede2000 of attend: worse by 2.5, but at most 1 is allowed. 12.5 is outside its limit: at most 12."
    assert (worse.verdict, worse.reason) == (Verdict.WORSE, both)
    noise = compared(ssim=0.6, changes=NOISE, limits={"attend": {"ssim/pg2": {"min": 0.65}}})
    assert verdicts(noise) == [Verdict.LIMIT, Verdict.SAME]


@pytest.mark.parametrize(("changes", "message"), [
    ({"systems": []}, "gates: systems and metrics should each have at least one entry."),
    ({"systems": ["attend", "attend"]}, "gates: systems has duplicates: attend, attend."),
    ({"limits": {"atend": {}}}, "gates: limits names 'atend', which has no gate. Did you mean 'attend'?"),
    ({"limits": {"attend": {"ssim/pg": {"min": 0}}}},
     "gates: limits.attend names 'ssim/pg', which has no gate. Did you mean 'ssim/pg2'?"),
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
    (BASE, BASE | {"ssim/pg2": "x" * 999}, f"HEAD's ssim/pg2 of attend is not a number: \"{'x' * 396}...."),
])  # fmt: skip
def test_a_gated_score_that_is_missing_or_no_number_is_not_comparable(base, head, reason):
    sides = [record(name, {"attend": row} if row else {}) for name, row in (("old", base), ("new", head))]
    found = compare(*sides, gates())
    assert (found.scores[0].verdict, found.scores[0].reason) == (Verdict.INCOMPARABLE, reason)
    assert found.exit_code == 2  # also beside a regression
    assert as_markdown(found).count(f"- {reason}\n") == 1  # even if it is the reason of several scores
    assert found.headline.startswith("Not comparable: ")
    assert json.loads(as_json(found))["scores"][0]["change"] is None


@pytest.mark.parametrize(("value", "expected"), [
    (3, 3.0), (-0.5, -0.5), (10**400, None), (None, None), (float("nan"), None), (True, None), ("1", None),
])  # fmt: skip
def test_a_score_is_a_finite_number(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(("changes", "difference"), [
    ({"size": "256x176"}, 'size is "128x88" in BASE and "256x176" in HEAD'),
    ({"pairs": 40, "crop": None}, "pairs is 160 in BASE and 40 in HEAD; crop is [40.0, 0.0, 216.0, 256.0] in BASE and null"),
])  # fmt: skip
def test_scores_of_another_protocol_are_refused_and_the_difference_named(changes, difference):
    with pytest.raises(ReposeError) as error:
        compare(record("old", {"attend": BASE}), record("new", {"attend": BASE}, **changes), gates())
    assert f"BASE, old, and HEAD, new, have different protocols: {difference}" in str(error.value)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ({"networks": {"figure": "a"}}, {"networks": {"figure": "b"}},
     'the sides compute it differently: networks is {"figure": "a"} in BASE and {"figure": "b"} in HEAD. Evaluate both '
     "in the same way."),
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
    (b"\xff\xfe\xfd", "are not JSON: "), (b"[" * 100_000, "are not JSON: "), (b"[]", "do not have schema 2"),
    (b'{"schema": 1, "protocol": {}, "metrics": {}, "scores": {}}', "do not have schema 2"),
    (b'{"schema": 2, "protocol": {}, "scores": {}}', "do not have schema 2"),
    (b'{"schema": 2, "protocol": {}, "metrics": {}, "scores": {"ssim": 0.6}}', "do not have schema 2"),
    (b'{"schema": 2, "protocol": {}, "metrics": {"ssim": "higher"}, "scores": {}}', "do not have schema 2"),
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


def side(folder: Path, name: str, scores: Mapping[str, list[float]], pairs: list[str] | None = None) -> Side:
    """A side's record, and its table of pairs on the disk."""
    lines = [f"system,from,to,occlusion,{','.join(scores)}"]
    for place, values in enumerate(zip(*scores.values(), strict=True)):
        pair = pairs[place] if pairs else f"a{place:02d},b{place:02d}"
        cells = ",".join("" if np.isnan(value) else f"{value:.10g}" for value in values)
        lines += [f"{system},{pair},,{cells}" for system in ("copy source", "attend")]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return record(name, {"attend": {metric: float(np.nanmean(values)) for metric, values in scores.items()}}), path


@pytest.fixture
def base(tmp_path: Path) -> Side:
    return side(tmp_path, "old", by_pair(0, 0))


def change(base: Side, head: Side) -> Comparison:
    return compare(base[0], head[0], gates(), changes_by_pair(base, head, gates()))


def refusal(base: Side, head: Side) -> str:
    with pytest.raises(ReposeError) as error:
        changes_by_pair(base, head, gates())
    return str(error.value)


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


def test_other_pairs_are_refused_and_the_first_is_named(tmp_path, base):
    scores, names = by_pair(0, 0), [f"a{n:02d},b{n:02d}" for n in range(PAIRS)]
    other = side(tmp_path, "new", scores, [*names[:3], "a03,c", *names[4:]])
    assert f"pair 4 of attend is a03 to b03 in {base[1]} and a03 to c in {other[1]}. Evaluate" in refusal(base, other)
    fewer = side(tmp_path, "new", {metric: values[:-1] for metric, values in scores.items()})
    protocol = (fewer[0]._replace(protocol=FACTS | {"pairs": 59}), fewer[1])
    assert "different protocols: pairs is 160 in BASE and 59 in HEAD" in refusal(base, protocol)  # says why


def test_a_score_that_one_side_alone_has_by_pair_is_refused(tmp_path, base):
    without = side(tmp_path, "new", {"ssim/pg2": by_pair(0, 0)["ssim/pg2"]})
    assert verdicts(change(base, without)) == [Verdict.SAME, Verdict.INCOMPARABLE]  # it has no such score at all
    without[0].scores["attend"]["torso-ciede2000"] = 10.0
    assert f"{base[1]} has ssim/pg2, torso-ciede2000, but {without[1]} has ssim/pg2." in refusal(base, without)


def test_a_pair_that_has_a_score_on_one_side_alone_is_left_out(tmp_path, base):
    """A joint that a network finds on one processor and not on another."""
    gap = by_pair(0, 0)
    gap["torso-ciede2000"][9] = np.nan
    found = changes_by_pair(base, side(tmp_path, "new", gap), gates())
    assert [found["attend", name].pairs for name in ("ssim/pg2", "torso-ciede2000")] == [PAIRS, PAIRS - 2]
    assert found["attend", "torso-ciede2000"][1:] == pytest.approx((0, 0))


def test_a_score_without_a_common_pair_has_no_interval(tmp_path, base):
    scores = by_pair(0, 0)
    scores["torso-ciede2000"] = [12.0 if pair == 7 else np.nan for pair in range(PAIRS)]  # BASE lacks this one
    found = change(base, side(tmp_path, "new", scores))
    assert (found.scores[1].paired, found.scores[1].verdict) == (None, Verdict.WORSE)
    assert "nan" not in as_markdown(found)
    assert "NaN" not in as_json(found)


def test_a_table_of_another_run_is_refused(tmp_path, base):
    head = side(tmp_path, "new", by_pair(0.1, 0))
    message = f"{base[1]} does not belong to new: its mean ssim/pg2 of attend is {HARD.mean():.6g}, but the score is "
    assert message in refusal(base, (head[0], base[1]))
    head[0].scores["attend"]["ssim/pg2"] = None  # left to the verdict
    assert verdicts(change(base, head)) == [Verdict.INCOMPARABLE, Verdict.SAME]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("attend", "vunet", "new.csv has no pairs of attend, which has gates."),
    ("system", "row", "new.csv lacks the column(s) system"),
    (",15\n", ",fifteen\n", "new.csv is damaged in torso-ciede2000 (could not convert string to float: 'fifteen')."),
])  # fmt: skip
def test_a_table_that_is_no_table_of_pairs_is_refused(tmp_path, base, old, new, message):
    head = side(tmp_path, "new", by_pair(0, 0))
    text = head[1].read_text()
    assert old in text
    head[1].write_text(text.replace(old, new))
    assert message in refusal(base, head)


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


@example("\\|")
@example("[x](javascript:alert(1))")
@example("![x](https://example.com/seen.png)")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("\\|`<>[]()!&*_~\n\r\t\x1b\u202e\x85 a:/"), max_size=12))
def test_a_name_is_one_cell_of_a_table_without_html_or_links(name):
    tokens = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .parse(markdown(["system", name], [["a", name], [name, "z"]]))
    )
    cells = [token for token in tokens if token.type in ("th_open", "td_open")]
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert len(cells) == 6
    assert kinds <= {"text", "code_inline", "em_open", "em_close", "strong_open", "strong_close", "text_special"}
    assert not set(markdown(["a"], [[name]])) & set("\x1b\u202e\x85\r")


def test_a_refusal_is_reported_and_names_from_files_end_no_cell_and_start_no_html():
    found = Comparison("main", "new.json", refusal="b <c> & | d")
    assert (found.exit_code, json.loads(as_json(found))["refusal"]) == (2, "b <c> & | d")
    assert as_markdown(found) == (
        "## Scores\n\n**Not comparable. b &lt;c> &amp; \\| d** HEAD is new.json, BASE is main.\n"
    )
