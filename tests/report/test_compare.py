"""Two sets of scores side by side: gates, limits, protocols, noise, and the three reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from repose.config import block, build, read_params
from repose.errors import ReposeError
from repose.evaluation.results import PROTOCOL
from repose.report.formats import as_json, as_junit, as_markdown
from repose.report.gates import GatesSettings
from repose.report.judge import Comparison, PairedChange, Verdict, compare, refused
from repose.report.paired import changes_by_pair
from repose.report.scores_file import Record, number, parsed, read_side

ROOT = Path(__file__).parents[2]
GATES: dict[str, Any] = {
    "systems": ["attend"],
    "metrics": {"ssim/pg2": {"better": "higher", "tolerance": 0.01}, "torso-ciede2000": {"better": "lower", "relative": 0.1}},
    "limits": {},
    "resamples": 400, "confidence": 0.95, "seed": 0,
}  # fmt: skip
FACTS = {"split": "pg2-like", "pairs": 160, "size": "128x88", "crop": [40.0, 0.0, 216.0, 256.0]}
BASE = {"ssim/pg2": 0.67, "torso-ciede2000": 10.0}
COPY = {"ssim/pg2": 0.44, "torso-ciede2000": 25.1}


def gates(**changes: Any) -> GatesSettings:
    return build(GatesSettings, GATES | changes, "params.yaml: gates")


def record(where: str, scores: Mapping[str, Any], **facts: Any) -> Record:
    return Record(where, FACTS | facts, {"copy source": COPY, **scores}, {})


def compared(*, base: Any = BASE, limits: Any = None, changes: Any = None, **head: Any) -> Comparison:
    """The system attend on both sides, where HEAD departs from BASE in what is named (`ssim`, `garment`)."""
    names = {"ssim": "ssim/pg2", "garment": "torso-ciede2000"}
    now = BASE | {names[name]: value for name, value in head.items()}
    return compare(record("old", {"attend": base}), record("new", {"attend": now}), gates(limits=limits or {}), changes)


def verdicts(found: Comparison) -> list[Verdict]:
    return [score.verdict for score in found.scores]


# ---- gates ----


def test_the_committed_gates_let_the_committed_scores_pass() -> None:
    settings = block(read_params(ROOT / "params.yaml"), "gates", GatesSettings, "params.yaml")
    scores = read_side(str(ROOT / "metrics.json"))
    found = compare(scores, scores, settings)
    assert (found.exit_code, set(verdicts(found))) == (0, {Verdict.SAME})
    assert set(settings.systems) == set(read_params(ROOT / "params.yaml")["evaluate"]["systems"])
    metrics = read_params(ROOT / "params.yaml")["evaluate"]["metrics"]
    # how far these move from one processor to another is not known yet
    assert set(metrics) - set(settings.metrics) == {"mask-ssim/pg2", "psnr"} <= set(found.metrics_without)
    assert found.systems_without == ("copy source", "mean of sources", "paper-m, 1 source", "attend, 1 source")


@pytest.mark.parametrize(("head", "expected"), [
    ({}, [Verdict.SAME, Verdict.SAME]),
    ({"ssim": 0.69, "garment": 8.0}, [Verdict.BETTER, Verdict.BETTER]),
    ({"ssim": 0.665, "garment": 10.9}, [Verdict.SAME, Verdict.SAME]),
    ({"ssim": 0.675, "garment": 9.1}, [Verdict.SAME, Verdict.SAME]),
    ({"ssim": 0.66, "garment": 11.0}, [Verdict.SAME, Verdict.SAME]),  # exactly what is allowed
    ({"ssim": 0.659, "garment": 11.1}, [Verdict.WORSE, Verdict.WORSE]),
    ({"ssim": 0.68001, "garment": 11.001}, [Verdict.BETTER, Verdict.WORSE]),
])  # fmt: skip
def test_a_change_is_judged_by_the_metrics_direction_and_tolerance(
    head: dict[str, float], expected: list[Verdict]
) -> None:
    found = compared(**head)
    assert verdicts(found) == expected
    assert found.exit_code == (1 if Verdict.WORSE in expected else 0)
    assert [score.allowed for score in found.scores] == [0.01, 1.0]
    assert [bool(score.reason) for score in found.scores] == [verdict is Verdict.WORSE for verdict in expected]


def test_a_regression_is_said_in_a_sentence() -> None:
    found = compared(ssim=0.6)
    assert found.headline == "Regression: 1 of 2 gated scores."
    assert found.scores[0].reason == "ssim/pg2 of attend: worse by 0.07, and 0.01 is allowed."


def test_no_tolerance_lets_no_loss_pass() -> None:
    strict = gates(metrics={"ssim/pg2": {"better": "higher", "tolerance": 0}})
    for now, verdict in ((0.67, Verdict.SAME), (0.6699999, Verdict.WORSE), (0.6700001, Verdict.BETTER)):
        found = compare(record("old", {"attend": BASE}), record("new", {"attend": {"ssim/pg2": now}}), strict)
        assert verdicts(found) == [verdict]


@pytest.mark.parametrize(("limit", "said"), [
    ({"least": 0.665}, "0.66 is not at least 0.665."),
    ({"most": 0.655}, "0.66 is not at most 0.655."),
    ({"least": 0.661, "most": 1}, "0.66 is not at least 0.661, at most 1."),
])  # fmt: skip
def test_a_limit_fails_within_the_tolerance_as_well(limit: dict[str, float], said: str) -> None:
    found = compared(ssim=0.66, limits={"attend": {"ssim/pg2": limit}})
    assert verdicts(found) == [Verdict.LIMIT, Verdict.SAME]
    assert found.scores[0].reason == f"ssim/pg2 of attend: {said}"
    assert found.exit_code == 1


def test_a_limit_that_is_kept_says_nothing_and_one_that_is_not_adds_to_a_loss() -> None:
    limits = {"attend": {"torso-ciede2000": {"least": 9, "most": 12}}}
    assert compared(garment=9.0, limits=limits).exit_code == 0
    worse = compared(garment=12.5, limits=limits).scores[1]
    assert worse.verdict is Verdict.WORSE
    assert (
        worse.reason == "torso-ciede2000 of attend: worse by 2.5, and 1 is allowed. 12.5 is not at least 9, at most 12."
    )


@pytest.mark.parametrize(("changes", "message"), [
    ({"systems": []}, "gates: systems and metrics should each name at least one."),
    ({"metrics": {}}, "gates: systems and metrics should each name at least one."),
    ({"systems": ["attend", "attend"]}, "gates: systems names a row twice: attend, attend."),
    ({"limits": {"atend": {}}}, "gates: limits names 'atend', which has no gate. Did you mean 'attend'?"),
    ({"limits": {"attend": {"ssim/pg": {"least": 0}}}},
     "gates: limits.attend names 'ssim/pg', which has no gate. Did you mean 'ssim/pg2'?"),
    ({"limits": {"attend": {"ssim/pg2": {}}}}, "gates.limits.attend.ssim/pg2: neither least nor most is given."),
    ({"limits": {"attend": {"ssim/pg2": {"least": 2, "most": 1}}}}, "no score is at least 2 and at most 1."),
    ({"metrics": {"psnr": {"better": "higher"}}}, "gates.metrics.psnr: neither of tolerance and relative are given."),
    ({"metrics": {"psnr": {"better": "higher", "tolerance": 1, "relative": 1}}}, "psnr: both of tolerance and relative"),
    ({"metrics": {"psnr": {"better": "higher", "tolerance": -1}}}, "psnr: the tolerance should be at least 0, not -1."),
    ({"metrics": {"psnr": {"better": "hihger", "tolerance": 1}}}, "should be one of higher, lower, not 'hihger'."),
    ({"metrics": {"psnr": {"beter": "higher"}}}, "gates.metrics.psnr: unknown key 'beter'. Did you mean 'better'?"),
    ({"resamples": 0}, "gates: resamples should be at least 1, not 0."),
    ({"confidence": 1}, "gates: confidence should lie between 0 and 1, not be 1."),
    ({"seed": -1}, "gates: seed should be at least 0, not -1."),
])  # fmt: skip
def test_gates_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReposeError) as error:
        gates(**changes)
    assert message in str(error.value)


# ---- what cannot be compared ----


@pytest.mark.parametrize(("base", "head", "reason"), [
    (BASE, None, "HEAD has no system 'attend'; known: copy source."),
    (None, BASE, "BASE has no system 'attend'; known: copy source. What is new gets its gate once BASE has it."),
    (BASE, {"ssim/pg": 0.7, "torso-ciede2000": 9}, "HEAD has no 'ssim/pg2' of attend. Did you mean 'ssim/pg'?"),
    ({"torso-ciede2000": 9}, BASE,
     "BASE has no 'ssim/pg2' of attend; known: torso-ciede2000. What is new gets its gate once BASE has it."),
    (BASE, BASE | {"ssim/pg2": None}, "HEAD's ssim/pg2 of attend is no number: null."),
    (BASE, BASE | {"ssim/pg2": float("nan")}, "HEAD's ssim/pg2 of attend is no number: NaN."),
    (BASE | {"ssim/pg2": float("inf")}, BASE, "BASE's ssim/pg2 of attend is no number: Infinity."),
    (BASE, BASE | {"ssim/pg2": "x" * 99}, f"HEAD's ssim/pg2 of attend is no number: \"{'x' * 76}...."),
    (BASE, BASE | {"ssim/pg2": True}, "HEAD's ssim/pg2 of attend is no number: true."),
])  # fmt: skip
def test_a_gated_score_that_is_missing_or_no_number_is_not_comparable(base: Any, head: Any, reason: str) -> None:
    sides = [record(name, {"attend": row} if row else {}) for name, row in (("old", base), ("new", head))]
    found = compare(*sides, gates())
    assert (found.scores[0].verdict, found.scores[0].reason) == (Verdict.INCOMPARABLE, reason)
    assert found.exit_code == 2
    assert found.headline.startswith("Not comparable: ")
    assert json.loads(as_json(found))["scores"][0]["change"] is None


def test_what_cannot_be_compared_outranks_a_regression() -> None:
    found = compare(record("old", {"attend": BASE}), record("new", {"attend": {"torso-ciede2000": 99}}), gates())
    assert verdicts(found) == [Verdict.INCOMPARABLE, Verdict.WORSE]
    assert found.exit_code == 2


@pytest.mark.parametrize(("changes", "said"), [
    ({"size": "256x176"}, 'size is "128x88" in BASE and "256x176" in HEAD'),
    ({"pairs": 40, "crop": None}, "pairs is 160 in BASE and 40 in HEAD; crop is [40.0, 0.0, 216.0, 256.0] in BASE and null"),
    ({"padding": "white"}, 'padding is not said in BASE and "white" in HEAD'),
])  # fmt: skip
def test_numbers_of_another_protocol_are_refused_and_the_difference_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ReposeError) as error:
        compare(record("old", {"attend": BASE}), record("new", {"attend": BASE}, **changes), gates())
    assert f"BASE, old, and HEAD, new, are of different protocol: {said}" in str(error.value)


def test_each_fact_of_the_protocol_that_evaluate_writes_is_compared() -> None:
    written = read_side(str(ROOT / "metrics.json"))
    assert set(written.protocol) == set(PROTOCOL)
    for fact in PROTOCOL:
        other = written._replace(protocol=written.protocol | {fact: "another"})
        with pytest.raises(
            ReposeError, match=rf'different protocol: {fact} is .* in BASE and "another" in HEAD\. Numbers'
        ):
            compare(written, other, gates())


@pytest.mark.parametrize(("old", "new", "said"), [
    ({"networks": {"figure": "a"}}, {"networks": {"figure": "b"}},
     'networks is {"figure": "a"} in BASE and {"figure": "b"} in HEAD'),
    ({"real": "train", "photos": 900}, {"real": "train", "photos": 901}, "photos is 900 in BASE and 901 in HEAD"),
    ({"real": "train"}, {"chance": 0.1}, 'real is "train" in BASE and null in HEAD; chance is null in BASE and 0.1 in HEAD'),
])  # fmt: skip
def test_a_metric_that_the_sides_score_differently_is_not_judged_and_the_difference_named(
    old: Any, new: Any, said: str
) -> None:
    base, head = (record(side, {"attend": BASE})._replace(metrics={"ssim/pg2": facts, "torso-ciede2000": {}}) for side, facts
                  in (("old", old), ("new", new)))  # fmt: skip
    found = compare(base, head, gates())
    assert (found.exit_code, verdicts(found)) == (2, [Verdict.INCOMPARABLE, Verdict.SAME])
    assert found.scores[0].reason == (
        f"ssim/pg2 of attend: the sides score it in different ways: {said}. Evaluate both in the same way."
    )


def test_a_gate_that_calls_the_wrong_end_better_is_told() -> None:
    both = record("x", {"attend": BASE})._replace(
        metrics={"ssim/pg2": {"better": "lower"}, "torso-ciede2000": {"better": "lower"}}
    )
    found = compare(both, both, gates())
    assert verdicts(found) == [Verdict.INCOMPARABLE, Verdict.SAME]
    assert (
        found.scores[0].reason
        == "ssim/pg2 of attend: its gate calls higher better, and lower is. Correct the block gates."
    )


@pytest.mark.parametrize(
    ("given", "said"), [({}, "1"), ({"schema": 1}, "1"), ({"schema": "x"}, '"x"'), ({"schema": 3}, "3")]
)
def test_scores_of_another_schema_are_refused(given: dict[str, Any], said: str) -> None:
    content = json.dumps(given | {"protocol": FACTS, "scores": {"attend": BASE}}).encode()
    with pytest.raises(ReposeError) as error:
        parsed(content, "main (0123456789)")
    assert str(error.value) == (
        f"The scores of main (0123456789) are of schema {said} and this repose reads 2: another version wrote them, and they "
        "do not say on which data and by which networks they are. Run `dvc repro evaluate` there, or name a later revision."
    )


@pytest.mark.parametrize(("content", "message"), [
    (b"{", "The scores of x are not JSON: Expecting"),
    (b"\xff\xfe\xfd", "The scores of x are not JSON: "),
    (b"[" * 100_000, "The scores of x are not JSON: "),
    (b"[]", "The scores of x have no block 'protocol': another version of repose wrote them"),
    (b'{"attend": {"ssim": 0.6}}', "The scores of x have no block 'protocol': another version of repose wrote them"),
    (b'{"schema": 2, "protocol": {}, "scores": {}}', "The scores of x have no block 'metrics': another version of repose"),
    (b'{"schema": 2, "protocol": {}, "metrics": {}, "scores": [1]}',
     "The scores of x have no block 'scores': another version of repose wrote them"),
    (b'{"schema": 2, "protocol": {}, "metrics": {}, "scores": {"ssim": 0.6}}',
     "The scores of x have no metrics under 'ssim'."),
])  # fmt: skip
def test_what_is_no_record_of_scores_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ReposeError) as error:
        parsed(content, "x")
    assert str(error.value).startswith(message)


def test_a_whole_number_is_a_number_unless_no_float_is_as_large() -> None:
    assert (number(3), number(10**400), number(-0.5)) == (3.0, None, -0.5)


# ---- what has no gate ----


def test_systems_and_metrics_without_a_gate_are_named_and_marked_where_one_side_alone_has_them() -> None:
    base = record("old", {"attend": BASE | {"fid": 3.0}, "vunet": BASE})
    head = record("new", {"attend": BASE | {"lpips": 0.1}, "pg2": {"is": 4.0}})
    found = compare(base, head, gates())
    assert found.exit_code == 0
    assert found.systems_without == ("copy source", "pg2 (new)", "vunet (gone)")
    assert found.metrics_without == ("lpips (new)", "is (new)", "fid (gone)")
    assert "- Without a gate, so not judged: the systems copy source; pg2 (new); vunet (gone)." in as_markdown(found)


# ---- a change, or noise ----

PAIRS = 60
RANDOM = np.random.default_rng(5)
HARD = RANDOM.normal(0.6, 0.1, PAIRS)  # how hard a pair is for any system
WITHOUT_TORSO = 7  # the pair that has no torso-ciede2000


def by_pair(gain: float, spread: float) -> dict[str, list[float]]:
    """Scores of pairs: SSIM that gains on BASE by so much, more or less, and torso-ciede2000 that is the same."""
    garment = np.linspace(5, 15, PAIRS)
    garment[WITHOUT_TORSO] = np.nan
    noise = np.random.default_rng(6).normal(0, 1, PAIRS)
    return {"ssim/pg2": list(HARD + gain + spread * (noise - noise.mean())), "torso-ciede2000": list(garment)}


def side(
    folder: Path, name: str, scores: Mapping[str, list[float]], pairs: list[str] | None = None
) -> tuple[Record, Path]:
    """A side's record, and its table of pairs on the disk."""
    row = {metric: float(np.nanmean(values)) for metric, values in scores.items()}
    lines = [f"system,from,to,occlusion,{','.join(scores)}"]
    for place, values in enumerate(zip(*scores.values(), strict=True)):
        pair = pairs[place] if pairs else f"a{place:02d},b{place:02d}"
        cells = ",".join("" if np.isnan(value) else f"{value:.10g}" for value in values)
        lines += [f"{system},{pair},,{cells}" for system in ("copy source", "attend")]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return record(name, {"attend": row}), path


def change(tmp_path: Path, *, gain: float, spread: float) -> Comparison:
    base, head = side(tmp_path, "old", by_pair(0, 0)), side(tmp_path, "new", by_pair(gain, spread))
    return compare(base[0], head[0], gates(), changes_by_pair(base, head, gates()))


@pytest.mark.parametrize(("gain", "spread", "verdict"), [
    (-0.03, 0.02, Verdict.WORSE),
    (-0.03, 0.3, Verdict.NOISE),
    (0.03, 0.02, Verdict.BETTER),
    (0.03, 0.3, Verdict.NOISE),
    (-0.009, 0.001, Verdict.SAME),  # certain, and within the tolerance
])  # fmt: skip
def test_a_change_beyond_the_tolerance_counts_where_its_interval_excludes_zero(
    tmp_path: Path, gain: float, spread: float, verdict: Verdict
) -> None:
    found = change(tmp_path, gain=gain, spread=spread)
    assert verdicts(found) == [verdict, Verdict.SAME]
    assert found.exit_code == (1 if verdict is Verdict.WORSE else 0)
    ssim, garment = (score.paired for score in found.scores)
    assert ssim is not None
    assert ssim.low < gain < ssim.high
    assert ssim.includes_zero == (spread == 0.3)
    assert (ssim.pairs, garment) == (PAIRS, PairedChange(PAIRS - 1, 0.0, 0.0))  # a pair has no torso


def test_the_interval_is_that_of_a_plain_loop_over_the_same_draws(tmp_path: Path) -> None:
    found = change(tmp_path, gain=-0.03, spread=0.1).scores[0].paired
    random, draws = np.random.default_rng(0), []
    for first in range(0, 400, 64):
        draws.extend(random.integers(PAIRS, size=(min(64, 400 - first), PAIRS)))
    old, new = (np.array(scores["ssim/pg2"]) for scores in (by_pair(0, 0), by_pair(-0.03, 0.1)))
    loop = [new[draw].mean() - old[draw].mean() for draw in draws]
    assert found is not None
    np.testing.assert_allclose([found.low, found.high], np.quantile(loop, [0.025, 0.975]), atol=1e-8)


def test_a_limit_counts_in_noise_as_well() -> None:
    noise = {("attend", "ssim/pg2"): PairedChange(160, -0.1, 0.01)}
    assert verdicts(compared(ssim=0.6, changes=noise)) == [Verdict.NOISE, Verdict.SAME]
    found = compared(ssim=0.6, changes=noise, limits={"attend": {"ssim/pg2": {"least": 0.65}}})
    assert verdicts(found) == [Verdict.LIMIT, Verdict.SAME]


def test_a_metric_that_is_no_mean_over_pairs_is_judged_by_its_tolerance_alone(tmp_path: Path) -> None:
    only = {"ssim/pg2": by_pair(0, 0)["ssim/pg2"]}
    base, head = side(tmp_path, "old", only), side(tmp_path, "new", only)
    base[0].scores["attend"]["torso-ciede2000"], head[0].scores["attend"]["torso-ciede2000"] = 10.0, 12.0
    found = compare(base[0], head[0], gates(), changes_by_pair(base, head, gates()))
    assert verdicts(found) == [Verdict.SAME, Verdict.WORSE]
    assert found.scores[1].paired is None
    none = gates(metrics={"fid": {"better": "lower", "tolerance": 1}})
    assert changes_by_pair(base, head, none) == {}


def refusal(base: tuple[Record, Path], head: tuple[Record, Path]) -> str:
    with pytest.raises(ReposeError) as error:
        changes_by_pair(base, head, gates())
    return str(error.value)


def test_other_pairs_are_refused_and_the_first_is_named(tmp_path: Path) -> None:
    scores = by_pair(0, 0)
    names = [f"a{n:02d},b{n:02d}" for n in range(PAIRS)]
    base = side(tmp_path, "old", scores)
    other = side(tmp_path, "new", scores, [*names[:3], "a03,c", *names[4:]])
    assert "pair 4 of attend is a03 to b03 in " in refusal(base, other)
    assert f"old.csv and a03 to c in {other[1]}. Evaluate both on the same pairs." in refusal(base, other)
    fewer = {metric: values[:-1] for metric, values in scores.items()}
    assert f"pair {PAIRS} of attend is a59 to b59 in " in refusal(base, side(tmp_path, "new", fewer))
    assert "and none in " in refusal(base, side(tmp_path, "new", fewer))


def test_another_protocol_is_said_before_its_pairs(tmp_path: Path) -> None:
    base, (head, path) = side(tmp_path, "old", by_pair(0, 0)), side(tmp_path, "new", by_pair(0, 0), ["a,b"] * PAIRS)
    assert "of different protocol: pairs is 160 in BASE and 40 in HEAD" in refusal(
        base, (head._replace(protocol=FACTS | {"pairs": 40}), path)
    )


def test_a_score_that_one_side_alone_has_is_refused(tmp_path: Path) -> None:
    scores = by_pair(0, 0)
    without = {"ssim/pg2": scores["ssim/pg2"]}
    for one, other in (("new", "old"), ("old", "new")):
        sides = {one: side(tmp_path, one, without), other: side(tmp_path, other, scores)}
        assert f"{other}.csv has torso-ciede2000 and {sides[one][1]} has not." in refusal(sides["old"], sides["new"])


def test_a_pair_that_has_a_score_on_one_side_alone_is_left_out(tmp_path: Path) -> None:
    """A joint that a network finds on one processor and not on another."""
    scores = by_pair(0, 0)
    gap = scores | {"torso-ciede2000": [*scores["torso-ciede2000"][:9], np.nan, *scores["torso-ciede2000"][10:]]}
    base, head = side(tmp_path, "old", scores), side(tmp_path, "new", gap)
    found = changes_by_pair(base, head, gates())
    assert [found["attend", name].pairs for name in ("ssim/pg2", "torso-ciede2000")] == [PAIRS, PAIRS - 2]
    assert found["attend", "torso-ciede2000"][1:] == pytest.approx((0, 0))


def test_a_table_of_another_run_is_refused(tmp_path: Path) -> None:
    base, head = side(tmp_path, "old", by_pair(0, 0)), side(tmp_path, "new", by_pair(0.1, 0))
    said = refusal(base, (head[0], base[1]))
    assert f"{base[1]} is not of new: its mean ssim/pg2 of attend is {HARD.mean():.6g}, there it is " in said
    assert said.endswith("Name the table that the same run of evaluate wrote.")


def test_a_table_beside_a_score_that_is_no_number_leaves_the_verdict_to_the_score(tmp_path: Path) -> None:
    base, head = side(tmp_path, "old", by_pair(0, 0)), side(tmp_path, "new", by_pair(0, 0))
    head[0].scores["attend"]["ssim/pg2"] = None
    found = compare(base[0], head[0], gates(), changes_by_pair(base, head, gates()))
    assert verdicts(found) == [Verdict.INCOMPARABLE, Verdict.SAME]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("attend", "vunet", "new.csv has no pair of attend, which has gates."),
    (",15\n", ",15,1\n", "new.csv is damaged"),
    ("system", "row", "new.csv lacks the column(s) system"),
    (",15\n", ",fifteen\n", "new.csv is damaged in torso-ciede2000 (could not convert string to float: 'fifteen')."),
    (",15\n", ",inf\n", "new.csv has an infinite torso-ciede2000, which has no mean."),
])  # fmt: skip
def test_a_table_that_is_no_table_of_pairs_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    base, head = side(tmp_path, "old", by_pair(0, 0)), side(tmp_path, "new", by_pair(0, 0))
    text = head[1].read_text()
    assert old in text
    head[1].write_text(text.replace(old, new))
    assert message in refusal(base, head)
    head[1].unlink()
    assert refusal(base, head).startswith(f"There is no {head[1]}.")


# ---- reports ----


def cases(xml: str) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Of each test case, what it reports: failure or error, and the message."""
    root = ET.fromstring(xml)  # noqa: S314 (ours)
    (suite,) = root
    found = {
        (case.get("classname", ""), case.get("name", "")): [(said.tag, said.get("message", "")) for said in case]
        for case in suite
    }
    counted = [tag for reports in found.values() for tag, _ in reports]
    for counts in (root, suite):
        assert counts.get("tests") == str(len(found))
        assert counts.get("failures") == str(counted.count("failure"))
        assert counts.get("errors") == str(counted.count("error"))
    return found


def test_junit_has_a_case_for_each_score_and_counts_failures_and_errors() -> None:
    assert cases(as_junit(compared(ssim=0.6, garment=12.0))) == {
        ("attend", "ssim/pg2"): [("failure", "ssim/pg2 of attend: worse by 0.07, and 0.01 is allowed.")],
        ("attend", "torso-ciede2000"): [("failure", "torso-ciede2000 of attend: worse by 2, and 1 is allowed.")],
    }
    mixed = compare(record("old", {"attend": BASE}), record("new", {"attend": {"torso-ciede2000": 9.5}}), gates())
    found = cases(as_junit(mixed))
    assert [tag for tag, _ in found["attend", "ssim/pg2"]] == ["error"]
    assert found["attend", "torso-ciede2000"] == []


def test_a_refusal_is_an_error_in_junit_and_stands_in_the_others() -> None:
    found = refused("main", "new.json", "a\x00b <c> & | d")
    assert found.exit_code == 2
    assert cases(as_junit(found)) == {("repose compare", "comparable"): [("error", "a?b <c> & | d")]}
    assert json.loads(as_json(found))["refusal"] == "a\x00b <c> & | d"
    assert as_markdown(found) == (
        "## Scores\n\n**Not comparable. a\x00b &lt;c> &amp; \\| d** HEAD is new.json, BASE is main.\n"
    )


def test_json_has_every_number() -> None:
    noise = {("attend", "ssim/pg2"): PairedChange(160, -0.1, 0.02)}
    found = json.loads(as_json(compared(ssim=0.6, limits={"attend": {"ssim/pg2": {"least": 0.5}}}, changes=noise)))
    assert (found["outcome"], found["base"], found["head"], found["protocol"]) == ("no regression", "old", "new", FACTS)
    assert found["scores"][0] == {
        "system": "attend", "metric": "ssim/pg2", "better": "higher", "base": 0.67, "head": 0.6, "change": 0.6 - 0.67,
        "allowed": 0.01, "least": 0.5, "most": None, "low": -0.1, "high": 0.02, "pairs": 160, "verdict": "noise",
        "reason": None,
    }  # fmt: skip
    assert found["without a gate"] == {"systems": ["copy source"], "metrics": []}


def test_markdown_has_a_row_for_each_score_and_the_interval_where_there_are_pairs() -> None:
    noise = {("attend", "ssim/pg2"): PairedChange(160, -0.1, 0.02)}
    assert as_markdown(compared(ssim=0.6, garment=12.0, changes=noise)) == (
        "## Scores\n\n**Regression: 1 of 2 gated scores.** HEAD is new, BASE is old.\n\n"
        "| system | metric | better | BASE | HEAD | change | allowed | limit | 95% interval | pairs | verdict |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| attend | ssim/pg2 | higher | 0.67 | 0.6 | -0.07 | 0.01 |  | -0.1 to +0.02 | 160 | noise |\n"
        "| attend | torso-ciede2000 | lower | 10 | 12 | +2 | 1 |  |  |  | **worse** |\n\n"
        "- torso-ciede2000 of attend: worse by 2, and 1 is allowed.\n"
        "- Protocol of both: split pg2-like, pairs 160, size 128x88, crop [40.0, 0.0, 216.0, 256.0].\n"
        "- Without a gate, so not judged: the systems copy source.\n"
    )


def test_names_from_files_end_no_cell_and_start_no_html() -> None:
    odd = gates(systems=["<b>|\nx"])
    page = as_markdown(compare(record("old", {"<b>|\nx": BASE}), record("new", {"<b>|\nx": BASE}), odd))
    assert "| &lt;b>\\| x | ssim/pg2 |" in page


def test_reports_are_the_same_bytes_each_time() -> None:
    for report in (as_markdown, as_json, as_junit):
        assert report(compared(ssim=0.6)) == report(compared(ssim=0.6))
